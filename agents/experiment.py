"""Train one agent on the step policy of one task, compare it with the baselines, and leave a report."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from latent_rl.agents.evaluate import evaluate_policy, report_row
from latent_rl.agents.replay import frames, show_episode, telling_puzzle
from latent_rl.agents.report import log_evaluation, plot, print_table
from latent_rl.agents.sb3 import agent_spec
from latent_rl.agents.setting import Setting, baseline_policy, trained_policy
from latent_rl.errors import InvalidValueError, LatentRLError
from latent_rl.files import write_json
from latent_rl.reasoners.base import Reasoner
from latent_rl.reasoners.trm import TRM, TRMConfig
from latent_rl.tasks.registry import make_task
from latent_rl.trainer import TrainConfig, train


@dataclass(kw_only=True)
class Experiment(Setting):
    """What to run. The examples' command lines are these fields."""

    agent: str = "ppo"
    """The agent to train: "ppo", "dqn" or "operator"."""
    train_reasoner: bool = False
    """Train a reasoner first, into <out>/reasoner (minutes to an hour), instead of loading one."""
    reasoner_batches: int = 1000
    """Batches of that training."""
    seed: int = 0
    """Seeds agent, environments and evaluation."""
    out: Path = Path("runs/train_ppo_sudoku")
    """Folder for report.json, comparison.png, the saved agent and TensorBoard logs."""
    progress: bool = True
    """Show a progress bar."""

    def new_reasoner(self) -> Reasoner | None:
        """The reasoner that the run trains itself, if it does."""
        if not self.train_reasoner:
            return None
        task = make_task(self.task)
        torch.manual_seed(self.seed)
        shape = TRMConfig(vocab_size=task.vocab_size, seq_len=task.seq_len)
        config = TrainConfig(task=self.task, num_batches=self.reasoner_batches, seed=self.seed)
        return train(config, TRM(shape), self.out / "reasoner", resume=True)


def run(args: Experiment) -> list[dict[str, Any]]:
    """Train, evaluate, print and save; returns the rows of `report.json`.

    Raises:
        LatentRLError: an argument is wrong.
    """
    timesteps = agent_spec(args.agent).total_timesteps if args.total_timesteps is None else args.total_timesteps
    if timesteps < 1:
        raise InvalidValueError(f"total_timesteps must be at least 1; got {timesteps}.")
    console, started = Console(), time.monotonic()
    test, core = args.test_puzzles(), args.make_core(args.new_reasoner())
    logs = args.out / "tensorboard"
    console.print(f"Training {args.agent} on {args.task}: {timesteps:,} environment steps")
    (args.out / "agent.zip").unlink(missing_ok=True)  # an earlier run's
    learned = trained_policy(
        args.agent,
        args.training_core(core),
        seed=args.seed,
        timesteps=timesteps,
        folder=args.out,
        logs=logs / args.agent,
        progress=args.progress,
    )
    trained = time.monotonic() - started
    console.print(f"Choosing the baselines' constants on validation, then testing on {len(test)} held-out puzzles")
    tuned = args.tune(core)
    fixed = dict.fromkeys((f"fixed-{core.reasoner.num_supervision_steps}", f"fixed-{tuned.num_steps}"))
    names = ("random", *fixed, "best-of", "threshold", "rule", args.agent, "oracle")
    recorded = args.evaluation_core(core, test)
    policies = {n: learned if n == args.agent else baseline_policy(n, recorded, tuned, args.seed) for n in names}
    outcomes = {name: evaluate_policy(recorded, policy, test) for name, policy in policies.items()}
    rows = [report_row(outcome) for outcome in outcomes.values()]
    title = f"{args.task}: {len(test)} test puzzles, seed {args.seed}"
    print_table(console, title, rows)
    shown = telling_puzzle(outcomes[args.agent], test)
    show_episode(console, args.agent, list(frames(recorded, learned, *shown)))
    write_json(args.out / "report.json", rows)
    write_json(args.out / "config.json", args.facts())
    plot(args.out / "comparison.png", title, rows, [args.agent])
    for row in rows:
        steps = timesteps if row["agent"] == args.agent else 0
        facts: dict[str, str | int] = {"agent": row["agent"], "seed": args.seed, "training steps": steps}
        log_evaluation(logs / row["agent"], row, [steps] if steps else [0, timesteps], facts)
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
