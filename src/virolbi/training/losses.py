"""The loss of a batch: cross entropy, and the consistency of the predictions for several views."""

from torch import Tensor
from torch.nn import functional as F

from virolbi.recipes import Recipe

LEAST = 1e-7  # of a mean probability, whose logarithm is taken


def batch_loss(
    logits: Tensor, labels: Tensor, recipe: Recipe, class_weights: Tensor | None = None
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
        Weights of the classes in the cross entropy; None for equal ones.

    Returns
    -------
    torch.Tensor, shape ()
        With a consistency, the cross entropy of the first view, and the weighted Jensen-Shannon
        divergence of the predictions for all views; else the mean cross entropy of all views.
    """
    classified = logits[:1] if recipe.consistency else logits
    loss = F.cross_entropy(
        classified.flatten(0, 1),
        labels.repeat(len(classified)),
        class_weights,
        reduction="sum",
        label_smoothing=recipe.label_smoothing,
    ) / len(classified)
    if recipe.consistency:
        loss = loss + recipe.consistency * jensen_shannon(logits)
    return loss


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
