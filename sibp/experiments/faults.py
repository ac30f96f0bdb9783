"""A fault that pydantic sees in a file, as one line: where, which value, what is allowed, and the nearest right name."""

import re
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sibp.core.messages import need, shown, suggest

__all__ = ["explain"]

# what YAML has where pydantic speaks of Python's and JSON's types
WORDS = {
    **dict.fromkeys(["tuple_type", "list_type"], "a list"),
    **dict.fromkeys(["dict_type", "model_type"], "names with values"),
    **dict.fromkeys(["int_type", "int_from_float"], "a whole number"),
}


def explain(error: ValidationError, model: type[BaseModel], place: str = "") -> str:
    """Return the first fault of a pydantic error as one line ``place.path: fault``, and how many more there are.

    What is written wrong comes before what is missing: a misspelt key is also a missing one, and its own line has the right name.

    Args:
        error: what pydantic raised.
        model: the model that it validated, whose keys are the allowed ones.
        place: where in a file the model stands, such as ``methods.sgd``; empty for the whole file.

    Returns:
        The line, without a full stop.
    """
    faults = sorted(error.errors(), key=lambda fault: fault["type"] == "missing")
    path = _path(place, faults[0]["loc"])
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return (f"{path}: " if path else "") + _fault(faults[0], model) + more


def _path(place: str, loc: tuple[int | str, ...]) -> str:
    """Return a location as ``methods.sibp.grid.eta[2]``."""
    return (place + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)).lstrip(".")


def _fault(fault: ErrorDetails, model: type[BaseModel]) -> str:
    value = fault["input"]
    match fault["type"]:
        case "extra_forbidden":
            fields = _model_at(model, fault["loc"][:-1]).model_fields
            allowed = [field.alias or name for name, field in fields.items()]
            return f"unknown key, need one of {', '.join(allowed)}{suggest(fault['loc'][-1], allowed)}"
        case "missing":
            return "missing"
        case "value_error":
            return str(fault["ctx"]["error"])
        case "literal_error":
            return need(value, re.findall(r"'([^']*)'", fault["ctx"]["expected"]))
        case "too_short":
            allowed = f"a list of at least {fault['ctx']['min_length']}"
        case _:
            allowed = WORDS.get(fault["type"], fault["msg"].removeprefix("Input should be ").removeprefix("a valid "))
    return f"got {shown(value)}, need {allowed}"


def _model_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel]:
    """Look through ``X | None`` and ``dict[str, X]`` along a location.

    Returns:
        The model whose key is at `loc`.
    """
    for part in loc:
        if str(part) in model.model_fields:
            annotation = model.model_fields[str(part)].annotation
            inner = [annotation, *get_args(annotation)]
            model = next((a for a in inner if isinstance(a, type) and issubclass(a, BaseModel)), model)
    return model
