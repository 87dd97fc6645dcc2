"""Commands that train and judge several arms: compare and demo."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from virolbi.cli.app import command, console, progress_bar
from virolbi.cli.judging import parse_corruptions, row_text
from virolbi.cli.options import (
    AttackedOption,
    CacheOption,
    CpuOption,
    DataOption,
    EpsilonOption,
    ImagesRangeOption,
    ResolutionOption,
    SetOption,
    TestLimitOption,
    parse_recipe_changes,
    parse_sparsities,
)
from virolbi.cli.training import printed_log, progress_text

if TYPE_CHECKING:
    from virolbi.recipes import Recipe


DEMO_IMAGES = 500  # test images; under 19 corruptions at five severities each

PassesOption = Annotated[
    int | None,
    typer.Option(
        help="Budget of every arm: forward and backward passes of each training image. "
        "Default: the epochs of the recipes."
    ),
]
ComparedCorruptionsOption = Annotated[
    str | None,
    typer.Option(help="Names with commas between them, or 'common' or 'held-out'. Default: all."),
]


@command("compare")
def _compare(
    family: Annotated[
        str, typer.Argument(help="Data set and model of a recipe, such as cifar10-resnet8.")
    ],
    out: Annotated[
        Path,
        typer.Argument(
            help="Folder for rows, recipes, weights and the report; a second call completes it."
        ),
    ],
    arms: Annotated[
        str | None,
        typer.Option(help="Names with commas between them, as in a report. Default: all."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of runs of each arm.")] = 1,
    passes: PassesOption = None,
    data: DataOption = None,
    data_range: ImagesRangeOption = None,
    set_: SetOption = None,
    test_limit: TestLimitOption = None,
    corruptions: ComparedCorruptionsOption = None,
    resolution: ResolutionOption = None,
    epsilon: EpsilonOption = 2 / 255,
    attacked: AttackedOption = 200,
    smooth: Annotated[
        str | None,
        typer.Option(
            help="More sparsities in front of networks trained on smoothed images, or 'auto', "
            "with commas between them."
        ),
    ] = None,
    cpu: CpuOption = False,
    cache: CacheOption = None,
) -> None:
    """Train several arms and judge them alike.

    Arms with several views of an image take more passes in an epoch; --passes gives all arms, ours
    and rivals, one budget. The results are shown as a report.
    """
    from virolbi.corruptions import COMMON, HELD_OUT
    from virolbi.evaluation import DEFAULT_BUDGET, check_evaluation, comparison_recipes

    names = parse_corruptions(corruptions, default=COMMON + HELD_OUT)
    check_evaluation(resolution, attacked, names)
    budget = replace(DEFAULT_BUDGET, epsilon=epsilon)
    recipes = comparison_recipes(
        family,
        None if arms is None else [arm.strip() for arm in arms.split(",")],
        passes=passes,
        **parse_recipe_changes(set_, data=data, data_range=data_range),
    )
    _compare_and_report(
        recipes,
        out,
        test_limit=test_limit,
        cpu=cpu,
        cache=cache,
        seeds=seeds,
        corruptions=names,
        resolution=resolution,
        budget=budget,
        attacked=attacked,
        smoothings=parse_sparsities(smooth, "--smooth"),
    )


@command("demo")
def _demo(
    out: Annotated[Path, typer.Argument(help="Folder for everything that the demo writes.")] = Path(
        "runs/demo"
    ),
    cpu: CpuOption = False,
) -> None:
    """Compare all procedures with two rivals on digits.

    The demo uses 5,000 handwritten digits, takes a few minutes and downloads nothing.
    """
    from virolbi.evaluation import DEFAULT_BUDGET, DEMO_ARMS, comparison_recipes

    _compare_and_report(
        comparison_recipes("digits-resnet8", DEMO_ARMS),
        out,
        test_limit=DEMO_IMAGES,
        budget=replace(DEFAULT_BUDGET, epsilon=0.1),
        cpu=cpu,
    )


def _compare_and_report(
    recipes: "Mapping[str, Recipe]",
    out: Path,
    *,
    test_limit: int | None = None,
    cpu: bool,
    cache: Path | None = None,
    **settings: Any,
) -> None:
    """Compare the arms of some recipes with settings of `evaluation.compare`; print the table."""
    from virolbi import evaluation, results
    from virolbi.data import load

    warnings = evaluation.budget_warnings(recipes)
    recipe = next(iter(recipes.values()))
    options: dict[str, Any] = {"cache": cache} | {
        name: getattr(recipe, name) for name in ("size", "data_range", "corrupt")
    }
    with printed_log():
        train_images = load(recipe.data, "train", limit=recipe.limit, **options)
        channels = train_images.pixels.shape[1]
        test_images = load(recipe.data, "test", limit=test_limit, channels=channels, **options)
    with progress_bar() as update:

        def start(arm: str, recipe: "Recipe") -> None:
            while warnings:  # before the first run, when everything has been checked
                console.print(warnings.pop(0))
            update(0, 1, "", f"{arm}, seed {recipe.seed}")

        evaluation.compare(
            train_images,
            test_images,
            out,
            recipes=recipes,
            cpu=cpu,
            cache=cache,
            started=start,
            stepped=lambda progress: update(progress.step, progress.steps, progress_text(progress)),
            judged=lambda row: update(1, 1, row_text(row)),
            **settings,
        )
    page = results.write_report(out)
    console.print(results.terminal_table(results.summarise(results.read_results(out))))
    console.print(f"written to {page}")
