import pytest
import torch
from torch import nn

from virolbi.evaluation.batching import InBatches, choose_batch_size


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(144, 2)).double()


@pytest.mark.parametrize("size", [1, 3, 7, 10])
def test_logits_and_gradients_are_those_of_one_batch(network, size):
    images = torch.rand(7, 3, 8, 8, dtype=torch.float64)
    passed, results = [], []
    for model in (network, InBatches(network, size, passed.append)):
        pixels = images.clone().requires_grad_()
        logits = model(pixels)
        results.append((logits, *torch.autograd.grad((logits**2).sum(), pixels)))
    torch.testing.assert_close(*results)
    assert sum(passed) == 7
    assert max(passed) == min(size, 7)


def test_the_activations_of_one_batch_at_a_time_are_kept(network):
    kept = []
    images = torch.rand(8, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    for size in (8, 2):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: sizes.append(tensor.numel()) or tensor,
            lambda tensor: tensor,
        ):
            InBatches(network, size)(images)
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2


def test_large_images_are_shown_a_few_at_a_time_on_a_cpu():
    cpu = torch.device("cpu")
    sizes = [choose_batch_size(None, (3, side, side), cpu) for side in (28, 32, 64, 224, 2000)]
    assert sizes == [250, 250, 98, 8, 1]
    assert choose_batch_size(None, (3, 224, 224), torch.device("cuda")) == 250
    assert choose_batch_size(30, (3, 224, 224), cpu) == 30
    for size in (0, 1.5):
        with pytest.raises((TypeError, ValueError), match="batch_size must"):
            choose_batch_size(size, (3, 8, 8), cpu)
