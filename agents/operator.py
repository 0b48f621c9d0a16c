"""The custom in-network improvement operator: regress the advantage of every action, improve greedily.

pi_new is proportional to pi_ref exp(A / beta): the product policy of `latent_rl.improvement` with reference logits
log pi_ref, residual A and guidance scale w = 1 / beta.
"""

from typing import Any, Self

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from torch import Tensor, nn
from torch.nn import functional as F

from latent_rl.improvement import guided_logits, kl_divergence


def centred(advantages: Tensor, logits: Tensor) -> Tensor:
    """A - E_{a ~ softmax(logits)} A, which is what an advantage under that policy must be: [..., A]."""
    return advantages - (logits.softmax(-1) * advantages).sum(-1, keepdim=True)


def scale_for_divergence(reference_logits: Tensor, advantages: Tensor, target: float, largest: float) -> float:
    """The w at which KL(pi_new || pi_ref), averaged over the batch, is `target`, by bisection.

    The divergence grows with w, since d KL / dw = w Var_{pi_w}(A) >= 0.

    Args:
        reference_logits: [B, A].
        advantages: [B, A].
        target: in nats.
        largest: no w above it.

    Returns:
        w in [0, largest]; the upper end where even that moves the policy less.
    """

    def divergence(scale: float) -> float:
        improved = guided_logits(reference_logits, reference_logits + advantages, scale)
        return float(kl_divergence(improved, reference_logits).mean())

    low, high = 0.0, 1.0
    while divergence(high) < target and high < largest:
        low, high = high, 2 * high
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if divergence(middle) < target else (low, middle)
    return min(high, largest)


