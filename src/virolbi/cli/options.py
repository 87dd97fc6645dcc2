"""The commands: `virolbi smooth`, `path`, `recipes`, `train`, `evaluate`, `export`, `report`, `compare`, ..."""

import functools
import json
import os
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from rich.console import Console

import virolbi
from virolbi._storage import write_atomic
from virolbi.data import contact_sheet, picture_format, read_picture, write_picture
from virolbi.scale_space import (
    NEGLIGIBLE,
    PRESETS,
    Form,
    ScaleSpace,
    check_sparsity_choice,
    noise_strength,
)
from virolbi.smooth import smooth

app = typer.Typer(
    help="Smooth images along their scale path, train classifiers on it, and judge them under noise.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip
EXTRAS = {  # that bring a package
    "mlxtend": "demo", "skimage": "rivals", "cv2": "rivals", "tensorboard": "logs", "onnx": "export", "onnxscript": "export",
    "onnxruntime": "export", "ray": "cluster",
}  # fmt: skip
console = Console(markup=False, highlight=False)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True)
    ] = False,
) -> None:
    if version:
        sys.stdout.write(f"virolbi {virolbi.__version__}\n")
        raise typer.Exit


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command whose errors are one line on standard error and exit code 1."""

    @app.command(name=function.__name__.rstrip("_").replace("_", "-"))
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except KeyboardInterrupt:
            sys.stderr.write("virolbi: interrupted; what was finished is kept\n")
            if (
                "torch" not in sys.modules
            ):  # nothing to tidy up, and the end would wait for an image that is being smoothed
                os._exit(130)
            raise SystemExit(130) from None
        except ModuleNotFoundError as error:
            extra = EXTRAS.get(str(error.name).partition(".")[0], "train")
            raise SystemExit(
                f"virolbi: this needs the package {error.name}: pip install 'virolbi[{extra}]'"
            ) from error
        except (ValueError, TypeError, ImportError, OSError, RuntimeError) as error:
            raise SystemExit(_said(error)) from error

    return run


def _said(error: Exception) -> str:
    return f"virolbi: {' '.join(str(error).split())}"


def _fraction(text: str) -> float:
    try:
        return float(Fraction(text))
    except ArithmeticError:
        raise ValueError(text) from None  # which typer makes a message of


# Settings that several commands share.
Sparsity = Annotated[
    str,
    typer.Option(
        help="Fraction of edges left out, in [0, 1]; a larger one is smoother. 'auto': as the noise allows."
    ),
]
Nu = Annotated[
    float,
    typer.Option(
        help="Coupling, .001 to 1000; a smaller one smooths more between the contours and takes longer."
    ),
]
Preset = Annotated[
    str,
    typer.Option(
        help="'robust', or 'paper' for the published form (delta inf, each channel alone, regions)."
    ),
]
Delta = Annotated[
    float | None,
    typer.Option(
        help="Intensity from which data count as outliers, .001 or more, or inf. Default: the preset's."
    ),
]
Joint = Annotated[
    bool | None,
    typer.Option(
        "--joint/--per-channel", help="One support for all channels. Default: the preset's."
    ),
]
Output = Annotated[
    str | None,
    typer.Option(help="'beta', smooth, or 'regions', piecewise constant. Default: the preset's."),
]
Data = Annotated[
    str | None,
    typer.Option(
        help="'digits', a data set or image folder, or a name on the Hugging Face hub. Default: the recipe's."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting of `virolbi.recipes.Recipe`: name=value, often."),
]
RecipeName = Annotated[
    str, typer.Argument(help="A name that `virolbi recipes` lists, or a .toml file of settings.")
]
Model = Annotated[
    str,
    typer.Argument(
        help="Folder of a training run, timm:NAME, or module:function that makes a network."
    ),
]
Name = Annotated[str | None, typer.Option(help="Name in the rows. Default: that of the model.")]
Smoothing = Annotated[
    str | None,
    typer.Option(
        help="Sparsity of the smoothing in front, or 'auto'; several with commas. Default: the run's, or none."
    ),
]
Size = Annotated[
    int | None,
    typer.Option(help="Resize and crop images to this many pixels. Default: the model's."),
]
Corruptions = Annotated[
    str | None,
    typer.Option(
        help="Names with commas between them, or 'common', 'held-out' or 'all'. Default: the three noises."
    ),
]
Cpu = Annotated[bool, typer.Option("--cpu", help="Use no accelerator where there is one.")]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="Folder for decoded and smoothed images, made once. Default: in memory, on the fly."
    ),
]
Resolution = Annotated[
    int | None,
    typer.Option(help="Whose noise constants: 32, 64 or 224 pixels. Default: the nearest."),
]
Epsilon = Annotated[
    float,
    typer.Option(
        parser=_fraction, metavar="FLOAT", show_default="2/255",
        help="Largest change under attack, in intensity; a fraction is welcome.",
    ),
]  # fmt: skip
TestLimit = Annotated[int | None, typer.Option(help="Use this many test images, from the front.")]


def _form(preset: str, **overrides: Any) -> Form:
    """Return the form of a preset with the options that were given."""
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {tuple(PRESETS)}, got {preset!r}")
    changes = {name: value for name, value in overrides.items() if value is not None}
    return replace(PRESETS[preset], **changes)


@command
def smooth_(
    images: Annotated[
        list[Path], typer.Argument(help="Image files: colour, or grey with 8 or 16 bits.")
    ],
    out: Annotated[
        str,
        typer.Argument(
            help="Where to write the result; the suffix sets the format. For several, a folder/."
        ),
    ],
    sparsity: Sparsity = "0.8",
    nu: Nu = Form.nu,
    preset: Preset = "robust",
    delta: Delta = None,
    joint: Joint = None,
    output: Output = None,
    min_area: Annotated[
        int | None, typer.Option(help="Merge regions of fewer pixels; for --output regions.")
    ] = None,
) -> None:
    """Smooth images to a sparsity, keeping their strong contours, and their transparency, colour profile and EXIF data.

    A file that is there already is replaced; an image that does not change is copied, if its format stays. Of several, those
    that cannot be read or written are named and left out.
    """
    form = _form(preset, nu=nu, delta=delta, joint=joint, output=output, min_area=min_area)
    choice = _choices(sparsity, "--sparsity", 1)[0]
    form.check_combination(choice)
    targets, failed = _targets(images, out), 0
    for image, target in targets:
        try:
            said = _smooth_file(image, target, choice, form)
        except (ValueError, OSError) as error:
            if len(targets) == 1:
                raise
            sys.stderr.write(f"{_said(error)}\n")
            failed += 1
        else:
            if said:
                console.print(f"{image}: {said}", soft_wrap=True)
    if failed:
        raise ValueError(f"{failed} of {len(targets)} images were left out")


def _smooth_file(image: Path, target: Path, choice: float | str, form: Form) -> str:
    """Smooth one file into another; returns what is to be said of it."""
    picture = read_picture(image)
    shape: dict[str, Any] = {"channel_axis": picture.channel_axis}
    smoothed = smooth(picture.pixels, choice, **form.keywords(), **shape)
    formats = Image.registered_extensions()
    stays = formats.get(image.suffix.lower()) == formats.get(target.suffix.lower())
    if stays and np.array_equal(smoothed, picture.pixels):
        write_atomic(target, image.read_bytes())
    else:
        write_picture(target, picture.with_pixels(smoothed))
    if choice != "auto":
        return ""
    seen = np.atleast_1d(noise_strength(picture.pixels, joint=form.joint, **shape))
    strengths = ", ".join(f"{strength:.3f}" for strength in seen)
    return (
        f"smoothed for noise of {strengths} (of 1)"
        if seen.max() >= NEGLIGIBLE
        else "no noise seen, left as it is"
    )


def _targets(images: list[Path], out: str) -> list[tuple[Path, Path]]:
    """Each image with where its result goes; refuses two results in one place, and to write over an image by its own name."""
    for image in images:
        if image.is_dir():
            raise ValueError(
                f"images must be files, got the folder {image}; name those in it, such as {image}/*.jpg"
            )
        if not image.exists():
            raise ValueError(f"there is no file {image}")
    place = Path(out)
    if len(images) == 1 and not out.endswith("/") and not place.is_dir():
        targets = [place]
    else:
        if place.exists() and not place.is_dir():
            raise ValueError(f"out must be a folder for {len(images)} images, {out} is a file")
        if (
            len(images) > 1
            and not place.exists()
            and place.suffix.lower() in Image.registered_extensions()
        ):
            raise ValueError(
                f"out must be a folder for {len(images)} images, {out} is named like an image"
            )
        targets = [place / image.name for image in images]
        for image, target in zip(images, targets, strict=True):
            if targets.count(target) > 1:
                raise ValueError(
                    f"images must have a name each, to go into one folder; several are called {image.name}"
                )
            if target.resolve() == image.resolve():
                raise ValueError(
                    f"out must be another folder than that of the images, {target} is one of them"
                )
    for target in targets:
        picture_format(target)
    return list(zip(images, targets, strict=True))


@command
def path(
    image: Annotated[
        Path, typer.Argument(help="An image file: colour, or grey with 8 or 16 bits.")
    ],
    out: Annotated[
        Path, typer.Argument(help="Where to write the strip; the suffix sets the format.")
    ],
    at: Annotated[
        str, typer.Option(help="Sparsities to show, from smooth to detailed, or 'auto'.")
    ] = "1,.97,.94,.9,.8,.6,.3,0",
    columns: Annotated[int, typer.Option(help="Pictures in a row.")] = 4,
    nu: Nu = Form.nu,
    preset: Preset = "robust",
    delta: Delta = None,
    joint: Joint = None,
    output: Output = None,
) -> None:
    """Show one image along its scale path, as `smooth` makes it: a labelled strip of pictures.

    'beta' begins as a blur, 'regions' as a blank.
    """
    form = _form(preset, nu=nu, delta=delta, joint=joint, output=output)
    sparsities = _choices(at, "--at")
    if columns < 1:
        raise ValueError(f"--columns must be >= 1, got {columns}")
    picture_format(out)
    picture = read_picture(image)
    for sparsity in sparsities:
        form.check_combination(sparsity)
    settings = form.keywords()
    shown = settings.pop("output")
    space = ScaleSpace(picture.pixels, channel_axis=picture.channel_axis, **settings)
    steps = np.stack([space.at(sparsity).output(shown) for sparsity in sparsities])
    labels = [
        sparsity if isinstance(sparsity, str) else f"sparsity {sparsity:g}"
        for sparsity in sparsities
    ]
    write_picture(out, contact_sheet(steps, labels, columns))


@command
def corrupt(
    image: Annotated[Path, typer.Argument(help="An image file: colour, or grey with 8 bits.")],
    out: Annotated[
        Path, typer.Argument(help="Where to write the sheet; the suffix sets the format.")
    ],
    severities: Annotated[
        str, typer.Option(help="Which of 1 to 5, with commas between them.")
    ] = "1,3,5",
    size: Annotated[
        int | None, typer.Option(help="Resize and crop the image to this many pixels before.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
) -> None:
    """Show an image under every corruption of an evaluation: a labelled sheet, one row for each."""
    from virolbi.corruptions import sheet

    chosen = _numbers(severities, "--severities")
    if not set(chosen) <= {1, 2, 3, 4, 5}:
        raise ValueError(f"--severities must be some of 1 to 5, got {severities!r}")
    picture_format(out)
    picture = read_picture(image, size)
    pictures, labels = sheet(
        picture.pixels, severities=tuple(int(severity) for severity in chosen), seed=seed
    )
    write_picture(out, contact_sheet(pictures, labels, len(chosen)))


@command
def recipes(
    match: Annotated[str, typer.Argument(help="Only recipes with this in their name.")] = "",
) -> None:
    """List the recipes for training: data set, model and arm in one name."""
    from virolbi import recipes

    found = [name for name in recipes.recipe_names() if match in name]
    if not found:
        raise ValueError(f"match must be a part of the name of a recipe, got {match!r}")
    sys.stdout.writelines(f"{name}\n" for name in found)


@command
def train(
    recipe: RecipeName,
    out: Annotated[
        Path,
        typer.Argument(
            help="Folder for the run: a new one, or that of the same run, which goes on."
        ),
    ],
    data: Data = None,
    set_: Settings = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen, and write nothing.")
    ] = False,
    cpu: Cpu = False,
    cache: Cache = None,
    workers: Annotated[
        int, typer.Option(help="Processes that prepare batches; worth it beside an accelerator.")
    ] = 0,
    checkpoint_every: Annotated[
        float, typer.Option(help="Seconds; the most that a kill at any moment can lose.")
    ] = 300.0,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder for logs that TensorBoard reads.")
    ] = None,
) -> None:
    """Train a classifier on images along their scale path, as a recipe says; a run left unfinished goes on.

    Start it by `accelerate launch -m virolbi.cli train ...` for several processes or machines.
    """
    from virolbi import training
    from virolbi.recipes import load_recipe

    settings = load_recipe(recipe).replace(**_changes(data, set_))
    first = os.environ.get("RANK", "0") == "0"
    console.quiet = not first  # of several processes, one speaks
    if dry_run:
        sys.stdout.write(_plan(settings))
        return
    with _bar(recipe) as tick, _logs(tensorboard if first else None) as log:

        def progress(p: Any) -> None:
            tick(p.step, p.steps, _describe(p))
            log(p)

        run = training.train(
            settings,
            None,
            out,
            cpu=cpu,
            cache=cache,
            workers=workers,
            checkpoint_every=checkpoint_every,
            progress=progress,
        )
    last = run.history[-1]
    watched = f", accuracy {last['accuracy']:.3f} on held-out images" if "accuracy" in last else ""
    epochs = f"{len(run.history)} epoch{'s' * (len(run.history) > 1)}, {run.data['count']:,} images"
    skipped = f", {len(run.data['skipped'])} more skipped" if "skipped" in run.data else ""
    console.print(f"{epochs}{skipped}, loss {last['loss']:.3f}{watched}; written to {out}")


@command
def evaluate(
    model: Model,
    out: Annotated[
        Path, typer.Argument(help="Folder for rows.jsonl; rows are added to those it has.")
    ],
    data: Data = None,
    name: Name = None,
    smooth: Smoothing = None,
    size: Size = None,
    limit: TestLimit = None,
    corruptions: Corruptions = None,
    official: Annotated[
        Path | None,
        typer.Option(help="Folder of CIFAR-10-C or CIFAR-100-C, to read instead of making."),
    ] = None,
    resolution: Resolution = None,
    attacked: Annotated[
        int, typer.Option(help="How many test images are attacked; 0 for none.")
    ] = 500,
    epsilon: Epsilon = 2 / 255,
    norm: Annotated[
        str,
        typer.Option(
            help="'linf', epsilon for each pixel, or 'l2', epsilon for the length of the change."
        ),
    ] = "linf",
    steps: Annotated[int, typer.Option(help="Of PGD; more are stronger.")] = 10,
    restarts: Annotated[int, typer.Option(help="Of PGD; more are stronger.")] = 1,
    queries: Annotated[int, typer.Option(help="Of the Square attack; more are stronger.")] = 200,
    samples: Annotated[
        int, typer.Option(help="Passes to average over, for a network that is random.")
    ] = 1,
    autoattack: Annotated[
        bool, typer.Option("--autoattack", help="Attack with AutoAttack too; takes long.")
    ] = False,
    cpu: Cpu = False,
    cache: Cache = None,
) -> None:
    """Judge a classifier on a test split: clean, corrupted at five severities, at low resolution, under attack."""
    from virolbi import evaluation, results
    from virolbi.robustness import Budget

    chosen = _corruptions(corruptions)
    evaluation.check_evaluation(resolution, attacked, chosen)
    budget = Budget(epsilon, norm, steps, restarts, samples, queries)  # type: ignore[arg-type]  # it checks them
    subject, images = _judged(model, data, name, smooth, size, limit, cpu, cache)
    with console.status("evaluating") as status:
        rows = evaluation.evaluate(
            subject, images, out / "rows.jsonl", corruptions=chosen, official=official, resolution=resolution,
            budget=budget, attacked=attacked, strongest=autoattack, progress=lambda row: status.update(_row(row)),
        )  # fmt: skip
    lines = results.summarise(rows)
    console.print(results.terminal_table(lines))
    if kinds := results.by_corruption(rows, lines):
        console.print("Mean over the five severities:", results.plain_table(kinds))
    for warning in results.check_warnings(out, subject.name):
        console.print(warning)
    console.print(f"{len(rows)} rows of {len(images):,} test images in {out / 'rows.jsonl'}")


@command
def certify(
    model: Model,
    out: Annotated[
        Path, typer.Argument(help="Folder for certified.jsonl; rows are added to those it has.")
    ],
    data: Data = None,
    name: Name = None,
    smooth: Smoothing = None,
    size: Size = None,
    limit: Annotated[
        int, typer.Option(help="Certify this many test images, from the front.")
    ] = 500,
    sigma: Annotated[
        float, typer.Option(help="Standard deviation of the noise; larger radii, less accuracy.")
    ] = 0.25,
    radii: Annotated[
        str, typer.Option(help="L2 radii to count at, with commas between them.")
    ] = "0,.1,.2,.3,.4,.5",
    samples: Annotated[
        int, typer.Option(help="Noisy samples of each image; more give tighter bounds.")
    ] = 1000,
    cpu: Cpu = False,
) -> None:
    """Certify a classifier by randomised smoothing, with our smoother as a denoiser: accuracy that no attack can lower."""
    from virolbi import evaluation

    subject, images = _judged(model, data, name, smooth, size, limit, cpu, None)
    with _bar("") as tick:
        rows = evaluation.certify_views(
            subject, images, out / "certified.jsonl", sigma=sigma, radii=_numbers(radii, "--radii"), samples=samples,
            progress=lambda view, done: tick(done, len(images), f"image {done}", view),
        )  # fmt: skip
    for row in rows:
        interval = f"{row['low']:.3f} to {row['high']:.3f}"
        console.print(f"{row['view']}, radius {row['level']:g}: {row['accuracy']:.3f} ({interval})")


@command
def select(
    model: Model,
    data: Annotated[
        str | None,
        typer.Option(
            help="Data set or image folder whose training images to choose on. Default: the run's own."
        ),
    ] = None,
    smooth: Annotated[
        str | None,
        typer.Option(
            help="Sparsities to try, with commas between them; 'auto' is one anyway. Default: from .95 to 0."
        ),
    ] = None,
    size: Size = None,
    limit: Annotated[int, typer.Option(help="Use this many images.")] = 1000,
    out: Annotated[
        Path | None, typer.Option(help="Where to write the rows, as JSON lines.")
    ] = None,
    cpu: Cpu = False,
) -> None:
    """Choose the sparsity for a classifier: its accuracy along the path, clean and under noise, and at 'auto'.

    A run of ours is judged on the training images it held out (set validation in its recipe), where it did.
    """
    from virolbi import evaluation
    from virolbi.results import plain_table, write_rows
    from virolbi.training import choose_device

    sparsities = _choices(smooth, "--smooth") or evaluation.TRIED_SPARSITIES
    subject = evaluation.load_subject(model, sparsities=(0.8,), device=choose_device(cpu))
    images = evaluation.selection_images(subject, data, size=size, limit=limit)
    subject = subject.aligned_with(images)
    with _bar("") as tick:
        found = evaluation.select_sparsity(
            subject.views[-1],
            images,
            sparsities=[float(s) for s in sparsities if s != "auto"],
            progress=tick,
        )
    rows = found.rows()
    if out is not None:
        write_rows(out, rows)
    shown = ["condition", *(f"{sparsity:g}" for sparsity in found.sparsities), "auto", "regret"]
    console.print(plain_table([{key: row[key] for key in shown if key in row} for row in rows]))
    if (
        subject.recipe is not None
        and data in (None, subject.data)
        and not subject.recipe.validation
    ):
        console.print(
            "the network was trained on these images; validation=.1 in its recipe would hold some out"
        )
    mean, auto = rows[-1], ""
    if "auto" in mean:
        auto = f"; auto {mean['auto']:.3f}, {mean['regret']:.3f} behind the best of each condition in hindsight"
    accuracy = mean[f"{found.best:g}"]
    console.print(
        f"best one sparsity for all: {found.best:g}, accuracy {accuracy:.3f}{auto}; {len(images):,} images"
    )


@command
def versus(
    folder: Annotated[Path, typer.Argument(help="Folder with rows.jsonl and details.jsonl.")],
    first: Annotated[
        str,
        typer.Argument(
            help="A model, as in the rows, and where it has several views one of them: arm/view."
        ),
    ],
    second: Annotated[str, typer.Argument(help="Another one.")],
) -> None:
    """Compare two models on the same images, condition by condition, and say which differences are significant."""
    from virolbi import results

    console.print(results.versus(folder, first, second))


@command
def report_(
    folder: Annotated[Path, typer.Argument(help="Folder with rows.jsonl.")],
    html: Annotated[
        Path | None,
        typer.Option(help="Where to write the page. Default: report.html in the folder."),
    ] = None,
    markdown: Annotated[
        bool, typer.Option(help="Print the table as Markdown instead, and write no page.")
    ] = False,
) -> None:
    """Show results as a table, and write them as one self-contained HTML page."""
    from virolbi import results

    lines = results.summarise(results.read_results(folder))
    if markdown:
        sys.stdout.write(results.markdown(lines))
        return
    page = results.write_report(folder, html)
    console.print(results.terminal_table(lines))
    console.print(f"written to {page}")


@command
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    out: Annotated[Path, typer.Argument(help="Where to write the network: .onnx or .safetensors.")],
) -> None:
    """Write a trained network as ONNX or safetensors, with what must happen to an image before it, and check it."""
    from virolbi.deploy import export
    from virolbi.training import load_run

    about = export(load_run(run), out)
    console.print(f"written to {out}, and read back with the same logits; input: {about['input']}")
    if about["smoothing"] is not None:
        form = ", ".join(
            f"{name}={'math.inf' if value == 'inf' else repr(value)}"
            for name, value in about["smoothing"].items()
        )
        console.print(f"smooth images first: virolbi.smooth(images, {form})")


@command
def smooth_dataset(
    source: Annotated[
        Path,
        typer.Argument(help="Folder with Parquet files, or images in one folder for each class."),
    ],
    out: Annotated[Path, typer.Argument(help="Folder for the shards; a second call completes it.")],
    sparsity: Sparsity = "0.8",
    nu: Nu = Form.nu,
    preset: Preset = "robust",
    size: Annotated[
        int | None, typer.Option(help="Resize and crop images to this many pixels before.")
    ] = None,
    corrupt: Annotated[
        str, typer.Option(help="'stop' at images that cannot be decoded, or 'skip' them.")
    ] = "stop",
    rows_per_shard: Annotated[
        int, typer.Option(help="Images in a shard, where the source is a folder of images.")
    ] = 1000,
    workers: Annotated[
        int | None, typer.Option(help="At most so many at once. Default: all the cluster has.")
    ] = None,
) -> None:
    """Smooth a data set on a Ray cluster, or on this machine, into shards of Parquet to train on."""
    from virolbi.deploy import smooth_dataset

    choice = _choices(sparsity, "--sparsity", 1)[0]
    made = smooth_dataset(
        source,
        out,
        choice,
        nu=nu,
        preset=preset,
        size=size,
        corrupt=corrupt,
        rows_per_shard=rows_per_shard,
        workers=workers,
    )
    console.print(f"{made} shards made; {out} is complete")


@command
def compare(
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
        typer.Option(help="Names with commas between them, as in a results. Default: all."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each arm.")] = 1,
    data: Data = None,
    set_: Settings = None,
    test_limit: TestLimit = None,
    resolution: Resolution = None,
    epsilon: Epsilon = 2 / 255,
    attacked: Annotated[
        int, typer.Option(help="How many test images are attacked; 0 for none.")
    ] = 200,
    smooth: Annotated[
        str | None,
        typer.Option(
            help="More sparsities in front of those trained on smoothed images, or 'auto', with commas."
        ),
    ] = None,
    cpu: Cpu = False,
    cache: Cache = None,
) -> None:
    """Train several arms, ours and rivals, on one budget, judge them alike, and results."""
    from virolbi.evaluation import DEFAULT_BUDGET, check_evaluation, comparison_recipes

    check_evaluation(resolution, attacked)
    budget = replace(DEFAULT_BUDGET, epsilon=epsilon)
    chosen = comparison_recipes(
        family,
        None if arms is None else [arm.strip() for arm in arms.split(",")],
        **_changes(data, set_),
    )
    options: dict[str, Any] = {
        "seeds": seeds,
        "resolution": resolution,
        "budget": budget,
        "attacked": attacked,
    }
    options |= {"smoothings": _choices(smooth, "--smooth")}
    _compare(chosen, out, test_limit, cpu=cpu, cache=cache, **options)


@command
def demo(
    out: Annotated[Path, typer.Argument(help="Folder for everything the demo writes.")] = Path(
        "runs/demo"
    ),
    cpu: Cpu = False,
) -> None:
    """Compare all procedures with two rivals on 5,000 handwritten digits, in a few minutes and without a download."""
    from virolbi.evaluation import DEFAULT_BUDGET, DEMO_ARMS, comparison_recipes

    _compare(
        comparison_recipes("digits-resnet8", DEMO_ARMS),
        out,
        None,
        budget=replace(DEFAULT_BUDGET, epsilon=0.1),
        cpu=cpu,
    )


def _compare(
    recipes: dict[str, Any],
    out: Path,
    test_limit: int | None,
    cpu: bool,
    cache: Path | None = None,
    **options: Any,
) -> None:
    from virolbi import evaluation, results
    from virolbi.data import load

    first = next(iter(recipes.values()))
    shape = {"size": first.size, "corrupt": first.corrupt, "cache": cache}
    train_images = load(first.data, "train", limit=first.limit, **shape)
    test_images = load(
        first.data, "test", limit=test_limit, channels=train_images.pixels.shape[1], **shape
    )
    with _bar("") as tick:
        evaluation.compare(
            train_images, test_images, out, recipes=recipes, cpu=cpu, cache=cache,
            started=lambda arm, recipe: tick(0, 1, "", f"{arm}, seed {recipe.seed}"),
            stepped=lambda p: tick(p.step, p.steps, _describe(p)),
            judged=lambda row: tick(1, 1, _row(row)),
            **options,
        )  # fmt: skip
    page = results.write_report(out)
    console.print(results.terminal_table(results.summarise(results.read_results(out))))
    console.print(f"written to {page}")


def _changes(data: str | None, settings: list[str] | None) -> dict[str, Any]:
    """What --data and --set change in a recipe. Values are written as in TOML; what is not is text."""
    changes: dict[str, Any] = {}
    for setting in settings or []:
        name, given, value = setting.partition("=")
        if not given:
            raise ValueError(f"--set must be name=value, got {setting!r}")
        try:
            changes[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            changes[name.strip()] = value.strip()
    return changes | ({"data": data} if data is not None else {})


def _judged(
    model: str, data: str | None, name: str | None, smooth: str | None, size: int | None, limit: int | None, cpu: bool,
    cache: Path | None,
) -> Any:  # fmt: skip
    """The subject that a text stands for, and test images for it."""
    from virolbi import evaluation
    from virolbi.data import load
    from virolbi.training import choose_device

    subject = evaluation.load_subject(
        model, name=name, sparsities=_choices(smooth, "--smooth"), device=choose_device(cpu)
    )
    source = data or subject.data
    if source is None:
        raise ValueError(f"--data must name the images to judge {subject.name} on")
    corrupt = subject.recipe.corrupt if subject.recipe else "stop"
    size = size or subject.size
    return subject, load(
        source,
        "test",
        limit=limit,
        size=size,
        channels=subject.channels,
        corrupt=corrupt,
        cache=cache,
    )


def _corruptions(text: str | None) -> tuple[str, ...]:
    from virolbi.corruptions import COMMON, HELD_OUT, NOISES

    groups = {None: NOISES, "common": COMMON, "held-out": HELD_OUT, "all": COMMON + HELD_OUT}
    return groups[text] if text in groups else tuple(name.strip() for name in str(text).split(","))


def _plan(recipe: Any) -> str:
    """A recipe as TOML, and what training by it takes."""
    from virolbi import data, training

    labels = data.load_labels(recipe.data, "train", limit=recipe.limit)
    aside = (
        data.held_out_mask(labels, recipe.validation)
        if recipe.validation
        else np.zeros(len(labels), bool)
    )
    few = data.load(recipe.data, "train", limit=2, size=recipe.size, corrupt=recipe.corrupt)
    plan = training.plan_training(recipe, few, int((~aside).sum()))
    settings = recipe.model_dump(mode="json", exclude_none=True)
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    shape = "x".join(str(side) for side in few.pixels.shape[1:])
    if few.pixels.shape[1] == 1 and recipe.data != data.DIGITS:
        shape += " (three channels if any is in colour)"
    lines += [
        f"# {len(labels):,} training images of {shape}, {len(few.classes)} classes"
        + f", {aside.sum():,} held out" * bool(aside.any()),
        f"# {plan.parameters:,} parameters, {plan.steps:,} steps of {plan.batch_size} images",
        f"# about {plan.memory / 2**20:,.0f} MiB of memory for the network, its gradients and one batch",
    ]
    return "\n".join(lines) + "\n"


@contextmanager
def _logs(folder: Path | None) -> Iterator[Callable[[Any], None]]:
    """What writes training progress for TensorBoard, into a folder where one is given."""
    if folder is None:
        yield lambda _: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:

        def log(p: Any) -> None:
            writer.add_scalar("loss", p.loss, p.step)
            writer.add_scalar("learning_rate", p.learning_rate, p.step)
            if p.accuracy is not None:
                writer.add_scalar("accuracy", p.accuracy, p.step)

        yield log


def _numbers(text: str, option: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"{option} must be numbers with commas between them, got {text!r}"
        ) from None


def _choices(text: str | None, option: str, most: int | None = None) -> list[float | str]:
    """The sparsities that an option names."""
    parts = [] if text is None else [part.strip() for part in text.split(",")]
    try:
        choices: list[float | str] = [part if part == "auto" else float(part) for part in parts]
        for choice in choices:
            check_sparsity_choice(choice)
    except ValueError:
        choices = []
    if len(choices) != len(parts) or (most is not None and len(parts) > most):
        several = "" if most == 1 else ", or several with commas between them"
        raise ValueError(f"{option} must be a sparsity in [0, 1] or 'auto'{several}, got {text!r}")
    return choices


@contextmanager
def _bar(title: str) -> Iterator[Callable[..., None]]:
    """A progress bar; what it yields takes (done, total, text, title)."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    title_column, text_column = (
        TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[text]}")
    )
    with Progress(
        title_column,
        BarColumn(),
        text_column,
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        task, said = progress.add_task(title, text=""), {title}

        def tick(done: int, total: int, text: str, title: str | None = None) -> None:
            if title is not None and title not in said and not console.is_terminal:
                console.print(title)
                said.add(title)
            progress.update(task, completed=done, total=total, text=text, description=title)

        yield tick


def _describe(progress: Any) -> str:
    return f"epoch {progress.epoch + 1}, loss {progress.loss:.3f}, {progress.images_per_second:,.0f} images/s"


def _row(row: dict[str, Any]) -> str:
    return f"{row['view']}, {row['condition']} {row['severity']}: {row['accuracy']:.3f}"


if __name__ == "__main__":
    app()
