"""What every way of filling batches shares: the puzzles drawn, and what a supervised step hands to the trainer."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from latent_rl.tasks.base import Task, sample
from latent_rl.training.config import TrainConfig
from latent_rl.training.targets import TARGETS, linear_rates
from latent_rl.training.trajectories import read_trajectories
from latent_rl.types import Puzzles, PuzzleSource, ReasonerOutput


@dataclass(frozen=True, kw_only=True)
class Supervised:
    """One supervised step, whose loss the trainer follows by one optimizer step.

    Attributes:
        output: of the step.
        targets: int64 [B, L], the step's target y_s.
        labels: int64 [B, L], the answer y*.
        weight: float32, the step's weight w_s: a scalar, or [B] if rows differ in age.
        finished: int64 [F], the number of steps that each puzzle has had that leaves the batch after this one.
        previous: int64 [B, L], the target of the step before; see `step_loss`.
        continue_target: float32 [B], the value of another step; None if it is not trained.
    """

    output: ReasonerOutput
    targets: Tensor
    labels: Tensor
    weight: Tensor
    finished: Tensor
    previous: Tensor | None = None
    continue_target: Tensor | None = None


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


def training_puzzles(config: TrainConfig, task: Task, num_steps: int) -> PuzzleSource:
    """The base puzzles to train on: the task's own, or those of the file of trajectories.

    Raises:
        PuzzleError: the file can't be read; see `read_trajectories`.
    """
    if config.trajectories is None:
        return task.puzzles("train")
    return read_trajectories(Path(config.trajectories), task, num_steps)


def random_numbers(seed: int, number: int) -> tuple[random.Random, torch.Generator]:
    """Generators of Python and of torch that depend on the seed and the number of a draw alone."""
    # Python's own generator spreads (seed, number) over 63 bits; torch's would correlate near seeds.
    seeds = random.Random(f"{seed}/{number}")
    return seeds, torch.Generator().manual_seed(seeds.getrandbits(63))


def reveal(task: Task, puzzles: Puzzles, share: Tensor, generator: torch.Generator) -> Tensor:
    """Choose cells whose answer is shown: bool [B, L], each row with its own probability `share` [B, 1].

    Only cells that are givens then: there are none in tasks whose input is no part of the answer.
    """
    return (torch.rand(puzzles.inputs.shape, generator=generator) < share) & task.is_given(puzzles.labels)


def draw_puzzles(
    config: TrainConfig, task: Task, base: PuzzleSource, num_steps: int, count: int, generator: torch.Generator
) -> tuple[Puzzles, Tensor]:
    """Draw puzzles in random views, some with a part of their answer as givens.

    Returns:
        The puzzles, and their step targets int64 [S, B, L].
    """
    puzzles = sample(task, base, count, generator)
    share = torch.rand(count, 1, generator=generator) * 0.5
    share[torch.rand(count, generator=generator) >= config.reveal_fraction] = 0
    shown = reveal(task, puzzles, share, generator)
    puzzles = replace(puzzles, inputs=torch.where(shown, puzzles.labels, puzzles.inputs))
    rates = linear_rates(num_steps, config.corruption)
    return puzzles, TARGETS[config.targets](task, puzzles, rates, generator)
