"""Choose the settings of the recipes, and compare all ways to train on equal budgets.

Usage: python benchmarks/one_recipe.py DATA [--stages NAME,...] [--workers N] [--estimate]

DATA is a folder with the data sets cifar10 and imagenette112. The stages, in the order in which
they run when none is named:

- choose: candidates for the settings, each trained on 10,000 training images of CIFAR-10 and judged
  on 1,000 other training images under the four held-out corruptions. Test images and the fifteen
  common corruptions are not looked at.
- noisier: candidates with noise in more of the ways, judged in the same way and under attack.
- schedules: schedules of the iterative procedure, chosen in the same way.
- main: all ways to train on all of CIFAR-10, by a ResNet-8, at 10 and at 30 forward and backward
  passes of each image, two or three seeds; the most informative runs first.
- attacks: networks trained against attacks, under AutoAttack.
- ablation: the recommended recipe with each of its parts left out.
- deeper: the leading ways to train, by a ResNet-20.
- photographs: the same on photographs of 112 pixels.

Every stage fills folders under results/one_recipe: rows.jsonl, and comparison.json with the
settings of every arm; finished.jsonl lists the runs that are done and not repeated. Weights are in
runs/one_recipe. A run that was killed, at any moment, resumes from its checkpoint, and rows that
exist are not measured again; so the same command completes the experiment. With --workers, several
processes share the runs. --estimate measures the speed of each arm, prints the time of the stages
without their attacks, and does nothing else.
"""

import argparse
import json
import multiprocessing
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from virolbi._storage import claimed, write_atomic
from virolbi.corruptions import COMMON, HELD_OUT
from virolbi.data import Images, load
from virolbi.evaluation import DEFAULT_BUDGET, Attacks, Conditions, compare, comparison_recipes
from virolbi.recipes import Recipe
from virolbi.results import Row, read_lines, rewrite_lines
from virolbi.training import Progress, train

ROOT = Path(__file__).parent.parent
RESULTS, RUNS = ROOT / "results" / "one_recipe", ROOT / "runs" / "one_recipe"
FINISHED = RESULTS / "finished.jsonl"  # one line for each finished run, which is not done again
SEEDS = 2
MORE_SEEDS = 3  # of ours and of the two best rivals
BUDGETS = (10, 30)  # forward and backward passes of each training image
CONDITIONS = Conditions(COMMON + HELD_OUT)
ATTACKS, NO_ATTACKS = Attacks(attacked=500), Attacks(attacked=0)

# Ways to train, the most informative first.
LEADING = (
    *("recommended", "rival-augmix-gaussian", "rival-augmix-gaussian-reflected"),
    *("consistent-augmix", "rival-augmix-jsd", "consistent", "rival-augmix-jsd-gaussian"),
)
OTHERS = (
    *("plain", "mixed-equalised", "mixed-untouched", "rival-prime-jsd", "rival-apr"),
    *("rival-half-gaussian", "rival-prime-jsd-gaussian", "rival-apr-gaussian"),
    *("rival-blur-gaussian", "rival-augmix-jsd-median", "rival-gaussian", "rival-augmix"),
    *("rival-augmix-median", "rival-median"),
)

