"""SB3 policies whose network recurses: an answer refined by latent updates, read out before and after its last step.

`PPO(ImprovementPolicy, "CartPole-v1")` and `DQN(ImprovementQPolicy, "CartPole-v1")` work on any environment with Box
observations.
"""

from typing import Any, cast

import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import (
    CategoricalDistribution,
    DiagGaussianDistribution,
    Distribution,
    MultiCategoricalDistribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import Tensor, nn

from latent_rl.config import SIZE, Range
from latent_rl.errors import InvalidValueError
from latent_rl.improvement import advantage_margin, guided_logits
from latent_rl.reasoners.layers import rms_norm, truncated_normal

LOOPS = Range(1, 100)
"""Of the updates in a recursion."""


class Recursion(nn.Module):
    """One small network that updates a latent n times, then the answer: TRM's recursion on a single vector.

    z <- f(z + y + x) n times, then y <- f(y + z), with f(h) = norm(h + MLP(h)); S supervision steps of it. It stands
    where SB3 expects an `MlpExtractor`.

    Differs: gradient flows through all steps, since the RL algorithm's loss sees the last one only.

    Args:
        in_features: size of the observation's features.
        width: D.
        num_latent_updates: n.
        num_supervision_steps: S.
    """

    def __init__(self, in_features: int, width: int, num_latent_updates: int, num_supervision_steps: int) -> None:
        super().__init__()
        if width not in SIZE or any(count not in LOOPS for count in (num_latent_updates, num_supervision_steps)):
            raise InvalidValueError(
                f"width must be {SIZE}, num_latent_updates and num_supervision_steps must be {LOOPS};"
                f" got {width}, {num_latent_updates} and {num_supervision_steps}."
            )
        self.num_latent_updates = num_latent_updates
        self.num_supervision_steps = num_supervision_steps
        self.latent_dim_pi = self.latent_dim_vf = width
        self.embed = nn.Linear(in_features, width)
        self.network = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        self.initial_answer = nn.Buffer(truncated_normal(width, std=1.0))
        self.initial_latent = nn.Buffer(truncated_normal(width, std=1.0))

    def _update(self, states: Tensor) -> Tensor:
        return rms_norm(states + self.network(states))

    def answers(self, features: Tensor) -> Tensor:
        """The answer before and after the last supervision step, [B, 2, D], from features [B, F]."""
        x = self.embed(features)
        answer, latent = self.initial_answer.expand_as(x), self.initial_latent.expand_as(x)
        before = answer
        for _ in range(self.num_supervision_steps):
            before = answer
            for _ in range(self.num_latent_updates):
                latent = self._update(latent + answer + x)
            answer = self._update(answer + latent)
        return torch.stack([before, answer], dim=1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What the actor reads, [B, 2, D], and what the critic reads, [B, D]."""
        answers = self.answers(features)
        return answers, answers[:, 1]

    def forward_actor(self, features: Tensor) -> Tensor:
        """The actor's part of `forward`."""
        return self.answers(features)

    def forward_critic(self, features: Tensor) -> Tensor:
        """The critic's part of `forward`."""
        return self.answers(features)[:, 1]


class _Recursive(BasePolicy):
    """What both policies have in common: the shape of their recursion as arguments."""

    def __init__(
        self, *args: Any, width: int = 48, num_latent_updates: int = 2, num_supervision_steps: int = 2, **kwargs: Any
    ) -> None:
        self._recursion = (width, num_latent_updates, num_supervision_steps)
        super().__init__(*args, **kwargs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        names = ("width", "num_latent_updates", "num_supervision_steps")
        return super()._get_constructor_parameters() | dict(zip(names, self._recursion, strict=True))


class ImprovementPolicy(_Recursive, ActorCriticPolicy):
    """An actor-critic policy that acts by guided logits: (1 - w) l_u + w l_c, of its own recursion.

    l_u is the readout before the last supervision step, l_c the one after it; w is learned. With Box actions the
    mean of the Gaussian is guided instead.

    Args:
        args: as `ActorCriticPolicy`.
        width: D of the recursion.
        num_latent_updates: n.
        num_supervision_steps: S.
        kwargs: as `ActorCriticPolicy`; net_arch does not apply.
    """

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = Recursion(self.features_dim, *self._recursion)  # type: ignore[assignment]
        self.guidance_scale = nn.Parameter(torch.ones(()))
        self.margin = nn.Buffer(torch.zeros(()), persistent=False)

    def _get_action_dist_from_latent(self, latent_pi: Tensor) -> Distribution:
        reference, conditional = self.action_net(latent_pi).unbind(1)
        guided = guided_logits(reference, conditional, self.guidance_scale)
        if isinstance(self.action_dist, DiagGaussianDistribution):
            return self.action_dist.proba_distribution(guided, self.log_std)
        if isinstance(self.action_dist, CategoricalDistribution | MultiCategoricalDistribution):
            return self.action_dist.proba_distribution(guided)
        raise InvalidValueError(
            "ImprovementPolicy needs Discrete, MultiDiscrete or Box actions without state-dependent exploration;"
            f" got {self.action_space}."
        )

    def evaluate_actions(self, obs: PyTorchObs, actions: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """As SB3's, and keep the mean advantage margin of the actions taken in `margin` (Discrete actions)."""
        if isinstance(self.action_space, spaces.Discrete) and isinstance(obs, Tensor):
            with torch.no_grad():
                features = cast(Tensor, super().extract_features(obs, self.pi_features_extractor))
                latent = self.mlp_extractor.forward_actor(features)
                reference, conditional = self.action_net(latent).unbind(1)
                margin = advantage_margin(reference, conditional, actions.long().flatten(), self.guidance_scale)
                self.margin.copy_(margin.mean())
        return super().evaluate_actions(obs, actions)


class ImprovementStatistics(BaseCallback):
    """Log the policy's guidance scale and advantage margin after each update; pass it to `learn`."""

    def _on_rollout_start(self) -> None:
        policy: Any = self.model.policy
        self.logger.record("train/guidance_scale", policy.guidance_scale.item())
        if isinstance(policy, ImprovementPolicy):
            self.logger.record("train/advantage_margin", policy.margin.item())

    def _on_step(self) -> bool:
        return True


class RecursiveQ(nn.Module):
    """Action values guided between the readouts before and after the last supervision step: [B, F] to [B, A]."""

    def __init__(self, in_features: int, num_actions: int, recursion: tuple[int, int, int]) -> None:
        super().__init__()
        self.recursion = Recursion(in_features, *recursion)
        self.head = nn.Linear(recursion[0], num_actions)
        self.guidance_scale = nn.Parameter(torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        """Values of every action, float32 [B, A]."""
        reference, conditional = self.head(self.recursion.answers(features)).unbind(1)
        return guided_logits(reference, conditional, self.guidance_scale)


class ImprovementQPolicy(_Recursive, DQNPolicy):
    """DQN's counterpart of `ImprovementPolicy`: a Q-network that recurses.

    Args:
        args: as `DQNPolicy`.
        width: D of the recursion.
        num_latent_updates: n.
        num_supervision_steps: S.
        kwargs: as `DQNPolicy`; net_arch does not apply.
    """

    @property
    def guidance_scale(self) -> Tensor:
        """The learned w."""
        return cast(RecursiveQ, self.q_net.q_net).guidance_scale

    def make_q_net(self) -> QNetwork:
        """A `QNetwork` with the recursion as its network."""
        network = super().make_q_net()
        network.q_net = RecursiveQ(network.features_dim, int(self.action_space.n), self._recursion)  # type: ignore[assignment, attr-defined]
        return network.to(self.device)
