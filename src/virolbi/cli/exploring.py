"""The command that starts the explorer: app."""

from typing import Annotated

import typer

from virolbi.cli.app import command, console
from virolbi.cli.options import CpuOption


@command("app")
def _app(
    model: Annotated[
        str | None,
        typer.Argument(
            help="Folder of a training run, timm:NAME, or module:function that returns a network; "
            "its answers are shown too."
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address to listen on; 0.0.0.0 lets other machines in. "
            "Default: GRADIO_SERVER_NAME, or this machine alone."
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port to listen on. Default: the first free one from 7860 on."),
    ] = None,
    max_megapixels: Annotated[
        float,
        typer.Option(help="Refuse larger pictures; those over one megapixel are reduced."),
    ] = 50.0,  # the explorer's own limits; its import would slow down every command
    max_megabytes: Annotated[float, typer.Option(help="Refuse larger files.")] = 20.0,
    cpu: CpuOption = False,
) -> None:
    """Try the smoother on pictures in the browser.

    Sliders set how much is smoothed, and in which form; any corruption can be added. The page
    shows the result, its regions, the difference and the path, and the lines of Python and of the
    shell that make them. It can read no file of this machine but those that are dropped on it.
    """
    from virolbi.explorer import serve

    serve(
        model,
        host=host,
        port=port,
        megapixels=max_megapixels,
        megabytes=max_megabytes,
        cpu=cpu,
        started=lambda address: console.print(f"open {address}; Ctrl-C stops it"),
    )
