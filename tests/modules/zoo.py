"""Small modules as people write them, each with a batch and a loss."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

CLASSES = 4


class Case(NamedTuple):
    """How to build a module, one sample's inputs, and the loss of its output."""

    build: Callable[[], nn.Module]
    inputs: Callable[[torch.Generator, int, torch.dtype], tuple]
    loss: Callable[[torch.Tensor, torch.Generator], torch.Tensor]
    batch: int = 8


class Sequence(nn.Module):
    """Embeds tokens, runs a body over them, and classifies the mean."""

    def __init__(self, body, width=16):
        super().__init__()
        self.embed, self.body, self.head = nn.Embedding(20, width), body, nn.Linear(width, CLASSES)

    def forward(self, tokens):
        out = self.body(self.embed(tokens))
        return self.head((out[0] if isinstance(out, tuple) else out).mean(1))


class CrossAttention(nn.Module):
    """A decoder whose queries are not its keys, and attention to keys and values of other widths."""

    def __init__(self, width=16):
        super().__init__()
        self.decoder = nn.TransformerDecoderLayer(width, 2, 24, dropout=0.0, batch_first=True)
        self.attention = nn.MultiheadAttention(width, 2, kdim=5, vdim=6, add_bias_kv=True, batch_first=True)

    def forward(self, x):
        return self.attention(self.decoder(x, x[:, :3]), x[:, :, :5], x[:, :, :6], need_weights=False)[0]


class FirstOrder(nn.Module):
    """Layers that have no solver, between two that have one: a transposed convolution, one in three dimensions, a bilinear form."""

    def __init__(self):
        super().__init__()
        self.first, self.up, self.deep = (
            nn.Conv2d(3, 4, 3),
            nn.ConvTranspose2d(4, 2, 2, stride=2),
            nn.Conv3d(1, 2, (2, 5, 5), stride=3),
        )
        self.pair, self.head = nn.Bilinear(18, 18, 6), nn.Linear(6, CLASSES)

    def forward(self, x):
        x = self.deep(self.up(F.relu(self.first(x))).unsqueeze(1)).flatten(1)
        return self.head(self.pair(x, x.tanh()))


class SelfAttention(nn.MultiheadAttention):
    def forward(self, x):  # ty: ignore[incompatible-method-override] - of one input where torch's has three
        return super().forward(x, x, x, need_weights=False)[0]


class Residual(nn.Module):
    """Blocks of norm, two dense layers and an activation around a skip."""

    def __init__(self, activation, width=12, blocks=2):
        super().__init__()
        self.stem, self.head, self.activation = nn.Linear(10, width), nn.Linear(width, CLASSES), activation
        self.blocks = nn.ModuleList(
            nn.ModuleList([nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)]) for _ in range(blocks)
        )

    def forward(self, x):
        x = self.stem(x)
        for norm, up, down in self.blocks:
            x = x + F.dropout(down(self.activation(up(norm(x)))), 0.1, self.training)
        return self.head(x)


class Mixer(nn.Module):
    """One block that mixes tokens and channels in turn."""

    def __init__(self, tokens=16, width=8):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 2, stride=2)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.tokens = nn.Sequential(nn.Linear(tokens, 24), nn.GELU(), nn.Linear(24, tokens))
        self.channels = nn.Sequential(nn.Linear(width, 24), nn.GELU(), nn.Linear(24, width))
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        return self.head((x + self.channels(self.norms[1](x))).mean(1))


class Cell(nn.Module):
    """A recurrent cell written out: its weights are used once a time step."""

    def __init__(self, width=10):
        super().__init__()
        self.inward, self.again, self.head = nn.Linear(6, width), nn.Linear(width, width, bias=False), nn.Linear(width, CLASSES)

    def forward(self, x):
        h = x.new_zeros(len(x), self.again.in_features)
        for t in range(x.shape[1]):
            h = torch.tanh(self.inward(x[:, t]) + self.again(h))
        return self.head(h)


class Twice(nn.Module):
    """The same layer and activation, two times."""

    def __init__(self):
        super().__init__()
        self.first, self.again, self.head = nn.Linear(10, 12), nn.Linear(12, 12), nn.Linear(12, CLASSES)

    def forward(self, x):
        x = F.relu(self.first(x))
        return self.head(F.relu(self.again(F.relu(self.again(x)))))


