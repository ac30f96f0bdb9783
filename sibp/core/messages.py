"""One clear line for bad input: where, which value, what is allowed, and the nearest right name."""

import difflib
from collections.abc import Iterable

__all__ = ["first_line", "need", "shown", "suggest"]

LONGEST = 80  # characters of a value that a message shows


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message.

    Args:
        error: anybody's.

    Returns:
        The first line that says something; the type's name where there is none.
    """
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def shown(value: object) -> str:
    """Return a value as a message shows it.

    Args:
        value: what was given.

    Returns:
        Its `repr`, cut where it is long.
    """
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"


def suggest(word: object, allowed: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest allowed name.

    Args:
        word: the name that was given.
        allowed: the names that there are.

    Returns:
        The question, to be put behind a message; empty if no name is near.
    """
    near = difflib.get_close_matches(str(word), list(allowed), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def need(value: object, allowed: Iterable[str]) -> str:
    """Return ``got 'x', need a, b or c; did you mean 'a'?``.

    Args:
        value: what was given.
        allowed: what may be given, at least one.

    Returns:
        One line without the place, which the caller puts before it.
    """
    names = list(allowed)
    choice = f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
    return f"got {shown(value)}, need {choice}{suggest(value, names)}"
