"""Gradient attacks in the maximum and the Euclidean norm: FGSM and PGD."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from virolbi._checks import check_count

BATCH_SIZE = 250  # images at once, where the caller does not say

Model = Callable[[Tensor], Tensor]  # intensities in [0, 1], (N, C, H, W), to logits, (N, classes)
Norm = Literal["linf", "l2"]


def fgsm(
    model: Model, images: Tensor, labels: Tensor, *, epsilon: float, norm: Norm = "linf"
) -> Tensor:
    """Take one step of size `epsilon` along the gradient of the cross entropy.

    In "linf" the step follows the sign of the gradient.

    Parameters
    ----------
    model : callable
        Function from intensities in [0, 1] to logits, in evaluation mode.
    images : Tensor of float, shape (N, C, H, W)
        Images to attack, in [0, 1].
    labels : Tensor of int64, shape (N,)
        Correct classes.
    epsilon : float
        Largest change, in intensity, >= 0: of a pixel in "linf", of the Euclidean length of the
        whole change in "l2". A larger `epsilon` is stronger.
    norm : {"linf", "l2"}, optional
        Norm that measures the change.

    Returns
    -------
    Tensor
        Adversarial images in [0, 1], of the same shape and dtype.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or is out of its range, or if the model has no
        derivative with respect to its images.

    References
    ----------
    .. [1] Goodfellow, Shlens and Szegedy, "Explaining and harnessing adversarial examples", 2015.
    """
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
    """Maximise the cross entropy by projected gradient ascent.

    Of all steps of all restarts the worst is kept for each image: a misclassified version comes
    before one that is not, then the larger loss decides.

    Parameters
    ----------
    model : callable
        Function from intensities in [0, 1] to logits, in evaluation mode.
    images : Tensor of float, shape (N, C, H, W)
        Images to attack, in [0, 1].
    labels : Tensor of int64, shape (N,)
        Correct classes.
    epsilon : float
        Largest change, in intensity, >= 0: of a pixel in "linf", of the Euclidean length of the
        whole change in "l2". A larger `epsilon` is stronger.
    norm : {"linf", "l2"}, optional
        Norm that measures the change.
    steps : int, optional
        Gradient steps of each restart, >= 1. More steps are stronger.
    step_size : float, optional
        Size of a step, in units of the norm of `epsilon`. None takes 2.5 epsilon / steps.
    restarts : int, optional
        Independent starts, >= 1. More restarts are stronger; more than one needs a `generator`.
    samples : int, optional
        Forward passes over which gradient and loss are averaged, >= 1, for a random model
        (expectation over transformation, EOT) [2]_.
    generator : torch.Generator, optional
        Source of the random starts. None starts at the image itself.

    Returns
    -------
    Tensor
        Adversarial images in [0, 1], of the same shape and dtype.

    Raises
    ------
    TypeError
        If `steps`, `restarts` or `samples` is not a whole number.
    ValueError
        If an argument has the wrong shape or is out of its range, or if the model has no
        derivative with respect to its images.

    References
    ----------
    .. [1] Madry et al., "Towards deep learning models resistant to adversarial attacks", 2018.
    .. [2] Athalye et al., "Synthesizing robust adversarial examples", 2018.
    """
    for name, value in (("steps", steps), ("restarts", restarts), ("samples", samples)):
        check_count(name, value)
    if restarts > 1 and generator is None:
        raise ValueError(
            "restarts must be 1 without a generator, because all would start at the image, "
            f"got {restarts}"
        )
    ball = make_ball(images, labels, epsilon, norm)
    if len(images) == 0:
        return images.clone()
    step_size = 2.5 * epsilon / steps if step_size is None else step_size
    worst = _WorstImages(images)
    for _ in range(restarts):
        adversarial = images if generator is None else ball.draw(generator)
        for step in range(steps):
            gradient, score = _gradient_and_score(model, adversarial, labels, samples)
            if step > 0:
                worst.update(adversarial, score)
            adversarial = ball.project(adversarial + step_size * ball.direction(gradient)).detach()
        if steps * restarts == 1:
            return adversarial  # the only candidate
        with torch.no_grad():
            scores = torch.stack([_score(model, adversarial, labels) for _ in range(samples)])
        worst.update(adversarial, scores.mean(dim=0))
    return worst.images


def input_gradient(values: Tensor, images: Tensor) -> Tensor | None:
    """Return the derivative of the sum of some values by the images they were computed from.

    Parameters
    ----------
    values : Tensor
        Values of any shape, such as logits or losses.
    images : Tensor
        Images that require a gradient.

    Returns
    -------
    Tensor or None
        Derivative of the shape of `images`, or None if the values do not depend on them in a way
        that has a derivative.

    Examples
    --------
    >>> images = torch.ones(1, 1, 1, 2, requires_grad=True)
    >>> input_gradient(images**2, images)
    tensor([[[[2., 2.]]]])
    >>> input_gradient(images.detach() ** 2, images) is None
    True
    """
    if not values.requires_grad:
        return None
    return torch.autograd.grad(values.sum(), images, allow_unused=True)[0]


def _gradient_and_score(
    model: Model, images: Tensor, labels: Tensor, samples: int
) -> tuple[Tensor, Tensor]:
    """Return the gradient of the cross entropy and the scores, (2, N), as means over the samples.

    Entries of the gradient that are not finite become 0.
    """
    images = images.detach().requires_grad_()
    gradients, scores = [], []
    for _ in range(samples):
        score = _score(model, images, labels)
        gradient = input_gradient(score[1], images)
        if gradient is None:
            raise ValueError(
                "model must have a derivative with respect to its images, got one without; "
                "`square` attacks such a model"
            )
        gradients.append(gradient)
        scores.append(score.detach())
    return torch.stack(gradients).mean(dim=0).nan_to_num(0, 0, 0), torch.stack(scores).mean(dim=0)


def _score(model: Model, images: Tensor, labels: Tensor) -> Tensor:
    """Return whether each image is misclassified, and its cross entropy: (2, N)."""
    logits = model(images)
    loss = F.cross_entropy(logits, labels, reduction="none")
    return torch.stack([(logits.argmax(dim=1) != labels).to(loss), loss])


class _WorstImages:
    """The worst version of each image so far."""

    def __init__(self, images: Tensor) -> None:
        self.images, self._score = images.clone(), images.new_full((2, len(images)), -1.0)

    def update(self, images: Tensor, score: Tensor) -> None:
        """Keep each image whose score is higher than the highest so far."""
        worse = (score[0] > self._score[0]) | (
            (score[0] == self._score[0]) & (score[1] > self._score[1])
        )
        self._score = torch.where(worse, score, self._score)
        self.images[worse] = images[worse]


class _LinfBall:
    """Images in [0, 1] no pixel of which differs by more than epsilon."""

    def __init__(self, images: Tensor, epsilon: float) -> None:
        self._low, self._high = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return random images of the ball, uniformly distributed."""
        noise = torch.rand(self._low.shape, generator=generator, device=generator.device)
        return self._low + (self._high - self._low) * noise.to(self._low)

    def direction(self, gradient: Tensor) -> Tensor:
        """Return the change of norm 1 that raises the loss most, to first order."""
        return gradient.sign()

    def project(self, images: Tensor) -> Tensor:
        """Return the nearest images of the ball."""
        return torch.minimum(torch.maximum(images, self._low), self._high)