class Odd(nn.Module):
    """Convolutions with strides, groups, dilation, ``same``, other paddings, and in one dimension."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.Conv2d(8, 8, 1, groups=4), nn.LeakyReLU(0.01)),
            *(nn.Conv2d(8, 8, 3, padding=2, dilation=2), nn.Sigmoid()),
            *(nn.Conv2d(8, 8, 3, padding="same"), nn.Conv2d(8, 8, 2, padding="same"), nn.Softplus()),
            nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect", bias=False),
        )
        self.line, self.head = nn.Conv1d(8, 6, 3, padding=1, stride=2, groups=2), nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.head(torch.tanh(self.line(self.body(x).flatten(2))).mean(2))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.mid = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.norm, self.up, self.out = nn.GroupNorm(2, 8), nn.ConvTranspose2d(8, 6, 2, stride=2), nn.Conv2d(12, 3, 1)

    def forward(self, x):
        skip = F.relu(self.down(x))
        deep = F.relu(self.norm(self.mid(F.max_pool2d(skip, 2))))
        return self.out(torch.cat([skip, self.up(deep)], 1))


class Inputs(nn.Module):
    """Two inputs, a branch on values, a pre-activation that two things read, an in-place sum."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.head = nn.Linear(10, 12), nn.Linear(5, 12), nn.Linear(12, 12), nn.Linear(12, CLASSES)

    def forward(self, x, other):
        z = self.a(x)
        if other.mean() < 100:
            z += self.b(other)
        gate = self.c(F.relu(z))
        return self.head(gate * torch.sigmoid(gate) + z)


class Transposed(nn.Module):
    """GPT-2's dense layers: `addmm` with a weight `[I, O]`."""

    def __init__(self):
        super().__init__()
        self.w, self.b = nn.Parameter(torch.randn(10, 12) / 4), nn.Parameter(torch.randn(12) / 4)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x):
        return self.head(F.relu(torch.addmm(self.b, x, self.w)))


