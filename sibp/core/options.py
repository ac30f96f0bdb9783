"""Options: named values with a type, bounds and a default, checked when they are made. Needs nothing but Python.

class SGDOptions(Options):
    eta: Positive = 0.1
    nesterov: bool = False

SGDOptions(eta=-1)   # OptionError: eta: got -1, need greater than 0
"""

import math
import operator
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, dataclass_transform, get_args, get_origin, get_type_hints

from sibp.core import messages

__all__ = [
    "Bounds",
    "Count",
    "NonNegative",
    "Option",
    "OptionError",
    "Options",
    "Positive",
    "Share",
    "check_number",
    "describe",
    "plain",
]


WORDS: dict[type, str] = {float: "a number", int: "a whole number", bool: "true or false"}


class OptionError(ValueError):
    """An option that is unknown or has a value that is not allowed; the line begins with its name."""


class Bounds(NamedTuple):
    """The numbers that an option may be; those without a bound on one side are None there."""

    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None

    def check(self, value: float) -> None:
        """Refuse a number outside.

        Args:
            value: the number.

        Raises:
            ValueError: with what is allowed, such as ``greater than 0``.
        """
        if not math.isfinite(value):
            raise ValueError("a finite number")
        rules = (("greater than", operator.gt), ("greater than or equal to", operator.ge))
        rules += (("less than", operator.lt), ("less than or equal to", operator.le))
        for (words, holds), bound in zip(rules, self, strict=True):
            if bound is not None and not holds(value, bound):
                raise ValueError(f"{words} {bound}")


Positive = Annotated[float, Bounds(above=0)]
NonNegative = Annotated[float, Bounds(least=0)]
Share = Annotated[float, Bounds(least=0, below=1)]
Count = Annotated[int, Bounds(least=1, most=10_000)]


class Option(NamedTuple):
    """What one option may be.

    Args:
        kind: float, int or bool; str for one of `choices`.
        default: its value where none is given.
        bounds: of a number.
        choices: the words that are allowed.
    """

    kind: type
    default: Any
    bounds: Bounds
    choices: tuple[str, ...] = ()

    def read(self, value: Any) -> float | int | bool | str:
        """Check a value.

        Args:
            value: what was given.

        Returns:
            The value in the option's own type.

        Raises:
            ValueError: saying what was given and what is needed.
        """
        if self.kind is str:
            if value in self.choices:
                return value
            raise ValueError(messages.need(value, self.choices))
        try:
            number = _convert(value, self.kind)
            if self.kind is not bool:
                self.bounds.check(number)
        except ValueError as need:
            raise ValueError(f"got {value!r}, need {need}") from None
        return number


def plain(value: Any) -> Any:
    """Return a number of numpy, or an array or tensor of one number, as Python's; all else as it is.

    Args:
        value: what was given.

    Returns:
        Python's number or flag, or `value`.
    """
    try:
        return value.item()
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return value


def check_number(name: str, value: object, bounds: Bounds, need: str) -> float:
    """Check a number that is no option of a method.

    Args:
        name: of the argument.
        value: what was given; see `plain` for what counts as a number. Flags and texts do not.
        bounds: where it has to be; it has to be finite in any case.
        need: what is allowed, in words.

    Returns:
        The number.

    Raises:
        ValueError: in one line: name, value, need.
    """
    try:
        number = _convert(value, float)
        bounds.check(number)
    except ValueError:
        raise ValueError(f"{name}: got {value!r}, need {need}") from None
    return number


def _convert(value: Any, kind: type) -> Any:
    """Convert a number or a flag; see `plain` for what counts as one, texts do not.

    Returns:
        The value as `kind`.

    Raises:
        ValueError: with what is needed.
    """
    value, words = plain(value), WORDS[kind]
    if isinstance(value, bool) is not (kind is bool) or isinstance(value, str | bytes):
        raise ValueError(words)
    try:
        return operator.index(value) if kind is int else kind(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise ValueError(words) from None


@dataclass_transform(kw_only_default=True, frozen_default=True)
@dataclass(frozen=True, init=False)
class Options:
    """Values by name, frozen and compared by value; a subclass names them as a dataclass does, each with a default.

    Args:
        given: values by name; the others are the defaults.

    Raises:
        OptionError: for the first value that is not allowed or name that is unknown, in one line, with how many more there are.
    """

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        dataclass(frozen=True, init=False)(cls)

    def __init__(self, **given: Any) -> None:
        known, faults = describe(type(self)), []
        given = {name: option.default for name, option in known.items()} | self.defaults_for(given) | given
        for name, value in given.items():
            try:
                if name not in known:
                    raise ValueError(f"unknown key, need one of {', '.join(known)}{messages.suggest(name, known)}")
                object.__setattr__(self, name, known[name].read(value))
            except ValueError as fault:
                faults.append(f"{name}: {fault}")
        if faults:
            raise OptionError(faults[0] + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""))
        self.check()

    @classmethod
    def defaults_for(cls, given: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG003 - a hook that most classes leave empty
        """Say which defaults depend on other options.

        Args:
            given: the options that are given.

        Returns:
            Those defaults by name; none here.
        """
        return {}

    def check(self) -> None:
        """Refuse options that do not fit together, with an OptionError."""


@cache
def describe(kind: type[Options]) -> Mapping[str, Option]:
    """Return what a class's options may be, by name, in their order.

    Raises:
        TypeError: for an option without a default, or of another type than float, int, bool and Literal.
    """
    types = get_type_hints(kind, include_extras=True)
    return {field.name: _option(f"{kind.__name__}.{field.name}", types[field.name], field.default) for field in fields(kind)}


def _option(name: str, annotation: Any, default: Any) -> Option:
    bounds = Bounds()
    if get_origin(annotation) is Annotated:
        annotation, bounds = get_args(annotation)
    if get_origin(annotation) is Literal:
        return Option(str, default, bounds, get_args(annotation))
    if annotation not in (float, int, bool) or default is MISSING:
        raise TypeError(f"{name}: is {annotation} with default {default}, need float, int, bool or Literal with a default")
    return Option(annotation, default, bounds)
