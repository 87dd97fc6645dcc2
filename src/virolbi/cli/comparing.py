"""Commands that train and judge several arms: compare, study and demo."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from virolbi._checks import check_choice
from virolbi.cli.app import command, console, printed_log, progress_bar
from virolbi.cli.moments import parse_sparsities
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
)
from virolbi.cli.parsing import parse_corruptions, parse_names, parse_recipe_changes
from virolbi.cli.texts import progress_text, row_text

if TYPE_CHECKING:
    from virolbi.evaluation import Attacks
    from virolbi.recipes import Recipe, Study


DEMO_IMAGES = 500  # test images; under 19 corruptions at five severities each
DEMO_ATTACKED = 200  # of them

PassesOption = Annotated[
    int | None,
    typer.Option(
        help="Budget of every arm: forward and backward passes of each training image. "
        "Default: the epochs of the recipes."
    ),
]
SeedsOption = Annotated[int, typer.Option(help="Number of runs of each arm.")]
ArmsOption = Annotated[
    str | None,
    typer.Option(help="Names with commas between them, as in a report. Default: all."),
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
    arms: ArmsOption = None,
    seeds: SeedsOption = 1,
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
    from virolbi.evaluation import Conditions, comparison_recipes

    names = parse_corruptions(corruptions, default=COMMON + HELD_OUT)
    conditions = Conditions(names, resolution=resolution)
    attacks = _attacks(epsilon, attacked)
    recipes = comparison_recipes(
        family,
        None if arms is None else parse_names(arms),
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
        conditions=conditions,
        attacks=attacks,
        smoothings=parse_sparsities(smooth, "--smooth"),
    )


@command("study")
def _study(
    name: Annotated[
        str, typer.Argument(help="sparsities, procedures, sensitivity, networks or domains.")
    ],
    out: Annotated[
        Path,
        typer.Argument(help="Folder with one for each comparison; a second call completes it."),
    ],
    family: Annotated[
        str | None,
        typer.Option(help="Only this comparison of the study, such as eurosat-resnet8."),
    ] = None,
    arms: ArmsOption = None,
    seeds: SeedsOption = 1,
    passes: PassesOption = None,
    data: DataOption = None,
    data_range: ImagesRangeOption = None,
    set_: SetOption = None,
    test_limit: TestLimitOption = None,
    epsilon: EpsilonOption = 2 / 255,
    attacked: Annotated[
        int | None,
        typer.Option(help="Number of test images that are attacked. Default: the study's."),
    ] = None,
    cpu: CpuOption = False,
    cache: CacheOption = None,
) -> None:
    """Answer a question about training by the comparisons that belong to it.

    Each comparison is one of `virolbi compare`, with the arms and corruptions of the study.
    """
    from virolbi import evaluation
    from virolbi.corruptions import COMMON

    study, families = _resolve_study(name, family, data)
    attacks = _attacks(epsilon, study.attacked if attacked is None else attacked)
    chosen = study.arms if arms is None else study.select(parse_names(arms))
    changes = parse_recipe_changes(set_, data=data, data_range=data_range)
    recipes = {
        compared: evaluation.comparison_recipes(compared, chosen, passes=passes, **changes)
        for compared in families
    }
    for compared in families:
        if not all(recipe.data for recipe in recipes[compared].values()):
            raise ValueError(f"--data must name the images of --family {compared}")
    console.print(study.question)
    for compared in families:
        corruptions = parse_corruptions(study.comparisons[compared], default=())
        _compare_and_report(
            recipes[compared],
            out / compared,
            test_limit=test_limit,
            cpu=cpu,
            cache=cache,
            seeds=seeds,
            conditions=evaluation.Conditions(corruptions),
            attacks=attacks,
            smoothings=study.smooth,
        )
        if not set(COMMON) <= set(corruptions):  # those are in the headline
            _print_severities(out / compared, corruptions)


@command("demo")
def _demo(
    out: Annotated[Path, typer.Argument(help="Folder for everything that the demo writes.")] = Path(
        "runs/demo"
    ),
    cpu: CpuOption = False,
) -> None:
    """Compare all procedures with two rivals on digits.

    The demo uses 5,000 handwritten digits, takes about ten minutes on two cores, and downloads
    nothing.
    """
    from virolbi.evaluation import DEMO_ARMS, comparison_recipes

    _compare_and_report(
        comparison_recipes("digits-resnet8", DEMO_ARMS),
        out,
        test_limit=DEMO_IMAGES,
        cpu=cpu,
        attacks=_attacks(epsilon=0.1, attacked=DEMO_ATTACKED),
    )


def _attacks(epsilon: float, attacked: int) -> "Attacks":
    """Return the attacks of a comparison, which have the default budget but for epsilon."""
    from virolbi.evaluation import DEFAULT_BUDGET, Attacks

    return Attacks(replace(DEFAULT_BUDGET, epsilon=epsilon), attacked)


def _resolve_study(name: str, family: str | None, data: str | None) -> tuple["Study", list[str]]:
    """Return a study, and the data set and model of each of its comparisons asked for."""
    from virolbi.recipes import studies

    known = studies()
    if name not in known:
        questions = "; ".join(f"{name} ({study.question})" for name, study in known.items())
        raise ValueError(f"name must be one of {questions}, got {name!r}")
    study = known[name]
    families = list(study.comparisons) if family is None else [family]
    check_choice("--family", families[0], study.comparisons)
    sets = list(dict.fromkeys(family.partition("-")[0] for family in families))
    if data is not None and len(sets) > 1:
        raise ValueError(
            f"--data needs --family, because the study has several data sets, {', '.join(sets)}; "
            f"got --data {data}"
        )
    return study, families


def _print_severities(folder: Path, corruptions: tuple[str, ...]) -> None:
    """Print the accuracy of all arms over the severities of some corruptions."""
    from virolbi import results

    rows = results.read_results(folder)
    lines = results.summarise(rows)
    for name in corruptions:
        console.print(results.plain_table(results.by_severity(lines, name)))
    for line in results.balance_lines(rows):
        console.print(line)


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
    options = recipe.load_options | {"cache": cache}
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
    for warning in results.report_warnings(out):
        console.print(warning)
    console.print(f"written to {page}")
