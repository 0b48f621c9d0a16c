"""What a reasoner is trained for: the target of every step, and the loss of a step."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from latent_rl.tasks.base import Task
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

    def loss(self, step: Supervised) -> Tensor:
        """What the weights are to lower: a scalar."""


@dataclass(frozen=True)
class LabelObjective:
    """Learn the answers: targets lead to the label in the config's way, the loss is their cross-entropy.

    Attributes:
        config: how to train.
        task: whose puzzles they are.
    """

    config: TrainConfig
    task: Task

    def path(self, puzzles: Puzzles, num_steps: int, generator: torch.Generator) -> Tensor:
        """See `Objective.path`; the last target is the label."""
        rates = linear_rates(num_steps, self.config.corruption)
        return TARGETS[self.config.targets](self.task, puzzles, rates, generator).transpose(0, 1)

    def loss(self, step: Supervised) -> Tensor:
        """In nats; see `step_loss`."""
        return step_loss(
            step.output,
            step.targets,
            step.puzzles.labels,
            step.weight,
            self.config.halt_weight,
            previous=step.previous,
            dual_weight=self.config.dual_weight,
            continue_target=step.continue_target,
        )
