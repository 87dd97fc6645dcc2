"""Commands that choose the smoothing in front of a classifier: select and calibrate."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from virolbi._storage import check_empty_folder
from virolbi.cli.app import command, console, printed_log, progress_bar
from virolbi.cli.moments import parse_sparsities
from virolbi.cli.options import (
    BatchSizeOption,
    CpuOption,
    ImagesRangeOption,
    ModelArgument,
    SizeOption,
    SplitOption,
)
from virolbi.cli.subjects import load_images, load_subject
from virolbi.scale_space import Form

if TYPE_CHECKING:
    from virolbi.evaluation import Level, Selection


@command("select")
def _select(
    model: ModelArgument,
    data: Annotated[
        str | None,
        typer.Option(
            help="Data set or image folder whose training images to select on. "
            "Default: that of the run."
        ),
    ] = None,
    smooth: Annotated[
        str | None,
        typer.Option(
            help="Sparsities to try, with commas between them; 'auto' is always tried. "
            "Default: from .95 to 0."
        ),
    ] = None,
    size: SizeOption = None,
    data_range: ImagesRangeOption = None,
    limit: Annotated[int, typer.Option(help="Use only this many images.")] = 1000,
    out: Annotated[
        Path | None, typer.Option(help="File to write the rows to, as JSON lines.")
    ] = None,
    cpu: CpuOption = False,
) -> None:
    """Choose the sparsity for a classifier.

    Its accuracy is measured along the path and at 'auto', clean and under noise. A training run
    of virolbi is judged on the training images that it held out, if it held any out (the setting
    validation of its recipe).
    """
    from virolbi import evaluation
    from virolbi.results import write_lines

    sparsities = parse_sparsities(smooth, "--smooth") or evaluation.TRIED_SPARSITIES
    subject = load_subject(model, None, None, cpu)
    with printed_log():
        images, trained_on = evaluation.selection_images(
            subject, data, size=size, data_range=data_range, limit=limit
        )
    subject = subject.aligned_with(images)
    with progress_bar() as update:
        selection = evaluation.select_sparsity(
            subject.views[0].network,
            images,
            form=subject.recipe.form if subject.recipe else Form(),
            sparsities=sparsities,
            progress=update,
        )
    if out is not None:
        write_lines(out, selection.rows())
    _print_selection(selection, len(images), trained_on)


def _print_selection(selection: "Selection", count: int, trained_on: bool) -> None:
    """Print the rows of a selection on `count` images, and the best sparsity."""
    from virolbi.results import plain_table

    rows = selection.rows()
    columns = [
        "condition",
        *(f"{sparsity:g}" for sparsity in selection.sparsities),
        "auto",
        "regret",
    ]
    console.print(plain_table([{key: row[key] for key in columns if key in row} for row in rows]))
    if trained_on:
        console.print(
            "the network was trained on these images; "
            "validation=.1 in its recipe would hold some out"
        )
    mean, best = rows[-1], f"{selection.best:g}"
    auto = ""
    if "auto" in mean:
        auto = (
            f"; auto {mean['auto']:.3f}, {mean['regret']:.3f} below the best sparsity of each "
            "condition, chosen in hindsight"
        )
    console.print(
        f"best one sparsity for all: {best}, accuracy {mean[best]:.3f}{auto}; {count:,} images"
    )


@command("calibrate")
def _calibrate(
    model: ModelArgument,
    out: Annotated[Path, typer.Argument(help="Folder for the calibrated model.")],
    data: Annotated[
        str | None, typer.Option(help="Data set or folder of clean images like those to come.")
    ] = None,
    size: SizeOption = None,
    data_range: ImagesRangeOption = None,
    split: SplitOption = "train",
    limit: Annotated[int, typer.Option(help="Use only this many images.")] = 128,
    labels: Annotated[
        bool, typer.Option("--labels", help="Use the labels, which must be the model's classes.")
    ] = False,
    batch_size: BatchSizeOption = None,
    cpu: CpuOption = False,
) -> None:
    """Find the smoothing that suits a network at each level of noise.

    It is found on clean images, with noise made for the purpose. Without --labels they need no
    labels: --data can be a folder of images. What is written is a model for evaluate, which judges
    it raw and calibrated: on other images, such as those that --skip leaves. The table shows the
    treatment of each level (the share of the smoothed image in its mean with the image itself, and
    how far it is smoothed), and what it gains in confidence, on the images that it was chosen on;
    the last line where nothing was gained.
    """
    from virolbi import evaluation
    from virolbi.results import plain_table

    check_empty_folder(out)
    subject = load_subject(model, None, None, cpu)
    if subject.calibration:
        raise ValueError(f"model must be a network without a calibration, got {model}")
    images = load_images(
        subject, data, split, size=size, data_range=data_range, limit=limit, labelled=labels
    )
    aligned = subject.aligned_with(images) if labels else subject
    start = time.perf_counter()
    with progress_bar(subject.name) as update:
        levels = evaluation.calibrate(
            aligned.views[0],
            images,
            labelled=labels,
            batch_size=batch_size,
            stepped=lambda done, total: update(done, total, f"{done:,} of {total:,} noisy images"),
        )
    source = str(Path(model).resolve()) if Path(model).exists() else model
    evaluation.write_calibration(out, source, subject.fingerprint, levels, size)
    console.print(plain_table([_level_row(level) for level in levels]))
    console.print(
        f"written to {out}, calibrated on {len(images):,} images "
        f"in {time.perf_counter() - start:.0f} seconds"
    )
    console.print(_gained_nothing(levels))


def _level_row(level: "Level") -> dict[str, str]:
    """Return a row of the table of levels."""
    treatment, text = level.treatment, "as they are"
    if treatment.share:
        form = {"nu": (treatment.nu, Form.nu), "delta": (treatment.delta, Form.delta)}
        extent = "auto" if treatment.factor == "auto" else f"{treatment.factor:g}x noise"
        others = [f"{name}={value:g}" for name, (value, usual) in form.items() if value != usual]
        text = ", ".join([f"{treatment.share:.0%} {extent}", *others])
    return {
        "kind": _kind(level),
        "from": f"{level.least:g}",
        "treatment": text,
        "gain": f"{level.gain:+.3f} +- {level.error:.3f}",
        "over auto": f"{level.auto_gain:+.3f} +- {level.auto_error:.3f}",
    }


def _gained_nothing(levels: Sequence["Level"]) -> str:
    """Return a line that names the kinds and levels in which a calibration gained nothing."""
    kinds = {level.outliers for level in levels}
    unseen = [name for name, kind in (("noise", False), ("outliers", True)) if kind not in kinds]
    untreated = [level for level in levels if not level.treatment.share]
    like_auto = [level for level in levels if level.treatment.share and not level.beats_auto]
    parts = [
        f"nothing better than {than} for "
        + ", ".join(f"{_kind(level)} from {level.least:g}" for level in those)
        for than, those in (("leaving images alone", untreated), ("auto", like_auto))
        if those
    ]
    if unseen:
        parts.append(f"too few images showed {' or '.join(unseen)}, and are left alone")
    return "; ".join(parts) or "better than auto and than leaving images alone at all levels"


def _kind(level: "Level") -> str:
    """Return the name of the kind of noise of a level."""
    return "outliers" if level.outliers else "noise"
