"""Commands that deploy networks and data sets: export and smooth-dataset."""

from pathlib import Path
from typing import Annotated, Any

import typer

from virolbi.cli.app import command, console
from virolbi.cli.batches import check_replacement
from virolbi.cli.moments import parse_sparsity
from virolbi.cli.options import (
    DataRangeOption,
    ForceOption,
    NuOption,
    PresetOption,
    SparsityOption,
)
from virolbi.scale_space import Form


@command("export")
def _export(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    out: Annotated[Path, typer.Argument(help="File for the network: .onnx or .safetensors.")],
    force: ForceOption = False,
) -> None:
    """Write a trained network as ONNX or safetensors.

    The file describes what must happen to an image before the network sees it. The network is
    read back and must give the same logits.
    """
    from virolbi.deploy import export
    from virolbi.evaluation import is_calibration
    from virolbi.training import load_run

    check_replacement(out, force)
    if is_calibration(run):
        raise ValueError(
            f"run must be the folder of a training run, got the calibration {run}, which no "
            "exported file can hold; export the run that it was made for"
        )
    description = export(load_run(run), out)
    console.print(
        f"written to {out}, and read back with the same logits; input: {description['input']}"
    )
    console.print(f"read images: {description['reading']}")
    if description["resizing"] is not None:
        console.print(f"resize images to {description['size']} pixels: {description['resizing']}")
    if description["smoothing"] is not None:
        keywords = ", ".join(
            f"{name}={_python_text(value)}" for name, value in description["smoothing"].items()
        )
        console.print(f"smooth images first: virolbi.smooth(images, {keywords})")


def _python_text(value: Any) -> str:
    """Return a value of the description as a Python expression."""
    return "math.inf" if value == "inf" else repr(value)


@command("smooth-dataset")
def _smooth_dataset(
    source: Annotated[
        Path,
        typer.Argument(help="Folder with Parquet files, or images in one folder for each class."),
    ],
    out: Annotated[Path, typer.Argument(help="Folder for the shards; a second call completes it.")],
    sparsity: SparsityOption = "0.8",
    nu: NuOption = Form.nu,
    preset: PresetOption = "robust",
    size: Annotated[
        int | None, typer.Option(help="Resize and crop images to this many pixels first.")
    ] = None,
    data_range: DataRangeOption = None,
    corrupt: Annotated[
        str, typer.Option(help="'stop' at images that cannot be decoded, or 'skip' them.")
    ] = "stop",
    rows_per_shard: Annotated[
        int, typer.Option(help="Images in a shard, where the source is a folder of images.")
    ] = 1000,
    workers: Annotated[
        int | None,
        typer.Option(help="Largest number of shards made at once. Default: what the cluster can."),
    ] = None,
) -> None:
    """Smooth a data set on a Ray cluster.

    The result is a folder with shards of Parquet to train on. Without a cluster, Ray runs on this
    machine.
    """
    from virolbi.deploy import smooth_dataset

    choice = parse_sparsity(sparsity, "--sparsity")
    count = smooth_dataset(
        source,
        out,
        choice,
        nu=nu,
        preset=preset,  # type: ignore[arg-type]  # it checks the name
        size=size,
        data_range=data_range,
        corrupt=corrupt,  # type: ignore[arg-type]
        rows_per_shard=rows_per_shard,
        workers=workers,
    )
    console.print(f"{count} shards made; {out} is complete")
