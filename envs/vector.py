"""The natively batched vector environment."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from latent_rl.envs.core import Core
from latent_rl.envs.episodes import Episodes
from latent_rl.envs.rendering import METADATA, Screen
from latent_rl.envs.single import observation_space
from latent_rl.errors import InvalidValueError, UnknownNameError


class LatentReasoningVectorEnv(gym.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """B copies of `LatentReasoningEnv` that share one reasoner and run as one batch.

    Stream i, seeded with `seed + i`, does exactly what a single environment with that seed does. By default an ended
    episode is followed by the next in the same step: `infos["final_obs"]` and `infos["final_info"]` describe its end.

    Args:
        num_envs: B.
        autoreset_mode: "SameStep", or "NextStep", which Gymnasium's vector wrappers of observations ask for: the step
            after an episode's end ignores the action and begins the next episode; `infos` itself describes ends.
        max_episode_steps: what `gym.make_vec` passes on: another name for `horizon`.
        render_mode: as in `LatentReasoningEnv`.
        core: the arguments of `Core`.
    """

    metadata = {**METADATA, "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        **core: Any,
    ) -> None:
        modes = {mode.value: mode for mode in (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP)}
        if autoreset_mode not in (*modes, *modes.values()):
            raise UnknownNameError("autoreset mode", autoreset_mode, modes)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        if max_episode_steps is not None:
            core["horizon"] = max_episode_steps
        self.core = Core(**core)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.single_observation_space = observation_space(self.core)
        self.single_action_space = self.core.mode.space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._episodes = Episodes(self.core, num_envs)
        self._screen = Screen(self._episodes, render_mode)
        self._ended = np.zeros(num_envs, dtype=bool)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode in every stream; an int seeds stream i with seed + i."""
        self._ended = np.zeros(self.num_envs, dtype=bool)
        super().reset(seed=seed if isinstance(seed, int) else None)
        seeds: list[int] | None = None
        if isinstance(seed, int):
            seeds = [seed + i for i in range(self.num_envs)]
        elif seed is not None:
            if len(seed) != self.num_envs or any(s is None for s in seed):
                raise InvalidValueError(f"seed must be an int or {self.num_envs} ints; got {seed}.")
            seeds = [int(s) for s in seed if s is not None]
        elif self._episodes.state is None:
            seeds = self.np_random.integers(2**31, size=self.num_envs).tolist()
        observations = self._episodes.reset(seeds)
        self._screen.show()
        return observations, {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one action in every stream."""
        at_once = self.autoreset_mode == AutoresetMode.SAME_STEP
        result = self._episodes.step(actions, autoreset=at_once, begin=None if at_once else self._ended)
        ended = self._ended = result.terminated
        self._screen.show(actions, None if at_once else ended)
        infos: dict[str, Any] = {}
        if ended.any() and not at_once:
            infos = result.info | {f"_{name}": ended.copy() for name in result.info}
        elif ended.any():
            final = np.full(self.num_envs, None, dtype=object)
            for row in np.flatnonzero(ended):
                final[row] = result.final_observation[row]
            infos = {"final_obs": final, "_final_obs": ended.copy()}
            infos["final_info"] = result.info | {f"_{name}": ended.copy() for name in result.info}
            infos["_final_info"] = ended.copy()
        truncated = np.zeros(self.num_envs, dtype=bool)
        return result.observation, result.reward.astype(np.float64), ended, truncated, infos

    def action_masks(self) -> np.ndarray:
        """Bool [B, A]: the actions that make sense now."""
        return self._episodes.mask()

    def render(self) -> tuple[Any, ...] | None:
        """Every stream's board, as `LatentReasoningEnv.render` gives it; of an ended episode that was followed by the
        next in the same step, the next one's start."""
        return self._screen.render()
