"""Batching by episodes: the same puzzles from a fresh state through N_sup supervised steps."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from latent_rl.reasoners.base import Reasoner
from latent_rl.reasoners.engine import device_of
from latent_rl.tasks.base import Task
from latent_rl.training import parallel
from latent_rl.training.batches import Supervised, draw_puzzles, random_numbers, reveal
from latent_rl.training.config import TrainConfig
from latent_rl.training.halting import continue_target
from latent_rl.training.targets import STEP_WEIGHTS
from latent_rl.types import Puzzles, PuzzleSource


@dataclass(frozen=True)
class Plan:
    """One batch: its puzzles and what happens when.

    Attributes:
        puzzles: inputs and labels.
        targets: int64 [S, B, L].
        burn_in: steps without gradient before the S supervised ones.
        midway: the step before which more givens appear; -1 for never.
        revealed: bool [B, L], the cells that are given from then on.
    """

    puzzles: Puzzles
    targets: Tensor
    burn_in: int
    midway: int
    revealed: Tensor

    def rows(self, rows: slice) -> "Plan":
        """The same with some of the puzzles."""
        puzzles = self.puzzles.map(lambda tensor: tensor[rows])
        return replace(self, puzzles=puzzles, targets=self.targets[:, rows], revealed=self.revealed[rows])

    def to(self, device: torch.device) -> "Plan":
        """The same on a device."""
        revealed = self.revealed.to(device)
        return replace(self, puzzles=self.puzzles.to(device), targets=self.targets.to(device), revealed=revealed)


def plan_batch(config: TrainConfig, task: Task, base: PuzzleSource, num_steps: int, batch: int) -> Plan:
    """Draw batch number `batch` from the base puzzles: a pure function of the config's seed and the number."""
    seeds, generator = random_numbers(config.seed, batch)
    puzzles, targets = draw_puzzles(config, task, base, num_steps, config.batch_size, generator)
    burn_in = 0
    late = batch >= config.extended_from * config.num_batches
    if late and config.extended_depth > num_steps and seeds.random() < config.extended_fraction:
        # Squared: mostly a little beyond N_sup, sometimes up to the full depth.
        burn_in = 1 + int(seeds.random() ** 2 * (config.extended_depth - num_steps))
    midway = seeds.randrange(burn_in + num_steps) if seeds.random() < config.midway_fraction else -1
    revealed = reveal(task, puzzles, torch.full((config.batch_size, 1), 0.5 * seeds.random()), generator)
    return Plan(puzzles, targets, burn_in, midway, revealed)


def supervise(reasoner: Reasoner, plan: Plan, config: TrainConfig) -> Iterator[Supervised]:
    """Run a batch's steps and yield the supervised ones, each with its carry detached from the last."""
    inputs, labels, puzzle_ids = plan.puzzles.inputs, plan.puzzles.labels, plan.puzzles.puzzle_ids
    num_steps, batch_size = len(plan.targets), len(plan.puzzles)
    weights = STEP_WEIGHTS[config.step_weights](num_steps)
    carry = reasoner.initial_carry(batch_size)
    depth = plan.burn_in + num_steps
    for index in range(depth):
        if index == plan.midway:
            inputs = torch.where(plan.revealed, labels, inputs)
        s, is_last = index - plan.burn_in, index == depth - 1
        with torch.set_grad_enabled(s >= 0):
            carry, output = reasoner.step(inputs, carry, index, puzzle_ids=puzzle_ids)
        carry = carry.map(Tensor.detach)
        if s >= 0:
            yield Supervised(
                output=output,
                targets=plan.targets[s],
                labels=labels,
                weight=weights[s],
                finished=torch.full((batch_size if is_last else 0,), depth),
                previous=plan.targets[s - 1] if s else None,
                continue_target=continue_target(reasoner, inputs, carry, index + 1, is_last, puzzle_ids)
                if config.continue_target
                else None,
            )


@dataclass(frozen=True)
class Episodes:
    """The `Batching` of the module: without state, as every batch begins afresh.

    Attributes:
        config: how to train.
        task: whose puzzles they are.
        base: the puzzles to draw from.
        reasoner: which is trained.
    """

    config: TrainConfig
    task: Task
    base: PuzzleSource
    reasoner: Reasoner

    def steps(self, batch: int) -> Iterator[Supervised]:
        """See `Batching.steps`."""
        plan = plan_batch(self.config, self.task, self.base, self.reasoner.num_supervision_steps, batch)
        plan = plan.rows(parallel.share(len(plan.puzzles))).to(device_of(self.reasoner))
        return supervise(self.reasoner, plan, self.config)

    def tensors(self) -> dict[str, Tensor]:
        """Nothing is carried from batch to batch."""
        return {}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Nothing to put back."""
