"""Batching by early replacement: a puzzle leaves when the halting head lets it, and a fresh one takes its slot."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from latent_rl.reasoners.base import Reasoner
from latent_rl.reasoners.engine import device_of
from latent_rl.tasks.base import Task
from latent_rl.training import parallel
from latent_rl.training.batches import Supervised, draw_puzzles, random_numbers
from latent_rl.training.config import TrainConfig
from latent_rl.training.halting import continue_target, wants_halt
from latent_rl.training.losses import NO_TARGET
from latent_rl.training.targets import STEP_WEIGHTS
from latent_rl.types import Batched, Carry, PuzzleSource


@dataclass(frozen=True)
class Slots(Batched):
    """The puzzles of a batch, each at its own age.

    Attributes:
        inputs: int64 [B, L].
        labels: int64 [B, L].
        path: int64 [B, S, L], the step targets.
        age: int64 [B], supervision steps done.
        minimum: int64 [B], the age before which a puzzle does not leave.
        carry: the reasoner's state.
        puzzle_ids: int64 [B], as in `Puzzles`.
    """

    inputs: Tensor
    labels: Tensor
    path: Tensor
    age: Tensor
    minimum: Tensor
    carry: Carry
    puzzle_ids: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor under one flat name."""
        own = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return own | {f"carry/{name}": value for name, value in vars(self.carry).items()}

    @staticmethod
    def of(tensors: dict[str, Tensor]) -> "Slots":
        """The inverse of `tensors`."""
        carry = {name.removeprefix("carry/"): value for name, value in tensors.items() if name.startswith("carry/")}
        own = {name: value for name, value in tensors.items() if not name.startswith("carry/")}
        return Slots(**own, carry=Carry(**carry))


def draw_slots(
    config: TrainConfig, task: Task, base: PuzzleSource, reasoner: Reasoner, count: int, number: int
) -> Slots:
    """Draw `count` fresh puzzles: a pure function of the config's seed and the number of the draw.

    A share `halt_exploration` of them gets a random minimum in 2..N_sup, the others 1.

    Source: paper, "TRM as the baseline". The minimum is drawn once for each puzzle.
    """
    num_steps = reasoner.num_supervision_steps
    _, generator = random_numbers(config.seed, number)
    puzzles, targets = draw_puzzles(config, task, base, num_steps, count, generator)
    explores = torch.rand(count, generator=generator) < config.halt_exploration
    minimum = torch.randint(2, num_steps + 1, (count,), generator=generator)
    return Slots(
        inputs=puzzles.inputs,
        labels=puzzles.labels,
        path=targets.transpose(0, 1),
        age=torch.zeros(count, dtype=torch.int64),
        minimum=torch.where(explores, minimum, 1),
        carry=reasoner.initial_carry(count),
        puzzle_ids=puzzles.puzzle_ids,
    )


def run_step(config: TrainConfig, reasoner: Reasoner, slots: Slots) -> tuple[Slots, Tensor, Supervised]:
    """Run one supervised step on every slot.

    Returns:
        The slots after it, bool [B] which puzzles leave now, and what the trainer needs. A puzzle leaves after N_sup
        steps, or when the halting head says stop and it has reached its minimum.

    Source: paper, "TRM as the baseline".
    """
    num_steps, age = reasoner.num_supervision_steps, slots.age
    carry, output = reasoner.step(slots.inputs, slots.carry, age, puzzle_ids=slots.puzzle_ids)
    after = replace(slots, carry=carry.map(Tensor.detach), age=age + 1)
    is_last = after.age >= num_steps
    halts = wants_halt(output, has_continue_value=config.continue_target) & (after.age >= after.minimum)
    leaves = is_last | halts
    rows = torch.arange(len(age), device=age.device)
    before = slots.path[rows, (age - 1).clamp(min=0)]
    return (
        after,
        leaves,
        Supervised(
            output=output,
            targets=slots.path[rows, age],
            labels=slots.labels,
            weight=STEP_WEIGHTS[config.step_weights](num_steps).to(age.device)[age],
            finished=after.age[leaves].cpu(),
            previous=before.masked_fill((age == 0)[:, None], NO_TARGET),
            continue_target=continue_target(reasoner, slots.inputs, after.carry, after.age, is_last, slots.puzzle_ids)
            if config.continue_target
            else None,
        ),
    )


class Replacement:
    """The `Batching` of the module; it carries the slots from batch to batch.

    Args:
        config: how to train.
        task: whose puzzles they are.
        base: the puzzles to draw from.
        reasoner: which is trained.
    """

    def __init__(self, config: TrainConfig, task: Task, base: PuzzleSource, reasoner: Reasoner) -> None:
        self.config, self.task, self.base, self.reasoner = config, task, base, reasoner
        share = parallel.share(config.batch_size)
        self.slots = self._fresh(config.batch_size, 0).map(lambda tensor: tensor[share].contiguous())

    def steps(self, batch: int) -> Iterator[Supervised]:
        """See `Batching.steps`."""
        num_steps = self.reasoner.num_supervision_steps
        for step in range(batch * num_steps, (batch + 1) * num_steps):
            after, leaves, supervised = run_step(self.config, self.reasoner, self.slots)
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
        return {name: parallel.gather(tensor) for name, tensor in self.slots.tensors().items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put the slots back."""
        # Cloned: parts of a file are not aligned as torch's own tensors are, on which the last bit may depend, too.
        share = parallel.share(self.config.batch_size)
        self.slots = Slots.of(tensors).map(lambda tensor: tensor[share].clone()).to(device_of(self.reasoner))

    def _fresh(self, count: int, number: int) -> Slots:
        slots = draw_slots(self.config, self.task, self.base, self.reasoner, count, number)
        return slots.to(device_of(self.reasoner))
