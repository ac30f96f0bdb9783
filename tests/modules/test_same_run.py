"""A run that is copied, pickled, resumed or split over processes equals the plain one."""

import copy
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sibp

KINDS = {
    "SIBP": lambda params: sibp.SIBP(params, eta=0.3, lam=0.2, max_change=0.2, rest=torch.optim.AdamW),
    "SIBP armijo": lambda params: sibp.SIBP(params, variant="armijo", terms=8, rest=torch.optim.AdamW),
    "ProxBP": lambda params: sibp.ProxBP(params, solver="exact", rest=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
}


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 3)
    )


def train(model, optimizer, steps, first=0):
    for i in range(first, first + steps):
        generator = torch.Generator().manual_seed(i)
        x, y = torch.randn(10, 1, 6, 6, generator=generator), torch.randint(3, (10,), generator=generator)
        optimizer.step(lambda: F.cross_entropy(model(x), y))  # noqa: B023


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["deepcopy", "pickle"])
def test_a_clone_goes_on_as_the_original(kind, clone):
    model = net()
    optimizer = KINDS[kind](model.parameters())
    train(model, optimizer, 2)
    other_model, other = clone((model, optimizer))
    train(model, optimizer, 3, first=2)
    train(other_model, other, 3, first=2)
    assert equal(model, other_model)
    assert other.report(other_model) == optimizer.report(model)


@pytest.mark.parametrize("kind", KINDS)
def test_resuming_from_a_file_gives_the_same_bits(kind):
    straight = net()
    optimizer = KINDS[kind](straight.parameters())
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    for i in range(2):
        train(straight, optimizer, 1, first=i)
        scheduler.step()
    file = io.BytesIO()
    torch.save({"model": straight.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved, resumed = torch.load(file, weights_only=True), net(seed=5)
    resumed.load_state_dict(saved["model"])
    other = KINDS[kind](resumed.parameters())
    other.load_state_dict(saved["optimizer"])
    assert other.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    train(straight, optimizer, 3, first=2)
    train(resumed, other, 3, first=2)
    assert equal(straight, resumed)


def test_an_oracle_can_be_copied_and_pickled():
    model = sibp.mlp([6, 8, 3], std=0.4)
    oracle, x, y = sibp.Oracle(model.parameters(), "proxbp"), torch.ones(4, 6), torch.arange(4) % 3
    gradients = []
    for clone in (lambda pair: pair, copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))):
        other_model, other = clone((model, oracle))
        other_model.zero_grad()
        with other:
            F.cross_entropy(other_model(x), y).backward()
        gradients.append([p.grad.clone() for p in other_model.parameters()])
    for other in gradients[1:]:
        assert all(torch.equal(a, b) for a, b in zip(gradients[0], other, strict=True))


WORKER = """
import sys, torch
from torch.nn.parallel import DistributedDataParallel
from tests.modules.test_same_run import averaged

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
weights = {method: averaged(method, [rank], DistributedDataParallel) for method in ("sibp", "proxprop")}
if rank == 0:
    torch.save(weights, f"{folder}/weights.pt")
torch.distributed.destroy_process_group()
"""


def averaged(method, ranks, wrap):
    """Return the weights after three steps on the mean direction of some ranks' batches."""
    model = sibp.mlp([6, 8, 3], std=0.4, dtype=torch.float64)
    run, oracle, sgd = wrap(model), sibp.Oracle(model.parameters(), method), torch.optim.SGD(model.parameters(), lr=1.0)
    for i in range(3):
        sgd.zero_grad()
        for rank in ranks:
            generator = torch.Generator().manual_seed(10 * i + rank)
            x, y = torch.randn(8, 6, generator=generator, dtype=torch.float64), torch.randint(3, (8,), generator=generator)
            with oracle:
                F.cross_entropy(run(x), y).backward()
        for p in model.parameters():
            p.grad /= len(ranks)
        sgd.step()
    return [p.detach() for p in model.parameters()]


def test_two_processes_average_as_by_hand(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(rank), str(tmp_path)], env=environment, cwd=tmp_path)
        for rank in range(2)
    ]
    assert [worker.wait(timeout=240) for worker in workers] == [0, 0]
    theirs = torch.load(tmp_path / "weights.pt", weights_only=True)
    for method, weights in theirs.items():
        by_hand = averaged(method, [0, 1], lambda model: model)
        assert all(torch.equal(a, b) for a, b in zip(by_hand, weights, strict=True))
