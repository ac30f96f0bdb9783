"""Block coordinate descent (J 3.3; Zeng, Lau, Lin & Yao 2019): the papers' full-batch rival, without a chain rule.

Letters: B sample, n layer 1..N, I fan-in, O fan-out. Every pre-activation U_n and activation V_n `[B, O]` is a variable; V_0 = x.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import override

from sibp.core.options import Options, Positive
from sibp.methods.base import Method, State
from sibp.nets import bridges, layers, losses, propagation
from sibp.nets.layers import Affine
from sibp.nets.network import Network
from sibp.solvers import blocks
from sibp.solvers.blocks import PROXES, Blocks, chunks

__all__ = ["BCD", "BCDOptions"]

PROBES = 64  # rows of x kept to notice that the samples changed


class BCDOptions(Options):
    """Hyper-parameters of BCD, the names and defaults of the authors' program.

    Attributes:
        alpha: weight of the proximal terms of W, b, U_n (n < N) and V_N, > 0.
        rho: weight of ||V_{n-1} W_n^T + b_n - U_n||^2, > 0.
        gamma: weight of ||V_n - sigma(U_n)||^2, > 0.
    """

    alpha: Positive = 1.0
    rho: Positive = 1.0
    gamma: Positive = 1.0


class BCD(Method[BCDOptions]):
    """Block coordinate descent: one sweep per step, on all samples at once, for an MLP with ReLU (or none).

    A sweep minimises
        1/2 ||V_N - Y||^2 + sum_n rho/2 ||V_{n-1} W_n^T + b_n - U_n||^2 + sum_n gamma/2 ||V_n - sigma_n(U_n)||^2
    over one block after another, from the last layer to the first, some with a proximal term alpha/2 ||. - old||^2:
        V_N = (Y + gamma U_N + alpha V_N) / (1 + gamma + alpha),     U_N = (gamma V_N + rho (V_{N-1} W_N^T + b_N)) / (gamma + rho),
        for n = N..1:  W_n = (alpha W_n + rho (U_n - b_n)^T V_{n-1}) (alpha I + rho V_{n-1}^T V_{n-1})^-1,
                       b_n = (alpha b_n + rho sum_rows(U_n - V_{n-1} W_n^T)) / (alpha + rho B) with the **old** W_n,
                       V_{n-1} = (rho (U_n - b_n) W_n + gamma sigma(U_{n-1})) (rho W_n^T W_n + gamma I)^-1,
                       U_{n-1} = `blocks.relu_prox` of V_{n-1} at (rho (V_{n-2} W_{n-1}^T + b_{n-1}) + alpha U_{n-1}) / (rho + alpha).
    U_N and V_n (n < N) have no alpha term, as in the authors' program. Inverses are Cholesky solves.

    Every step must see the same samples in the same order. The loss is ||V_N - Y||^2/2 on one-hot targets whatever the experiment's
    loss is; that one is only reported. Memory: U and V, 2 B sum(O) numbers per member, plus chunks of 8192 rows.
    Cost per layer: about six products of B I O, and solves of I^3.
    """

    name = "bcd"
    options = BCDOptions
    whole_data = True

    @property
    @override
    def capture_obstacle(self) -> str:
        return "bcd makes its state in the first step and looks whether the samples changed in the others"

    @override
    def prepare(self) -> None:
        first, *others = self.network.layers
        hidden = self.network.layers[:-1]
        flat = all(isinstance(step, bridges.Flatten) for step in first.bridge) and not any(layer.bridge for layer in others)
        if not flat or any(layer.activation not in PROXES for layer in hidden):
            raise ValueError(f"bcd: got {self.network.name}, need dense layers with {' or '.join(PROXES)} between them")

    @classmethod
    @override
    def numbers_per_sample(cls, network: Network) -> int:
        # of x, U and V
        return network.layers[0].fan_in + 2 * sum(layer.fan_out for layer in network.layers)

    def bytes_needed(self, samples: int) -> int:
        """Return the bytes of U and V for all members.

        Args:
            samples: B.

        Returns:
            Bytes.
        """
        size = self.column["alpha"].element_size()
        return 2 * self.size * samples * size * sum(layer.fan_out for layer in self.network.layers)

    def check_memory(self, samples: int) -> None:
        """Refuse what cannot fit.

        Args:
            samples: B.

        Raises:
            MemoryError: if U and V need more than is free.
        """
        need, free = self.bytes_needed(samples), free_bytes(self.column["alpha"].device)
        if free is not None and need > free:
            gib = 2**30
            raise MemoryError(f"bcd: U and V of {samples} samples need {need / gib:.1f} GiB, {free / gib:.1f} GiB are free")

    @override
    @torch.no_grad()
    def step(self, parameters: Sequence[Affine], state: State, x: Tensor, y: Tensor) -> Tensor:
        self.begin(parameters, state, x)
        losses = self.mean_loss(parameters, x, y)
        self.sweep(parameters, state, x, y)
        return losses

    def begin(self, parameters: Sequence[Affine], state: State, x: Tensor) -> None:
        """Fill U and V from a forward pass if the state is empty, else check that x is what they belong to.

        Args:
            parameters: one `Affine` per layer.
            state: U, V and some rows of x, filled in place.
            x: inputs `[E or 1, B, *input_shape]`.

        Raises:
            ValueError: if the samples are not those of the first step. If U and V do not fit, `check_memory` raises.
        """
        probe = x[:, :: max(1, x.shape[1] // PROBES)]
        if state:
            if state["U"][0].shape[1] != x.shape[1] or not torch.equal(state["probe"][0], probe):
                raise ValueError("bcd: the samples changed, need the same ones in the same order: batch_size full, permutation")
            return
        B = x.shape[1]
        self.check_memory(B)
        state["U"] = [x.new_empty(self.size, B, layer.fan_out) for layer in self.network.layers]
        state["V"] = [torch.empty_like(U) for U in state["U"]]
        state["probe"] = [probe.clone()]
        for member in self.members(parameters, state, x, None):
            for n, (U, V) in enumerate(zip(member.U, member.V, strict=True)):
                for rows in chunks(B):
                    U[rows] = member.affine(n, rows)
                    V[rows] = member.activated(n, rows)

    def members(self, parameters: Sequence[Affine], state: State, x: Tensor, y: Tensor | None) -> Iterator[Blocks]:
        """Yield each member's blocks.

        Args:
            parameters: one `Affine` per layer.
            state: from `begin`.
            x: inputs `[E or 1, B, *input_shape]`.
            y: class indices or values; None where no target is needed.

        Yields:
            One `Blocks` after the other.
        """
        rows, _ = propagation.over_bridge(self.network.layers[0], x)
        x = layers.matrix(rows)
        output = state["U"][-1]
        Y = output if y is None else losses.one_hot(output, y.expand(self.size, *y.shape[1:]))
        for e in range(self.size):
            yield Blocks(
                [layer.activation for layer in self.network.layers],
                [W[e] for W, _ in parameters],
                [None if b is None else b[e] for _, b in parameters],
                [U[e] for U in state["U"]],
                [V[e] for V in state["V"]],
                x[e % x.shape[0]],
                Y[e],
                *(self.column[name][e] for name in ("alpha", "rho", "gamma")),
            )

    def mean_loss(self, parameters: Sequence[Affine], x: Tensor, y: Tensor) -> Tensor:
        """Return the network's mean losses, a chunk of samples at a time.

        Args:
            parameters: one `Affine` per layer.
            x: inputs `[E or 1, B, *input_shape]`.
            y: class indices `[E or 1, B]`, or values `[E or 1, B, K]`.

        Returns:
            Losses `[E]`. Cost: one forward pass.
        """
        total = x.new_zeros(self.size)
        for rows in chunks(x.shape[1]):
            part = x[:, rows]
            total += self.loss.value(propagation.output(self.network, parameters, part), y[:, rows]) * part.shape[1]
        return total / x.shape[1]

    @torch.no_grad()
    def sweep(self, parameters: Sequence[Affine], state: State, x: Tensor, y: Tensor) -> None:
        """Update every block of every member once, in place.

        Args:
            parameters: one `Affine` per layer.
            state: from `begin`.
            x: inputs `[E or 1, B, *input_shape]`.
            y: class indices `[E or 1, B]`, or values `[E or 1, B, K]`.
        """
        for member in self.members(parameters, state, x, y):
            blocks.sweep(member)

    @torch.no_grad()
    def objective(self, parameters: Sequence[Affine], state: State, x: Tensor, y: Tensor, *, full: bool = False) -> Tensor:
        """Return 1/2 ||V_N - Y||^2 + sum_n rho/2 ||V_{n-1} W_n^T + b_n - U_n||^2, as the authors' program prints it.

        Args:
            parameters: one `Affine` per layer.
            state: from `begin`.
            x: inputs `[E or 1, B, *input_shape]`.
            y: class indices `[E or 1, B]`, or values `[E or 1, B, K]`.
            full: add sum_n gamma/2 ||V_n - sigma_n(U_n)||^2, which the sweep minimises as well.

        Returns:
            Objectives `[E]`. Cost: one product per layer.
        """
        return torch.stack([blocks.objective(member, full=full) for member in self.members(parameters, state, x, y)])


def free_bytes(device: torch.device) -> int | None:
    """Return the memory that is free on a device.

    Args:
        device: the CPU or a CUDA device.

    Returns:
        Bytes, or None where the system does not say.
    """
    if device.type == "cuda":  # what torch's allocator holds and does not use is free, too
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held
    table = Path("/proc/meminfo")
    if device.type != "cpu" or not table.exists():
        return None
    lines = dict(line.split(":") for line in table.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024
