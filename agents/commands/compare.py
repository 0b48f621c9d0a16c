"""Train and evaluate many agents over several seeds on the same puzzles; a report, and TensorBoard side by side."""

import json
import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from rich.console import Console

from latent_rl.agents.baselines import StepPolicy
from latent_rl.agents.commands.setting import Setting, check_agents, is_learned, train_agent
from latent_rl.agents.evaluate import Outcome, evaluate_policy, report_row
from latent_rl.agents.report.comparison import (
    HEADINGS,
    csv_text,
    draw,
    log_evaluation,
    logging_to,
    markdown_table,
    plot,
    print_table,
    table_cells,
)
from latent_rl.agents.report.replay import Frame, frames, telling_puzzle, write_gif
from latent_rl.agents.saved import AGENT, agent_facts, load_agent, save_agent
from latent_rl.agents.sb3.agents import agent_spec, make_agent
from latent_rl.agents.tune import Tuned, make_baseline
from latent_rl.config import Range
from latent_rl.envs.core import Core
from latent_rl.envs.rendering.pictures import picture
from latent_rl.errors import CheckpointError, FileError, InvalidValueError, one_line
from latent_rl.evaluation.intervals import bootstrap_interval
from latent_rl.figures import pixels
from latent_rl.reasoners.base import Reasoner
from latent_rl.storage.atomic import checksum, read_json, write_atomically, write_json
from latent_rl.storage.claims import claimed
from latent_rl.storage.sealed import read_sealed, write_sealed
from latent_rl.storage.stops import resumable
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
    seeds: Annotated[int, Range(1, 10_000)] = 3
    """Seeds of the agents, from 0; all are evaluated on the same puzzles and views."""
    out: Path = Path("runs/compare")
    """Folder for the report, TensorBoard runs and agents; a run that was cut goes on where it was."""
    progress: bool = True
    """Show progress bars."""
    json: bool = False
    """Print the report as JSON."""

    def __post_init__(self) -> None:
        """Check names, types and ranges."""
        super().__post_init__()
        if not self.agents or len(set(self.agents)) < len(self.agents):
            raise InvalidValueError(f"agents must be different names; got {', '.join(self.agents) or 'none'}.")
        check_agents(self.agents)

    def run(self) -> None:
        """Compare, and print the report if asked to."""
        with resumable(f"{self.out} keeps every agent that is finished, and one that is being trained begins anew"):
            rows = compare(self)
        if self.json:
            print(json.dumps(rows, indent=2))

    def training_steps(self, agent: str) -> int:
        """Environment steps that a learned agent trains for."""
        return self.total_timesteps or agent_spec(agent).total_timesteps


OUTCOME = "outcome.safetensors"
_TYPES = {"solved": torch.bool, "passes": torch.int64, "steps": torch.int64, "restarts": torch.int64,
          "returns": torch.float64}  # fmt: skip


def save_outcome(path: Path, outcome: Outcome, run: dict[str, Any]) -> None:
    """Write an outcome and the facts of its run, atomically and with a checksum."""
    write_sealed(path, {name: torch.from_numpy(getattr(outcome, name)) for name in _TYPES}, run)


def load_outcome(path: Path, agent: str, run: dict[str, Any]) -> Outcome:
    """The inverse of `save_outcome`.

    Args:
        path: the file.
        agent: the name in the outcome.
        run: its facts must be these.

    Raises:
        CheckpointError: the file is damaged, or of another run.
    """
    tensors, facts = read_sealed(path, "an outcome of this comparison")
    _check_run(path, facts, run)
    if {name: tensor.dtype for name, tensor in tensors.items()} != _TYPES or len(
        {t.shape for t in tensors.values()}
    ) > 1:
        raise CheckpointError(f"{path} must hold {', '.join(_TYPES)}, one for each puzzle. Remove it.")
    return Outcome(agent, **{name: tensor.numpy() for name, tensor in tensors.items()})


def _check_run(path: Path, facts: Any, run: dict[str, Any]) -> None:
    if facts != run:
        raise CheckpointError(f"{path} must be of this comparison, agent and seed; it is of another. Remove it.")


def _digest(reasoner: Reasoner, test: Puzzles) -> str:
    """Of the reasoner's weights, as far as it has any, and of the puzzles: what the setting only names."""
    weights = reasoner.state_dict() if isinstance(reasoner, torch.nn.Module) else {}
    tensors = [*(tensor for _, tensor in sorted(weights.items())), test.inputs, test.labels]
    return checksum(b"".join(t.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes() for t in tensors))


def claim_folder(args: Comparison, live: Core, test: Puzzles) -> dict[str, Any]:
    """Take the folder for this comparison: what was done in it counts only if the setting is the same.

    Returns:
        The setting, which every file of the comparison names.

    Raises:
        InvalidValueError: it holds another comparison.
        CheckpointError: its config.json is damaged.
    """
    path = args.out / "config.json"
    free = {field.name for field in fields(Comparison)} - {field.name for field in fields(Setting)}
    setting = {name: value for name, value in args.facts().items() if name not in free}
    setting["reasoner_and_puzzles"] = _digest(live.reasoner, test)
    setting = json.loads(json.dumps(setting))
    if path.exists():
        before = read_json(path)
        if differing := sorted(n for n in {*setting, *before} if before.get(n, path) != setting.get(n, path)):
            raise InvalidValueError(
                f"{args.out} must hold a comparison in the same setting; {one_line(', '.join(differing))} differ."
                " Choose another --out."
            )
    else:
        write_json(path, setting)
    return setting


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


