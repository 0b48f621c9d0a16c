"""What the environment adds to the reasoner's forward pass, and where PPO spends its time."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from race import Row, Settings, race, repeated
from stable_baselines3.common.vec_env import DummyVecEnv

from latent_rl.agents.sb3 import make_agent
from latent_rl.agents.setting import Setting
from latent_rl.agents.vec_env import LatentVecEnv
from latent_rl.envs.single import LatentReasoningEnv

NUM_ENVS = 256
SETTING = Setting(task="sudoku9x9")


def environment(settings: Settings) -> list[Row]:
    """A batch of 256 environments that always refine, against the bare forward and against 256 single environments."""
    core = SETTING.make_core()
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
    times = settings.pick(core.horizon, 2)  # a whole episode, with its reset
    rows = race(
        settings,
        "environment",
        "steps/s",
        {
            "native batch of 256": repeated(lambda: native.step(refine), NUM_ENVS, times),
            "the reasoner's bare forward": repeated(forward, NUM_ENVS, times),
            "DummyVecEnv of 256 single ones": repeated(lambda: single.step(refine), NUM_ENVS, 1),
        },
    )
    return [*rows, *ppo(settings)]


class Stopwatch:
    """CPU seconds inside some functions."""

    def __init__(self) -> None:
        self.total = 0.0

    def watch(self, owner: Any, name: str) -> None:
        """Replace a method by one that is timed."""
        function: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.process_time()
            result = function(*arguments, **options)
            self.total += time.process_time() - start
            return result

        setattr(owner, name, timed)


def ppo(settings: Settings) -> list[Row]:
    """How much of PPO's time is the reasoner's, or PPO's own update, on live and on recorded steps."""
    rows = []
    for kind in ("live", "recorded"):
        core = SETTING.make_core()
        reasoner, update = Stopwatch(), Stopwatch()
        reasoner.watch(core.reasoner, "step")
        model = make_agent("ppo", SETTING.training_core(core) if kind == "recorded" else core, seed=0)
        update.watch(model, "train")
        timesteps = settings.pick(65_536 if kind == "recorded" else 12_288, 4_096)
        start = time.process_time()
        model.learn(timesteps)
        spent = time.process_time() - start
        shares = (reasoner.total + update.total) / spent
        note = (
            f"reasoner {reasoner.total / spent:.0%}, PPO's update {update.total / spent:.0%};"
            f" {timesteps / spent:,.0f} steps/s"
        )
        what = f"PPO on {kind} steps: reasoner and update"
        rows.append(Row("environment", what, [100 * shares], "% of time", [], note))
    return rows
