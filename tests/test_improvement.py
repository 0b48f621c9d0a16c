"""The improvement operator against the paper's propositions, restated independently."""

import pytest
import torch
from helpers import TASK, random_reasoner
from hypothesis import given, settings
from hypothesis import strategies as st

from latent_rl.improvement import (
    advantage_margin,
    guided_carry,
    guided_logits,
    kl_divergence,
    log_softmax,
    probabilities,
    product_policy,
    relative_change,
    residual,
)

BASE = TASK.puzzles("test")[:4]


@st.composite
def logit_pairs(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
    """Reference and conditional logits [3, V] in float64, labels [3], and a guidance scale."""
    vocab = draw(st.integers(2, 8))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    spread = draw(st.floats(0.1, 6.0))
    reference, conditional = torch.randn(2, 3, vocab, generator=generator, dtype=torch.float64) * spread
    labels = torch.randint(vocab, (3,), generator=generator)
    return reference, conditional, labels, draw(st.floats(-0.5, 2.0))


@given(logit_pairs())
def test_scale_zero_is_the_reference_and_one_is_ordinary_decoding(case) -> None:
    reference, conditional, _, _ = case
    assert torch.equal(guided_logits(reference, conditional, 0.0), reference)
    assert torch.equal(guided_logits(reference, conditional, 1.0), conditional)


@given(logit_pairs())
def test_guidance_adds_w_times_the_residual(case) -> None:
    reference, conditional, _, w = case
    expected = reference + w * residual(reference, conditional)
    torch.testing.assert_close(guided_logits(reference, conditional, w), expected)


@given(logit_pairs())
def test_the_policy_is_a_product_of_experts(case) -> None:
    """pi_w is proportional to pi_u^(1-w) pi_c^w."""
    reference, conditional, _, w = case
    product = reference.softmax(-1) ** (1 - w) * conditional.softmax(-1) ** w
    expected = product / product.sum(-1, keepdim=True)
    torch.testing.assert_close(product_policy(reference, conditional, w), expected)


@given(logit_pairs())
def test_the_margin_is_minus_the_slope_of_the_loss(case) -> None:
    """Prop. 4.1: with L(w) = -log pi_w(y*), dL/dw = -M_w."""
    reference, conditional, labels, w = case
    scale = torch.full((3, 1), w, dtype=torch.float64, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(guided_logits(reference, conditional, scale), labels, reduction="sum")
    (slope,) = torch.autograd.grad(loss, scale)
    torch.testing.assert_close(slope[:, 0], -advantage_margin(reference, conditional, labels, w))


@given(logit_pairs())
def test_the_loss_is_convex_in_w_with_the_variance_of_the_residual_as_curvature(case) -> None:
    """Prop. 4.1: d2L/dw2 = Var_{a ~ pi_w} dl[a], which is not negative."""
    reference, conditional, labels, w = case
    scale = torch.tensor(w, dtype=torch.float64, requires_grad=True)
    margin = advantage_margin(reference[0], conditional[0], labels[0], scale)
    (slope,) = torch.autograd.grad(-margin, scale)
    policy, dl = product_policy(reference[0], conditional[0], w), conditional[0] - reference[0]
    variance = (policy * (dl - (policy * dl).sum()) ** 2).sum()
    torch.testing.assert_close(slope, variance)
    assert slope >= 0


@given(logit_pairs())
def test_divergence_is_zero_only_for_equal_policies(case) -> None:
    reference, conditional, _, _ = case
    by_hand = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=conditional), torch.distributions.Categorical(logits=reference)
    )
    torch.testing.assert_close(kl_divergence(conditional, reference), by_hand)
    torch.testing.assert_close(kl_divergence(reference, reference + 3), torch.zeros(3, dtype=torch.float64))


@given(logit_pairs())
def test_log_probabilities_and_their_exponentials(case) -> None:
    logits = 100 * case[0]
    log_probs = log_softmax(logits)
    torch.testing.assert_close(log_probs, logits.log_softmax(-1))
    torch.testing.assert_close(probabilities(log_probs), logits.softmax(-1), atol=1e-33, rtol=1e-6)


@given(st.integers(0, 1000))
def test_relative_change_is_that_of_the_whole_state(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    before, after = torch.randn(2, 3, 5, 7, generator=generator)
    expected = (after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)
    torch.testing.assert_close(relative_change(before, after), expected)
    rounded = relative_change(before.bfloat16(), after.bfloat16())
    torch.testing.assert_close(rounded, expected, atol=0, rtol=0.01)


@settings(max_examples=10)
@given(st.floats(0, 2))
def test_guiding_the_state_guides_the_readout(w: float) -> None:
    """The readout is linear, so logits of the guided answer state are the guided logits."""
    reasoner = random_reasoner()
    before, _ = reasoner.step(BASE.inputs, reasoner.initial_carry(4), 0)
    after, output = reasoner.step(BASE.inputs, before, 1)
    carry = guided_carry(before, after, torch.full((4,), w))
    logits = torch.nn.functional.linear(carry.answer, reasoner.head)
    expected = guided_logits(output.reference_logits, output.conditional_logits, w)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(carry.latent, after.latent)


def test_a_margin_by_hand() -> None:
    """Two tokens, w=1: dl = (0, ln 3), pi_c = (1/4, 3/4); M[1] = ln 3 - 3/4 ln 3."""
    reference, conditional = torch.zeros(1, 2), torch.tensor([[0.0, 3.0]]).log1p().log()
    conditional = torch.tensor([[0.0, torch.log(torch.tensor(3.0))]])
    margins = [advantage_margin(reference, conditional, torch.tensor([y])).item() for y in (0, 1)]
    log3 = torch.log(torch.tensor(3.0)).item()
    assert margins == pytest.approx([-0.75 * log3, 0.25 * log3])
