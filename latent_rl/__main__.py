"""The command line: `latent-rl`, or `python -m latent_rl`. Its composition root: the one place that knows all parts."""

import importlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import make_dataclass
from types import FrameType
from typing import Any

import tyro

from latent_rl.errors import LatentRLError, StoppedError, is_out_of_memory, one_line
from latent_rl.files import Terminated

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("latent_rl.cli_train:Train", "Train a reasoner."),
    "evaluate": ("latent_rl.cli:Evaluate", "Decode puzzles with a fixed number of steps."),
    "vote": (
        "latent_rl.cli_vote:Vote",
        "Score a reasoner on ARC by the official rule: the answers of all views vote for two attempts.",
    ),
    "diagnose": ("latent_rl.cli:Diagnose", "Show what every step adds, and where compute is dead."),
    "tasks": ("latent_rl.cli:Tasks", "List the tasks."),
    "reasoners": ("latent_rl.cli:Reasoners", "List the shipped reasoners."),
    "import": (
        "latent_rl.cli:Import",
        'Convert a run folder of the public TRM, HRM or DIS code (needs the extra "public").',
    ),
    "make-bank": ("latent_rl.cli:MakeBank", 'Generate a bank of base puzzles (needs the extra "generate").'),
    "compare": (
        "latent_rl.agents.compare:Comparison",
        "Train and evaluate agents on the same puzzles, over several seeds.",
    ),
    "solve": (
        "latent_rl.agents.solve:Solve",
        "Solve a puzzle, or a file of puzzles; exit status 0 if all are solved, 1 if some are not.",
    ),
}
"""Every command's class, and the first line of its docstring. The class is imported only if its command was asked for:
with torch it takes seconds."""


def command(name: str, is_asked_for: bool) -> Callable[..., Any]:
    """The class of a command, or what stands for it in the overview."""
    location, summary = COMMANDS[name]
    if not is_asked_for:
        return make_dataclass(name, [], namespace={"__doc__": summary})
    module, attribute = location.split(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return found


def run(arguments: list[str]) -> int:
    """Run one command.

    Returns:
        The exit status: what the command returns, 0 if that is nothing; 2 after a user's mistake; 130 after Ctrl-C, 143
        after SIGTERM.
    """
    try:
        # A config checks itself as it is made, so parsing, too, can meet a user's mistake.
        asked = tyro.extras.subcommand_cli_from_dict(
            {name: command(name, is_asked_for=name in arguments[:1]) for name in COMMANDS},
            prog="latent-rl",
            description="Latent recursion as a decision process.",
            args=arguments,
        )
        status: int = asked.run() or 0
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, say `head`, has seen enough
        _drop_output()
        return 1
    except KeyboardInterrupt as error:
        print("latent-rl: stopped.", file=sys.stderr)
        return 143 if isinstance(error, Terminated) else 130
    except StoppedError as error:
        print(f"latent-rl: {one_line(error, 2000)}", file=sys.stderr)
        return error.status
    except (LatentRLError, OSError) as error:
        print(f"latent-rl: {one_line(error, 2000)}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # a full disk: it is what was told
            _drop_output()
        return 2
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print(f"latent-rl: out of memory; choose a smaller batch or network: {one_line(error)}", file=sys.stderr)
        return 2
    return status


def _drop_output() -> None:
    """What standard output could not take must not fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def main() -> None:
    """Run the command line and exit; SIGTERM ends a command as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