# Settings that are tried, by name: an arm, and what is changed in it.
CANDIDATES: dict[str, tuple[str, dict[str, Any]]] = {
    "augmix-jsd": ("rival-augmix-jsd", {}),
    "path-both": ("consistent-augmix", {}),
    "path": ("consistent", {}),
    "augmix-jsd, noise": ("rival-augmix-jsd-gaussian", {}),
    "path-both, weight 6": ("consistent-augmix", {"consistency": 6}),
    "path, weight 12": ("consistent", {"consistency": 12}),
    "path-both, half noise": (
        "consistent-augmix",
        {"views": ("clean", "augmix", "equalise | equalise noise smooth | noise smooth | noise")},
    ),
    "path-both, augmix then equalise": (
        "consistent-augmix",
        {"views": ("clean", "augmix equalise", "augmix noise smooth | equalise noise")},
    ),
    "path-both, standardised": ("consistent-augmix", {"standardise": True}),
    "augmix-jsd, standardised": ("rival-augmix-jsd", {"standardise": True}),
    "path-both, black": ("consistent-augmix", {"padding": "black"}),
    "mixed-equalised": ("mixed-equalised", {}),
    "recommended": ("recommended", {}),
    "recommended, augmix in half": (
        "recommended",
        {
            "views": (
                "clean | augmix | equalise | augmix equalise | augmix noise smooth | "
                "equalise noise smooth | augmix noise | noise",
            )
        },
    ),
    "recommended, augmix everywhere": (
        "recommended",
        {
            "views": (
                "augmix | augmix equalise | augmix equalise noise smooth | "
                "augmix noise smooth | augmix noise",
            )
        },
    ),
    "augmix, noise": ("rival-augmix-gaussian", {}),
    "augmix, noise, reflect": ("rival-augmix-gaussian-reflected", {}),
    "augmix-jsd, reflect": ("rival-augmix-jsd", {"padding": "reflect"}),
    "mixed-untouched": ("mixed-untouched", {}),
    "prime-jsd": ("rival-prime-jsd", {}),
    "prime-jsd, noise": ("rival-prime-jsd-gaussian", {}),
    "apr": ("rival-apr", {}),
}
# Noise in more of the ways, which was tried for the attacks.
NOISIER: dict[str, tuple[str, dict[str, Any]]] = {
    "recommended": ("recommended", {}),
    "noise after augmix and equaliser": (
        "recommended",
        {
            "views": (
                "clean | augmix noise | equalise noise | augmix noise smooth | "
                "equalise noise smooth | noise",
            )
        },
    ),
    "noise everywhere": (
        "recommended",
        {
            "views": (
                "noise | augmix noise | equalise noise | augmix noise smooth | "
                "equalise noise smooth",
            )
        },
    ),
    "reflected": ("rival-augmix-gaussian-reflected", {}),
    "four, noise": (
        "recommended",
        {"views": ("augmix noise | equalise noise | augmix equalise noise smooth | noise",)},
    ),
}
FINALISTS = ("mixed-equalised", "recommended")  # trained with more seeds
CHOICE_PASSES, CHOICE_IMAGES, CHOICE_JUDGED = 12, 10_000, 1_000

# Schedules of the iterative procedure, and procedures without one. The last two show images at the
# same sparsities with the same noise: one in the order of the path, the other in random order.
IN_ORDER: dict[str, Any] = {"start_sparsity": 1.0, "rounds": 4, "advance": 1.0}
SCHEDULES: dict[str, tuple[str, dict[str, Any]]] = {
    "fixed": ("fixed", {}),
    "iterative": ("iterative", {}),
    "to 0.6": ("iterative", {"sparsity": 0.6}),
    "to 0": ("iterative", {"sparsity": 0.0}),
    "to 0 at the end": ("iterative", {"sparsity": 0.0, "advance": 1.0}),
    "from 0.99": ("iterative", {"start_sparsity": 0.99}),
    "at the end": ("iterative", {"advance": 1.0}),
    "at a quarter": ("iterative", {"advance": 0.25}),
    "3 rounds": ("iterative", {"rounds": 3}),
    "cosine": ("iterative", {"schedule": "cosine"}),
    "plain": ("plain", {}),
    "mixed-untouched": ("mixed-untouched", {}),
    "mixed-untouched, in any order": ("mixed-untouched", {"mix": (0.7, 0.8, 0.9, 1.0)}),
    "mixed-untouched, in order": (
        "iterative",
        {"sparsity": 0.7, "untouched": 0.65, "noise": "strongest", "order": "last"} | IN_ORDER,
    ),
}

# The recommended recipe without one of its parts each.
ABLATIONS: dict[str, dict[str, Any]] = {
    "whole": {},
    "without the equaliser": {"views": ("clean | augmix | augmix noise smooth | noise",)},
    "without AugMix": {"views": ("clean | equalise | equalise noise smooth | noise",)},
    "without smoothing": {
        "procedure": "plain",
        "sparsity": 0.8,
        "views": ("clean | augmix | equalise | augmix noise | equalise noise | noise",),
    },
    "without noise": {
        "noise": 0.0,
        "views": ("clean | augmix | equalise | augmix smooth | equalise smooth",),
    },
    "without clean images": {
        "views": ("augmix | equalise | augmix noise smooth | equalise noise smooth | noise",)
    },
    "without reflection": {"padding": "black"},
}


