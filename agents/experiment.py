"""Train one agent on the step policy of one task, compare it with the baselines, and leave a report."""

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from latent_rl.agents.baselines import RandomPolicy, StepPolicy
from latent_rl.agents.evaluate import Outcome, evaluate_policy, report_row
from latent_rl.agents.report import log_to_tensorboard, plot, print_table, show_episode
from latent_rl.agents.sb3 import EpisodeStatistics, LearnedPolicy, agent_spec, make_agent
from latent_rl.agents.tune import tune
from latent_rl.config import write_json
from latent_rl.envs import HORIZONS
from latent_rl.envs.core import Core
from latent_rl.envs.randomness import derive, mix
from latent_rl.errors import InvalidValueError, LatentRLError
from latent_rl.reasoners.base import Reasoner
from latent_rl.reasoners.checkpoint import load_reasoner
from latent_rl.reasoners.trm import TRM, TRMConfig
from latent_rl.tasks.base import first
from latent_rl.tasks.registry import make_task
from latent_rl.trainer import TrainConfig, train
from latent_rl.types import Puzzles


@dataclass(kw_only=True)
class Experiment:
    """What to run. The examples' command lines are these fields."""

    agent: str = "ppo"
    """The agent to train: "ppo" or "dqn"."""
    task: str = "sudoku9x9-hard"
    """Name of the task."""
    reasoner: str | None = None
    """Name or folder of the reasoner; default: the shipped one of the task."""
    train_reasoner: bool = False
    """Train a reasoner first, into <out>/reasoner (minutes to an hour), instead of loading one."""
    reasoner_batches: int = 1000
    """Batches of that training."""
    total_timesteps: int | None = None
    """Environment steps of training; default: the agent's own."""
    horizon: int | None = None
    """Supervision steps an episode may take; default: the task's own."""
    cost_per_pass: float = 0.001
    """Price of one forward pass, in units of reward."""
    num_validation: int = 256
    """Puzzles on which the baselines' constants are chosen."""
    num_test: int = 1000
    """Held-out puzzles for the report."""
    seed: int = 0
    """Seeds agent, environments and evaluation."""
    out: Path = Path("runs/train_ppo_sudoku")
    """Folder for report.json, comparison.png, the saved agent and TensorBoard logs."""
    progress: bool = True
    """Show a progress bar."""


def _reasoner(args: Experiment) -> Reasoner:
    if not args.train_reasoner:
        return load_reasoner(args.reasoner or args.task)
    task = make_task(args.task)
    torch.manual_seed(args.seed)
    shape = TRMConfig(vocab_size=task.vocab_size, seq_len=task.seq_len)
    config = TrainConfig(task=args.task, num_batches=args.reasoner_batches, seed=args.seed)
    return train(config, TRM(shape), args.out / "reasoner", resume=True)


def _policies(args: Experiment, core: Core, learned: StepPolicy) -> list[StepPolicy]:
    """The agent and everything it is compared with; constants come from validation puzzles."""
    num_validation = min(args.num_validation, len(core.task.puzzles("validation")))
    tuned = tune(core, first(core.task, "validation", num_validation))
    fixed = dict.fromkeys((f"fixed-{core.reasoner.num_supervision_steps}", f"fixed-{tuned.num_steps}"))
    baselines = [tuned.baseline(core, name) for name in (*fixed, "threshold", "rule", "oracle")]
    random = RandomPolicy(core.mode, np.random.default_rng(args.seed))
    return [random, *baselines[:-1], learned, baselines[-1]]


def _puzzle_to_show(outcome: Outcome) -> int:
    """A solved puzzle of middling length, one with a restart if there is any."""
    wanted = outcome.solved & (outcome.restarts > 0)
    candidates = np.flatnonzero(wanted if wanted.any() else outcome.solved)
    if not len(candidates):
        return 0
    order = candidates[np.argsort(outcome.steps[candidates], kind="stable")]
    return int(order[len(order) // 2])


def run(args: Experiment) -> list[dict[str, float | int | str]]:
    """Train, evaluate, print and save; returns the rows of `report.json`.

    Raises:
        LatentRLError: an argument is wrong.
    """
    spec = agent_spec(args.agent)
    task = make_task(args.task)
    test = first(task, "test", min(args.num_test, len(task.puzzles("test"))))
    timesteps = spec.total_timesteps if args.total_timesteps is None else args.total_timesteps
    if timesteps < 1:
        raise InvalidValueError(f"total_timesteps must be at least 1; got {timesteps}.")
    console, started = Console(), time.monotonic()
    core = Core(
        task,
        _reasoner(args),
        horizon=args.horizon or HORIZONS.get(task.name, 64),
        cost_per_pass=args.cost_per_pass,
    )
    logs = args.out / "tensorboard"
    console.print(f"Training {args.agent} on {task.name}: {timesteps:,} steps of {spec.num_envs} environments")
    model = make_agent(args.agent, core, seed=args.seed, tensorboard=logs)
    model.learn(timesteps, callback=EpisodeStatistics(), progress_bar=args.progress, tb_log_name=args.agent)
    args.out.mkdir(parents=True, exist_ok=True)
    model.save(args.out / "agent.zip")
    learned = LearnedPolicy(args.agent, model)
    trained = time.monotonic() - started
    console.print(f"Choosing the baselines' constants on validation, then testing on {len(test)} held-out puzzles")
    outcomes = [evaluate_policy(core, policy, test, seed=args.seed) for policy in _policies(args, core, learned)]
    rows = [report_row(outcome) for outcome in outcomes]
    title = f"{task.name}: {len(test)} test puzzles, seed {args.seed}"
    print_table(console, title, rows)
    shown = _puzzle_to_show(next(outcome for outcome in outcomes if outcome.agent == args.agent))
    key = derive(mix(torch.tensor([args.seed + 1])), shown)
    one = Puzzles(test.inputs[shown : shown + 1], test.labels[shown : shown + 1])
    show_episode(console, core, learned, one, key)
    write_json(args.out / "report.json", rows)
    write_json(args.out / "config.json", {k: str(v) if isinstance(v, Path) else v for k, v in asdict(args).items()})
    plot(args.out / "comparison.png", title, rows, [args.agent])
    log_to_tensorboard(logs, rows, {args.agent: timesteps})
    console.print(
        f"Trained in {trained:.0f} s, all in {time.monotonic() - started:.0f} s. Report in {args.out};"
        f" compare in TensorBoard: tensorboard --logdir {logs}"
    )
    return rows


def main(args: Experiment) -> int:
    """Run an experiment for a command line; 0 if it went well, 2 after a user's mistake."""
    try:
        run(args)
    except LatentRLError as error:
        print(f"{args.agent}: {error}", file=sys.stderr)
        return 2
    return 0
