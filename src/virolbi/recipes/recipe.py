"""Recipes: all that decides a training run, as one flat, checked record, and the ones that come with the package."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from virolbi.scale_space import PRESETS, Form

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Amount = Annotated[int, Field(ge=0)]


class Recipe(BaseModel):
    """All that decides a training run.

    Images
        data: "digits", a folder or a name on the Hugging Face hub. size: resize and crop them to so many pixels; None where
        they have one size. limit: use so many, from the front. corrupt: "stop" at images that cannot be decoded, or "skip"
        them. validation: share of the training images held out to watch. patience: stop after so many epochs without a better
        accuracy there, and keep the best; 0 never stops.

    Procedure
        procedure: "plain", images as they are; "fixed", smoothed to `sparsity`, a number or "auto", as far as the noise of each
        image allows, which is also how test images are smoothed; "iterative", in `rounds`, each of which moves
        every image further along its path, from `start_sparsity` to `sparsity`, where training stays once the share `advance`
        of its steps is over; "mixed", every image of every batch at a sparsity drawn from `mix`. preset: the form of the
        smoother, "robust" or "paper"; nu: its coupling. order: smooth "first", the image as it is, which can be cached, or
        "last", what augmentation and noise have made of it, as when testing. untouched: share of the images of a batch, drawn
        anew for each, that are shown as they are: neither smoothed, nor with noise or AugMix.

    Rivals, and what ours may be combined with
        filter: "median", "blur", "tv" or "bilateral" in front of the network, in training and afterwards. noise: Gaussian noise
        of a standard deviation drawn for each image from [0, noise]; "strongest" is the level of severity 5 at the size of the
        images. augmix: AugMix. adversarial: train on PGD of this epsilon with `adversarial_steps` steps; 0 does not.

    Augmentation
        crop: random crop after so many pixels of padding. zoom: random resized crop of at least this share of the area, 1 for
        none. flip: left to right.

    Network
        model: see `virolbi.training.build`. weights: "" from scratch, "pretrained", or the folder of a run or a .safetensors file
        to start from.

    Optimisation
        epochs. batch_size: over all processes. accumulate: parts that a batch goes through in, to save memory. optimizer: "sgd"
        (Nesterov momentum .9) or "adamw". learning_rate: the peak. schedule: "one-cycle" or "cosine" (5 % linear warm-up).
        weight_decay: "adamw" spares norms, biases and position embeddings. label_smoothing. precision: "no", "bf16" or "fp16".
        seed: of weights, order and all that is random.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: str = ""
    size: Count | None = None
    limit: Count | None = None
    corrupt: Literal["stop", "skip"] = "stop"
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patience: Amount = 0

    procedure: Literal["plain", "fixed", "iterative", "mixed"] = "plain"
    sparsity: Share | Literal["auto"] = 0.8
    start_sparsity: Share = 0.95
    rounds: Count = 8
    advance: Share = 0.5
    mix: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.0, 0.65, 0.8, 0.9)
    preset: Literal["robust", "paper"] = "robust"
    nu: Annotated[float, Field(ge=1e-3, le=1e3)] = Form.nu
    order: Literal["first", "last"] = "first"
    untouched: Share = 0.0

    filter: Literal["none", "median", "blur", "tv", "bilateral"] = "none"
    noise: Share | Literal["strongest"] = 0.0
    augmix: bool = False
    adversarial: Share = 0.0
    adversarial_steps: Count = 7

    crop: Amount = 4
    zoom: Annotated[float, Field(gt=0, le=1)] = 1.0
    flip: bool = True

    model: str = "resnet8"
    weights: str = ""

    epochs: Count = 8
    batch_size: Count = 64
    accumulate: Count = 1
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Positive = 0.2
    schedule: Literal["one-cycle", "cosine"] = "one-cycle"
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    precision: Literal["no", "bf16", "fp16"] = "no"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise ValueError(_sentences(error.errors())) from None

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.procedure == "iterative" and self.sparsity == "auto":
            raise ValueError("sparsity must be a number for procedure='iterative', got 'auto'")
        if self.preset == "paper" and self.sparsity == "auto":
            raise ValueError(
                "sparsity must be a number for preset='paper', whose regions merge before noise enters, got 'auto'"
            )
        if self.procedure == "iterative" and self.start_sparsity < float(self.sparsity):
            raise ValueError(
                f"start_sparsity must be >= sparsity={self.sparsity}, got {self.start_sparsity}"
            )
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate must be <= batch_size={self.batch_size}, got {self.accumulate}"
            )
        if self.patience and not self.validation:
            raise ValueError(
                f"patience needs images to watch: set validation > 0, got patience={self.patience}"
            )
        return self

    def replace(self, **changes: Any) -> "Recipe":
        """The same recipe with some settings changed, and checked."""
        return Recipe(**(self.model_dump() | changes))

    @property
    def form(self) -> Form:
        """Form of the smoother: that of the preset, with `nu`."""
        return dataclasses.replace(PRESETS[self.preset], nu=self.nu)

    @property
    def all_sparsities(self) -> tuple[float, ...]:
        """Every sparsity that training images are shown at; 0 is the image as it is, NaN is "auto"."""
        if self.procedure == "mixed":
            return self.mix
        if self.procedure == "plain":
            return (0.0,)
        final = math.nan if self.sparsity == "auto" else float(self.sparsity)
        if self.procedure == "fixed":
            return (final,)
        return tuple(float(s) for s in np.linspace(final, self.start_sparsity, self.rounds)[::-1])

    def sparsities(self, done: float, count: int, rng: np.random.Generator) -> np.ndarray:
        """The sparsities of `count` training images when the share `done` of all steps is over."""
        choices = np.array(self.all_sparsities)
        if self.procedure == "iterative":
            at = (
                len(choices) - 1
                if done >= self.advance
                else int(done / self.advance * len(choices))
            )
            return np.full(count, choices[at])
        return rng.choice(choices, size=count)


RULES = {
    "tuple_type": "a list of numbers, such as [0.7, 0.9]",
    "too_short": "a list of one number or more",
    "float_parsing": "a number",
    "int_parsing": "an integer",
}


def _sentences(problems: Sequence[Any]) -> str:
    """What pydantic found, as: name, rule, value; one sentence for each setting, whose type may be one of several."""
    rules, said = dict[str, list[str]](), dict[str, str]()
    for problem in problems:
        name = ".".join(str(part) for part in problem["loc"][:1])
        if problem["type"] == "value_error":
            said[name] = str(problem["ctx"]["error"])
        elif problem["type"] == "extra_forbidden":
            said[name] = f"{name} is not a setting; there are {', '.join(Recipe.model_fields)}"
        else:
            rule = RULES.get(problem["type"], problem["msg"].removeprefix("Input should be "))
            rules[name] = [*rules.get(name, []), rule]
            said[name] = f"{name} must be {' or '.join(rules[name])}, got {problem['input']!r}"
    return "; ".join(said.values())
