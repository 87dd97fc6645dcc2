"""Attacks in the maximum and the Euclidean norm, those fit for a model that smooths, and the worst case over several."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from virolbi.nn import Smooth

Model = Callable[[Tensor], Tensor]  # intensities in [0, 1], (N, C, H, W), to logits, (N, classes)
Attack = Callable[[Tensor, Tensor], Tensor]  # images and labels to adversarial images
Norm = Literal["linf", "l2"]

GRADIENT = ("fgsm", "pgd", "exact", "identity", "eot")  # they see the model's own derivative, or what stands in for it
BLACK_BOX = ("square", "transfer")  # they do not
ADAPTIVE = ("exact", "identity", "transfer", "square")  # what a model that smooths must survive before it is called robust
TARGETS = 9  # of the targeted attacks of AutoAttack
CLASSES_NEEDED = {"apgd-dlr": 3, "apgd-t": 4}  # their loss compares the largest three and four logits


def fgsm(model: Model, images: Tensor, labels: Tensor, *, epsilon: float, norm: Norm = "linf") -> Tensor:
    """One step of size `epsilon` along the gradient, in "linf" along its sign (Goodfellow et al. 2015). Shapes as in `pgd`."""
    return pgd(model, images, labels, epsilon=epsilon, norm=norm, steps=1, step_size=epsilon)


def pgd(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    norm: Norm = "linf",
    steps: int = 10,
    step_size: float | None = None,
    restarts: int = 1,
    samples: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Projected gradient ascent on the cross entropy (Madry et al. 2018); returns adversarial images in [0, 1].

    model: intensities in [0, 1] to logits, in evaluation mode. images: shape (N, C, H, W); labels: shape (N,), int64.
    epsilon: largest change, in intensity: of a pixel in "linf", of the Euclidean length of the whole change in "l2".
    step_size: in units of epsilon's norm; 2.5 epsilon / steps when None. generator: draws every start at random; None starts
    at the image itself. restarts: more are stronger; beyond one they need a generator. samples: forward passes that gradient
    and loss are the mean of, for a model that is random (EOT, Athalye et al. 2018).

    Of all the steps of all the restarts the worst is kept for each image: one that is misclassified before one that is not,
    then the larger loss. Raises ValueError for a model without a derivative with respect to its images.
    """
    for name, value in (("steps", steps), ("restarts", restarts), ("samples", samples)):
        _check_count(name, value)
    if restarts > 1 and generator is None:
        raise ValueError(f"restarts must be 1 without a generator, for all would start at the image, got {restarts}")
    ball = _ball(images, labels, epsilon, norm)
    if len(images) == 0:
        return images.clone()
    step_size = 2.5 * epsilon / steps if step_size is None else step_size
    worst = _Worst(images)
    for _ in range(restarts):
        adversarial = images if generator is None else ball.draw(generator)
        for step in range(steps):
            gradient, score = _gradient(model, adversarial, labels, samples)
            if step > 0:
                worst.offer(adversarial, score)
            adversarial = ball.project(adversarial + step_size * ball.direction(gradient)).detach()
        if steps * restarts == 1:
            return adversarial  # nothing to compare it with
        with torch.no_grad():
            score = torch.stack([_score(model, adversarial, labels) for _ in range(samples)]).mean(dim=0)
        worst.offer(adversarial, score)
    return worst.images


