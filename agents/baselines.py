"""Step policies that need no training: what every learned one is compared with.

To add one that halts when some score is high enough, add an entry to `HALTING`; its threshold is then chosen on
validation by `tune.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from latent_rl.envs.actions import ActionMode
from latent_rl.envs.core import Core
from latent_rl.envs.observations import make_feature
from latent_rl.envs.randomness import derive, uniform
from latent_rl.envs.state import State
from latent_rl.errors import InvalidValueError
from latent_rl.tasks.base import has_rules
from latent_rl.types import matches

Condition = Callable[[State], Tensor]
"""Which rows of a state meet it: bool [B]."""
Score = Callable[[Core, State], Tensor]
"""How ready the rows of a state are to halt: [B], higher for readier."""
_CHOICE_STREAM = 3  # of an episode's key; the dynamics draw from 0 to 2


class StepPolicy(Protocol):
    """Anything that can be evaluated."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def submit(self) -> str | None:
        """Which snapshot it submits (a key of `SUBMIT`); None leaves that to the environment."""

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
    """Halt where `halt` holds, begin anew by the action of that name where `restart` does, else refine."""

    name: str
    mode: ActionMode
    halt: Condition
    restart: Condition | None = None
    submit: str | None = None
    restart_action: str = "restart_view"

    def __post_init__(self) -> None:
        """Make sure that the actions are there.

        Raises:
            InvalidValueError: the mode lacks one.
        """
        for name in ("halt", "refine", *([] if self.restart is None else [self.restart_action])):
            action_index(self.mode, name)

    def act(self, observation: np.ndarray, state: State) -> np.ndarray:
        """Flat action indices, int64 [B]."""
        actions = torch.full((len(state),), action_index(self.mode, "refine"))
        if self.restart is not None:
            actions[self.restart(state)] = action_index(self.mode, self.restart_action)
        actions[self.halt(state)] = action_index(self.mode, "halt")
        return actions.numpy()


@dataclass(frozen=True)
class RandomPolicy:
    """Every action of the table with the same probability; an episode's own randomness draws."""

    mode: ActionMode
    seed: int = 0
    name: str = "random"
    submit: str | None = None

    def act(self, observation: np.ndarray, state: State) -> np.ndarray:
        """Random flat action indices, int64 [B]."""
        keys = derive(derive(derive(state.keys, _CHOICE_STREAM), self.seed), state.step)
        return (uniform(keys, 1)[:, 0] * len(self.mode.actions)).long().numpy()


def _feature(name: str, sign: float = 1.0) -> Score:
    feature = make_feature(name)
    return lambda core, state: torch.where(state.step > 0, sign * feature.of(core.task, state)[:, 0], -torch.inf)


@dataclass(frozen=True)
class Halting:
    """Halt once a score exceeds a threshold.

    Attributes:
        score: of the state.
        candidates: thresholds to choose from, in order; a single one is no choice.
    """

    score: Score
    candidates: tuple[float, ...]

    @property
    def middle(self) -> float:
        """The threshold to take without validation puzzles to choose on."""
        return self.candidates[len(self.candidates) // 2]


CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
HALTING: dict[str, Halting] = {
    # The least confident cell's top probability.
    "threshold": Halting(_feature("least_confidence"), CONFIDENCES),
    # The mean entropy of the blank cells, in units of log V.
    "entropy": Halting(_feature("mean_entropy", -1.0), (-0.1, -0.05, -0.02, -0.01, -0.005, -0.002, -0.001)),
    # No cell's answer changed in the last step.
    "unchanged": Halting(_feature("changed_share", -1.0), (-1e-6,)),
    # The relative change of the latent state in the last step.
    "drift": Halting(_feature("latent_drift", -1.0), (-0.5, -0.4, -0.3, -0.2, -0.15, -0.1, -0.07, -0.05, -0.03)),
    # The reasoner's own halting head, as trained: more likely right than wrong (ACT).
    "act": Halting(_feature("halt_probability"), (0.5,)),
    # The rules of the task, applied to what would be submitted.
    "verifier": Halting(lambda core, state: core.task.verify(state.puzzles.inputs, state.submission).float(), (0.5,)),
    # The label, which no agent can see: a bound, not a competitor.
    "oracle": Halting(lambda core, state: matches(state.submission, state.puzzles.labels).all(1).float(), (0.5,)),
}


def aged(age: int) -> Condition:
    """At least `age` steps since the carry was fresh."""
    return lambda state: state.age >= age


def fixed_steps(mode: ActionMode, num_steps: int) -> Baseline:
    """Plain decoding: the same number of supervision steps for every puzzle, and the answer of the last one."""
    return Baseline(f"fixed-{num_steps}", mode, lambda state: state.step >= num_steps, submit="last")


def best_of_steps(mode: ActionMode, num_steps: int) -> Baseline:
    """The same number of supervision steps for every puzzle, and the snapshot that the environment submits."""
    return Baseline(f"best-of-{num_steps}", mode, lambda state: state.step >= num_steps)


def halting(core: Core, name: str, threshold: float | None = None) -> Baseline:
    """Halt once the score of that name in `HALTING` exceeds the threshold; default: its only candidate.

    Raises:
        InvalidValueError: it is the verifier, and no rules are known.
    """
    if name == "verifier" and not has_rules(core.task):
        raise InvalidValueError(
            f"a policy that verifies needs the rules of the task, and those of {core.task.name} are not known: only its"
            " labels could answer. Choose another policy, such as rule or threshold."
        )
    rule = HALTING[name]
    if threshold is None:
        (threshold,) = rule.candidates
    return Baseline(name, core.mode, lambda state: rule.score(core, state) > threshold)


def two_threshold_rule(core: Core, confidence: float, age: int) -> Baseline:
    """Halt when the least confident cell is sure enough; begin anew in a random view at a given age."""
    return Baseline("rule", core.mode, halting(core, "threshold", confidence).halt, aged(age))


def verifying_rule(core: Core, age: int) -> Baseline:
    """Halt when the rules of the task hold; begin anew in a random view at a given age, from the horizon on never."""
    restart = aged(age) if age < core.horizon else None
    return Baseline("verifier-rule", core.mode, halting(core, "verifier").halt, restart, submit="verified")


def committing_rule(core: Core, confidence: float, age: int) -> Baseline:
    """Halt when the least confident cell is sure enough; commit what is sure, or the surest cell, at a given age."""
    halt = halting(core, "threshold", confidence).halt
    return Baseline("commit-rule", core.mode, halt, aged(age), restart_action="commit_forced")


def restarting_oracle(core: Core, age: int) -> Baseline:
    """The oracle that also begins anew at a given age."""
    return Baseline("oracle", core.mode, halting(core, "oracle").halt, aged(age))
