"""Commands that train a classifier: recipes and train."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from virolbi.cli.app import command, console, is_main_process, printed_log, progress_bar
from virolbi.cli.options import (
    CacheOption,
    CpuOption,
    DataOption,
    ImagesRangeOption,
    RecipeArgument,
    SetOption,
)
from virolbi.cli.parsing import parse_recipe_changes
from virolbi.cli.texts import progress_text

if TYPE_CHECKING:
    from virolbi.recipes import Recipe
    from virolbi.training import Progress, Run


@command("recipes")
def _recipes(
    match: Annotated[str, typer.Argument(help="Only recipes with this text in their name.")] = "",
) -> None:
    """List the recipes for training.

    The name of a recipe holds its data set, model and arm.
    """
    from virolbi.recipes import recipe_names

    names = [name for name in recipe_names() if match in name]
    if not names:
        raise ValueError(f"match must be a part of the name of a recipe, got {match!r}")
    sys.stdout.writelines(f"{name}\n" for name in names)


@command("train")
def _train(
    recipe: RecipeArgument,
    out: Annotated[
        Path,
        typer.Argument(help="Folder for the run: a new one, or that of the same run to resume it."),
    ],
    data: DataOption = None,
    data_range: ImagesRangeOption = None,
    set_: SetOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would happen, and write nothing.")
    ] = False,
    cpu: CpuOption = False,
    cache: CacheOption = None,
    workers: Annotated[
        int, typer.Option(help="Processes that prepare batches; useful with an accelerator.")
    ] = 0,
    checkpoint_every: Annotated[
        float, typer.Option(help="Seconds between checkpoints: the most that a kill can lose.")
    ] = 300.0,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder for logs that TensorBoard reads.")
    ] = None,
) -> None:
    """Train a classifier as a recipe says.

    The recipe also says how training images are smoothed along their scale path. An unfinished
    run resumes from its checkpoint. For several processes or machines, use
    `accelerate launch -m virolbi train ...`.
    """
    from virolbi import training
    from virolbi.recipes import load_recipe

    changes = parse_recipe_changes(set_, data=data, data_range=data_range)
    settings = load_recipe(recipe).replace(**changes)
    if dry_run:
        sys.stdout.write(_plan(settings))
        return
    logs = tensorboard if is_main_process() else None
    with progress_bar(recipe) as update, _tensorboard_writer(logs) as log, printed_log():

        def report(progress: "Progress") -> None:
            update(progress.step, progress.steps, progress_text(progress))
            log(progress)

        run = training.train(
            settings,
            folder=out,
            cpu=cpu,
            cache=cache,
            workers=workers,
            checkpoint_every=checkpoint_every,
            progress=report,
        )
    console.print(f"{_result_text(run)}; written to {out}")


def _result_text(run: "Run") -> str:
    """Return one line about a finished run: its epochs and images, and the epoch that is kept."""
    kept = run.kept_epoch
    text = f"{len(run.history)} epoch{'s' * (len(run.history) > 1)}, {run.data['count']:,} images"
    if "skipped" in run.data:
        text += f", {len(run.data['skipped'])} more skipped"
    text += f", loss {kept['loss']:.3f}"
    if "accuracy" in kept:
        text += f", accuracy {kept['accuracy']:.3f} on held-out images"
    return text


def _plan(recipe: "Recipe") -> str:
    """Return a recipe as TOML, with comments about the images, steps and memory it needs."""
    from virolbi import data, training

    labels = data.load_labels(recipe.data, "train", limit=recipe.limit)
    sample = data.load(recipe.data, "train", limit=2, **recipe.load_options)
    held_out = training.validation_mask(recipe, labels, sample.classes)
    plan = training.plan_training(recipe, sample, int((~held_out).sum()))
    shape = "x".join(str(side) for side in sample.pixels.shape[1:])
    if sample.pixels.shape[1] == 1 and recipe.data != data.DIGITS:
        shape += " (three channels if any is in colour)"
    images = f"{len(labels):,} training images of {shape}, {len(sample.classes)} classes"
    images += ", not decoded yet" * (recipe.data != data.DIGITS)
    if held_out.any():
        images += f", {held_out.sum():,} held out"
    settings = recipe.model_dump(mode="json", exclude_none=True)
    lines = [
        *(f"{name} = {json.dumps(value)}" for name, value in settings.items()),
        f"# {images}",
        f"# {plan.parameters:,} parameters, {plan.steps:,} steps of {plan.batch_size} images",
        f"# about {plan.memory / 2**20:,.0f} MiB of memory for the network, its gradients "
        "and one batch",
    ]
    return "\n".join(lines) + "\n"


@contextmanager
def _tensorboard_writer(folder: Path | None) -> "Iterator[Callable[[Progress], None]]":
    """Yield a function that logs training progress for TensorBoard, or does nothing for None."""
    if folder is None:
        yield lambda progress: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:

        def log(progress: "Progress") -> None:
            writer.add_scalar("loss", progress.loss, progress.step)
            writer.add_scalar("learning_rate", progress.learning_rate, progress.step)
            if progress.accuracy is not None:
                writer.add_scalar("accuracy", progress.accuracy, progress.step)

        yield log
