"""Every form of torch's SGD and Adam makes the steps of the default, and the best is the one that was measured to be."""

import copy
from dataclasses import dataclass, field

import pytest
import torch

from sibp.bench import baselines, cases
from sibp.bench.baselines import BASELINES
from sibp.bench.labels import ADAM, SGD
from sibp.bench.timed import Case
from sibp.kernels import native
from sibp.nets import papers
from sibp.training import cuda_graph

CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(native.status() != "compiled", reason=native.status())


@dataclass(frozen=True)
class Watched(Case):
    """A case in double precision that keeps the modules that were made for it."""

    modules: list[torch.nn.Module] = field(default_factory=list)

    def module(self, device):
        self.modules.append(super().module(device).double())
        return self.modules[-1]

    def batches(self, device, count=8):
        return [(x.double(), y) for x, y in super().batches(device, count)]


def parameters_after(label, optimizer, steps=3):
    """Return the parameters of a small convolutional net after some steps."""
    case = Watched("small", papers.cnn((2, 8, 8), channels=(3,), pools=1, classes=4), batch=6, std=0.3)
    step = BASELINES[optimizer][label].build(case, CPU)
    for _ in range(steps):
        step()
    return [parameter.detach() for parameter in case.modules[0].parameters()]


def forms(optimizer, *, captured=False, compiled=False):
    steps = BASELINES[optimizer].items()
    return [label for label, step in steps if step.captured == captured and step.compiled == compiled and label != optimizer]


def assert_same_steps(label, optimizer):
    for ours, default in zip(parameters_after(label, optimizer), parameters_after(optimizer, optimizer), strict=True):
        torch.testing.assert_close(ours, default, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("label", "optimizer"), [(label, name) for name in BASELINES for label in forms(name)])
def test_every_form_makes_the_default_s_steps(label, optimizer):
    assert_same_steps(label, optimizer)


@needs_compiler
@pytest.mark.parametrize(("label", "optimizer"), [(label, name) for name in BASELINES for label in forms(name, compiled=True)])
def test_what_torch_compiles_makes_the_default_s_steps(label, optimizer):
    torch.compiler.reset()
    assert_same_steps(label, optimizer)


@pytest.mark.parametrize("label", forms(SGD, captured=True))
def test_a_replayed_step_reads_new_batches_and_starts_where_the_default_does(label, monkeypatch):
    """With a recording that is made and replayed as on a device: it warms up, and always reads the same tensors."""

    def record(step):
        for _ in range(3):
            step()
        return step, None

    monkeypatch.setattr(cuda_graph, "record", record)
    assert_same_steps(label, SGD)


def test_a_recording_of_adam_leaves_no_trace_in_its_state(monkeypatch):
    model = torch.nn.Linear(3, 2)
    optimizer, start = torch.optim.Adam(model.parameters()), copy.deepcopy(model.state_dict())

    def train(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    monkeypatch.setattr(cuda_graph, "record", lambda step: (step, step()))
    batch = torch.rand(4, 3), torch.tensor([0, 1, 0, 1])
    baselines._replayed(train, optimizer, *batch, iter([batch]))
    assert all(torch.equal(model.state_dict()[name], value) for name, value in start.items())
    assert all(not entry.any() for state in optimizer.state.values() for entry in state.values())


def test_the_best_is_the_form_with_the_least_median_of_its_own_optimizer():
    medians = {SGD: 3.0, f"{SGD}, fused": 2.0, f"{SGD}, foreach": 2.5, ADAM: 1.0, "SIBP, 5 CG steps": 0.5}
    assert baselines.best(SGD, medians) == f"{SGD}, fused"
    assert baselines.best(ADAM, medians) == ADAM


def test_images_add_their_layout_and_compiling_can_be_left_out():
    plain, images = baselines.labels(SGD), baselines.labels(SGD, images=True)
    assert plain[0] == SGD and f"{SGD}, compiled and fused" in plain and set(images) == set(BASELINES[SGD])
    assert {label for label in images if label not in plain} == {label for label in images if "channels_last" in label}
    assert not any("compiled" in label for label in baselines.labels(ADAM, images=True, compiled=False))


def test_every_case_times_all_forms_and_a_quick_one_compiles_nothing():
    for case in cases.CASES.values():
        images = len(case.network.input_shape) == 3
        assert {*baselines.labels(SGD, images=images), *baselines.labels(ADAM, images=images)} <= set(case.steps)
    assert not any("compiled" in label for case in cases.QUICK.values() for label in case.steps)
