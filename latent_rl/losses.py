"""The loss of one supervision step."""

import torch
from torch import Tensor
from torch.nn import functional as F

from latent_rl.types import ReasonerOutput


def step_loss(output: ReasonerOutput, targets: Tensor, labels: Tensor, weight: Tensor, halt_weight: float) -> Tensor:
    """Return w_s CE(l_c, y_s) + halt_weight BCE(halt, "the whole answer is right"), a scalar in nats.

    Args:
        output: of the step.
        targets: int64 [B, L], the step's target y_s.
        labels: int64 [B, L], the answer y*.
        weight: the step's weight w_s, a scalar.
        halt_weight: 0 leaves the halting head untrained.
    """
    loss = weight * F.cross_entropy(output.conditional_logits.flatten(0, 1), targets.flatten())
    if halt_weight:
        with torch.no_grad():
            right = (output.conditional_logits.argmax(-1) == labels).all(1).float()
        loss = loss + halt_weight * F.binary_cross_entropy_with_logits(output.halt_logit, right)
    return loss
