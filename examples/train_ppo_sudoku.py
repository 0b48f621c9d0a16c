"""Train PPO to decide, per puzzle, how a recursive reasoner spends its forward passes; compare and report.

Run `python examples/train_ppo_sudoku.py --help` for the options.
"""

import sys
from dataclasses import dataclass

import tyro

from latent_rl.agents.experiment import Experiment, run
from latent_rl.errors import LatentRLError


@dataclass(kw_only=True)
class Args(Experiment):
    """Train PPO on the step policy of a shipped reasoner."""


def main() -> int:
    try:
        run(tyro.cli(Args, description=__doc__))
    except LatentRLError as error:
        print(f"train_ppo_sudoku: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
