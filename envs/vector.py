"""The natively batched vector environment."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from latent_rl.envs.core import Core
from latent_rl.envs.rendering.screen import METADATA, Screen
from latent_rl.envs.single import observation_space
from latent_rl.envs.starts import check_options, checked_mask, checked_seed, own_puzzles
from latent_rl.envs.streams import Streams
from latent_rl.envs.time_limit import with_time_limit
from latent_rl.errors import InvalidValueError, UnknownNameError

ROWWISE = ("action_masks", "render")
"""Methods that give one value for each stream."""


class LatentReasoningVectorEnv(gym.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """B copies of `LatentReasoningEnv` that share one reasoner and run as one batch.

    Stream i, seeded with `seed + i`, does exactly what a single environment with that seed does. By default an ended
    episode is followed by the next in the same step: `infos["final_obs"]` and `infos["final_info"]` describe its end.

    Args:
        num_envs: B.
        autoreset_mode: "SameStep"; "NextStep", which Gymnasium's vector wrappers of observations ask for: the step
            after an episode's end ignores the action and begins the next episode; or "Disabled": who steps begins ended
            episodes anew, by `reset(options={"reset_mask": ...})`. In these two `infos` itself describes ends.
        max_episode_steps: another name for `horizon`.
        render_mode: see `LatentReasoningEnv`.
        core: the arguments of `Core`.
    """

    metadata = METADATA

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        **core: Any,
    ) -> None:
        modes = {mode.value: mode for mode in AutoresetMode}
        if autoreset_mode not in (*modes, *modes.values()):
            raise UnknownNameError("autoreset mode", autoreset_mode, modes)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**METADATA, "autoreset_mode": self.autoreset_mode}
        self.render_mode = render_mode
        self.core = Core(**with_time_limit(core, max_episode_steps))
        self._streams = Streams(self.core, num_envs)
        self._screen = Screen(self._streams, render_mode)
        self.num_envs = self._streams.num_envs
        self.single_observation_space = observation_space(self.core)
        self.single_action_space = self.core.mode.space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._ended = np.zeros(self.num_envs, dtype=bool)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode in every stream.

        Args:
            seed: an int seeds stream i with seed + i; or one for each stream, None where it goes on.
            options: `reset_mask`, bool [B]: only these streams begin anew, the others go on; `puzzle`, to begin with: a
                line of text or its tokens, or one for each stream.
        """
        options = options or {}
        check_options(options, ["puzzle", "reset_mask"])
        rows = checked_mask(options["reset_mask"], self.num_envs) if "reset_mask" in options else None
        puzzles = own_puzzles(self.core.task, options["puzzle"], self.num_envs) if "puzzle" in options else None
        observation = self._streams.reset(self._seeds_of(seed), rows, puzzles)
        self._ended = np.zeros(self.num_envs, dtype=bool) if rows is None else self._ended & ~rows.numpy()
        self._screen.show()
        return observation, {}

    def _seeds_of(self, seed: Any) -> list[int | None]:
        if isinstance(seed, Sequence | np.ndarray) and len(seed) == self.num_envs:
            seeds = [None if each is None else checked_seed(each) for each in seed]
        elif isinstance(seed, Sequence | np.ndarray):
            raise InvalidValueError(f"seed must be an int or {self.num_envs} ints; got {len(seed)}.")
        elif seed is not None:
            seed = checked_seed(seed)
            super().reset(seed=seed)
            seeds = [seed + i for i in range(self.num_envs)]
        else:
            seeds = [None] * self.num_envs
        if self._streams.state is None:
            drawn = self.np_random.integers(2**31, size=self.num_envs).tolist()
            seeds = [other if each is None else each for each, other in zip(seeds, drawn, strict=True)]
        return seeds

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one action in every stream."""
        at_once, later = (self.autoreset_mode == m for m in (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP))
        if not at_once and not later and self._ended.any():
            raise InvalidValueError(
                f"the episodes of streams {np.flatnonzero(self._ended).tolist()} have ended; begin them anew by"
                ' reset(options={"reset_mask": ...}), or choose another autoreset_mode.'
            )
        result = self._streams.step(actions, autoreset=at_once, begin=self._ended if later else None)
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
        """Int8 [B, A], 1 for the actions that make sense now."""
        return self._streams.mask().astype(np.int8)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """What a method gives for each stream, or an attribute, which they share; as in `SyncVectorEnv`.

        Raises:
            UnknownNameError: no method of that name gives one value for each stream.
        """
        value = getattr(self, name)
        if not callable(value):
            return (value,) * self.num_envs
        if name not in ROWWISE:
            raise UnknownNameError("method of each stream", name, ROWWISE)
        values = value(*args, **kwargs)
        return (None,) * self.num_envs if values is None else tuple(values)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute, once for each stream: they share it."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute, which all streams share: its value, or as in `SyncVectorEnv` a list of it, once for each.

        Raises:
            InvalidValueError: the streams are to have different ones.
        """
        if isinstance(values, list | tuple):
            if len(values) != self.num_envs or any(value is not values[0] for value in values):
                raise InvalidValueError(
                    f"the {self.num_envs} streams share the attribute {name}: give one value, or it {self.num_envs}"
                    f" times; got {values!r}."
                )
            values = values[0]
        setattr(self, name, values)

    def render(self) -> tuple[Any, ...] | None:
        """Every stream's board, as `LatentReasoningEnv.render` gives it; of an ended episode that was followed by the
        next in the same step, the next one's start."""
        return self._screen.render()

    def close_extras(self, **kwargs: Any) -> None:
        """End all episodes."""
        self._streams.close()
