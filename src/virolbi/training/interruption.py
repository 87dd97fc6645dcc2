"""Ctrl-C in the middle of a training run, which waits for the end of a step."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interruption_between_steps(active: bool) -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C wait until the code inside asks for it; a second Ctrl-C stops it at once.

    If the code ends without asking again, as a training does in its last step, Ctrl-C is too late.

    In the middle of a step, some weights are new and others are not: no checkpoint could be
    written from which the training resumes as if it had not been interrupted.

    Parameters
    ----------
    active : bool
        Whether to do so. In a thread beside the main one, and where the program has a handler of
        its own for the signal, nothing is changed in any case.

    Yields
    ------
    callable
        Function without arguments that returns whether Ctrl-C was pressed.
    """
    pressed = threading.Event()
    main = threading.current_thread() is threading.main_thread()
    if not (active and main and signal.getsignal(signal.SIGINT) is signal.default_int_handler):
        yield pressed.is_set
        return

    def note(*_: object) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
