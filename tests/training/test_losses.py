import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from torch.nn import functional as F

from virolbi.recipes import Recipe
from virolbi.training.losses import batch_loss, check_loss, jensen_shannon

LABELS = torch.tensor([0, 3, 1, 1, 2])


def logits(views):
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.randn(views, 5, 4, generator=generator, dtype=torch.float64)


def test_the_divergence_of_two_views_is_that_of_scipy():
    pair = logits(2)
    first, second = pair.softmax(dim=-1).numpy()
    expected = (jensenshannon(first, second, axis=1) ** 2).sum()
    assert float(jensen_shannon(pair)) == pytest.approx(expected, rel=1e-5)


def test_the_divergence_is_zero_for_equal_views_and_bounded_and_symmetric():
    views = logits(3)
    assert float(jensen_shannon(views[:1].expand(3, 5, 4))) == pytest.approx(0, abs=1e-5)
    assert float(jensen_shannon(views)) == pytest.approx(float(jensen_shannon(views.flip(0))))
    certain = 1000.0 * torch.eye(3)[:, None].expand(3, 5, 3)
    certain = certain.clone().requires_grad_()
    divergence = jensen_shannon(certain)
    assert divergence.item() == pytest.approx(5 * np.log(3), rel=1e-5)
    divergence.backward()
    assert certain.grad.isfinite().all()


def test_the_loss_of_consistent_views_classifies_the_first_view_only():
    views = logits(3)
    recipe = Recipe(views=("clean", "augmix", "augmix"), consistency=12, label_smoothing=0.1)
    first = F.cross_entropy(views[0], LABELS, reduction="sum", label_smoothing=0.1)
    expected = first + 12 * jensen_shannon(views)
    assert float(batch_loss(views, LABELS, recipe)) == pytest.approx(float(expected))


def test_without_consistency_all_views_are_classified():
    views = logits(2)
    recipe = Recipe(views=("augmix", "prime"))
    each = [F.cross_entropy(view, LABELS, reduction="sum") for view in views]
    assert float(batch_loss(views, LABELS, recipe)) == pytest.approx(float(sum(each)) / 2)
    one = batch_loss(views[:1], LABELS, Recipe())
    assert float(one) == pytest.approx(float(each[0]))


def test_class_weights_count_in_the_cross_entropy_of_every_view_and_not_in_the_consistency():
    views, weights = logits(2), torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.float64)
    losses = [F.cross_entropy(view, LABELS, reduction="none") * weights[LABELS] for view in views]
    expected = float(sum(losses).sum()) / 2
    recipe = Recipe(views=("augmix", "prime"))
    assert float(batch_loss(views, LABELS, recipe, weights)) == pytest.approx(expected)
    recipe = Recipe(views=("clean", "augmix"), consistency=12)
    expected = float(losses[0].sum() + 12 * jensen_shannon(views))
    assert float(batch_loss(views, LABELS, recipe, weights)) == pytest.approx(expected)


def margin(logits, labels):
    """Return the mean multi-class hinge loss."""
    return F.multi_margin_loss(logits, labels)


def test_a_loss_of_the_user_takes_the_place_of_the_cross_entropy():
    plain, views = logits(3), logits(3).requires_grad_()
    each = [margin(view, LABELS) for view in plain]
    expected = 5 * float(sum(each)) / 3
    assert batch_loss(views, LABELS, Recipe(), loss=margin).item() == pytest.approx(expected)
    recipe = Recipe(views=("clean", "augmix", "augmix"), consistency=12)
    expected = 5 * float(each[0]) + 12 * float(jensen_shannon(plain))
    assert batch_loss(views, LABELS, recipe, loss=margin).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (lambda x, y: F.cross_entropy(x, y, reduction="none"), ValueError, r"loss .* shape \(5,\)"),
        (lambda x, y: F.cross_entropy(x.detach(), y), ValueError, "loss must .*requires_grad=Fal"),
        (lambda x, y: F.cross_entropy(x, y).item(), TypeError, "loss must .* got float"),
    ],
)
def test_a_loss_must_return_the_mean_with_its_derivative(loss, error, message):
    with pytest.raises(error, match=message):
        batch_loss(logits(1).requires_grad_(), LABELS, Recipe(), loss=loss)


@pytest.mark.parametrize(
    ("loss", "changes", "error", "message"),
    [
        ("margin", {}, TypeError, "loss must be callable, got str"),
        (torch.nn.Linear(4, 4), {}, ValueError, "loss must have no parameters"),
        (torch.nn.CrossEntropyLoss(reduction="sum"), {}, ValueError, "loss must be the mean .*sum"),
        (margin, {"label_smoothing": 0.1}, ValueError, "loss must .* label_smoothing=0.1"),
        (margin, {"class_weights": "balanced"}, ValueError, "loss must .* class_weights=.bal"),
    ],
)
def test_a_loss_that_the_recipe_contradicts_is_refused(loss, changes, error, message):
    check_loss(margin, Recipe())
    check_loss(torch.nn.MultiMarginLoss(), Recipe())
    check_loss(None, Recipe(**changes))
    with pytest.raises(error, match=message):
        check_loss(loss, Recipe(**changes))


def test_class_weights_weigh_images_and_not_the_smoothing_of_their_labels():
    weights = torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.float64)
    one = logits(1)
    each = F.cross_entropy(one[0], LABELS, reduction="none", label_smoothing=0.1)
    expected = float((weights[LABELS] * each).sum())
    found = batch_loss(one, LABELS, Recipe(label_smoothing=0.1), weights)
    assert float(found) == pytest.approx(expected)
    rare = torch.tensor([1.0, 1.0, 1.0, 1e6], dtype=torch.float64)  # of a class without images
    others = torch.tensor([0, 2, 1, 1, 2])
    pushed = one.clone().requires_grad_()
    batch_loss(pushed, others, Recipe(label_smoothing=0.1), rare).backward()
    assert pushed.grad.abs().max() < 2
