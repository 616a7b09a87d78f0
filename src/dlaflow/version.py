"""The version of dlaflow: at the ground, since every file that is written names it."""

__version__ = "0.1.0"
