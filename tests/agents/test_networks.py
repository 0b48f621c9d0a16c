"""Policies that recurse: guided readouts, every action space, save and load, learning."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from helpers import random_core
from stable_baselines3 import DQN, PPO
from torch.nn import functional as F

from latent_rl.agents.networks import ImprovementPolicy, ImprovementQPolicy, ImprovementStatistics, Recursion
from latent_rl.agents.sb3.vec_env import LatentVecEnv
from latent_rl.errors import InvalidValueError
from latent_rl.improvement import advantage_margin, product_policy

OBSERVATIONS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def test_the_recursion_by_hand() -> None:
    torch.manual_seed(0)
    recursion = Recursion(4, 8, 2, 2)
    up, _, down = recursion.network

    def update(h: torch.Tensor) -> torch.Tensor:
        h = h + F.silu(h @ up.weight.T + up.bias) @ down.weight.T + down.bias
        return h / (h.square().mean(-1, keepdim=True) + 1e-5).sqrt()

    x = OBSERVATIONS @ recursion.embed.weight.T + recursion.embed.bias
    z, y = recursion.initial_latent, recursion.initial_answer
    for _ in range(2):
        before = y
        z = update(update(z + y + x) + y + x)
        y = update(y + z)
    torch.testing.assert_close(recursion.answers(OBSERVATIONS), torch.stack([before, y], dim=1))


def test_it_acts_by_the_product_policy() -> None:
    model = PPO(ImprovementPolicy, "CartPole-v1", seed=0, device="cpu")
    policy = model.policy
    torch.nn.init.normal_(policy.action_net.weight)
    with torch.no_grad():
        policy.guidance_scale.fill_(1.7)
        reference, conditional = policy.action_net(policy.mlp_extractor.answers(OBSERVATIONS)).unbind(1)
        probabilities = policy.get_distribution(OBSERVATIONS).distribution.probs
    torch.testing.assert_close(probabilities, product_policy(reference, conditional, 1.7))
    actions = torch.tensor([0, 1, 1, 0, 0, 1])
    policy.evaluate_actions(OBSERVATIONS, actions)
    expected = advantage_margin(reference, conditional, actions, 1.7).mean()
    torch.testing.assert_close(policy.margin, expected)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1", "latent", "joint"])
def test_it_runs_on_every_action_space(env: str, tmp_path) -> None:
    made = {
        "latent": lambda: LatentVecEnv(random_core(), 4),
        "joint": lambda: LatentVecEnv(random_core(actions="joint"), 4),
    }
    source = made[env]() if env in made else gym.make(env)
    model = PPO(ImprovementPolicy, source, n_steps=16, batch_size=16, seed=0, device="cpu")
    scale = model.policy.guidance_scale.item()
    model.learn(64, callback=ImprovementStatistics())
    assert model.policy.guidance_scale.item() != scale
    model.save(tmp_path / "agent.zip")
    loaded = PPO.load(tmp_path / "agent.zip", device="cpu")
    observation = np.stack([model.observation_space.sample() for _ in range(5)])
    np.testing.assert_array_equal(
        model.predict(observation, deterministic=True)[0], loaded.predict(observation, deterministic=True)[0]
    )


def test_the_q_network_recurses_too(tmp_path) -> None:
    model = DQN(ImprovementQPolicy, "CartPole-v1", learning_starts=10, seed=0, device="cpu")
    model.learn(60, callback=ImprovementStatistics())
    network = model.policy.q_net.q_net
    with torch.no_grad():
        reference, conditional = network.head(network.recursion.answers(OBSERVATIONS)).unbind(1)
        w = model.policy.guidance_scale
        torch.testing.assert_close(model.policy.q_net(OBSERVATIONS), (1 - w) * reference + w * conditional)
    assert w != 1
    model.save(tmp_path / "agent.zip")
    loaded = DQN.load(tmp_path / "agent.zip", device="cpu")
    np.testing.assert_array_equal(
        model.predict(OBSERVATIONS.numpy(), deterministic=True)[0],
        loaded.predict(OBSERVATIONS.numpy(), deterministic=True)[0],
    )


def test_shapes_that_make_no_sense_are_refused() -> None:
    for shape in ({"width": 0}, {"width": 10**9}, {"num_latent_updates": 0}, {"num_supervision_steps": 10**9}):
        with pytest.raises(InvalidValueError, match=r"must be in \[1, "):
            PPO(ImprovementPolicy, "CartPole-v1", policy_kwargs=shape)


@pytest.mark.slow
def test_it_learns_cartpole() -> None:
    from stable_baselines3.common.evaluation import evaluate_policy

    env = gym.make("CartPole-v1")
    model = PPO(ImprovementPolicy, env, n_steps=512, batch_size=64, learning_rate=1e-3, seed=0, device="cpu")
    model.learn(20_000)
    mean, _ = evaluate_policy(model, model.get_env(), n_eval_episodes=10)
    assert mean > 200
