"""Stable-baselines3's view of the batched environment."""

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from latent_rl.envs.core import Core
from latent_rl.envs.episodes import Episodes
from latent_rl.envs.rendering import METADATA, Screen
from latent_rl.envs.single import observation_space
from latent_rl.errors import InvalidValueError


class LatentVecEnv(VecEnv):
    """One batched core as a VecEnv: no Python loop over the environments but for those whose episode ends.

    The info of an ended episode holds `terminal_observation`, `TimeLimit.truncated` (always False: the horizon is
    part of the task), `episode` (return r and length l, as `Monitor` writes it), `solved`, `passes`, `steps`,
    `restarts`.

    Args:
        core: the dynamics.
        num_envs: B.
        render_mode: "rgb_array" for `VecVideoRecorder`, "human" to watch in the terminal, "ansi" for text by
            `env_method("render")`.
    """

    metadata = METADATA

    def __init__(self, core: Core, num_envs: int, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        super().__init__(num_envs, observation_space(core), core.mode.space)
        self.core = core
        self._episodes = Episodes(core, num_envs)
        self._screen = Screen(self._episodes, render_mode)
        self._returns = np.zeros(num_envs)
        self._actions: np.ndarray = np.empty(0)

    def reset(self) -> VecEnvObs:
        """Begin an episode in every stream; stream i is seeded as `seed` said."""
        if any(seed is None for seed in self._seeds) and self._episodes.state is None:
            self.seed()
        seeds = [int(seed) for seed in self._seeds if seed is not None]
        self._reset_seeds()
        self._returns[:] = 0
        observations = self._episodes.reset(seeds or None)
        self._screen.show()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Take the step."""
        result = self._episodes.step(self._actions, autoreset=True)
        self._screen.show(self._actions)
        self._returns += result.reward
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for row in np.flatnonzero(result.terminated):
            infos[row] = {name: result.info[name][row] for name in ("solved", "passes", "steps", "restarts")}
            infos[row] |= {
                "terminal_observation": result.final_observation[row],
                "TimeLimit.truncated": False,
                "episode": {"r": float(self._returns[row]), "l": int(result.info["steps"][row]), "t": 0.0},
            }
        self._returns[result.terminated] = 0
        return result.observation, result.reward, result.terminated, infos

    def action_masks(self) -> np.ndarray:
        """Bool [B, A]: the actions that make sense now, as sb3-contrib's MaskablePPO asks for them."""
        return self._episodes.mask()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """A picture of every environment, in mode "rgb_array"; `render` tiles them."""
        frames = self._screen.render() if self.render_mode == "rgb_array" else None
        return frames or [None] * self.num_envs

    def close(self) -> None:
        """Nothing to release."""

    def has_attr(self, attr_name: str) -> bool:
        """Whether the environments have an attribute."""
        return hasattr(self, attr_name)

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute, once for each environment: they share it."""
        return [getattr(self, attr_name) for _ in self._rows(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the batch; it has none per environment."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a batched method once and hand out its rows.

        Raises:
            InvalidValueError: "render" was asked for without a render mode.
        """
        if method_name == "render":
            if self.render_mode is None:
                raise InvalidValueError('boards need a render mode; give LatentVecEnv render_mode="ansi" or another.')
            values: Sequence[Any] = self._screen.render() or [None] * self.num_envs
        else:
            values = getattr(self, method_name)(*args, **kwargs)
        return [values[row] for row in self._rows(indices)]

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: Any = None) -> list[bool]:
        """No environment is wrapped; Monitor's statistics are written here."""
        return [False for _ in self._rows(indices)]

    def _rows(self, indices: Any) -> Iterable[int]:
        return self._get_indices(indices)
