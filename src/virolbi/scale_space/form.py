"""The form of the smoother: all of its settings but the sparsity, with their defaults."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Real
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from virolbi._checks import check_count, check_flag, check_number

Output = Literal["beta", "regions"]
Preset = Literal["robust", "paper"]
NU_RANGE = (0.001, 1000.0)  # of the coupling


@dataclass(frozen=True)
class Form:
    """Form of the smoother, with the defaults of every function that takes these settings.

    Parameters
    ----------
    nu : float
        Coupling of the image and its variations, in [0.001, 1000]. A smaller `nu` smooths more
        between the contours and takes more time. Under 0.1, with a finite `delta`, the path is
        followed less exactly (see benchmarks/README.md).
    delta : float
        Intensity beyond which the data term is linear (Huber), >= 0.001. A smaller `delta` shuts
        out weaker outliers and fades small details. Infinity is the published form.
    joint : bool
        Whether all channels of an image share one support (vectorial z), or each has its own.
    output : {"beta", "regions"}
        "beta" is the image at equilibrium with the variations that were let in; "regions" holds
        its means over the regions that the support separates, and is piecewise constant.
    min_area : int
        Regions of fewer pixels are merged into their most similar neighbour, >= 1. A larger area
        removes more; 1 keeps all regions.
    step : float
        Length of a time step as a fraction of the time, in [0.001, 0.5]; for `nu` under 1 times
        nu^0.64. A larger step takes less time and follows the path less exactly, which shows most
        in regions: one wrong edge can join two. benchmarks/README.md, "Accuracy", has figures.

    Raises
    ------
    TypeError, ValueError
        If a setting has the wrong type or is out of its range.

    Examples
    --------
    >>> Form(nu=0.1)
    Form(nu=0.1, delta=0.1, joint=True, output='beta', min_area=1, step=0.05)
    """

    nu: float = 1.0
    delta: float = 0.1
    joint: bool = True
    output: Output = "beta"
    min_area: int = 1
    step: float = 0.05

    def __post_init__(self) -> None:
        check_nu(self.nu)
        check_delta(self.delta)
        check_flag("joint", self.joint)
        check_output(self.output)
        check_count("min_area", self.min_area)
        check_step(self.step)

    @property
    def allows_auto(self) -> bool:
        """Whether the noise can choose the sparsity: regions merge long before noise enters."""
        return self.output != "regions"

    def keywords(self) -> dict[str, Any]:
        """Return the settings as keywords of `virolbi.smooth` and `virolbi.nn.Smooth`.

        Returns
        -------
        dict
            The value of each field by its name.
        """
        return asdict(self)

    def path_keywords(self) -> dict[str, Any]:
        """Return the settings as keywords of `ScaleSpace`.

        Returns
        -------
        dict
            The value of each field but `output`, by its name.
        """
        return {name: value for name, value in asdict(self).items() if name != "output"}

    def changes(self) -> Mapping[str, Any]:
        """Return the settings that differ from the defaults.

        Returns
        -------
        mapping
            The values of these fields by their names, read-only.
        """
        changed = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }
        return MappingProxyType(changed)

    def check_combination(self, sparsity: object) -> None:
        """Refuse settings of `smooth` that exclude each other.

        Parameters
        ----------
        sparsity : object
            The sparsity as `smooth` takes it.

        Raises
        ------
        ValueError
            If `min_area` is larger than 1 without regions, or if the sparsity of regions is left
            to the noise.
        """
        if self.min_area > 1 and self.output != "regions":
            raise ValueError(
                f"min_area must be 1 unless output='regions', got min_area={self.min_area} "
                f"with output={self.output!r}"
            )
        if depends_on_noise(sparsity) and not self.allows_auto:
            raise ValueError(
                "sparsity must be a number for output='regions', because regions merge long "
                f"before noise enters, got {sparsity!r}"
            )


def depends_on_noise(sparsity: object) -> bool:
    """Return whether a sparsity is chosen from the noise of the images.

    Parameters
    ----------
    sparsity : object
        The sparsity as `smooth` takes it.

    Returns
    -------
    bool
        True for a name, such as "auto", and for a function; False for numbers.
    """
    return isinstance(sparsity, str) or callable(sparsity)


def check_nu(nu: object) -> None:
    """Check that `nu` is a number in its range.

    Parameters
    ----------
    nu : object
        Must be a number in [0.001, 1000].

    Raises
    ------
    TypeError, ValueError
        If it is not.
    """
    check_number("nu", nu, *NU_RANGE)


def check_delta(delta: object) -> None:
    """Check that `delta` is a number in its range.

    Parameters
    ----------
    delta : object
        Must be a number, >= 0.001; infinity is allowed.

    Raises
    ------
    TypeError, ValueError
        If it is not.
    """
    check_number("delta", delta, least=1e-3)


def check_step(step: object) -> None:
    """Check that the length of a time step is a number in its range.

    Parameters
    ----------
    step : object
        Must be a number in [0.001, 0.5].

    Raises
    ------
    TypeError, ValueError
        If it is not.
    """
    check_number("step", step, 1e-3, 0.5)


def check_output(output: object) -> None:
    """Check that an output has one of the two names.

    Parameters
    ----------
    output : object
        Must be "beta" or "regions".

    Raises
    ------
    ValueError
        If it is not.
    """
    if output not in ("beta", "regions"):
        raise ValueError(f"output must be 'beta' or 'regions', got {output!r}")


def check_sparsity(sparsity: np.ndarray) -> None:
    """Check that every sparsity is in [0, 1].

    Parameters
    ----------
    sparsity : ndarray of float
        Sparsities, of any shape.

    Raises
    ------
    ValueError
        If one is outside [0, 1] or not a number.
    """
    outside = sparsity[~((sparsity >= 0) & (sparsity <= 1))]
    if outside.size:
        raise ValueError(f"sparsity must be in [0, 1], got {outside[0]:g}")


def check_rule(name: str, rule: str) -> None:
    """Check that the name of a rule is "auto".

    Parameters
    ----------
    name : str
        Name of the argument.
    rule : str
        Must be "auto".

    Raises
    ------
    ValueError
        If it is another name.
    """
    if rule != "auto":
        raise ValueError(f"{name} must be a number, 'auto' or a function, got {rule!r}")


def check_sparsity_choice(sparsity: object) -> None:
    """Check that a sparsity is one number or "auto".

    Parameters
    ----------
    sparsity : object
        Must be a number in [0, 1] or "auto".

    Raises
    ------
    ValueError
        If it is neither.
    """
    if isinstance(sparsity, Real) and not isinstance(sparsity, bool) and 0 <= float(sparsity) <= 1:
        return
    if sparsity != "auto":
        raise ValueError(f"sparsity must be a number in [0, 1] or 'auto', got {sparsity!r}")


PRESETS: Mapping[str, Form] = MappingProxyType(
    {"robust": Form(), "paper": Form(delta=math.inf, joint=False, output="regions")}
)
PAPER = PRESETS["paper"].changes()  # the published form, as keywords of `smooth`
