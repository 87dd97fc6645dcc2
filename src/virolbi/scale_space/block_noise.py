"""The noise that blocks of an image show: which of them hold no structure, and what is drawn."""

import math

import numpy as np

from virolbi._engine import (
    ALIKE,
    ALONE,
    BLACK,
    COARSE,
    FINE,
    FLAT,
    LIMITS,
    MEAN,
    OUTLIERS,
    PAIRS,
    ROUNDED,
    SHARED,
    STEP,
    WITHIN,
    compiled,
)
from virolbi.scale_space.noise_level import BRIGHTNESS, VARIANCE, WEIGHT

# Chosen by hand; no rows of other values were kept.
OUTLIER = 0.4  # gap to all four neighbours that makes a pixel an outlier, in intensity
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
# Gaussian noise of 0.25 has the fine variation STRONG and outliers of the mean square EXPLAINED,
# and weaker noise less by this power. Noise of 0.15, 0.2 and 0.25 loses 1.1, 0.8 and 0.7 times
# that (all simulated).
STRONG, EXPLAINED, STEEP, LOST = 0.0406, 0.0128, 4.8, 0.75
# Shares of the excess of coarse variation that may be texture: in noise that channels do not share,
# and in the rest, which is all of it in grey.
DOUBT, SHARED_DOUBT = 0.05, 0.4
DISTRUST = 2.0  # by which excess lowers the weight of a group in `fit_noise_level`
# Columns of the noise of images
GRAIN, TEXTURE_FREE, IMPULSES = range(3)
# Share of small differences of neighbouring pixels, up to LIMITS[NEAR], that are not 0, in drawings
# and in noise. Read from 113 pictures that were drawn or computed, and 78 photographs and scans
# with noise.
NEAR, DRAWN, NOISY = 8, 0.3, 0.5
LEAST = 0.25  # share of differences of neighbouring pixels, the least ones, that bound the noise
MARGIN = 1.3  # by how much more than they show its variance may be


