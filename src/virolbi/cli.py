"""The commands: `virolbi smooth`, `path`, `train`, `evaluate`, `report`, `compare`, `demo`."""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

import virolbi
from virolbi.path import ScaleSpace, check_output
from virolbi.pictures import contact_sheet, picture_format, read_picture, write_picture
from virolbi.smoothing import PRESETS, smooth

app = typer.Typer(
    help="Smooth images along their scale path, train classifiers on it, and judge them under noise.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip
console = Console(markup=False, highlight=False)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True)] = False) -> None:
    if version:
        sys.stdout.write(f"virolbi {virolbi.__version__}\n")
        raise typer.Exit


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command whose errors are one line on standard error and exit code 1."""

    @app.command(name=function.__name__.rstrip("_"))
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except KeyboardInterrupt:
            sys.stderr.write("virolbi: interrupted; what was finished is kept\n")
            raise SystemExit(130) from None
        except ModuleNotFoundError as error:
            raise SystemExit(f"virolbi: this command needs the package {error.name}: pip install 'virolbi[train]'") from error
        except (ValueError, TypeError, ImportError, OSError, RuntimeError) as error:
            raise SystemExit(f"virolbi: {' '.join(str(error).split())}") from error

    return run


# Settings that several commands share.
Sparsity = Annotated[float, typer.Option(help="Fraction of edges left out, in [0, 1]; a larger one is smoother.")]
Nu = Annotated[
    float, typer.Option(help="Coupling, .001 to 1000; a smaller one smooths more between the contours and takes longer.")
]
Preset = Annotated[
    str, typer.Option(help="'robust', or 'paper' for the published form (delta inf, each channel alone, regions).")
]
Delta = Annotated[
    float | None, typer.Option(help="Intensity from which data count as outliers, .001 or more, or inf. Default: the preset's.")
]
Joint = Annotated[
    bool | None, typer.Option("--joint/--per-channel", help="One support for all channels. Default: the preset's.")
]
Output = Annotated[str | None, typer.Option(help="'beta', smooth, or 'regions', piecewise constant. Default: the preset's.")]
Device = Annotated[str, typer.Option(help="Where torch computes, such as cpu or cuda.")]
Data = Annotated[str, typer.Argument(help="'digits', a data set or image folder, or a name on the Hugging Face hub.")]
Size = Annotated[int | None, typer.Option(help="Resize and crop images to this many pixels.")]
Resolution = Annotated[int | None, typer.Option(help="Whose noise constants: 32, 64 or 224 pixels. Default: the nearest.")]
Epsilon = Annotated[float, typer.Option(help="Largest change of a pixel under attack, in intensity.")]
Attacked = Annotated[int, typer.Option(help="How many test images are attacked; 0 for none.")]
TrainLimit = Annotated[int | None, typer.Option(help="Use this many training images, from the front.")]
TestLimit = Annotated[int | None, typer.Option(help="Use this many test images, from the front.")]
Model = Annotated[str, typer.Option(help="resnet8, resnet14, resnet20, ... (depth 6n + 2, width 16).")]
Epochs = Annotated[int, typer.Option(help="Passes over the training images.")]
Flip = Annotated[bool, typer.Option(help="Mirror training images at random; not for digits or text.")]


def _settings(preset: str, **overrides: Any) -> dict[str, Any]:
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {tuple(PRESETS)}, got {preset!r}")
    return PRESETS[preset] | {name: value for name, value in overrides.items() if value is not None}


@command
def smooth_(
    image: Annotated[Path, typer.Argument(help="An image file: colour, or grey with 8 or 16 bits.")],
    out: Annotated[Path, typer.Argument(help="Where to write the result; the suffix sets the format.")],
    sparsity: Sparsity = 0.8,
    nu: Nu = 1.0,
    preset: Preset = "robust",
    delta: Delta = None,
    joint: Joint = None,
    output: Output = None,
    min_area: Annotated[int | None, typer.Option(help="Merge regions of fewer pixels; for --output regions.")] = None,
) -> None:
    """Smooth one image to a sparsity, keeping its strong contours."""
    settings = _settings(preset, delta=delta, joint=joint, output=output, min_area=min_area)
    picture_format(out)
    picture = read_picture(image)
    write_picture(
        out, picture.with_pixels(smooth(picture.pixels, sparsity, nu=nu, channel_axis=picture.channel_axis, **settings))
    )


@command
def path(
    image: Annotated[Path, typer.Argument(help="An image file: colour, or grey with 8 or 16 bits.")],
    out: Annotated[Path, typer.Argument(help="Where to write the strip; the suffix sets the format.")],
    at: Annotated[str, typer.Option(help="Sparsities to show, from smooth to detailed.")] = "1,.97,.94,.9,.8,.6,.3,0",
    columns: Annotated[int, typer.Option(help="Pictures in a row.")] = 4,
    nu: Nu = 1.0,
    preset: Preset = "robust",
    delta: Delta = None,
    joint: Joint = None,
    output: Annotated[str, typer.Option(help="'regions', which starts blank, or 'beta', which starts as a blur.")] = "regions",
) -> None:
    """Show one image along its scale path: a labelled strip of pictures."""
    settings = _settings(preset, delta=delta, joint=joint, output=output)
    sparsities = _numbers(at, "--at")
    if columns < 1:
        raise ValueError(f"--columns must be >= 1, got {columns}")
    picture_format(out)
    picture = read_picture(image)
    check_output(output)
    form = {key: value for key, value in settings.items() if key != "output"}
    space = ScaleSpace(picture.pixels, nu=nu, channel_axis=picture.channel_axis, **form)
    steps = np.stack([space.at(sparsity).output(output) for sparsity in sparsities])
    labels = [f"sparsity {sparsity:g}" for sparsity in sparsities]
    write_picture(out, contact_sheet(steps, labels, columns))


@command
def train(
    data: Data,
    out: Annotated[Path, typer.Argument(help="A new or empty folder for the weights and the recipe.")],
    procedure: Annotated[str, typer.Option(help="plain, fixed, iterative or mixed.")] = "mixed",
    sparsity: Sparsity = 0.8,
    start_sparsity: Annotated[float, typer.Option(help="Where iterative training starts, coarser than --sparsity.")] = 0.95,
    advance: Annotated[float, typer.Option(help="Share of the epochs after which iterative training is at --sparsity.")] = 0.5,
    mix: Annotated[str, typer.Option(help="Sparsities that mixed training draws from.")] = "0,.65,.8,.9",
    preset: Preset = "robust",
    nu: Nu = 1.0,
    noise: Annotated[float, typer.Option(help="Also add Gaussian noise of up to this standard deviation in training.")] = 0.0,
    median: Annotated[int, typer.Option(help="Put a median filter of this size in front; 0 for none.")] = 0,
    model: Model = "resnet8",
    epochs: Epochs = 8,
    batch_size: Annotated[int, typer.Option(help="Images in a step.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Peak of the one-cycle schedule.")] = 0.2,
    flip: Flip = True,
    seed: Annotated[int, typer.Option(help="Of the weights, the order and the augmentation.")] = 0,
    limit: TrainLimit = None,
    size: Size = None,
    device: Device = "cpu",
) -> None:
    """Train a classifier on images along their scale path."""
    _check_device(device)
    from virolbi import training
    from virolbi.data import load

    recipe = training.Recipe(
        procedure=procedure,
        sparsity=sparsity,
        start_sparsity=start_sparsity,
        advance=advance,
        mix=tuple(_numbers(mix, "--mix")),
        preset=preset,
        nu=nu,
        noise=noise,
        median=median,
        model=model,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        flip=flip,
        seed=seed,
    )
    training.check_place(out)
    images = load(data, "train", limit=limit, size=size)
    with _bar("training") as tick:
        run = training.train(recipe, images, device=device, progress=lambda p: tick(p.step, p.steps, _describe(p)))
    training.save(run, out)
    loss = run.history[-1]["loss"]
    console.print(f"{len(images):,} images of {len(images.classes)} classes, loss {loss:.3f}; written to {out}")


@command
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    data: Data,
    out: Annotated[Path, typer.Argument(help="Folder for rows.jsonl; rows are added to those it has.")],
    name: Annotated[str | None, typer.Option(help="Name in the rows. Default: that of the run's folder.")] = None,
    limit: TestLimit = None,
    size: Size = None,
    resolution: Resolution = None,
    epsilon: Epsilon = 2 / 255,
    attacked: Attacked = 500,
    device: Device = "cpu",
) -> None:
    """Judge a trained run on a test split: clean, noise at five severities, low resolution, FGSM and PGD."""
    _check_device(device)
    from virolbi import evaluation, report, training
    from virolbi.data import load

    trained = training.load_run(run, device=device)
    images = load(data, "test", limit=limit, size=size)
    with console.status("evaluating") as status:
        rows = evaluation.evaluate(
            name or run.resolve().name, trained, images, out / "rows.jsonl",
            resolution=resolution, epsilon=epsilon, attacked=attacked, progress=lambda row: status.update(_row(row)),
        )  # fmt: skip
    console.print(report.terminal_table(report.summarise(rows)))
    console.print(f"{len(rows)} rows of {len(images):,} test images in {out / 'rows.jsonl'}")


@command
def report_(
    folder: Annotated[Path, typer.Argument(help="Folder with rows.jsonl.")],
    html: Annotated[Path | None, typer.Option(help="Where to write the page. Default: report.html in the folder.")] = None,
    markdown: Annotated[bool, typer.Option(help="Print the table as Markdown instead, and write no page.")] = False,
) -> None:
    """Show results as a table, and write them as one self-contained HTML page."""
    from virolbi import report

    lines = report.summarise(report.read_folder(folder))
    if markdown:
        sys.stdout.write(report.markdown(lines))
        return
    page = report.write_report(folder, html)
    console.print(report.terminal_table(lines))
    console.print(f"written to {page}")


@command
def compare(
    data: Data,
    out: Annotated[Path, typer.Argument(help="Folder for rows, recipes, weights and the report; a second call completes it.")],
    arms: Annotated[str | None, typer.Option(help="Names with commas between them, as in a report. Default: all.")] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each arm.")] = 1,
    epochs: Epochs = 8,
    model: Model = "resnet8",
    flip: Flip = True,
    train_limit: TrainLimit = None,
    test_limit: TestLimit = None,
    size: Size = None,
    resolution: Resolution = None,
    epsilon: Epsilon = 2 / 255,
    attacked: Attacked = 500,
    device: Device = "cpu",
) -> None:
    """Train every procedure and the rivals on one budget, judge them alike, and report."""
    _check_device(device)
    from virolbi.comparison import ARMS, choose
    from virolbi.evaluation import check_settings
    from virolbi.training import Recipe

    check_settings(resolution, epsilon, attacked)
    chosen = choose(ARMS if arms is None else [arm.strip() for arm in arms.split(",")])
    base = Recipe(epochs=epochs, model=model, flip=flip)
    options = {"seeds": seeds, "resolution": resolution, "epsilon": epsilon, "attacked": attacked, "device": device}
    _compare(data, out, train_limit, test_limit, size, base=base, arms=chosen, **options)


@command
def demo(
    out: Annotated[Path, typer.Argument(help="Folder for everything the demo writes.")] = Path("runs/demo"),
    device: Device = "cpu",
) -> None:
    """Compare all procedures with two rivals on 5,000 handwritten digits, in a few minutes and without a download."""
    _check_device(device)
    from virolbi.comparison import DEMO_ARMS, choose
    from virolbi.data import DIGITS
    from virolbi.training import Recipe

    # most of a digit is background: its contours are in at sparsities that would still be coarse for a photograph
    base = Recipe(epochs=8, flip=False, crop=2, sparsity=0.9, start_sparsity=0.97, mix=(0.0, 0.8, 0.9, 0.95))
    _compare(DIGITS, out, None, None, None, base=base, arms=choose(DEMO_ARMS), epsilon=0.1, device=device)


def _compare(data: str, out: Path, train_limit: int | None, test_limit: int | None, size: int | None, **options: Any) -> None:
    from virolbi import comparison, report
    from virolbi.data import load

    train_images = load(data, "train", limit=train_limit, size=size)
    test_images = load(data, "test", limit=test_limit, size=size)
    with _bar("") as tick:
        comparison.compare(
            train_images, test_images, out,
            started=lambda arm, recipe: tick(0, 1, "", f"{arm}, seed {recipe.seed}"),
            stepped=lambda p: tick(p.step, p.steps, _describe(p)),
            judged=lambda row: tick(1, 1, _row(row)),
            **options,
        )  # fmt: skip
    page = report.write_report(out)
    console.print(report.terminal_table(report.summarise(report.read_folder(out))))
    console.print(f"written to {page}")


def _numbers(text: str, option: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{option} must be numbers with commas between them, got {text!r}") from None


def _check_device(device: str) -> None:
    """Refuse a device before anything is read or written."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device must be one torch can use here, got {device!r}: {str(error).splitlines()[0]}") from None


@contextmanager
def _bar(title: str) -> Iterator[Callable[..., None]]:
    """A progress bar; what it yields takes (done, total, text, title)."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    title_column, text_column = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[text]}"))
    with Progress(
        title_column, BarColumn(), text_column, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(title, text="")

        def tick(done: int, total: int, text: str, title: str | None = None) -> None:
            if title is not None and not console.is_terminal:
                console.print(title)
            progress.update(task, completed=done, total=total, text=text, description=title)

        yield tick


def _describe(progress: Any) -> str:
    return f"epoch {progress.epoch + 1}, loss {progress.loss:.3f}, {progress.images_per_second:,.0f} images/s"


def _row(row: dict[str, Any]) -> str:
    return f"{row['view']}, {row['condition']} {row['severity']}: {row['accuracy']:.3f}"


if __name__ == "__main__":
    app()
