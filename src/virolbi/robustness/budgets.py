"""The budget of an attacker, and the attacks that a model must survive under it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from virolbi._checks import check_count, check_whole
from virolbi.nn import Smooth
from virolbi.robustness.attacks import Model, Norm, check_ball, fgsm, pgd
from virolbi.robustness.independence import check_independent
from virolbi.robustness.pyautoattack import square

Attack = Callable[[Tensor, Tensor], Tensor]  # images and labels to adversarial images

# attacks that follow the derivative of the model, or a replacement for it
GRADIENT = ("fgsm", "pgd", "exact", "identity", "eot")
# attacks that do not
BLACK_BOX = ("square", "transfer")
# attacks that a model that smooths must survive before it is called robust
ADAPTIVE = ("exact", "identity", "transfer", "square")


@dataclass(frozen=True)
class Budget:
    """Budget of an attacker: what may change in an image, and how much work is done.

    Every number except `seed` makes attacks stronger as it grows.

    Parameters
    ----------
    epsilon : float
        Largest change, in intensity, >= 0: of a pixel in "linf", of the Euclidean length of the
        whole change in "l2".
    norm : {"linf", "l2"}
        Norm that measures the change.
    steps : int
        Gradient steps of PGD, >= 1.
    restarts : int
        Random starts of PGD, >= 1.
    samples : int
        Forward passes over which "eot" averages, >= 1. More than 1 adds "eot" to the attacks, for
        a random model.
    queries : int
        Largest number of forward passes of Square for each image, >= 1.
    seed : int
        Seed of all random choices of the attacks.

    Raises
    ------
    TypeError, ValueError
        If a field has the wrong type or is out of its range.

    See Also
    --------
    pgd : The attack that takes `steps`, `restarts` and `samples`.
    square : The attack that takes `queries`.
    """

    epsilon: float
    norm: Norm = "linf"
    steps: int = 50
    restarts: int = 1
    samples: int = 1
    queries: int = 5000
    seed: int = 0

    def __post_init__(self) -> None:
        check_ball(self.epsilon, self.norm)
        for name in ("steps", "restarts", "samples", "queries"):
            check_count(name, getattr(self, name))
        check_whole("seed", self.seed)

    def generator(self) -> torch.Generator:
        """Return a new random generator, so that an attack called twice gives the same result.

        Returns
        -------
        torch.Generator
            Generator on the CPU that starts from `seed`.
        """
        return torch.Generator().manual_seed(int(self.seed))

    def fgsm(self, model: Model) -> Attack:
        """Return FGSM on a model with this budget.

        Parameters
        ----------
        model : callable
            Function from intensities to logits.

        Returns
        -------
        callable
            Function from images and labels to adversarial images.
        """
        return partial(fgsm, model, epsilon=self.epsilon, norm=self.norm)

    def pgd(self, model: Model, *, samples: int = 1) -> Attack:
        """Return PGD on a model with this budget, from random starts.

        Parameters
        ----------
        model : callable
            Function from intensities to logits.
        samples : int, optional
            Forward passes over which gradient and loss are averaged, in place of the field of the
            same name.

        Returns
        -------
        callable
            Function from images and labels to adversarial images.
        """
        attack = partial(
            pgd,
            model,
            epsilon=self.epsilon,
            norm=self.norm,
            steps=self.steps,
            restarts=self.restarts,
            samples=samples,
        )
        return lambda images, labels: attack(images, labels, generator=self.generator())

    def square(self, model: Model) -> Attack:
        """Return Square on a model with this budget.

        Parameters
        ----------
        model : callable
            Function from intensities to logits.

        Returns
        -------
        callable
            Function from images and labels to adversarial images.
        """
        attack = partial(square, model, epsilon=self.epsilon, norm=self.norm, queries=self.queries)
        return lambda images, labels: attack(images, labels, generator=self.generator())


def attacks_for(model: nn.Module, budget: Budget) -> dict[str, Attack]:
    """Return the attacks that a model must survive, by name.

    Parameters
    ----------
    model : Module
        Model in evaluation mode. One that smooths must be `nn.Sequential(smooth, network)`, where
        `smooth` has no parameters, so that the smoother and the network can be told apart.
    budget : Budget
        Budget of every attack.

    Returns
    -------
    dict of str to callable
        "fgsm", "pgd" and "square", and "eot" if `budget.samples` > 1; for a model that smooths,
        those of `adaptive_attacks`.

    Raises
    ------
    ValueError
        If the answer of the model for an image depends on other images (`check_independent`), or
        if the model smooths in any other form.
    """
    check_independent("model", model)
    if (
        isinstance(model, nn.Sequential)
        and contains_smoother(model[0])
        and not any(True for _ in model[0].parameters())  # else it holds (part of) the network
        and not contains_smoother(model[1:])
    ):
        return adaptive_attacks(model[0], model[1:], budget)
    if contains_smoother(model):
        raise ValueError(
            "model must be nn.Sequential(smooth, network) where it smooths, "
            f"got {type(model).__name__}"
        )
    attacks = {"fgsm": budget.fgsm(model), "pgd": budget.pgd(model)}
    if budget.samples > 1:
        attacks["eot"] = budget.pgd(model, samples=budget.samples)
    return attacks | {"square": budget.square(model)}


def adaptive_attacks(smooth: nn.Module, network: nn.Module, budget: Budget) -> dict[str, Attack]:
    """Return attacks that suit `nn.Sequential(smooth, network)`, by name.

    Parameters
    ----------
    smooth : Module
        Any module in front of the network whose output has the shape of its input.
    network : Module
        Network from smoothed images to logits.
    budget : Budget
        Budget of every attack.

    Returns
    -------
    dict of str to callable
        "fgsm" and "exact" (PGD) follow the derivative of `smooth` itself. "identity" (BPDA)
        smooths in the forward pass and takes the derivative of the identity in the backward pass.
        "transfer" is PGD on the network alone. "square" uses the logits of the whole model only.
        "eot", if `budget.samples` > 1, is "exact" with its gradient averaged over that many
        passes.

    References
    ----------
    .. [1] Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of security",
       2018.
    .. [2] Tramèr et al., "On adaptive attacks to adversarial example defenses", 2020.
    """
    model = nn.Sequential(smooth, network)
    attacks = {
        "fgsm": budget.fgsm(model),
        "exact": budget.pgd(model),
        "identity": budget.pgd(nn.Sequential(StraightThrough(smooth), network)),
    }
    if budget.samples > 1:
        attacks["eot"] = budget.pgd(model, samples=budget.samples)
    return attacks | {"transfer": budget.pgd(network), "square": budget.square(model)}


class StraightThrough(nn.Module):
    """A module with the output of another one and the derivative of the identity (BPDA).

    Parameters
    ----------
    inner : Module
        Module whose output has the shape of its input.

    References
    ----------
    .. [1] Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of security",
       2018.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        """Return the output of `inner`.

        Parameters
        ----------
        images : Tensor
            Input of `inner`.

        Returns
        -------
        Tensor
            Output of `inner`, whose derivative by `images` is the identity.
        """
        with torch.no_grad():
            changed: Tensor = self.inner(images)
        return changed + (images - images.detach())  # the bracket is exactly zero


def contains_smoother(model: nn.Module) -> bool:
    """Return whether a model contains a `virolbi.nn.Smooth`.

    Parameters
    ----------
    model : Module
        Model to search, at any depth.

    Returns
    -------
    bool
        True if it contains one.
    """
    return any(isinstance(module, Smooth) for module in model.modules())
