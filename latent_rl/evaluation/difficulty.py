"""Solved rates by difficulty, told by the guesses that a search needs."""

from dataclasses import dataclass

import numpy as np

from latent_rl.tasks.sudoku.histogram import EXTREME


@dataclass(frozen=True, kw_only=True)
class DifficultyRow:
    """Puzzles of like difficulty.

    Attributes:
        guesses: the bin's name, such as ``11-25``.
        num_puzzles: how many puzzles are in it, at least one.
        solved_rate: their share that is solved.
    """

    guesses: str
    num_puzzles: int
    solved_rate: float


def by_difficulty(solved: np.ndarray, guesses: np.ndarray) -> list[DifficultyRow]:
    """The solved rate in each of the field's bins, those of `EXTREME`; bins without a puzzle are left out.

    Args:
        solved: bool [P].
        guesses: float [P], see `Task.guesses`.
    """
    bins = EXTREME.bins(guesses)
    inside = {name: solved[bins == number] for number, name in enumerate(EXTREME.names())}
    return [
        DifficultyRow(guesses=name, num_puzzles=len(rows), solved_rate=float(rows.mean()))
        for name, rows in inside.items()
        if len(rows)
    ]
