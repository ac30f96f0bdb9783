"""One sweep of BCD as the released notebooks write it, any depth, float64 numpy, samples as columns, with explicit inverses."""

import numpy as np

relu = lambda A: np.maximum(A, 0)  # noqa: E731


def relu_prox(a, b, g):
    """The notebooks' three overlapping assignments, in their order: later ones win."""
    val = np.where(a + g * b < 0, np.minimum(b, 0), 0.0)
    c = a * (g - np.sqrt(g * (g + 1)))
    val = np.where(((a + g * b >= 0) & (b >= 0)) | ((c <= g * b) & (b < 0)), (a + g * b) / (1 + g), val)
    return np.where((-a <= g * b) & (g * b <= c), b, val)


def initial(W, b, X):
    U, V = [], [X]
    for n, (Wn, bn) in enumerate(zip(W, b, strict=True)):
        U.append(Wn @ V[-1] + bn)
        V.append(relu(U[-1]) if n < len(W) - 1 else U[-1].copy())
    return U, V


def update_wb(U, V, W, b, alpha, rho):
    d, N = V.shape
    W_new = (alpha * W + rho * (U - b) @ V.T) @ np.linalg.inv(alpha * np.eye(d) + rho * V @ V.T)
    b_new = (alpha * b + rho * np.sum(U - W @ V, axis=1, keepdims=True)) / (rho * N + alpha)
    return W_new, b_new


def update_v(U_below, U_above, W, b, rho, gamma):
    d = W.shape[1]
    return np.linalg.inv(rho * W.T @ W + gamma * np.eye(d)) @ (rho * W.T @ (U_above - b) + gamma * relu(U_below))


def sweep(W, b, U, V, Y, alpha, rho, gamma):
    """Update the lists in place; V[0] is the data, V[n + 1] and U[n] belong to layer n."""
    last = len(W) - 1
    V[-1] = (Y + gamma * U[-1] + alpha * V[-1]) / (1 + gamma + alpha)
    U[-1] = (gamma * V[-1] + rho * (W[-1] @ V[-2] + b[-1])) / (gamma + rho)
    for n in range(last, 0, -1):
        W[n], b[n] = update_wb(U[n], V[n], W[n], b[n], alpha, rho)
        V[n] = update_v(U[n - 1], U[n], W[n], b[n], rho, gamma)
        at = (rho * (W[n - 1] @ V[n - 1] + b[n - 1]) + alpha * U[n - 1]) / (rho + alpha)
        U[n - 1] = relu_prox(V[n], at, (rho + alpha) / gamma)
    W[0], b[0] = update_wb(U[0], V[0], W[0], b[0], alpha, rho)


def objective(W, b, U, V, Y, rho):
    total = 0.5 * np.linalg.norm(V[-1] - Y) ** 2
    for n in range(len(W)):
        total += rho / 2 * np.linalg.norm(W[n] @ V[n] + b[n] - U[n]) ** 2
    return total
