"""The loss of one supervision step."""

import torch
from torch import Tensor
from torch.nn import functional as F

from latent_rl.reasoners.symbols import IMPOSSIBLE
from latent_rl.types import ReasonerOutput, matches

NO_TARGET = -100
"""The token that cross-entropy skips."""


def step_loss(
    output: ReasonerOutput,
    targets: Tensor,
    labels: Tensor,
    weight: Tensor,
    halt_weight: float,
    *,
    previous: Tensor | None = None,
    dual_weight: float = 0.0,
    continue_target: Tensor | None = None,
) -> Tensor:
    """Return w_s (CE(l_c, y_s) + dual_weight CE(l_u, y_{s-1})) + halt_weight BCE(halt, "the whole answer is right").

    With a continue target, halt_weight BCE(continue, continue_target) is added.

    Args:
        output: of the step.
        targets: int64 [B, L], the step's target y_s. A cell is not trained where the network knows its target to be
            impossible, as a symbol network may of the wrong symbols of a path.
        labels: int64 [B, L], the answer y*; cells that it leaves open (0) are not trained.
        weight: the step's weight w_s, a scalar; or one for each row, [B].
        halt_weight: 0 leaves the halting head untrained.
        previous: int64 [B, L], the target y_{s-1} of the step before; None at the first step, whose reference is the
            readout of a constant, and `NO_TARGET` in rows at their first step.
        dual_weight: 0 leaves the reference logits alone: the step before has trained them already. As states are
            detached between steps, the anchor reaches the readout only.
        continue_target: float32 [B] in [0, 1], the value of another step; None leaves the continue logit untrained.

    Returns:
        A scalar in nats.

    Source: paper, "Deep Improvement Supervision" and "TRM as the baseline".
    """
    by_row, is_open = weight.ndim > 0, labels == 0
    targets = targets.masked_fill(is_open, NO_TARGET)
    loss = _cross_entropy(output.conditional_logits, targets, by_row)
    if dual_weight and previous is not None:
        loss = loss + dual_weight * _cross_entropy(
            output.reference_logits, previous.masked_fill(is_open, NO_TARGET), by_row
        )
    loss = (weight * loss).mean()
    if halt_weight:
        with torch.no_grad():
            right = matches(output.conditional_logits.argmax(-1), labels).all(1).float()
        loss = loss + halt_weight * F.binary_cross_entropy_with_logits(output.halt_logit, right)
        if continue_target is not None and output.continue_logit is not None:
            loss = loss + halt_weight * F.binary_cross_entropy_with_logits(output.continue_logit, continue_target)
    return loss


def _cross_entropy(logits: Tensor, tokens: Tensor, by_row: bool) -> Tensor:
    """The mean over all cells with a token, a scalar; or over each row's, [B], 0 where it has none."""
    can_be_said = logits.detach().gather(2, tokens.clamp(min=0)[:, :, None]).squeeze(2) > IMPOSSIBLE
    tokens = tokens.masked_fill(~can_be_said, NO_TARGET)
    reduction = "none" if by_row else "mean"
    loss = F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), ignore_index=NO_TARGET, reduction=reduction)
    return loss.view(tokens.shape).sum(1) / (tokens != NO_TARGET).sum(1).clamp(min=1) if by_row else loss
