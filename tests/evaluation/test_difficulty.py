"""Solved rates by difficulty, and the interval of one: by hand, and against the formula."""

import numpy as np
import pytest

from latent_rl.evaluation.difficulty import DifficultyRow, by_difficulty
from latent_rl.evaluation.intervals import bootstrap_interval
from latent_rl.tasks.registry import TASKS, make_task


def test_rows_by_hand() -> None:
    """Means of several counts are rounded to the nearest bin; a bin without a puzzle has no row."""
    solved = np.array([True, False, True, True, False, False])
    guesses = np.array([0, 3.2, 10.4, 10.6, 101, 2000])
    assert by_difficulty(solved, guesses) == [
        DifficultyRow(guesses="0", num_puzzles=1, solved_rate=1.0),
        DifficultyRow(guesses="1-10", num_puzzles=2, solved_rate=0.5),
        DifficultyRow(guesses="11-25", num_puzzles=1, solved_rate=1.0),
        DifficultyRow(guesses="over 100", num_puzzles=2, solved_rate=0.0),
    ]


def test_tasks_are_rated_that_are_made_by_difficulty() -> None:
    rated = {name for name, task in TASKS.items() if task.guesses("validation") is not None}
    assert rated == {"sudoku9x9-extreme"}
    task = make_task("sudoku9x9-extreme")
    guesses = task.guesses("test")
    assert guesses is not None
    assert len(guesses) == task.num_puzzles("test")


@pytest.mark.parametrize("count", [1, 1000, 2098, 5000])
def test_an_interval_is_that_of_all_resamples_at_once(count: int) -> None:
    """Many puzzles are resampled in several parts, which changes no digit."""
    values = np.random.default_rng(1).random(count)
    picks = np.random.default_rng(3).integers(count, size=(2000, count))
    expected = np.quantile(values[picks].mean(1), [0.05, 0.95])
    assert bootstrap_interval(values, level=0.9, seed=3) == pytest.approx(tuple(expected), abs=1e-12)
