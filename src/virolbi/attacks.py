"""Gradient attacks in the maximum norm, on whatever stands in front of the network too."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def fgsm(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, *, epsilon: float) -> Tensor:
    """One step of size `epsilon` along the sign of the gradient (Goodfellow et al. 2015). Same shapes as `pgd`."""
    return pgd(model, images, labels, epsilon=epsilon, steps=1, step_size=epsilon)


def pgd(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int = 10,
    step_size: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Projected gradient ascent on the cross entropy (Madry et al. 2018); returns adversarial images in [0, 1].

    model: intensities in [0, 1] to logits. images: shape (N, C, H, W); labels: shape (N,). epsilon: largest change of a pixel,
    in intensity. step_size: 2.5 epsilon / steps when None. generator: draws a random start; None starts at the image itself.
    """
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon must be in [0, 1], got {epsilon}")
    if steps < 1:
        raise ValueError(f"steps must be >= 1, got {steps}")
    step_size = 2.5 * epsilon / steps if step_size is None else step_size
    low, high = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)
    adversarial = images
    if generator is not None:
        noise = torch.rand(images.shape, generator=generator, device=generator.device).to(images)
        adversarial = low + (high - low) * noise
    for _ in range(steps):
        adversarial = adversarial.detach().requires_grad_()
        loss = F.cross_entropy(model(adversarial), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, adversarial)
        adversarial = torch.minimum(torch.maximum(adversarial + step_size * gradient.sign(), low), high)
    return adversarial.detach()