@dataclass(frozen=True)
class _Stage:
    """What all agents of a comparison have in common.

    Attributes:
        args: what was asked for.
        setting: which runs belong to the comparison.
        core: what they are evaluated on.
        training: what they train on.
        tuned: the baselines' constants.
        test: the puzzles.
    """

    args: Comparison
    setting: dict[str, Any]
    core: Core
    training: Core
    tuned: Tuned
    test: Puzzles

    def policy(self, name: str, seed: int) -> StepPolicy:
        """A baseline; or a learned agent, as it is saved: now, or by an earlier run."""
        if not is_learned(name):
            return make_baseline(self.core, name, self.tuned, seed)
        file, run = self.folder(name, seed) / AGENT, self.facts(name, seed)
        if not file.exists():
            model = train_agent(
                name,
                self.training,
                seed=seed,
                timesteps=self.args.total_timesteps,
                logs=self.logs(name, seed),
                progress=self.args.progress,
            )
            self.check_folder()
            save_agent(model, file, name, run)
        _check_run(file, agent_facts(file)["run"], run)
        return load_agent(file, self.core)

    def outcome(self, name: str, seed: int, policy: StepPolicy) -> Outcome:
        """How the policy fared, now or in an earlier run."""
        file, run = self.folder(name, seed) / OUTCOME, self.facts(name, seed)
        shown = display_name(name, policy)
        if file.exists():
            return load_outcome(file, shown, run)
        outcome = evaluate_policy(self.core, policy, self.test)
        self.check_folder()
        learned = [agent for agent in self.args.agents if is_learned(agent)]
        longest = max((self.args.training_steps(agent) for agent in learned), default=1)
        trained = self.args.training_steps(name) if is_learned(name) else 0
        facts: dict[str, str | int] = {"agent": outcome.agent, "seed": seed, "training steps": trained}
        log_evaluation(self.logs(name, seed), report_row(outcome), [trained] if trained else [0, longest], facts)
        save_outcome(file, outcome, run)
        return outcome

    def folder(self, name: str, seed: int) -> Path:
        """Of an agent's files."""
        return self.args.out / "agents" / f"{name}-{seed}"

    def logs(self, name: str, seed: int) -> Path:
        """Of an agent's TensorBoard run."""
        return self.args.out / "tensorboard" / name / f"seed{seed}"

    def facts(self, name: str, seed: int) -> dict[str, Any]:
        """What its files say they belong to."""
        return {"agent": name, "seed": seed, "setting": self.setting}

    def check_folder(self) -> None:
        """Make sure that nobody has removed the folder: half a comparison must not rise again.

        Raises:
            FileError: it is gone.
        """
        if not (self.args.out / "config.json").exists():
            raise FileError(f"{self.args.out} must stay while a comparison runs; it was removed. Begin anew.")


def log_overview(args: Comparison, rows: list[dict[str, Any]], title: str, episode: list[Frame]) -> None:
    """TensorBoard's overview run: a layout that puts the agents side by side, the figure, the table, the boards."""
    from torch.utils.tensorboard import SummaryWriter

    learned = [row["agent"] for row in rows if is_learned(row["agent"])]
    folder = args.out / "tensorboard" / "overview"
    shutil.rmtree(folder, ignore_errors=True)  # an earlier report's
    with logging_to(folder), SummaryWriter(str(folder)) as writer:
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
        LatentRLError: an argument is wrong, a file is damaged or can't be written, or another process is at it.
    """
    with claimed(args.out):
        return _compare(args)


def _compare(args: Comparison) -> list[dict[str, Any]]:
    console = Console(stderr=True)
    live, test = args.make_core(), args.test_puzzles()
    for name in args.agents:
        if is_learned(name):
            make_agent(name, live, seed=0)  # one that can't take the actions must not cost an hour
    setting = claim_folder(args, live, test)
    console.print(f"Choosing the baselines' constants on validation puzzles of {args.task}")
    core, training = args.evaluation_core(live, test), args.training_core(live)
    stage = _Stage(args, setting, core, training, args.tune(live), test)
    for name in args.agents:
        if not is_learned(name):
            stage.policy(name, 0)
    outcomes: dict[str, list[Outcome]] = {}
    policies: dict[str, StepPolicy] = {}
    rows: list[dict[str, Any]] = []
    for seed in range(args.seeds):
        for name in args.agents:
            console.print(f"{name}, seed {seed}")
            policy = stage.policy(name, seed)
            outcome = stage.outcome(name, seed, policy)
            policies.setdefault(outcome.agent, policy)
            outcomes.setdefault(outcome.agent, []).append(outcome)
            rows.append(report_row(outcome, seed=seed))
    stage.check_folder()
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
