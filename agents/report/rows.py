"""What a report says of an agent: one row of numbers, of one seed or of several together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latent_rl.agents.evaluate import Outcome
from latent_rl.evaluation.intervals import bootstrap_interval


@dataclass(frozen=True, kw_only=True)
class ReportRow:
    """How an agent fared on P puzzles; of several seeds, each puzzle's values are averaged over them first.

    Attributes:
        agent: its name.
        seed: of the agent; None for several together.
        num_seeds: how many.
        num_puzzles: P.
        solved_rate: share of puzzles in [0, 1].
        solved_low: lower end of its 95% interval, puzzles being resampled.
        solved_high: upper end.
        mean_passes: forward passes a puzzle.
        mean_steps: supervision steps a puzzle.
        mean_return: undiscounted sum of rewards.
        return_low: lower end of its interval.
        return_high: upper end.
        gain: mean return above that of the reference on the same puzzles; None without one.
        gain_low: lower end of its interval.
        gain_high: upper end.
    """

    agent: str
    seed: int | None
    num_seeds: int
    num_puzzles: int
    solved_rate: float
    solved_low: float
    solved_high: float
    mean_passes: float
    mean_steps: float
    mean_return: float
    return_low: float
    return_high: float
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None


def report_row(
    outcome: Outcome, *, reference: Outcome | None = None, seed: int | None, num_seeds: int = 1
) -> ReportRow:
    """The row of an outcome.

    Args:
        outcome: of one seed, or an average of several.
        reference: of the agent that the returns are compared with, on the same puzzles.
        seed: of the agent; None for several.
        num_seeds: how many.
    """
    solved_low, solved_high = bootstrap_interval(outcome.solved)
    return_low, return_high = bootstrap_interval(outcome.returns)
    gain = None if reference is None else outcome.returns - reference.returns
    gain_low, gain_high = (None, None) if gain is None else bootstrap_interval(gain)
    return ReportRow(
        agent=outcome.agent,
        seed=seed,
        num_seeds=num_seeds,
        num_puzzles=len(outcome.solved),
        solved_rate=float(outcome.solved.mean()),
        solved_low=solved_low,
        solved_high=solved_high,
        mean_passes=float(outcome.passes.mean()),
        mean_steps=float(outcome.steps.mean()),
        mean_return=float(outcome.returns.mean()),
        return_low=return_low,
        return_high=return_high,
        gain=None if gain is None else float(gain.mean()),
        gain_low=gain_low,
        gain_high=gain_high,
    )


def averaged(outcomes: Sequence[Outcome]) -> Outcome:
    """The mean of an agent's outcomes, puzzle by puzzle; all values become float64."""

    def mean(name: str) -> np.ndarray:
        found: np.ndarray = np.mean([getattr(outcome, name) for outcome in outcomes], axis=0)
        return found

    return Outcome(
        agent=outcomes[0].agent,
        solved=mean("solved"),
        passes=mean("passes"),
        steps=mean("steps"),
        restarts=mean("restarts"),
        returns=mean("returns"),
    )
