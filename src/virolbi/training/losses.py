"""The loss of a batch: cross entropy, and the consistency of the predictions for several views."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from virolbi.recipes import Recipe

LEAST = 1e-7  # of a mean probability, whose logarithm is taken

Loss = Callable[[Tensor, Tensor], Tensor]  # from logits (n, classes) and labels (n,) to the mean


def batch_loss(
    logits: Tensor,
    labels: Tensor,
    recipe: Recipe,
    class_weights: Tensor | None = None,
    loss: Loss | None = None,
) -> Tensor:
    """Return the loss of a batch, the sum over its images.

    Parameters
    ----------
    logits : torch.Tensor, shape (views, n, classes)
        Logits of every view of every image.
    labels : torch.Tensor of int, shape (n,)
        Labels of the images.
    recipe : Recipe
        Settings: the weight of the consistency and the label smoothing.
    class_weights : torch.Tensor, shape (classes,), optional
        Weight of each image by its class in the cross entropy; None for equal ones.
    loss : callable, optional
        Loss in place of the cross entropy, from logits, (n, classes), and labels, (n,), to the
        mean over the images.

    Returns
    -------
    torch.Tensor, shape ()
        With a consistency, the cross entropy of the first view, and the weighted Jensen-Shannon
        divergence of the predictions for all views; else the mean cross entropy of all views.

    Raises
    ------
    TypeError, ValueError
        If `loss` does not return a tensor of shape () that depends on the logits.
    """
    classified = logits[:1] if recipe.consistency else logits
    flat, truth = classified.flatten(0, 1), labels.repeat(len(classified))
    if loss is None:
        losses = F.cross_entropy(
            flat, truth, reduction="none", label_smoothing=recipe.label_smoothing
        )
        if class_weights is not None:  # each image by its class; not the smoothing, by all classes
            losses = losses * class_weights[truth]
        total = losses.sum() / len(classified)
    else:
        total = len(labels) * _check_mean(loss(flat, truth))
    if recipe.consistency:
        total = total + recipe.consistency * jensen_shannon(logits)
    return total


def check_loss(loss: Any, recipe: Recipe) -> None:
    """Check a loss of the user before training.

    Parameters
    ----------
    loss : Any
        Loss in place of the cross entropy, or None.
    recipe : Recipe
        Settings of the training run.

    Raises
    ------
    TypeError, ValueError
        If it is not callable, if it has parameters, which would not be trained, if it is a sum over
        the images, or if the recipe has settings of the cross entropy.
    """
    if loss is None:
        return
    if not callable(loss):
        raise TypeError(f"loss must be callable, got {type(loss).__name__}")
    if isinstance(loss, nn.Module) and next(loss.parameters(), None) is not None:
        raise ValueError(f"loss must have no parameters, which nothing would train, got {loss}")
    if getattr(loss, "reduction", None) == "sum":
        raise ValueError(f"loss must be the mean over the images, got {loss} with reduction='sum'")
    for name in ("label_smoothing", "class_weights"):
        value = getattr(recipe, name)
        if value != Recipe.model_fields[name].default:
            raise ValueError(
                f"loss must be None with {name}={value!r}, a setting of the cross entropy, "
                f"got {loss!r}"
            )


def _check_mean(value: Any) -> Tensor:
    """Return the result of a loss of the user if it is a number with a derivative."""
    if not isinstance(value, Tensor):
        raise TypeError(f"loss must return a torch tensor, got {type(value).__name__}")
    if value.shape or not value.requires_grad:
        raise ValueError(
            "loss must return the mean over the images, a tensor of shape () that depends on the "
            f"logits, got the shape {tuple(value.shape)}, requires_grad={value.requires_grad}"
        )
    return value


def jensen_shannon(logits: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of the predictions for views, the sum over images.

    It is the mean over views of the Kullback-Leibler divergence from the mean prediction [1]_.

    Parameters
    ----------
    logits : torch.Tensor, shape (views, n, classes)
        Logits of every view of every image.

    Returns
    -------
    torch.Tensor, shape ()
        The divergence, 0 for equal predictions and at most n log(views).

    References
    ----------
    .. [1] D. Hendrycks et al., "AugMix: A simple data processing method to improve robustness and
       uncertainty", ICLR 2020.
    """
    # not F.kl_div, whose derivative is NaN where a prediction is 0
    log_predictions = logits.float().log_softmax(dim=-1)
    predictions = log_predictions.exp()
    mean = predictions.mean(dim=0).clamp(LEAST, 1).log()
    return (predictions * (log_predictions - mean)).sum() / len(logits)
