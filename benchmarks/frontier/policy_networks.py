"""Does a policy network that recurses learn better than an MLP of as many parameters? PPO on three environments.

python benchmarks/frontier/policy_networks.py --seeds 3
"""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from latent_rl.agents.commands.setting import Process, Setting
from latent_rl.agents.networks import ImprovementPolicy
from latent_rl.agents.report.tables import markdown_table
from latent_rl.agents.sb3.agents import AGENTS
from latent_rl.agents.sb3.vec_env import LatentVecEnv
from latent_rl.storage.atomic import write_json


@dataclass(frozen=True)
class Course:
    """An environment, and how PPO learns it; the arguments suit `MlpPolicy` and are left as they are for the other."""

    make: Callable[[int], VecEnv]
    total_timesteps: int
    arguments: dict[str, Any]


def _latent(seed: int) -> VecEnv:
    setting = Setting(process=Process(task="sudoku9x9", reasoner="sudoku9x9"))
    env = LatentVecEnv(setting.training_core(setting.make_core()), AGENTS["ppo"].num_envs)
    env.seed(seed)
    return env


COURSES = {
    "CartPole-v1": Course(
        lambda seed: make_vec_env("CartPole-v1", 8, seed=seed),
        60_000,
        {"n_steps": 32, "batch_size": 256, "n_epochs": 20, "gamma": 0.98, "gae_lambda": 0.8, "learning_rate": 1e-3},
    ),
    "Acrobot-v1": Course(
        lambda seed: make_vec_env("Acrobot-v1", 16, seed=seed),
        100_000,
        {"n_steps": 256, "batch_size": 256, "n_epochs": 4, "gamma": 0.99, "gae_lambda": 0.94, "learning_rate": 1e-3},
    ),
    "LatentReasoning/Sudoku9x9-v0": Course(
        _latent, 65_536, {k: v for k, v in AGENTS["ppo"].arguments.items() if k != "policy_kwargs"}
    ),
}
NET_ARCH = [64, 64]


class Returns(BaseCallback):
    """Keep the return of every training episode, and the environment steps taken when it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.episodes: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        ended = [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
        self.episodes += [(self.num_timesteps, value) for value in ended]
        return True


def num_parameters(model: PPO) -> int:
    """Trainable parameters of the policy."""
    return sum(p.numel() for p in model.policy.parameters())


def make_model(policy: str, course: Course, seed: int) -> PPO:
    """PPO with an MLP, or with the widest recursion that has no more parameters than the MLP."""
    env = course.make(seed)
    mlp = PPO("MlpPolicy", env, seed=seed, device="cpu", policy_kwargs={"net_arch": NET_ARCH}, **course.arguments)
    if policy == "MlpPolicy":
        return mlp
    made = (
        PPO(ImprovementPolicy, env, seed=seed, device="cpu", policy_kwargs={"width": width}, **course.arguments)
        for width in itertools.count(8, 2)
    )
    return [*itertools.takewhile(lambda model: num_parameters(model) <= num_parameters(mlp), made)][-1]


def learn(policy: str, course: Course, seed: int) -> dict[str, float]:
    """Train once: mean return over all training (how fast it learned) and over its last tenth (how far it came)."""
    model, returns = make_model(policy, course, seed), Returns()
    model.learn(course.total_timesteps, callback=returns)
    steps, values = np.array(returns.episodes).T
    return {
        "parameters": num_parameters(model),
        "return_all": float(values.mean()),
        "return_last": float(values[steps > 0.9 * model.num_timesteps].mean()),
    }


@dataclass(kw_only=True)
class Args:
    """What to run."""

    seeds: int = 3
    """Seeds, from 0."""
    environments: tuple[str, ...] = tuple(COURSES)
    """Keys of `COURSES`."""
    total_timesteps: int | None = None
    """Environment steps of training; default: the environment's own."""
    out: Path = Path("runs/policy_networks.json")
    """Where the results go; finished runs in it are not run again."""


def main(args: Args) -> None:
    """Run what is missing, print the table."""
    torch.set_num_threads(1)
    done: dict[str, dict[str, float]] = json.loads(args.out.read_text()) if args.out.exists() else {}
    rows = []
    for name in args.environments:
        course = COURSES[name]
        if args.total_timesteps is not None:
            course = Course(course.make, args.total_timesteps, course.arguments)
        for policy in ("MlpPolicy", "ImprovementPolicy"):
            results = []
            for seed in range(args.seeds):
                key = f"{name} {policy} {seed} {course.total_timesteps}"
                if key not in done:
                    done[key] = learn(policy, course, seed)
                    write_json(args.out, done)
                results.append(done[key])
            cells = [name, policy, f"{results[0]['parameters']:,.0f}"]
            for measure in ("return_all", "return_last"):
                values = np.array([result[measure] for result in results])
                cells.append(f"{values.mean():.3f} [{values.min():.3f}, {values.max():.3f}]")
            rows.append(cells)
    print(markdown_table(("environment", "policy", "parameters", "return, all training", "return, last tenth"), rows))


if __name__ == "__main__":
    main(tyro.cli(Args))
