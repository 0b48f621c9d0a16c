"""Sudokus made by the search that deduces: of any size up to 16x16, and hard ones by hill climbing.

All functions are compiled by numba (the `generate` extra). Digits are 1..N, 0 is blank.
"""

import numpy as np

from latent_rl.tasks.sudoku.bitboards import PATIENCE, Geometry, search
from latent_rl.tasks.sudoku.rating import MAX_GUESSES, NUM_ORDERS, rating
from latent_rl.tasks.sudoku.search import Grid, njit

MOVES_APART = 4
"""Moves of a walk between two puzzles that are kept."""
TEMPERATURE = 0.15
"""Of Metropolis' rule, in units of log(rating + 1)."""
LEAST_SHARE = 0.1
"""The share of the present rating that a proposal must have before it is minimal."""
MARGIN = 0.5
"""How far a rating by two orders may be off, in the units of the temperature."""


@njit(cache=True)
def _minimise(grid: Grid, size: Geometry, num_empty: int) -> None:
    """Blank givens in random order, up to so many blanks, as long as the solution stays the only one."""
    order, scratch = np.random.permutation(len(grid)), np.empty((1, len(grid)), dtype=np.int64)
    empty = (grid == 0).sum()
    for cell in order:
        digit = grid[cell]
        if digit and empty < num_empty:
            grid[cell] = 0
            if search(grid, order, size, PATIENCE, scratch, cell, digit)[0]:
                grid[cell] = digit
            else:
                empty += 1


@njit(cache=True)
def _completed(grid: Grid, size: Geometry) -> bool:
    """Add random givens, each from one of two completions that differ there, until there is only one completion.

    Returns:
        Whether there is any.
    """
    pair = np.empty((2, len(grid)), dtype=np.int64)
    while True:
        order = np.random.permutation(len(grid))
        found, _ = search(grid, order, size, PATIENCE, pair)
        if found < 2:
            return found == 1
        for cell in order:
            if pair[0, cell] != pair[1, cell]:
                grid[cell] = pair[np.random.randint(2), cell]
                break


@njit(cache=True)
def dig_by_deduction(size: Geometry, num_empty: int, seed: int) -> tuple[Grid, Grid]:
    """Make a puzzle with one solution as `search.dig` does, by the search that deduces; it is for boards over 9x9.

    Args:
        size: see `geometry`.
        num_empty: blanks at the most; with N*N the puzzle is minimal.
        seed: of the puzzle.

    Returns:
        The puzzle and its solution, int64 [N*N] each.
    """
    np.random.seed(seed)
    cells, n = len(size.peers), size.box_rows * size.box_columns
    solution, puzzle = np.empty((1, cells), dtype=np.int64), np.zeros(cells, dtype=np.int64)
    while not puzzle.any() or not _completed(puzzle, size):
        # Boxes on the diagonal do not see each other: any digits will do, and most of the way is done.
        puzzle[:] = 0
        for box in range(min(n // size.box_rows, n // size.box_columns)):
            for place, digit in enumerate(np.random.permutation(n)):
                row, column = place // size.box_columns, place % size.box_columns
                puzzle[(box * size.box_rows + row) * n + box * size.box_columns + column] = digit + 1
    search(puzzle, np.arange(cells), size, PATIENCE, solution)
    puzzle[:] = solution[0]
    _minimise(puzzle, size, num_empty)
    return puzzle, solution[0]


@njit(cache=True)
def _distance(puzzle: Grid, level: float, goal: float, num_givens: int, weight: float) -> float:
    return abs(np.log((level + 1) / (goal + 1))) + weight * abs((puzzle > 0).sum() - num_givens)


@njit(cache=True)
def walk(
    start: Grid, goal: float, num_givens: int, weight: float, num_proposals: int, size: Geometry, seed: int
) -> tuple[Grid, Grid]:
    """A random walk over minimal puzzles that climbs to a difficulty and a number of givens and stays about there.

    A proposal drops a given, adds random ones until the solution is unique again and blanks what can be spared; it is
    taken by Metropolis' rule on its distance from the goal, |log((rating + 1) / (goal + 1))| and `weight` for each
    given too many or too few. Every `MOVES_APART`-th puzzle that the walk comes to is kept, the easy ones on its way
    too. Puzzles of one walk resemble each other: put a walk into one split as a whole.

    Args:
        start: int64 [N*N], a puzzle with one solution.
        goal: the wanted rating.
        num_givens: the wanted number of givens.
        weight: what a given too many or too few counts.
        num_proposals: length of the walk.
        size: see `geometry`.
        seed: of the walk.

    Returns:
        Puzzles, int64 [K, N*N], and their ratings, float64 [K].
    """
    np.random.seed(seed)
    orders = np.empty((NUM_ORDERS, len(start)), dtype=np.int64)
    for number in range(len(orders)):
        orders[number] = np.random.permutation(len(start))
    puzzles = np.empty((num_proposals // MOVES_APART, len(start)), dtype=np.int64)
    ratings = np.empty(len(puzzles))
    current, kept, moves = start.copy(), 0, 0
    level = rating(current, orders, size, MAX_GUESSES)
    distance = _distance(current, level, goal, num_givens, weight)
    for _ in range(num_proposals):
        proposal = current.copy()
        proposal[np.random.choice(np.nonzero(proposal)[0])] = 0
        if not _completed(proposal, size):
            continue
        # What is much too easy before givens are spared seldom becomes hard by it.
        if rating(proposal, orders[:2], size, MAX_GUESSES) < LEAST_SHARE * min(level, goal):
            continue
        _minimise(proposal, size, len(proposal))
        if (proposal == current).all():
            continue
        # The greatest loss that is taken is drawn first, so that a first impression saves most of the ratings.
        most = distance - TEMPERATURE * np.log(np.random.random())
        new = rating(proposal, orders[:2], size, MAX_GUESSES)
        if _distance(proposal, new, goal, num_givens, weight) > most + MARGIN:
            continue
        new = rating(proposal, orders, size, MAX_GUESSES)
        new_distance = _distance(proposal, new, goal, num_givens, weight)
        if new_distance > most:
            continue
        current, level, distance, moves = proposal, new, new_distance, moves + 1
        if moves % MOVES_APART == 0:
            puzzles[kept], ratings[kept] = current, level
            kept += 1
    return puzzles[:kept], ratings[:kept]
