"""Models that are asked for completions: our own, those of transformers, those behind an address.

`generating` asks one for all that a benchmark wants and writes a generations file; `journal` keeps what is done.
"""
