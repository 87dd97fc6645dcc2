"""The typer app and what all commands share: registration, errors, console, progress, log."""

import functools
import io
import logging
import os
import sys
import sysconfig
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn, ParamSpec, Protocol

import typer
from rich.console import Console, ConsoleDimensions

import virolbi
from virolbi.cli.examples import EXIT_CODES, format_examples
from virolbi.cli.usage import Command, Group

# The extra of virolbi that installs an optional package; the packages of "train" are not listed.
EXTRAS = {
    "gradio": "app",
    "mlxtend": "demo",
    "skimage": "rivals",
    "cv2": "rivals",
    "tensorboard": "logs",
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "export",
    "ray": "cluster",
}
INTERRUPTED = 130  # exit code after Ctrl-C, as shells report it
WIDE = 1000  # characters, more than a line has
TRACEBACK = "VIROLBI_TRACEBACK"  # environment variable that asks for tracebacks
REPORTED = (ValueError, TypeError, ImportError, OSError, RuntimeError)  # others are faults of code
UNREAD = 141  # exit code if the reader of the output has gone, as shells report it

Parameters = ParamSpec("Parameters")


class Application(typer.Typer):
    """The typer app with the rules for its output.

    Warnings are one line on standard error. Of several processes that were started together, as by
    `accelerate launch`, only the first prints its results.
    Text that the output cannot encode is printed with backslash escapes. If the reader of the
    output has gone, as after `virolbi ... | head`, the program ends without a message, with exit
    code 141.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line.

        Parameters
        ----------
        *args, **kwargs : Any
            Arguments of `typer.Typer`.

        Returns
        -------
        Any
            The result of `typer.Typer`.
        """
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        console.quiet = not is_main_process()
        warnings.formatwarning = _format_warning  # type: ignore[assignment]  # reads one argument
        for library in ("PIL", "tifffile"):  # whose errors are reported by this package
            logging.getLogger(library).setLevel(logging.CRITICAL)
        try:
            try:
                return super().__call__(*args, **kwargs)
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()
        except (BrokenPipeError, SystemExit) as end:
            # typer turns a broken pipe into an exit with code 1
            cause = end.__context__ if isinstance(end, SystemExit) else end
            if not isinstance(cause, BrokenPipeError):
                raise
            with Path(os.devnull).open("w") as nowhere:
                for stream in (1, 2):  # the interpreter flushes both once more
                    os.dup2(nowhere.fileno(), stream)
            raise SystemExit(UNREAD) from None


def is_main_process() -> bool:
    """Return whether this process is the first of those that were started together.

    Returns
    -------
    bool
        True also for a process that was started alone.
    """
    return os.environ.get("RANK", "0") == "0"


def _format_warning(message: Warning | str, *_: Any) -> str:
    """Return a warning as one line that starts with "virolbi: warning: "."""
    return f"virolbi: warning: {' '.join(str(message).split())}\n"


class OutputConsole(Console):
    """A console that cuts no table where there is no terminal.

    It lets `Application` end the program if the reader of the output has gone.
    """

    @property
    def size(self) -> ConsoleDimensions:
        """Size of the terminal; wide in a file or a pipe, unless COLUMNS states a width.

        Returns
        -------
        rich.console.ConsoleDimensions
            Width and height in characters.
        """
        size = super().size
        return size if self.is_terminal or "COLUMNS" in os.environ else size._replace(width=WIDE)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        width, height = new_size
        self._width, self._height = width, height

    def on_broken_pipe(self) -> NoReturn:
        """Raise the error that is being handled.

        Raises
        ------
        BrokenPipeError
            Always.
        """
        raise  # rich calls this while it handles the error


app = Application(
    cls=Group,
    help="Smooth images along their scale path, train classifiers on it, and evaluate them "
    "under noise.",
    no_args_is_help=True,
    epilog=EXIT_CODES,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = OutputConsole(markup=False, highlight=False)


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True)
    ] = False,
) -> None:
    if version:
        sys.stdout.write(f"virolbi {virolbi.__version__}\n")
        raise typer.Exit


def command(
    name: str,
) -> Callable[[Callable[Parameters, None]], Callable[Parameters, None]]:
    """Return a decorator that registers a function as a command of the app.

    The parameters of the function become the arguments and options of the command, and its
    docstring becomes the help text. Errors of the command are one line on standard error.

    Parameters
    ----------
    name : str
        Name of the command.

    Returns
    -------
    callable
        The decorator. It returns the function with the handling of errors added.
    """

    def register(function: Callable[Parameters, None]) -> Callable[Parameters, None]:
        @app.command(name, cls=Command, epilog=format_examples(name))
        @functools.wraps(function)
        def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
            with _errors_as_one_line():
                function(*args, **kwargs)

        return run

    return register


