"""Train and evaluate many agents over several seeds on the same puzzles; a report, and TensorBoard side by side."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from latent_rl.agents.baselines import StepPolicy
from latent_rl.agents.evaluate import Outcome, evaluate_policy, report_row
from latent_rl.agents.replay import Frame, frames, telling_puzzle, write_gif
from latent_rl.agents.report import (
    HEADINGS,
    csv_text,
    draw,
    log_evaluation,
    markdown_table,
    plot,
    print_table,
    table_cells,
)
from latent_rl.agents.sb3 import agent_spec
from latent_rl.agents.setting import Setting, baseline_policy, is_learned, trained_policy
from latent_rl.agents.tune import Tuned
from latent_rl.envs.core import Core
from latent_rl.envs.pictures import picture
from latent_rl.errors import InvalidValueError
from latent_rl.figures import pixels
from latent_rl.files import read_json, write_atomically, write_json
from latent_rl.statistics import bootstrap_interval
from latent_rl.types import Puzzles

REFERENCE = "rule"
"""The agent that the others' returns are compared with, puzzle by puzzle, if it takes part."""


@dataclass(kw_only=True)
class Comparison(Setting):
    """Train and evaluate agents on the same puzzles, over several seeds."""

    agents: tuple[str, ...] = ("random", "fixed", "best-of", "threshold", "rule", "ppo", "dqn", "operator", "oracle")
    """Agents by name: ppo, dqn, operator; fixed-K (plain decoding) and best-of-K (K steps, the surest snapshot),
    both without -K for the best K; threshold, rule, verifier, verifier-rule, commit-rule, entropy, unchanged, drift,
    act, random, oracle."""
    seeds: int = 3
    """Seeds of the agents, from 0; all are evaluated on the same puzzles and views."""
    out: Path = Path("runs/compare")
    """Folder for the report, TensorBoard runs and agents; a run that was cut goes on where it was."""
    progress: bool = True
    """Show progress bars."""
    json: bool = False
    """Print the report as JSON."""

    def run(self) -> None:
        """Compare, and print the report if asked to."""
        rows = compare(self)
        if self.json:
            print(json.dumps(rows, indent=2))

    def training_steps(self, agent: str) -> int:
        """Environment steps that a learned agent trains for."""
        return self.total_timesteps or agent_spec(agent).total_timesteps

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.seeds < 1:
            raise InvalidValueError(f"seeds must be at least 1; got {self.seeds}.")
        if not self.agents or len(set(self.agents)) < len(self.agents):
            raise InvalidValueError(f"agents must be different names; got {', '.join(self.agents) or 'none'}.")


def save_outcome(path: Path, outcome: Outcome) -> None:
    """Write an outcome as an `.npz`, atomically."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **{k: v for k, v in vars(outcome).items() if k != "agent"})
    write_atomically(path, buffer.getvalue())


def load_outcome(path: Path, agent: str) -> Outcome:
    """The inverse of `save_outcome`."""
    with np.load(path) as file:
        return Outcome(agent, **{name: file[name] for name in file.files})


def claim_folder(args: Comparison) -> None:
    """Take the folder for this comparison: what was done in it counts only if the setting is the same.

    Raises:
        InvalidValueError: it holds another comparison.
    """
    path = args.out / "config.json"
    free = ("agents", "seeds", "out", "progress", "json")
    setting = {name: value for name, value in args.facts().items() if name not in free}
    setting = json.loads(json.dumps(setting))
    if path.exists():
        before = read_json(path)
        differing = sorted(name for name in setting if before.get(name) != setting[name])
        if differing:
            raise InvalidValueError(
                f"{args.out} must hold a comparison in the same setting; {', '.join(differing)} differ."
                " Choose another --out."
            )
    write_json(path, setting)


def pooled_rows(outcomes: dict[str, list[Outcome]]) -> list[dict[str, Any]]:
    """One row per agent over all seeds; a puzzle's values are averaged over the seeds, then puzzles are resampled."""
    means = {
        name: {
            key: np.mean([getattr(o, key) for o in seeds], axis=0) for key in ("solved", "passes", "steps", "returns")
        }
        for name, seeds in outcomes.items()
    }
    rows = []
    for name, mean in means.items():
        averaged = Outcome(name, mean["solved"], mean["passes"], mean["steps"], mean["steps"], mean["returns"])
        low, high = bootstrap_interval(mean["returns"])
        more: dict[str, Any] = {"num_seeds": len(outcomes[name]), "return_low": low, "return_high": high}
        if REFERENCE in means:
            gain = mean["returns"] - means[REFERENCE]["returns"]
            more["gain"] = float(gain.mean())
            more["gain_low"], more["gain_high"] = bootstrap_interval(gain)
        rows.append(report_row(averaged, **more))
    return rows


def display_name(name: str, policy: StepPolicy) -> str:
    """The name in reports: "fixed" and "best-of" get the number of steps that was chosen."""
    return policy.name if name in ("fixed", "best-of") else name


