"""Judge a classifier: clean, under corruption, at low resolution, under attack, and with and without smoothing in front."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from virolbi._checks import check_count
from virolbi.corruptions import (
    COMMON,
    HELD_OUT,
    NOISES,
    RESOLUTIONS,
    corrupt,
    low_resolution,
    nearest_resolution,
    noise_level,
    official,
)
from virolbi.data import Images, Picture, write_picture
from virolbi.evaluation.subjects import Subject, View
from virolbi.results import (
    MEASURE,
    Row,
    accuracy_interval,
    add_detail,
    add_rows,
    locked,
    read_lines,
    read_rows,
    row_key,
    write_rows,
)
from virolbi.robustness import (
    RANDOM_SPREAD,
    Budget,
    Finding,
    attacks_for,
    autoattack,
    certified_accuracy,
    certify,
    check_masking,
    check_radii,
    logit_spread,
    worst_case,
)

BATCH = 250
TILES = 20  # images that a report shows one by one
LOW_RESOLUTION_FACTORS = (2, 4)
DEFAULT_BUDGET = Budget(
    epsilon=2 / 255, steps=10, queries=200
)  # minutes on a CPU; more of both finds more


def evaluate(
    subject: Subject,
    images: Images,
    path: Path,
    *,
    corruptions: tuple[str, ...] = NOISES,
    official: Path | None = None,
    resolution: int | None = None,
    budget: Budget = DEFAULT_BUDGET,
    attacked: int = 500,
    strongest: bool = False,
    noise_seed: int = 0,
    progress: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Add the rows of one subject to the file at `path`, which is complete after every row, and return them.

    corruptions: names of `virolbi.corruptions`. official: a folder of CIFAR-10-C or CIFAR-100-C, whose images are then judged
    instead of such as are made here, with a noise_seed of None in their rows. resolution: whose constants, 32, 64 or 224; None
    for the nearest. budget: of every attack; attacked: how many of the first images are attacked, 0 for none; strongest: by
    AutoAttack too. noise_seed: of corruptions and attacks.

    Every view of the subject is judged. A view that smooths is attacked by the whole adaptive set (`virolbi.worst_case`),
    any other by FGSM, PGD and Square; the condition "attacks" is the worst case over them, image by image, and what else is in
    the rows says which attack it was. Checks of whether such figures can be believed go to checks.jsonl beside the rows, and
    which images were right, as bits, and how long that took, to details.jsonl. Rows that are there are not computed again.

    Raises ValueError where the file has rows of other images, or of other weights under the same name and seed, and for images
    that do not fit the subject.
    """
    subject, budget = subject.aligned_with(images), replace(budget, seed=noise_seed)
    check_evaluation(resolution, attacked, corruptions)
    if official is not None and not official.is_dir():
        raise ValueError(
            f"official must be a folder of CIFAR-10-C or CIFAR-100-C, there is no folder {official}"
        )
    common = subject.row(images)
    rows, some = read_rows(path), images.subset(np.s_[:attacked])
    _check_same(path, rows, subject, common["images"])
    conditions = list(_conditions(images, corruptions, official, resolution, noise_seed))
    attack: Row = {
        "severity": 1,
        "level": round(budget.epsilon, 5),
        "count": len(some),
        "noise_seed": noise_seed,
    }
    attack["budget"] = _said(budget) + ", AutoAttack" * strongest
    _check_alike(
        path,
        rows,
        [one.about for one in conditions] + [{"condition": "attacks"} | attack] * bool(attacked),
    )
    known, details = {row_key(row): row for row in rows}, path.with_name("details.jsonl")
    attacking = (
        [(view, attacks_for(view.model, budget)) for view in subject.views] if attacked else []
    )
    for view in subject.views if attacked and budget.samples == 1 else ():
        if (
            float(logit_spread(view.model, _tensors(view, some.subset(np.s_[:32]))[0]).max())
            > RANDOM_SPREAD
        ):
            raise ValueError(
                f"samples must be > 1, such as 10, for {subject.name}: it is random, got {budget.samples}"
            )
    result: list[Row] = []

    def add(found: Mapping[str, Judged], wanted: Mapping[str, Row]) -> None:
        fresh = []
        for name, (right, seconds) in found.items():
            row = wanted[name] | accuracy_interval(int(right.sum()), len(right))
            add_detail(details, row, right, seconds)
            known[row_key(row)] = row
            fresh.append(row)
        add_rows(path, fresh)

    def give(row: Row) -> None:
        result.append(known[row_key(row)])
        if progress is not None:
            progress(result[-1])

    for condition in conditions:
        wanted = {
            view.name: common | {"view": view.name} | condition.about for view in subject.views
        }
        missing = [view for view in subject.views if row_key(wanted[view.name]) not in known]
        if missing:
            add(
                {
                    view.name: found
                    for view, found in zip(missing, condition.judge(missing), strict=True)
                },
                wanted,
            )
        for row in wanted.values():
            give(row)
    _write_tiles(path.with_name("tiles.png"), images)
    for view, attacks in attacking:
        if strongest:
            attacks["autoattack"] = partial(
                autoattack, view.model, epsilon=budget.epsilon, norm=budget.norm, seed=budget.seed
            )
        wanted = {
            name: common | {"view": view.name, "condition": name} | attack
            for name in (*attacks, "attacks")
        }
        if any(row_key(row) not in known for row in wanted.values()):
            began = time.perf_counter()
            tensors = _tensors(view, some)
            case = worst_case(view.model, attacks, *tensors, batch_size=BATCH)
            seconds = time.perf_counter() - began
            found = {name: (case.correct[name].cpu().numpy(), 0.0) for name in attacks}
            if case.correct["clean"].any():  # else there was nothing to attack
                findings = check_masking(view.model, *tensors, budget, case=case, batch_size=BATCH)
                with locked(path):
                    _write_checks(path.with_name("checks.jsonl"), wanted["attacks"], findings)
            add(found | {"attacks": (case.robust.cpu().numpy(), seconds)}, wanted)
        for row in wanted.values():
            give(row)
    return result


