"""The settings of a training run, as one flat, checked record."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from virolbi._checks import check_count
from virolbi.recipes.fields import (
    MAX_ATTACK_STEPS,
    MAX_BATCH_SIZE,
    MAX_CONSISTENCY,
    MAX_EPOCHS,
    MAX_IMAGES,
    MAX_RATE,
    MAX_ROUNDS,
    MAX_SIZE,
    Amount,
    Positive,
    Real,
    Share,
    Whole,
    format_errors,
)
from virolbi.recipes.sparsities import Sparsities
from virolbi.recipes.views import Alternative, parse_view
from virolbi.scale_space import NU_RANGE, PRESETS, Form, Preset


class Recipe(BaseModel):
    """Settings of a training run.

    The attributes come in groups: images (`data` to `patience`), procedure (`procedure` to
    `untouched`), views (`views`, `consistency`), rival methods that can be combined with it
    (`filter` to `adversarial_steps`), augmentation (`crop` to `flip`), network (`model` to
    `frozen`) and optimisation (`epochs` to `seed`).

    Parameters
    ----------
    **settings : Any
        Values of attributes, by name. The others keep their defaults.

    Attributes
    ----------
    data : str
        Training images: "digits", a folder, or a name on the Hugging Face hub.
    size : int or None
        Images are resized and cropped to this many pixels a side. None if they have one size.
    limit : int or None
        Number of images to use, from the front. None uses all.
    data_range : float or None
        Value of the pixels of image files that is white: 4095 for 12 bits in 16. None is 255 for
        8 bits, 65535 for 16 bits and 1 for floats.
    corrupt : {"stop", "skip"}
        Whether images that cannot be decoded stop the training or are skipped.
    validation : float
        Share of the training images of each class that is held out to watch the accuracy, in
        [0, 1). It must leave an image or more of each class.
    patience : int
        Training stops after this many epochs without a better accuracy on the held-out images,
        and keeps the best epoch. 0 never stops.

    procedure : {"plain", "fixed", "iterative", "mixed"}
        "plain" trains on the images as they are. "fixed" smooths them to `sparsity`, as test
        images are smoothed. "iterative" trains in `rounds`, each of which moves every image
        further along its path, from `start_sparsity` to `sparsity`. "mixed" smooths every image
        of every batch to a sparsity drawn from `mix`.
    sparsity : float or "auto"
        Sparsity of images in "fixed", and at the end of "iterative"; also that of test images. A
        larger sparsity is smoother. "auto" smooths as far as the noise of each image allows.
    start_sparsity : float
        Sparsity of the first round of "iterative", >= `sparsity`.
    rounds : int
        Number of rounds of "iterative".
    advance : float
        Share of the steps after which "iterative" has reached `sparsity`, where it stays.
    mix : tuple of float
        Sparsities that "mixed" draws from; 0 is the image as it is.
    preset : {"robust", "paper"}
        Form of the smoother.
    nu : float
        Coupling of the smoother, in [0.001, 1000]. A smaller `nu` smooths more between the
        contours.
    order : {"first", "last"}
        Whether the smoothing comes first, on the image as it is, which can be cached, or last, on
        the augmented and noisy image, as in a test.
    untouched : float
        Share of the images of a batch, drawn anew for each batch, that are shown as they are:
        neither smoothed, nor with noise or AugMix.

    views : tuple of str
        Views of each image, which the network sees together. Each is a chain of steps, such as
        "augmix noise", after the crop and the flip, which all views share; "clean" has no step.
        Alternatives are separated by "|", and each image gets one of them: "noise | clean" adds
        noise to half of the images. Steps are "augmix" (with the nine operations of its paper),
        "prime", "apr-single" and "apr-pair" (amplitude and phase), "equalise" (random gains of the
        bands of the path), "blur" (Gaussian, of random width), "noise" (as `noise` says) and
        "smooth" (as `procedure` says). Without views there is one, as `order`, `untouched` and
        `augmix` say.
    consistency : float
        Weight of the Jensen-Shannon divergence of the predictions for the views; the cross entropy
        is then that of the first view alone. 0 for none, and the mean cross entropy of all views.

    filter : {"none", "median", "blur", "tv", "bilateral"}
        Filter in front of the network, in training and afterwards.
    noise : float or "strongest"
        Gaussian noise, with a standard deviation drawn for each image from [0, `noise`].
        "strongest" is the level of severity 5 at the size of the images.
    noise_draw : {"uniform", "constant"}
        Whether the standard deviation is drawn from [0, `noise`] or is always `noise`.
    augmix : bool
        Whether images are augmented by AugMix.
    standardise : bool
        Whether every image is brought to one mean and one standard deviation, after the filter.
    adversarial : float
        Epsilon of the PGD attack on whose images the network is trained; 0 for none. It attacks the
        last view of each image.
    adversarial_steps : int
        Number of steps of this attack.

    crop : int
        Pixels of padding before a random crop; 0 for none.
    padding : {"black", "reflect"}
        Content of the padding. Black borders are strong edges, which take a part of the support.
    zoom : float
        Smallest share of the area in a random resized crop; 1 for none.
    flip : bool
        Whether images are flipped left to right at random.

    model : str
        Name of the network; see `virolbi.training.build_network`.
    weights : str
        Weights to start from: "" for random ones, "pretrained", the folder of a run, or a
        .safetensors file. The normalisation comes with them: from the file, or as timm states it
        for the network if the file has none. The last layer starts anew if they are those of other
        classes: other ones than the run records or, for files and "pretrained", another number.
    frozen : tuple of str
        Parts of the network that are not trained, by their names in `network.named_modules()`, in
        which * stands for any text: "layer1*". Their batch norms keep their statistics.

    epochs : int
        Number of epochs.
    batch_size : int
        Number of images in a batch, over all processes.
    accumulate : int
        Number of parts in which a batch is processed, to save memory.
    optimizer : {"sgd", "adamw"}
        "sgd" has a Nesterov momentum of 0.9.
    learning_rate : float
        Largest learning rate, at the peak of the schedule.
    schedule : {"one-cycle", "cosine"}
        Schedule of the learning rate. "cosine" has a linear warm-up of 5 % of the steps.
    weight_decay : float
        Weight decay. "adamw" does not apply it to norms, biases and position embeddings.
    label_smoothing : float
        Label smoothing of the cross entropy, in [0, 1).
    class_weights : {"none", "balanced"}
        "balanced" gives all classes the same weight in the loss, and so more to each image of a
        rare class.
    precision : {"no", "bf16", "fp16"}
        Mixed precision; "no" for none.
    seed : int
        Seed of the weights, the order of the images and everything else that is random.

    Raises
    ------
    ValueError
        If a setting does not exist, has a wrong value or excludes another setting. The message
        has one sentence for each such setting.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: str = ""
    size: Annotated[Whole, Field(ge=1, le=MAX_SIZE)] | None = None
    limit: Annotated[Whole, Field(ge=1, le=MAX_IMAGES)] | None = None
    data_range: Positive | None = None
    corrupt: Literal["stop", "skip"] = "stop"
    validation: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    patience: Amount = 0

    procedure: Literal["plain", "fixed", "iterative", "mixed"] = "plain"
    sparsity: Share | Literal["auto"] = 0.8
    start_sparsity: Share = 0.95
    rounds: Annotated[Whole, Field(ge=1, le=MAX_ROUNDS)] = 8
    advance: Share = 0.5
    mix: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.0, 0.65, 0.8, 0.9)
    preset: Preset = "robust"
    nu: Annotated[Real, Field(ge=NU_RANGE[0], le=NU_RANGE[1])] = Form.nu
    order: Literal["first", "last"] = "first"
    untouched: Share = 0.0

    views: tuple[str, ...] = ()
    consistency: Annotated[Real, Field(ge=0, le=MAX_CONSISTENCY)] = 0.0

    filter: Literal["none", "median", "blur", "tv", "bilateral"] = "none"
    noise: Share | Literal["strongest"] = 0.0
    noise_draw: Literal["uniform", "constant"] = "uniform"
    augmix: bool = False
    standardise: bool = False
    adversarial: Share = 0.0
    adversarial_steps: Annotated[Whole, Field(ge=1, le=MAX_ATTACK_STEPS)] = 7

    crop: Annotated[Whole, Field(ge=0, le=MAX_SIZE)] = 4
    padding: Literal["black", "reflect"] = "black"
    zoom: Annotated[Real, Field(gt=0, le=1)] = 1.0
    flip: bool = True

    model: str = "resnet8"
    weights: str = ""
    frozen: tuple[str, ...] = ()

    epochs: Annotated[Whole, Field(ge=1, le=MAX_EPOCHS)] = 8
    batch_size: Annotated[Whole, Field(ge=1, le=MAX_BATCH_SIZE)] = 64
    accumulate: Annotated[Whole, Field(ge=1, le=MAX_BATCH_SIZE)] = 1
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Annotated[Real, Field(gt=0, le=MAX_RATE)] = 0.2
    schedule: Literal["one-cycle", "cosine"] = "one-cycle"
    weight_decay: Annotated[Real, Field(ge=0, le=MAX_RATE)] = 5e-4
    label_smoothing: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    precision: Literal["no", "bf16", "fp16"] = "no"
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] = 0

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise ValueError(format_errors(error.errors(), type(self).model_fields)) from None

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.procedure == "iterative" and self.sparsity == "auto":
            raise ValueError("sparsity must be a number for procedure='iterative', got 'auto'")
        if self.sparsity == "auto" and not self.form.allows_auto:
            raise ValueError(
                f"sparsity must be a number for preset={self.preset!r}, because regions merge "
                "before noise enters, got 'auto'"
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
                "patience must be 0 without held-out images (set validation > 0), "
                f"got {self.patience}"
            )
        return self

    @model_validator(mode="after")
    def _check_views(self) -> Self:
        if self.consistency and len(self.views) < 2:
            raise ValueError(
                f"consistency must be 0 with fewer than two views, got {self.consistency}"
            )
        if not self.views:
            return self
        for name in ("order", "untouched", "augmix"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} must keep its default with views, which replace it, "
                    f"got {getattr(self, name)!r}"
                )
        steps = {step for view in self.all_views for chain in view for step in chain.steps}
        for name, step, used in (
            ("noise", "noise", self.noise != 0),
            ("procedure", "smooth", self.procedure != "plain"),
        ):
            if used != (step in steps):
                rule = (
                    f"have the step {step!r} in views" if used else f"be set for {step!r} in views"
                )
                raise ValueError(
                    f"{name} must {rule}, got {name}={getattr(self, name)!r} and views={self.views}"
                )
        return self

    def replace(self, **changes: Any) -> "Recipe":
        """Return a copy with changed settings, which are checked.

        Parameters
        ----------
        **changes : Any
            New values of settings, by name.

        Returns
        -------
        Recipe
            The new recipe.

        Raises
        ------
        ValueError
            If a setting of the new recipe is wrong.
        """
        return Recipe(**(self.model_dump() | changes))

    def differences(self, recorded: Mapping[str, Any]) -> list[str]:
        """Return the names of the settings in which a recorded recipe differs from this one.

        Parameters
        ----------
        recorded : mapping
            Settings of a recipe by name, as JSON has them. One that is missing came with a later
            version, and had the effect of its default before.

        Returns
        -------
        list of str
            Names of settings; never that of the data, which may have moved.
        """
        settings = Recipe().model_dump(mode="json") | dict(recorded)
        return [
            name
            for name, value in self.model_dump(mode="json").items()
            if name != "data" and settings[name] != value
        ]

    @property
    def load_options(self) -> dict[str, Any]:
        """Keywords with which `virolbi.data.load` reads images as those of the training are read.

        Returns
        -------
        dict
            The size, the data range, and what to do with images that cannot be decoded.
        """
        return {"size": self.size, "data_range": self.data_range, "corrupt": self.corrupt}

    @property
    def form(self) -> Form:
        """Form of the smoother: that of the preset, with `nu`.

        Returns
        -------
        Form
            The form.
        """
        return dataclasses.replace(PRESETS[self.preset], nu=self.nu)

    @property
    def all_sparsities(self) -> tuple[float | Literal["auto"], ...]:
        """Every sparsity at which training images are shown.

        Returns
        -------
        tuple of float or "auto"
            The sparsities; 0 is the image as it is, and "auto" is chosen from its noise.
        """
        if self.procedure == "mixed":
            return self.mix
        if self.procedure == "plain":
            return (0.0,)
        if self.procedure == "fixed":
            return ("auto" if self.sparsity == "auto" else float(self.sparsity),)
        levels = np.linspace(float(self.sparsity), self.start_sparsity, self.rounds)[::-1]
        return tuple(float(level) for level in levels)

    @property
    def all_views(self) -> tuple[tuple[Alternative, ...], ...]:
        """The views of each image, as alternatives of chains of steps.

        Returns
        -------
        tuple of tuple of Alternative
            One view or more. The smoothing of `order="first"` comes before the crop, and is
            therefore no step.
        """
        if self.views:
            return tuple(parse_view(view) for view in self.views)
        last = self.order == "last" and self.procedure != "plain"
        conditions = {"augmix": self.augmix, "noise": self.noise != 0, "smooth": last}
        steps = tuple(step for step, used in conditions.items() if used)
        return ((Alternative(1 - self.untouched, steps), Alternative(self.untouched, ())),)

    @property
    def smooths_first(self) -> bool:
        """Whether images are smoothed before they are cropped, and not as a step of their views.

        Returns
        -------
        bool
            True for `order="first"` without `views`.
        """
        return self.order == "first" and not self.views

    @property
    def smooths_last(self) -> bool:
        """Whether images are smoothed at the end of a view, after all other steps.

        Returns
        -------
        bool
            True if "smooth" is the last step of an alternative of a view.
        """
        return any(chain.steps[-1:] == ("smooth",) for view in self.all_views for chain in view)

    @property
    def passes(self) -> int:
        """Number of forward and backward passes that an image takes in an epoch.

        Returns
        -------
        int
            One for each view, and one for each step of an attack.
        """
        return len(self.all_views) + (self.adversarial_steps if self.adversarial else 0)

    def with_passes(self, passes: int) -> "Recipe":
        """Return a copy whose number of epochs comes nearest to a budget of passes.

        Parameters
        ----------
        passes : int
            Forward and backward passes of each training image, >= 1.

        Returns
        -------
        Recipe
            The new recipe, of one epoch or more.

        Raises
        ------
        TypeError, ValueError
            If `passes` is not a whole number >= 1.

        Examples
        --------
        >>> recipe = Recipe(views=("clean", "augmix", "augmix"), consistency=12)
        >>> recipe.with_passes(30).epochs
        10
        """
        check_count("passes", passes)
        return self.replace(epochs=max(1, round(passes / self.passes)))

    def sparsities(self, done: float, count: int, rng: np.random.Generator) -> Sparsities:
        """Return the sparsities of a batch of training images.

        Parameters
        ----------
        done : float
            Share of all steps that is over, in [0, 1).
        count : int
            Number of images.
        rng : numpy.random.Generator
            Source of random numbers.

        Returns
        -------
        Sparsities
            One sparsity for each image.
        """
        levels = self.all_sparsities
        if self.procedure == "iterative":
            last = len(levels) - 1
            round_ = last if done >= self.advance else int(done / self.advance * len(levels))
            indices = np.full(count, round_)
        else:
            indices = rng.choice(len(levels), size=count)
        values = np.array([0.0 if level == "auto" else level for level in levels])
        auto = np.array([level == "auto" for level in levels])
        return Sparsities(values[indices], auto[indices])
