"""The package's version, in a file that imports nothing."""

__all__ = ["VERSION"]

VERSION = "0.1.0"
