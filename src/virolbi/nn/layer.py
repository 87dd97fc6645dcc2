"""The smoother for tensors, with its exact backward."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from virolbi.nn.path import TensorScale
from virolbi.scale_space import (
    Chooser,
    Form,
    Output,
    Scale,
    ScaleSpace,
    check_sparsity_choice,
)


class Smooth(nn.Module):
    """Smooth a batch of images, intensities in [0, 1] of shape (..., C, H, W): before a network and its normalisation.

    sparsity, nu, delta, joint, output, min_area: as in `virolbi.smooth`; the sparsity a number, "auto" or a chooser. `forward`
    takes another one, or a number for each image, where a batch needs it.

    The backward pass is the exact derivative, so gradient attacks see through the smoothing; but in a region of outliers alone
    (every pixel of it further than `delta` from beta) beta is not unique, and the derivative is taken to be 0. Under strong
    noise there are such regions, of few pixels. Tensors on the CPU go through the
    compiled engine; those on an accelerator stay there, for the same algorithm in torch operations.

    >>> layer = Smooth(sparsity=0.8)
    >>> layer(torch.rand(2, 3, 16, 16)).shape
    torch.Size([2, 3, 16, 16])
    """

    def __init__(
        self,
        sparsity: float | str | Chooser = 0.8,
        *,
        nu: float = Form.nu,
        delta: float = Form.delta,
        joint: bool = Form.joint,
        output: Output = Form.output,
        min_area: int = Form.min_area,
    ) -> None:
        super().__init__()
        self.form = Form(nu=nu, delta=delta, joint=joint, output=output, min_area=min_area)
        if not callable(sparsity):
            check_sparsity_choice(sparsity)
        self.form.check_combination(sparsity)
        self.sparsity = sparsity

    def forward(self, images: Tensor, sparsity: Any = None) -> Tensor:
        """Images of the same shape, dtype and device."""
        if not isinstance(images, Tensor):
            raise TypeError(f"images must be a torch tensor, got {type(images).__name__}")
        sparsity = self.sparsity if sparsity is None else sparsity
        return smooth_tensor(images, sparsity, self.form, channel_axis=-3)

    def extra_repr(self) -> str:
        """The settings, for `print(model)`."""
        settings = {"sparsity": self.sparsity} | self.form.keywords()
        return ", ".join(f"{name}={value!r}" for name, value in settings.items())


def uses_batch_statistics(model: nn.Module) -> bool:
    """Whether its batch normalisation goes by the batch, so that what an image is taken for depends on the others."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    return any(norm.training or norm.running_mean is None for norm in norms)


@torch.compiler.disable
def smooth_tensor(images: Tensor, sparsity: Any, form: Form, *, channel_axis: int | None) -> Tensor:
    """`virolbi.smooth` on a tensor, for callers that have checked the form; differentiable in `images`."""
    if isinstance(sparsity, Tensor):
        sparsity = sparsity.detach().cpu().numpy()
    smoothed: Tensor = _Smooth.apply(images, sparsity, form, channel_axis)
    return smoothed


class _Smooth(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, sparsity: Any, form: Form, channel_axis: int | None
    ) -> Tensor:
        settings: dict[str, Any] = {"nu": form.nu, "delta": form.delta, "joint": form.joint}
        settings["channel_axis"] = channel_axis
        scale: Scale | TensorScale
        if (
            _stays(images) and form.min_area == 1
        ):  # merging is one region after the other, nothing for an accelerator
            scale = TensorScale.of(images, sparsity, **settings)
        else:
            copy = ctx.needs_input_grad[0]
            space = ScaleSpace(_host(images), min_area=form.min_area, copy=copy, **settings)
            scale = space.finish(sparsity, output=form.output)
        ctx.scale, ctx.output = scale, form.output
        result = (
            getattr(scale, form.output)
            if isinstance(scale, TensorScale)
            else scale.output(form.output)
        )
        if ctx.needs_input_grad[0] and isinstance(scale, Scale):
            result = (
                result.copy()
            )  # the scale will be asked again, and what it gives away may be written to
        return torch.as_tensor(result, dtype=images.dtype, device=images.device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        incoming = gradient if isinstance(ctx.scale, TensorScale) else _host(gradient)
        result = ctx.scale.pullback(incoming, ctx.output)
        gradients = torch.as_tensor(result, dtype=gradient.dtype, device=gradient.device)
        return gradients, None, None, None


def _stays(images: Tensor) -> bool:
    """Whether they are on an accelerator, to stay there; the compiled engine needs them on the CPU."""
    return images.device.type != "cpu"


def _host(tensor: Tensor) -> Any:
    """A NumPy view of a tensor where that exists, else a copy; bfloat16, which NumPy lacks, as float32."""
    return (
        tensor.detach().to("cpu", torch.float32 if tensor.dtype == torch.bfloat16 else None).numpy()
    )
