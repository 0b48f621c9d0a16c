"""What the environment adds to the reasoner's forward pass, and what stepping in a batch saves."""

from functools import partial

import numpy as np
import torch
from race import Row, Settings, race, repeated
from stable_baselines3.common.vec_env import DummyVecEnv

from latent_rl.agents.sb3.vec_env import LatentVecEnv
from latent_rl.envs.core import Core
from latent_rl.envs.single import LatentReasoningEnv

NUM_ENVS = 256


def environment(settings: Settings) -> list[Row]:
    """A batch of 256 environments that always refine, against the bare forward and against 256 single environments."""
    return [row for task in ("sudoku9x9", "sudoku6x6", "sudoku4x4") for row in environment_of(task, settings)]


def environment_of(task: str, settings: Settings) -> list[Row]:
    """The same for one task."""
    core = Core(task, reasoner=task)
    native = LatentVecEnv(core, NUM_ENVS)
    single = DummyVecEnv(
        [partial(LatentReasoningEnv, task=core.task, reasoner=core.reasoner, horizon=core.horizon)] * NUM_ENVS
    )
    refine = np.ones(NUM_ENVS, dtype=np.int64)
    for env in (native, single):
        env.seed(0)
        env.reset()
    state = core.step(core.start(torch.arange(NUM_ENVS)), core.mode.decode(torch.as_tensor(refine))).state
    forward = partial(core.reasoner.step, state.inputs, state.carry, state.age)
    times = settings.pick(core.horizon // 2, 2)  # every second run resets
    return race(
        settings,
        f"environment, {task.removeprefix('sudoku')}",
        "steps/s",
        {
            "native batch of 256": repeated(lambda: native.step(refine), NUM_ENVS, times),
            "the reasoner's bare forward": repeated(forward, NUM_ENVS, times),
            "DummyVecEnv of 256 single ones": repeated(lambda: single.step(refine), NUM_ENVS, 1),
        },
    )
