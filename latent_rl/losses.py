"""The loss of one supervision step."""

import torch
from torch import Tensor
from torch.nn import functional as F

from latent_rl.types import ReasonerOutput


def step_loss(
    output: ReasonerOutput,
    targets: Tensor,
    labels: Tensor,
    weight: Tensor,
    halt_weight: float,
    *,
    previous: Tensor | None = None,
    dual_weight: float = 0.0,
) -> Tensor:
    """Return w_s (CE(l_c, y_s) + dual_weight CE(l_u, y_{s-1})) + halt_weight BCE(halt, "the whole answer is right").

    Args:
        output: of the step.
        targets: int64 [B, L], the step's target y_s.
        labels: int64 [B, L], the answer y*.
        weight: the step's weight w_s, a scalar.
        halt_weight: 0 leaves the halting head untrained.
        previous: int64 [B, L], the target y_{s-1} of the step before; None at the first step, whose reference is the
            readout of a constant.
        dual_weight: 0 leaves the reference logits alone: the step before has trained them already. As states are
            detached between steps, the anchor reaches the readout only.

    Returns:
        A scalar in nats.

    Source: paper, "Deep Improvement Supervision".
    """
    loss = _cross_entropy(output.conditional_logits, targets)
    if dual_weight and previous is not None:
        loss = loss + dual_weight * _cross_entropy(output.reference_logits, previous)
    loss = weight * loss
    if halt_weight:
        with torch.no_grad():
            right = (output.conditional_logits.argmax(-1) == labels).all(1).float()
        loss = loss + halt_weight * F.binary_cross_entropy_with_logits(output.halt_logit, right)
    return loss


def _cross_entropy(logits: Tensor, tokens: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())
