"""Endless episodes over the core: what the single env, the vector env and the SB3 adapter share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latent_rl.envs.actions import checked_actions
from latent_rl.envs.core import Core
from latent_rl.envs.starts import checked_seed
from latent_rl.envs.state import State
from latent_rl.errors import InvalidValueError
from latent_rl.randomness import derive, mix
from latent_rl.types import Puzzles


@dataclass(frozen=True)
class StepResult:
    """One step of B episodes, as numpy arrays.

    Attributes:
        observation: float32 [B, F]; of the next episode where one ended and `autoreset` was set.
        final_observation: float32 [B, F], before any reset.
        reward: float32 [B].
        terminated: bool [B].
        info: int64 `passes`, `steps` and `restarts`, bool `solved` and `is_success` [B] (the same under SB3's name),
            int64 `prediction` [B, L]: what a halt submits; all before any reset.
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
        "is_success": solved,
        "prediction": state.submission,
    }
    return {name: value.numpy().copy() for name, value in values.items()}


class Streams:
    """B streams of episodes; stream i depends on its own seed alone.

    Args:
        core: the dynamics.
        num_envs: B.
    """

    def __init__(self, core: Core, num_envs: int) -> None:
        if not isinstance(num_envs, int | np.integer) or isinstance(num_envs, bool) or num_envs < 1:
            raise InvalidValueError(
                f"the number of environments, num_envs, must be a whole number of at least 1; got {num_envs!r}."
            )
        self.core = core
        self.num_envs = int(num_envs)
        self._keys = torch.zeros(self.num_envs, dtype=torch.int64)
        self._episode = torch.zeros(self.num_envs, dtype=torch.int64)
        self.state: State | None = None
        self._closed = False

    def reset(
        self, seeds: Sequence[int | None] | None = None, rows: Tensor | None = None, puzzles: Puzzles | None = None
    ) -> np.ndarray:
        """Begin an episode in every stream.

        Args:
            seeds: one for each stream, which then begins anew; None where it goes on.
            rows: bool [B], only these streams; the others stay where they are.
            puzzles: one for each stream, in place of those that the streams draw.

        Raises:
            InvalidValueError: a seed is none; some streams have not begun yet.
        """
        self._check_open()
        chosen = torch.arange(self.num_envs) if rows is None else rows.nonzero().squeeze(1)
        kept = None if len(chosen) == self.num_envs else self._running()
        given = {row: checked_seed(seeds[row]) for row in chosen.tolist() if seeds and seeds[row] is not None}
        if given:
            rows = torch.tensor(list(given))
            self._keys[rows] = mix(torch.tensor(list(given.values()), dtype=torch.int64) + 1)
            self._episode[rows] = 0
        begun = self._begin(chosen, None if puzzles is None else puzzles.select(chosen))
        self.state = begun if kept is None else kept.put(chosen, begun)
        return self.core.observe(self.state).numpy()

    def close(self) -> None:
        """End all episodes; there is nothing to release."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidValueError("the environment is closed; make a new one.")

    def mask(self) -> np.ndarray:
        """Bool [B, A]: the actions that make sense now."""
        return self.core.mask(self._running())

    def step(self, actions: Any, *, autoreset: bool, begin: np.ndarray | None = None) -> StepResult:
        """Take one action in every stream.

        Args:
            actions: one for each stream.
            autoreset: an ended stream goes on with its next episode in this step.
            begin: bool [B], streams that begin their next episode in place of the action; their reward is 0.
        """
        waiting = torch.zeros(self.num_envs, dtype=torch.bool) if begin is None else torch.as_tensor(begin)
        running = self._running()
        decision = self.core.mode.decode(checked_actions(self.core.mode, actions, self.num_envs))
        transition = self.core.step(running, replace(decision, halt=decision.halt | waiting))
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
            begun = self._begin(rows)
            after = after.put(rows, begun)
            observation = final.copy()
            observation[rows.numpy()] = self.core.observe(begun).numpy()
        self.state = after
        return StepResult(observation, final, reward.numpy(), terminated.numpy(), info)

    def _begin(self, rows: Tensor, puzzles: Puzzles | None = None) -> State:
        keys = derive(self._keys[rows], self._episode[rows])
        self._episode[rows] += 1
        return self.core.start(keys) if puzzles is None else self.core.begin(puzzles, keys)

    def _running(self) -> State:
        self._check_open()
        if self.state is None:
            raise InvalidValueError("the environment must be reset before the first step; call reset().")
        return self.state
