"""Batching by episodes: the same puzzles from a fresh state through N_sup supervised steps."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from latent_rl.randomness import derive
from latent_rl.reasoners.base import Reasoner
from latent_rl.reasoners.engine import device_of
from latent_rl.training import parallel
from latent_rl.training.batches import Examples, ExampleSource, random_numbers, reveal
from latent_rl.training.config import TrainConfig
from latent_rl.training.halting import continue_target
from latent_rl.training.objectives import Supervised
from latent_rl.training.targets import STEP_WEIGHTS


@dataclass(frozen=True)
class Plan(Examples):
    """One batch: its examples and what happens when.

    Attributes:
        burn_in: steps without gradient before the S supervised ones.
        midway: the step before which more givens appear; -1 for never.
        revealed: bool [B, L], the cells that are given from then on.
    """

    burn_in: int
    midway: int
    revealed: Tensor


def plan_batch(source: ExampleSource, reasoner: Reasoner, batch: int) -> Plan:
    """Draw batch number `batch`: a pure function of the config's seed and the number."""
    config, num_steps = source.config, reasoner.num_supervision_steps
    seeds, generator = random_numbers(config.seed, batch)
    examples = source.examples(reasoner, config.batch_size, generator)
    burn_in = 0
    late = batch >= config.extended_from * config.num_batches
    if late and config.extended_depth > num_steps and seeds.random() < config.extended_fraction:
        # Squared: mostly a little beyond N_sup, sometimes up to the full depth.
        burn_in = 1 + int(seeds.random() ** 2 * (config.extended_depth - num_steps))
    midway = seeds.randrange(burn_in + num_steps) if seeds.random() < config.midway_fraction else -1
    share = torch.full((config.batch_size, 1), 0.5 * seeds.random())
    revealed = reveal(source.task, examples.puzzles, share, generator)
    return Plan(**vars(examples), burn_in=burn_in, midway=midway, revealed=revealed)


def supervise(reasoner: Reasoner, plan: Plan, config: TrainConfig) -> Iterator[Supervised]:
    """Run a batch's steps and yield the supervised ones, each with its carry detached from the last."""
    puzzles, carry = plan.puzzles, plan.carry
    batch_size, num_steps, _ = plan.path.shape
    weights = STEP_WEIGHTS[config.step_weights](num_steps)
    depth = plan.burn_in + num_steps
    for index in range(depth):
        if index == plan.midway:
            puzzles = replace(puzzles, inputs=torch.where(plan.revealed, puzzles.labels, puzzles.inputs))
        inputs, puzzle_ids = puzzles.inputs, puzzles.puzzle_ids
        s, is_last = index - plan.burn_in, index == depth - 1
        with torch.set_grad_enabled(s >= 0):
            carry, output = reasoner.step(inputs, carry, index, puzzle_ids=puzzle_ids)
        carry = carry.map(Tensor.detach)
        if s >= 0:
            yield Supervised(
                puzzles=puzzles,
                output=output,
                targets=plan.path[:, s],
                weight=weights[s],
                keys=derive(plan.keys, index),
                finished=torch.full((batch_size if is_last else 0,), depth),
                previous=plan.path[:, s - 1] if s else None,
                continue_target=continue_target(reasoner, inputs, carry, index + 1, is_last, puzzle_ids)
                if config.continue_target
                else None,
            )


@dataclass(frozen=True)
class EpisodeBatches:
    """The `Batching` of the module: without state, as every batch begins afresh.

    Attributes:
        source: of the examples.
        reasoner: which is trained.
    """

    source: ExampleSource
    reasoner: Reasoner

    def steps(self, batch: int) -> Iterator[Supervised]:
        """See `Batching.steps`."""
        plan = plan_batch(self.source, self.reasoner, batch)
        mine = plan[parallel.share(len(plan.puzzles))].to(device_of(self.reasoner))
        return supervise(self.reasoner, mine, self.source.config)

    def tensors(self) -> dict[str, Tensor]:
        """Nothing is carried from batch to batch."""
        return {}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Nothing to put back."""
