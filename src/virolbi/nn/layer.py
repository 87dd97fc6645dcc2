"""The smoother as a PyTorch layer, with its exact derivative."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from virolbi.nn.path import TensorScale
from virolbi.scale_space import (
    Chooser,
    Form,
    Output,
    Scale,
    ScaleSpace,
    check_channel_axis,
    check_data_range,
    check_sparsity_choice,
)

Function = TypeVar("Function", bound=Callable[..., Any])
NOT_IN_GRAPHS = (
    "images must be smoothed before the exported part of a model, because no exported graph can "
    "hold the smoother: export the network alone, as virolbi.deploy.export does, got a model that "
    "smooths"
)


class Smooth(nn.Module):
    """Layer that smooths a batch of images, for use in front of a network and its normalisation.

    The backward pass is the exact derivative, so gradient attacks see through the smoothing, with
    one exception: in a region of outliers alone (every pixel of it further than `delta` from beta)
    beta is not unique, and the derivative is taken to be 0. Under strong noise there are such
    regions, of few pixels.

    Tensors on the CPU go through the compiled engine; those on an accelerator stay there, for the
    same algorithm in Triton kernels (on a GPU, where Triton is installed) or torch operations.

    Parameters
    ----------
    sparsity : float, "auto" or callable, optional
        Fraction of edges left out, in [0, 1], or a rule to choose it, see `virolbi.smooth`.
    nu : float, optional
        Coupling of the image and its variations, see `virolbi.scale_space.Form`.
    delta : float, optional
        Intensity beyond which a pixel counts as an outlier.
    joint : bool, optional
        Whether the channels of an image share one support.
    output : {"beta", "regions"}, optional
        Output of the smoother.
    min_area : int, optional
        For output "regions": regions of fewer pixels are merged.
    step : float, optional
        Length of a time step as a fraction of the time, see `virolbi.scale_space.Form`.
    data_range : float, optional
        Value of the images that is intensity 1, > 0: 255 for floats in [0, 255]. None is 255 for
        uint8, 65535 for uint16 and 1 for floats. The backward pass is the derivative of the
        output by the input in the units of the images.

    Raises
    ------
    TypeError, ValueError
        If a setting has the wrong type or is out of its range.
    RuntimeError
        In the forward pass, if a graph is being recorded, as by `torch.onnx.export`; and in
        `torch.jit.script`.

    Warns
    -----
    UserWarning
        In the forward pass, see `virolbi.smooth`.

    Examples
    --------
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
        step: float = Form.step,
        data_range: float | None = None,
    ) -> None:
        super().__init__()
        self.form = Form(
            nu=nu, delta=delta, joint=joint, output=output, min_area=min_area, step=step
        )
        if not callable(sparsity):
            check_sparsity_choice(sparsity)
        self.form.check_combination(sparsity)
        check_data_range(data_range)
        self.sparsity, self.data_range = sparsity, data_range

    def forward(self, images: Tensor, *others: Any, sparsity: Any = None) -> Tensor:
        """Smooth a batch of images.

        Parameters
        ----------
        images : Tensor, shape (..., C, H, W)
            Intensities in [0, 1], or in [0, `data_range`].
        *others : Any
            Must be empty. A sparsity is given by its name, because torchvision calls the layers of
            a `Compose` with the label of the image as the second argument.
        sparsity : float, array_like of float, "auto" or callable, optional
            Sparsity to use for this batch instead of that of the layer; a number for each image
            is allowed.

        Returns
        -------
        Tensor
            Smoothed images of the same shape, dtype and device.

        Raises
        ------
        TypeError, ValueError
            If `images` is not a tensor of images, if there are other positional arguments, or if
            `sparsity` is out of range.
        """
        if others:
            raise TypeError(
                "images must be the only positional argument of Smooth (in transforms of images "
                "with labels use virolbi.transforms.Smooth, else sparsity=...), got "
                f"{len(others)} more, {type(others[0]).__name__} {others[0]!r:.50}"
            )
        if not isinstance(images, Tensor):
            raise TypeError(f"images must be a torch tensor, got {type(images).__name__}")
        if sparsity is None:
            sparsity = self.sparsity
        else:
            self.form.check_combination(sparsity)
        return smooth_tensor(
            images, sparsity, self.form, channel_axis=-3, data_range=self.data_range
        )

    def __prepare_scriptable__(self) -> "Smooth":
        """Refuse `torch.jit.script`, which calls this before it parses a network."""
        raise RuntimeError(NOT_IN_GRAPHS)

    def extra_repr(self) -> str:
        """Return the settings, for `print(model)`.

        Returns
        -------
        str
            Names and values.
        """
        settings = {"sparsity": self.sparsity} | self.form.keywords()
        if self.data_range is not None:
            settings["data_range"] = self.data_range
        return ", ".join(f"{name}={value!r}" for name, value in settings.items())


def outside_of_graphs(function: Function) -> Function:
    """Decorate a function that no graph can hold, because its work depends on the pixels.

    `torch.compile` leaves it out, and calls it when the compiled function runs.
    `torch.onnx.export`, `torch.export`, `torch.jit.trace` and `make_fx` of `torch.fx` would make
    its result for the example a constant of the graph, so it raises a `RuntimeError` there.

    Parameters
    ----------
    function : callable
        Function of tensors.

    Returns
    -------
    callable
        The function with the check in front of it.
    """

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if traced or torch.compiler.is_compiling() or get_proxy_mode() is not None:
            raise RuntimeError(NOT_IN_GRAPHS)
        return function(*args, **kwargs)

    return cast(Function, torch.compiler.disable(checked))  # type: ignore[no-untyped-call]


