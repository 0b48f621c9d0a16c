"""What every way of filling batches shares: the examples drawn, and the steps handed to the trainer."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError
from latent_rl.randomness import derive
from latent_rl.reasoners.base import Reasoner
from latent_rl.tasks.base import Task, sample
from latent_rl.training.config import TrainConfig
from latent_rl.training.known import KnownAnswers, read_answers
from latent_rl.training.objectives import Objective, Supervised
from latent_rl.training.trajectories import read_trajectories
from latent_rl.types import Batched, Carry, Puzzles, PuzzleSource


class Batching(Protocol):
    """A way of filling batches. A batch is N_sup optimizer steps, whoever is in it."""

    def steps(self, batch: int) -> Iterator[Supervised]:
        """Yield the N_sup supervised steps of batch number `batch`; the trainer updates the weights after each.

        They depend on the number, counted from 0, on `tensors`, and on the weights.
        """

    def tensors(self) -> dict[str, Tensor]:
        """What is carried from batch to batch: part of a training's saved state."""

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put the tensors back; the inverse of `tensors`."""


@dataclass(frozen=True)
class Examples(Batched):
    """Puzzles before their first step.

    Attributes:
        puzzles: inputs and labels.
        path: int64 [B, S, L], the step targets.
        carry: the state that the reasoner begins in.
        keys: int64 [B], what is random about each row depends on this alone.
    """

    puzzles: Puzzles
    path: Tensor
    carry: Carry
    keys: Tensor


@dataclass(frozen=True)
class ExampleSource:
    """Where examples come from.

    Attributes:
        config: how to train.
        task: whose puzzles they are.
        base: the puzzles to draw from.
        objective: what their targets are.
    """

    config: TrainConfig
    task: Task
    base: PuzzleSource
    objective: Objective

    def puzzles(self, count: int, generator: torch.Generator) -> Puzzles:
        """Draw puzzles in random views, some with a part of their answer as givens."""
        puzzles = sample(self.task, self.base, count, generator)
        share = torch.rand(count, 1, generator=generator) * 0.5
        share[torch.rand(count, generator=generator) >= self.config.reveal_fraction] = 0
        shown = reveal(self.task, puzzles, share, generator)
        return replace(puzzles, inputs=torch.where(shown, puzzles.labels, puzzles.inputs))

    def examples(self, reasoner: Reasoner, count: int, generator: torch.Generator) -> Examples:
        """Draw puzzles with their targets and the state that the reasoner begins in: all that is random about them
        comes from the generator."""
        puzzles = self.puzzles(count, generator)
        path = self.objective.path(puzzles, reasoner.num_supervision_steps, generator)
        keys = derive(torch.arange(count), generator.initial_seed())
        return Examples(puzzles, path, reasoner.initial_carry(count, keys), keys)


def training_puzzles(config: TrainConfig, task: Task, num_steps: int, objective: Objective) -> PuzzleSource:
    """The base puzzles to train on, the task's own or those of the file of trajectories, with the labels that the
    config leaves them.

    Raises:
        InvalidValueError: there are fewer than `num_train`.
        PuzzleError: a file can't be read; see `read_trajectories` and `read_answers`.
    """
    if config.trajectories is None:
        base = task.puzzles("train")
    else:
        base = read_trajectories(Path(config.trajectories), task, num_steps)
    if config.num_train is not None:
        if config.num_train > len(base):
            raise InvalidValueError(
                f"num_train must be at most the number of training puzzles of {task.name}, {len(base):,}; got"
                f" {config.num_train:,}."
            )
        base = base[: config.num_train]
    if config.objective == "labels" and config.label_share == 1:
        return base
    known = KnownAnswers(base, config.label_share, config.seed, draws_unknown=not objective.needs_answers)
    if config.answers_file is not None:
        known.learn(*read_answers(Path(config.answers_file), task, base))
    return known


def random_numbers(seed: int, number: int) -> tuple[random.Random, torch.Generator]:
    """Generators of Python and of torch that depend on the seed and the number of a draw alone."""
    # Python's own generator spreads (seed, number) over 63 bits; torch's would correlate near seeds.
    seeds = random.Random(f"{seed}/{number}")
    return seeds, torch.Generator().manual_seed(seeds.getrandbits(63))


def reveal(task: Task, puzzles: Puzzles, share: Tensor, generator: torch.Generator) -> Tensor:
    """Choose cells whose answer is shown: bool [B, L], each row with its own probability `share` [B, 1].

    Only cells that are givens then: there are none in tasks whose input is no part of the answer, nor where that is not
    known.
    """
    can_be_shown = task.is_given(puzzles.labels) & (puzzles.labels != 0)
    return (torch.rand(puzzles.inputs.shape, generator=generator) < share) & can_be_shown
