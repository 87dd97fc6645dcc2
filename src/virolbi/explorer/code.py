"""Lines of Python and of the shell that make what the explorer shows."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from virolbi.explorer.samples import Source
from virolbi.explorer.settings import BY_NOISE, NO_CORRUPTION, Settings
from virolbi.scale_space import Form

INPUT = "input.png"  # the picture before smoothing, as it is downloaded


def python_code(source: Source, settings: Settings, channels: int, factor: int = 1) -> str:
    """Return Python lines that compute `result`, and `labels` if there are any, from the picture.

    Parameters
    ----------
    source : Source
        Picture.
    settings : Settings
        Settings.
    channels : int
        Number of channels of the picture.
    factor : int, optional
        How many times smaller than its file the picture is.

    Returns
    -------
    str
        A program without output.
    """
    imported, read = source.code()
    imports, lines = {imported}, [read]
    if factor > 1:
        imports |= {"import numpy as np", "from PIL import Image"}
        lines.append(f"image = np.asarray(Image.fromarray(image).reduce({factor}))")
    if settings.corruption != NO_CORRUPTION:
        imports |= {"import numpy as np", "from virolbi.corruptions import corrupt"}
        lines += [
            "planes = np.atleast_3d(image).transpose(2, 0, 1)[None] / np.float32(255)",
            f"noisy = corrupt(planes, {settings.corruption!r}, {settings.severity})",
            "pixels = np.rint(noisy[0].transpose(1, 2, 0) * 255).astype(np.uint8)",
            "image = pixels.reshape(image.shape)",
        ]
    make = _denoising if settings.output == "denoised" else _smoothing
    needed, made = make(settings, channels)
    imports |= needed
    lines += made
    return "\n".join([*sorted(imports, key=_import_order), "", *lines])


def _denoising(settings: Settings, channels: int) -> tuple[set[str], list[str]]:
    """Return the imports and the lines that denoise `image`."""
    arguments = ["image"]
    if settings.choice == "noise":
        arguments.append(repr(settings.noise))
    if channels > 1:
        arguments.append("channel_axis=-1")
    return {"from virolbi import denoise"}, [f"result = denoise({', '.join(arguments)})"]


def _smoothing(settings: Settings, channels: int) -> tuple[set[str], list[str]]:
    """Return the imports and the lines that smooth `image`."""
    imports = {"from virolbi import ScaleSpace"}
    keywords = dict(settings.form.changes())
    keywords.pop("output", None)
    if channels > 1:
        keywords = {"channel_axis": -1} | keywords
    if math.isinf(keywords.get("delta", 0)):
        imports.add("import numpy as np")
    moment = _arguments(settings.moment(channels))
    if settings.choice == "noise":
        imports.add("from virolbi.scale_space import stopping_time")
        moment = f"time=float(stopping_time({_noise_arguments(settings, channels)}))"
    return imports, [
        f"space = ScaleSpace({', '.join(filter(None, ['image', _arguments(keywords)]))})",
        f"scale = space.at({moment})",
        f"result, labels = scale.{settings.output}, scale.labels",
    ]


def _import_order(line: str) -> tuple[bool, bool, str]:
    """Return what imports are sorted by: modules first, then this package last."""
    return "virolbi" in line, not line.startswith("import"), line


def _noise_arguments(settings: Settings, channels: int) -> str:
    """Return the arguments of `stopping_time`."""
    form = settings.form
    keywords: dict[str, Any] = {"delta": form.delta} if form.delta != Form.delta else {}
    keywords |= {"channels": channels} if form.joint and channels > 1 else {}
    return ", ".join(filter(None, [repr(settings.noise), _arguments(keywords)]))


def _arguments(keywords: Mapping[str, Any]) -> str:
    """Return keywords as they are written in a call."""
    return ", ".join(f"{name}={_literal(value)}" for name, value in keywords.items())


def _literal(value: object) -> str:
    """Return a value as it is written in Python."""
    return "np.inf" if value == math.inf else repr(value)


def shell_code(settings: Settings, times: np.ndarray, channels: int) -> str:
    """Return lines of the shell that make the result and the labels from the input.

    Parameters
    ----------
    settings : Settings
        Settings.
    times : ndarray of float
        Times of the moment, one for each support.
    channels : int
        Number of channels of the picture.

    Returns
    -------
    str
        A line for the result, and one for the labels, as far as there are such commands.
        `input.png` is the picture before smoothing.
    """
    if settings.output == "denoised":
        stated = f" --noise {settings.noise!r}" if settings.choice == "noise" else ""
        return f"virolbi denoise {INPUT} result.png{stated}"
    form, lines = settings.form, []
    options = "" if settings.preset == "robust" else " --preset paper"
    options += f" --nu {form.nu!r}" if form.nu != Form.nu else ""
    if settings.preset == "robust" and form.delta != Form.delta:
        options += f" --delta {form.delta!r}"
    stated = "--sparsity auto"
    if settings.choice != "auto":
        stated = f"--{settings.choice} {settings.value!r}"
    if settings.output == "beta":
        output = "" if settings.preset == "robust" else " --output beta"
        lines.append(f"virolbi smooth {INPUT} result.png {stated}{options}{output}")
    by_noise = settings.choice in BY_NOISE
    if by_noise:  # `virolbi smooth` has no regions for noise
        stated = f"--time {float(times.flat[0])!r}"
    if not by_noise or len(np.unique(times)) == 1:
        options += " --output regions"
        options += f" --min-area {form.min_area}" if form.min_area > 1 else ""
        if settings.output == "regions":
            lines.append(f"virolbi smooth {INPUT} result.png {stated}{options}")
        if form.joint or channels == 1:
            lines.append(f"virolbi smooth {INPUT} labels.png --labels {stated}{options}")
    return "\n".join(lines)
