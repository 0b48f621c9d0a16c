"""The command line: `latent-rl`, or `python -m latent_rl`. Its composition root: the one place that knows all parts."""

import gc
import importlib
import sys
from collections.abc import Callable
from dataclasses import make_dataclass
from typing import Any

import tyro

from latent_rl.program import concluded, parsed, stop_on_sigterm

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("latent_rl.commands.train:train_command", "Train a reasoner."),
    "evaluate": ("latent_rl.commands.evaluate:Evaluate", "Decode puzzles with a fixed number of steps."),
    "vote": (
        "latent_rl.commands.vote:Vote",
        "Score a reasoner on ARC by the official rule: the answers of all views vote for two attempts.",
    ),
    "diagnose": ("latent_rl.commands.diagnose:Diagnose", "Show what every step adds, and where compute is dead."),
    "tasks": ("latent_rl.commands.tasks:Tasks", "List the tasks."),
    "reasoners": ("latent_rl.commands.reasoners:Reasoners", "List the shipped reasoners."),
    "import": (
        "latent_rl.commands.import_public:Import",
        'Convert a run folder of the public TRM, HRM or DIS code (needs the extra "public").',
    ),
    "make-bank": (
        "latent_rl.commands.make_bank:MakeBank",
        'Generate a bank of base puzzles (needs the extra "generate", but for mazes).',
    ),
    "compare": (
        "latent_rl.agents.commands.compare:Comparison",
        "Train and evaluate agents on the same puzzles, over several seeds.",
    ),
    "solve": (
        "latent_rl.agents.commands.solve:Solve",
        "Solve a puzzle, or a file of puzzles; exit status 0 if all are solved, 1 if some are not.",
    ),
}
"""Every command's class, or the function of the arguments that gives it, and the first line of its docstring. It is
imported only if its command was asked for: with torch it takes seconds."""


def command(name: str, arguments: list[str]) -> Callable[..., Any]:
    """The class of a command that the arguments begin with, or what stands for it in the overview."""
    location, summary = COMMANDS[name]
    if arguments[:1] != [name]:
        return make_dataclass(name, [], namespace={"__doc__": summary})
    module, attribute = location.split(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return found if isinstance(found, type) else found(arguments[1:])


def run(arguments: list[str], *, freeze: bool = False) -> int:
    """Run one command.

    Args:
        arguments: as they are typed, without the program's name.
        freeze: never look for garbage among all that is there once the command is imported. For a process that does
            nothing else: torch alone holds so many objects that looking, at the end too, takes half a second.

    Returns:
        The exit status: what the command returns, 0 if that is nothing; 2 after a user's mistake; 130 after Ctrl-C, 143
        after SIGTERM.
    """

    def work() -> int | None:
        # A config checks itself as it is made, so parsing, too, can meet a user's mistake.
        commands = {name: command(name, arguments) for name in COMMANDS}
        if freeze:
            gc.freeze()
        overview = "Latent recursion as a decision process."
        asked = parsed(
            lambda: tyro.extras.subcommand_cli_from_dict(
                commands, prog="latent-rl", description=overview, args=arguments
            )
        )
        status: int | None = asked.run()
        return status

    return concluded("latent-rl", work)


def main() -> None:
    """Run the command line and exit; SIGTERM ends a command as Ctrl-C does."""
    stop_on_sigterm()
    sys.exit(run(sys.argv[1:], freeze=True))


if __name__ == "__main__":
    main()
