"""Train DQN to decide, per puzzle, how a recursive reasoner spends its forward passes; compare and report.

It is `latent-rl compare` with one seed. Run `python examples/train_dqn_sudoku.py --help` for the options.
"""

import sys
from pathlib import Path

from latent_rl.agents.commands.compare import Comparison, main

DEFAULT = Comparison(
    agents=("random", "fixed-6", "fixed", "best-of", "threshold", "rule", "dqn", "oracle"),
    seeds=1,
    out=Path("runs/train_dqn_sudoku"),
)

if __name__ == "__main__":
    sys.exit(main(DEFAULT, __doc__))
