"""Ctrl-C and SIGTERM: what a stop leaves behind, and how to go on."""

import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from latent_rl.errors import StoppedError


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
