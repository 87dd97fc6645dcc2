"""Attacks in the maximum and the Euclidean norm: FGSM, PGD, Square and AutoAttack."""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from virolbi._checks import check_count

Model = Callable[[Tensor], Tensor]  # intensities in [0, 1], (N, C, H, W), to logits, (N, classes)
Norm = Literal["linf", "l2"]

TARGETS = 9  # of the targeted attacks of AutoAttack
CLASSES_NEEDED = {
    "apgd-dlr": 3,
    "apgd-t": 4,
}  # their loss compares the largest three and four logits


def fgsm(
    model: Model, images: Tensor, labels: Tensor, *, epsilon: float, norm: Norm = "linf"
) -> Tensor:
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
        check_count(name, value)
    if restarts > 1 and generator is None:
        raise ValueError(
            f"restarts must be 1 without a generator, for all would start at the image, got {restarts}"
        )
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
            score = torch.stack([_score(model, adversarial, labels) for _ in range(samples)]).mean(
                dim=0
            )
        worst.offer(adversarial, score)
    return worst.images


def _gradient(model: Model, images: Tensor, labels: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Of the cross entropy, like the images, and the scores, (2, N); means over as many passes. 0 where it is not a number."""
    images = images.detach().requires_grad_()
    gradients, scores = [], []
    for _ in range(samples):
        score = _score(model, images, labels)
        found = (
            torch.autograd.grad(score[1].sum(), images, allow_unused=True)
            if score.requires_grad
            else (None,)
        )
        if found[0] is None:
            raise ValueError(
                "model must have a derivative with respect to its images, got one without; see `square`"
            )
        gradients.append(found[0])
        scores.append(score.detach())
    return torch.stack(gradients).mean(dim=0).nan_to_num(0, 0, 0), torch.stack(scores).mean(dim=0)


def _score(
    model: Model, images: Tensor, labels: Tensor
) -> Tensor:  # (2, N): whether misclassified, then the loss
    logits = model(images)
    loss = F.cross_entropy(logits, labels, reduction="none")
    return torch.stack([(logits.argmax(dim=1) != labels).to(loss), loss])


class _Worst:
    """The worst version of each image so far."""

    def __init__(self, images: Tensor) -> None:
        self.images, self._score = images.clone(), images.new_full((2, len(images)), -1.0)

    def offer(self, images: Tensor, score: Tensor) -> None:
        worse = (score[0] > self._score[0]) | (
            (score[0] == self._score[0]) & (score[1] > self._score[1])
        )
        self._score = torch.where(worse, score, self._score)
        self.images[worse] = images[worse]


class _Linf:
    """Images no pixel of which differs by more than epsilon, within [0, 1]."""

    def __init__(self, images: Tensor, epsilon: float) -> None:
        self._low, self._high = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)

    def draw(self, generator: torch.Generator) -> Tensor:
        noise = torch.rand(self._low.shape, generator=generator, device=generator.device).to(
            self._low
        )
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
        normal = torch.randn(self._images.shape, generator=generator, device=generator.device).to(
            self._images
        )
        radius = torch.rand(len(normal), 1, 1, 1, generator=generator, device=generator.device).to(
            normal
        )
        radius = self._epsilon * radius ** (
            1 / normal[0].numel()
        )  # uniform in the volume of the ball
        return self.project(self._images + radius * self.direction(normal))

    def direction(self, gradient: Tensor) -> Tensor:
        smallest = torch.finfo(gradient.dtype).tiny  # a gradient of zero stays where it is
        scaled = gradient / gradient.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(
            min=smallest
        )  # its square may underflow
        return scaled / _length(scaled).clamp(min=smallest)

    def project(self, images: Tensor) -> Tensor:
        # [0, 1] first: shortening a change cannot leave it again, and no length is lost to pixels that are at their end
        change = images.clamp(0, 1) - self._images
        return (
            self._images + change * (self._epsilon / _length(change).clamp(min=1e-12)).clamp(max=1)
        ).clamp(0, 1)


def _length(change: Tensor) -> Tensor:  # (N, C, H, W) -> (N, 1, 1, 1)
    return change.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()


def _ball(images: Tensor, labels: Tensor, epsilon: float, norm: str) -> _Linf | _L2:
    """What an attack may return; refuses images, labels and sizes of which there is no such thing."""
    check_ball(epsilon, norm)
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(
            f"images must be floating of shape (N, C, H, W), got {images.dtype} of {tuple(images.shape)}"
        )
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"labels must have shape ({len(images)},), one for each image, got {tuple(labels.shape)}"
        )
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

    check_count("queries", queries)
    ball = _ball(images, labels, epsilon, norm)
    _check_size(images, norm)
    if len(images) == 0:
        return images.clone()
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    asked = _for_pyautoattack(model, images)
    name = _their_name(norm)
    attack = SquareAttack(
        asked,
        norm=name,
        n_queries=queries,
        eps=epsilon,
        seed=seed,
        resc_schedule=True,
        device=images.device,
    )
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
    check_count("batch_size", batch_size)
    ball = _ball(images, labels, epsilon, norm)
    _check_size(images, norm)
    if len(images) == 0:
        return images.clone()
    asked = _for_pyautoattack(model, images)
    with torch.no_grad():
        classes = asked(images[:1].float()).shape[1]
    with _isolated(images.device):
        attacks = AutoAttack(
            asked,
            norm=_their_name(norm),
            eps=epsilon,
            seed=seed,
            version=version,
            device=images.device,
        )
        attacks.attacks_to_run = [
            name for name in attacks.attacks_to_run if classes >= CLASSES_NEEDED.get(name, 2)
        ]
        attacks.apgd_targeted.n_target_classes = attacks.fab.n_target_classes = min(
            TARGETS, classes - 1
        )
        found, _ = attacks.run_standard_evaluation(images.float(), labels, batch_size=batch_size)
    return ball.project(found.to(images))


def _check_size(images: Tensor, norm: str) -> None:
    if (
        norm == "l2" and min(images.shape[-2:]) < 5
    ):  # it starts from a pattern of five by five tiles
        raise ValueError(
            f"images must be at least 5x5 for Square in 'l2', got {tuple(images.shape[-2:])}"
        )


def _their_name(norm: str) -> str:
    return {"linf": "Linf", "l2": "L2"}[norm]


def _for_pyautoattack(model: Model, images: Tensor) -> Model:
    """The model as pyautoattack takes it: it computes in float32, writes into the logits, and may ask about no image at all."""
    with torch.no_grad():
        classes = model(images[:1]).shape[1]

    def asked(some: Tensor) -> Tensor:
        return (
            model(some.to(images.dtype)).to(torch.float32, copy=True)
            if len(some)
            else some.new_zeros(0, classes)
        )

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
