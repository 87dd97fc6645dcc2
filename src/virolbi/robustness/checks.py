"""Does a robustness figure mean what it says? Checks for gradients that mislead (Athalye et al. 2018, Carlini et al. 2019)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from virolbi.results import sign_test_tail, wilson_interval
from virolbi.robustness.attacks import pgd
from virolbi.robustness.worst_case import (
    BLACK_BOX,
    GRADIENT,
    RANDOM_SPREAD,
    Budget,
    WorstCase,
    attacks_for,
    logit_spread,
    worst_case,
)

FEW = 0.01  # a share of images that certainly exceeds this is no accident
FAINT = 1e-3  # change of the margin, to first order, if every pixel crossed the whole range; relative to the margin
SATURATED = 1e-20  # derivative of the cross entropy by the logits: softmax is exact to 1e-7, float32 ends at 1e-38
LARGE = 0.5  # every image can be turned into mid-grey


@dataclass(frozen=True)
class Finding:
    """What one check saw.

    measured: numbers by name. suspicious: whether it speaks against the robustness that attacks on the model report.
    """

    name: str
    suspicious: bool
    measured: dict[str, float]
    sentence: str


def check_masking(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    budget: Budget,
    *,
    case: WorstCase | None = None,
    batch_size: int = 250,
) -> list[Finding]:
    """Every check of this file on a model; one that deserves its figures has no suspicious finding.

    model, images, labels: as in `virolbi.robustness.worst_case`, and so are the errors. case: the result of that with `budget`,
    where it is there already, so that nothing is attacked twice. A hundred images tell much; ten tell only what is gross.

    A model without any derivative is not attacked: its findings end with the gradients.
    """
    if case is None and float(logit_spread(model, images[:32]).max()) > RANDOM_SPREAD:
        budget = replace(budget, samples=max(budget.samples, 10))
    findings = [
        check_randomness(model, images),
        check_probabilities(model, images, batch_size=batch_size),
        check_saturation(model, images, labels, batch_size=batch_size),
        check_gradients(model, images, labels, batch_size=batch_size),
    ]
    if findings[-1].measured["differentiable"]:
        case = case or worst_case(
            model, attacks_for(model, budget), images, labels, batch_size=batch_size
        )
        large = check_large_epsilon(
            model, images, labels, steps=budget.steps, seed=budget.seed, batch_size=batch_size
        )
        findings += [check_one_step(case), check_black_box(case), large]
    return findings


def check_randomness(model: nn.Module, images: Tensor, *, passes: int = 10) -> Finding:
    """Whether passes over the same images differ. Attacks on such a model need its expectation ("eot")."""
    differences = logit_spread(model, images[:32], passes=passes)
    random, count = int((differences > RANDOM_SPREAD).sum()), len(differences)
    return Finding(
        "randomness",
        random > 0,
        {"random": random, "count": count, "largest": float(differences.max())},
        f"The logits of {random} of {count} images differ between {passes} passes, by up to {float(differences.max()):.2g} of "
        f"their size{'; attacks must average over passes (eot)' * (random > 0)}.",
    )


def check_probabilities(model: nn.Module, images: Tensor, *, batch_size: int = 250) -> Finding:
    """Whether the output is probabilities: a cross entropy on top of them applies a second softmax, which flattens it."""
    with torch.no_grad():
        rows = torch.cat([model(some) for some in images.split(batch_size)]).float()
    likely = bool((rows >= -1e-6).all() and ((rows.sum(dim=1) - 1).abs() < 1e-3).all())
    are = (
        "are non-negative and sum to 1: probabilities, not logits"
        if likely
        else "are not probabilities"
    )
    measured = {"lowest": float(rows.min()), "largest_sum": float(rows.sum(dim=1).max())}
    return Finding("probabilities", likely, measured, f"The outputs {are}.")


def check_saturation(
    model: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int = 250
) -> Finding:
    """Whether logits are so large that softmax saturates: then the cross entropy has no slope left for an attack to follow."""
    lost = total = 0
    for some, truth in _correct(model, images, labels, batch_size):
        with torch.no_grad():
            logits = model(some)
        slope = torch.autograd.grad(
            F.cross_entropy(logits.requires_grad_(), truth, reduction="sum"), logits
        )[0]
        lost, total = lost + int((slope.abs().amax(dim=1) < SATURATED).sum()), total + len(some)
    return _share(
        "saturation",
        lost,
        total,
        f"The softmax of {lost} of {total} images classified correctly is saturated beyond {SATURATED:g}",
    )


def check_gradients(
    model: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int = 250
) -> Finding:
    """Whether the margin between the right logit and the next has no slope where the model is right.

    Rounded pixels, steps and operations without a derivative do that. It is the margin and not the cross entropy, so that
    large logits are not mistaken for it; see `saturation`. measured["differentiable"] is 0 where there is no derivative at all.
    """
    zero = faint = total = 0
    differentiable = True
    for some, truth in _correct(model, images, labels, batch_size):
        some = some.detach().requires_grad_()
        margin = _margin(model(some), truth)
        found = (
            torch.autograd.grad(margin.sum(), some, allow_unused=True)[0]
            if margin.requires_grad
            else None
        )
        differentiable = found is not None
        slope = torch.zeros_like(margin) if found is None else found.abs().flatten(1).sum(dim=1)
        zero += int((slope == 0).sum())
        faint += int((~(slope > FAINT * margin.detach())).sum())  # or not a number
        total += len(some)
    about = f"{faint} of {total} images classified correctly have no gradient to speak of, {zero} of them exactly none"
    finding = _share("gradients", faint, total, about)
    return replace(
        finding, measured=finding.measured | {"zero": zero, "differentiable": float(differentiable)}
    )


def _margin(
    logits: Tensor, labels: Tensor
) -> Tensor:  # (N, classes), (N,) -> (N,): positive where right
    right = logits.gather(1, labels[:, None])[:, 0]
    return right - logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)


def check_one_step(case: WorstCase) -> Finding:
    """Whether "fgsm" fools more images than the best of the attacks that take many steps, which have all it has and more."""
    many = _best(case, [name for name in GRADIENT if name != "fgsm"])
    return _duel("one step beats many", case, "fgsm", many)


def check_black_box(case: WorstCase) -> Finding:
    """Whether "square" or "transfer" fools more images than the best attack that sees the gradient."""
    blind = [name for name in BLACK_BOX if name in case.correct]
    white = _best(case, GRADIENT)
    duels = [_duel("black box beats white box", case, name, white) for name in blind]
    if not duels:
        raise ValueError(f"case must have one of {BLACK_BOX}, got {tuple(case.correct)}")
    return max(duels, key=lambda duel: (duel.suspicious, duel.measured["lead"]))


def check_large_epsilon(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int = 50,
    seed: int = 0,
    batch_size: int = 250,
) -> Finding:
    """Whether PGD leaves more than chance when every pixel may change by 0.5: no image need look like anything any more."""
    generator = torch.Generator().manual_seed(seed)
    correct = total = classes = 0
    for some, truth in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        adversarial = pgd(model, some, truth, epsilon=LARGE, steps=steps, generator=generator)
        with torch.no_grad():
            logits = model(adversarial)
        correct, total, classes = (
            correct + int((logits.argmax(dim=1) == truth).sum()),
            total + len(some),
            logits.shape[1],
        )
    low, high = wilson_interval(correct, total)
    return Finding(
        "large epsilon",
        low > 1 / classes,
        {"correct": correct, "count": total, "low": low, "high": high, "chance": 1 / classes},
        f"PGD with epsilon {LARGE} leaves {correct} of {total} images correct (95 % interval {low:.3f} to {high:.3f}); "
        f"chance is {1 / classes:.3f}.",
    )


def _correct(
    model: nn.Module, images: Tensor, labels: Tensor, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The images a model gets right, with their labels, batch by batch. ValueError where there is none."""
    found = False
    for some, truth in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        with torch.no_grad():
            right = model(some).argmax(dim=1) == truth
        if right.any():
            found = True
            yield some[right], truth[right]
    if not found:
        raise ValueError(
            f"images must have one that the model classifies correctly, got {len(images)} without"
        )


