"""When training lets a puzzle go, and what the value of another step should be."""

import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError
from latent_rl.reasoners.base import Reasoner
from latent_rl.types import Carry, ReasonerOutput


def wants_halt(output: ReasonerOutput, *, has_continue_value: bool) -> Tensor:
    """Return where the halting head says stop: bool [B], q_halt > q_continue with a trained value of another step,
    q_halt > 0 without.

    Source: paper, "TRM as the baseline".
    """
    rival = output.continue_logit if has_continue_value else None
    return output.halt_logit > (0 if rival is None else rival)


@torch.no_grad()
def continue_target(
    reasoner: Reasoner,
    inputs: Tensor,
    carry: Carry,
    next_index: int | Tensor,
    is_last: bool | Tensor,
    puzzle_ids: Tensor | None = None,
) -> Tensor:
    """Return the value of another step, sigmoid(max(q_halt, q_continue)) as that step sees it: a second forward pass.

    Args:
        reasoner: with a continue head.
        inputs: int64 [B, L].
        carry: after the step whose continue logit is trained.
        next_index: of the step after that one, counted from 0; an int, or int64 [B].
        is_last: bool, or bool [B]: the step trained is the last one, so that the value of another is sigmoid(q_halt).
        puzzle_ids: as in `Reasoner.step`.

    Returns:
        float32 [B] in (0, 1), without gradient.

    Raises:
        InvalidValueError: the reasoner has no continue head.

    Source: paper, "TRM as the baseline": the Q-learning of HRM.
    """
    _, following = reasoner.step(inputs, carry, next_index, puzzle_ids=puzzle_ids)
    halt, go_on = following.halt_logit, following.continue_logit
    if go_on is None:
        raise InvalidValueError("the continue target needs a reasoner with a continue head; this one has none.")
    return torch.where(torch.as_tensor(is_last, device=halt.device), halt, torch.maximum(halt, go_on)).sigmoid()
