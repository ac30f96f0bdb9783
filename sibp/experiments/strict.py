"""The base of all parts of a file, which refuses what it does not know, and how a mapping is read as one."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sibp.core import messages
from sibp.experiments import faults
from sibp.experiments.yaml_file import SpecError

__all__ = ["Count", "PositiveCount", "Strict", "checked_file_names", "parse"]

Model = TypeVar("Model", bound=BaseModel)
MOST = 10**9  # far above what any machine trains, and below what 64 bits hold even multiplied by another
Count = Annotated[int, Field(ge=0, le=MOST)]
PositiveCount = Annotated[int, Field(gt=0, le=MOST)]
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class Strict(BaseModel):
    """A frozen part of a file; unknown keys, wrong types and non-finite numbers are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _check_file_name(name: str) -> None:
    """Refuse a name of files that would lead elsewhere or fit on no disk.

    Raises:
        ValueError: saying what is allowed.
    """
    if not FILE_NAME.fullmatch(name):
        need = "a name for files: 1 to 100 letters, digits, '_', '.' and '-', not beginning with '.' or '-'"
        raise ValueError(f"got {messages.shown(name)}, need {need}")


def checked_file_names(value: Any) -> Any:
    """Return a name or a collection of names, of which files are made.

    Args:
        value: the name, or an iterable of names.

    Returns:
        The value itself.

    Raises:
        ValueError: for two that differ in capitals alone.
    """
    first: dict[str, str] = {}
    for name in [value] if isinstance(value, str) else value or ():
        _check_file_name(name)
        if (other := first.setdefault(name.lower(), name)) != name:
            raise ValueError(f"got {other!r} and {name!r}, which are one file where capitals do not count")
    return value


def parse(model: type[Model], mapping: Mapping[str, Any], context: str, place: str = "") -> Model:
    """Validate a mapping strictly; as JSON, whose lists may stand for tuples.

    Args:
        model: its schema.
        mapping: what to validate.
        context: the file or what else a fault is in.
        place: the mapping's path inside it.

    Returns:
        The model.

    Raises:
        SpecError: ``context: place.path: fault`` in one line.
    """
    try:
        return model.model_validate_json(json.dumps(mapping, default=str), strict=True)
    except ValidationError as error:
        fault = faults.explain(error, model, place)
        raise SpecError(f"{context}: {fault}" if context else fault) from None