class _L2Ball:
    """Images in [0, 1] at a Euclidean distance of at most epsilon."""

    def __init__(self, images: Tensor, epsilon: float) -> None:
        self._images, self._epsilon = images, epsilon

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return random images of the ball: uniformly distributed, then clipped to [0, 1]."""
        shape, device = self._images.shape, generator.device
        normal = torch.randn(shape, generator=generator, device=device).to(self._images)
        uniform = torch.rand(len(normal), 1, 1, 1, generator=generator, device=device).to(normal)
        # the volume of a ball grows with this power of its radius
        radius = self._epsilon * uniform ** (1 / normal[0].numel())
        return self.project(self._images + radius * self.direction(normal))

    def direction(self, gradient: Tensor) -> Tensor:
        """Return the gradient at length 1, or 0 for a gradient of zero."""
        smallest = torch.finfo(gradient.dtype).tiny
        # scaled first, because the square of a small gradient may underflow
        scaled = gradient / gradient.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=smallest)
        return scaled / _length(scaled).clamp(min=smallest)

    def project(self, images: Tensor) -> Tensor:
        """Return images of the ball: clip to [0, 1], then shorten the change to epsilon."""
        # in this order, since a shorter change cannot leave [0, 1] again, and pixels that are
        # already at 0 or 1 use up none of the length
        change = images.clamp(0, 1) - self._images
        shortening = (self._epsilon / _length(change).clamp(min=1e-12)).clamp(max=1)
        return (self._images + change * shortening).clamp(0, 1)


def _length(change: Tensor) -> Tensor:
    """Return Euclidean lengths: (N, C, H, W) -> (N, 1, 1, 1)."""
    return change.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()


def make_ball(images: Tensor, labels: Tensor, epsilon: float, norm: Norm) -> _LinfBall | _L2Ball:
    """Return the set of images that an attack may return, after checking its arguments.

    Parameters
    ----------
    images : Tensor of float, shape (N, C, H, W)
        Centres of the balls, in [0, 1].
    labels : Tensor of int64, shape (N,)
        Correct classes; only their shape is checked.
    epsilon : float
        Radius, in intensity.
    norm : {"linf", "l2"}
        Norm that measures the radius.

    Returns
    -------
    _LinfBall or _L2Ball
        One ball around each image, within [0, 1].

    Raises
    ------
    ValueError
        If an argument has the wrong shape or is out of its range.
    """
    check_ball(epsilon, norm)
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(
            "images must be floating of shape (N, C, H, W), "
            f"got {images.dtype} of {tuple(images.shape)}"
        )
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"labels must have shape ({len(images)},), one for each image, "
            f"got {tuple(labels.shape)}"
        )
    if images.numel():
        low, high = (float(bound) for bound in images.aminmax())
        if not (low >= -1e-3 and high <= 1 + 1e-3):  # smoothing may overshoot by rounding
            raise ValueError(f"images must be in [0, 1], got [{low:.4g}, {high:.4g}]")
    return _LinfBall(images, epsilon) if norm == "linf" else _L2Ball(images, epsilon)


def check_ball(epsilon: float, norm: Norm) -> None:
    """Check that a norm is known and that a radius is possible in it.

    Parameters
    ----------
    epsilon : float
        Must be >= 0 and finite, and at most 1 in "linf".
    norm : {"linf", "l2"}
        Must be one of these names.

    Raises
    ------
    ValueError
        If they are not.
    """
    if norm not in ("linf", "l2"):
        raise ValueError(f"norm must be 'linf' or 'l2', got {norm!r}")
    if norm == "linf" and not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon must be in [0, 1], got {epsilon}")
    if not 0 <= epsilon < math.inf:
        raise ValueError(f"epsilon must be >= 0 and finite, got {epsilon}")
