import torch

from virolbi.robustness import isolated_random, seeded_random


def test_contexts_of_random_numbers_repeat_and_leave_no_trace():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with seeded_random(5):
        first = torch.rand(4)
    with isolated_random(torch.device("cpu")):
        torch.rand(4)
    with seeded_random(5):
        assert torch.equal(torch.rand(4), first)
    assert torch.equal(torch.rand(2), expected)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(4), first)
