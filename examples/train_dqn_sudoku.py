"""Train DQN to decide, per puzzle, how a recursive reasoner spends its forward passes; compare and report.

Run `python examples/train_dqn_sudoku.py --help` for the options.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from latent_rl.agents.commands.experiment import Experiment, main


@dataclass(kw_only=True)
class Args(Experiment):
    """Train DQN on the step policy of a shipped reasoner."""

    agent: str = "dqn"
    out: Path = Path("runs/train_dqn_sudoku")


if __name__ == "__main__":
    sys.exit(main(Args, __doc__))
