"""Errors whose message is one line for whoever started the program: the command line prints it as it is."""

__all__ = ["InputError", "OneLineError"]


class OneLineError(RuntimeError):
    """What was asked for cannot be done; the message is one line that says all."""


class InputError(ValueError):
    """What was given is wrong: where, which value, and what is allowed, in one line."""
