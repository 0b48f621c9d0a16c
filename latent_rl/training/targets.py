"""Step targets y_1..y_S: what the answer should be after each supervision step.

Each strategy says what an unfinished answer looks like; one schedule beta_1 > ... > beta_S = 0, shared by all, says how
unfinished it is at step s.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError
from latent_rl.tasks.base import Task
from latent_rl.training.trajectories import RecordedPuzzles
from latent_rl.types import Puzzles

TargetGenerator = Callable[[Task, Puzzles, Tensor, torch.Generator], Tensor]
"""(task, puzzles, rates float64 [S], generator) -> step targets int64 [S, B, L]; the last is the labels."""


def linear_rates(num_steps: int, first: float | None = None) -> Tensor:
    """Return the schedule beta_s, which falls linearly from `first` to 0: float64 [S].

    Args:
        num_steps: S.
        first: beta_1 in (0, 1]; None for 1 - 1/S, with which beta_s = 1 - s/S: equal steps from input to answer.

    Source: paper, "Deep Improvement Supervision", source (3).
    """
    left = torch.arange(num_steps - 1, -1, -1, dtype=torch.float64)
    return left / num_steps if first is None else first * left / max(num_steps - 1, 1)


def final_targets(task: Task, puzzles: Puzzles, rates: Tensor, generator: torch.Generator) -> Tensor:
    """Deep supervision: the final answer at every step. [S, B, L]."""
    return puzzles.labels.expand(len(rates), -1, -1)


def reveal_targets(task: Task, puzzles: Puzzles, rates: Tensor, generator: torch.Generator) -> Tensor:
    """Discrete corruption between input and answer, as in DIS: cells appear in a random order.

    Among the n cells where x and y* differ, step s hides ceil(beta_s n), so that by default floor(s/S n) of them show.

    Returns:
        int64 [S, B, L]; each step is at least as close to y* (Hamming) as the one before.

    Source: paper, "Deep Improvement Supervision", source (3), as its public code has it.
    """
    return _reveal_in_order(puzzles, torch.rand(puzzles.inputs.shape, generator=generator), rates)


def edit_targets(task: Task, puzzles: Puzzles, rates: Tensor, generator: torch.Generator) -> Tensor:
    """Programmable edits: as `reveal_targets`, but cells appear in the order in which the task's solver decides them.

    Source: paper, "Deep Improvement Supervision", source (1).
    """
    draws = torch.rand(puzzles.inputs.shape, generator=generator, dtype=torch.float64)
    return _reveal_in_order(puzzles, task.edit_order(puzzles.inputs, puzzles.labels, draws).double(), rates)


def _reveal_in_order(puzzles: Puzzles, order: Tensor, rates: Tensor) -> Tensor:
    """Show the cells where input and answer differ by rising `order`, float [B, L]: [S, B, L]."""
    differs = puzzles.inputs != puzzles.labels
    rank = order.masked_fill(~differs, torch.inf).argsort(1).argsort(1)
    count = differs.sum(1)
    # Rounded first: beta_s n may be a whole number but for the last bit.
    hidden = (rates[:, None] * count).round(decimals=6).ceil()
    return torch.where(differs & (rank >= (count - hidden)[:, :, None]), puzzles.inputs, puzzles.labels)


def mask_targets(task: Task, puzzles: Puzzles, rates: Tensor, generator: torch.Generator) -> Tensor:
    """Discrete corruption by masks: each cell shows what the puzzle shows there with probability beta_s.

    A cell stays masked until some step and is right from then on, so that the path is monotone.

    Returns:
        int64 [S, B, L].

    Source: paper, "Deep Improvement Supervision", source (3).
    """
    return torch.where(_corrupted(puzzles, rates, generator), puzzles.inputs, puzzles.labels)


def replace_targets(task: Task, puzzles: Puzzles, rates: Tensor, generator: torch.Generator) -> Tensor:
    """Discrete corruption by replacement: each cell shows a random wrong token with probability beta_s.

    Wrong tokens are those that `task.constrain` allows, without the right one; so givens are never replaced. A cell
    keeps its wrong token until some step and is right from then on, so that the path is monotone.

    Returns:
        int64 [S, B, L].

    Source: paper, "Deep Improvement Supervision", source (3).
    """
    corrupted = _corrupted(puzzles, rates, generator)
    zeros = torch.zeros(*puzzles.labels.shape, task.vocab_size)
    wrong = (task.constrain(puzzles.inputs, zeros) == 0).scatter(2, puzzles.labels[:, :, None], False)
    draws = torch.rand(wrong.shape, generator=generator)
    replacement = draws.masked_fill(~wrong, -1).argmax(2)
    return torch.where(corrupted & wrong.any(2), replacement, puzzles.labels)


def _corrupted(puzzles: Puzzles, rates: Tensor, generator: torch.Generator) -> Tensor:
    """Bool [S, B, L], true with probability beta_s, and never again once false."""
    return torch.rand(puzzles.labels.shape, generator=generator) < rates[:, None, None]


def recorded_targets(task: Task, puzzles: Puzzles, rates: Tensor, generator: torch.Generator) -> Tensor:
    """Recorded trajectories, except for cells whose answer the trainer has revealed: these are as given.

    Returns:
        int64 [S, B, L]; not always monotone, see `monotonicity`.

    Raises:
        InvalidValueError: the puzzles have no recorded path of S steps.

    Source: paper, "Deep Improvement Supervision", source (2).
    """
    if not isinstance(puzzles, RecordedPuzzles) or puzzles.path.shape[1] != len(rates):
        raise InvalidValueError(f"the puzzles must have a recorded path of {len(rates)} steps; see read_trajectories.")
    return torch.where(task.is_given(puzzles.inputs), puzzles.inputs, puzzles.path.transpose(0, 1))


TARGETS: dict[str, TargetGenerator] = {
    "final": final_targets,
    "dis": reveal_targets,
    "mask": mask_targets,
    "replace": replace_targets,
    "edits": edit_targets,
    "trajectories": recorded_targets,
}


@dataclass(frozen=True)
class Monotonicity:
    """How directly paths lead to the answer.

    Attributes:
        distance: int64 [S, B], cells of y_s that differ from y*.
        backward: int64 [B], by how many cells the path moves away from y*, summed over its steps; 0 if monotone.
    """

    distance: Tensor
    backward: Tensor

    def summary(self) -> dict[str, float]:
        """The number of paths, the share of monotone ones, and the mean of `backward`."""
        return {
            "num_paths": len(self.backward),
            "monotone_share": (self.backward == 0).float().mean().item(),
            "mean_backward": self.backward.float().mean().item(),
        }


def monotonicity(targets: Tensor, labels: Tensor) -> Monotonicity:
    """Measure how far step targets are from monotone.

    Args:
        targets: int64 [S, B, L].
        labels: int64 [B, L].
    """
    distance = (targets != labels).sum(2)
    return Monotonicity(distance, distance.diff(dim=0).clamp(min=0).sum(0))


def linear_step_weights(num_steps: int) -> Tensor:
    """Weights that rise linearly with the step and average 1: float32 [S]."""
    rising = torch.arange(1, num_steps + 1, dtype=torch.float32)
    return rising / rising.mean()


def uniform_step_weights(num_steps: int) -> Tensor:
    """The same weight 1 at every step: float32 [S]."""
    return torch.ones(num_steps)


STEP_WEIGHTS: dict[str, Callable[[int], Tensor]] = {
    "linear": linear_step_weights,
    "uniform": uniform_step_weights,
}
