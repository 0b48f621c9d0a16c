"""Train PPO to decide, per puzzle, how a recursive reasoner spends its forward passes; compare and report.

Run `python examples/train_ppo_sudoku.py --help` for the options.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

from latent_rl.agents.commands.experiment import Experiment, main
from latent_rl.agents.commands.setting import TIMESTEPS


@dataclass(kw_only=True)
class Args(Experiment):
    """Train PPO on the step policy of a shipped reasoner."""

    total_timesteps: Annotated[int | None, TIMESTEPS] = 131_072
    """Environment steps of training: half of what comparisons take, for an answer in four minutes."""


if __name__ == "__main__":
    sys.exit(main(Args, __doc__))
