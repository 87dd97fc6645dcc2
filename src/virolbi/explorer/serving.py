"""Starting the explorer: limits, and the server."""

import logging
import os
from collections.abc import Callable

from virolbi.explorer.explorer import KEPT_MEGAPIXELS, MEGAPIXELS, Explorer
from virolbi.explorer.samples import DRAWN, PHOTOGRAPHS, Source
from virolbi.explorer.settings import Settings

LOGGER = logging.getLogger(__name__)
WAITING = 64  # requests in the queue; later ones are refused
MEGABYTES = 20.0  # of a file


def serve(
    model: str | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    megapixels: float = MEGAPIXELS,
    megabytes: float = MEGABYTES,
    kept: float = KEPT_MEGAPIXELS,
    cpu: bool = False,
    started: Callable[[str], None] = LOGGER.info,
) -> None:
    """Show the explorer in a browser, until the process is interrupted.

    No file of this machine can be read through it but those that were uploaded; these are deleted
    after an hour. One request is computed at a time, and 64 wait.

    Parameters
    ----------
    model : str, optional
        Classifier to ask as well, see `virolbi.evaluation.load_subject`.
    host : str, optional
        Address to listen on, such as "0.0.0.0" for all of them. Default: GRADIO_SERVER_NAME, which
        hosting services set, else this machine alone.
    port : int, optional
        Port to listen on. Default: GRADIO_SERVER_PORT, else the first free one from 7860 on.
    megapixels, megabytes : float, optional
        Largest file that is accepted.
    kept : float, optional
        Megapixels of the pictures whose paths are kept, see `Explorer`.
    cpu : bool, optional
        Whether the classifier uses the CPU, even where there is an accelerator.
    started : callable, optional
        Receives the address of the page. Default: it is logged.

    Raises
    ------
    ModuleNotFoundError
        If Gradio is not installed: the extra "app" has it.
    ValueError
        If the classifier cannot be loaded, or a limit is out of range.
    OSError
        If the port is in use.
    """
    if not megabytes > 0:
        raise ValueError(f"megabytes must be > 0, got {megabytes}")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
    from virolbi.explorer.page import LOOK, Page

    explorer = Explorer(megapixels=megapixels, kept=kept)
    classifier = None
    if model is not None:
        from virolbi.explorer.classifier import Classifier

        classifier = Classifier.load(model, cpu=cpu)
    for sample in (DRAWN, PHOTOGRAPHS[1]):  # compiles for colour and grey before anybody waits
        explorer.answer(Source(sample), Settings(min_area=2))
    page = Page(explorer, classifier).blocks
    page.queue(max_size=WAITING, default_concurrency_limit=1)
    _, address, _ = page.launch(
        prevent_thread_lock=True,
        quiet=True,
        server_name=host,
        server_port=port,
        max_file_size=int(megabytes * 1e6),
        state_session_capacity=WAITING,
        allowed_paths=[],
        share=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        show_error=True,
        footer_links=[],
        **LOOK,
    )
    started(address)
    page.block_thread()
