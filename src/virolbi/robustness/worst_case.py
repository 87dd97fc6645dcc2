"""The worst case over several attacks, adaptive ones where a model smooths: the only figure to call robustness."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from virolbi._checks import check_count
from virolbi.nn import Smooth, uses_batch_statistics
from virolbi.robustness.attacks import Model, Norm, check_ball, fgsm, pgd, square

Attack = Callable[[Tensor, Tensor], Tensor]  # images and labels to adversarial images

GRADIENT = (
    "fgsm",
    "pgd",
    "exact",
    "identity",
    "eot",
)  # they see the model's own derivative, or what stands in for it
BLACK_BOX = ("square", "transfer")  # they do not
ADAPTIVE = (
    "exact",
    "identity",
    "transfer",
    "square",
)  # what a model that smooths must survive before it is called robust


@dataclass(frozen=True)
class Budget:
    """What an attacker may change, and how hard it tries: all but epsilon and norm make attacks stronger as they grow.

    epsilon, norm, steps, restarts: as in `pgd`; queries: as in `square`. samples: more than 1 adds "eot", for a model that is
    random. seed: of everything that attacks draw.
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

    def generator(self) -> torch.Generator:
        """A fresh one, so that an attack called twice does the same twice."""
        return torch.Generator().manual_seed(self.seed)

    def fgsm(self, model: Model) -> Attack:
        """`fgsm` with this budget."""
        return partial(fgsm, model, epsilon=self.epsilon, norm=self.norm)

    def pgd(self, model: Model, *, samples: int = 1) -> Attack:
        """`pgd` with this budget, from random starts."""
        attack = partial(
            pgd,
            model,
            epsilon=self.epsilon,
            norm=self.norm,
            steps=self.steps,
            restarts=self.restarts,
        )
        return lambda images, labels: attack(
            images, labels, samples=samples, generator=self.generator()
        )

    def square(self, model: Model) -> Attack:
        """`square` with this budget."""
        attack = partial(square, model, epsilon=self.epsilon, norm=self.norm, queries=self.queries)
        return lambda images, labels: attack(images, labels, generator=self.generator())


def attacks_for(model: nn.Module, budget: Budget) -> dict[str, Attack]:
    """The attacks a model must survive, by name: "fgsm", "pgd" and "square", and "eot" where samples > 1; `adaptive` ones where
    it smooths.

    model: in evaluation mode; one that smooths must be nn.Sequential(smooth, network), so that what smooths can be told from
    what is smoothed for.
    """
    _check_alone(model)
    if (
        isinstance(model, nn.Sequential)
        and isinstance(model[0], Smooth)
        and not contains_smoother(model[1:])
    ):
        return adaptive_attacks(model[0], model[1:], budget)
    if contains_smoother(model):
        raise ValueError(
            f"model must be nn.Sequential(smooth, network) where it smooths, got {type(model).__name__}"
        )
    attacks = {"fgsm": budget.fgsm(model), "pgd": budget.pgd(model)}
    if budget.samples > 1:
        attacks["eot"] = budget.pgd(model, samples=budget.samples)
    return attacks | {"square": budget.square(model)}


def _check_alone(model: nn.Module) -> None:
    if uses_batch_statistics(model):
        raise ValueError(
            "model must judge each image alone, in evaluation mode, got batch norm that takes its statistics from the batch"
        )


def adaptive_attacks(smooth: nn.Module, network: nn.Module, budget: Budget) -> dict[str, Attack]:
    """Attacks fit for nn.Sequential(smooth, network), by name (Athalye et al. 2018, Tramer et al. 2020).

    smooth: whatever stands in front of the network; its images have the shape of its input.
    "fgsm" and "exact" (PGD) follow the derivative that `smooth` has. "identity" (BPDA) smooths forwards and goes backwards as
    if it had not. "transfer" is PGD on the network alone. "square" asks the whole, for logits only. "eot", where samples > 1,
    is "exact" with its gradient averaged over as many passes.
    """
    whole = nn.Sequential(smooth, network)
    attacks = {
        "fgsm": budget.fgsm(whole),
        "exact": budget.pgd(whole),
        "identity": budget.pgd(nn.Sequential(StraightThrough(smooth), network)),
    }
    if budget.samples > 1:
        attacks["eot"] = budget.pgd(whole, samples=budget.samples)
    return attacks | {"transfer": budget.pgd(network), "square": budget.square(whole)}


