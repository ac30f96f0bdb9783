"""A small net, one with a norm, a mini-batch and its loss: what most tests of the optimizers take."""

import torch
from torch import nn
from torch.nn import functional as F

import sibp


def net(dtype=torch.float64, device="cpu"):
    return sibp.mlp([6, 8, 3], std=0.4, dtype=dtype, device=device)


def normed():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).double()


X = torch.randn(12, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.arange(12) % 3


def loss(model, x=X, y=Y):
    return F.cross_entropy(model(x), y)


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
