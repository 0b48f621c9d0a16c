"""Submissions: of all the snapshots of an answer that an episode has seen, the one with the highest score counts."""

from collections.abc import Callable

from torch import Tensor

from latent_rl.tasks.base import Task
from latent_rl.types import Puzzles

Score = Callable[[Task, Puzzles, Tensor, Tensor, Tensor], Tensor]
"""Float32 [B] from (task, puzzles, answers [B, L], least confidence [B], step [B]); the later of two equals wins."""


def last(task: Task, puzzles: Puzzles, answers: Tensor, confidence: Tensor, step: Tensor) -> Tensor:
    """The last one."""
    return step.float()


def best_confidence(task: Task, puzzles: Puzzles, answers: Tensor, confidence: Tensor, step: Tensor) -> Tensor:
    """The one whose least confident cell is the surest."""
    return confidence


def verified(task: Task, puzzles: Puzzles, answers: Tensor, confidence: Tensor, step: Tensor) -> Tensor:
    """One that keeps the rules, if there is any; the surest among them."""
    return confidence + task.verify(puzzles.inputs, answers).float()


SUBMIT: dict[str, Score] = {"last": last, "best_confidence": best_confidence, "verified": verified}
