"""Step targets y_1..y_S: what the answer should be after each supervision step."""

from collections.abc import Callable

import torch
from torch import Tensor

TargetGenerator = Callable[[Tensor, Tensor, int, torch.Generator], Tensor]
"""(inputs [B, L], labels [B, L], S, generator) -> step targets int64 [S, B, L]; the last is the labels."""


def final_targets(inputs: Tensor, labels: Tensor, num_steps: int, generator: torch.Generator) -> Tensor:
    """Deep supervision: the final answer at every step. [S, B, L]."""
    return labels.expand(num_steps, -1, -1)


def reveal_targets(inputs: Tensor, labels: Tensor, num_steps: int, generator: torch.Generator) -> Tensor:
    """Discrete corruption between input and answer, as in DIS.

    Among the n cells where x and y* differ, in a random order drawn per row, step s (from 1) shows
    floor(s / S * n) of them. Source: paper, "Deep Improvement Supervision", source (3).

    Returns:
        int64 [S, B, L]; each step is at least as close to y* (Hamming) as the one before.
    """
    differs = inputs != labels
    order = torch.rand(inputs.shape, generator=generator).masked_fill(~differs, 2.0)
    rank = order.argsort(1).argsort(1)
    shown = torch.arange(1, num_steps + 1)[:, None] * differs.sum(1) // num_steps
    return torch.where(differs & (rank >= shown[:, :, None]), inputs, labels)


TARGETS: dict[str, TargetGenerator] = {"final": final_targets, "dis": reveal_targets}


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
