"""The version of rali, spelt here only."""

__version__ = "0.1.0"
