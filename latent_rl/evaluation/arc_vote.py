"""ARC's official score: a task's test input is asked in every view, the answers are mapped back, and the most frequent
grids are the attempts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from latent_rl.errors import InvalidValueError
from latent_rl.evaluation.fixed_steps import unroll
from latent_rl.fit import check_fits
from latent_rl.reasoners.base import Reasoner
from latent_rl.tasks.arc.data import ArcTask
from latent_rl.tasks.arc.grids import Grid, to_grid
from latent_rl.tasks.arc.task import Arc, Riddle
from latent_rl.tasks.base import Split

BATCH_SIZE = 256
"""Views that are asked at once."""
NO_GRID: Grid = np.zeros((1, 1), dtype=np.int64)
"""Stands for an attempt that was not made: a submission must have two."""


@dataclass(frozen=True)
class Candidate:
    """A grid that views voted for.

    Attributes:
        grid: int64 [H, W], in the task's own colours and orientation.
        votes: how many views gave it.
        confidence: mean probability, by the halting head, that it is right.
    """

    grid: Grid
    votes: int
    confidence: float


def vote(answers: Iterable[tuple[Grid, float]]) -> list[Candidate]:
    """Rank distinct grids by votes, then by mean confidence, then by who came first.

    Args:
        answers: a grid and its confidence for each view. A grid without cells is no answer.
    """
    ballots: dict[tuple[tuple[int, ...], bytes], tuple[Grid, list[float]]] = {}
    for answer, confidence in answers:
        grid = np.ascontiguousarray(answer, dtype=np.int64)
        if grid.size:
            ballots.setdefault((grid.shape, grid.tobytes()), (grid, []))[1].append(confidence)
    candidates = [Candidate(grid, len(given), sum(given) / len(given)) for grid, given in ballots.values()]
    return sorted(candidates, key=lambda candidate: (-candidate.votes, -candidate.confidence))


def pass_at(k: int, candidates: Sequence[Sequence[Candidate]], answers: Sequence[Grid]) -> float:
    """The share of one task's test inputs for which one of the first `k` candidates is the answer, shape included.

    Args:
        k: attempts.
        candidates: for each test input, the best first.
        answers: for each test input, [H, W].
    """
    solved = [
        any(np.array_equal(candidate.grid, answer) for candidate in ranked[:k])
        for ranked, answer in zip(candidates, answers, strict=True)
    ]
    return sum(solved) / len(solved)


@dataclass(frozen=True)
class Ranking:
    """The candidates for the test inputs of one of ARC's tasks.

    Attributes:
        riddle: the task.
        candidates: for each of its test inputs, the best first.
        num_views: in how many views each was asked.
    """

    riddle: Riddle
    candidates: list[list[Candidate]]
    num_views: int

    @property
    def is_scored(self) -> bool:
        """Whether all answers are known."""
        return all(answer.size for _, answer in self.riddle.task.tests)

    def pass_at(self, k: int) -> float:
        """The share of the test inputs that `k` attempts solve."""
        return pass_at(k, self.candidates, [answer for _, answer in self.riddle.task.tests])

    def submission(self) -> list[dict[str, list[list[int]]]]:
        """Two attempts for each test input, in the official format; the first one again if there is no second."""
        return [_attempts(ranked) for ranked in self.candidates]


def _attempts(ranked: Sequence[Candidate] = ()) -> dict[str, list[list[int]]]:
    grids = [candidate.grid.tolist() for candidate in ranked[:2]] or [NO_GRID.tolist()]
    return {"attempt_1": grids[0], "attempt_2": grids[-1]}


@torch.no_grad()
def ask(
    reasoner: Reasoner, task: Arc, riddle: Riddle, grid: Grid, num_steps: int, max_views: int | None = None
) -> list[Candidate]:
    """Let a reasoner answer one test input in its views, and rank what it says.

    Args:
        reasoner: trained on `task`, whose puzzle ids it knows.
        task: ARC.
        riddle: which of its tasks.
        grid: the test input.
        num_steps: supervision steps.
        max_views: only the first so many views.
    """
    puzzles = task.views(riddle, grid)[:max_views]
    answers: list[tuple[Grid, float]] = []
    for start in range(0, len(puzzles), BATCH_SIZE):
        batch = puzzles[start : start + BATCH_SIZE]
        for _, _, output in unroll(reasoner, batch, num_steps):
            last = output
        tokens = task.constrain(batch.inputs, last.conditional_logits).argmax(-1).numpy()
        grids = [riddle.augmentations.invert(k, to_grid(row, task.size)) for k, row in enumerate(tokens, start)]
        answers += zip(grids, last.halt_logit.sigmoid().tolist(), strict=True)
    return vote(answers)


def rank(reasoner: Reasoner, task: Arc, split: Split, num_steps: int, max_views: int | None = None) -> list[Ranking]:
    """Ask every test input of a split: one ranking for each of ARC's tasks in it.

    Raises:
        InvalidValueError: the reasoner does not fit, a number is below 1, or the split has no task.
    """
    check_fits(reasoner, task)
    for name, number in (("steps", num_steps), ("views", max_views)):
        if number is not None and number < 1:
            raise InvalidValueError(f"the number of {name} must be at least 1; got {number}.")
    if not any(riddle.split == split for riddle in task.riddles):
        raise InvalidValueError(f"{task.name} must have {split} tasks to vote on; it has none that can be asked.")
    rankings = []
    for riddle in task.riddles:
        if riddle.split == split:
            candidates = [ask(reasoner, task, riddle, grid, num_steps, max_views) for grid, _ in riddle.task.tests]
            num_views = min(len(riddle.augmentations), max_views or len(riddle.augmentations))
            rankings.append(Ranking(riddle, candidates, num_views))
    return rankings


def submission(rankings: Iterable[Ranking], left_out: Iterable[ArcTask] = ()) -> dict[str, Any]:
    """The attempts for all tasks in the official format: {task: [{"attempt_1": grid, "attempt_2": grid}, ...]}.

    Args:
        rankings: of the tasks that were asked.
        left_out: those that were not; the format wants attempts for them, too.
    """
    return {ranking.riddle.task.name: ranking.submission() for ranking in rankings} | {
        task.name: [_attempts() for _ in task.tests] for task in left_out
    }
