"""Real modules train: the loss falls, and a known share of the weights is implicit."""

import pytest
import torch

import sibp
from tests.modules import zoo

# name -> the share of all numbers that is solved for; the rest is norms, embeddings, positions, recurrences
SHARES = {
    "MLP": 1.0,
    "autoencoder, MSELoss": 1.0,
    "residual MLP, LayerNorm, Dropout": 0.967,
    "MLP-Mixer": 0.977,
    "vision.VisionTransformer": 0.834,
    "vision.resnet18": 0.999,
    "vision.mobilenet_v3_small": 0.992,
    "nn.TransformerEncoderLayer": 0.836,
    "nn.LSTM": 0.027,
    "recurrent cell": 1.0,
    "strides, groups, dilation, same, 1d": 1.0,
    "U-Net": 0.751,
    "tied embedding": 0.394,
}


def share(model, report):
    implicit = sum(p.numel() for name, p in model.named_parameters() if report[name].startswith("implicit"))
    return implicit / sum(p.numel() for p in model.parameters())


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("name", SHARES)
def test_the_loss_falls_and_the_share_of_implicit_weights_is_known(name):
    model = zoo.build(name, torch.float32)
    optimizer = sibp.SIBP(model.parameters(), eta=0.3, lam=0.1, max_change=0.1, rest=lambda p: torch.optim.AdamW(p, lr=1e-3))
    losses = [optimizer.step(lambda: zoo.loss_of(name, model)).item() for _ in range(12)]
    assert min(losses[-3:]) < 0.97 * losses[0]
    assert share(model, optimizer.report(model)) == pytest.approx(SHARES[name], abs=0.005)


def test_proxprop_feeds_adam_with_clipping():
    model = zoo.build("residual MLP, GELU", torch.float32)
    oracle, adam = (
        sibp.Oracle(model.parameters(), "proxprop", tau_prox=1.0, cg_steps=3),
        torch.optim.Adam(model.parameters(), lr=0.02),
    )
    losses = []
    for _ in range(40):
        adam.zero_grad()
        with oracle:
            loss = zoo.loss_of("residual MLP, GELU", model)
            loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        assert norm > 0
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