class StraightThrough(nn.Module):
    """What `inner` computes, with the derivative of the identity: BPDA (Athalye et al. 2018)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        """As `inner`, whose output must have the shape of its input."""
        with torch.no_grad():
            changed: Tensor = self.inner(images)
        return changed + (images - images.detach())  # the bracket is exactly zero


def contains_smoother(model: nn.Module) -> bool:
    """Whether there is a `virolbi.nn.Smooth` in it."""
    return any(isinstance(part, Smooth) for part in model.modules())


def logit_spread(model: Model, images: Tensor, *, passes: int = 10) -> Tensor:
    """How far logits of the same image differ between forward passes, relative to their size; shape (N,). 0 when never."""
    if passes < 2:
        raise ValueError(f"passes must be >= 2, got {passes}")
    with torch.no_grad():
        first = model(images)
        size = first.abs().amax(dim=1).clamp(min=torch.finfo(first.dtype).tiny)
        differences = [(model(images) - first).abs().amax(dim=1) for _ in range(passes - 1)]
    return torch.stack(differences).amax(dim=0) / size


RANDOM_SPREAD = 1e-4  # a spread beyond this is no rounding of parallel sums


@dataclass(frozen=True, eq=False)
class WorstCase:
    """Which images stayed correct under which attack."""

    correct: Mapping[str, Tensor]  # by attack, "clean" first: bool, (N,)

    @property
    def robust(self) -> Tensor:
        """Images that no attack fooled, and that were right to begin with: bool, (N,)."""
        return torch.stack(list(self.correct.values())).all(dim=0)


def worst_case(
    model: nn.Module,
    attacks: Mapping[str, Attack],
    images: Tensor,
    labels: Tensor,
    *,
    batch_size: int = 250,
) -> WorstCase:
    """Run every attack on every image that the model gets right, and judge the result on the model.

    model: in evaluation mode. attacks: by name, those of `attacks_on` or `adaptive`, and any more. images, labels: as in `pgd`.

    There is no figure for the robustness of a model that smooths from attacks blind to it: ValueError where one of `ADAPTIVE`
    is missing for such a model, and where "eot" is for one that is random.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be an nn.Module, so that smoothing in it can be seen, got {type(model).__name__}"
        )
    check_count("batch_size", batch_size)
    _check_alone(model)
    if len(images) == 0 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"images must be some, with a label each, got {len(images)} and {tuple(labels.shape)} labels"
        )
    needed = set(ADAPTIVE) if contains_smoother(model) else set()
    if float(logit_spread(model, images[:32]).max()) > RANDOM_SPREAD:
        needed.add("eot")
    if missing := sorted(needed - set(attacks)):
        raise ValueError(
            f"attacks must have {', '.join(missing)} for a model that smooths or is random (samples > 1 adds eot), "
            f"got {sorted(attacks)}"
        )
    correct: dict[str, list[Tensor]] = {name: [] for name in ("clean", *attacks)}
    for some, truth in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        clean = _is_correct(model, some, truth)
        correct["clean"].append(clean)
        for name, attack in attacks.items():
            stayed = clean.clone()
            if clean.any():
                stayed[clean] = _is_correct(model, attack(some[clean], truth[clean]), truth[clean])
            correct[name].append(stayed)
    return WorstCase({name: torch.cat(parts) for name, parts in correct.items()})


def _is_correct(model: Model, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return model(images).argmax(dim=1) == labels
