"""The single environment."""

from typing import Any

import gymnasium as gym
import numpy as np

from latent_rl.envs.core import Core
from latent_rl.envs.episodes import Episodes
from latent_rl.envs.observations import OBSERVATION_BOUND
from latent_rl.envs.rendering import METADATA, Screen
from latent_rl.errors import InvalidValueError


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
    symmetric view of the puzzle; the answer is mapped back); "halt" is Discrete(2), halt or refine; "joint" is
    MultiDiscrete([2, 3, 2]) over halt, guidance scale and depth; "continuous" is Box(-1, 1), scaled to a guidance
    scale in [0, 1.5], of which one below 0.05 halts. A sequence of names builds a table: "halt", "refine", "deep"
    (twice the latent updates), "refine_w0.75" (any scale), "restart_view". `env.unwrapped.action_masks()` says
    what makes sense.

    ## Observation space
    Box float32: the features listed in `latent_rl.envs.observations.FEATURES`. "latent" adds pooled states,
    "verifier" the share of satisfied constraints and whether all are. Nothing in it depends on the label.

    ## Rewards
    gamma * Phi(after) - Phi(before) - cost_per_pass * passes, where Phi rates the answer that would be submitted
    now (its token accuracy by default), plus `solve_bonus` at the end if the submission solves the puzzle.

    ## Starting state
    The puzzle in its own view, an untouched carry, no answer: all features but `given_share` are 0.

    ## Episode end
    Terminated by a halt and at the horizon, which is part of the observation; never truncated.

    ## Arguments
    Those of `latent_rl.envs.core.Core`: task, reasoner, actions, reward, observation, submit, horizon,
    cost_per_pass, solve_bonus, gamma, split, puzzles. `render_mode` "ansi" gives the board as text, "rgb_array" as a
    picture, and "human" plays in the terminal; see `latent_rl.envs.rendering`.

    ## Version history
    * v0: first version.
    """

    metadata = METADATA

    def __init__(self, *, render_mode: str | None = None, **core: Any) -> None:
        self.render_mode = render_mode
        self.core = Core(**core)
        self.observation_space = observation_space(self.core)
        self.action_space = self.core.mode.space
        self._episodes = Episodes(self.core, 1)
        self._screen = Screen(self._episodes, render_mode)
        self._ended = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin the next puzzle; with a seed, the first puzzle of that seed's stream."""
        super().reset(seed=seed)
        first = self._episodes.state is None
        if seed is None and first:
            seed = int(self.np_random.integers(2**31))
        observation = self._episodes.reset(None if seed is None else [seed])
        self._ended = False
        self._screen.show()
        return observation[0], {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take one action; see the class."""
        if self._ended:
            raise InvalidValueError("the episode has ended, or none has begun; call reset() first.")
        actions = np.asarray(action)[None]
        result = self._episodes.step(actions, autoreset=False)
        self._ended = bool(result.terminated[0])
        self._screen.show(actions, result.terminated)
        info = {name: values[0] for name, values in result.info.items()}
        return result.observation[0], float(result.reward[0]), self._ended, False, info

    def action_masks(self) -> np.ndarray:
        """Bool [A]: the actions that make sense now; the name is sb3-contrib's."""
        return self._episodes.mask()[0]

    def render(self) -> str | np.ndarray | None:
        """The board as it is now: text in mode "ansi", uint8 [H, W, 3] in mode "rgb_array", None in mode "human".

        Raises:
            InvalidValueError: no episode has begun.
        """
        frames = self._screen.render()
        return None if frames is None else frames[0]