@dataclass(frozen=True)
class Job:
    """One run: training and evaluation of one arm with one seed.

    Attributes
    ----------
    folder : str
        Folder of the results, relative to `RESULTS`.
    arm : str
        Name of the arm in the rows.
    recipe : Recipe
        Settings of the training run with the seed 0.
    seed : int
        Seed of this run.
    data : str
        Data set, relative to the folder of data sets.
    conditions : Conditions
        Conditions that the run is judged under.
    attacks : Attacks
        Attacks that it is judged under.
    choosing : bool
        Whether the run is to choose settings, and is judged on training images.
    """

    folder: str
    arm: str
    recipe: Recipe
    seed: int = 0
    data: str = "cifar10"
    conditions: Conditions = CONDITIONS
    attacks: Attacks = ATTACKS
    choosing: bool = False


def choose() -> Iterator[Job]:
    """List the runs that choose settings."""
    finalists = {name: CANDIDATES[name] for name in FINALISTS}
    for seed in range(1, MORE_SEEDS):
        yield from _choices("choose", finalists, seed)
    yield from _choices("choose", CANDIDATES)


def noisier() -> Iterator[Job]:
    """List the runs with noise in more of the ways."""
    return _choices("noisier", NOISIER, attacks=ATTACKS)


def schedules() -> Iterator[Job]:
    """List the runs that choose the schedule of the iterative procedure."""
    return _choices("schedules", SCHEDULES)


def _choices(
    folder: str,
    candidates: dict[str, tuple[str, dict[str, Any]]],
    seed: int = 0,
    attacks: Attacks = NO_ATTACKS,
) -> Iterator[Job]:
    """List runs on part of the training images, judged on another part."""
    for name, (arm, changes) in candidates.items():
        recipe = _recipe("cifar10-resnet8", arm, CHOICE_PASSES, **changes)
        conditions = Conditions(HELD_OUT)
        yield Job(folder, name, recipe, seed, "cifar10", conditions, attacks, choosing=True)


def main() -> Iterator[Job]:
    """List the runs of the comparison: first what decides it, then further arms and seeds."""
    for seed in range(MORE_SEEDS):
        for arms, seeds in ((LEADING, MORE_SEEDS), (OTHERS, SEEDS)):
            for passes in BUDGETS if seed < seeds else ():
                for arm in arms:
                    recipe = _recipe("cifar10-resnet8", arm, passes)
                    yield Job(f"passes-{passes}", arm, recipe, seed)


def attacks() -> Iterator[Job]:
    """List the runs that are trained against attacks."""
    for arm in ("rival-adversarial", "consistent-adversarial"):
        for epsilon, name in ((2 / 255, "2"), (8 / 255, "8")):
            recipe = _recipe("cifar10-resnet8", arm, 90, adversarial=epsilon)
            attacks = Attacks(replace(DEFAULT_BUDGET, epsilon=epsilon), 1000, autoattack=True)
            yield Job(f"attacks-{name}", arm, recipe, attacks=attacks)


def ablation() -> Iterator[Job]:
    """List the runs of the recommended recipe without one of its parts."""
    for name, changes in ABLATIONS.items():
        recipe = _recipe("cifar10-resnet8", "recommended", BUDGETS[0], **changes)
        yield Job("ablation", name, recipe)


def deeper() -> Iterator[Job]:
    """List the runs of a deeper network."""
    for arm in (*LEADING, "plain"):
        yield Job("resnet20", arm, _recipe("cifar10-resnet20", arm, BUDGETS[0]))


def photographs() -> Iterator[Job]:
    """List the runs on photographs."""
    for arm in (*LEADING, "plain"):
        recipe = _recipe("images-resnet8", arm, 90, size=None, padding="black", crop=0)
        yield Job("photographs", arm, recipe, data="imagenette112")


STAGES = {
    stage.__name__: stage
    for stage in (choose, noisier, schedules, main, attacks, ablation, deeper, photographs)
}


def _recipe(family: str, arm: str, passes: int, **changes: Any) -> Recipe:
    """Return the recipe of an arm on a budget, with changed settings."""
    (recipe,) = comparison_recipes(family, [arm]).values()
    return recipe.replace(**changes).with_passes(passes)


