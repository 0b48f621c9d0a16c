"""Stable-baselines3's view of the batched environment."""

import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecMonitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from latent_rl.envs.config import EnvConfig
from latent_rl.envs.core import Core
from latent_rl.envs.rendering.screen import METADATA, Screen
from latent_rl.envs.single import observation_space
from latent_rl.envs.starts import check_options, own_puzzles
from latent_rl.envs.streams import Streams
from latent_rl.envs.vector import ROWWISE
from latent_rl.errors import InvalidValueError, UnknownNameError
from latent_rl.types import Puzzles


class LatentVecEnv(VecMonitor):
    """One batched core as a VecEnv: no Python loop over the environments but for those whose episode ends.

    The info of an ended episode holds `terminal_observation`, `TimeLimit.truncated` (always False: the horizon is
    part of the task), `episode` (return r, length l and time t, which SB3's `VecMonitor` counts), `is_success`,
    `solved`, `passes`, `steps`, `restarts`. So no `Monitor` is needed.

    Args:
        core: the dynamics; a task's name, or a description, stands for `Core(...)` of it.
        num_envs: B.
        render_mode: see `LatentReasoningEnv`.
        filename: where to write every episode as a line of a CSV, as `VecMonitor` does it; None for nowhere.
        info_keywords: what else of the info goes into these lines.
    """

    def __init__(
        self,
        core: Core | EnvConfig | str,
        num_envs: int,
        render_mode: str | None = None,
        *,
        filename: str | Path | None = None,
        info_keywords: tuple[str, ...] = (),
    ) -> None:
        batch = BatchVecEnv(core if isinstance(core, Core) else Core(core), num_envs, render_mode)
        super().__init__(batch, None if filename is None else str(filename), info_keywords)

    def __getstate__(self) -> dict[str, Any]:
        """All but what SB3 keeps of the class, and the CSV, which a copy does not write."""
        return vars(self) | {"class_attributes": None, "results_writer": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.class_attributes = dict(inspect.getmembers(type(self)))


class BatchVecEnv(VecEnv):
    """What `LatentVecEnv` does, but for the statistics of episodes.

    Args:
        core: the dynamics.
        num_envs: B.
        render_mode: "rgb_array" for `VecVideoRecorder`, "human" to watch in the terminal, "ansi" for text by
            `env_method("render")`.
    """

    spec: None = None

    def __init__(self, core: Core, num_envs: int, render_mode: str | None = None) -> None:
        self._streams = Streams(core, num_envs)
        self._screen = Screen(self._streams, render_mode)
        self.core = core
        self.render_mode = render_mode
        super().__init__(self._streams.num_envs, observation_space(core), core.mode.space)
        self.metadata = METADATA  # SB3's names but one render mode
        self._actions: np.ndarray = np.empty(0)

    def reset(self) -> VecEnvObs:
        """Begin an episode in every stream; stream i is seeded as `seed` said, and begins as `set_options` did."""
        if any(seed is None for seed in self._seeds) and self._streams.state is None:
            self.seed()
        puzzles = self._own_puzzles()
        observation = self._streams.reset(self._seeds, puzzles=puzzles)
        self._reset_seeds()
        self._reset_options()
        self._screen.show()
        return observation

    def _own_puzzles(self) -> Puzzles | None:
        for options in self._options:
            check_options(options, ["puzzle"])
        given = [options["puzzle"] for options in self._options if "puzzle" in options]
        if given and len(given) < self.num_envs:
            raise InvalidValueError(f"all {self.num_envs} environments must get a puzzle, or none; {len(given)} do.")
        return own_puzzles(self.core.task, given, self.num_envs) if given else None

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Take the step."""
        result = self._streams.step(self._actions, autoreset=True)
        self._screen.show(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        columns = {name: values.tolist() for name, values in result.info.items() if values.ndim == 1}
        for row in np.flatnonzero(result.terminated).tolist():
            infos[row] = {name: column[row] for name, column in columns.items()}
            infos[row] |= {"terminal_observation": result.final_observation[row], "TimeLimit.truncated": False}
        return result.observation, result.reward, result.terminated, infos

    def action_masks(self) -> np.ndarray:
        """Bool [B, A]: the actions that make sense now, as sb3-contrib's MaskablePPO asks for them."""
        return self._streams.mask()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """A picture of every environment, in mode "rgb_array"; `render` tiles them."""
        frames = self._screen.render() if self.render_mode == "rgb_array" else None
        return frames or [None] * self.num_envs

    def close(self) -> None:
        """End all episodes; there is nothing to release."""
        self._streams.close()

    def has_attr(self, attr_name: str) -> bool:
        """Whether the environments have an attribute."""
        return hasattr(self, attr_name)

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute, once for each environment: they share it."""
        return [getattr(self, attr_name) for _ in self._rows(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the batch; it has none per environment.

        Raises:
            InvalidValueError: only some environments are to have it.
        """
        if len(set(self._rows(indices))) < self.num_envs:
            raise InvalidValueError(f"{attr_name} must be set for all {self.num_envs} environments: they share it.")
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a batched method once and hand out its rows.

        Raises:
            UnknownNameError: no method of that name gives one value for each environment.
            InvalidValueError: "render" was asked for without a render mode.
        """
        if method_name not in ROWWISE:
            raise UnknownNameError("method of each environment", method_name, ROWWISE)
        if method_name == "render" and self.render_mode is None:
            raise InvalidValueError('boards need a render mode; give LatentVecEnv render_mode="ansi" or another.')
        source = self._screen if method_name == "render" else self
        values: Sequence[Any] | None = getattr(source, method_name)(*args, **kwargs)
        return [None if values is None else values[row] for row in self._rows(indices)]

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: Any = None) -> list[bool]:
        """No environment is wrapped; `LatentVecEnv` writes Monitor's statistics."""
        return [False for _ in self._rows(indices)]

    def _rows(self, indices: Any) -> Iterable[int]:
        return self._get_indices(indices)
