"""The environment's reward as a function of the readout: its policy gradient, exact where the mean reward is known."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from latent_rl.randomness import uniform
from latent_rl.tasks.base import Task


@runtime_checkable
class Expects(Protocol):
    """A task that knows the mean of its reward if every cell drew its token from its own probabilities."""

    def expected_reward(self, probabilities: Tensor) -> Tensor:
        """Float [B] of probabilities, float [B, L, V]; differentiable."""


def policy_objective(task: Task, inputs: Tensor, log_probs: Tensor, keys: Tensor, num_samples: int) -> Tensor:
    """A function of the readout whose gradient is the policy gradient of the mean reward E[Phi(y)], y_i ~ p_i.

    The reward of step s is r_s = Phi_s - Phi_(s-1). States are detached between steps, and Phi_(s-1) does not depend on
    the readout of step s: the gradient of r_s is that of Phi_s, and Phi_(s-1) would be a baseline.

    Args:
        task: the mean itself is the objective if it `Expects`; else readouts are drawn, see `sampled_objective`.
        inputs: int64 [B, L].
        log_probs: float [B, L, V], the log-probabilities of the constrained readout.
        keys: int64 [B], the randomness of what is drawn.
        num_samples: K, how many readouts of each puzzle.

    Returns:
        float [B].
    """
    if isinstance(task, Expects):
        return task.expected_reward(log_probs.exp())
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


def drawn_answers(log_probs: Tensor, keys: Tensor, count: int) -> Tensor:
    """Draw every cell's token from its own probabilities, `count` times: int64 [B, count, L] of log-probabilities
    [B, L, V], a pure function of them and the keys, int64 [B]."""
    batch_size, num_cells, _ = log_probs.shape
    levels = log_probs.double().exp().cumsum(-1)
    draws = uniform(keys, num_cells * count).view(batch_size, num_cells, count)
    return torch.searchsorted(levels, draws * levels[..., -1:], right=True).transpose(1, 2)


def entropy(log_probs: Tensor) -> Tensor:
    """The mean entropy of a cell in nats, float [B] of log-probabilities [B, L, V]."""
    return -(log_probs.exp() * log_probs).sum(-1).mean(1)
