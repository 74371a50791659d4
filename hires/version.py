"""The version, alone, so that builds can read it without importing the package."""

__version__ = "1.0.0rc1"
