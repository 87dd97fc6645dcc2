"""The smoother as a torchvision transform."""

from torch import Tensor

from virolbi import nn
from virolbi.scale_space import Chooser, Form, Output
from virolbi.transforms.base import ImageTransform


class Smooth(ImageTransform):
    """Transform that smooths the images of a sample, as `virolbi.smooth` does.

    Labels, masks and boxes are left as they are. In front of a network, where gradients are wanted,
    `virolbi.nn.Smooth` is the same as a layer.

    Parameters
    ----------
    sparsity : float, "auto" or callable, optional
        Fraction of edges left out, in [0, 1], or a rule to choose it, see `virolbi.smooth`. A
        larger sparsity is smoother.
    nu, delta : float, optional
        Form of the smoother, see `virolbi.scale_space.Form`.
    joint : bool, optional
        Whether the channels of an image share one support.
    output : {"beta", "regions"}, optional
        Output of the smoother.
    min_area : int, optional
        For output "regions": regions of fewer pixels are merged.
    step : float, optional
        Length of a time step as a fraction of the time.
    data_range : float, optional
        Value of the images that is intensity 1, > 0: 255 for floats in [0, 255], as of
        `v2.ToDtype(torch.float32)`. None is 255 for uint8 and PIL images, and 1 for floats.

    Raises
    ------
    TypeError, ValueError
        If a setting has the wrong type or is out of its range; and, when it is called, if a sample
        holds no image or one that cannot be smoothed.

    Examples
    --------
    >>> import torch
    >>> from torchvision.transforms import v2
    >>> transform = v2.Compose([Smooth("auto"), v2.ToDtype(torch.float32, scale=True)])
    >>> image, label = transform(torch.zeros(3, 16, 16, dtype=torch.uint8), 1)
    >>> image.dtype, label
    (torch.float32, 1)
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
        self.layer = nn.Smooth(
            sparsity,
            nu=nu,
            delta=delta,
            joint=joint,
            output=output,
            min_area=min_area,
            step=step,
            data_range=data_range,
        )

    def change(self, images: Tensor) -> Tensor:
        """Smooth images.

        Parameters
        ----------
        images : Tensor of uint8 or float, shape (..., C, H, W)
            Images; floats are intensities in [0, 1], or in [0, `data_range`].

        Returns
        -------
        Tensor
            Smoothed images of the same shape, dtype and device.
        """
        smoothed: Tensor = self.layer(images)
        return smoothed
