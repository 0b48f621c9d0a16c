"""The environment's reward as a function of the readout: its policy gradient, exact where the mean reward is known."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import Tensor

from latent_rl.randomness import drawn_answers
from latent_rl.tasks.base import Task


@runtime_checkable
class Expects(Protocol):
    """A task that knows the means of its rewards if every cell drew its token from its own probabilities."""

    def expected_reward(self, probabilities: Tensor) -> Tensor:
        """The mean reward, float [B], of probabilities, float [B, L, V]; differentiable."""

    def log_reward(self, probabilities: Tensor) -> Tensor:
        """The log-probabilities that the rules hold, one by one, summed: float [B]; differentiable."""


MEAN_REWARDS: dict[str, Callable[[Expects, Tensor], Tensor]] = {
    "log": lambda task, probabilities: task.log_reward(probabilities),
    "linear": lambda task, probabilities: task.expected_reward(probabilities),
}
"""Rewards whose mean is known, by the name that `TrainConfig.reward` gives them."""


def policy_objective(
    task: Task, inputs: Tensor, log_probs: Tensor, keys: Tensor, *, reward: str, num_samples: int
) -> Tensor:
    """A function of the readout whose gradient is the policy gradient of the mean reward, with y_i ~ p_i independently.

    The reward of step s is r_s = Phi_s - Phi_(s-1). States are detached between steps, and Phi_(s-1) does not depend on
    the readout of step s: the gradient of r_s is that of Phi_s, and Phi_(s-1) would be a baseline.

    "linear" is E[Phi(y)] with Phi minus the number of violations. Its gradient vanishes where the readout is sure,
    right or wrong. "log" is sum_c log P(rule c holds), whose gradient sum_c grad P(c holds) / P(c holds) is the policy
    gradient in which a rule counts the more the less likely it is to hold: to be sure and wrong costs most, as it does
    with labels.

    Args:
        task: the mean itself is the objective if it `Expects`; else readouts are drawn, see `sampled_objective`.
        inputs: int64 [B, L].
        log_probs: float [B, L, V], the log-probabilities of the constrained readout.
        keys: int64 [B], the randomness of what is drawn.
        reward: a name of `MEAN_REWARDS`.
        num_samples: K, how many readouts of each puzzle are drawn.

    Returns:
        float [B].
    """
    if isinstance(task, Expects):
        return MEAN_REWARDS[reward](task, log_probs.exp())
    return sampled_objective(task, inputs, log_probs, keys, num_samples)


def sampled_objective(task: Task, inputs: Tensor, log_probs: Tensor, keys: Tensor, num_samples: int) -> Tensor:
    """REINFORCE with a group baseline: mean_k (Phi(y_k) - mean_(j != k) Phi(y_j)) log p(y_k), with K readouts y_k of
    each puzzle and Phi the satisfied share. Its gradient has the policy gradient for its mean. Arguments as in
    `policy_objective`; float [B].

    Source: Kool, van Hoof, Welling 2019, "Buy 4 REINFORCE samples, get a baseline for free!".
    """
    drawn = drawn_answers(log_probs.detach().cpu(), keys.cpu(), num_samples)
    asked = inputs.cpu().repeat_interleave(num_samples, 0)
    rewards = task.satisfied_share(asked, drawn.flatten(0, 1)).view(-1, num_samples)
    advantages = (rewards - rewards.mean(1, keepdim=True)) * (num_samples / (num_samples - 1))
    tokens = drawn.to(log_probs.device).transpose(1, 2)
    scores = log_probs.gather(2, tokens).sum(1)
    return (advantages.to(scores) * scores).mean(1)


def entropy(log_probs: Tensor) -> Tensor:
    """The mean entropy of a cell in nats, float [B] of log-probabilities [B, L, V]."""
    return -(log_probs.exp() * log_probs).sum(-1).mean(1)
