"""The paper's iteration on one plane, for `virolbi.scale_space.lbi`; no part of the path."""

import numpy as np

from virolbi._engine.compile import compiled


@compiled
def iterate(y, beta, z, gamma, kappa, alpha, nu, delta, goal, limit):
    """Iterate on one plane, in place, until `goal` entries of gamma are not 0, or to the limit.

    Returns the number of iterations.
    """
    height, width = y.shape
    slope = np.empty_like(y)
    inside = int(np.count_nonzero(gamma))
    iteration = 0
    while inside < goal and iteration < limit:
        for i in range(height):
            for j in range(width):
                slope[i, j] = min(max(beta[i, j] - y[i, j], -delta), delta)
        inside = 0
        e = 0
        for down in range(2):  # horizontal edges, then vertical ones
            for i in range(height - down):
                for j in range(width - 1 + down):
                    other = (i + 1, j) if down else (i, j + 1)
                    force = (beta[other] - beta[i, j] - gamma[e]) / nu
                    slope[other] += force
                    slope[i, j] -= force
                    z[e] += alpha * force
                    gamma[e] = kappa * np.sign(z[e]) * max(abs(z[e]) - 1, 0)
                    inside += gamma[e] != 0
                    e += 1
        for i in range(height):
            for j in range(width):
                beta[i, j] -= kappa * alpha * slope[i, j]
        iteration += 1
    return iteration
