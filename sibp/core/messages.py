"""One clear line for bad input: where, which value, what is allowed, and the nearest right name."""

import difflib
import re
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

__all__ = ["explain", "need", "suggest"]


def suggest(word: object, allowed: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest allowed name, or nothing."""
    near = difflib.get_close_matches(str(word), list(allowed), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def need(value: object, allowed: Iterable[str]) -> str:
    """Return ``got 'x', need a, b or c; did you mean 'a'?``."""
    names = list(allowed)
    choice = f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
    return f"got {value!r}, need {choice}{suggest(value, names)}"


def explain(error: ValidationError, model: type[BaseModel], place: str = "") -> str:
    """Return the first fault of a pydantic error as one line ``place.path: fault``, and how many more there are."""
    faults = error.errors()
    path = _path(place, faults[0]["loc"])
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return (f"{path}: " if path else "") + _fault(faults[0], model) + more


def _path(place: str, loc: tuple[int | str, ...]) -> str:
    """Join a location as ``methods.sibp.grid.eta[2]``."""
    return (place + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)).lstrip(".")


def _fault(fault: dict[str, Any], model: type[BaseModel]) -> str:
    value = fault["input"]
    match fault["type"]:
        case "extra_forbidden":
            allowed = list(_model_at(model, fault["loc"][:-1]).model_fields)
            return f"unknown key, need one of {', '.join(allowed)}{suggest(fault['loc'][-1], allowed)}"
        case "missing":
            return "missing"
        case "value_error":
            return str(fault["ctx"]["error"])
        case "literal_error":
            return need(value, re.findall(r"'([^']*)'", fault["ctx"]["expected"]))
    return f"got {value!r}, need {fault['msg'].removeprefix('Input should be ').removeprefix('a valid ')}"


def _model_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the model whose key is at `loc`, looking through ``X | None`` and ``dict[str, X]``."""
    for part in loc:
        if str(part) in model.model_fields:
            annotation = model.model_fields[str(part)].annotation
            inner = [annotation, *get_args(annotation)]
            model = next((a for a in inner if isinstance(a, type) and issubclass(a, BaseModel)), model)
    return model
