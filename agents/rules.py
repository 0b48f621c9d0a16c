"""Step policies that are written by hand: conditions on the state, and what is done where they hold."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latent_rl.agents.policy import action_index
from latent_rl.envs.actions import ActionMode
from latent_rl.envs.core import Core
from latent_rl.envs.observations import make_feature
from latent_rl.envs.state import State
from latent_rl.errors import InvalidValueError
from latent_rl.randomness import derive, uniform
from latent_rl.types import matches

Condition = Callable[[State], Tensor]
"""Which rows of a state meet it: bool [B]."""
Score = Callable[[Core, State], Tensor]
"""How ready the rows of a state are to halt: [B], higher for readier."""
_CHOICE_STREAM = 3  # of an episode's key


@dataclass(frozen=True)
class RulePolicy:
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


def of_feature(name: str, sign: float = 1.0) -> Score:
    """A score that is a feature of the last step, or its negative; before any step nobody is ready."""
    feature = make_feature(name)
    return lambda core, state: torch.where(state.step > 0, sign * feature.of(core.task, state)[:, 0], -torch.inf)


least_confidence: Score = of_feature("least_confidence")
"""The least confident cell's top probability."""


def is_valid(core: Core, state: State) -> Tensor:
    """A score: 1 where what would be submitted passes the task's verifier, else 0."""
    return core.task.verify(state.puzzles.inputs, state.submission).float()


def is_right(core: Core, state: State) -> Tensor:
    """A score: 1 where what would be submitted is the label, which no agent can see, else 0."""
    return matches(state.submission, state.puzzles.labels).all(1).float()


def exceeds(core: Core, score: Score, threshold: float) -> Condition:
    """The score is above the threshold.

    Raises:
        InvalidValueError: the score is the verifier's, and no rules are known.
    """
    if score is is_valid and not core.task.has_rules:
        raise InvalidValueError(
            f"a policy that verifies needs the rules of the task, and those of {core.task.name} are not known: only its"
            " labels could answer. Choose another policy, such as rule or threshold."
        )
    return lambda state: score(core, state) > threshold


def aged(age: int) -> Condition:
    """At least `age` steps since the carry was fresh."""
    return lambda state: state.age >= age


def guess_due(first: int, later: int) -> Condition:
    """At least `first` steps on the puzzle itself, or `later` steps on a guess."""
    return lambda state: state.age >= torch.where(state.guesses.count > 0, later, first)


def is_astray(state: State) -> Tensor:
    """A condition: what is guessed or committed differs from the label, which no agent can see: bool [B]."""
    shown = state.view.invert(state.inputs)
    return ((shown != state.puzzles.inputs) & ~matches(shown, state.puzzles.labels)).any(1)


def fixed_steps(mode: ActionMode, num_steps: int) -> RulePolicy:
    """Plain decoding: the same number of supervision steps for every puzzle, and the answer of the last one."""
    return RulePolicy(f"fixed-{num_steps}", mode, lambda state: state.step >= num_steps, submit="last")


def best_of_steps(mode: ActionMode, num_steps: int) -> RulePolicy:
    """The same number of supervision steps for every puzzle, and the snapshot that the environment submits."""
    return RulePolicy(f"best-of-{num_steps}", mode, lambda state: state.step >= num_steps)


def halting(core: Core, name: str, score: Score, threshold: float) -> RulePolicy:
    """Halt once the score exceeds the threshold."""
    return RulePolicy(name, core.mode, exceeds(core, score, threshold))


def two_threshold_rule(core: Core, confidence: float, age: int) -> RulePolicy:
    """Halt when the least confident cell is sure enough; begin anew in a random view at a given age."""
    return RulePolicy("rule", core.mode, exceeds(core, least_confidence, confidence), aged(age))


def committing_rule(core: Core, confidence: float, age: int) -> RulePolicy:
    """Halt when the least confident cell is sure enough; commit what is sure, or the surest cell, at a given age."""
    halt = exceeds(core, least_confidence, confidence)
    return RulePolicy("commit-rule", core.mode, halt, aged(age), restart_action="commit_forced")


def verifying_rule(core: Core, age: int) -> RulePolicy:
    """Halt when the rules of the task hold; begin anew in a random view at a given age, from the horizon on never."""
    restart = aged(age) if age < core.horizon else None
    return RulePolicy("verifier-rule", core.mode, exceeds(core, is_valid, 0.5), restart, submit="verified")


def guessing_rule(core: Core, confidence: float, first: int, later: int) -> RulePolicy:
    """Halt when the least confident cell is sure enough; guess after `first` steps, then after every `later`."""
    halt = exceeds(core, least_confidence, confidence)
    return RulePolicy("guess-rule", core.mode, halt, guess_due(first, later), restart_action="restart_guess")


def verifying_guess_rule(core: Core, first: int, later: int) -> RulePolicy:
    """Halt when the rules of the task hold; guess after `first` steps, then after every `later`."""
    return RulePolicy(
        "verifier-guess-rule",
        core.mode,
        exceeds(core, is_valid, 0.5),
        guess_due(first, later),
        submit="verified",
        restart_action="restart_guess",
    )


def guess_oracle(core: Core, first: int, later: int) -> RulePolicy:
    """Halt when the label says so; guess like the rules, and at once where the label says that the guess is wrong."""
    due = guess_due(first, later)
    return RulePolicy(
        "guess-oracle",
        core.mode,
        exceeds(core, is_right, 0.5),
        lambda state: due(state) | is_astray(state),
        submit="last",
        restart_action="restart_guess",
    )


def oracle(core: Core, age: int) -> RulePolicy:
    """Halt when the label says so; begin anew in a random view at a given age, from the horizon on never."""
    restart = aged(age) if age < core.horizon else None
    return RulePolicy("oracle", core.mode, exceeds(core, is_right, 0.5), restart)
