"""Train one agent on the step policy of one task, compare it with the baselines, and leave a report."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console

from latent_rl.agents.commands.setting import Setting, train_agent
from latent_rl.agents.evaluate import evaluate_policy, report_row
from latent_rl.agents.report.comparison import log_evaluation, plot, print_table
from latent_rl.agents.report.replay import frames, show_episode, telling_puzzle
from latent_rl.agents.saved import AGENT, load_agent, save_agent
from latent_rl.agents.sb3.agents import agent_spec
from latent_rl.agents.tune import make_baseline
from latent_rl.config import COUNT, SEED
from latent_rl.program import concluded, parsed, stop_on_sigterm
from latent_rl.reasoners.base import Reasoner
from latent_rl.reasoners.trm import TRM, TRMConfig
from latent_rl.storage.atomic import write_json
from latent_rl.storage.claims import claimed
from latent_rl.storage.stops import resumable
from latent_rl.tasks.registry import make_task
from latent_rl.training.trainer import TrainConfig, train


@dataclass(kw_only=True)
class Experiment(Setting):
    """What to run. The examples' command lines are these fields."""

    agent: str = "ppo"
    """The agent to train: "ppo", "dqn" or "operator"."""
    train_reasoner: bool = False
    """Train a reasoner first, into <out>/reasoner (minutes to an hour), instead of loading one."""
    reasoner_batches: Annotated[int, COUNT] = 1000
    """Batches of that training."""
    seed: Annotated[int, SEED] = 0
    """Seeds agent, environments and evaluation."""
    out: Path = Path("runs/train_ppo_sudoku")
    """Folder for report.json, comparison.png, the saved agent and TensorBoard logs."""
    progress: bool = True
    """Show a progress bar."""

    def __post_init__(self) -> None:
        """Check names, types and ranges."""
        super().__post_init__()
        agent_spec(self.agent)

    def run(self) -> None:
        """Run the experiment."""
        with resumable(f"{self.out} still has what it had before, but for TensorBoard; the training begins anew"):
            run(self)

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
        LatentRLError: an argument is wrong, a file can't be written, or another process is at it.
    """
    with claimed(args.out):
        return _run(args)


def _run(args: Experiment) -> list[dict[str, Any]]:
    timesteps = args.total_timesteps or agent_spec(args.agent).total_timesteps
    console, started = Console(), time.monotonic()
    test, core = args.test_puzzles(), args.make_core(args.new_reasoner())
    logs = args.out / "tensorboard"
    if (args.out / AGENT).exists():
        console.print(f"{args.out / AGENT} is of an earlier run; it will be replaced once the new agent is trained")
    console.print(f"Training {args.agent} on {args.task}: {timesteps:,} environment steps")
    model = train_agent(
        args.agent,
        args.training_core(core),
        seed=args.seed,
        timesteps=timesteps,
        logs=logs / args.agent,
        progress=args.progress,
    )
    learned = load_agent(save_agent(model, args.out, args.agent, args.facts()), core)
    trained = time.monotonic() - started
    console.print(f"Choosing the baselines' constants on validation, then testing on {len(test)} held-out puzzles")
    tuned = args.tune(core)
    fixed = dict.fromkeys((f"fixed-{core.reasoner.num_supervision_steps}", f"fixed-{tuned.num_steps}"))
    names = ("random", *fixed, "best-of", "threshold", "rule", args.agent, "oracle")
    recorded = args.evaluation_core(core, test)
    policies = {n: learned if n == args.agent else make_baseline(recorded, n, tuned, args.seed) for n in names}
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


def main(command: type[Any], description: str | None) -> int:
    """The program of an example: read the command line, run; returns the exit status.

    Args:
        command: a dataclass with a `run` method; its fields are the options.
        description: for --help.
    """
    stop_on_sigterm()
    return concluded(Path(sys.argv[0]).stem, lambda: parsed(lambda: tyro.cli(command, description=description)).run())