@cache
def _images(folder: Path, choosing: bool) -> tuple[Images, Images]:
    """Return training and test images; to choose settings, both are training images."""
    images = load(str(folder), "train")
    if not choosing:
        return images, load(str(folder), "test")
    return images.subset(np.s_[:CHOICE_IMAGES]), images.subset(np.s_[-CHOICE_JUDGED:])


def work(data: Path, jobs: Iterable[Job]) -> None:
    """Do all runs that are not finished and that no other process does; keep their rows."""
    torch.set_num_threads(1)
    for job in jobs:
        identity = {"folder": job.folder, "arm": job.arm, "seed": job.seed}
        with claimed(RUNS / "claims", tuple(identity.values())) as mine:
            if not mine or identity in read_lines(FINISHED):
                continue
            start, folder = time.perf_counter(), RUNS / job.folder
            _copy(RESULTS / job.folder, folder, replacing=False)
            training, test = _images(data / job.data, job.choosing)
            compare(
                training,
                test,
                folder,
                recipes={job.arm: job.recipe},
                seeds=[job.seed],
                cpu=True,
                conditions=job.conditions,
                attacks=job.attacks,
                smoothings=("auto",),
            )
            _copy(folder, RESULTS / job.folder, replacing=True)
            rewrite_lines(FINISHED, partial(_add, identity))
            seconds = time.perf_counter() - start
            print(f"{job.folder}, {job.arm}, seed {job.seed}: {seconds:.0f} s", flush=True)


def _add(row: Row, rows: list[Row]) -> list[Row]:
    """Return rows with another one at their end."""
    return [*rows, row]


def _copy(source: Path, target: Path, *, replacing: bool) -> None:
    """Copy the rows and the settings of a folder of results, which need not exist."""
    for name in ("rows.jsonl", "comparison.json"):
        if (source / name).exists() and (replacing or not (target / name).exists()):
            write_atomic(target / name, (source / name).read_bytes())


def estimate(data: Path, jobs: Iterable[Job]) -> None:
    """Print the time of runs, from the speed of a few batches of each way to train."""
    torch.set_num_threads(1)
    speeds: dict[str, float] = {}
    hours: dict[str, float] = {}
    for job in jobs:
        images, test = _images(data / job.data, job.choosing)
        recipe = job.recipe.replace(epochs=1)
        key = json.dumps([job.data, recipe.model_dump(mode="json")])
        if key not in speeds:
            speeds[key] = _seconds_per_image(recipe, images.subset(np.s_[:640]))
        judged = len(test) * 2 * (5 * len(job.conditions.corruptions) + 3)
        # a forward pass takes a third of a training pass; corrupting takes about as long
        judging = 2 * judged * speeds[key] / (3 * recipe.passes)
        seconds = speeds[key] * len(images) * job.recipe.epochs + judging
        hours[job.folder] = hours.get(job.folder, 0) + seconds / 3600
    for folder, total in (*hours.items(), ("all", sum(hours.values()))):
        print(f"{folder}: {total:.1f} hours on one core")


def _seconds_per_image(recipe: Recipe, images: Images) -> float:
    """Return the time that an image takes in an epoch, by one step more than one step."""
    stamps: list[float] = []

    def stamp(progress: Progress) -> None:
        stamps.append(time.perf_counter())

    train(recipe, images, cpu=True, progress=stamp)
    return (stamps[-1] - stamps[0]) / (len(stamps) - 1) / recipe.batch_size


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--estimate", action="store_true")
    options = parser.parse_args()
    chosen = [job for name in options.stages.split(",") for job in STAGES[name]()]
    if options.estimate:
        estimate(options.data, chosen)
        sys.exit()
    # ended by a signal, this process ends the others; killed, it leaves them to finish their runs
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    context = multiprocessing.get_context("spawn")
    others = [
        context.Process(target=work, args=(options.data, chosen), daemon=True)
        for _ in range(options.workers - 1)
    ]
    for other in others:
        other.start()
    work(options.data, chosen)
    for other in others:
        other.join()
    sys.exit(max((other.exitcode or 0 for other in others), default=0))
