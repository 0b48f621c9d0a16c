"""Train PPO to decide, per puzzle, how a recursive reasoner spends its forward passes; compare and report.

It is `latent-rl compare` with one seed and half the training. Run `python examples/train_ppo_sudoku.py --help` for the
options.
"""

import sys
from pathlib import Path

from latent_rl.agents.commands.compare import Comparison, main
from latent_rl.agents.commands.setting import Setting

DEFAULT = Comparison(
    setting=Setting(total_timesteps=131_072),
    agents=("random", "fixed-6", "fixed", "best-of", "threshold", "rule", "ppo", "oracle"),
    seeds=1,
    out=Path("runs/train_ppo_sudoku"),
)

if __name__ == "__main__":
    sys.exit(main(DEFAULT, __doc__))
