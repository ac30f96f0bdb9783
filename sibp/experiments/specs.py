"""Experiment and scale files: reading and checking them, and capping one by the other.

An experiment file says everything that decides a training run; a scale file caps it. Every fault is a `SpecError` of
one line that names the file, the path inside it, the value, what is allowed and the nearest right name.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sibp.core import messages
from sibp.experiments import schema, yaml_file
from sibp.experiments.schema import Experiment, Scale, Trained
from sibp.experiments.strict import parse
from sibp.experiments.yaml_file import SpecError

__all__ = [
    "FULL",
    "SUFFIXES",
    "Experiment",
    "Scale",
    "SpecError",
    "automatic_scale",
    "load_experiment",
    "load_scale",
    "resolve",
]

FULL = "full"  # the scale at which an experiment runs as its file says
SUFFIXES = (".yaml", ".yml")
DRAWN = ("figure", "table", "notebook")  # keys of an experiment that no run depends on


def automatic_scale(device: str) -> str:
    """Return the scale that `auto` stands for.

    Args:
        device: ``cpu`` or ``cuda``.

    Returns:
        `full` with a GPU, else `laptop`.
    """
    return FULL if device == "cuda" else "laptop"


def load_experiment(path: str | Path, *, shallow: bool = False) -> Experiment:
    """Read and check an experiment file.

    Where a label has `selected: NAME`, the options that the search NAME chose for the label (`NAME.OTHER`: for the label OTHER) are taken
    from `chosen.yaml`, in the folder `selection` beside the file's own folder; the file's own options must not repeat them.

    Args:
        path: of the file.
        shallow: check it against the schema alone, which takes no torch.

    Returns:
        The experiment at full scale.

    Raises:
        SpecError: if anything in it is wrong, or it cannot be read.
    """
    path = Path(path)
    experiment = schema.experiment(_with_choices(yaml_file.read(path), path), str(path))
    if experiment.id != path.stem:
        raise SpecError(f"{path}: id: got {experiment.id!r}, need {path.stem!r}, the file's name")
    if not shallow:
        _check(experiment, str(path))
    return experiment


def load_scale(name_or_path: str | Path, folder: str | Path = "workflow/scales", also: Sequence[str] = ()) -> Scale:
    """Read a scale; `full`, which changes nothing, is there without a file.

    Args:
        name_or_path: its name in the folder, or the path of its file (anything that ends in .yaml or .yml).
        folder: of scale files.
        also: other words that the caller allows in place of a scale, such as ``auto``: only the error message names them.

    Returns:
        The scale.

    Raises:
        SpecError: if there is no such scale, or anything in it is wrong.
    """
    path = Path(name_or_path)
    if path.suffix not in SUFFIXES:
        path = Path(folder) / f"{name_or_path}.yaml"
        known = yaml_file.names(Path(folder))
        if str(name_or_path) == FULL and FULL not in known:
            return Scale(name=FULL)
        if path.stem not in known:
            allowed = dict.fromkeys([*also, *known, FULL])
            raise SpecError(f"scale: {messages.need(str(name_or_path), [*allowed, 'the path of a scale file (.yaml)'])}")
    scale = parse(Scale, yaml_file.read(path), str(path))
    if scale.name != path.stem:
        raise SpecError(f"{path}: name: got {scale.name!r}, need {path.stem!r}, the file's name")
    known = [name for kind in ("experiments", "selection") for name in yaml_file.names(path.resolve().parent.parent / kind)]
    for name in scale.experiments:
        if known and name not in known:
            raise SpecError(f"{path}: experiments: unknown experiment {name!r}{messages.suggest(name, known)}")
    return scale


def resolve(experiment: Experiment, scale: Scale, *, shallow: bool = False) -> Experiment:
    """Return the experiment as it runs at a scale: capped by the limits, then with the scale's own keys merged over it.

    Mappings merge key by key; lists and values are replaced.

    Args:
        experiment: as its file says.
        scale: its limits and its own keys.
        shallow: check the result against the schema alone, which takes no torch.

    Returns:
        The experiment, with the scale's name. A result that is no valid experiment is a SpecError.
    """
    merged = _merge(_cap(experiment, scale), scale.experiments.get(experiment.id, {})) | {"scale": scale.name}
    context = f"{experiment.id} at scale {scale.name}"
    resolved = schema.experiment(merged, context)
    if not shallow:
        _check(resolved, context)
    return resolved.model_copy(update={name: getattr(experiment, name) for name in DRAWN})  # no scale changes what is drawn


def _check(experiment: Experiment, context: str) -> None:
    if isinstance(experiment, Trained):
        from sibp.experiments import checks  # asks the methods, which need torch

        checks.check_experiment(experiment, context)


def _with_choices(mapping: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the content of an experiment file with the options of its `selected` labels filled in.

    Raises:
        SpecError: if there is no choice for one, or the file repeats it.
    """
    methods = mapping.get("methods")
    if not isinstance(methods, dict):
        return mapping
    selected = {label: m["selected"] for label, m in methods.items() if isinstance(m, dict) and "selected" in m}
    if not selected:
        return mapping
    choices = path.resolve().parent.parent / "selection" / "chosen.yaml"
    if not choices.exists():
        fault = f"there is no {choices} with choices; write the method's options here instead"
        raise SpecError(f"{path}: methods.{next(iter(selected))}.selected: {fault}")
    chosen = yaml_file.read(choices)
    filled = dict(methods)
    for label, name in selected.items():
        place = f"{path}: methods.{label}"
        name, _, searched = str(name).partition(".")
        if name not in chosen:
            raise SpecError(f"{place}.selected: {messages.need(name, chosen)}")
        choice = (chosen[name].get("chosen") or {}).get(searched or label)
        if choice is None:
            raise SpecError(f"{place}.selected: the search {name!r} chose nothing for this label")
        if repeated := choice.keys() & methods[label].keys():
            raise SpecError(f"{place}.{min(repeated)}: is given here and chosen by {name!r}, need one of the two")
        filled[label] = methods[label] | choice
    return mapping | {"methods": filled}


def _cap(experiment: Experiment, scale: Scale) -> dict[str, Any]:
    """Return an experiment with a scale's limits applied to seeds, data and all training settings; a full batch stays full."""
    limits = scale.limits.model_dump(exclude_none=True)
    capped, whole = (experiment.model_dump(mode="json", exclude_unset=unset) for unset in (True, False))

    def cap(written: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
        """Return a section with all values below their limits, also those that are not written and have their defaults."""
        return written | {key: min(values[key], most) for key, most in limits.items() if isinstance(values.get(key), int)}

    capped = cap(capped, whole) | {key: cap(capped[key], whole[key]) for key in ("data", "training") if capped.get(key)}
    networks: dict[str, Any] = {}
    if capped.get("fits"):
        for name, fit in capped["fits"]["networks"].items():
            values = whole["fits"]["networks"][name]
            networks[name] = cap(fit, values) | {"data": cap(fit["data"], values["data"])}
        capped["fits"] = cap(capped["fits"], whole["fits"]) | {"networks": networks}
    if scale.data == "generated":
        for section in (capped, *networks.values()):
            if "data" in section:
                section["data"]["generated"] = True
    for label, method in capped.get("methods", {}).items():
        own = method.get("training", {})  # what it leaves out is the experiment's
        capped["methods"][label] = method | ({"training": cap(own, own)} if own else {})
    return capped


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        are_mappings = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if are_mappings else value
    return merged
