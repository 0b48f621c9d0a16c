"""PPO in one file, in the style of CleanRL: no RL library, on `gym.make_vec`.

Run `python examples/cleanrl_ppo.py --help` for the options.
"""

import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from torch import nn
from torch.distributions import Categorical
from torch.utils.tensorboard import SummaryWriter

import latent_rl.envs  # noqa: F401  (registers the environments)
from latent_rl.errors import InvalidValueError, LatentRLError


@dataclass(kw_only=True)
class Args:
    """How to train."""

    env_id: str = "LatentReasoning/Sudoku6x6-v0"
    """Environment; its action space must be Discrete."""
    seed: int = 0
    """Seeds the weights, the environments and the actions."""
    total_timesteps: int = 65_536
    """Environment steps."""
    num_envs: int = 64
    """Environments, run as one batch."""
    num_steps: int = 32
    """Steps of each environment between two updates."""
    num_epochs: int = 8
    """Passes over the data of an update."""
    num_minibatches: int = 4
    """Minibatches of a pass."""
    learning_rate: float = 2e-3
    """Peak of Adam's learning rate, which falls linearly to 0."""
    gae_lambda: float = 0.95
    """Lambda of the generalized advantage estimation; the discount is 1."""
    clip_range: float = 0.2
    """Clipping of the probability ratio."""
    ent_coef: float = 0.003
    """Weight of the entropy bonus."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: float = 0.5
    """Clipping of the gradient's norm."""
    refine_bias: float = 3.0
    """Initial log-odds of action 1, refine: an agent that halts at random never sees a solution."""
    out: Path = Path("runs/cleanrl_ppo")
    """Folder of the TensorBoard run."""

    def __post_init__(self) -> None:
        """Check what the loop relies on."""
        size = self.num_envs * self.num_steps
        if self.total_timesteps < size or size % self.num_minibatches:
            raise InvalidValueError(
                f"total_timesteps must be at least num_envs * num_steps = {size}, of which num_minibatches must be a"
                f" divisor; got {self.total_timesteps} and {self.num_minibatches}."
            )


class Agent(nn.Module):
    """Actor and critic, two hidden layers each."""

    def __init__(self, num_inputs: int, num_actions: int, refine_bias: float) -> None:
        super().__init__()
        self.actor = self._network(num_inputs, num_actions, 0.01)
        self.critic = self._network(num_inputs, 1, 1.0)
        with torch.no_grad():
            self.actor[-1].bias[1] += refine_bias

    @staticmethod
    def _network(num_inputs: int, num_outputs: int, gain: float) -> Any:
        layers = [nn.Linear(num_inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, num_outputs)]
        for layer, scale in zip(layers[::2], (2**0.5, 2**0.5, gain), strict=True):
            nn.init.orthogonal_(layer.weight, scale)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        return nn.Sequential(*layers)

    def forward(self, observations: torch.Tensor) -> tuple[Categorical, torch.Tensor]:
        """The policy, and the value of every observation, [B]."""
        return Categorical(logits=self.actor(observations)), self.critic(observations).squeeze(-1)


def advantages_of(
    rewards: torch.Tensor, ended: torch.Tensor, values: torch.Tensor, last_value: torch.Tensor, gae_lambda: float
) -> torch.Tensor:
    """Generalized advantage estimation without discount, [S, B]; an episode's end is never a truncation here."""
    advantages, running = torch.zeros_like(rewards), torch.zeros_like(last_value)
    for step in reversed(range(len(rewards))):
        after = last_value if step == len(rewards) - 1 else values[step + 1]
        goes_on = 1 - ended[step]
        running = rewards[step] + after * goes_on - values[step] + gae_lambda * goes_on * running
        advantages[step] = running
    return advantages


