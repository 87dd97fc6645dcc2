import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from virolbi import smooth
from virolbi._engine import threads


def run_on_one_thread(code):
    """Run a program in a process of its own and return the finished process."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=300,
        check=False,
    )


def test_results_do_not_depend_on_the_number_of_threads(photographs, monkeypatch):
    images = np.tile(photographs / np.float32(255), (3, 1, 1, 1))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    expected, started, pool = smooth(images, 0.8, channel_axis=-1), [], threads._pool
    monkeypatch.setattr(
        threads, "_pool", lambda number, process: started.append(number) or pool(number, process)
    )
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2}, raising=False)
    np.testing.assert_array_equal(smooth(images, 0.8, channel_axis=-1), expected)
    assert set(started) == {3}
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    np.testing.assert_array_equal(smooth(images, 0.8, channel_axis=-1), expected)
    assert set(started) == {3, 1}  # one thread besides the main thread, see `parallel`


@pytest.mark.slow
def test_ctrl_c_raises_keyboard_interrupt_and_smoothing_works_afterwards():
    """Numba could crash the process here; the signal comes while the path is followed."""
    process = run_on_one_thread(
        """
import os, signal, threading, numpy as np
from virolbi import smooth
signal.signal(signal.SIGINT, signal.default_int_handler)  # where these tests run in the background
image = np.random.default_rng(0).random((500, 500))
smooth(image[:8, :8], 0.9)  # loads the compiled code
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    for _ in range(100):
        smooth(image, 0.95, nu=0.01)
except KeyboardInterrupt:
    print("interrupted", smooth(np.zeros((2, 2)), 0.5).sum())
"""
    )
    assert (process.returncode, process.stdout) == (0, "interrupted 0.0\n"), process.stderr


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_an_image_that_takes_minutes():
    """The next call does not wait for that image either."""
    process = run_on_one_thread(
        """
import os, signal, threading, time, numpy as np
from virolbi import smooth
signal.signal(signal.SIGINT, signal.default_int_handler)  # where these tests run in the background
image = np.random.default_rng(0).random((400, 400))
smooth(image[:8, :8], 0.9, nu=0.001)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
began = time.perf_counter()
try:
    smooth(image, 0.5, nu=0.001)
except KeyboardInterrupt:
    smooth(image[:8, :8], 0.9, nu=0.001)
    print("interrupted" if time.perf_counter() - began < 20 else "late", flush=True)
    os._exit(0)
"""
    )
    assert (process.returncode, process.stdout) == (0, "interrupted\n"), process.stderr


def test_a_thread_that_smooths_while_the_interpreter_shuts_down_finishes():
    """Pools accept no more work then."""
    process = run_on_one_thread(
        """
import threading, time, numpy as np
from virolbi import smooth
image = np.random.default_rng(0).random((20, 20))
expected = smooth(image, 0.9)
def work():
    threading.main_thread().join()
    time.sleep(0.1)
    print((smooth(image, 0.9) == expected).all())
threading.Thread(target=work).start()
"""
    )
    assert (process.returncode, process.stdout) == (0, "True\n"), process.stderr


@pytest.mark.skipif(
    not hasattr(os, "fork"), reason="no forks on this system; runs on Linux, in .ci/run"
)
def test_a_forked_process_starts_its_own_threads(photographs, monkeypatch):
    """Workers of a torch DataLoader are forked; the threads of the parent do not exist there."""
    monkeypatch.setattr(threads, "TASK", 1000)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1}, raising=False)
    images = photographs[:4] / np.float32(255)
    expected = smooth(images, 0.8, channel_axis=-1)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(smooth(images, 0.8, channel_axis=-1), expected) else 1)
    for _ in range(600):
        finished, status = os.waitpid(child, os.WNOHANG)
        if finished:
            break
        time.sleep(0.05)
    else:
        os.kill(child, signal.SIGKILL)
    assert (finished, status) == (child, 0)
