"""The command line: `latent-rl`, or `python -m latent_rl`. Its composition root: the one place that knows all parts."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Compare:
    """Train and evaluate agents on the same puzzles, over several seeds."""


@dataclass(frozen=True)
class Solve:
    """Solve a puzzle, or a file of puzzles; exit status 0 if all are solved, 1 if some are not."""


def _commands_of_agents(arguments: list[str]) -> dict[str, Callable[..., Any]]:
    """Commands that need `latent_rl.agents`, which is imported only if one of them was asked for: it takes seconds."""
    commands: dict[str, Callable[..., Any]] = {"compare": Compare, "solve": Solve}
    if arguments[:1] == ["compare"]:
        from latent_rl.agents.compare import Comparison

        commands["compare"] = Comparison
    elif arguments[:1] == ["solve"]:
        from latent_rl.agents import solve

        commands["solve"] = solve.Solve
    return commands


def main() -> None:
    """Run the command line; exit status 2 and one line for a user's mistake."""
    from latent_rl import cli

    sys.exit(cli.run(sys.argv[1:], _commands_of_agents(sys.argv[1:])))


if __name__ == "__main__":
    main()
