"""How the documentation is built: Markdown through MyST, warnings are errors (`make docs`)."""

import starsmith

project = "Starsmith"
author = "The Starsmith developers"
copyright = "The Starsmith developers, Apache-2.0"
version = release = starsmith.__version__

extensions = ["myst_parser"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "Starsmith"
html_show_sphinx = False
exclude_patterns: list[str] = []
