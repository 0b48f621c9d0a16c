"""How a program ends: its exit status, and one line for whatever stopped it."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from latent_rl.errors import LatentRLError, StoppedError, one_line
from latent_rl.files import Terminated


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
        # The reader, say `head`, has seen enough; what is still buffered must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt as error:
        print(f"{name}: stopped.", file=sys.stderr)
        return 143 if isinstance(error, Terminated) else 130
    except StoppedError as error:
        print(f"{name}: {one_line(error, 2000)}", file=sys.stderr)
        return error.status
    except (LatentRLError, OSError) as error:
        print(f"{name}: {one_line(error, 2000)}", file=sys.stderr)
        return 2
    return status


def stop_on_sigterm() -> None:
    """From now on SIGTERM ends the program as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
