"""Of all shortest paths through a maze the likeliest: breadth-first search that carries the best score along.

Compiled where numba is installed (the `generate` extra), as the Sudoku search is.
"""

import numpy as np

from latent_rl.tasks.sudoku.search import njit


@njit(cache=True)
def best_shortest_paths(
    passable: np.ndarray, starts: np.ndarray, goals: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The shortest path with the highest sum of scores through each maze.

    Args:
        passable: bool [B, N, N], the cells that are no wall, start and goal included.
        starts: int64 [B], a cell.
        goals: int64 [B], another.
        scores: float32 [B, N * N], of every cell.

    Returns:
        Bool [B, N * N], the cells between start and goal; bool [B], whether there is a path.
    """
    count, size = passable.shape[0], passable.shape[1]
    on_path = np.zeros((count, size * size), dtype=np.bool_)
    has_path = np.zeros(count, dtype=np.bool_)
    queue = np.empty(size * size, dtype=np.int64)
    for maze in range(count):
        away = np.full(size * size, -1, dtype=np.int64)
        best = np.full(size * size, -np.inf)
        came_from = np.empty(size * size, dtype=np.int64)
        start, goal = starts[maze], goals[maze]
        away[start], best[start], queue[0] = 0, 0.0, start
        head, tail = 0, 1
        while head < tail and queue[head] != goal:
            cell = queue[head]
            head += 1
            row, column = cell // size, cell % size
            # All cells that are as far from the start come before the next ones: what a cell has is final here.
            for near_row, near_column in ((row - 1, column), (row, column - 1), (row, column + 1), (row + 1, column)):
                if not (0 <= near_row < size and 0 <= near_column < size and passable[maze, near_row, near_column]):
                    continue
                near = near_row * size + near_column
                if away[near] < 0:
                    away[near], queue[tail] = away[cell] + 1, near
                    tail += 1
                if away[near] == away[cell] + 1 and best[cell] + scores[maze, near] > best[near]:
                    best[near], came_from[near] = best[cell] + scores[maze, near], cell
        if head < tail:
            has_path[maze] = True
            cell = came_from[goal]
            while cell != start:
                on_path[maze, cell] = True
                cell = came_from[cell]
    return on_path, has_path