def _said(budget: Budget) -> str:
    counts = (
        (budget.steps, "steps"),
        (budget.restarts, "starts"),
        (budget.samples, "samples"),
        (budget.queries, "queries"),
    )
    return f"{budget.norm}, " + ", ".join(f"{count} {name}" for count, name in counts)


def _tensors(view: View, images: Images) -> tuple[Tensor, Tensor]:
    """Intensities and labels where the network of a view is."""
    pixels = torch.from_numpy(images.pixels.astype(np.float32) / 255)
    return pixels.to(view.device), torch.from_numpy(images.labels).to(view.device)


def _write_checks(path: Path, row: Row, findings: list[Finding]) -> None:
    """Replace what the checks found of a view, beside those of others."""
    about = {key: row[key] for key in ("arm", "seed", "view", "level", "count", "budget")}
    kept = [
        entry
        for entry in read_lines(path)
        if any(entry.get(key) != value for key, value in about.items())
    ]
    write_rows(path, kept + [about | asdict(finding) for finding in findings])


def certify_views(
    subject: Subject,
    images: Images,
    path: Path,
    *,
    sigma: float,
    radii: Sequence[float] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
    samples: int = 1000,
    progress: Callable[[str, int], None] | None = None,
) -> list[Row]:
    """Add the certified accuracy of each view of a subject at L2 radii to the rows at `path`, and return them.

    sigma, samples: as in `virolbi.robustness.certify`; a view that smooths does so behind the noise, as its denoiser.
    Views that the file has at these radii are not certified again. Raises ValueError as `evaluate` does.
    """
    check_radii(radii)
    subject = subject.aligned_with(images)
    common, rows = subject.row(images), read_rows(path)
    _check_same(path, rows, subject, common["images"])
    result: list[Row] = []
    for view in subject.views:
        name = f"{view.name}, sigma {sigma:g}"
        mine = {
            "arm": subject.name,
            "seed": subject.seed,
            "view": name,
            "samples": samples,
            "count": len(images),
        }
        known = {
            row["level"]: row
            for row in rows
            if all(row.get(key) == value for key, value in mine.items())
        }
        if not set(radii) <= set(known):
            found = certify(
                view.network, _tensors(view, images)[0], sigma=sigma, samples=samples, denoiser=view.smoother,
                progress=None if progress is None else partial(progress, name),
            )  # fmt: skip
            all_of_them = sorted({*known, *radii})  # the votes are the same every time
            fresh = [
                common | {"view": name} | row
                for row in certified_accuracy(found, images.labels, all_of_them)
            ]
            with locked(path):
                write_rows(
                    path, [row for row in read_rows(path) if row not in known.values()] + fresh
                )
            known = {row["level"]: row for row in fresh}
        result += [known[radius] for radius in radii]
    return result


