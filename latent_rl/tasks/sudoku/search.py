"""Exact Sudoku search on bit masks: counts solutions, fills grids, digs puzzles.

The functions are plain Python on small integer arrays. With numba (the `generate` extra) they are compiled and
make over a thousand puzzles per second. Digits here are 1..N and 0 is blank; tokens are the business of `task.py`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

try:
    import numba
except ImportError:
    COMPILED = False
else:
    COMPILED = True


def njit(**options: Any) -> Callable[[Any], Any]:
    """numba's decorator, or one that leaves the function as it is."""
    return numba.njit(**options) if COMPILED else lambda function: function


Grid = np.ndarray


@njit(cache=True)
def _most_constrained(grid: Grid, box_of: Grid, free: Grid, n: int) -> tuple[int, int]:
    """The blank cell with the fewest options, and their mask; cell -1 if there is no blank."""
    best, best_count, best_options = -1, n + 1, 0
    for cell in range(n * n):
        if grid[cell] == 0:
            options = free[0, cell // n] & free[1, cell % n] & free[2, box_of[cell]]
            count, rest = 0, options
            while rest:
                rest &= rest - 1
                count += 1
            if count < best_count:
                best, best_count, best_options = cell, count, options
                if count <= 1:
                    break
    return best, best_options


@njit(cache=True)
def _toggle(grid: Grid, box_of: Grid, free: Grid, n: int, cell: int, digit: int) -> None:
    """Write `digit` into a blank cell, or blank a cell that holds it."""
    bit = 1 << (digit - 1)
    grid[cell] = digit if grid[cell] == 0 else 0
    free[0, cell // n] ^= bit
    free[1, cell % n] ^= bit
    free[2, box_of[cell]] ^= bit


@njit(cache=True)
def _search(grid: Grid, box_of: Grid, free: Grid, order: Grid, limit: int, solution: Grid) -> int:
    """Count the completions of `grid` up to `limit`; `solution` keeps the first one found.

    Depth first with a stack of its own: numba crashes on a recursive function that it loads from its cache.

    Args:
        grid: int64 [N*N] with digits 1..N or 0; changed.
        box_of: int64 [N*N], the box of every cell.
        free: int64 [3, N], bit d set where row, column or box still lacks digit d+1; changed.
        order: int64 [K, N], the order in which digits are tried; cell c uses row c mod K.
        limit: stop at this count.
        solution: int64 [N*N], written when the first completion is found.
    """
    n = order.shape[1]
    cells = np.empty(n * n + 1, dtype=np.int64)
    options = np.empty(n * n + 1, dtype=np.int64)
    tried = np.zeros(n * n + 1, dtype=np.int64)
    found, depth = 0, 0
    cells[0], options[0] = _most_constrained(grid, box_of, free, n)
    while depth >= 0:
        cell = cells[depth]
        if cell < 0:
            if found == 0:
                solution[:] = grid
            found += 1
            if found == limit:
                return found
            depth -= 1
            continue
        if grid[cell]:
            _toggle(grid, box_of, free, n, cell, grid[cell])
        k = tried[depth]
        while k < n and not options[depth] >> (order[cell % order.shape[0], k] - 1) & 1:
            k += 1
        if k == n:
            depth -= 1
            continue
        tried[depth] = k + 1
        _toggle(grid, box_of, free, n, cell, order[cell % order.shape[0], k])
        depth += 1
        tried[depth] = 0
        cells[depth], options[depth] = _most_constrained(grid, box_of, free, n)
    return found


@njit(cache=True)
def _free_digits(grid: Grid, box_of: Grid, n: int) -> Grid:
    """Int64 [3, N] masks of the digits that rows, columns and boxes lack; -1 in [0, 0] marks a clash."""
    free = np.full((3, n), (1 << n) - 1, dtype=np.int64)
    for cell in range(n * n):
        if grid[cell]:
            bit = 1 << (grid[cell] - 1)
            row, column, box = cell // n, cell % n, box_of[cell]
            if not (free[0, row] & free[1, column] & free[2, box] & bit):
                free[0, 0] = -1
                return free
            free[0, row] ^= bit
            free[1, column] ^= bit
            free[2, box] ^= bit
    return free


@njit(cache=True)
def count_solutions(grid: Grid, box_of: Grid, n: int, limit: int, solution: Grid) -> int:
    """Count the completions of `grid` up to `limit`; -1 if two givens clash. `solution` gets the first."""
    free = _free_digits(grid, box_of, n)
    if free[0, 0] < 0:
        return -1
    return _search(grid.copy(), box_of, free, np.arange(1, n + 1).reshape(1, n), limit, solution)


@njit(cache=True)
def dig(n: int, box_of: Grid, num_empty: int, seed: int) -> tuple[Grid, Grid]:
    """Make a puzzle with one solution: fill a grid at random, then blank cells in random order.

    A cell is blanked only if the solution stays unique, so the result has at most `num_empty` blanks; with
    num_empty = N*N it is minimal (no given can be spared).

    Returns:
        The puzzle and its solution, int64 [N*N] each, digits 1..N and 0 for blank.
    """
    np.random.seed(seed)
    cells = n * n
    solution = np.zeros(cells, dtype=np.int64)
    order = np.empty((cells, n), dtype=np.int64)
    for cell in range(cells):
        order[cell] = np.random.permutation(n) + 1
    empty_grid = np.zeros(cells, dtype=np.int64)
    _search(empty_grid, box_of, _free_digits(empty_grid, box_of, n), order, 1, solution)
    puzzle = solution.copy()
    scratch = np.empty_like(solution)
    empty = 0
    for cell in np.random.permutation(cells):
        if empty == num_empty:
            break
        kept = puzzle[cell]
        puzzle[cell] = 0
        if count_solutions(puzzle, box_of, n, 2, scratch) == 1:
            empty += 1
        else:
            puzzle[cell] = kept
    return puzzle, solution