class OperatorPolicy(ActorCriticPolicy):
    """Reference logits and advantages from one trunk; acts by the improved policy pi_ref exp(w A).

    Made by `ImprovementOperator`; the arguments are those of SB3's `ActorCriticPolicy`.
    """

    guidance_scale: Tensor

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        assert isinstance(self.action_space, spaces.Discrete)
        self.advantage_net = nn.Linear(self.mlp_extractor.latent_dim_pi, int(self.action_space.n))
        nn.init.zeros_(self.advantage_net.weight)
        nn.init.zeros_(self.advantage_net.bias)
        self.register_buffer("guidance_scale", torch.zeros(()))
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def heads(self, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reference logits [B, A], advantages [B, A] (centred under no policy yet), values [B]."""
        trunk, critic = self.mlp_extractor(self.extract_features(observation))
        return self.action_net(trunk), self.advantage_net(trunk), self.value_net(critic).squeeze(-1)

    def improved_logits(self, observation: Tensor) -> Tensor:
        """log pi_ref + w A, [B, A]: what the agent acts by."""
        reference, advantages, _ = self.heads(observation)
        return guided_logits(reference, reference + advantages, self.guidance_scale)

    def _get_action_dist_from_latent(self, latent_pi: Tensor) -> Distribution:
        reference = self.action_net(latent_pi)
        improved = guided_logits(reference, reference + self.advantage_net(latent_pi), self.guidance_scale)
        return self.action_dist.proba_distribution(action_logits=improved)


class ImprovementOperator(OnPolicyAlgorithm):
    """An agent that repeats one step of policy improvement, with SB3's learn, predict, save and load.

    Each round records transitions under the improved policy pi_b, then fits by regression: the value V(s) and, for
    the action taken, V(s) + A(s, a), to the lambda-return; and distils pi_b into the reference, which the next
    improvement starts from. Then w is set so that the improvement moves the policy by `target_kl`.

    Source: design; the greedy step is the paper's guided policy, the round that of policy iteration (cf. MPO,
    Abdolmaleki et al. 2018).

    Args:
        env: a vector environment with a Discrete action space.
        learning_rate: of Adam; a number or a schedule.
        n_steps: steps of every environment per round.
        batch_size: transitions per gradient step.
        n_epochs: passes over a round's transitions.
        gamma: discount.
        gae_lambda: of the lambda-returns that are fitted.
        target_kl: divergence of one improvement from its reference, in nats, at the most.
        max_scale: the largest w, 1 / (the smallest beta). Without it, advantages that are mere noise would be scaled
            up until they move the policy by `target_kl`, round after round.
        max_grad_norm: gradients are clipped there.
        policy_kwargs: of `OperatorPolicy`, e.g. net_arch.
        tensorboard_log: folder for TensorBoard.
        verbose: as in SB3.
        seed: of networks, environments and sampling.
        device: as in SB3.
    """

    policy: OperatorPolicy

    def __init__(
        self,
        policy: type[OperatorPolicy] | str,
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        n_steps: int = 32,
        batch_size: int = 512,
        n_epochs: int = 8,
        gamma: float = 1.0,
        gae_lambda: float = 0.95,
        target_kl: float = 0.05,
        max_scale: float = 10.0,
        max_grad_norm: float = 0.5,
        policy_kwargs: dict[str, Any] | None = None,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        self.batch_size = batch_size
        self.n_epochs = n_epochs
        self.target_kl = target_kl
        self.max_scale = max_scale
        super().__init__(
            policy, env, learning_rate, n_steps, gamma, gae_lambda, ent_coef=0.0, vf_coef=1.0,
            max_grad_norm=max_grad_norm, use_sde=False, sde_sample_freq=-1, tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs, verbose=verbose, seed=seed, device=device,
            supported_action_spaces=(spaces.Discrete,), _init_setup_model=_init_setup_model,
        )  # fmt: skip

    policy_aliases = {"MlpPolicy": OperatorPolicy}  # noqa: RUF012

    def train(self) -> None:
        """Fit values, advantages and reference to the recorded round; then set the size of the next improvement."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        buffer = self.rollout_buffer
        record = next(buffer.get(buffer.buffer_size * buffer.n_envs))
        with torch.no_grad():
            behaviour = self.policy.improved_logits(record.observations)
        actions = record.actions.long()
        losses: list[list[float]] = []
        for _ in range(self.n_epochs):
            for rows in torch.randperm(len(actions)).split(self.batch_size):
                reference, advantages, values = self.policy.heads(record.observations[rows])
                fitted = centred(advantages, behaviour[rows]).gather(1, actions[rows]).squeeze(1)
                returns = record.returns[rows]
                value_loss = F.mse_loss(values, returns)
                advantage_loss = F.mse_loss(values.detach() + fitted, returns)
                distillation = kl_divergence(behaviour[rows], reference).mean()
                self.policy.optimizer.zero_grad()
                (value_loss + advantage_loss + distillation).backward()
                nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
                self.policy.optimizer.step()
                losses.append([value_loss.item(), advantage_loss.item(), distillation.item()])
        with torch.no_grad():
            reference, advantages, values = self.policy.heads(record.observations)
            scale = scale_for_divergence(reference, advantages, self.target_kl, self.max_scale)
            self.policy.guidance_scale.fill_(scale)
            improved = guided_logits(reference, reference + advantages, scale)
            gain = (improved.softmax(-1) * centred(advantages, reference)).sum(-1).mean()
        for name, value in zip(("value_loss", "advantage_loss", "distillation"), np.mean(losses, axis=0), strict=True):
            self.logger.record(f"train/{name}", float(value))
        self.logger.record("train/guidance_scale", scale)
        self.logger.record("train/predicted_gain", gain.item())
        self.logger.record("train/entropy", torch.distributions.Categorical(logits=improved).entropy().mean().item())
        unexplained = (record.returns - values).var() / record.returns.var().clamp(min=1e-12)
        self.logger.record("train/explained_variance", 1 - unexplained.item())

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "operator",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Train for about `total_timesteps` environment steps; the arguments are SB3's."""
        return super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)
