"""Settings of the explorer: the form, the moment on the path, and a corruption."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from virolbi._checks import check_choice, check_number
from virolbi.corruptions import COMMON, HELD_OUT, corrupt
from virolbi.scale_space import PRESETS, Form, Preset, time_for_noise

Choice = Literal["auto", "sparsity", "noise", "time"]
CHOICES: tuple[Choice, ...] = ("auto", "sparsity", "noise", "time")
Result = Literal["beta", "regions", "denoised"]
RESULTS: tuple[Result, ...] = ("beta", "regions", "denoised")
BY_NOISE = ("auto", "noise")  # choices that suit "denoised"
NO_CORRUPTION = "none"
CORRUPTIONS = (NO_CORRUPTION, *COMMON, *HELD_OUT)


@dataclass(frozen=True)
class Settings:
    """Everything that is chosen beside the picture.

    Parameters
    ----------
    choice : {"auto", "sparsity", "noise", "time"}
        Which of the next three numbers states the moment; "auto" is the noise that is seen.
    sparsity : float
        Sparsity as in `ScaleSpace.at`.
    noise : float
        Standard deviation of the noise, in intensity.
    time : float
        Time as in `ScaleSpace.at`.
    preset : {"robust", "paper"}
        Form to start from. "paper" has an infinite `delta`, whatever `delta` says.
    nu, delta : float
        Form of the smoother, see `virolbi.scale_space.Form`.
    output : {"beta", "regions", "denoised"}
        Result. "denoised" is that of `virolbi.denoise`, in the default form, whatever the form
        says; it needs the choice "auto" or "noise".
    min_area : int
        Regions of fewer pixels are merged.
    corruption : str
        One of `CORRUPTIONS`, which is applied to the picture first.
    severity : int
        Its severity, from 1 to 5.

    Raises
    ------
    ValueError
        If the choice, the preset, the output or the corruption is unknown, or if the choice does
        not suit the output.
    """

    choice: Choice = "auto"
    sparsity: float = 0.8
    noise: float = 0.1
    time: float = 15.0
    preset: Preset = "robust"
    nu: float = Form.nu
    delta: float = Form.delta
    output: Result = "beta"
    min_area: int = 1
    corruption: str = "gaussian_noise"
    severity: int = 3

    def __post_init__(self) -> None:
        for name, known in (
            ("choice", CHOICES),
            ("corruption", CORRUPTIONS),
            ("preset", PRESETS),
            ("output", RESULTS),
        ):
            check_choice(name, getattr(self, name), known)
        if self.output == "denoised" and self.choice not in BY_NOISE:
            raise ValueError(
                f"choice must be one of {BY_NOISE} for output='denoised', got {self.choice!r}"
            )
        check_number(self.choice, self.value)
        _ = self.form  # which checks its fields

    @property
    def value(self) -> Any:
        """Return the number that states the moment.

        Returns
        -------
        float
            The sparsity, the noise or the time; the sparsity for "auto".
        """
        return self.sparsity if self.choice == "auto" else getattr(self, self.choice)

    @property
    def form(self) -> Form:
        """Return the form of the smoother.

        Returns
        -------
        Form
            The form, with checked fields.
        """
        if self.output == "denoised":
            return Form()
        delta = PRESETS[self.preset].delta if self.preset == "paper" else self.delta
        return replace(
            PRESETS[self.preset],
            nu=self.nu,
            delta=delta,
            output=self.output,
            min_area=self.min_area,
        )

    def moment(self, channels: int) -> dict[str, Any]:
        """Return the moment as keywords of `ScaleSpace.at`.

        Parameters
        ----------
        channels : int
            Number of channels of the picture.

        Returns
        -------
        dict
            The sparsity or the time.
        """
        if self.choice == "auto":
            return {"sparsity": "auto"}
        if self.choice == "noise":
            return {"time": time_for_noise(self.noise, self.form, channels)}
        return {self.choice: self.value}

    def corrupted(self, image: np.ndarray) -> np.ndarray:
        """Return a picture under the corruption.

        Parameters
        ----------
        image : ndarray of uint8, shape (H, W) or (H, W, 3)
            Picture.

        Returns
        -------
        ndarray of uint8
            Picture of the same shape.
        """
        if self.corruption == NO_CORRUPTION:
            return image
        planes = np.atleast_3d(image).transpose(2, 0, 1)[None] / np.float32(255)
        noisy = corrupt(planes, self.corruption, self.severity)
        pixels: np.ndarray = np.rint(noisy[0].transpose(1, 2, 0) * 255).astype(np.uint8)
        return pixels.reshape(image.shape)
