"""Step policies that need no training: what every learned one is compared with.

To add one, write a function that returns a `Baseline`; to have it run by the examples, name it in `experiment.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from latent_rl.envs.actions import ActionMode
from latent_rl.envs.core import State
from latent_rl.envs.observations import FEATURES
from latent_rl.errors import InvalidValueError

Condition = Callable[[State], Tensor]
"""Which rows of a state meet it: bool [B]."""


class StepPolicy(Protocol):
    """Anything that can be evaluated."""

    @property
    def name(self) -> str:
        """What reports call it."""

    def act(self, observation: np.ndarray, state: State) -> np.ndarray:
        """Actions for B episodes, from their observation float32 [B, F]; only the oracle may use the state's label."""


def action_index(mode: ActionMode, name: str) -> int:
    """The place of an action in the mode's table.

    Raises:
        InvalidValueError: the table has no such action.
    """
    for index, action in enumerate(mode.actions):
        if action.name == name:
            return index
    known = ", ".join(action.name for action in mode.actions)
    raise InvalidValueError(f"this policy needs the action '{name}'; the environment has {known}.")


@dataclass(frozen=True)
class Baseline:
    """Halt where `halt` holds, restart where `restart` does, else refine."""

    name: str
    mode: ActionMode
    halt: Condition
    restart: Condition | None = None

    def act(self, observation: np.ndarray, state: State) -> np.ndarray:
        """Flat action indices, int64 [B]."""
        actions = torch.full((len(state),), action_index(self.mode, "refine"))
        if self.restart is not None:
            actions[self.restart(state)] = action_index(self.mode, "restart_view")
        actions[self.halt(state)] = action_index(self.mode, "halt")
        return actions.numpy()


@dataclass(frozen=True)
class RandomPolicy:
    """Every action of the table with the same probability."""

    mode: ActionMode
    generator: np.random.Generator
    name: str = "random"

    def act(self, observation: np.ndarray, state: State) -> np.ndarray:
        """Random flat action indices, int64 [B]."""
        return self.generator.integers(len(self.mode.actions), size=len(state))


def confident(threshold: float) -> Condition:
    """The least confident cell's top probability is above the threshold."""
    column = FEATURES.index("least_confidence")
    return lambda state: state.features[:, column] > threshold


def aged(age: int) -> Condition:
    """At least `age` steps since the last restart."""
    return lambda state: state.age >= age


def fixed_steps(mode: ActionMode, num_steps: int) -> Baseline:
    """The same number of supervision steps for every puzzle."""
    return Baseline(f"fixed-{num_steps}", mode, lambda state: state.step >= num_steps)


def threshold(mode: ActionMode, confidence: float) -> Baseline:
    """Halt when the least confident cell is sure enough."""
    return Baseline("threshold", mode, confident(confidence))


def two_threshold_rule(mode: ActionMode, confidence: float, age: int) -> Baseline:
    """Halt when the least confident cell is sure enough; begin anew in a random view at a given age."""
    return Baseline("rule", mode, confident(confidence), aged(age))


def oracle(mode: ActionMode, age: int | None = None) -> Baseline:
    """Halt as soon as the submission equals the label, which no agent can see: a bound, not a competitor."""
    return Baseline(
        "oracle",
        mode,
        lambda state: (state.submission == state.puzzles.labels).all(1),
        None if age is None else aged(age),
    )
