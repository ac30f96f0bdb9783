"""SIBP line by line, one member, in float64 numpy, with the papers' columns: the slow twin of `sibp.methods.sibp`.

Written for reading next to the papers, not for speed: every trial of a line search computes its product anew, every gradient is formed
in weight space, and nothing is shared with the package.
"""

import numpy as np

SIGMA = {"relu": lambda G: np.maximum(G, 0), "identity": lambda G: G, "tanh": np.tanh}
SLOPE = {"relu": lambda G: (G > 0) * 1.0, "identity": np.ones_like, "tanh": lambda G: 1 - np.tanh(G) ** 2}


def softmax_minus_target(F, Y):
    P = np.exp(F - F.max(axis=0))
    return P / P.sum(axis=0) - Y


def step(Ws, bs, X, Y, eta, lam, solve_hidden, solve_last, activation="relu", new_weights=True):
    """J Algorithm 1 for X [I, B], one-hot Y [K, B], lists of W [O, I] and b [O, 1]; returns new lists."""
    Ws, bs = [W.copy() for W in Ws], [b.copy() for b in bs]
    ones = np.ones((1, X.shape[1]))
    F, G = [X], [None]
    for i, (W, b) in enumerate(zip(Ws, bs, strict=True)):
        G.append(W @ F[i] + b)
        F.append(SIGMA[activation](G[-1]) if i < len(Ws) - 1 else G[-1])
    delta = softmax_minus_target(F[-1], Y)
    for i in reversed(range(len(Ws))):
        last = i == len(Ws) - 1
        name, solve = ("identity", solve_last) if last else (activation, solve_hidden)
        T = F[i + 1] - eta * delta
        old = Ws[i].copy()
        Ws[i] = solve(name, F[i], bs[i] @ ones, T, Ws[i], lam)
        bs[i] = solve(name, ones, Ws[i] @ F[i], T, bs[i], lam)
        back = Ws[i] if new_weights else old
        delta = back.T @ (SLOPE[name](G[i + 1]) * delta)
    return Ws, bs


def objective(name, A, B, T, x, x_old, lam):
    return np.sum((SIGMA[name](x @ A + B) - T) ** 2) + np.sum((x - x_old) ** 2) / (2 * lam)


def gradient(name, A, B, T, x, x_old, lam):
    Z = x @ A + B
    return 2 * ((SIGMA[name](Z) - T) * SLOPE[name](Z)) @ A.T + (x - x_old) / lam


def first_exponent(f, f0, slope, x, d, sigma, first, limit):
    for m in range(first, limit):
        if f(x + 0.6**m * d) < f0 + sigma * 0.6**m * slope:
            return m
    return None


def released_last(name, A, B, T, x_old, lam):
    """The later program on the identity layer: a first gradient without B, and an accepted m = 0 that is never applied."""
    x = x_old.copy()
    g = 2 * (x @ A - T) @ A.T
    d = -g
    for _ in range(5):
        f = lambda v: objective(name, A, B, T, v, x_old, lam)  # noqa: E731
        m = first_exponent(f, f(x), np.sum(g * d), x, d, 0.1, 0, 50)
        if m:
            x = x + 0.6**m * d
        g_new = gradient(name, A, B, T, x, x_old, lam)
        d = -g_new + np.sum(g_new**2) / np.sum(g**2) * d
        g = g_new
    return x


def released_hidden(name, A, B, T, x_old, lam):
    """The later program on a hidden layer: after trial 0 the exponent jumps to an untested w."""
    x = x_old.copy()
    g = gradient(name, A, B, T, x, x_old, lam)
    d = -g
    for _ in range(5):
        f = lambda v: objective(name, A, B, T, v, x_old, lam)  # noqa: E731
        f0, slope = f(x), np.sum(g * d)
        with np.errstate(divide="ignore", invalid="ignore"):
            w = np.floor(np.log(0.01 * f0 / abs(0.1 * slope)) / np.log(0.6))
        w = int(max(np.nan_to_num(w, nan=0.0, neginf=0.0), 0))
        m = w if f(x + d) < f0 + 0.1 * slope else first_exponent(f, f0, slope, x, d, 0.1, w + 1, 50)
        if m:
            x = x + 0.6**m * d
        g_new = gradient(name, A, B, T, x, x_old, lam)
        with np.errstate(invalid="ignore"):
            d = -g_new + np.sum(g_new**2) / np.sum(g**2) * d
        g = g_new
    return x


def released_rowwise(name, A, B, T, x_old, lam):
    """The first program: every row is a problem of its own."""
    rows = [_one_row(name, A, B[[r]], T[[r]], x_old[[r]], lam) for r in range(len(x_old))]
    return np.concatenate(rows)


def _one_row(name, A, B, T, x_old, lam):
    x, n = x_old.copy(), x_old.size
    g_old = d = None
    for k in range(5):
        g = gradient(name, A, B, T, x, x_old, lam)
        if k % (n + 1) == 0:
            d = -g
        else:
            d = -g + np.sum(g**2) / np.sum(g_old**2) * d
            if np.sum(g * d) >= 0:
                d = -g
        if np.linalg.norm(g) < 1e-4:
            break
        f = lambda v: objective(name, A, B, T, v, x_old, lam)  # noqa: E731
        m = first_exponent(f, f(x), np.sum(g * d), x, d, 0.4, 0, 100)
        if m:
            x = x + 0.6**m * d
        g_old = g
    return x


def armijo(name, A, B, T, x_old, lam, iterations=5):
    """The papers' text: Fletcher-Reeves and Armijo, a step that passes is taken, restart where d does not descend."""
    x = x_old.copy()
    d = g_old = None
    for _ in range(iterations):
        g = gradient(name, A, B, T, x, x_old, lam)
        if d is None:
            d = -g
        else:
            with np.errstate(invalid="ignore"):
                d = -g + np.sum(g**2) / np.sum(g_old**2) * d
            if not np.sum(g * d) < 0:
                d = -g
        f = lambda v: objective(name, A, B, T, v, x_old, lam)  # noqa: E731
        m = first_exponent(f, f(x), np.sum(g * d), x, d, 0.1, 0, 50)
        if m is not None:
            x = x + 0.6**m * d
        g_old = g
    return x


def newton(name, A, B, T, x_old, lam, iterations=5):
    """Fletcher-Reeves with the minimiser of the Gauss-Newton model along d, halved twice if that does not lower f."""
    x = x_old.copy()
    d = g_old = None
    for _ in range(iterations):
        g = gradient(name, A, B, T, x, x_old, lam)
        if d is None:
            d = -g
        else:
            with np.errstate(invalid="ignore"):
                d = -g + np.sum(g**2) / np.sum(g_old**2) * d
            if not np.sum(g * d) < 0:
                d = -g
        bend = 2 * np.sum((SLOPE[name](x @ A + B) * (d @ A)) ** 2) + np.sum(d**2) / lam
        t = -np.sum(g * d) / bend if bend > 0 else 0.0
        f = lambda v: objective(name, A, B, T, v, x_old, lam)  # noqa: E731
        for trial in (t, t / 2, t / 4):
            if f(x + trial * d) < f(x):
                x = x + trial * d
                break
        g_old = g
    return x


SOLVERS = {
    "newton": (newton, newton),
    "armijo": (armijo, armijo),
    "released": (released_hidden, released_last),
    "released-rowwise": (released_rowwise, released_rowwise),
}
