"""Which answer an example learns where a puzzle has several: its label, or the one it is closest to saying."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from latent_rl.tasks.base import Task


@runtime_checkable
class Enumerates(Protocol):
    """A task that knows all answers of its puzzles."""

    def answers(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Answers int64 [K, L], and bool [B, K] which of them are right for which puzzle, int64 [B, L]."""


@runtime_checkable
class Searches(Protocol):
    """A task that finds an answer near a readout, where there are too many to know them all."""

    is_unique: bool
    """A puzzle has one answer alone, its label: there is nothing to find."""

    def likely_answers(self, inputs: Tensor, log_probs: Tensor) -> tuple[Tensor, Tensor]:
        """Of puzzles int64 [B, L] answers int64 [B, L] that the readout, float32 [B, L, V], makes likely, and bool [B]
        where there is one."""


def has_several(task: Task) -> bool:
    """Whether the task's puzzles may have several answers, among which `nearest` can choose."""
    return isinstance(task, Enumerates) or (isinstance(task, Searches) and not task.is_unique)


@torch.no_grad()
def nearest(task: Enumerates | Searches, inputs: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
    """The right answer with the highest probability under the readout, argmax_k sum_i log p_i(y_k,i); one near it, if
    the task searches. The label, where there is none.

    Imitating one label of many teaches their mean; a member of the set that moves with the prediction teaches to decide
    for one.
    """
    log_probs = logits.float().log_softmax(-1)
    if isinstance(task, Enumerates):
        candidates, is_right = task.answers(inputs.cpu())
        one_hot = F.one_hot(candidates, logits.shape[-1]).flatten(1).to(log_probs)
        likely = (log_probs.flatten(1) @ one_hot.T).masked_fill(~is_right.to(logits.device), -torch.inf)
        found, has_answer = candidates.to(logits.device)[likely.argmax(1)], is_right.any(1)
    else:
        found, has_answer = task.likely_answers(inputs.cpu(), log_probs.cpu())
    return torch.where(has_answer[:, None].to(logits.device), found.to(logits.device), labels)