@contextmanager
def _errors_as_one_line() -> Iterator[None]:
    """Exit with code 1 and one line about an error, and with code 130 after an interruption.

    With `VIROLBI_TRACEBACK=1` in the environment, an error is raised as it is instead.
    """
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write("virolbi: interrupted; what was written is kept\n")
        if "torch" not in sys.modules:
            # Nothing needs cleaning up, and a normal exit would wait for the image in progress.
            os._exit(INTERRUPTED)
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        raise  # nobody reads the output any more: `Application` ends the program
    except Exception as error:
        is_fault_of_package = not isinstance(error, REPORTED) and not _place_in_users_code(error)
        if os.environ.get(TRACEBACK) == "1" or is_fault_of_package:
            raise
        raise SystemExit(error_line(error)) from error


def error_line(error: Exception) -> str:
    """Return the message of an error as one line that starts with "virolbi: ".

    Parameters
    ----------
    error : Exception
        The error.

    Returns
    -------
    str
        The line, without a line break at its end. An error in code of the user, such as the
        function of a "module:function", ends with its place.
    """
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    place, text = _place_in_users_code(error), " ".join(message.split())
    if not isinstance(error, REPORTED):
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    elif isinstance(error, ModuleNotFoundError) and not place:
        extra = EXTRAS.get(str(error.name).partition(".")[0], "train")
        text = f"this command needs the package {error.name}: pip install 'virolbi[{extra}]'"
    return f"virolbi: {text}{place}"


def _place_in_users_code(error: BaseException) -> str:
    """Return the last line that an error passed outside this package and installed ones, or "".

    It is that of the error that it was raised from, if there is one.
    """
    if error.__cause__ is not None and (place := _place_in_users_code(error.__cause__)):
        return place
    others = Path(virolbi.__file__).parent, Path(sysconfig.get_path("stdlib"))

    def is_users(path: Path) -> bool:
        installed = {"site-packages", "dist-packages"} & {*path.parts}
        return path.is_file() and not installed and not any(map(path.is_relative_to, others))

    frames = traceback.extract_tb(error.__traceback__)
    places = [(frame.filename, frame.lineno) for frame in frames]
    if isinstance(error, SyntaxError) and error.filename is not None:  # no line of it has run
        places.append((error.filename, error.lineno))
    users = [place for place in places if is_users(Path(place[0]))]
    return f" ({users[-1][0]}, line {users[-1][1]})" if users else ""


class UpdateProgress(Protocol):
    """A function that moves a progress bar."""

    def __call__(self, done: float, total: float, text: str, title: str | None = None) -> None:
        """Show how much is done.

        Parameters
        ----------
        done : float
            Units of work that are done.
        total : float
            Units of work in all.
        text : str
            Text beside the bar.
        title : str, optional
            New title in front of the bar; None keeps the present one.
        """


@contextmanager
def progress_bar(title: str = "") -> Iterator[UpdateProgress]:
    """Show a progress bar, or print only each new title where the output is not a terminal.

    Parameters
    ----------
    title : str, optional
        Title in front of the bar. It is not printed where the output is not a terminal.

    Yields
    ------
    callable
        Function of done, total, text and, optionally, a new title that moves the bar.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(title, text="")
        printed = {title}

        def update(done: float, total: float, text: str, title: str | None = None) -> None:
            if title is not None and title not in printed and not console.is_terminal:
                console.print(title)
                printed.add(title)
            bar.update(task, completed=done, total=total, text=text, description=title)

        yield update


class _Printer(logging.Handler):
    """Print the records of a logger, each in at most three lines."""

    def emit(self, record: logging.LogRecord) -> None:
        width = console.width
        lines = textwrap.wrap(record.getMessage(), width, max_lines=3, placeholder=" ...")
        console.print("\n".join(lines))


@contextmanager
def printed_log() -> Iterator[None]:
    """Print what the package logs, which includes what was loaded and what was left out.

    Yields
    ------
    None
        While the log is printed, each record in at most three lines.
    """
    logger, printer = logging.getLogger("virolbi"), _Printer()
    level = logger.level
    logger.addHandler(printer)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(printer)
        logger.setLevel(level)
