"""The improvement operator as an agent: the policy it returns, and that it improves a small solvable MDP."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from helpers import random_core
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.vec_env import DummyVecEnv

from latent_rl.agents.operator import ImprovementOperator, centred, scale_for_divergence
from latent_rl.agents.sb3.vec_env import LatentVecEnv
from latent_rl.improvement import kl_divergence


class TwoDoors(gym.Env):
    """Two steps. Door 1 of the first room costs 0.1 and leads where door 1 pays 1; everything else pays 0."""

    observation_space = gym.spaces.Box(0, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.room, self.good = 0, 0
        return np.zeros(2, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        if self.room == 0:
            self.room, self.good = 1, int(action)
            return np.array([1, self.good], np.float32), -0.1 * action, False, False, {}
        return np.zeros(2, np.float32), float(self.good and action), True, False, {}


ROOMS = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])


def exact_return(probabilities: torch.Tensor) -> float:
    """Expected return of a policy [3, 2] over the rooms start, bad, good."""
    go, open_good = probabilities[0, 1], probabilities[2, 1]
    return float(go * (-0.1 + open_good))


def agent(**arguments: object) -> ImprovementOperator:
    env = DummyVecEnv([TwoDoors] * 8)
    return ImprovementOperator("MlpPolicy", env, seed=0, device="cpu", n_steps=32, batch_size=64, **arguments)


@given(st.integers(0, 2**31 - 1), st.floats(0, 5))
def test_the_policy_is_the_reference_times_exp_advantage_over_beta(seed: int, scale: float) -> None:
    model = agent()
    generator = torch.Generator().manual_seed(seed)
    policy = model.policy
    with torch.no_grad():
        for layer in (policy.action_net, policy.advantage_net):
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
        policy.guidance_scale.fill_(scale)
        observations = torch.rand(5, 2, generator=generator)
        reference, advantages, _ = policy.heads(observations)
        product = reference.softmax(-1) * (scale * advantages).exp()
        expected = product / product.sum(-1, keepdim=True)
        acted = policy.get_distribution(observations).distribution.probs
    torch.testing.assert_close(acted, expected, atol=1e-5, rtol=1e-4)
    greedy, _ = model.predict(observations.numpy(), deterministic=True)
    np.testing.assert_array_equal(greedy, expected.argmax(-1).numpy())


@given(st.integers(0, 2**31 - 1), st.floats(0.01, 0.3))
def test_the_scale_moves_the_policy_by_the_asked_divergence(seed: int, target: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    reference, advantages = torch.randn(2, 40, 3, generator=generator, dtype=torch.float64)
    scale = scale_for_divergence(reference, advantages, target, 1e4)
    moved = kl_divergence(reference + scale * advantages, reference).mean().item()
    assert moved == pytest.approx(target, rel=1e-3)


def test_without_advantages_no_scale_is_large_enough() -> None:
    assert scale_for_divergence(torch.zeros(4, 3), torch.zeros(4, 3), 0.1, 10.0) == 10.0


def test_centred_advantages_average_to_zero_under_the_policy() -> None:
    advantages, logits = torch.randn(2, 7, 4)
    mean = (logits.softmax(-1) * centred(advantages, logits)).sum(-1)
    torch.testing.assert_close(mean, torch.zeros(7), atol=1e-6, rtol=0)


def test_one_round_improves_the_reference_by_exact_evaluation() -> None:
    """Policy improvement, checked on the true MDP: the improved policy returns more than the one that recorded."""
    model = agent(n_epochs=30, learning_rate=3e-3, gae_lambda=1.0)
    with torch.no_grad():
        before = model.policy.get_distribution(ROOMS).distribution.probs
    model.learn(256)
    with torch.no_grad():
        reference = model.policy.heads(ROOMS)[0].softmax(-1)
        improved = model.policy.get_distribution(ROOMS).distribution.probs
    # Distilled from the recording policy, the reference is about the same; the improvement is on top of it.
    torch.testing.assert_close(reference[[0, 2]], before[[0, 2]], atol=0.05, rtol=0)
    assert exact_return(improved) > exact_return(before) + 0.05


def test_it_finds_the_optimal_policy() -> None:
    model = agent(target_kl=0.1).learn(6_000)
    with torch.no_grad():
        assert exact_return(model.policy.get_distribution(ROOMS).distribution.probs) > 0.85
    assert model.predict(ROOMS[0].numpy(), deterministic=True)[0] == 1


def test_save_and_load_and_logs(tmp_path) -> None:
    env = LatentVecEnv(random_core(observation="latent"), 8)
    model = ImprovementOperator("MlpPolicy", env, n_steps=8, seed=1, device="cpu", tensorboard_log=str(tmp_path / "tb"))
    model.learn(128)
    model.save(tmp_path / "agent.zip")
    loaded = ImprovementOperator.load(tmp_path / "agent.zip", device="cpu")
    assert loaded.policy.guidance_scale == model.policy.guidance_scale > 0
    observation = env.reset()
    np.testing.assert_array_equal(
        model.predict(observation, deterministic=True)[0], loaded.predict(observation, deterministic=True)[0]
    )
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (run,) = (tmp_path / "tb").iterdir()
    events = EventAccumulator(str(run))
    events.Reload()
    assert {"train/guidance_scale", "train/advantage_loss", "rollout/ep_rew_mean"} <= set(events.Tags()["scalars"])


def test_box_actions_are_refused() -> None:
    with pytest.raises(AssertionError, match="Discrete"):
        ImprovementOperator("MlpPolicy", "Pendulum-v1")
