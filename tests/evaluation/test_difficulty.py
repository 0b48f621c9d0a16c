"""Solved rates by difficulty, and the interval of one: by hand, and against the formula."""

import numpy as np
import pytest

from latent_rl.evaluation.difficulty import DifficultyRow, by_difficulty
from latent_rl.evaluation.intervals import bootstrap_interval, wilson_interval
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


@pytest.mark.parametrize(
    ("solved", "count", "expected"),
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_a_share_has_wilsons_interval(solved: int, count: int, expected: tuple[float, float]) -> None:
    assert wilson_interval(np.arange(count) < solved) == pytest.approx(expected, abs=5e-5)
    low, high = wilson_interval(np.arange(count) >= solved)
    assert (1 - high, 1 - low) == pytest.approx(expected, abs=5e-5)
