"""The brightness that noise has lost at black and at white.

An image holds nothing darker than black and nothing brighter than white. Where noise would go
beyond, pixels lie at the limit itself, and means over them are too bright near black and too dark
near white. How strong the noise was is seen in how many pixels lie there; from it follows which
brightness a mean stands for.
"""

import math
from itertools import product
from statistics import NormalDist

import numpy as np

from virolbi._engine import compiled, look_up, parallel

# Chosen on 20 photographs of imagenet400; no rows of other values were kept.
BINS = 256  # of brightness, from the limit on
PER_NOISE = 16  # bins in the strength of the noise that was seen
SHARES = 0.05, 0.45  # of pixels at the limit, in bins that tell how strong the noise was
ENOUGH = 100  # pixels in such bins
# Clipped noise has values close to the limit. Few photons have none, impulses hardly any.
COARSEST = 0.33  # distance of the limit and the next value, at most, by the noise
NEAR, AGREE = 0.25, (0.5, 2.0)  # what is close, by the noise; how much, by what is expected
TINY = 1e-9  # distance of values that counts as none, by the width of a bin; quotients are finite
MOST = 4.0  # strength before clipping, at most, by the noise that was seen


def undo_clipping(
    denoised: np.ndarray,
    noisy: np.ndarray,
    strength: np.ndarray,
    delta: float,
    hidden: np.ndarray | None = None,
) -> None:
    """Move the brightness near the limits of each plane to what it was without clipping, in place.

    Parameters
    ----------
    denoised : ndarray of float, shape (N, C, H, W)
        Intensities after noise was removed, between the least and the largest of each plane of
        `noisy`. Nothing is changed where the noise is not seen to be clipped.
    noisy : ndarray of float, shape (N, C, H, W)
        Intensities before. Limits are the least and the largest of each plane.
    strength : ndarray of float, shape (N,)
        Standard deviation of the noise that was seen; planes with 0 are left as they are.
    delta : float
        Intensity beyond which pixels counted as outliers when noise was removed.
    hidden : ndarray of bool, shape (N, H, W), optional
        Pixels that were filled in, and have no noise of their own: they are moved as all others,
        and do not count.

    Notes
    -----
    Noise is taken to be normal before clipping, as in A. Foi, "Clipped noisy images:
    heteroskedastic modeling and practical denoising", Signal Processing, 2009. There its strength
    comes from a fit to the whole image; here from pixels at the limit: where a share p of those
    that were denoised to m lie at it, the noise has the strength s and the brightness s t, with
    p = Phi(-t), at which m is the Huber location of max(0, s (t + n)), n standard normal.

    Noise that is not clipped puts few pixels at the limit, and nothing changes. Impulses and few
    photons put many there, but hardly any close to it, and nothing changes either.
    """

    def work(place: tuple[int, int]) -> None:
        visible = ... if hidden is None else ~hidden[place[0]]
        seen = np.atleast_2d(noisy[place][visible])
        if not seen.size:
            return
        size = float(strength[place[0]]) / PER_NOISE
        for limit, step in ((seen.min(), size), (seen.max(), -size)):
            table = _brightness(np.atleast_2d(denoised[place][visible]), seen, limit, step, delta)
            if table is not None:
                look_up(denoised[place], limit, step, table, denoised[place])

    parallel(work, product(np.flatnonzero(strength > 0), range(noisy.shape[1])), apart=True)


def _brightness(
    denoised: np.ndarray, noisy: np.ndarray, limit: float, step: float, delta: float
) -> np.ndarray | None:
    """Return the brightness without clipping of intensities from a limit on, `step` after `step`.

    None where the noise is not seen to be clipped there.
    """
    size = abs(step)
    counts = np.zeros((BINS, 2), np.int64)
    count_at_limit(denoised, noisy, limit, step, counts)
    share = counts[:, 1] / np.maximum(counts[:, 0], 1)
    telling = (share > SHARES[0]) & (share < SHARES[1])
    if counts[telling, 0].sum() < ENOUGH:
        return None
    middle = (np.arange(BINS) + 0.5) * size
    depth = np.array([-NormalDist().inv_cdf(part) for part in share[telling]])
    strengths = clipped_strengths(middle[telling], depth, delta)
    strength = _weighted_median(strengths, counts[telling, 0])
    value = max(least_distance(noisy, limit), TINY * size)
    if strength > MOST * PER_NOISE * size or value > COARSEST * strength:
        return None
    ends = np.arange(BINS + 1) * size
    location = clipped_locations(ends / strength, strength, delta)
    depth = np.interp(middle, location, ends) / strength
    # rounded values stand for all that are nearer to them than to the next
    near = (max(round(NEAR * strength / value), 1) + 0.5) * value
    shares = normal(near / strength - depth) - normal(value / (2 * strength) - depth)
    expected, found = counts[:, 0] @ shares, count_near(noisy, limit, math.copysign(near, step))
    if not AGREE[0] * expected < found < AGREE[1] * expected:
        return None
    table: np.ndarray = limit + math.copysign(1, step) * np.interp(ends, location, ends)
    return table


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])


