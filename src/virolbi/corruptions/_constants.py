"""Published constants of every severity, in one table."""

from types import MappingProxyType

from virolbi._checks import check_choice, check_whole

Level = float | tuple[float, ...]

NOISES = ("gaussian_noise", "shot_noise", "impulse_noise")
COMMON = (
    *NOISES,
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
# 1 - accuracy of AlexNet on ImageNet under each of COMMON, mean over severities. Errors divided by
# these make the mean corruption error (mCE).
ALEXNET_ERRORS = (
    *(0.886428, 0.894468, 0.922640),
    *(0.819880, 0.826268, 0.785948, 0.798360),
    *(0.866816, 0.826572, 0.819324, 0.564592),
    *(0.853204, 0.646056, 0.717840, 0.606500),
)
HELD_OUT = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
RESOLUTIONS = (32, 64, 224)
SEVERITIES = range(1, 6)


def _pixels(side: int, *levels: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
    """Convert constants from shares of a side to pixels."""
    return tuple(tuple(side * share for share in level) for level in levels)


# LEVELS[name][resolution] has the constants of severities 1 to 5. The resolution is the shorter
# side, in pixels, of the images that they were chosen for. Lengths are in pixels, also when the
# constants are used on images of another size. They were read from the scripts that made the public
# data, in the repository hendrycks/robustness under ImageNet-C/create_c: make_cifar_c.py (commit
# ca36008), make_tinyimagenet_c.py (7a64e6a), make_imagenet_c.py (e0377d4).
LEVELS: MappingProxyType[str, dict[int, tuple[Level, ...]]] = MappingProxyType(
    {
        # sigma of the noise
        "gaussian_noise": {
            32: (0.04, 0.06, 0.08, 0.09, 0.10),
            64: (0.04, 0.08, 0.12, 0.15, 0.18),
            224: (0.08, 0.12, 0.18, 0.26, 0.38),
        },
        # photons at full intensity
        "shot_noise": {
            32: (500, 250, 100, 75, 50),
            64: (250, 100, 50, 30, 15),
            224: (60, 25, 12, 5, 3),
        },
        # share of the elements that are replaced
        "impulse_noise": {
            32: (0.01, 0.02, 0.03, 0.05, 0.07),
            64: (0.01, 0.02, 0.05, 0.08, 0.14),
            224: (0.03, 0.06, 0.09, 0.17, 0.27),
        },
        # radius of the disk; sigma that softens its rim
        "defocus_blur": {
            32: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
            64: ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
            224: ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        },
        # sigma of the blur before and after; reach of a move; number of passes
        "glass_blur": {
            32: ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
            64: ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
            224: ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        },
        # radius; sigma
        "motion_blur": {
            32: ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
            64: ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
            224: ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        },
        # zoom factors: from 1 to below the first number, in steps of the second (numpy.arange)
        "zoom_blur": {
            32: ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
            64: ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
            224: ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        },
        # mean and sigma of the flakes; zoom; threshold; radius and sigma of their motion; share of
        # the image that is not whitened
        "snow": {
            32: (
                (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
                (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
                (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
                (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
                (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
            ),
            64: (
                (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
                (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
                (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
                (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
                (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
            ),
            224: (
                (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
                (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
                (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
                (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
                (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
            ),
        },
        # weight of the image; weight of the frost
        "frost": {
            32: ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
            64: ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
            224: ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        },
        # weight of the fog; decay of its detail
        "fog": {
            32: ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
            64: ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
            224: ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        },
        # constant added to V of HSV
        "brightness": {
            32: (0.05, 0.1, 0.15, 0.2, 0.3),
            64: (0.1, 0.2, 0.3, 0.4, 0.5),
            224: (0.1, 0.2, 0.3, 0.4, 0.5),
        },
        # share of the deviation from the mean that stays
        "contrast": {
            32: (0.75, 0.5, 0.4, 0.3, 0.15),
            64: (0.4, 0.3, 0.2, 0.1, 0.05),
            224: (0.4, 0.3, 0.2, 0.1, 0.05),
        },
        # amplitude and sigma of the displacement; largest move of the corners of the affine map:
        # all as shares of the side. The script for ImageNet has 244 in place of 224, and the
        # published images were made with it.
        "elastic_transform": {
            32: _pixels(
                32,
                (0, 0, 0.08),
                (0.05, 0.2, 0.07),
                (0.08, 0.06, 0.06),
                (0.1, 0.04, 0.05),
                (0.1, 0.03, 0.03),
            ),
            64: _pixels(
                64,
                (0, 0, 0.08),
                (0.05, 0.3, 0.06),
                (0.1, 0.08, 0.06),
                (0.1, 0.03, 0.03),
                (0.16, 0.03, 0.02),
            ),
            224: _pixels(
                244,
                (2, 0.7, 0.1),
                (2, 0.08, 0.2),
                (0.05, 0.01, 0.02),
                (0.07, 0.01, 0.02),
                (0.12, 0.01, 0.02),
            ),
        },
        # side of the small image, as a share
        "pixelate": {
            32: (0.95, 0.9, 0.85, 0.75, 0.65),
            64: (0.9, 0.8, 0.7, 0.6, 0.5),
            224: (0.6, 0.5, 0.4, 0.3, 0.25),
        },
        # quality
        "jpeg_compression": {
            32: (80, 65, 58, 50, 40),
            64: (65, 58, 50, 40, 25),
            224: (25, 18, 15, 10, 7),
        },
        # sigma of the noise at intensity 1
        "speckle_noise": {
            32: (0.06, 0.1, 0.12, 0.16, 0.2),
            64: (0.15, 0.2, 0.25, 0.3, 0.35),
            224: (0.15, 0.2, 0.35, 0.45, 0.6),
        },
        # sigma
        "gaussian_blur": {
            32: (0.4, 0.6, 0.7, 0.8, 1),
            64: (0.5, 0.75, 1, 1.25, 1.5),
            224: (1, 2, 3, 4, 6),
        },
        # mean, sigma and blur of the liquid; threshold; strength of water or blur of mud; 0 for
        # water, 1 for mud
        "spatter": {
            32: (
                (0.62, 0.1, 0.7, 0.7, 0.5, 0),
                (0.65, 0.1, 0.8, 0.7, 0.5, 0),
                (0.65, 0.3, 1, 0.69, 0.5, 0),
                (0.65, 0.1, 0.7, 0.69, 0.6, 1),
                (0.65, 0.1, 0.5, 0.68, 0.6, 1),
            ),
            64: (
                (0.62, 0.1, 0.7, 0.7, 0.6, 0),
                (0.65, 0.1, 0.8, 0.7, 0.6, 0),
                (0.65, 0.3, 1, 0.69, 0.6, 0),
                (0.65, 0.1, 0.7, 0.68, 0.6, 1),
                (0.65, 0.1, 0.5, 0.67, 0.6, 1),
            ),
            224: (
                (0.65, 0.3, 4, 0.69, 0.6, 0),
                (0.65, 0.3, 3, 0.68, 0.6, 0),
                (0.65, 0.3, 2, 0.68, 0.5, 0),
                (0.65, 0.3, 1, 0.65, 1.5, 1),
                (0.67, 0.4, 1, 0.65, 1.5, 1),
            ),
        },
        # factor of S of HSV; constant added to it
        "saturate": {
            32: ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
            64: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
            224: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        },
    }
)


def nearest_resolution(height: int, width: int) -> int:
    """Return the resolution whose constants fit an image best.

    Parameters
    ----------
    height, width : int
        Size of the image in pixels.

    Returns
    -------
    {32, 64, 224}
        Resolution nearest, by ratio, to the shorter side.

    Examples
    --------
    >>> nearest_resolution(28, 28), nearest_resolution(96, 128), nearest_resolution(500, 375)
    (32, 64, 224)
    """
    side = min(height, width)
    return min(RESOLUTIONS, key=lambda resolution: max(side / resolution, resolution / side))


def check_severity(severity: object) -> None:
    """Check that a severity is one of `SEVERITIES`.

    Parameters
    ----------
    severity : object
        Must be a whole number from 1 to 5.

    Raises
    ------
    TypeError, ValueError
        If it is not.
    """
    if check_whole("severity", severity) not in SEVERITIES:
        raise ValueError(f"severity must be 1, 2, 3, 4 or 5, got {severity!r}")


def level_of(name: str, severity: int, resolution: int) -> Level:
    """Return the constants of a severity.

    Parameters
    ----------
    name : str
        Type of corruption, one of `COMMON` or `HELD_OUT`.
    severity : {1, 2, 3, 4, 5}
        Severity of the corruption.
    resolution : {32, 64, 224}
        Size, in pixels, of the images that the constants were chosen for.

    Returns
    -------
    float or tuple of float
        The constant, or the constants, as `LEVELS` has them.

    Raises
    ------
    TypeError
        If the severity is not a whole number.
    ValueError
        If an argument is not in the table.
    """
    check_choice("name", name, LEVELS)
    check_severity(severity)
    check_choice("resolution", resolution, RESOLUTIONS)
    return LEVELS[name][resolution][severity - 1]


def noise_level(name: str, severity: int, resolution: int) -> float:
    """Return the constant of a severity, of a type with one constant, as all noise is.

    Parameters
    ----------
    name : str
        Type of corruption, one of `COMMON` or `HELD_OUT`, with one constant.
    severity : {1, 2, 3, 4, 5}
        Severity of the corruption.
    resolution : {32, 64, 224}
        Size, in pixels, of the images that the constants were chosen for.

    Returns
    -------
    float
        The constant.

    Raises
    ------
    TypeError
        If the severity is not a whole number.
    ValueError
        If an argument is not in the table, or if the type has several constants.

    Examples
    --------
    >>> noise_level("gaussian_noise", 5, 32), noise_level("shot_noise", 5, 224)
    (0.1, 3.0)
    """
    level = level_of(name, severity, resolution)
    if isinstance(level, tuple):
        raise ValueError(f"name must be of a type with one constant, got {name!r}")
    return float(level)
