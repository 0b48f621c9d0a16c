"""Train and evaluate agents, with one seed or several, on the same puzzles; a report, and TensorBoard side by side."""

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from latent_rl.agents.baselines import baseline_names, describe_baselines, is_baseline
from latent_rl.agents.commands.runs import Runs, is_learned
from latent_rl.agents.commands.setting import Flat, Setting
from latent_rl.agents.evaluate import Outcome
from latent_rl.agents.policy import StepPolicy
from latent_rl.agents.report.figure import draw
from latent_rl.agents.report.replay import Frame, frames, show_episode, telling_puzzle, write_gif
from latent_rl.agents.report.rows import ReportRow, averaged, report_row
from latent_rl.agents.report.tables import print_table, report_csv, report_markdown
from latent_rl.agents.report.tensorboard import log_overview
from latent_rl.agents.sb3.agents import AGENTS, make_agent
from latent_rl.config import SEED, Range, check_fields
from latent_rl.errors import InvalidValueError, UnknownNameError
from latent_rl.figures import png
from latent_rl.program import concluded, parsed, stop_on_sigterm
from latent_rl.storage.atomic import write_atomically, write_json
from latent_rl.storage.claims import claimed
from latent_rl.storage.stops import resumable

REFERENCE = "rule"
"""The agent that the others' returns are compared with, puzzle by puzzle, if it takes part."""
_LEARNED = "; ".join(f"{name}: {spec.about}" for name, spec in AGENTS.items())


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Train and evaluate agents on the same puzzles, over several seeds."""

    setting: Flat[Setting] = Setting()
    """Environment and puzzles."""
    agents: Annotated[
        tuple[str, ...],
        tyro.conf.arg(help=f"Agents by name. Learned: {_LEARNED}. Others: {describe_baselines()}."),
    ] = ("random", "fixed", "best-of", "threshold", "rule", "ppo", "dqn", "operator", "oracle")
    """Agents by name."""
    seed: Annotated[int, SEED] = 0
    """The first of the agents' seeds; the puzzles and views are the same for all."""
    seeds: Annotated[int, Range(1, 10_000)] = 3
    """How many seeds each agent gets."""
    out: Path = Path("runs/compare")
    """Folder for the report, TensorBoard runs and agents; a run that was cut goes on where it was."""
    progress: bool = True
    """Show progress bars."""
    json: bool = False
    """Print the report as JSON."""

    def __post_init__(self) -> None:
        """Check names, types and ranges."""
        check_fields(self)
        if not self.agents or len(set(self.agents)) < len(self.agents):
            raise InvalidValueError(f"agents must be different names; got {', '.join(self.agents) or 'none'}.")
        for name in self.agents:
            if not is_learned(name) and not is_baseline(name):
                raise UnknownNameError("agent", name, [*AGENTS, *baseline_names()])

    def run(self) -> None:
        """Compare, and print the report if asked to."""
        with resumable(f"{self.out} keeps every agent that is finished, and one that is being trained begins anew"):
            rows = compare(self)
        if self.json:
            print(json.dumps([asdict(row) for row in rows], indent=2))


def compare(args: Comparison) -> list[ReportRow]:
    """Run the comparison; returns the rows of `report.json`, one for each seed and agent.

    The folder gets `report.json`, `table.md`, `table.csv` (all seeds together), `comparison.png`, `episode.gif`, the
    agents, and TensorBoard runs.

    Raises:
        LatentRLError: an argument is wrong, a file is damaged or can't be written, or another process is at it.
    """
    with claimed(args.out):
        return _compare(args)


@dataclass(frozen=True)
class _Contestant:
    """An agent: as it was asked for, the policy of its first seed, and how it fared, by seed."""

    agent: str
    policy: StepPolicy
    outcomes: tuple[Outcome, ...]

    @property
    def name(self) -> str:
        """In reports: "fixed" and "best-of" get the number of steps that was chosen."""
        return self.policy.name


