"""Gymnasium's name for the horizon: `max_episode_steps`, as an argument and as its wrapper `TimeLimit` has it."""

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TimeLimit

from latent_rl.errors import InvalidValueError


def with_time_limit(changes: Mapping[str, Any], max_episode_steps: int | None) -> dict[str, Any]:
    """Fields of `EnvConfig` with Gymnasium's name for the horizon: of the two the lesser, if both are given.

    Args:
        changes: the fields.
        max_episode_steps: None, or as in `gym.make` -1, for none.

    Raises:
        InvalidValueError: one is no whole number.
    """
    given = [changes.get("horizon"), max_episode_steps]
    limits = [each.item() if isinstance(each, np.generic) else each for each in given if each not in (None, -1)]
    if any(type(limit) is not int for limit in limits):
        raise InvalidValueError(f"horizon and max_episode_steps must be whole numbers; got {limits}.")
    return dict(changes) | ({"horizon": min(limits)} if limits else {})


def take_over_time_limit(env: gym.Env[Any, Any]) -> int | None:
    """The steps that wrappers allow the environment whose `reset` is running; they leave the end to it from now on.

    Such a wrapper would cut the episode off with nothing submitted. What it counts is set so that it says nothing up
    to the step at which the environment itself ends.
    """
    # `gym.make(..., max_episode_steps=...)` tells its wrapper alone: the environment's constructor and its
    # `spec.max_episode_steps` get None. The wrapper's own reset, which calls the environment's, is the one place where
    # the two meet, so it is looked for among the callers.
    limits: list[int] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        wrapper = frame.f_locals.get("self") if frame.f_code.co_name == "reset" else None
        if isinstance(wrapper, TimeLimit) and wrapper.unwrapped is env:
            wrapper._elapsed_steps = -1  # type: ignore[assignment]
            limits.append(wrapper._max_episode_steps)
        frame = frame.f_back
    return min(limits, default=None)
