"""ProxBP and ProxProp line by line, one member, float64: the slow twin of `sibp.methods.proxbp` and `sibp.methods.proxprop`.

Errors come from autograd, convolutions are torch's, and a layer is the matrix of the linear map theta -> phi(theta, a), built
column by column from basis vectors; nothing is shared with the package.
"""

import torch
from torch import nn
from torch.nn import functional


def errors(model, x, y, reduction):
    """One pass of back propagation: per parametric layer the module, its input and dJ/dz; p.grad holds the plain gradient."""
    seen = []
    for p in model.parameters():
        p.grad = None
    for module in model:
        a, x = x, module(x)
        if isinstance(module, nn.Linear | nn.Conv2d):
            x.retain_grad()
            seen.append((module, a.detach(), x))
    functional.cross_entropy(x, y, reduction=reduction).backward()
    return [(module, a, z.grad) for module, a, z in seen]


def phi(module, theta, a):
    """The layer's output for the columns theta: [W^T; b] of a dense layer, all of (W, b) in one column of a convolution."""
    if isinstance(module, nn.Linear):
        return torch.cat([a, torch.ones(len(a), 1, dtype=a.dtype)], 1) @ theta
    W, b = theta[: module.weight.numel(), 0], theta[module.weight.numel() :, 0]
    z = functional.conv2d(a, W.view_as(module.weight), b, module.stride, module.padding)
    return z.reshape(-1, 1)


def columns(module, W, b):
    if isinstance(module, nn.Linear):
        return torch.cat([W.T, b[None]])
    return torch.cat([W.flatten(), b])[:, None]


def uncolumns(module, theta):
    if isinstance(module, nn.Linear):
        return theta[:-1].T, theta[-1]
    size = module.weight.numel()
    return theta[:size, 0].view_as(module.weight), theta[size:, 0]


def matrix(module, a):
    """The matrix A of theta -> phi(theta, a) for one column."""
    size = module.in_features + 1 if isinstance(module, nn.Linear) else module.weight.numel() + module.bias.numel()
    if isinstance(module, nn.Linear):
        return phi(module, torch.eye(size, dtype=a.dtype), a)
    return torch.cat([phi(module, e[:, None], a) for e in torch.eye(size, dtype=a.dtype)], 1)


def released_block(A, Y, Z, tau, maxit):
    """The authors' program's conjugate gradient on (A^T A + 1/tau) X = A^T Y + 1/tau Z, one array for P and R in pass one."""
    apply = lambda V: A.T @ (A @ V) + V / tau  # noqa: E731
    B = A.T @ Y + Z / tau
    X = Z.clone()
    R = B - apply(X)
    P = R
    Rs_old = (R * R).sum(0)
    scale = Rs_old.mean()
    k = 0
    while True:
        k += 1
        AP = apply(P)
        alpha = Rs_old / ((P * AP).sum(0) + 1e-6)
        X += P * alpha
        if k == maxit:
            break
        R -= AP * alpha
        Rs_new = (R * R).sum(0)
        if Rs_new.max() < 1e-4 * scale:
            break
        P = R + P * (Rs_new / (Rs_old + 1e-6))
        Rs_old = Rs_new
    return X


def linear_cg(A, Y, Z, mu, iterations):
    """Textbook conjugate gradient on (A^T A + mu) X = A^T Y + mu Z from X = Z, column by column."""
    X = Z.clone()
    for j in range(Z.shape[1]):
        x = Z[:, j].clone()
        r = A.T @ (Y[:, j] - A @ x)
        p = r.clone()
        for _ in range(iterations):
            Ap = A.T @ (A @ p) + mu * p
            t = (r @ r) / (p @ Ap)
            x = x + t * p
            r_new = r - t * Ap
            p = r_new + (r_new @ r_new) / (r @ r) * p
            r = r_new
        X[:, j] = x
    return X


def exact(A, Y, Z, mu):
    return torch.linalg.solve(A.T @ A + mu * torch.eye(A.shape[1], dtype=A.dtype), A.T @ Y + mu * Z)


def proxprop(model, x, y, tau, mode, reduction="mean"):
    """Return what the released layers leave in .grad: modes exact, gradient, cgN; the last layer's is the gradient."""
    result = []
    seen = errors(model, x, y, reduction)
    for module, a, g in seen[:-1]:
        A, Z = matrix(module, a), columns(module, module.weight.detach(), module.bias.detach())
        z = phi(module, Z, a)
        Y = z - g.reshape(z.shape)
        if mode == "exact":
            X = exact(A, Y, Z, 1 / tau)
        elif mode == "gradient":
            X = Z - A.T @ (A @ Z - Y)
        else:
            X = released_block(A, Y, Z, tau, int(mode.removeprefix("cg")))
        result += uncolumns(module, Z - X)
    return [*result, seen[-1][0].weight.grad, seen[-1][0].bias.grad]


def proxbp(model, x, y, eta, lam, iterations):
    """One step of J 3.2 on all layers with the bias folded in; `iterations` None solves exactly."""
    for module, a, g in errors(model, x, y, "sum"):
        A, Z = matrix(module, a), columns(module, module.weight.detach(), module.bias.detach())
        z, mu = phi(module, Z, a), 1 / (2 * lam)
        Y = z - eta * g.reshape(z.shape)
        X = exact(A, Y, Z, mu) if iterations is None else linear_cg(A, Y, Z, mu, iterations)
        W, b = uncolumns(module, X)
        with torch.no_grad():
            module.weight.copy_(W)
            module.bias.copy_(b)
