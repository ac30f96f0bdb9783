"""Every variant of every method, from the registry and the methods' own options: nothing is listed here.

An option that chooses between paths of the code is an enumeration, a flag, or a number of which 0 means "without" (then the method's
`group_key` says so). A variant is a setting of at most two such options beside the defaults.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import combinations, product
from typing import Any

from sibp.core.options import Option, OptionError, Options, describe
from sibp.methods import registry
from sibp.nets import losses
from sibp.nets.network import Network

__all__ = ["accepts", "members", "simplest", "switches", "variants"]

PART, LITTLE = 0.5, 1e-3  # what an option that is 0 by default is switched on with: a share below 1, or a weight


def switches(algorithm: str) -> dict[str, tuple[Any, ...]]:
    """Return the values besides its default of each option that chooses between paths.

    Args:
        algorithm: the method's name.

    Returns:
        Values by the option's name. An option of a type that is neither number, flag nor enumeration is a TypeError: its variants are not
        known.
    """
    known = describe(registry.options(algorithm))
    varied = {name: _values(algorithm, name, option) for name, option in known.items()}
    return {name: values for name, values in varied.items() if values}


def _values(algorithm: str, name: str, option: Option) -> tuple[Any, ...]:
    if option.kind is str:
        return tuple(value for value in option.choices if value != option.default)
    if option.kind is bool:
        return (not option.default,)
    if option.kind is int:
        return ()  # a count: more of the same
    on = option.default or (PART if option.bounds.below is not None else LITTLE)
    with_, without = (_key(algorithm, {name: value}) for value in (on, 0.0))
    return () if with_ == without else (0.0,) if option.default else (on,)


def _key(algorithm: str, given: dict[str, Any]) -> Any:
    """Return the `group_key` of options that need not fit together."""
    kind = registry.options(algorithm)
    options = object.__new__(kind)
    vars(options).update({name: option.default for name, option in describe(kind).items()} | given)
    return registry.get(algorithm).group_key(options)


@cache
def variants(algorithm: str) -> dict[str, Options]:
    """Return all valid settings of at most two switches beside the defaults.

    Args:
        algorithm: the method's name.

    Returns:
        Options by a name that says them, the defaults first.

    Raises:
        ValueError: if a value of a switch is in none of them, so that a path would go untested.
    """
    choices, labelled = switches(algorithm), {}
    for count in range(3):
        for names in combinations(choices, count):
            for values in product(*(choices[name] for name in names)):
                given = dict(zip(names, values, strict=True))
                if (options := _valid(algorithm, given)) is not None:
                    labelled[" ".join([algorithm, *(f"{name}={value}" for name, value in given.items())])] = options
    words = {word for label in labelled for word in label.split()}
    if missing := [f"{name}={value}" for name, values in choices.items() for value in values if f"{name}={value}" not in words]:
        raise ValueError(f"{algorithm}: no variant has {missing[0]}")
    return labelled


def simplest(algorithm: str) -> dict[str, Options]:
    """Return the defaults, and for each value of each switch the first variant that names it.

    Args:
        algorithm: the method's name.

    Returns:
        Some of `variants`.
    """
    labelled, choices = variants(algorithm), switches(algorithm)
    words = [f"{name}={value}" for name, values in choices.items() for value in values]
    labels = [algorithm, *(next(label for label in labelled if word in label.split()) for word in words)]
    return {label: labelled[label] for label in labels}


def _valid(algorithm: str, given: dict[str, Any]) -> Options | None:
    try:
        return registry.options(algorithm)(**given)
    except OptionError:  # two options that exclude each other
        return None


def accepts(algorithm: str, options: Options, network: Network) -> bool:
    """Return whether a method takes a network.

    Args:
        algorithm: the method's name.
        options: of a member.
        network: its structure.

    Returns:
        False if it refuses it.
    """
    try:
        registry.build(algorithm, network, losses.get("cross-entropy"), [options])
    except ValueError:
        return False
    return True


def members(options: Options, count: int) -> Iterator[Options]:
    """Yield options of members that may train together and differ in every number that does not choose a path.

    Args:
        options: of the first.
        count: how many.

    Yields:
        Options, the numbers of the next 5 % of the first's smaller each time.
    """
    for member in range(count):
        numbers = {name: value * (1 - 0.05 * member) for name, value in vars(options).items() if isinstance(value, float)}
        yield replace(options, **numbers)