def _check_same(path: Path, rows: list[Row], subject: Subject, images: str) -> None:
    """Refuse a file with rows of other images, or of other weights under this name and seed."""
    for row in rows:
        if row["images"] != images:
            raise ValueError(
                f"{path} holds results on other images, {row['count']} of {row['data']}; choose another place"
            )
        if (row["arm"], row["seed"]) == (subject.name, subject.seed) and row[
            "weights"
        ] != subject.fingerprint:
            raise ValueError(
                f"{path} holds results of other weights for {subject.name!r}, seed {row['seed']}; choose another name"
            )


def _check_alike(path: Path, rows: list[Row], wanted: list[Row]) -> None:
    """Refuse a file whose rows of a condition were measured otherwise, so that they cannot stand beside these."""
    there = {(row["condition"], row["severity"]): row for row in rows}
    for row in wanted:
        other = there.get((row["condition"], row["severity"]), row)
        for name in MEASURE:
            if other.get(name) != row.get(name):
                raise ValueError(
                    f"{path} holds {row['condition']} {row['severity']} with {name} {other.get(name)}, not {row.get(name)}; "
                    "choose another place"
                )


def check_evaluation(
    resolution: int | None, attacked: int, corruptions: tuple[str, ...] = ()
) -> None:
    """Refuse settings of an evaluation before any work is done."""
    unknown = [name for name in corruptions if name not in COMMON + HELD_OUT]
    if unknown:
        raise ValueError(f"corruptions must be some of {COMMON + HELD_OUT}, got {unknown}")
    if resolution is not None and resolution not in RESOLUTIONS:
        raise ValueError(f"resolution must be one of {RESOLUTIONS}, got {resolution}")
    check_count("attacked", attacked, least=0)


Judged = tuple[
    np.ndarray, float
]  # which images were right, bool (N,), and how many seconds that took


@dataclass(frozen=True)
class _Condition:
    """What its rows say of it, and what some views make of it."""

    about: Row
    judge: Callable[[list[View]], list[Judged]]


