"""Files that are whole or not there: atomic writes, checksums, one writer at a time, and what a stop leaves behind."""

import hashlib
import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from latent_rl.errors import CheckpointError, FileError, StoppedError, one_line

MAX_JSON = 64 * 2**20
"""Bytes of a JSON file that is read at the most."""


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: the file is missing, larger than `MAX_JSON`, or is not a JSON object.
    """
    try:
        if (size := path.stat().st_size) > MAX_JSON:
            raise ValueError(f"it has {size:,} bytes, more than {MAX_JSON:,}")
        if not path.is_file():  # a device may never end
            raise ValueError("it is no file")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} must be a readable JSON file: {one_line(error)}.") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} must hold a JSON object; got {type(data).__name__}.")
    return data


def write_json(path: Path, data: object) -> None:
    """Write `data` as JSON, atomically: readers see the old file or the new one, never a part."""
    write_atomically(path, (json.dumps(data, indent=2) + "\n").encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` by way of a temporary file in the same folder.

    Raises:
        FileError: it can't be written, say for want of room; what the path held before is still there.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):  # the folder itself may be the reason
            partial.unlink(missing_ok=True)
        raise FileError(f"{path} could not be written: {error.strerror or one_line(error)}.") from error


def checksum(content: bytes) -> str:
    """SHA-256 of some bytes, in hexadecimal: a flipped bit anywhere in a file is noticed."""
    return hashlib.sha256(content).hexdigest()


@contextmanager
def claimed(path: Path, is_file: bool | None = None) -> Iterator[None]:
    """Keep others from writing into a run's folder, or to a results file, as long as this block runs.

    The lock is the kernel's, so a killed process leaves none behind; its file is `.lock` in the folder, or
    `.<name>.lock` beside the file.

    Args:
        path: a folder, made if need be, or a file.
        is_file: which of the two; by default a file if there is one, or if the name has a suffix.

    Raises:
        FileError: another process holds it, or the folder can't be made.
    """
    import filelock

    if is_file is None:
        is_file = path.is_file() or bool(path.suffix)
    lock = path.with_name(f".{path.name}.lock") if is_file else path / ".lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = filelock.FileLock(lock)
        held.acquire(blocking=False)
    except filelock.Timeout as error:
        if not lock.exists():  # filelock takes a place where none can be made, such as /proc, for a held lock
            raise FileError(f"{path} could not be claimed: no file can be made there.") from error
        raise FileError(
            f"{path} must have one writer; another process uses it. Wait, or choose another --out."
        ) from error
    except OSError as error:
        raise FileError(f"{path} could not be claimed: {error.strerror or one_line(error)}.") from error
    try:
        yield
    finally:
        held.release()


def this_command(*more: str) -> str:
    """The command line that runs now, with `more` at its end unless it is there: what a user types to go on."""
    program = Path(sys.argv[0])
    start = ["latent-rl"] if program.name in ("latent-rl", "__main__.py") else ["python", str(program)]
    arguments = sys.argv[1:]
    return shlex.join([*start, *arguments, *(word for word in more if word not in arguments)])


@contextmanager
def resumable(kept: str | Callable[[], str], *more: str) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM within this block into one line: what is kept, and the command that goes on.

    Args:
        kept: what the stop leaves, such as "runs/a keeps everything up to the last save", or what says so then.
        more: options that the command needs to go on, such as "--resume".

    Raises:
        StoppedError: in place of `KeyboardInterrupt`.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        status = 143 if isinstance(error, Terminated) else 130
        left = kept if isinstance(kept, str) else kept()
        raise StoppedError(f"stopped; {left}. Go on with: {this_command(*more)}", status) from error


class Terminated(KeyboardInterrupt):
    """SIGTERM, as `latent_rl.__main__` turns it into an exception."""


@contextmanager
def deferred_stop() -> Iterator[list[int]]:
    """Let Ctrl-C, and SIGTERM where it raises an exception, wait until this block ends.

    It yields the signals that have come: a block that sees one saves what it has and ends. A second signal stops it at
    once, and so does each outside the main thread.
    """
    asked: list[int] = []
    before = {n: found for n in (signal.SIGINT, signal.SIGTERM) if callable(found := signal.getsignal(n))}
    if threading.current_thread() is not threading.main_thread():
        before = {}  # none can be caught here

    def stop() -> None:
        before[signal.Signals(asked[0])](asked[0], None)

    def handler(number: int, frame: FrameType | None) -> None:
        del frame
        asked.append(number)
        if len(asked) > 1:
            stop()

    for number in before:
        signal.signal(number, handler)
    try:
        yield asked
        if asked:
            stop()
    finally:
        for number, found in before.items():
            signal.signal(number, found)
