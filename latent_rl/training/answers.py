"""Which answer an example learns where a puzzle has several: its label, or the one it is closest to saying."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F


@runtime_checkable
class Enumerates(Protocol):
    """A task that knows all answers of its puzzles."""

    def answers(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Answers int64 [K, L], and bool [B, K] which of them are right for which puzzle, int64 [B, L]."""


@torch.no_grad()
def nearest(task: Enumerates, inputs: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
    """The right answer with the highest probability under the readout, argmax_k sum_i log p_i(y_k,i).

    Imitating one label of many teaches their mean; a member of the set that moves with the prediction teaches to decide
    for one.
    """
    candidates, is_right = task.answers(inputs.cpu())
    log_probs = logits.float().log_softmax(-1).flatten(1)
    one_hot = F.one_hot(candidates, logits.shape[-1]).flatten(1).to(log_probs)
    likely = (log_probs @ one_hot.T).masked_fill(~is_right.to(logits.device), -torch.inf)
    found = candidates.to(logits.device)[likely.argmax(1)]
    return torch.where(is_right.any(1, keepdim=True).to(logits.device), found, labels)