def _share(name: str, count: int, total: int, about: str) -> Finding:
    """Suspicious where the share certainly exceeds `FEW`."""
    low, high = wilson_interval(count, total)
    measured = {"found": float(count), "count": float(total), "low": low, "high": high}
    return Finding(
        name, low > FEW, measured, f"{about} (95 % interval of the share {low:.3f} to {high:.3f})."
    )


def _best(case: WorstCase, names: tuple[str, ...] | list[str]) -> str:
    """The attack that leaves the fewest correct."""
    there = [name for name in names if name in case.correct]
    if not there:
        raise ValueError(f"case must have one of {tuple(names)}, got {tuple(case.correct)}")
    return min(there, key=lambda name: int(case.correct[name].sum()))


def _duel(name: str, case: WorstCase, weak: str, strong: str) -> Finding:
    """Suspicious where the attack that should be the weaker fools more, by an exact sign test over images only one fools."""
    if weak not in case.correct:
        raise ValueError(f"case must have {weak!r}, got {tuple(case.correct)}")
    wins = int((~case.correct[weak] & case.correct[strong]).sum())
    losses = int((case.correct[weak] & ~case.correct[strong]).sum())
    chance = sign_test_tail(wins, losses)
    return Finding(
        name,
        chance < 0.025,
        {
            "wins": wins,
            "losses": losses,
            "lead": wins - losses,
            "chance": chance,
            "count": len(case.correct[weak]),
        },
        f"Of {len(case.correct[weak])} images {weak} fools {wins} that {strong} does not, "
        f"and {strong} fools {losses} that {weak} does not (one-sided sign test: {chance:.2g}).",
    )
