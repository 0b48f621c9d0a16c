"""Train PPO to decide, per puzzle, how a recursive reasoner spends its forward passes; compare and report.

It is `latent-rl compare` on the hardest puzzles, with one seed and a quarter of the training. Run
`python examples/train_ppo_sudoku.py --help` for the options.
"""

import sys
from pathlib import Path

from latent_rl.agents.commands.compare import Comparison, main
from latent_rl.agents.commands.setting import Process, Setting

DEFAULT = Comparison(
    setting=Setting(process=Process(task="sudoku9x9-extreme"), total_timesteps=65_536),
    agents=("random", "fixed-6", "fixed", "threshold", "rule", "ppo", "oracle"),
    seeds=1,
    out=Path("runs/train_ppo_sudoku"),
)

if __name__ == "__main__":
    sys.exit(main(DEFAULT, __doc__))
