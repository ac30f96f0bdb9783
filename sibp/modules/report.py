"""Saying how every parameter was trained, and what cannot be."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from sibp.modules.watch import Watch

__all__ = ["NO_STEP", "how_trained", "nothing_solved", "reasons", "report_lines", "report_model"]

NO_STEP = "no step yet"


def how_trained(parameter: Tensor, watch: Watch | None) -> str:
    """Return how the last backward pass treated a parameter.

    Args:
        parameter: the model's.
        watch: of that pass; None before the first.

    Returns:
        ``implicit ...``, ``first order, because ...``, ``frozen``, ``no error ...`` or ``not one of ...``.
    """
    if not parameter.requires_grad:
        return "frozen"
    if watch is None:
        return NO_STEP
    if id(parameter) in watch.solved:
        return watch.solved[id(parameter)]
    if id(parameter) in watch.left:
        return f"first order, because it is {watch.left[id(parameter)]}"
    if id(parameter) not in watch.names:
        return "not one of this optimizer's parameters"
    return "no error: the loss does not depend on it"


def report_model(model: nn.Module, watch: Watch | None) -> dict[str, str]:
    """Return how every parameter of a model was trained.

    Args:
        model: the model.
        watch: of the last backward pass; None before the first.

    Returns:
        What `how_trained` says, by the parameter's name in the model.
    """
    return {name: how_trained(parameter, watch) for name, parameter in model.named_parameters()}


def report_lines(parameters: Sequence[tuple[str, Tensor]], watch: Watch | None) -> list[str]:
    """Return one line per parameter, and the share of the weights that is implicit.

    Args:
        parameters: names and parameters.
        watch: of the last backward pass; None before the first.

    Returns:
        Lines, the names aligned.
    """
    width = max((len(name) for name, _ in parameters), default=0)
    lines = [f"{name:<{width}}  {how_trained(parameter, watch)}" for name, parameter in parameters]
    numbers = sum(parameter.numel() for _, parameter in parameters if not is_lazy(parameter))
    implicit = sum(p.numel() for _, p in parameters if how_trained(p, watch).startswith("implicit"))
    return [*lines, f"{implicit} of {numbers} numbers implicit"]


def reasons(names: Mapping[int, str], left: Mapping[int, str]) -> tuple[str, str]:
    """Return which parameters are left with ordinary gradients, and why.

    Args:
        names: of all parameters, by id.
        left: why, by the id of each that is left; at least one.

    Returns:
        The first name and how many more there are, and up to three reasons.
    """
    first, *others = left
    more = f" and {len(others)} more" if others else ""
    whys = list(dict.fromkeys(left.values()))
    return names[first] + more, ", ".join(whys[:3]) + (", ..." if len(whys) > 3 else "")


def nothing_solved(watch: Watch) -> str:
    """Return the words for a step in which no layer was solved.

    Args:
        watch: of that step.

    Returns:
        What follows the optimizer's name in an error.
    """
    return (
        f"solved no layer; none of {len(watch.weights)} parameters was used by linear, conv1d, conv2d or addmm itself and by nothing else "
        "(prune, weight_norm, FSDP and DataParallel hand over another tensor, a tied weight is read twice, TorchScript runs out of sight)"
    )