def _conditions(
    images: Images,
    corruptions: tuple[str, ...],
    folder: Path | None,
    resolution: int | None,
    noise_seed: int,
) -> Iterator[_Condition]:
    if folder is not None:
        _, labels = official(folder, "gaussian_noise", 1)
        if images.pixels.shape[1:] != (3, 32, 32) or not np.array_equal(
            images.labels, labels[: len(images)]
        ):
            raise ValueError(
                f"images must be the test images of {folder}, in their order, 3x32x32, got {images.metadata}"
            )
    resolution = (
        32 if folder is not None else resolution or nearest_resolution(*images.pixels.shape[-2:])
    )

    def shown(
        name: str,
        severity: int,
        level: float,
        change: Callable[[np.ndarray], np.ndarray],
        **more: int,
    ) -> _Condition:
        about = {
            "condition": name,
            "severity": severity,
            "level": level,
            "count": len(images),
            "noise_seed": noise_seed,
        } | more
        return _Condition(about, lambda views: judge(views, images.pixels, images.labels, change))

    def read(name: str, severity: int, level: float) -> _Condition:
        def judged(views: list[View]) -> list[Judged]:
            return judge(views, *official(cast(Path, folder), name, severity))

        return _Condition(
            {
                "condition": name,
                "severity": severity,
                "level": level,
                "count": 10_000,
                "noise_seed": None,
            },
            judged,
        )

    yield shown("clean", 0, 0.0, lambda clean: clean)
    for name in corruptions:
        for severity in range(1, 6):
            level = noise_level(name, severity, resolution) if name in NOISES else float(severity)
            if folder is not None:
                yield read(name, severity, level)
            else:
                change = partial(
                    corrupt, name=name, severity=severity, resolution=resolution, seed=noise_seed
                )
                yield shown(name, severity, level, change, resolution=resolution)
    for severity, factor in enumerate(LOW_RESOLUTION_FACTORS, start=1):
        yield shown(
            "low_resolution", severity, float(factor), partial(low_resolution, factor=factor)
        )


def judge(
    views: Sequence[View],
    pixels: np.ndarray,
    labels: np.ndarray,
    change: Callable[[np.ndarray], np.ndarray] = lambda clean: clean,
) -> list[Judged]:
    """Which images each view gets right, batch by batch.

    pixels: uint8, shape (N, C, H, W). change: what happens to a batch of them, as intensities in [0, 1], before.
    """
    found = [np.empty(len(labels), bool) for _ in views]
    seconds = [0.0] * len(views)
    for first in range(0, len(labels), BATCH):
        rows = slice(first, first + BATCH)
        batch = torch.from_numpy(change(pixels[rows].astype(np.float32) / 255))
        for index, view in enumerate(views):
            began = time.perf_counter()
            inputs, truth = batch.to(view.device), torch.from_numpy(labels[rows]).to(view.device)
            with torch.inference_mode():
                logits = view.model(inputs)
                found[index][rows] = (logits.argmax(dim=1) == truth).cpu()
            if logits.isnan().any():
                raise ValueError(
                    f"model must return numbers, {view.name} returned NaN for an image from {first} on"
                )
            seconds[index] += time.perf_counter() - began
    return list(zip(found, seconds, strict=True))


def _write_tiles(path: Path, images: Images) -> None:
    """The first images side by side, square, for a report to show which were right."""
    if path.exists():
        return
    size = min(64, *images.pixels.shape[-2:])
    tiles = [
        Image.fromarray(image.transpose(1, 2, 0).squeeze()).resize((size, size))
        for image in images.pixels[:TILES]
    ]
    strip = np.concatenate([np.asarray(tile) for tile in tiles], axis=1)
    write_picture(path, Picture(strip))


def example_sheet(
    smoother: nn.Module, images: Images, *, resolution: int | None = None, count: int = 8
) -> np.ndarray:
    """A picture of the first test images, raw above smoothed, clean and under each noise at severity 5: uint8, (H, W, C)."""
    clean = images.pixels[:count].astype(np.float32) / 255
    resolution = resolution or nearest_resolution(*clean.shape[-2:])
    strips = [clean] + [corrupt(clean, name, 5, resolution=resolution) for name in NOISES]
    pairs = np.stack(
        [[strip, smoother(torch.from_numpy(strip)).numpy()] for strip in strips]
    )  # (noise, 2, N, C, H, W)
    noises, _, count, channels, height, width = pairs.shape
    sheet = pairs.transpose(0, 1, 4, 2, 5, 3).reshape(noises * 2 * height, count * width, channels)
    return np.rint(sheet.clip(0, 1) * 255).astype(np.uint8)