def _gradient(model: Model, images: Tensor, labels: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Of the cross entropy, like the images, and the scores, (2, N); means over as many passes."""
    images = images.detach().requires_grad_()
    gradients, scores = [], []
    for _ in range(samples):
        score = _score(model, images, labels)
        found = torch.autograd.grad(score[1].sum(), images, allow_unused=True) if score.requires_grad else (None,)
        if found[0] is None:
            raise ValueError("model must have a derivative with respect to its images, got one without; see `square`")
        gradients.append(found[0])
        scores.append(score.detach())
    return torch.stack(gradients).mean(dim=0), torch.stack(scores).mean(dim=0)


def _score(model: Model, images: Tensor, labels: Tensor) -> Tensor:  # (2, N): whether misclassified, then the loss
    logits = model(images)
    loss = F.cross_entropy(logits, labels, reduction="none")
    return torch.stack([(logits.argmax(dim=1) != labels).to(loss), loss])


class _Worst:
    """The worst version of each image so far."""

    def __init__(self, images: Tensor) -> None:
        self.images, self._score = images.clone(), images.new_full((2, len(images)), -1.0)

    def offer(self, images: Tensor, score: Tensor) -> None:
        worse = (score[0] > self._score[0]) | ((score[0] == self._score[0]) & (score[1] > self._score[1]))
        self._score = torch.where(worse, score, self._score)
        self.images[worse] = images[worse]


class _Linf:
    """Images no pixel of which differs by more than epsilon, within [0, 1]."""

    def __init__(self, images: Tensor, epsilon: float) -> None:
        self._low, self._high = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)

    def draw(self, generator: torch.Generator) -> Tensor:
        noise = torch.rand(self._low.shape, generator=generator, device=generator.device).to(self._low)
        return self._low + (self._high - self._low) * noise

    def direction(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def project(self, images: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(images, self._low), self._high)


class _L2:
    """Images at a Euclidean distance of at most epsilon, within [0, 1]."""

    def __init__(self, images: Tensor, epsilon: float) -> None:
        self._images, self._epsilon = images, epsilon

    def draw(self, generator: torch.Generator) -> Tensor:
        normal = torch.randn(self._images.shape, generator=generator, device=generator.device).to(self._images)
        radius = torch.rand(len(normal), 1, 1, 1, generator=generator, device=generator.device).to(normal)
        radius = self._epsilon * radius ** (1 / normal[0].numel())  # uniform in the volume of the ball
        return self.project(self._images + radius * self.direction(normal))

    def direction(self, gradient: Tensor) -> Tensor:
        smallest = torch.finfo(gradient.dtype).tiny  # a gradient of zero stays where it is
        scaled = gradient / gradient.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=smallest)  # its square may underflow
        return scaled / _length(scaled).clamp(min=smallest)

    def project(self, images: Tensor) -> Tensor:
        # [0, 1] first: shortening a change cannot leave it again, and no length is lost to pixels that are at their end
        change = images.clamp(0, 1) - self._images
        return (self._images + change * (self._epsilon / _length(change).clamp(min=1e-12)).clamp(max=1)).clamp(0, 1)


def _length(change: Tensor) -> Tensor:  # (N, C, H, W) -> (N, 1, 1, 1)
    return change.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()


def _ball(images: Tensor, labels: Tensor, epsilon: float, norm: str) -> _Linf | _L2:
    """What an attack may return; refuses images, labels and sizes of which there is no such thing."""
    check_ball(epsilon, norm)
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(f"images must be floating of shape (N, C, H, W), got {images.dtype} of {tuple(images.shape)}")
    if labels.shape != images.shape[:1]:
        raise ValueError(f"labels must have shape ({len(images)},), one for each image, got {tuple(labels.shape)}")
    if images.numel():
        low, high = (float(bound) for bound in images.aminmax())
        if not (low >= -1e-3 and high <= 1 + 1e-3):  # smoothing may overshoot by rounding
            raise ValueError(f"images must be in [0, 1], got [{low:.4g}, {high:.4g}]")
    return _Linf(images, epsilon) if norm == "linf" else _L2(images, epsilon)


def check_ball(epsilon: float, norm: str) -> None:
    """Refuse a norm that is not there and a size that is not one."""
    if norm not in ("linf", "l2"):
        raise ValueError(f"norm must be 'linf' or 'l2', got {norm!r}")
    if norm == "linf" and not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon must be in [0, 1], got {epsilon}")
    if not 0 <= epsilon < math.inf:
        raise ValueError(f"epsilon must be >= 0 and finite, got {epsilon}")


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be >= 1, got {value}")


def square(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    norm: Norm = "linf",
    queries: int = 5000,
    generator: torch.Generator,
) -> Tensor:
    """Square attack: random search over square patches, by the logits alone (Andriushchenko et al. 2020), of pyautoattack.

    queries: most forward passes for each image; more are stronger. The size of the squares shrinks in step with them. Images
    already misclassified are asked about no further; one that no query fooled comes back as it is. The rest is as in `pgd`.
    """
    from pyautoattack.square import SquareAttack

    _check_count("queries", queries)
    ball = _ball(images, labels, epsilon, norm)
    _check_size(images, norm)
    if len(images) == 0:
        return images.clone()
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    asked = _for_pyautoattack(model, images)
    name = _their_name(norm)
    attack = SquareAttack(asked, norm=name, n_queries=queries, eps=epsilon, seed=seed, resc_schedule=True, device=images.device)
    with torch.no_grad(), _isolated(images.device):
        found = attack.perturb(images.float(), labels)
    return ball.project(found.to(images))


def autoattack(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    norm: Norm = "linf",
    version: Literal["standard", "plus", "rand"] = "standard",
    batch_size: int = 250,
    seed: int = 0,
) -> Tensor:
    """AutoAttack (Croce and Hein 2020), of pyautoattack: four attacks without knobs, each on what the former left.

    version: "standard" is APGD-CE, APGD-T, FAB-T and Square with 5,000 queries; "plus" tries harder; "rand" is for a model that
    is random. Targeted attacks take the nine likeliest other classes, or all where there are fewer. APGD-T needs four classes
    and APGD-DLR three: they are left out below that. It computes in float32. An image that nothing fooled comes back as it is.
    The rest is as in `pgd`. Its own warnings go to the logger "auto-attack".
    """
    from pyautoattack import AutoAttack

    if version not in ("standard", "plus", "rand"):
        raise ValueError(f"version must be 'standard', 'plus' or 'rand', got {version!r}")
    _check_count("batch_size", batch_size)
    ball = _ball(images, labels, epsilon, norm)
    _check_size(images, norm)
    if len(images) == 0:
        return images.clone()
    asked = _for_pyautoattack(model, images)
    with torch.no_grad():
        classes = asked(images[:1].float()).shape[1]
    with _isolated(images.device):
        attacks = AutoAttack(asked, norm=_their_name(norm), eps=epsilon, seed=seed, version=version, device=images.device)
        attacks.attacks_to_run = [name for name in attacks.attacks_to_run if classes >= CLASSES_NEEDED.get(name, 2)]
        attacks.apgd_targeted.n_target_classes = attacks.fab.n_target_classes = min(TARGETS, classes - 1)
        found, _ = attacks.run_standard_evaluation(images.float(), labels, batch_size=batch_size)
    return ball.project(found.to(images))


def _check_size(images: Tensor, norm: str) -> None:
    if norm == "l2" and min(images.shape[-2:]) < 5:  # it starts from a pattern of five by five tiles
        raise ValueError(f"images must be at least 5x5 for Square in 'l2', got {tuple(images.shape[-2:])}")


def _their_name(norm: str) -> str:
    return {"linf": "Linf", "l2": "L2"}[norm]


def _for_pyautoattack(model: Model, images: Tensor) -> Model:
    """The model as pyautoattack takes it: it computes in float32, writes into the logits, and may ask about no image at all."""
    with torch.no_grad():
        classes = model(images[:1]).shape[1]

    def asked(some: Tensor) -> Tensor:
        return model(some.to(images.dtype)).to(torch.float32, copy=True) if len(some) else some.new_zeros(0, classes)

    return asked


@contextmanager
def _isolated(device: torch.device) -> Iterator[None]:
    """Give back what pyautoattack takes for itself: the global random state, and the trace that debuggers and coverage use."""
    trace = sys.gettrace()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        sys.settrace(trace)


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
            _check_count(name, getattr(self, name))

    def generator(self) -> torch.Generator:
        """A fresh one, so that an attack called twice does the same twice."""
        return torch.Generator().manual_seed(self.seed)

    def fgsm(self, model: Model) -> Attack:
        """`fgsm` with this budget."""
        return partial(fgsm, model, epsilon=self.epsilon, norm=self.norm)

    def pgd(self, model: Model, *, samples: int = 1) -> Attack:
        """`pgd` with this budget, from random starts."""
        attack = partial(pgd, model, epsilon=self.epsilon, norm=self.norm, steps=self.steps, restarts=self.restarts)
        return lambda images, labels: attack(images, labels, samples=samples, generator=self.generator())

    def square(self, model: Model) -> Attack:
        """`square` with this budget."""
        attack = partial(square, model, epsilon=self.epsilon, norm=self.norm, queries=self.queries)
        return lambda images, labels: attack(images, labels, generator=self.generator())


def attacks_on(model: nn.Module, budget: Budget) -> dict[str, Attack]:
    """The attacks a model must survive, by name: "fgsm", "pgd" and "square", and "eot" where samples > 1; `adaptive` ones where
    it smooths.

    model: one that smooths must be nn.Sequential(smooth, network), so that what smooths can be told from what is smoothed for.
    """
    if isinstance(model, nn.Sequential) and isinstance(model[0], Smooth) and not smooths(model[1:]):
        return adaptive(model[0], model[1:], budget)
    if smooths(model):
        raise ValueError(f"model must be nn.Sequential(smooth, network) where it smooths, got {type(model).__name__}")
    attacks = {"fgsm": budget.fgsm(model), "pgd": budget.pgd(model)}
    if budget.samples > 1:
        attacks["eot"] = budget.pgd(model, samples=budget.samples)
    return attacks | {"square": budget.square(model)}


def adaptive(smooth: nn.Module, network: nn.Module, budget: Budget) -> dict[str, Attack]:
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


def smooths(model: nn.Module) -> bool:
    """Whether there is a `virolbi.nn.Smooth` in it."""
    return any(isinstance(part, Smooth) for part in model.modules())


def spread(model: Model, images: Tensor, *, passes: int = 10) -> Tensor:
    """How far logits of the same image differ between forward passes, relative to their size; shape (N,). 0 when never."""
    if passes < 2:
        raise ValueError(f"passes must be >= 2, got {passes}")
    with torch.no_grad():
        first = model(images)
        size = first.abs().amax(dim=1).clamp(min=torch.finfo(first.dtype).tiny)
        differences = [(model(images) - first).abs().amax(dim=1) for _ in range(passes - 1)]
    return torch.stack(differences).amax(dim=0) / size


RANDOM = 1e-4  # a spread beyond this is no rounding of parallel sums


@dataclass(frozen=True, eq=False)
class WorstCase:
    """Which images stayed correct under which attack."""

    correct: Mapping[str, Tensor]  # by attack, "clean" first: bool, (N,)

    @property
    def robust(self) -> Tensor:
        """Images that no attack fooled, and that were right to begin with: bool, (N,)."""
        return torch.stack(list(self.correct.values())).all(dim=0)


def worst_case(
    model: nn.Module, attacks: Mapping[str, Attack], images: Tensor, labels: Tensor, *, batch_size: int = 250
) -> WorstCase:
    """Run every attack on every image that the model gets right, and judge the result on the model.

    model: in evaluation mode. attacks: by name, those of `attacks_on` or `adaptive`, and any more. images, labels: as in `pgd`.

    There is no figure for the robustness of a model that smooths from attacks blind to it: ValueError where one of `ADAPTIVE`
    is missing for such a model, and where "eot" is for one that is random.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, so that smoothing in it can be seen, got {type(model).__name__}")
    _check_count("batch_size", batch_size)
    if any(isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training for part in model.modules()):
        raise ValueError("model must be in evaluation mode, got batch normalisation in training mode")
    if len(images) == 0 or labels.shape != images.shape[:1]:
        raise ValueError(f"images must be some, with a label each, got {len(images)} and {tuple(labels.shape)} labels")
    needed = set(ADAPTIVE) if smooths(model) else set()
    if float(spread(model, images[:32]).max()) > RANDOM:
        needed.add("eot")
    if missing := sorted(needed - set(attacks)):
        raise ValueError(f"attacks must have {', '.join(missing)} for a model that smooths or is random, got {sorted(attacks)}")
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