def update(
    agent: Agent, optimizer: torch.optim.Optimizer, args: Args, batch: dict[str, torch.Tensor]
) -> dict[str, float]:
    """Several passes of clipped policy improvement over one batch; returns the last losses."""
    size = len(batch["actions"])
    for _ in range(args.num_epochs):
        for rows in torch.randperm(size).split(size // args.num_minibatches):
            policy, values = agent(batch["observations"][rows])
            ratio = (policy.log_prob(batch["actions"][rows]) - batch["log_probs"][rows]).exp()
            gain = batch["advantages"][rows]
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)
            clipped = ratio.clamp(1 - args.clip_range, 1 + args.clip_range)
            policy_loss = -torch.minimum(gain * ratio, gain * clipped).mean()
            value_loss = 0.5 * (values - batch["returns"][rows]).square().mean()
            entropy = policy.entropy().mean()
            optimizer.zero_grad()
            (policy_loss + args.vf_coef * value_loss - args.ent_coef * entropy).backward()
            nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
            optimizer.step()
    return {"policy_loss": policy_loss.item(), "value_loss": value_loss.item(), "entropy": entropy.item()}


def train(args: Args) -> dict[str, float]:
    """Train; returns solved rate and mean passes of the last 500 episodes."""
    torch.manual_seed(args.seed)
    envs = gym.make_vec(args.env_id, num_envs=args.num_envs)
    if not isinstance(envs.single_action_space, gym.spaces.Discrete):
        raise InvalidValueError(f"{args.env_id} must have Discrete actions; it has {envs.single_action_space}.")
    num_inputs = int(np.prod(envs.single_observation_space.shape or ()))
    agent = Agent(num_inputs, int(envs.single_action_space.n), args.refine_bias)
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)
    num_updates = args.total_timesteps // (args.num_envs * args.num_steps)
    episodes: deque[tuple[float, float]] = deque(maxlen=500)
    observation, started = torch.as_tensor(envs.reset(seed=args.seed)[0]), time.monotonic()
    with SummaryWriter(str(args.out)) as writer:
        for number in range(num_updates):
            optimizer.param_groups[0]["lr"] = args.learning_rate * (1 - number / num_updates)
            seen: dict[str, list[torch.Tensor]] = {
                name: [] for name in ("observations", "actions", "log_probs", "values", "rewards", "ended")
            }
            for _ in range(args.num_steps):
                with torch.no_grad():
                    policy, value = agent(observation)
                    action = policy.sample()
                after, reward, ended, _, infos = envs.step(action.numpy())
                row = (observation, action, policy.log_prob(action), value, torch.as_tensor(reward).float(),
                       torch.as_tensor(ended).float())  # fmt: skip
                for values, tensor in zip(seen.values(), row, strict=True):
                    values.append(tensor)
                observation = torch.as_tensor(after)
                if ended.any():
                    final = infos["final_info"]
                    episodes.extend(zip(final["solved"][ended], final["passes"][ended], strict=True))
            steps = {name: torch.stack(values) for name, values in seen.items()}
            with torch.no_grad():
                last_value = agent(observation)[1]
            gain = advantages_of(steps["rewards"], steps["ended"], steps["values"], last_value, args.gae_lambda)
            batch = steps | {"advantages": gain, "returns": gain + steps["values"]}
            metrics = update(agent, optimizer, args, {name: tensor.flatten(0, 1) for name, tensor in batch.items()})
            solved, passes = np.mean(episodes, axis=0) if episodes else (float("nan"), float("nan"))
            steps_done = (number + 1) * args.num_envs * args.num_steps
            rollout = {"rollout/solved_rate": float(solved), "rollout/mean_passes": float(passes)}
            for name, scalar in (rollout | {f"train/{name}": value for name, value in metrics.items()}).items():
                writer.add_scalar(name, scalar, steps_done)
            if number % 4 == 3 or number == num_updates - 1:
                speed = steps_done / (time.monotonic() - started)
                print(f"step {steps_done:7,d}  solved {solved:.3f}  passes {passes:5.1f}  {speed:,.0f} steps/s")
    envs.close()
    return rollout


if __name__ == "__main__":
    try:
        train(tyro.cli(Args, description=__doc__))
    except (LatentRLError, gym.error.Error) as error:
        print(f"cleanrl_ppo: {error}", file=sys.stderr)
        sys.exit(2)
