"""Batching by early replacement: a puzzle leaves when it is halted, or solved, and a fresh one takes its slot."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

from latent_rl.randomness import derive
from latent_rl.reasoners.base import Reasoner
from latent_rl.reasoners.engine import device_of
from latent_rl.training import parallel
from latent_rl.training.batches import Examples, ExampleSource, random_numbers
from latent_rl.training.config import TrainConfig
from latent_rl.training.halting import continue_target, wants_halt
from latent_rl.training.losses import NO_TARGET
from latent_rl.training.objectives import Objective, Supervised
from latent_rl.training.targets import STEP_WEIGHTS
from latent_rl.types import Batched

Bundle = TypeVar("Bundle", bound=Batched)
SOLVED_STEPS = 2
"""For how many steps in a row the answer must be right: a solved puzzle should also learn to stay so."""


@dataclass(frozen=True)
class Slots(Examples):
    """The examples of a batch, each at its own age and with the carry of that age.

    Attributes:
        age: int64 [B], supervision steps done.
        minimum: int64 [B], the age before which a puzzle does not leave.
        limit: int64 [B], the age at which it leaves in any case.
        streak: int64 [B], for how many steps up to now its answer has been right.
    """

    age: Tensor
    minimum: Tensor
    limit: Tensor
    streak: Tensor


def draw_slots(source: ExampleSource, reasoner: Reasoner, count: int, number: int) -> Slots:
    """Draw `count` fresh examples: a pure function of the config's seed and the number of the draw.

    A share `halt_exploration` of them gets a random minimum in 2..N_sup, the others 1. Where puzzles leave "solved",
    each gets a random limit in 1..`most_steps` instead of N_sup.

    Source: paper, "TRM as the baseline". The minimum is drawn once for each puzzle.
    """
    config, num_steps = source.config, reasoner.num_supervision_steps
    _, generator = random_numbers(config.seed, number)
    examples = source.examples(reasoner, count, generator)
    explores = torch.rand(count, generator=generator) < config.halt_exploration
    minimum = torch.randint(2, num_steps + 1, (count,), generator=generator)
    limit = torch.full((count,), num_steps)
    if config.leaves == "solved":
        limit = torch.randint(1, most_steps(config, num_steps, number) + 1, (count,), generator=generator)
    none = torch.zeros(count, dtype=torch.int64)
    minimum = torch.where(explores, minimum, 1)
    return Slots(**vars(examples), age=none, minimum=minimum, limit=limit, streak=none)


def most_steps(config: TrainConfig, num_steps: int, number: int) -> int:
    """The greatest limit of puzzles drawn at step `number` of a run: it grows from N_sup to `extended_depth`."""
    grown = number / max(1, config.extended_from * config.num_batches * num_steps)
    return num_steps + int(min(1.0, grown) * max(0, config.extended_depth - num_steps))


def run_step(
    config: TrainConfig, objective: Objective, reasoner: Reasoner, slots: Slots
) -> tuple[Slots, Tensor, Supervised]:
    """Run one supervised step on every slot.

    Returns:
        The slots after it, bool [B] which puzzles leave now, and what the trainer needs. A puzzle leaves at its limit;
        before, when the halting head says stop and it has reached its minimum, or when its answer was right for
        `SOLVED_STEPS` steps: see `TrainConfig.leaves`.

    Source: paper, "TRM as the baseline".
    """
    num_steps, age = reasoner.num_supervision_steps, slots.age
    inputs, puzzle_ids = slots.puzzles.inputs, slots.puzzles.puzzle_ids
    carry, output = reasoner.step(inputs, slots.carry, age, puzzle_ids=puzzle_ids)
    streak = torch.where(objective.is_right(slots.puzzles, output), slots.streak + 1, 0)
    after = replace(slots, carry=carry.map(Tensor.detach), age=age + 1, streak=streak)
    is_last = after.age >= slots.limit
    if config.leaves == "solved":
        leaves = is_last | (streak >= SOLVED_STEPS)
    else:
        wanted = wants_halt(output, has_continue_value=config.continue_target)
        leaves = is_last | (wanted & (after.age >= after.minimum))
    rows = torch.arange(len(age), device=age.device)
    # A puzzle that stays beyond N_sup steps keeps the last target and its weight.
    index = age.clamp(max=num_steps - 1)
    before = slots.path[rows, (age - 1).clamp(min=0, max=num_steps - 1)]
    return (
        after,
        leaves,
        Supervised(
            puzzles=slots.puzzles,
            output=output,
            targets=slots.path[rows, index],
            weight=STEP_WEIGHTS[config.step_weights](num_steps).to(age.device)[index],
            keys=derive(slots.keys, age),
            finished=after.age[leaves].cpu(),
            previous=before.masked_fill((age == 0)[:, None], NO_TARGET),
            continue_target=continue_target(reasoner, inputs, after.carry, after.age, is_last, puzzle_ids)
            if config.continue_target
            else None,
        ),
    )


class Replacement:
    """The `Batching` of the module; it carries the slots from batch to batch.

    Args:
        source: of the examples.
        reasoner: which is trained.
    """

    def __init__(self, source: ExampleSource, reasoner: Reasoner) -> None:
        self.source = source
        self.reasoner = reasoner
        size = source.config.batch_size
        self.slots = self._fresh(size, 0)[parallel.share(size)].map(Tensor.contiguous)

    def steps(self, batch: int) -> Iterator[Supervised]:
        """See `Batching.steps`."""
        num_steps = self.reasoner.num_supervision_steps
        for step in range(batch * num_steps, (batch + 1) * num_steps):
            after, leaves, supervised = run_step(self.source.config, self.source.objective, self.reasoner, self.slots)
            # Fresh puzzles are drawn for the whole batch, so that they do not depend on who has which slot.
            everywhere = parallel.gather(leaves)
            if everywhere.any():
                mine = torch.zeros_like(everywhere)
                mine[parallel.share(len(everywhere))] = True
                fresh = self._fresh(int(everywhere.sum()), step + 1)
                after = after.put(leaves, fresh.select(mine[everywhere]))
            # A file keeps no strides: a batch that it gives back must compute to the same last bit as this one.
            self.slots = after.map(Tensor.contiguous)
            yield supervised

    def tensors(self) -> dict[str, Tensor]:
        """The slots of all workers."""
        return {name: parallel.gather(tensor) for name, tensor in flat(self.slots).items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put the slots back."""
        # Cloned: parts of a file are not aligned as torch's own tensors are, on which the last bit may depend, too.
        share = parallel.share(self.source.config.batch_size)
        mine = {name: tensor[share].clone() for name, tensor in tensors.items()}
        self.slots = refilled(self.slots, mine).to(device_of(self.reasoner))

    def _fresh(self, count: int, number: int) -> Slots:
        return draw_slots(self.source, self.reasoner, count, number).to(device_of(self.reasoner))


def flat(bundle: Batched, prefix: str = "") -> dict[str, Tensor]:
    """Every tensor of a bundle, those of nested bundles included, under one name such as "carry/answer"."""
    found: dict[str, Tensor] = {}
    for field in fields(bundle):
        value, name = getattr(bundle, field.name), prefix + field.name
        if isinstance(value, Batched):
            found |= flat(value, f"{name}/")
        elif isinstance(value, Tensor):
            found[name] = value
    return found


def refilled(bundle: Bundle, tensors: dict[str, Tensor], prefix: str = "") -> Bundle:
    """The bundle with other tensors; the inverse of `flat`.

    Raises:
        KeyError: one is missing.
    """
    changes: dict[str, Batched | Tensor] = {}
    for field in fields(bundle):
        value, name = getattr(bundle, field.name), prefix + field.name
        if isinstance(value, Batched):
            changes[field.name] = refilled(value, tensors, f"{name}/")
        elif isinstance(value, Tensor):
            changes[field.name] = tensors[name]
    return replace(bundle, **changes)
