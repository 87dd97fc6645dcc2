"""How far along the path: the ways to choose a sparsity, all of them used as `smooth(images, sparsity)`.

- a number, or one for each image
- `from_pairs(clean, noisy)`, the number of least squared error where clean partners are at hand
- "auto", for each image the moment at which its own noise has not yet come in, see `virolbi.scale_space`
- `Online()`, the same for a stream of images that come one after the other, and whose noise is that of their neighbours
- any function of one's own from the strengths of noise in some images to those to go by
"""

from collections import deque
from typing import Any

import numpy as np

from virolbi._checks import check_count
from virolbi.scale_space.form import Form, Output, check_output
from virolbi.scale_space.path import ScaleSpace

SPARSITIES = tuple(round(0.02 * step, 2) for step in range(51))


class Online:
    """Chooses for images that arrive in order, and whose noise drifts or jumps: by the median over the last few of them.

    One image can be mistaken in its noise, having texture of its own; `memory` of them are less so, and after a jump it takes
    half as many to follow. 1 is the same as "auto".

    It remembers between calls; use one for each stream.

    >>> from virolbi import smooth
    >>> online, rng = Online(memory=9), np.random.default_rng(0)
    >>> for noise in (0.02, 0.1):                                               # a jump
    ...     for _ in range(3):
    ...         batch = (0.5 + rng.normal(0, noise, (4, 32, 32))).clip(0, 1)
    ...         smoothed = smooth(batch, online)
    >>> round(online.noise, 2)
    0.1
    """

    def __init__(self, memory: int = 25) -> None:
        self._seen: deque[float] = deque(maxlen=check_count("memory", memory))

    @property
    def noise(self) -> float:
        """The strength of noise as it stands, in intensity; 0 before the first image."""
        return float(np.median(self._seen)) if self._seen else 0.0

    def __call__(self, strengths: np.ndarray) -> np.ndarray:
        """What to go by for each image of a batch, in its order."""
        chosen = np.empty_like(strengths)
        for index, strength in enumerate(strengths.flat):
            self._seen.append(float(strength))
            chosen.flat[index] = self.noise
        return chosen


def from_pairs(
    clean: np.ndarray,
    noisy: np.ndarray,
    *,
    nu: float = Form.nu,
    delta: float = Form.delta,
    channel_axis: int | None = None,
    joint: bool = Form.joint,
    output: Output = Form.output,
) -> float:
    """The one sparsity, in steps of .02, at which the noisy images come closest to their clean partners in mean square.

    clean, noisy: arrays of one shape and dtype, as in `virolbi.smooth`; so is the rest. Raises TypeError or ValueError, as
    there, and where they differ in shape or dtype.

    >>> rng = np.random.default_rng(0)
    >>> clean = np.zeros((4, 32, 32)); clean[:, :, 16:] = 0.7
    >>> from_pairs(clean, (clean + rng.normal(0, 0.05, clean.shape)).clip(0, 1)) > 0.9
    True
    """
    check_output(output)
    form: dict[str, Any] = {"nu": nu, "delta": delta, "channel_axis": channel_axis, "joint": joint}
    space = ScaleSpace(noisy, **form)
    try:
        ScaleSpace(clean, **form)  # for its checks; by now only the images can be wrong
    except (TypeError, ValueError) as wrong:
        raise type(wrong)(f"clean: {wrong}") from wrong
    if np.shape(clean) != np.shape(noisy) or clean.dtype != noisy.dtype:
        raise ValueError(
            f"noisy must be of the shape and dtype of clean, {np.shape(clean)} of {clean.dtype}, "
            f"got {np.shape(noisy)} of {noisy.dtype}"
        )
    target = clean.astype(np.float64)

    def error(sparsity: float) -> Any:
        return np.mean((space.at(sparsity).output(output) - target) ** 2)

    return min(reversed(SPARSITIES), key=error)
