"""Methods of adaptation to unlabelled test images, each a short function over one interface.

A method takes a `Setting` and returns an adapter: a function from the images of a batch to their
logits, which may change the network for the batches that follow. Constants are those of the
public benchmarks on CIFAR-10-C.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from virolbi.evaluation.adaptation.balanced_memory import BalancedMemory
from virolbi.evaluation.adaptation.norms import (
    InstanceAwareNorm,
    affine_parameters,
    blend_batch_statistics,
    trained_batch_norms,
    use_batch_statistics,
)
from virolbi.evaluation.adaptation.views import view_maker
from virolbi.robustness import seeded_random

Adapter = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Setting:
    """Start of a method: the network and what is known of its training.

    Parameters
    ----------
    network : nn.Module
        Copy of the network in evaluation mode, which the method may change.
    source_images : torch.Tensor, shape (M, C, H, W), or None
        Unlabelled training images in [0, 1], for methods that need some.
    classes : int
        Number of classes.
    batch_size : int
        Images in a batch of the stream.
    """

    network: nn.Module
    source_images: Tensor | None
    classes: int
    batch_size: int


def source(setting: Setting) -> Adapter:
    """Leave the network as it is.

    Parameters
    ----------
    setting : Setting
        What to start from.

    Returns
    -------
    callable
        Adapter.
    """
    return torch.no_grad()(setting.network)


def bn(setting: Setting) -> Adapter:
    """Use the statistics of the batch in place of those of training (BN-1).

    Parameters
    ----------
    setting : Setting
        What to start from.

    Returns
    -------
    callable
        Adapter.

    Raises
    ------
    ValueError
        If the network has no batch normalisation.

    References
    ----------
    .. [1] Z. Nado et al., "Evaluating prediction-time batch normalization for robustness under
       covariate shift", 2020.
    """
    trained_batch_norms(setting.network)
    use_batch_statistics(setting.network)
    return torch.no_grad()(setting.network)


def bn_alpha(setting: Setting, *, share: float = 0.1) -> Adapter:
    """Mix the statistics of the batch with those of training (BN-alpha).

    Parameters
    ----------
    setting : Setting
        What to start from.
    share : float, optional
        Share of the batch, in [0, 1].

    Returns
    -------
    callable
        Adapter.

    Raises
    ------
    ValueError
        If the network has no batch normalisation.

    References
    ----------
    .. [1] S. Schneider et al., "Improving robustness against common corruptions by covariate shift
       adaptation", NeurIPS 2020.
    """
    blend_batch_statistics(setting.network, share)
    return torch.no_grad()(setting.network)


def tent(setting: Setting, *, rate: float = 1e-3) -> Adapter:
    """Minimise the entropy of the predictions by the scales and shifts of normalisations (TENT).

    Parameters
    ----------
    setting : Setting
        What to start from.
    rate : float, optional
        Learning rate of Adam, one step for each batch.

    Returns
    -------
    callable
        Adapter. The logits of a batch are those before its step.

    Raises
    ------
    ValueError
        If the normalisations of the network have no parameters.

    References
    ----------
    .. [1] D. Wang et al., "Tent: Fully test-time adaptation by entropy minimization", ICLR 2021.
    """
    network = setting.network
    optimizer = torch.optim.Adam(affine_parameters(network), rate)
    use_batch_statistics(network)

    def adapt(images: Tensor) -> Tensor:
        logits: Tensor = network(images)
        _step(optimizer, entropy(logits).mean())
        return logits.detach()

    return adapt


def eata(
    setting: Setting,
    *,
    rate: float = 1e-3,
    margin: float = 0.4,
    similarity: float = 0.4,
    weight: float = 1.0,
    memory: float = 0.9,
) -> Adapter:
    """Minimise the entropy of reliable, diverse predictions, near the weights of training (EATA).

    Parameters
    ----------
    setting : Setting
        What to start from; needs `source_images`.
    rate : float, optional
        Learning rate of Adam, one step for each batch.
    margin : float, optional
        Entropy above which a prediction is not reliable, as a share of that of a guess.
    similarity : float, optional
        Cosine similarity with the mean prediction from which on an image is redundant.
    weight : float, optional
        Weight of the distance from the weights of training, in Fisher information.
    memory : float, optional
        Share of the past in the mean prediction.

    Returns
    -------
    callable
        Adapter. The logits of a batch are those before its step.

    Raises
    ------
    ValueError
        If the normalisations of the network have no parameters, or if there are no source images.

    References
    ----------
    .. [1] S. Niu et al., "Efficient test-time model adaptation without forgetting", ICML 2022.
    """
    if setting.source_images is None:
        raise ValueError("source_images must be training images, got None")
    network, largest = setting.network, margin * math.log(setting.classes)
    parameters = affine_parameters(network)
    optimizer = torch.optim.Adam(parameters, rate)
    use_batch_statistics(network)
    fisher = _fisher_information(network, parameters, setting.source_images, setting.batch_size)
    start = [parameter.detach().clone() for parameter in parameters]
    mean_prediction: Tensor | None = None

    def adapt(images: Tensor) -> Tensor:
        nonlocal mean_prediction
        logits: Tensor = network(images)
        entropies, predictions = entropy(logits), logits.detach().softmax(dim=1)
        chosen = entropies.detach() < largest
        if mean_prediction is not None:
            chosen &= F.cosine_similarity(mean_prediction[None], predictions).abs() < similarity
        if not chosen.any():
            return logits.detach()
        mean = predictions[chosen].mean(dim=0)
        if mean_prediction is not None:
            mean = memory * mean_prediction + (1 - memory) * mean
        mean_prediction = mean
        certain = entropies[chosen]
        loss = (certain * torch.exp(largest - certain.detach())).mean()
        for parameter, first, information in zip(parameters, start, fisher, strict=True):
            loss = loss + weight * (information * (parameter - first) ** 2).sum()
        _step(optimizer, loss)
        return logits.detach()

    return adapt


def note(
    setting: Setting,
    *,
    rate: float = 1e-4,
    momentum: float = 0.01,
    width: float = 4.0,
    capacity: int = 64,
) -> Adapter:
    """Normalise by instance where needed, and learn from a memory with balanced classes (NOTE).

    Parameters
    ----------
    setting : Setting
        What to start from. The published method trains the network with its normalisation; here
        it is put into the network at test time.
    rate : float, optional
        Learning rate of Adam, one step whenever `capacity` images have been seen.
    momentum : float, optional
        Share of the memory in the running statistics at a step.
    width : float, optional
        Standard errors beyond which the normalisation follows the image.
    capacity : int, optional
        Images in the memory.

    Returns
    -------
    callable
        Adapter.

    Raises
    ------
    ValueError
        If the network has no batch normalisation with parameters.

    References
    ----------
    .. [1] T. Gong et al., "NOTE: Robust continual test-time adaptation against temporal
       correlation", NeurIPS 2022.
    """
    network = setting.network
    optimizer = torch.optim.Adam(affine_parameters(network), rate)
    norms = [InstanceAwareNorm(module, momentum, width) for module in trained_batch_norms(network)]
    memory, seen = BalancedMemory(capacity, setting.classes), 0

    def learn() -> None:
        for norm in norms:
            norm.learning = True
        _step(optimizer, entropy(network(memory.images())).mean())
        for norm in norms:
            norm.learning = False

    def adapt(images: Tensor) -> Tensor:
        nonlocal seen
        logits = []
        for image in images:
            with torch.no_grad():
                logits.append(network(image[None]))
            memory.add(image, int(logits[-1].argmax()))
            seen += 1
            if seen % capacity == 0:
                learn()
        return torch.cat(logits)

    return adapt


def memo(setting: Setting, *, rate: float = 0.005, views: int = 32) -> Adapter:
    """Minimise the entropy of the mean prediction over views of one image at a time (MEMO).

    Parameters
    ----------
    setting : Setting
        What to start from. Every image starts from these weights again.
    rate : float, optional
        Learning rate of SGD, one step for each image.
    views : int, optional
        Views of an image: cropped, mirrored and changed by AugMix.

    Returns
    -------
    callable
        Adapter.

    References
    ----------
    .. [1] M. Zhang, S. Levine and C. Finn, "MEMO: Test time robustness via adaptation and
       augmentation", NeurIPS 2022.
    """
    network = setting.network.requires_grad_(True)
    start = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), rate)
    generator = torch.Generator().manual_seed(0)

    def adapt(images: Tensor) -> Tensor:
        logits = []
        augment = view_maker(tuple(images.shape[-2:]))
        for image in images:
            seed = torch.randint(2**31, (), generator=generator, device="cpu")
            with seeded_random(int(seed)):
                own = image.cpu()  # whose generator is seeded
                batch = torch.stack([augment(own) for _ in range(views)]).to(image.device)
            log_mean = network(batch).log_softmax(dim=1).logsumexp(dim=0) - math.log(views)
            _step(optimizer, -(log_mean.exp() * log_mean).sum())
            with torch.no_grad():
                logits.append(network(image[None]))
            network.load_state_dict(start)
        return torch.cat(logits)

    return adapt


def lame(setting: Setting, *, neighbours: int = 5, steps: int = 100) -> Adapter:
    """Make predictions agree within a batch for images with like features (LAME).

    Parameters
    ----------
    setting : Setting
        What to start from. The network is not changed.
    neighbours : int, optional
        Nearest neighbours of an image with which its answer is to agree: the affinity and the
        number that the authors chose.
    steps : int, optional
        Most steps of the optimisation.

    Returns
    -------
    callable
        Adapter. Its logits are logarithms of probabilities.

    Raises
    ------
    ValueError
        If the network has no linear layer, whose inputs are the features.

    References
    ----------
    .. [1] M. Boudiaf et al., "Parameter-free online test-time adaptation", CVPR 2022.
    """
    network = setting.network
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ValueError(f"network must have a linear layer, got {type(network).__name__} without")
    features: list[Tensor] = []
    layers[-1].register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))

    @torch.no_grad()
    def adapt(images: Tensor) -> Tensor:
        features.clear()
        log_predictions = network(images).log_softmax(dim=1)
        affinity = _affinity(F.normalize(features[-1].flatten(1), dim=1), neighbours)
        assignment, energy = log_predictions.exp(), math.inf
        for _ in range(steps):
            pairwise = affinity @ assignment
            assignment = (log_predictions + pairwise).softmax(dim=1)
            logs = assignment.clamp(min=1e-20).log()
            last, energy = energy, float((assignment * (logs - log_predictions - pairwise)).sum())
            if math.isfinite(last) and abs(energy - last) <= 1e-8 * abs(last):
                break
        logits: Tensor = assignment.clamp(min=1e-20).log()
        return logits

    return adapt


METHODS: dict[str, Callable[[Setting], Adapter]] = {
    "source": source,
    "bn": bn,
    "bn-alpha": bn_alpha,
    "tent": tent,
    "eata": eata,
    "note": note,
    "memo": memo,
    "lame": lame,
}


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy of predictions.

    Parameters
    ----------
    logits : torch.Tensor, shape (N, K)
        Logits.

    Returns
    -------
    torch.Tensor, shape (N,)
        Entropy in nats, in [0, log K].
    """
    logs = logits.log_softmax(dim=1)
    return -(logs.exp() * logs).sum(dim=1)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _fisher_information(
    network: nn.Module, parameters: list[nn.Parameter], images: Tensor, batch_size: int
) -> list[Tensor]:
    """Return the mean square of the gradient by each parameter, over batches of source images."""
    batches = torch.split(images, batch_size)
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for batch in batches:
        logits = network(batch)
        loss = F.cross_entropy(logits, logits.detach().argmax(dim=1))
        for part, gradient in zip(total, torch.autograd.grad(loss, parameters), strict=True):
            part += gradient**2 / len(batches)
    return total


def _affinity(features: Tensor, neighbours: int) -> Tensor:
    """Return 1 for the nearest neighbours of each image by its features, else 0, (N, N)."""
    distances = torch.cdist(features, features).fill_diagonal_(math.inf)
    nearest = distances.topk(min(neighbours, len(features) - 1), largest=False).indices
    return torch.zeros_like(distances).scatter_(1, nearest, 1.0)
