"""Kill commands at random moments, fill disks, and show broken input to every reader.

`python benchmarks/soak.py results/soak/rows.jsonl --kills 100 --inputs 10000 --disks` adds one row
for each part to those in the file. Parts whose rows are there are not run again, so that an
interrupted soak, or one that `--minutes` ended, is completed by the same command. Everything is
seeded, and bounded: a process is killed after `LIMIT` seconds. Each attempt is a fork of this
process, which has imported everything and started no threads.
"""

import argparse
import ctypes
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from fuzzing import ARRAYS, READERS, fuzz
from virolbi._storage import is_temporary
from virolbi.cli import app
from virolbi.deploy import cluster
from virolbi.results import read_lines, row_key

LIMIT = 120  # seconds for one attempt
PIECE = 1000  # inputs of a part
PAGE = 4096  # bytes, the least room of a disk
SETTINGS = ("batch_size=16", "limit=160", "epochs=2")


def commands(inputs: Path) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the arguments of each command, and the files that it must leave.

    Parameters
    ----------
    inputs : Path
        Folder of `make_inputs`. "OUT" in the arguments stands for a new folder.

    Returns
    -------
    dict of tuple
        Arguments and files by the name of the command.
    """
    pictures = tuple(str(path) for path in sorted((inputs / "pictures").rglob("*.png")))
    names = tuple(Path(picture).name for picture in pictures)
    changes = tuple(word for setting in SETTINGS for word in ("--set", setting))
    attacks = ("--attacked", "4", "--steps", "2", "--queries", "5")
    shards = tuple(f"data/train-{index:05}-of-00006.parquet" for index in range(6))
    few = ("--cpu", "--limit", "24")
    run = str(inputs / "run")
    return {
        "train": (
            ("train", "digits-resnet8-fixed", "OUT", "--cpu", "--checkpoint-every", "0", *changes),
            ("weights.safetensors", "history.json", "recipe.json"),
        ),
        "evaluate": (
            ("evaluate", run, "OUT", *few, *attacks),
            ("rows.jsonl", "details.jsonl", "checks.jsonl", "tiles.png"),
        ),
        "certify": (
            ("certify", run, "OUT", *few, "--samples", "20"),
            ("certified.jsonl", "certificates.jsonl"),
        ),
        "select": (
            ("select", run, *few, "--smooth", "0.8,0.4", "--out", "OUT/rows.jsonl"),
            ("rows.jsonl",),
        ),
        "smooth": (("smooth", *pictures, "OUT/"), names),
        "smooth-dataset": (
            ("smooth-dataset", str(inputs / "pictures"), "OUT", "--rows-per-shard", "8"),
            (".smoothing.json", *shards),
        ),
    }


def make_inputs(folder: Path) -> None:
    """Write a trained network and a folder of images that all attempts share.

    Parameters
    ----------
    folder : Path
        New folder.
    """
    rng = np.random.default_rng(0)
    for name, level in (("bright", 200), ("dark", 50)):
        (folder / "pictures" / name).mkdir(parents=True)
        for index in range(24):
            pixels = np.clip(rng.normal(level, 20, (96, 96)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / name / f"{name}{index:02}.png")
    changes = [word for setting in SETTINGS for word in ("--set", setting)]
    code, _, text = attempt(["train", "digits-resnet8-fixed", f"{folder}/run", "--cpu", *changes])
    if code:
        raise RuntimeError(f"the network of the soak could not be trained: {text}")


def attempt(arguments: list[str], seconds: float = LIMIT) -> tuple[int, float, str]:
    """Run a command in a fork, which is killed after some seconds.

    Parameters
    ----------
    arguments : list of str
        Arguments of `virolbi`.
    seconds : float, optional
        Time after which the fork is killed.

    Returns
    -------
    status : int
        Exit code, or the negative number of the signal that ended it.
    seconds : float
        Time that it ran.
    text : str
        The end of what it printed.
    """
    start = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            _run(arguments, output.fileno())
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
            if time.perf_counter() - start > seconds:
                os.kill(child, signal.SIGKILL)
                ended = os.waitpid(child, 0)
                break
            time.sleep(0.0005)
        output.seek(0)
        text = output.read().decode(errors="replace")
    return os.waitstatus_to_exitcode(ended[1]), time.perf_counter() - start, text[-2000:]


def _run(arguments: list[str], output: int) -> None:
    """Run a command and end the process; shards are made without Ray, which would outlive it."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    cluster._make_shards = _make_shards_here
    code = 1
    try:
        app(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
        if isinstance(end.code, str):
            os.write(2, end.code.encode(errors="replace"))
            code = 1
    except BaseException as error:
        os.write(2, f"traceback: {error!r}".encode(errors="replace"))
        code = 99
    finally:
        sys.stdout.flush()
        os._exit(code)


def _make_shards_here(shards: list[cluster.Shard], workers: int | None) -> float | None:
    """Make shards in this process."""
    return max((used for shard in shards for used in cluster._write_shard(shard)), default=None)


def digests(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Return a digest of each file that a command must leave.

    Times that are measured do not count, and of details that were added again only the last ones.

    Parameters
    ----------
    folder : Path
        Folder of the results.
    names : tuple of str
        Files in it.

    Returns
    -------
    dict of str
        Digests by name, "missing" for a file that is not there.
    """
    result = {}
    for name in names:
        path = folder / name
        content = path.read_bytes() if path.exists() else b""
        if name == "details.jsonl":
            rows = {row_key(row): row | {"seconds": 0} for row in read_lines(path)}
            content = json.dumps([*rows.values()]).encode()
        result[name] = hashlib.sha256(content).hexdigest() if path.exists() else "missing"
    return result


def kill_command(
    name: str, arguments: tuple[str, ...], names: tuple[str, ...], kills: int, folder: Path
) -> dict[str, object]:
    """Kill a command at random moments until it has been killed often enough, and compare files.

    Parameters
    ----------
    name : str
        Name of the command.
    arguments : tuple of str
        Its arguments.
    names : tuple of str
        Files that it must leave.
    kills : int
        Number of kills, over several new folders.
    folder : Path
        Folder for everything.

    Returns
    -------
    dict
        The row.
    """
    rng = random.Random(name)
    start = time.perf_counter()
    reference = folder / "reference"
    code, seconds, text = attempt(_in(arguments, reference))
    expected = digests(reference, names)
    problems = [f"reference: code {code}: {text[-300:]}"] if code else []
    done = runs = stray = 0
    while done < kills:
        runs += 1
        out = folder / f"out{runs}"
        while True:
            moment = rng.uniform(0, seconds) if done < kills else LIMIT
            code, _, text = attempt(_in(arguments, out), moment)
            if code != -signal.SIGKILL:
                break
            done += 1
        problems += _faults(f"run {runs}", name, code, text, digests(out, names), expected)
        stray += sum(is_temporary(path) for path in out.rglob("*"))
        if len(problems) > 10:
            break
        shutil.rmtree(out)
    return {
        "part": "kills",
        "input": name,
        "count": done,
        "runs": runs,
        "seconds of one run": round(seconds, 2),
        "faults": len(problems),
        "first faults": problems[:3],
        "temporary files left": stray,
        "seconds": round(time.perf_counter() - start, 1),
    }


def _faults(
    title: str, name: str, code: int, text: str, actual: dict[str, str], expected: dict[str, str]
) -> list[str]:
    """Return what is wrong with a command that was completed: its exit code, and its files."""
    # pictures that are there already are named, with an exit code of 1
    allowed = (0, 1) if name == "smooth" else (0,)
    faults = [] if code in allowed else [f"{title}: code {code}: {text[-300:]}"]
    return faults + [f"{title}: {key} differs" for key in expected if actual[key] != expected[key]]


def _in(arguments: tuple[str, ...], folder: Path) -> list[str]:
    """Return arguments for results in a folder."""
    return [argument.replace("OUT", str(folder)) for argument in arguments]


# Shares of the room that the results take, or the options of the disk, and what errors then say.
DISKS = {
    "full disk": ((0.1, 0.4, 0.7, 0.9), "No space left"),
    "read-only disk": (("size=64m,ro",), "Read-only file system"),
}


def fill_disk(
    part: str, name: str, arguments: tuple[str, ...], names: tuple[str, ...], folder: Path
) -> dict[str, object]:
    """Run a command on disks too small for it, or on one that is read-only, then with room.

    Parameters
    ----------
    part : str
        Kind of the disks, a name of `DISKS`.
    name : str
        Name of the command.
    arguments : tuple of str
        Its arguments.
    names : tuple of str
        Files that it must leave.
    folder : Path
        New folder for everything.

    Returns
    -------
    dict
        The row.
    """
    start = time.perf_counter()
    reference, disk = folder / "reference", folder / "disk"
    disk.mkdir(parents=True)
    code, _, text = attempt(_in(arguments, reference))
    expected = digests(reference, names)
    problems, refused = [f"reference: code {code}: {text[-300:]}"] if code else [], 0
    total = sum(path.stat().st_size for path in reference.rglob("*") if path.is_file())
    choices, reason = DISKS[part]
    for choice in choices:
        room = f"size={max(PAGE, int(total * choice))}" if part == "full disk" else choice
        subprocess.run(["mount", "-t", "tmpfs", "-o", room, "tmpfs", disk], check=True)
        try:
            if part == "full disk" and total < PAGE:
                (disk / "other").write_bytes(bytes(PAGE))  # no room at all
            code, _, text = attempt(_in(arguments, disk / "out"))
            refused += code == 1
            if code not in (0, 1) or (code == 1 and reason not in text):
                problems.append(f"{room}: code {code}: {text[-300:]}")
            subprocess.run(["mount", "-o", "remount,rw,size=64m", disk], check=True)
            code, _, text = attempt(_in(arguments, disk / "out"))
            actual = digests(disk / "out", names)
            problems += _faults(f"{room}, then room", name, code, text, actual, expected)
        finally:
            subprocess.run(["umount", disk], check=True)
    return {
        "part": part,
        "input": name,
        "count": len(choices),
        "refused": refused,
        "faults": len(problems),
        "first faults": problems[:3],
        "seconds": round(time.perf_counter() - start, 1),
    }


def _mounts_of_its_own() -> None:
    """Give this process mounts that no other process sees, which vanish with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x00020000) != 0:  # CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "this user cannot mount a disk of its own")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


Part = tuple[str, str, int]  # what is done, to which command or input, and its first input


def parts(
    options: argparse.Namespace, folder: Path
) -> Iterator[tuple[Part, Callable[[], dict[str, object]]]]:
    """Yield the parts of a soak, each with the function that makes its row.

    Parameters
    ----------
    options : argparse.Namespace
        Options of the command line.
    folder : Path
        Folder for everything, with the inputs of the commands.

    Yields
    ------
    tuple
        The part and its function.
    """
    named = commands(folder / "inputs")
    for command, (arguments, names) in named.items() if options.kills else ():
        count = -(-options.kills // len(named))
        place = folder / f"kill {command}"
        yield (
            ("kills", command, 0),
            partial(kill_command, command, arguments, names, count, place),
        )
    for kinds in (READERS, ARRAYS) if options.inputs else ():
        count = -(-options.inputs // len(kinds))
        for kind, show in kinds.items():
            for first in range(0, count, PIECE):
                numbers = range(first, min(first + PIECE, count))
                place = folder / f"fuzz {kind}"
                yield ("fuzz", kind, first), partial(fuzz, kind, show, numbers, place)
    for command, (arguments, names) in named.items() if options.disks else ():
        for part in DISKS:
            place = folder / f"{part} {command}"
            yield (part, command, 0), partial(fill_disk, part, command, arguments, names, place)


def main() -> None:
    """Run the parts that the command line names, and add their rows to a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path, help="file of rows (JSON lines); rows are added")
    parser.add_argument("--kills", type=int, default=0, help="kills, over all commands")
    parser.add_argument("--inputs", type=int, default=0, help="inputs over readers, and arrays")
    parser.add_argument("--disks", action="store_true", help="full and read-only disks; as root")
    parser.add_argument("--only", help="commands or kinds of input, with commas between them")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no part after so long")
    options = parser.parse_args()
    end = time.perf_counter() + 60 * options.minutes
    options.rows.parent.mkdir(parents=True, exist_ok=True)
    lines = options.rows.read_text().splitlines() if options.rows.exists() else []
    rows = [json.loads(line) for line in lines]
    done = {(row["part"], row["input"], row.get("first", 0)) for row in rows}
    if options.disks:
        _mounts_of_its_own()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HF_HOME"], os.environ["HF_HUB_OFFLINE"] = str(folder / "hub"), "1"
        if options.kills or options.disks:
            make_inputs(folder / "inputs")
        for part, run in parts(options, folder):
            if part in done or (options.only and part[1] not in options.only.split(",")):
                continue
            if time.perf_counter() > end:
                break
            row = json.dumps(run())
            print(row, flush=True)
            with options.rows.open("a") as file:
                file.write(row + "\n")


if __name__ == "__main__":
    main()