class Tied(nn.Module):
    """A language model whose head is its embedding."""

    def __init__(self, width=12):
        super().__init__()
        self.embed, self.mid = nn.Embedding(20, width), nn.Linear(width, width)
        self.head = nn.Linear(width, 20, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(F.gelu(self.mid(self.embed(tokens)))).flatten(0, 1)


class Reread(nn.Module):
    """A dense layer with a bias whose weight something else reads, too."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(10, 12), nn.Linear(12, CLASSES)

    def forward(self, x):
        return self.head(F.relu(self.first(x))) * (1 + self.first.weight.square().mean())


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.first, self.head, self.reentrant = nn.Linear(10, 12), nn.Linear(12, CLASSES), reentrant
        self.mid = nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Dropout(0.1), nn.Linear(12, 12), nn.ReLU())

    def forward(self, x):
        return self.head(checkpoint(self.mid, F.relu(self.first(x)), use_reentrant=self.reentrant))


class CheckpointedTwice(nn.Module):
    """Checkpoints of the older form, one in the other and one behind, of a layer that is used outside as well."""

    def __init__(self):
        super().__init__()
        self.first, self.again, self.head = nn.Linear(10, 12), nn.Linear(12, 12), nn.Linear(12, CLASSES)

    def inner(self, x):
        return x + checkpoint(lambda h: F.relu(self.again(h)), F.dropout(x, 0.1), use_reentrant=True)

    def forward(self, x):
        x = self.again(F.relu(self.first(x)))
        return checkpoint(self.head, checkpoint(self.inner, x, use_reentrant=True), use_reentrant=True)


def mlp(*widths, activation=nn.ReLU):
    pairs = [(nn.Linear(i, o), activation()) for i, o in pairwise(widths)]
    return nn.Sequential(*[module for pair in pairs for module in pair][:-1])


def flat(generator, batch, dtype, size=10):
    return (torch.randn(batch, size, generator=generator, dtype=dtype),)


def two(generator, batch, dtype):
    return flat(generator, batch, dtype) + flat(generator, batch, dtype, 5)


def image(generator, batch, dtype, side=8):
    return (torch.randn(batch, 3, side, side, generator=generator, dtype=dtype),)


def steps(generator, batch, dtype):
    return (torch.randn(batch, 4, 6, generator=generator, dtype=dtype),)


def tokens(generator, batch, dtype):
    return (torch.randint(20, (batch, 5), generator=generator),)


def classes(output, generator):
    return F.cross_entropy(output, torch.randint(output.shape[1], (len(output), *output.shape[2:]), generator=generator))


def values(output, generator):
    return F.mse_loss(output, torch.randn(output.shape, generator=generator, dtype=output.dtype))


vision = torchvision.models
CASES = {
    "MLP": Case(lambda: mlp(10, 12, 12, CLASSES), flat, classes),
    "MLP, tanh": Case(lambda: mlp(10, 12, CLASSES, activation=nn.Tanh), flat, classes),
    "nine sigmoids": Case(lambda: mlp(10, *[12] * 8, CLASSES, activation=nn.Sigmoid), flat, classes),
    "autoencoder, MSELoss": Case(lambda: mlp(10, 6, 10), flat, values),
    "residual MLP, LayerNorm, Dropout": Case(lambda: Residual(F.relu), flat, classes),
    "residual MLP, GELU": Case(lambda: Residual(F.gelu), flat, classes),
    "MLP-Mixer": Case(Mixer, image, classes),
    "vision.VisionTransformer": Case(lambda: vision.VisionTransformer(8, 2, 1, 2, 12, 24, num_classes=CLASSES), image, classes),
    "vision.resnet18": Case(lambda: vision.resnet18(num_classes=CLASSES), partial(image, side=16), classes, 4),
    "vision.squeezenet1_1": Case(lambda: vision.squeezenet1_1(num_classes=CLASSES), partial(image, side=32), classes, 3),
    "vision.mobilenet_v3_small": Case(lambda: vision.mobilenet_v3_small(num_classes=CLASSES), partial(image, side=16), classes, 4),
    "vision.DenseNet, checkpointed": Case(
        lambda: vision.DenseNet(4, (2, 2), 8, num_classes=CLASSES, memory_efficient=True), partial(image, side=16), classes, 4
    ),
    "vision.shufflenet_v2_x0_5": Case(lambda: vision.shufflenet_v2_x0_5(num_classes=CLASSES), partial(image, side=32), classes, 4),
    "vision.ConvNeXt": Case(
        lambda: vision.ConvNeXt([vision.convnext.CNBlockConfig(8, None, 2)], num_classes=CLASSES),
        partial(image, side=16),
        classes,
        4,
    ),
    "nn.TransformerEncoderLayer": Case(
        lambda: Sequence(nn.TransformerEncoderLayer(16, 2, 24, batch_first=True, activation="gelu")), tokens, classes
    ),
    "ReLU in place on tokens": Case(lambda: Sequence(nn.Sequential(nn.Linear(16, 16), nn.ReLU(inplace=True))), tokens, classes),
    "nn.MultiheadAttention": Case(lambda: Sequence(SelfAttention(16, 2, batch_first=True)), tokens, classes),
    "cross attention": Case(lambda: Sequence(CrossAttention()), tokens, classes),
    "layers without a solver": Case(FirstOrder, image, classes),
    "nn.LSTM": Case(lambda: Sequence(nn.LSTM(16, 16, batch_first=True)), tokens, classes),
    "nn.GRU": Case(lambda: Sequence(nn.GRU(16, 16, batch_first=True)), tokens, classes),
    "recurrent cell": Case(Cell, steps, classes),
    "layer used twice": Case(Twice, flat, classes),
    "strides, groups, dilation, same, 1d": Case(Odd, image, classes),
    "U-Net": Case(UNet, image, classes, 4),
    "two inputs, in-place sum": Case(Inputs, two, classes),
    "addmm": Case(Transposed, flat, classes),
    "tied embedding": Case(Tied, tokens, classes),
    "weight read twice": Case(Reread, flat, classes),
    "checkpoint": Case(lambda: Checkpointed(False), flat, classes),
    "checkpoint, reentrant": Case(lambda: Checkpointed(True), flat, classes),
    "checkpoints, reentrant, nested": Case(CheckpointedTwice, flat, classes),
    "weight_norm below": Case(
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(10, 12)), nn.ReLU(), nn.Linear(12, CLASSES)),
        flat,
        classes,
    ),
}


def build(name, dtype=torch.float64):
    torch.manual_seed(0)
    return CASES[name].build().to(dtype)


def loss_of(name, model, seed=1):
    """Return the loss on a batch that depends on the seed alone, dropout's masks included."""
    case, generator = CASES[name], torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    dtype = next(p.dtype for p in model.parameters())
    return case.loss(model(*case.inputs(generator, case.batch, dtype)), generator)
