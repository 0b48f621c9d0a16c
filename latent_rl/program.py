"""How a program ends: its exit status, and one line for whatever stopped it."""

import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from types import FrameType
from typing import TypeVar

from latent_rl.errors import LatentRLError, StoppedError, is_out_of_memory, one_line
from latent_rl.storage.stops import Terminated

Parsed = TypeVar("Parsed")


def concluded(name: str, work: Callable[[], int | None]) -> int:
    """Do a program's work; whatever a user's input, the disk or a signal did to it becomes one line.

    Args:
        name: of the program, before that line.
        work: all of it, the parsing of arguments too; returns the exit status, None for 0.

    Returns:
        The exit status: 2 after a user's mistake, 130 after Ctrl-C, 143 after SIGTERM.
    """
    try:
        status = work() or 0
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()  # the reader, say `head`, has seen enough
        return 1
    except KeyboardInterrupt as error:
        print(f"{name}: stopped.", file=sys.stderr)
        return 143 if isinstance(error, Terminated) else 130
    except StoppedError as error:
        print(f"{name}: {one_line(error, 2000)}", file=sys.stderr)
        return error.status
    except (LatentRLError, OSError) as error:
        print(f"{name}: {one_line(error, 2000)}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # a full disk: it is what was told
            _drop_output()
        return 2
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print(f"{name}: out of memory; choose a smaller batch or network: {one_line(error)}", file=sys.stderr)
        return 2
    return status


def parsed(parse: Callable[[], Parsed]) -> Parsed:
    """What `parse`, a call of tyro, makes of the command line.

    Raises:
        LatentRLError: a config refuses a value; tyro would draw a box around the error.
        SystemExit: the command line asks for help, or tyro does not understand it.
    """
    try:
        with redirect_stderr(io.StringIO()):
            return parse()
    except SystemExit as end:
        if not end.code:
            raise
        refusal = end.__context__
        while refusal is not None and not isinstance(refusal, LatentRLError):
            refusal = refusal.__context__
        if refusal is not None:
            raise refusal from None
    return parse()  # and say what was not understood


def _drop_output() -> None:
    """What standard output could not take must not fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def stop_on_sigterm() -> None:
    """From now on SIGTERM ends the program as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
