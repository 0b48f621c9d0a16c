"""The single environment."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from latent_rl.envs.actions import as_array
from latent_rl.envs.config import EnvConfig
from latent_rl.envs.core import Core
from latent_rl.envs.observations import OBSERVATION_BOUND
from latent_rl.envs.rendering.screen import METADATA, Screen
from latent_rl.envs.starts import check_options, checked_seed, own_puzzles
from latent_rl.envs.streams import Streams
from latent_rl.envs.time_limit import take_over_time_limit, with_time_limit
from latent_rl.errors import InvalidValueError
from latent_rl.reasoners.base import Reasoner
from latent_rl.tasks.base import Task


def observation_space(core: Core) -> gym.spaces.Box:
    """A float32 Box; most features lie in [0, 1]."""
    return gym.spaces.Box(-OBSERVATION_BOUND, OBSERVATION_BOUND, (core.observation_size,), np.float32)


class LatentReasoningEnv(gym.Env[np.ndarray, Any]):
    """Latent recursion as an environment.

    ## Description
    An episode is one puzzle. A trained recursive reasoner refines a latent answer to it, one supervision step for
    each step of the environment; the agent decides when to stop, and how to go on.

    ## Action space
    By `actions`: "refine" (default) is Discrete(3), a table of halt, refine, restart_view (begin anew in a random
    symmetric view of the puzzle; the answer is mapped back); "search" is Discrete(3), halt, refine, restart_guess
    (begin anew with one open cell, drawn from the puzzle's last readout, as if given); "halt" is Discrete(2), halt or
    refine; "joint" is MultiDiscrete([2, 3, 2]) over halt, guidance scale and depth; "continuous" is Box(-1, 1), scaled
    to a guidance scale in [0, 1.5], of which one below 0.05 halts. A sequence of names builds a table: "halt",
    "refine", "deep" (twice the latent updates), "refine_w0.75" (any scale), "restart_view".
    `env.unwrapped.action_masks()` says what makes sense.

    ## Observation space
    Box float32: the entries of `latent_rl.envs.FEATURES`. "search" adds what there is to see of guesses, "latent"
    pooled states, "verifier" the share of satisfied constraints and whether all are; a sequence of entries or their
    names is an observation, too. Nothing in it depends on the label.

    ## Rewards
    gamma * Phi(after) - Phi(before) - cost_per_pass * passes, where Phi rates the answer that would be submitted
    now (its token accuracy by default), plus `solve_bonus` at the end if the submission solves the puzzle.

    ## Starting state
    The puzzle in its own view, an untouched carry, no answer: all features but `given_share` are 0.

    ## Episode end
    Terminated by a halt and at the horizon, which is part of the observation; never truncated. Then
    `info["is_success"]` (and `"solved"`) says whether the submission solves the puzzle; before it is False.

    ## Arguments
    Those of `latent_rl.envs.Core`, which are the fields of `latent_rl.envs.EnvConfig` (task, reasoner, actions, reward,
    observation, submit, horizon, cost_per_pass, solve_bonus, gamma, split) and puzzles. `max_episode_steps` is another
    name for the horizon. `reset(options={"puzzle": "1..............."})` begins with a puzzle of your own.
    `render_mode` "ansi" gives the board as text, "rgb_array" as a picture, and "human" plays in the terminal; see
    `latent_rl.envs.rendering.screen`.

    ## Version history
    * v0: first version.
    """

    metadata = METADATA

    def __init__(
        self,
        task: str | Path | Task | EnvConfig = EnvConfig.task,
        reasoner: str | Path | Reasoner | None = EnvConfig.reasoner,
        *,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        **core: Any,
    ) -> None:
        self.render_mode = render_mode
        core = with_time_limit(core, max_episode_steps)
        self._given_horizon: int | None = core.get("horizon")
        self.core = Core(task, reasoner, **core)
        self.observation_space = observation_space(self.core)
        self.action_space = self.core.mode.space
        self._streams = Streams(self.core, 1)
        self._screen = Screen(self._streams, render_mode)
        self._ended = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin the next puzzle; with a seed, the first puzzle of that seed's stream.

        Args:
            seed: a whole number from 0 on.
            options: `puzzle`, a puzzle to begin with: a line of text, or its tokens.
        """
        seed = None if seed is None else checked_seed(seed)
        super().reset(seed=seed)
        options = options or {}
        check_options(options, ["puzzle"])
        puzzles = own_puzzles(self.core.task, options["puzzle"], 1) if "puzzle" in options else None
        self._obey_time_limit()
        if seed is None and self._streams.state is None:
            seed = int(self.np_random.integers(2**31))
        observation = self._streams.reset([seed], puzzles=puzzles)
        self._ended = False
        self._screen.show()
        return observation[0], {}

    def _obey_time_limit(self) -> None:
        """Make the limit of `gym.make(..., max_episode_steps=...)` the horizon."""
        limit = take_over_time_limit(self)
        if limit is None:
            return
        horizon: int = with_time_limit({"horizon": self._given_horizon}, limit)["horizon"]
        if horizon != self.core.horizon:
            self.core = self.core.lasting(horizon)
            self._streams.core = self.core

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take one action; see the class."""
        if self._ended:
            raise InvalidValueError("the episode has ended, or none has begun; call reset() first.")
        array = as_array(action)
        if array.shape != self.action_space.shape:
            raise InvalidValueError(
                f"an action must have the shape {self.action_space.shape} of the space {self.action_space};"
                f" got shape {array.shape}."
            )
        result = self._streams.step(array[None], autoreset=False)
        self._ended = bool(result.terminated[0])
        self._screen.show(array[None], result.terminated)
        info = {name: values[0] if values.ndim > 1 else values[0].item() for name, values in result.info.items()}
        return result.observation[0], float(result.reward[0]), self._ended, False, info

    def action_masks(self) -> np.ndarray:
        """Int8 [A], 1 for the actions that make sense now: for sb3-contrib, and of a table for `space.sample`."""
        return self._streams.mask()[0].astype(np.int8)

    def render(self) -> str | np.ndarray | None:
        """The board as it is now: text in mode "ansi", uint8 [H, W, 3] in mode "rgb_array", None in mode "human".

        Raises:
            InvalidValueError: no episode has begun.
        """
        frames = self._screen.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """End the episode. There is nothing to release, so a reset may begin the next: SB3's `check_env` does so."""
        self._ended = True
