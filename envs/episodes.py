"""Endless episodes over the core: what the single env, the vector env and the SB3 adapter share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from latent_rl.envs.core import Core
from latent_rl.envs.randomness import derive, mix
from latent_rl.envs.state import State
from latent_rl.errors import InvalidValueError


@dataclass(frozen=True)
class StepResult:
    """One step of B episodes, as numpy arrays.

    Attributes:
        observation: float32 [B, F]; of the next episode where one ended and `autoreset` was set.
        final_observation: float32 [B, F], before any reset.
        reward: float32 [B].
        terminated: bool [B].
        info: int64 `passes`, `steps` and `restarts`, bool `solved` [B], int64 `prediction` [B, L]: what a halt
            submits; all before any reset.
    """

    observation: np.ndarray
    final_observation: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    info: dict[str, np.ndarray]


def describe(state: State, solved: Tensor) -> dict[str, np.ndarray]:
    """The public info of a state, in memory of its own."""
    values = {
        "passes": state.passes,
        "steps": state.step,
        "restarts": state.restarts,
        "solved": solved,
        "prediction": state.submission,
    }
    return {name: value.numpy().copy() for name, value in values.items()}


class Episodes:
    """B streams of episodes; stream i depends on its own seed alone.

    Args:
        core: the dynamics.
        num_envs: B.
    """

    def __init__(self, core: Core, num_envs: int) -> None:
        if num_envs < 1:
            raise InvalidValueError(f"the number of environments must be at least 1; got {num_envs}.")
        self.core, self.num_envs = core, num_envs
        self._seeds = torch.zeros(num_envs, dtype=torch.int64)
        self._episode = torch.zeros(num_envs, dtype=torch.int64)
        self.state: State | None = None

    def reset(self, seeds: Sequence[int] | None = None) -> np.ndarray:
        """Begin an episode in every stream; with `seeds` the streams begin anew, one seed each."""
        if seeds is not None:
            self._seeds = mix(torch.tensor(seeds, dtype=torch.int64) + 1)
            self._episode.zero_()
        self.state = self._begin(torch.arange(self.num_envs))
        return self.core.observe(self.state).numpy()

    def mask(self) -> np.ndarray:
        """Bool [B, A]: the actions that make sense now."""
        return self.core.mask(self._running())

    def step(self, actions: np.ndarray, *, autoreset: bool, begin: np.ndarray | None = None) -> StepResult:
        """Take one action in every stream.

        Args:
            actions: one row for each stream.
            autoreset: an ended stream goes on with its next episode in this step.
            begin: bool [B], streams that begin their next episode in place of the action; their reward is 0.
        """
        waiting = torch.zeros(self.num_envs, dtype=torch.bool) if begin is None else torch.as_tensor(begin)
        decision = self.core.mode.decode(torch.as_tensor(actions))
        transition = self.core.step(self._running(), replace(decision, halt=decision.halt | waiting))
        after, reward = transition.state, transition.reward.masked_fill(waiting, 0.0)
        terminated = transition.terminated & ~waiting
        if bool(waiting.any()):
            rows = waiting.nonzero().squeeze(1)
            after = after.put(rows, self._begin(rows))
        final = self.core.observe(after).numpy()
        observation = final
        info = describe(after, transition.solved)
        rows = terminated.nonzero().squeeze(1)
        if autoreset and len(rows):
            after = after.put(rows, self._begin(rows))
            observation = self.core.observe(after).numpy()
        self.state = after
        return StepResult(observation, final, reward.numpy(), terminated.numpy(), info)

    def _begin(self, rows: Tensor) -> State:
        keys = derive(self._seeds[rows], self._episode[rows])
        self._episode[rows] += 1
        return self.core.start(keys)

    def _running(self) -> State:
        if self.state is None:
            raise InvalidValueError("the environment must be reset before the first step; call reset().")
        return self.state