@compiled
def noise_of_blocks(
    statistics: np.ndarray, channels: int, noise: np.ndarray, levels: np.ndarray
) -> None:
    """Write the noise that the blocks of each image show.

    statistics: (N, B, STATISTICS), of `virolbi._engine.block_statistics`. noise: (N, 3), the
    result: variance without outliers (GRAIN); the part of it that is no texture (TEXTURE_FREE);
    mean square of outliers (IMPULSES). All are 0 if all blocks are flat. levels: (N, GROUPS, 3), a
    second result: brightness, variance and weight of groups of blocks, see `fit_noise_level`.

    Noise depends on brightness, so blocks are compared with blocks of like brightness: each group
    holds the same number of them, and the mean over groups is the mean over the image. In a group
    the blocks of least coarse variation are taken, which is independent of the fine variation of
    white noise; a choice by the fine variation itself would be biased. What remains of structure in
    them is subtracted: fine variation grows along a line with coarse variation, and white noise is
    where the two are equal on that line. In print, plots and drawings all of this can be structure,
    see `_noisy_share`; and after losses, as in JPEG files, the noise is at most what the least
    differences of neighbouring pixels show, see `_bound`.

    Lines and contours are outliers too, but not where the eight neighbours are alike; impulses are
    as frequent there as elsewhere. Strong noise leaves few such places, and needs all of them; and
    the filters see less than the rest of it, see `_lost`. A drawing has dots, so outliers count if
    they are more than the structure that passed for noise.
    """
    for n in range(len(statistics)):
        blocks = statistics[n][statistics[n, :, FLAT] <= FLAT_BLOCK]
        noise[n] = levels[n] = 0
        if len(blocks) == 0:
            continue
        for variation in (FINE, COARSE, SHARED):
            blocks[:, variation] /= 1 - blocks[:, FLAT]  # flat pixels hold no noise
        step = statistics[n, :, STEP].min()
        number = min(GROUPS, max(1, len(blocks) // GROUP))
        order = np.argsort(blocks[:, MEAN])
        groups = np.empty((number, 4))  # fine, coarse and shared variation, brightness
        bounds = np.empty(number)
        product = square = 0.0
        for g in range(number):
            part = blocks[order[g * len(order) // number : (g + 1) * len(order) // number]]
            part = part[np.argsort(part[:, COARSE])]
            fine, coarse, shared = _variations(part[: _quiet_count(part)])
            # the differences are of the mean over channels, as the shared variation is
            bounds[g] = min(_bound(part, step, channels) / max(shared, 1e-30), 1.0)
            lost = _lost(fine, part[:, OUTLIERS].mean())
            shared *= 1 + lost / max(fine, 1e-30)
            groups[g] = fine + lost, coarse + lost, shared, part[:, MEAN].mean()
            both, own = _relation(part[: max(1, round(CALM * len(part)))])
            product, square = product + both, square + own
        slope = min(max(product / max(square, 1e-30), 0.0), STEEPEST)
        slope *= len(blocks) * CALM / (len(blocks) * CALM + FEW)
        structure = slope / (1 - slope)  # in fine variation, by the excess of the coarse one
        fine, coarse = groups[:, 0].mean(), groups[:, 1].mean()
        found = max(fine - structure * max(coarse - fine, 0.0), 0.0)
        grain = _noisy_share(blocks, step) * min(found, np.median(bounds) * fine)
        outliers = 0.0
        if grain > (OUTLIER / RANGE) ** 2:
            outliers = blocks[:, OUTLIERS].mean()
        elif blocks[:, ALIKE].any():
            outliers = blocks[:, ALONE].sum() / blocks[:, ALIKE].sum()
        outliers *= min(max(outliers / max(found - grain, 1e-30) - 1, 0.0), 1.0)
        noise[n, GRAIN], noise[n, IMPULSES] = grain, outliers
        _write_levels(groups, structure, levels[n])
        share = grain / max(found, 1e-30)
        noise[n, TEXTURE_FREE] = min(grain, _texture_free(groups, structure, share, channels))


@compiled
def _texture_free(groups: np.ndarray, structure: float, share: float, channels: int) -> float:
    """Return the part of the noise that is no texture.

    Texture has more coarse than fine variation, and noise has not, so a share of that excess does
    not count; nor can it be more than the noise of its own group, so that one with much structure
    says nothing about the others. Texture is much the same in all channels: what they do not share
    is noise rather than texture, and less of the excess is in doubt.

    groups: (groups, 4), fine, coarse and shared variation, and brightness. share: of the noise that
    was found.
    """
    total = 0.0
    for fine, coarse, shared, _ in groups:
        excess = max(coarse - fine, 0.0)
        grain = share * max(fine - structure * excess, 0.0)
        own = share * max(fine - shared, 0.0) * channels / max(channels - 1, 1)
        own = min(grain, own)
        total += max(own - DOUBT * excess, 0.0) + max(grain - own - SHARED_DOUBT * excess, 0.0)
    return total / len(groups)


@compiled
def _write_levels(groups: np.ndarray, structure: float, levels: np.ndarray) -> None:
    """Write the brightness and variance of groups; the more structure, the less they weigh."""
    for g, (fine, coarse, _, brightness) in enumerate(groups):
        excess = max(coarse - fine, 0.0)
        levels[g, BRIGHTNESS] = brightness
        levels[g, VARIANCE] = max(fine - structure * excess, 0.0)
        levels[g, WEIGHT] = 1 / (fine + DISTRUST * excess + 1e-9)


@compiled
def _quiet_count(blocks: np.ndarray) -> int:
    """Return how many of the blocks of a group, sorted by their coarse variation, are used."""
    least = max(1, round(QUIET * len(blocks)))
    limit = LIKE * blocks[:least, COARSE].mean()
    return int(max(least, np.searchsorted(blocks[:, COARSE], limit)))


@compiled
def _variations(blocks: np.ndarray) -> tuple[float, float, float]:
    """Return the mean fine, coarse and shared variation of blocks."""
    return blocks[:, FINE].mean(), blocks[:, COARSE].mean(), blocks[:, SHARED].mean()


@compiled
def _lost(fine: float, outliers: float) -> float:
    """Return the variance of strong Gaussian noise that is neither fine variation nor outliers.

    The median in the place of an outlier goes along with its neighbours, which the filters see as
    structure. Other outliers, such as impulses, are more than the variation beside them explains.
    """
    return LOST * min(outliers, EXPLAINED * float((fine / STRONG) ** STEEP))


@compiled
def _noisy_share(blocks: np.ndarray, step: float) -> float:
    """Return how far the variation of an image can be noise, from 0 (drawn) to 1.

    In noise, differences of a pixel to the next that are small are more frequent than those that
    are 0. In text, plots and drawings most pixels are equal, and others far apart. An image of few
    levels, as a count of photons is, has no small differences, and is not judged. Black and white
    alone are drawn.
    """
    if LEVELS < step < BINARY:
        return 1.0
    equal, near = blocks[:, WITHIN].sum(), blocks[:, WITHIN + NEAR].sum()
    share: float = 1 - equal / max(near, 1e-30)
    return min(max((share - DRAWN) / (NOISY - DRAWN), 0.0), 1.0)


@compiled
def _bound(blocks: np.ndarray, step: float, channels: int) -> float:
    """Return the variance of noise whose least differences are as small as here.

    Structure makes differences larger. So this is no less than the noise, if that is alike in all
    blocks; and in print, where all blocks have strokes and most pixels between them are alike, it
    is far less than the variation of blocks. Values are multiples of a step, so differences up to a
    limit stand for those up to the middle of two multiples; or up to the second of them in images
    of few levels, as counts of photons are. Noise on black is cut off there, which makes pairs that
    are equal by chance; these do not count. Those on white do: it is the paper of print.

    step: the least difference in the image.
    """
    middle = 1.0 if step > LEVELS else 0.5
    step = min(max(step, 1e-9), 1.0)
    chance = blocks[:, BLACK].mean() ** 2
    for k in range(len(LIMITS)):
        share = blocks[:, WITHIN + k].sum() / max(blocks[:, PAIRS].sum(), 1e-30)
        share = min((share - chance) / max(1 - chance, 1e-9), 1 - 1e-9)
        if share >= LEAST:
            steps = math.floor((LIMITS[k] * channels + ROUNDED) / step)  # in the sum over channels
            limit = middle * step if steps == 0 else (steps + middle) * step / channels
            # the error function of half of limit / sigma is the share; Winitzki's inverse of it
            rest = math.log(1 - share * share)
            half = 2 / (math.pi * 0.147) + rest / 2
            inverse = math.sqrt(math.sqrt(half * half - rest / 0.147) - half)
            variance: float = (limit / (2 * inverse)) ** 2
            return variance if steps == 0 else MARGIN * variance
    return np.inf


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
