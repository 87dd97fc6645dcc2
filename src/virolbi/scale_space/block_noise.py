"""The noise that blocks of an image show: which of them hold no structure, and what is drawn."""

import numpy as np

from virolbi._engine import (
    ALIKE,
    ALONE,
    COARSE,
    EQUAL,
    FINE,
    FLAT,
    MEAN,
    NEAR,
    OUTLIERS,
    SHARED,
    STEP,
    compiled,
)

# Chosen by hand; no rows of other values were kept.
OUTLIER = 0.4  # gap to all four neighbours that makes a pixel an outlier, in intensity
NEAR_STEP = 0.1  # difference of pixels, in intensity, up to which they are near
FLAT_BLOCK = 0.9  # blocks of more flat pixels hold no noise: bars, cut-outs, clipped sky
GROUPS, GROUP = 8, 6  # groups of like brightness at most, and blocks in each at least
QUIET = 0.3  # share of each group with the least coarse variation, from which noise is read
LIKE = 1.6  # and all blocks whose coarse variation is at most this multiple of theirs
CALM = 0.6  # share of each group on which fine variation is related to coarse variation
STEEPEST = 0.5  # fine variation of structure, at most, by its coarse variation
FEW = 20.0  # blocks from which that relation is half believed
LEVELS, BINARY = 0.03, 0.9  # between these least differences, an image counts as one of few levels
# Range, in sigmas, that 9 % of groups of eight values of Gaussian noise exceed (simulated).
RANGE = 4.0
# Share of near pairs in near and equal ones, in drawings and in noise. Read from 113 pictures that
# were drawn or computed, and 78 photographs and scans with noise (docs/denoising.md).
DRAWN, NOISY = 0.3, 0.5
# Outliers of drawings, as a root mean square: up to the first they are dots of print, from the
# second noise. 45 clean pages of small print had up to 0.05, one full of signs 0.07; impulses in
# 1 % of their pixels 0.07 to 0.09, in 2 % 0.10 to 0.12 (docs/denoising.md).
DOTS, IMPULSES = 0.09, 0.11


@compiled
def noise_of_blocks(statistics: np.ndarray, noise: np.ndarray) -> None:
    """Write the noise that the blocks of each image show.

    statistics: (N, B, STATISTICS), of `virolbi._engine.block_statistics`. noise: (N, 4), the
    result: variance without outliers; mean square of outliers; by how much the coarse variation of
    the blocks that were used exceeds their fine one, which is 0 where they hold white noise alone;
    and by how much their fine variation exceeds the shared one, which is 0 where channels are
    alike. All are 0 if all blocks are flat.

    Noise depends on brightness, so blocks are compared with blocks of like brightness: each group
    holds the same number of them, and the mean over groups is the mean over the image. In a group
    the blocks of least coarse variation are taken, which is independent of the fine variation of
    white noise; a choice by the fine variation itself would be biased. What remains of structure in
    them is subtracted: fine variation grows along a line with coarse variation, and white noise is
    where the two are equal on that line. In an image that is drawn, such as text, all this can be
    structure, see `_noisy_share`.

    Lines and contours are outliers too, but not where the eight neighbours are alike; impulses are
    as frequent there as elsewhere. Strong noise leaves few such places, and needs all of them. A
    drawing has dots, so its outliers count only where they are many.
    """
    for n in range(len(statistics)):
        blocks = statistics[n][statistics[n, :, FLAT] <= FLAT_BLOCK]
        noise[n] = 0
        if len(blocks) == 0:
            continue
        for variation in (FINE, COARSE, SHARED):
            blocks[:, variation] /= 1 - blocks[:, FLAT]  # flat pixels hold no noise
        groups = min(GROUPS, max(1, len(blocks) // GROUP))
        order = np.argsort(blocks[:, MEAN])
        fine = coarse = shared = product = square = 0.0
        for g in range(groups):
            part = blocks[order[g * len(order) // groups : (g + 1) * len(order) // groups]]
            part = part[np.argsort(part[:, COARSE])]
            quiet = max(1, round(QUIET * len(part)))
            limit = LIKE * part[:quiet, COARSE].mean()
            quiet = max(quiet, np.searchsorted(part[:, COARSE], limit))
            fine += part[:quiet, FINE].mean() / groups
            coarse += part[:quiet, COARSE].mean() / groups
            shared += part[:quiet, SHARED].mean() / groups
            both, own = _relation(part[: max(1, round(CALM * len(part)))])
            product, square = product + both, square + own
        slope = min(max(product / max(square, 1e-30), 0.0), STEEPEST)
        slope *= len(blocks) * CALM / (len(blocks) * CALM + FEW)
        excess = max(coarse - fine, 0.0)
        share = _noisy_share(blocks, statistics[n, :, STEP].min())
        dense = share * max(fine - slope / (1 - slope) * excess, 0.0)
        if dense > (OUTLIER / RANGE) ** 2:
            noise[n, 1] = blocks[:, OUTLIERS].mean()
        elif blocks[:, ALIKE].any():
            noise[n, 1] = blocks[:, ALONE].sum() / blocks[:, ALIKE].sum()
        many = (noise[n, 1] - DOTS**2) / (IMPULSES**2 - DOTS**2)
        noise[n, 1] *= max(share, min(max(many, 0.0), 1.0))
        noise[n, 0], noise[n, 2] = dense, share * excess
        noise[n, 3] = share * max(fine - shared, 0.0)


@compiled
def _noisy_share(blocks: np.ndarray, step: float) -> float:
    """Return how far the variation of an image can be noise, from 0 (drawn) to 1.

    In noise, differences of a pixel to the next that are small are more frequent than those that
    are 0. In text, plots and drawings most pixels are equal, and others far apart. An image of few
    levels, as a count of photons is, has no small differences, and is not judged. Black and white
    alone are drawn. step: the least difference in the image.
    """
    if LEVELS < step < BINARY:
        return 1.0
    equal, near = blocks[:, EQUAL].sum(), blocks[:, NEAR].sum()
    share: float = near / max(near + equal, 1e-30)
    return min(max((share - DRAWN) / (NOISY - DRAWN), 0.0), 1.0)


@compiled
def _relation(blocks: np.ndarray) -> tuple[float, float]:
    """Return the covariance of fine and coarse variation, and the variance of the latter.

    Both are relative to the mean coarse variation; blocks count by 1 / coarse^2, because variations
    of a block scatter in proportion to themselves.
    """
    total = first = second = 0.0
    for block in blocks:
        weight = 1 / (block[COARSE] + 1e-10) ** 2
        total += weight
        first += weight * block[FINE]
        second += weight * block[COARSE]
    first, second = first / total, second / total
    both = own = 0.0
    for block in blocks:
        weight = 1 / (block[COARSE] + 1e-10) ** 2 / total
        both += weight * (block[FINE] - first) * (block[COARSE] - second)
        own += weight * (block[COARSE] - second) ** 2
    scale = (blocks[:, COARSE].mean() + 1e-10) ** 2
    return both / scale, own / scale
