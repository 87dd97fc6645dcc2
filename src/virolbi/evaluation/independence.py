"""Check that the answer of a network for an image does not depend on the rest of the batch."""

from collections.abc import Iterable

import numpy as np
import torch

from virolbi.data import Images
from virolbi.evaluation.subjects import View, to_tensors
from virolbi.robustness import check_independent

CHECKED_COUNT = 8  # images, spread over all of them, because files are often sorted by class
# Share of the largest logit by which logits may differ between batch sizes. Libraries compute them
# in another order for another batch size: that changes float32 by less than 0.001, and bfloat16
# (8 bits) by a few hundredths.
BATCH_TOLERANCE = 0.05


def check_batch_independence(name: str, views: Iterable[View], images: Images) -> None:
    """Check that every view of a model gives an image the same logits alone and in a batch.

    A batch norm in training mode, for example, normalises an image by the other images of the
    batch. The accuracy would then depend on the order and the number of the images. Views that are
    random, whose logits differ as much between two passes over the same batch, are not checked.

    Parameters
    ----------
    name : str
        Name of the model, for the error.
    views : iterable of View
        Views to check.
    images : Images
        Images of which a few are shown to them.

    Raises
    ------
    ValueError
        If the logits differ by more than the rounding errors of low precision, or if a part of
        the model looks at other images (`virolbi.robustness.check_independent`).
    """
    rows = np.unique(np.linspace(0, len(images) - 1, CHECKED_COUNT).astype(int))
    for view in views:
        check_independent(f"{view.name!r} of model {name}", view.model)
        intensities, _ = to_tensors(images.subset(rows), view.device)
        with view.isolated(), torch.inference_mode():
            batch, again = (view.model(intensities).float() for _ in range(2))
            tolerance = BATCH_TOLERANCE * float(batch.abs().max())
            if float((batch - again).abs().max()) > tolerance:
                continue
            try:
                single = torch.cat([view.model(image[None]).float() for image in intensities])
            except (ValueError, RuntimeError) as error:  # a batch norm refuses one value
                raise ValueError(
                    f"model {name} must answer for each image by itself, got an error for "
                    f"a batch of one image: {error}"
                ) from error
        difference = float((batch - single).abs().max())
        if difference > tolerance:
            raise ValueError(
                f"model {name} must answer for each image by itself, got logits of "
                f"{view.name!r} that differ by {difference:.2g} between an image alone and in a "
                f"batch of {len(rows)}, more than {tolerance:.2g}; is a batch norm in training "
                "mode (call eval())?"
            )