def _compare(args: Comparison) -> list[ReportRow]:
    console, started = Console(stderr=args.json), time.monotonic()
    live, test = args.setting.make_core(), args.setting.test_puzzles()
    for agent in filter(is_learned, args.agents):
        make_agent(agent, live, seed=0)  # one that can't take the actions must not cost an hour
    runs = Runs.of(args.setting, live, test, args.agents, args.out, args.progress)
    task = args.setting.process.task
    console.print(f"Choosing the baselines' constants on validation puzzles of {task}")
    contestants = _evaluated(args, runs, console)
    runs.check_folder()
    reference = next((c.outcomes for c in contestants if c.agent == REFERENCE), None)
    rows = [
        report_row(c.outcomes[i], reference=reference[i] if reference else None, seed=args.seed + i)
        for i in range(args.seeds)
        for c in contestants
    ]
    together = [
        report_row(
            averaged(c.outcomes),
            reference=averaged(reference) if reference else None,
            seed=args.seed if args.seeds == 1 else None,
            num_seeds=args.seeds,
        )
        for c in contestants
    ]
    shown = next((c for c in contestants if is_learned(c.agent)), contestants[0])
    episode = list(frames(runs.core, shown.policy, *telling_puzzle(shown.outcomes[0], test)))
    of_seeds = f"seed {args.seed}" if args.seeds == 1 else f"{args.seeds} seeds"
    title = f"{task}: {len(test)} test puzzles, {of_seeds}"
    print_table(console, title, together)
    show_episode(console, shown.name, episode)
    learned = [c.name for c in contestants if is_learned(c.agent)]
    write_report(args.out, title, rows, together, learned, episode, shown.name)
    console.print(
        f"All in {time.monotonic() - started:.0f} s. Report in {args.out}; compare in TensorBoard:"
        f" tensorboard --logdir {args.out / 'tensorboard'}"
    )
    return rows


def _evaluated(args: Comparison, runs: Runs, console: Console) -> list[_Contestant]:
    """Every agent with every seed. Those whose name in reports is another's, such as fixed-6 and fixed, are one."""
    first = {agent: runs.policy(agent, args.seed) for agent in args.agents if not is_learned(agent)}
    policies: dict[str, tuple[str, StepPolicy]] = {}
    outcomes: dict[str, list[Outcome]] = {}
    for seed in range(args.seed, args.seed + args.seeds):
        for agent in args.agents:
            console.print(f"{agent}, seed {seed}")
            policy = first[agent] if agent in first and seed == args.seed else runs.policy(agent, seed)
            if policies.setdefault(policy.name, (agent, policy))[0] == agent:
                outcomes.setdefault(policy.name, []).append(runs.outcome(agent, seed, policy))
    return [_Contestant(*policies[name], tuple(found)) for name, found in outcomes.items()]


def write_report(
    out: Path,
    title: str,
    rows: list[ReportRow],
    together: list[ReportRow],
    learned: list[str],
    episode: list[Frame],
    shown: str,
) -> None:
    """Write all files of a report.

    Args:
        out: the folder.
        title: of figure and tables.
        rows: one for each seed and agent.
        together: one for each agent.
        learned: names of those that were trained.
        episode: one puzzle being solved.
        shown: who solves it.

    Raises:
        FileError: one can't be written.
    """
    figure = draw(title, together, learned)
    write_json(out / "report.json", [asdict(row) for row in rows])
    write_atomically(out / "table.csv", report_csv(together).encode())
    write_atomically(out / "table.md", report_markdown(together).encode())
    write_atomically(out / "comparison.png", png(figure, dpi=150))
    write_gif(out / "episode.gif", shown, episode)
    log_overview(out / "tensorboard" / "overview", title, together, figure, episode)


def main(default: Comparison, description: str | None) -> int:
    """The program of an example: a comparison whose options have other defaults; returns the exit status.

    Args:
        default: the options as they are if none is given.
        description: for --help.
    """

    def work() -> None:
        parsed(lambda: tyro.cli(Comparison, default=default, description=description)).run()

    stop_on_sigterm()
    return concluded(Path(sys.argv[0]).stem, work)
