"""How hard a Sudoku is: the guesses that a search needs where deductions end.

The search (`bitboards`) fills in naked and hidden singles and eliminates locked candidates before each guess; the field
rates its collections by such numbers.
"""

import numpy as np

from latent_rl.tasks.sudoku.bitboards import Geometry, search
from latent_rl.tasks.sudoku.histogram import GUESSES_PER_RATING
from latent_rl.tasks.sudoku.search import Grid, njit

NUM_ORDERS = 10
"""Orders of cells over which a rating is averaged."""
MAX_GUESSES = 2000
"""Guesses at which a rating gives up."""


@njit(cache=True)
def rating(grid: Grid, orders: Grid, size: Geometry, most: int) -> float:
    """Mean guesses of a puzzle with one solution over orders of cells, int64 [K, N*N]; at most `most` in each."""
    total, scratch = 0, np.empty((2, len(grid)), dtype=np.int64)
    for order in orders:
        total += search(grid, order, size, most, scratch)[1]
    return total / len(orders)


def guesses(boards: np.ndarray, size: Geometry) -> np.ndarray:
    """Guesses that puzzles need in each of `NUM_ORDERS` fixed orders of cells, on the scale of tdoku.

    One order is as good as tdoku's own choices: on 800 puzzles that tdoku has rated, ranks by two of our orders
    correlate by .70, ranks by one of them and by tdoku by .68; by the mean over the orders and by tdoku by .80.

    Args:
        boards: int64 [B, N*N], digits 1..N or 0, with one solution each.
        size: see `geometry`.

    Returns:
        Float32 [B, NUM_ORDERS]; their mean is the difficulty, any one of them has the spread of the field's ratings.
    """
    random = np.random.default_rng(0)
    orders = np.array([random.permutation(boards.shape[1]) for _ in range(NUM_ORDERS)])
    counts = [[rating(board, order, size, MAX_GUESSES) for order in orders[:, None]] for board in boards]
    return np.array(counts, dtype=np.float32) * np.float32(GUESSES_PER_RATING)