@outside_of_graphs
def smooth_tensor(
    images: Tensor,
    sparsity: Any,
    form: Form,
    *,
    channel_axis: int | None,
    data_range: float | None = None,
) -> Tensor:
    """Smooth a tensor as `virolbi.smooth` does; the result is differentiable in `images`.

    Parameters
    ----------
    images : Tensor
        Images.
    sparsity : float, array_like of float, "auto" or callable
        Fraction of edges left out.
    form : Form
        Form of the smoother, checked together with the sparsity by the caller.
    channel_axis : int or None
        Axis of the colour channels.
    data_range : float, optional
        Value of the images that is intensity 1, or None for the value that their dtype implies.

    Returns
    -------
    Tensor
        Smoothed images of the same shape, dtype, range and device.

    Raises
    ------
    TypeError
        If `channel_axis` is neither a whole number nor None.
    RuntimeError
        If a graph is being recorded, see `outside_of_graphs`.
    """
    if isinstance(sparsity, Tensor):
        sparsity = _to_numpy(sparsity)
    check_channel_axis(channel_axis)
    if channel_axis is not None and 0 <= channel_axis < images.dim():
        channel_axis -= images.dim()  # torch.func.vmap puts another axis before the first
    keep = torch.is_grad_enabled()  # never inside of forward
    settings = sparsity, form, channel_axis, data_range, keep
    smoothed: Tensor = _Smooth.apply(images, *settings)[0]
    return smoothed


class _Smooth(torch.autograd.Function):
    """The smoother with its derivative, for autograd and torch.func.

    It returns the smoothed images, and the moment that the derivative needs.
    """

    @staticmethod
    def forward(
        images: Tensor,
        sparsity: Any,
        form: Form,
        channel_axis: int | None,
        data_range: float | None,
        keep: bool,
    ) -> tuple[Tensor, Scale | TensorScale]:
        settings: dict[str, Any] = {"nu": form.nu, "delta": form.delta, "joint": form.joint}
        settings |= {"step": form.step, "channel_axis": channel_axis, "data_range": data_range}
        scale: Scale | TensorScale
        # regions are merged one after the other, which is no work for an accelerator
        if _on_accelerator(images) and form.min_area == 1 and images.numel():
            scale = TensorScale.of(images, sparsity, **settings)
            result = getattr(scale, form.output)
        else:
            pixels = _to_numpy(images)
            space = ScaleSpace(pixels, min_area=form.min_area, copy=keep, **settings)
            scale = moment = space.finish(sparsity, output=form.output)
            result = moment.output(form.output)
            if keep:  # the scale may be used again, and a caller may write to the result
                result = result.copy()
        smoothed = torch.as_tensor(result, dtype=images.dtype, device=images.device)
        return _laid_out_as(images, smoothed), scale

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Any]) -> None:
        ctx.scale, ctx.form = output[1], inputs[2]
        ctx.save_for_backward(torch.empty_like(inputs[0][..., :0]))  # see _Pullback

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: None) -> tuple[Tensor | None, ...]:
        by_images = _Pullback.apply(gradient, *ctx.saved_tensors, ctx.scale, ctx.form.output)
        return by_images, None, None, None, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], images: Tensor, *settings: Any
    ) -> tuple[tuple[Tensor, Any], tuple[int, None]]:
        return _Smooth.apply(images.movedim(in_dims[0] or 0, 0), *settings), (0, None)


class _Pullback(torch.autograd.Function):
    """The transposed derivative of the smoother, for torch.func; it has none of its own.

    `token` has no elements and stands for the images of the scale: torch.func maps over it where it
    maps over them.
    """

    @staticmethod
    def forward(
        gradient: Tensor, token: Tensor, scale: Scale | TensorScale, output: Output
    ) -> Tensor:
        incoming: Any = gradient if isinstance(scale, TensorScale) else _to_numpy(gradient)
        result = scale.pullback(incoming, output)
        by_images = torch.as_tensor(result, dtype=gradient.dtype, device=gradient.device)
        return _laid_out_as(gradient, by_images)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> None:
        raise RuntimeError(
            "images must be differentiated once: the smoother has no second derivative"
        )

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        gradient: Tensor,
        token: Tensor,
        scale: Any,
        output: Output,
    ) -> tuple[Tensor, int]:
        if in_dims[0] is None:
            gradient = gradient.expand(info.batch_size, *gradient.shape)
        else:
            gradient = gradient.movedim(in_dims[0], 0)
        if in_dims[1] is None:  # several gradients for the same images
            parts = [_Pullback.apply(part, token, scale, output) for part in gradient]
            return torch.stack(parts), 0
        return _Pullback.apply(gradient, token.movedim(in_dims[1], 0), scale, output), 0


def _laid_out_as(example: Tensor, images: Tensor) -> Tensor:
    """Return images in the memory format of an example, which may have its channels last."""
    channels_last = torch.channels_last
    if example.dim() == 4 and example.is_contiguous(memory_format=channels_last):
        return images.contiguous(memory_format=channels_last)
    return images


def _on_accelerator(images: Tensor) -> bool:
    """Return whether images are on an accelerator, to stay there."""
    return images.device.type != "cpu"


def _to_numpy(tensor: Tensor) -> Any:
    """Return a NumPy view of a tensor if it has one, else a copy; bfloat16 becomes float32."""
    dtype = torch.float32 if tensor.dtype == torch.bfloat16 else None  # which NumPy lacks
    return tensor.detach().to("cpu", dtype).numpy()
