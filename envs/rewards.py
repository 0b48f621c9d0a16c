"""Potentials Phi: how good an answer is. The reward of a step is the improvement of Phi minus its cost."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from latent_rl.tasks.base import Task
from latent_rl.types import Puzzles, matches

Potential = Callable[[Task, Puzzles, Tensor, Tensor | None], Tensor]
"""(task, puzzles, answers int64 [B, L], log-probabilities of the labels [B, L] or None before any step) -> [B]."""


LOG_FLOOR = -20.0


def token_accuracy(task: Task, puzzles: Puzzles, answers: Tensor, label_log_probs: Tensor | None) -> Tensor:
    """The share of cells that equal the label or that it leaves open, in [0, 1]."""
    return matches(answers, puzzles.labels).float().mean(1)


def log_likelihood(task: Task, puzzles: Puzzles, answers: Tensor, label_log_probs: Tensor | None) -> Tensor:
    """The mean log-probability of the label's tokens, in nats; before any step that of a uniform guess.

    A wrong cell that was committed has probability 0; each cell counts as `LOG_FLOOR` at the least, one that the label
    leaves open as 0.
    """
    is_open = puzzles.labels == 0
    if label_log_probs is None:
        return -math.log(task.vocab_size) * (~task.is_given(puzzles.inputs) & ~is_open).float().mean(1)
    return label_log_probs.clamp(min=LOG_FLOOR).masked_fill(is_open, 0).mean(1)


def constraints(task: Task, puzzles: Puzzles, answers: Tensor, label_log_probs: Tensor | None) -> Tensor:
    """The share of the task's constraints that hold, in [0, 1]; needs no label."""
    return task.satisfied_share(puzzles.inputs, answers)


def sparse(task: Task, puzzles: Puzzles, answers: Tensor, label_log_probs: Tensor | None) -> Tensor:
    """Zero: only the solve bonus and the cost of passes remain."""
    return torch.zeros(len(puzzles))


POTENTIALS: dict[str, Potential] = {
    "token_accuracy": token_accuracy,
    "log_likelihood": log_likelihood,
    "constraints": constraints,
    "sparse": sparse,
}

NEED_LABELS = ("token_accuracy", "log_likelihood")
"""Potentials that are void where no label is known."""
