"""torch's own SGD and Adam, in every form in which torch lets them be faster; all forms of one make the same steps.

A method is compared with torch's default and with the form that is fastest in the same run (`best`).
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sibp.bench.floor import SGD_SOLVES
from sibp.bench.labels import ADAM, SGD
from sibp.bench.timed import Call, Case, Step
from sibp.training import cuda_graph

__all__ = ["BASELINES", "OPTIMIZERS", "Torch", "best", "labels"]

OPTIMIZERS: dict[str, tuple[Callable[..., torch.optim.Optimizer], dict[str, object]]] = {
    SGD: (torch.optim.SGD, {"lr": 0.01}),
    ADAM: (torch.optim.Adam, {"lr": 1e-4}),
}
FORMS = (("foreach",), ("fused",), ("compiled", "fused"), ("captured", "fused"))
IMAGE_FORMS = (
    ("channels_last",),
    ("channels_last", "fused"),
    ("channels_last", "compiled", "fused"),
    ("captured", "channels_last", "fused"),
)


@dataclass(frozen=True)
class Torch:
    """zero_grad, forward, backward, step with an optimizer of torch.

    Attributes:
        optimizer: its class, or what builds it from parameters and options.
        options: of the optimizer.
        form: any of ``foreach`` and ``fused``, torch's forms of the update; ``compiled``, the model through torch.compile;
            ``channels_last``, images and convolutions with the channel as the innermost axis; ``captured``, the step as a CUDA graph.
    """

    optimizer: Callable[..., torch.optim.Optimizer]
    options: Mapping[str, object] = field(default_factory=dict)
    form: tuple[str, ...] = ()

    def __call__(self, case: Case, device: torch.device) -> Call:
        """Set the step up.

        Args:
            case: the network and its mini-batches.
            device: where it runs.

        Returns:
            The step.
        """
        model, batches = case.module(device), case.batches(device)
        if "channels_last" in self.form:
            model = model.to(memory_format=torch.channels_last)
            batches = [(x.contiguous(memory_format=torch.channels_last), y) for x, y in batches]
        optimizer = self.optimizer(model.parameters(), **self._options())
        run = torch.compile(model) if "compiled" in self.form else model

        def train(x: Tensor, y: Tensor) -> Tensor:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(run(x), y)
            loss.backward()
            optimizer.step()
            return loss.detach()

        endless = itertools.cycle(batches)
        if "captured" in self.form:
            return _replayed(train, optimizer, *batches[0], endless)
        return lambda: train(*next(endless))

    def _options(self) -> dict[str, object]:
        update = {name: True for name in ("foreach", "fused") if name in self.form}
        counts = self.optimizer is torch.optim.Adam and "captured" in self.form  # on the device
        return {**self.options, **update, **({"capturable": True} if counts else {})}


def _replayed(
    train: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    batches: Iterator[tuple[Tensor, Tensor]],
) -> Call:
    """Return a step as a graph's replay; parameters and state start as if nothing had been recorded."""
    x, y = x.clone(), y.clone()  # the recorded step reads its mini-batch here
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    values = [parameter.detach().clone() for parameter in parameters]
    replay, _ = cuda_graph.record(lambda: train(x, y))
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)
        for tensor in (entry for state in optimizer.state.values() for entry in state.values() if isinstance(entry, Tensor)):
            tensor.zero_()

    def step() -> None:
        for buffer, new in zip((x, y), next(batches), strict=True):
            buffer.copy_(new)
        replay()

    return step


def _label(optimizer: str, form: tuple[str, ...]) -> str:
    *words, last = form
    return f"{optimizer}, {' and '.join([', '.join(words), last] if words else [last])}"


def _step(optimizer: str, form: tuple[str, ...]) -> Step:
    compiled, captured = "compiled" in form, "captured" in form
    build = Torch(*OPTIMIZERS[optimizer], form)
    return Step(build, SGD_SOLVES, counted=not (compiled or captured), compiled=compiled, captured=captured)


BASELINES: dict[str, dict[str, Step]] = {
    name: {name: _step(name, ())} | {_label(name, form): _step(name, form) for form in (*FORMS, *IMAGE_FORMS)}
    for name in OPTIMIZERS
}


def labels(optimizer: str, *, images: bool = False, compiled: bool = True) -> tuple[str, ...]:
    """Return the labels of an optimizer's forms, the default first.

    Args:
        optimizer: `SGD` or `ADAM`.
        images: whether the network takes images, so that their layout matters.
        compiled: whether to include what torch.compile makes.

    Returns:
        Keys of `BASELINES[optimizer]`.
    """
    forms = (form for form in (*FORMS, *IMAGE_FORMS * images) if compiled or "compiled" not in form)
    return (optimizer, *(_label(optimizer, form) for form in forms))


def best(optimizer: str, medians: Mapping[str, float]) -> str:
    """Return the form of an optimizer with the least median among those that were timed.

    Args:
        optimizer: `SGD` or `ADAM`.
        medians: seconds by label; one of the optimizer's forms at least.

    Returns:
        A key of `medians`.
    """
    return min((label for label in BASELINES[optimizer] if label in medians), key=medians.__getitem__)
