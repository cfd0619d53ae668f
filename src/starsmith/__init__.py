"""Starsmith builds governed corpora of source code: a recipe goes in, a release comes out that explains itself."""

__version__ = "0.1.0.dev0"