@compiled
def count_at_limit(
    denoised: np.ndarray, noisy: np.ndarray, limit: float, step: float, counts: np.ndarray
) -> None:
    """Count the pixels of each bin of denoised intensities, and those of them at the limit.

    denoised, noisy: (H, W). Bin k begins at limit + k step. counts: (BINS, 2), the result, to which
    is added. Pixels beyond the last bin do not count.
    """
    for y in range(noisy.shape[0]):
        for x in range(noisy.shape[1]):
            k = int((denoised[y, x] - limit) / step)
            if 0 <= k < len(counts):
                counts[k, 0] += 1
                counts[k, 1] += noisy[y, x] == limit


@compiled
def least_distance(noisy: np.ndarray, limit: float) -> float:
    """Return the distance of the limit to the next value in a plane, (H, W); infinite for none."""
    least = np.inf
    for row in noisy:
        for value in row:
            if value != limit:
                least = min(least, abs(value - limit))
    return least


@compiled
def count_near(noisy: np.ndarray, limit: float, reach: float) -> int:
    """Count the pixels of a plane, (H, W), between the limit and limit + reach, without both."""
    count = 0
    for row in noisy:
        for value in row:
            place = (value - limit) / reach
            count += 0 < place < 1
    return count


@compiled
def clipped_strengths(location: np.ndarray, depth: np.ndarray, delta: float) -> np.ndarray:
    """Return the strengths of noise that have these locations after clipping at 0.

    location: brightness to which such pixels are denoised. depth: brightness without noise by the
    strength of the noise, > 0.
    """
    result = np.empty(len(location))
    for i in range(len(location)):
        low, high = 0.0, location[i] / depth[i]  # the location is above that without clipping
        for _ in range(40):
            middle = (low + high) / 2
            if _pull(location[i], depth[i] * middle, middle, delta) > 0:
                high = middle
            else:
                low = middle
        result[i] = high
    return result


@compiled
def clipped_locations(depth: np.ndarray, strength: float, delta: float) -> np.ndarray:
    """Return the locations of noise of a strength after clipping at 0, see `clipped_strengths`."""
    result = np.empty(len(depth))
    for i in range(len(depth)):
        low, high = 0.0, strength * (max(depth[i], 0.0) + 1)
        for _ in range(40):
            middle = (low + high) / 2
            if _pull(middle, depth[i] * strength, strength, delta) > 0:
                low = middle
            else:
                high = middle
        result[i] = low
    return result


@compiled
def _pull(location: float, brightness: float, strength: float, delta: float) -> float:
    """Return the mean of the Huber score of clipped noise about a location; 0 at its own.

    The mean of clip(Y - location, -delta, delta) is the integral of P(Y > u) over these bounds, by
    u - location, less delta; P(Y > u) is 1 below 0, and above it that of the noise.
    """
    delta = min(delta, 16 * strength + location)  # the same, and finite
    low, high = max(location - delta, 0.0), location + delta
    upper = _integral((brightness - high) / strength)
    lower = _integral((brightness - low) / strength)
    pull: float = max(delta - location, 0.0) + strength * (lower - upper) - delta
    return pull


@compiled
def _integral(x: float) -> float:
    """Return the integral of the normal distribution function up to x."""
    density = math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    integral: float = x * (1 + math.erf(x / math.sqrt(2))) / 2 + density
    return integral


@compiled
def normal(x: np.ndarray) -> np.ndarray:
    """Return the normal distribution function."""
    result = np.empty(len(x))
    for i in range(len(x)):
        result[i] = (1 + math.erf(x[i] / math.sqrt(2))) / 2
    return result
