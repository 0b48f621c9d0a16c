"""PPO of Ray RLlib on many workers, or machines: for those who outgrow one.

RLlib pins another Gymnasium and gets an environment of its own: see `rllib-requirements.txt`. On a cluster, start Ray
on every machine (`ray start`), and give its `--address`. Run `python examples/rllib_cluster.py --help` for the options.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
import tyro
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EPISODE_RETURN_MEAN, NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.tune.registry import register_env

from latent_rl.envs import LatentReasoningEnv
from latent_rl.errors import LatentRLError


@dataclass(kw_only=True)
class Args:
    """How to train."""

    task: str = "sudoku6x6"
    """Name of the task."""
    reasoner: str | None = None
    """Name or folder of the reasoner, which every machine must have; default: the shipped one of the task."""
    horizon: int | None = None
    """Supervision steps that an episode may take; default: the task's own."""
    address: str | None = None
    """Address of a running Ray cluster; default: this machine."""
    num_workers: int = 2
    """Processes that roll out episodes."""
    num_envs_per_worker: int = 8
    """Environments in each of them, which share its reasoner."""
    iterations: int = 20
    """Training iterations."""
    batch_size: int = 2048
    """Environment steps of an iteration."""
    seed: int = 0
    """Seeds agent and environments."""


def make_env(config: Mapping[str, Any]) -> LatentReasoningEnv:
    """One environment of a worker; all of a process share a shipped reasoner."""
    return LatentReasoningEnv(**config)


def train(args: Args) -> float:
    """Train; returns the mean return of the last iteration's episodes."""
    ray.init(address=args.address, ignore_reinit_error=True, include_dashboard=False)
    register_env("latent-reasoning", make_env)
    env_config = {"task": args.task, "reasoner": args.reasoner, "horizon": args.horizon}
    make_env(env_config)  # a wrong name must not wait for the workers
    config = (
        PPOConfig()
        .environment("latent-reasoning", env_config=env_config)
        .env_runners(num_env_runners=args.num_workers, num_envs_per_env_runner=args.num_envs_per_worker)
        .training(gamma=1.0, lambda_=0.95, lr=1e-3, train_batch_size_per_learner=args.batch_size, minibatch_size=256,
                  num_epochs=8, entropy_coeff=0.003, vf_clip_param=10.0)
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[64, 64]))
        .debugging(seed=args.seed)
    )  # fmt: skip
    algorithm = config.build_algo()
    mean_return = float("nan")
    try:
        for iteration in range(1, args.iterations + 1):
            results = algorithm.train()[ENV_RUNNER_RESULTS]
            mean_return = float(results[EPISODE_RETURN_MEAN])
            steps = int(results[NUM_ENV_STEPS_SAMPLED_LIFETIME])
            print(f"iteration {iteration:3d}  steps {steps:8,d}  return {mean_return:.3f}", flush=True)
    finally:
        algorithm.stop()
        ray.shutdown()
    return mean_return


if __name__ == "__main__":
    try:
        train(tyro.cli(Args, description=__doc__))
    except LatentRLError as error:
        print(f"rllib_cluster: {error}", file=sys.stderr)
        sys.exit(2)
