"""One description of a task's environment, behind every door: a task's name is the same problem from each of them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np

from latent_rl.config import COUNT, NOT_NEGATIVE, Config, Range, check_fields, from_dict
from latent_rl.envs.actions import Action, make_action_mode
from latent_rl.envs.observations import Feature, make_features
from latent_rl.envs.rewards import POTENTIALS
from latent_rl.envs.submission import SUBMIT
from latent_rl.errors import InvalidValueError, UnexpectedArgumentError, lookup
from latent_rl.guess import can_guess
from latent_rl.reasoners.base import Reasoner
from latent_rl.tasks.base import Split, Task
from latent_rl.tasks.registry import make_task

_NEED_RULES = {"reward": "constraints", "submit": "verified"}
"""What asks the rules of the task, by field. Where none are known, the label would answer in their place."""


@dataclass(frozen=True, kw_only=True)
class EnvConfig:
    """A decision process: whose steps, which actions, what is seen, rewarded and submitted, and when it ends.

    Raises:
        UnknownNameError: a name is unknown.
        InvalidValueError: a value has a wrong type or is out of range, or the task lacks the rules that it needs.
    """

    task: str | Task = "sudoku9x9-hard"
    """A task, its name, or a folder of puzzles."""
    reasoner: str | Path | Reasoner | None = None
    """A reasoner, a shipped one's name or a folder; None takes the one that is shipped for the task."""
    actions: str | tuple[str | Action, ...] = "refine"
    """A mode ("halt", "refine", "search", "joint", "continuous") or a table of actions."""
    reward: str = "token_accuracy"
    """The potential Phi: "token_accuracy", "log_likelihood", "constraints" or "sparse"."""
    observation: str | tuple[str | Feature, ...] = "features"
    """What agents see: a selection ("features", "search", "latent", "verifier"), or several entries and selections."""
    submit: str = "best_confidence"
    """Which snapshot is submitted: "best_confidence", "last" or "verified"."""
    horizon: Annotated[int, COUNT] = 64
    """Supervision steps after which the episode ends."""
    cost_per_pass: Annotated[float, NOT_NEGATIVE] = 0.001
    """Price of one forward pass."""
    solve_bonus: float = 1.0
    """Paid at the end if the submission is right."""
    gamma: Annotated[float, Range(0, 1, open_low=True)] = 1.0
    """Weights Phi(after); shaping leaves the optimal policy alone if it is the agent's own discount."""
    split: Split = "train"
    """Which base puzzles episodes draw from; "train" shows each in a random view."""

    def __post_init__(self) -> None:
        """Check types, ranges and names, and that the rules that it needs are known."""
        check_fields(self)
        lookup("reward", self.reward, POTENTIALS)
        lookup("submit", self.submit, SUBMIT)
        mode = make_action_mode(self.actions)
        ruled = [field for field, value in _NEED_RULES.items() if getattr(self, field) == value]
        ruled += ["observation"] * any(feature.needs_rules for feature in make_features(self.observation))
        task = make_task(self.task)
        guessing = [action.name for action in mode.actions if action.guess]
        if guessing and not can_guess(task):
            raise InvalidValueError(
                f"the action '{guessing[0]}' writes an answer's token as if it was given, and {task.name} has none that"
                " can be. Choose other actions."
            )
        if ruled and not task.has_rules:
            field = ruled[0]
            raise InvalidValueError(
                f"{field}={getattr(self, field)!r} needs the rules of the task, and those of {task.name} are not known:"
                f" only its labels could answer. Choose another {field}."
            )

    @classmethod
    def for_task(cls, task: "str | Path | Task | EnvConfig" = task, **changes: Any) -> Self:
        """The environment of a task, but for the given fields; None leaves a field as the task has it.

        Args:
            task: a task, its name, a folder of puzzles, or a description to change.
            changes: fields.

        Raises:
            UnexpectedArgumentError: there is no such field.
        """
        known = {field.name for field in fields(cls)}
        for name in changes:
            if name not in known:
                raise UnexpectedArgumentError.of("the environment", name, known)
        changes = {name: value for name, value in changes.items() if value is not None}
        if isinstance(task, EnvConfig):
            return _from_any(cls, vars(task) | changes)
        if isinstance(task, Path):
            task = str(task)
        if not isinstance(task, str | Task):
            raise InvalidValueError(f"the task must be a task, its name, or a folder of puzzles; got {task!r}.")
        return _from_any(cls, {**make_task(task).environment, **changes, "task": task})


def _from_any(cls: type[Config], values: Mapping[str, Any]) -> Config:
    return from_dict(cls, {name: _plain(value) for name, value in values.items()})


def _plain(value: Any) -> Any:
    """Numbers without numpy's types, and several values as a tuple, whoever gives them."""
    if isinstance(value, np.generic):
        return value.item()
    return tuple(value) if isinstance(value, list) else value