def run_one(
    args: Comparison, name: str, seed: int, cores: tuple[Core, Core], tuned: Tuned, test: Puzzles
) -> tuple[StepPolicy, Outcome]:
    """Train (on the second core) and evaluate (on the first) one agent, or load what an earlier run left of it."""
    core, training = cores
    logs = args.out / "tensorboard" / name / f"seed{seed}"
    folder = args.out / "agents" / f"{name}-{seed}"
    policy: StepPolicy
    if is_learned(name):
        policy = trained_policy(
            name, training, seed=seed, timesteps=args.total_timesteps, folder=folder, logs=logs, progress=args.progress
        )
    else:
        policy = baseline_policy(name, core, tuned, seed)
    saved = folder / "outcome.npz"
    if saved.exists():
        return policy, load_outcome(saved, display_name(name, policy))
    outcome = evaluate_policy(core, policy, test)
    save_outcome(saved, outcome)
    learned = [agent for agent in args.agents if is_learned(agent)]
    longest = max((args.training_steps(agent) for agent in learned), default=1)
    trained = args.training_steps(name) if is_learned(name) else 0
    facts: dict[str, str | int] = {"agent": outcome.agent, "seed": seed, "training steps": trained}
    log_evaluation(logs, report_row(outcome), [trained] if trained else [0, longest], facts)
    return policy, outcome


def log_overview(args: Comparison, rows: list[dict[str, Any]], title: str, episode: list[Frame]) -> None:
    """TensorBoard's overview run: a layout that puts the agents side by side, the figure, the table, the boards."""
    from torch.utils.tensorboard import SummaryWriter

    learned = [row["agent"] for row in rows if is_learned(row["agent"])]
    with SummaryWriter(str(args.out / "tensorboard" / "overview")) as writer:
        writer.add_custom_scalars({"held-out puzzles (lines and dots) and training (curves)": {
            title: ["Multiline", [f"eval/{tag}", f"rollout/{curve}"]]
            for title, tag, curve in (
                ("solved rate", "solved_rate", "solved_rate"),
                ("forward passes", "mean_passes", "mean_passes"),
                ("return", "mean_return", "ep_rew_mean"),
            )
        }})  # fmt: skip
        writer.add_image("solved rate against passes", pixels(draw(title, rows, learned)), dataformats="HWC")
        writer.add_text("comparison", markdown_table(HEADINGS, [table_cells(row) for row in rows]))
        for frame in episode[:-1]:
            writer.add_image("a puzzle being solved", picture(frame.board), frame.board.step, dataformats="HWC")


def compare(args: Comparison) -> list[dict[str, Any]]:
    """Run the comparison; returns the rows of `report.json`, one for each agent and seed.

    The folder gets `report.json`, `table.md`, `table.csv` (all seeds together), `comparison.png`, `episode.gif`, the
    agents, and TensorBoard runs.

    Raises:
        LatentRLError: an argument is wrong.
    """
    console = Console(stderr=True)
    live, test = args.make_core(), args.test_puzzles()
    claim_folder(args)
    console.print(f"Choosing the baselines' constants on validation puzzles of {args.task}")
    tuned = args.tune(live)
    core, training = args.evaluation_core(live, test), args.training_core(live)
    for name in args.agents:
        if not is_learned(name):
            baseline_policy(name, core, tuned, 0)  # a wrong name must not cost an hour
    outcomes: dict[str, list[Outcome]] = {}
    policies: dict[str, StepPolicy] = {}
    rows: list[dict[str, Any]] = []
    for seed in range(args.seeds):
        for name in args.agents:
            console.print(f"{name}, seed {seed}")
            policy, outcome = run_one(args, name, seed, (core, training), tuned, test)
            policies.setdefault(outcome.agent, policy)
            outcomes.setdefault(outcome.agent, []).append(outcome)
            rows.append(report_row(outcome, seed=seed))
    pooled = pooled_rows(outcomes)
    title = f"{args.task}: {len(test)} test puzzles, {args.seeds} seeds"
    print_table(console, title, pooled)
    shown = next((row["agent"] for row in pooled if is_learned(row["agent"])), pooled[0]["agent"])
    episode = list(frames(core, policies[shown], *telling_puzzle(outcomes[shown][0], test)))
    write_json(args.out / "report.json", rows)
    write_atomically(args.out / "table.csv", csv_text(pooled).encode())
    write_atomically(args.out / "table.md", markdown_table(HEADINGS, [table_cells(row) for row in pooled]).encode())
    plot(args.out / "comparison.png", title, pooled, [row["agent"] for row in pooled if is_learned(row["agent"])])
    write_gif(args.out / "episode.gif", shown, episode)
    log_overview(args, pooled, title, episode)
    console.print(f"Report in {args.out}; compare in TensorBoard: tensorboard --logdir {args.out / 'tensorboard'}")
    return rows
