"""From the results of runs to the numbers of the report: means over seeds, intervals over puzzles."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from arms import ARMS, SETTINGS
from measure import unpack

from latent_rl.evaluation.intervals import bootstrap_interval, enough_steps
from latent_rl.storage.atomic import read_json
from latent_rl.tasks.base import first
from latent_rl.tasks.nqueens.boards import completable, solutions
from latent_rl.tasks.nqueens.task import NQueens
from latent_rl.tasks.registry import make_task


@dataclass(frozen=True)
class Estimate:
    """A mean over puzzles (and the seeds that were run) with its 95% interval over puzzles."""

    mean: float
    low: float
    high: float

    @staticmethod
    def of(values: np.ndarray) -> "Estimate":
        """From one value for each puzzle, float [P]."""
        return Estimate(float(values.mean()), *bootstrap_interval(values))

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Outcome:
    """All seeds of an arm on a task.

    Attributes:
        task: its name.
        arm: its name.
        runs: the results by seed.
        valid: float [K, S, W, P], whether run k's answer after step s to view w of puzzle p is a valid one.
        exact: the same, whether it equals the label.
    """

    task: str
    arm: str
    runs: dict[int, dict[str, Any]]
    valid: np.ndarray
    exact: np.ndarray

    @property
    def num_steps(self) -> int:
        """The headline's number of steps: those it was trained for."""
        return int(self.facts["num_supervision_steps"])

    @property
    def passes(self) -> int:
        """Forward passes of the headline."""
        return self.num_steps * int(self.facts["passes_per_step"])

    @property
    def facts(self) -> dict[str, Any]:
        """Of the first seed: what is the same for all."""
        return next(iter(self.runs.values()))

    def steps_within(self, passes: int) -> int | None:
        """How many steps so many forward passes are; None if that is none, or more than were evaluated."""
        steps = passes // int(self.facts["passes_per_step"])
        return steps if 1 <= steps <= self.valid.shape[1] else None

    def average(self, name: str) -> float:
        """The mean of a fact over the seeds."""
        return float(np.mean([run[name] for run in self.runs.values()]))

    def estimate(self, kind: str, *, all_views: bool) -> Estimate:
        """The accuracy at the headline's step. The views of a puzzle are one cluster."""
        outcomes = getattr(self, kind)[:, self.num_steps - 1]
        return Estimate.of((outcomes if all_views else outcomes[:, :1]).mean((0, 1)))

    def common_seeds(self, other: "Outcome") -> list[int]:
        """The seeds that both have."""
        return sorted(set(self.runs) & set(other.runs))

    def rate(self, seeds: list[int], step: int | None = None) -> float:
        """The valid rate of some seeds after a step, by default the headline's, over all views."""
        rates = self.per_step()[:, (step or self.num_steps) - 1]
        return float(np.mean([rate for seed, rate in zip(self.runs, rates, strict=True) if seed in seeds]))

    def by_seed(self) -> list[float]:
        """The valid rate of each seed at the headline's step, over all views."""
        return [float(rate) for rate in self.per_step()[:, self.num_steps - 1]]

    def margin(self) -> np.ndarray | None:
        """The advantage margin of every step, float [S], as a mean over the seeds; None if it was not measured."""
        return np.mean([run["margin"] for run in self.runs.values()], axis=0) if "margin" in self.facts else None

    def per_step(self) -> np.ndarray:
        """The valid rate of each seed after every step, float [K, S], over all views."""
        return np.asarray(self.valid.mean((2, 3)))

    def enough_steps(self) -> int:
        """From which step on, up to the headline's, the valid rate does not rise beyond noise."""
        return enough_steps(self.valid[:, : self.num_steps].mean((0, 2)))


Arms = dict[str, Outcome]


def read_outcomes(folder: Path) -> dict[str, Arms]:
    """The outcomes by task and arm, in the order of the tables in `arms.py`; seeds that are missing are left out."""
    results = [read_json(path) for path in sorted(folder.glob("*.json"))]
    outcomes: dict[str, Arms] = {}
    for task in SETTINGS:
        for arm in ARMS:
            runs = {r["seed"]: r for r in results if (r["task"], r["arm"]) == (task, arm)}
            if runs:
                valid, exact = (
                    np.stack([unpack(run[kind]) for run in runs.values()]).astype(float) for kind in ("valid", "exact")
                )
                outcomes.setdefault(task, {})[arm] = Outcome(task, arm, runs, valid, exact)
    return outcomes


def difference(one: Outcome, other: Outcome, kind: str, step: int | None = None) -> Estimate:
    """The gain of one arm over another, puzzle by puzzle, over all views and the seeds that both have: at the steps of
    their headlines, or after `step` steps of the one."""
    seeds = one.common_seeds(other)

    def by_puzzle(outcome: Outcome, after: int) -> np.ndarray:
        rows = [list(outcome.runs).index(seed) for seed in seeds]
        return np.asarray(getattr(outcome, kind)[rows, after - 1].mean((0, 1)))

    return Estimate.of(by_puzzle(one, step or one.num_steps) - by_puzzle(other, other.num_steps))


def at_examples(outcome: Outcome, examples: float) -> tuple[float, float]:
    """How many examples an arm had seen at its last validation up to `examples`, and what it solved there.

    Returns:
        Means over the seeds; nan if there is no validation as early.
    """
    rows = []
    for run in outcome.runs.values():
        early = [row for row in run["curve"] if row["examples"] <= examples]
        rows.append((early[-1]["examples"], early[-1]["valid"]) if early else (np.nan, np.nan))
    seen, valid = np.mean(rows, axis=0)
    return float(seen), float(valid)


def ceiling_of_exact(task_name: str, num_puzzles: int) -> float:
    """What a reasoner that knows all completions of a board and guesses one would score: the mean of 1 / their number.

    1 where puzzles have one answer.
    """
    task = make_task(task_name)
    if not isinstance(task, NQueens):
        return 1.0
    given = task.is_given(first(task, "test", num_puzzles).inputs).numpy()
    return float((1 / completable(given, solutions(task.size)).sum(1)).mean())
