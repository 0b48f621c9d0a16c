"""What a reasoner is trained for: the target of every step, and the loss of a step."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError
from latent_rl.tasks.base import Task
from latent_rl.training.answers import Enumerates, Searches, has_several, nearest
from latent_rl.training.config import TrainConfig
from latent_rl.training.losses import step_loss
from latent_rl.training.targets import TARGETS, linear_rates
from latent_rl.types import Puzzles, ReasonerOutput


@dataclass(frozen=True, kw_only=True)
class Supervised:
    """One supervised step, whose loss the trainer follows by one optimizer step.

    Attributes:
        puzzles: as the reasoner saw them in this step, with their answers y*.
        output: of the step.
        targets: int64 [B, L], the step's target y_s.
        weight: float32, the step's weight w_s: a scalar, or [B] if rows differ in age.
        finished: int64 [F], the number of steps that each puzzle has had that leaves the batch after this one.
        previous: int64 [B, L], the target of the step before; see `step_loss`.
        continue_target: float32 [B], the value of another step; None if it is not trained.
    """

    puzzles: Puzzles
    output: ReasonerOutput
    targets: Tensor
    weight: Tensor
    finished: Tensor
    previous: Tensor | None = None
    continue_target: Tensor | None = None


class Objective(Protocol):
    """What a reasoner is trained for."""

    def path(self, puzzles: Puzzles, num_steps: int, generator: torch.Generator) -> Tensor:
        """The step targets y_1..y_S of fresh puzzles: int64 [B, S, L]."""

    def answers(self, puzzles: Puzzles, output: ReasonerOutput) -> Tensor:
        """The answers that are right now: int64 [B, L]."""

    def loss(self, step: Supervised) -> Tensor:
        """What the weights are to lower: a scalar."""


@dataclass(frozen=True)
class LabelObjective:
    """Learn the answers: targets lead to the label in the config's way, the loss is their cross-entropy. Where answers
    are "nearest", each step's target is a right answer that its readout makes most likely; see `nearest`.

    Attributes:
        config: how to train.
        task: whose puzzles they are.

    Raises:
        InvalidValueError: answers are "nearest", and the task has only one for a puzzle, or can't find them.
    """

    config: TrainConfig
    task: Task

    def __post_init__(self) -> None:
        if self.config.answers == "nearest" and not has_several(self.task):
            raise InvalidValueError(
                'TrainConfig.answers "nearest" needs a task whose puzzles have several and that finds them, by a method'
                f" answers or likely_answers; {self.task.name} is none. Leave it out."
            )

    def path(self, puzzles: Puzzles, num_steps: int, generator: torch.Generator) -> Tensor:
        """See `Objective.path`; the last target is the label."""
        rates = linear_rates(num_steps, self.config.corruption)
        return TARGETS[self.config.targets](self.task, puzzles, rates, generator).transpose(0, 1)

    def answers(self, puzzles: Puzzles, output: ReasonerOutput) -> Tensor:
        """See `Objective.answers`."""
        if self.config.answers == "nearest" and isinstance(self.task, Enumerates | Searches):
            return nearest(self.task, puzzles.inputs, puzzles.labels, output.conditional_logits)
        return puzzles.labels

    def loss(self, step: Supervised) -> Tensor:
        """In nats; see `step_loss`."""
        answers = self.answers(step.puzzles, step.output)
        return step_loss(
            step.output,
            step.targets if answers is step.puzzles.labels else answers,
            answers,
            step.weight,
            self.config.halt_weight,
            previous=step.previous,
            dual_weight=self.config.dual_weight,
            continue_target=step.continue_target,
        )
