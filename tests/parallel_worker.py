"""One worker of test_parallel.py: trains a tiny float32 reasoner; run by torchrun, or alone.

Arguments: the folder, the config as JSON, and after how many optimizer steps to die (0: never).
"""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import torch
from helpers import random_reasoner, undecided

from latent_rl.training import objectives, parallel, trainer
from latent_rl.training.losses import step_loss


def dying_after(num_steps: int) -> Any:
    """The loss, which is computed once for each optimizer step."""
    countdown = iter(range(num_steps)) if num_steps else itertools.count()

    def loss(*arguments: Any, **options: Any) -> torch.Tensor:
        if next(countdown, None) is None:
            sys.exit(3)
        return step_loss(*arguments, **options)

    return loss


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, config, num_steps = sys.argv[1:]
    objectives.step_loss = dying_after(int(num_steps))
    with parallel.workers():
        trainer.train(
            trainer.TrainConfig(**json.loads(config)), undecided(random_reasoner()), Path(folder), resume=True
        )
    # Threads that outlive the group can abort at the interpreter's end.
    names = [name.read_text() for name in Path("/proc/self/task").glob("*/comm")]
    assert not any("gloo" in name for name in names), names
