"""One latent step as policy improvement: pure functions of reference and conditional logits.

The reference logits l_u are read out before a supervision step, the conditional logits l_c after it. Everything
works on the last axis (V tokens, or A actions) and broadcasts over the others. Source: paper, section "Latent
reasoning as guidance and as policy improvement".
"""

from dataclasses import replace

import torch
from torch import Tensor

from latent_rl.types import Carry


def residual(reference_logits: Tensor, conditional_logits: Tensor) -> Tensor:
    """Return dl = l_c - l_u, a log-likelihood ratio up to a constant: [..., V]."""
    return conditional_logits - reference_logits


def guided_logits(reference_logits: Tensor, conditional_logits: Tensor, guidance_scale: Tensor | float) -> Tensor:
    """Return l_w = (1 - w) l_u + w l_c: w=0 is the reference, w=1 ordinary decoding.

    Args:
        reference_logits: [..., V].
        conditional_logits: [..., V].
        guidance_scale: w, a number or a tensor that broadcasts against the logits.
    """
    # lerp is exact at both ends, which l_u + w * (l_c - l_u) is not.
    weight = torch.as_tensor(guidance_scale, dtype=conditional_logits.dtype)
    return torch.lerp(reference_logits, conditional_logits, weight)


def product_policy(reference_logits: Tensor, conditional_logits: Tensor, guidance_scale: Tensor | float) -> Tensor:
    """Return pi_w = softmax(l_w), which is proportional to pi_u^(1-w) pi_c^w: [..., V]."""
    return guided_logits(reference_logits, conditional_logits, guidance_scale).softmax(-1)


def advantage_margin(
    reference_logits: Tensor,
    conditional_logits: Tensor,
    labels: Tensor,
    guidance_scale: Tensor | float = 1.0,
) -> Tensor:
    """Return M_w = dl[y*] - E_{a ~ pi_w} dl[a], the gain of the right token over the average one.

    With L(w) = -log pi_w(y*): dL/dw = -M_w, so a step helps exactly where M_w > 0 (Prop. 4.1).

    Args:
        reference_logits: [..., V].
        conditional_logits: [..., V].
        labels: int64 [...], the right tokens; so this is for metrics and training, never for observations.
        guidance_scale: w.

    Returns:
        [...], in nats per unit of w.
    """
    dl = residual(reference_logits, conditional_logits)
    policy = product_policy(reference_logits, conditional_logits, guidance_scale)
    return dl.gather(-1, labels[..., None]).squeeze(-1) - (policy * dl).sum(-1)


def log_softmax(logits: Tensor) -> Tensor:
    """Return log softmax over the last axis, laid out with that axis first: over a dozen tokens in the last place, a
    CPU takes ten times as long.
    """
    return logits.movedim(-1, 0).contiguous().log_softmax(0).movedim(0, -1)


def probabilities(log_probs: Tensor) -> Tensor:
    """Return exp(log_probs), 0 up to 1e-34: where the exact value underflows, a CPU's exp is ten times as slow."""
    return log_probs.clamp(min=-78.0).exp()


def kl_divergence(logits: Tensor, reference_logits: Tensor) -> Tensor:
    """Return KL(softmax(logits) || softmax(reference_logits)) over the last axis, in nats: [...]."""
    log_p, log_q = log_softmax(logits), log_softmax(reference_logits)
    return (probabilities(log_p) * (log_p - log_q)).sum(-1)


def guided_carry(before: Carry, after: Carry, guidance_scale: Tensor) -> Carry:
    """Let guidance act on the state: answer <- answer_before + w (answer_after - answer_before).

    With a linear readout the logits of this answer are exactly `guided_logits`; the latent is the step's own.

    Args:
        before: the carry before the step.
        after: the carry after it.
        guidance_scale: w, float [B].
    """
    weight = guidance_scale.to(after.answer)[:, None, None]
    return replace(after, answer=torch.lerp(before.answer, after.answer, weight))


def relative_change(before: Tensor, after: Tensor) -> Tensor:
    """||after - before|| / ||before|| of every row, float32 [B] on the CPU, from states [B, L, D] wherever they are.

    The cells' norms are rounded to the states' dtype, which makes them several times cheaper.
    """
    change = _norms(after - before)
    return (change / _norms(before).clamp(min=1e-6)).cpu()


def _norms(states: Tensor) -> Tensor:
    return torch.linalg.vector_norm(torch.linalg.vector_norm(states, dim=-1).float(), dim=1)
