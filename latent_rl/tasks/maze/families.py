"""Families of mazes: how walls, start and goal are drawn. Each is a function that gives what one batch of draws yields.

- `looped`: a random tree, and holes that close loops; one shortest path.
- `scattered`: random cells are walls, as in the public Maze-Hard; one shortest path or several.
- `perfect`: a depth-first tree of corridors, as in the public Maze-Unique; one shortest path.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from latent_rl.tasks.maze.boards import Plane, beside, fronts, near, pack, shortest_path, steps_between, unpack, waves
from latent_rl.tasks.maze.draws import Draws

_BATCH = 2048
"""Mazes that are drawn at once."""
WALL_SHARE = (0.3, 0.5)
"""Least and greatest share of walls among scattered cells."""
ATTEMPTS = 100
"""Pairs of start and goal that are tried on scattered walls."""
_SLACK = 6
"""How much a double sweep may miss of the longest path."""
_STARTS = 20
"""Starts that are tried in a perfect maze."""


@dataclass(frozen=True)
class Mazes:
    """Mazes and a shortest path through each; every field is bool [P, N*N].

    Attributes:
        passable: the cells that are no wall, start and goal included.
        start: one cell.
        goal: one cell.
        path: the cells between them on the path, as `shortest_path` chooses it.
    """

    passable: np.ndarray
    start: np.ndarray
    goal: np.ndarray
    path: np.ndarray

    @staticmethod
    def of(passable: Plane, start: Plane, goal: Plane) -> "Mazes":
        """Unpack planes and find the paths."""
        return Mazes(*map(unpack, (passable, start, goal, shortest_path(passable, start, goal))))

    def select(self, rows: np.ndarray | slice) -> "Mazes":
        """The given rows."""
        return Mazes(**{name: cells[rows] for name, cells in vars(self).items()})


Family = Callable[[int, range, Draws], Mazes]
"""Draws a batch of boards of N rows, with paths of so many steps, and keeps those that have one."""


def looped(size: int, steps: range, draws: Draws) -> Mazes:
    """Mazes with few loops and one shortest path.

    A start lies as far as can be from a random cell; the goal is a random cell among those that only one shortest path
    leads to.
    """
    passable, start = _grow(size, draws)
    for front in fronts(passable, start):  # to a cell far from everything
        start = np.where(front.any(0), front, start)
    start = pack(draws.one_of(unpack(start)))
    goals = np.zeros_like(start)
    for distance, (front, several) in enumerate(waves(passable, start), 1):
        if distance in steps:
            goals |= front & ~several
    rows = goals.any(0)
    return Mazes.of(passable[:, rows], start[:, rows], pack(draws.one_of(unpack(goals[:, rows]))))


def _grow(size: int, draws: Draws) -> tuple[Plane, Plane]:
    """Passable cells and one of them, for a batch: a tree that fills the board, and a few holes in its walls.

    The tree grows from a random cell into random cells that touch it once, so that it has no loop; the holes, a
    sixteenth of the cells, make some.
    """
    start = pack(draws.one_of(np.ones((_BATCH, size**2), dtype=bool)))
    board, passable = np.uint32((1 << size) - 1), start
    while True:
        once, twice = beside(passable)
        growing = once & ~twice & ~passable & board
        if not growing.any():
            break
        chosen = growing & draws.plane(size, _BATCH)
        # Two of them side by side would close a loop.
        passable = passable | chosen & ~near(chosen)
    holes = np.full_like(passable, board)
    for _ in range(4):
        holes = holes & draws.plane(size, _BATCH)
    return passable | holes, start


def scattered(size: int, steps: range, draws: Draws) -> Mazes:
    """Walls at random cells, a share of them uniform in `WALL_SHARE`; start and goal are random free cells.

    Walls are kept with the first of `ATTEMPTS` pairs of start and goal whose shortest path is right, if there is one.

    Source: Hierarchical Reasoning Model (2506.21734), Maze-Hard; Beyond A* (2402.14083), appendix on mazes.
    """
    cells = size**2
    share = WALL_SHARE[0] + (WALL_SHARE[1] - WALL_SHARE[0]) * draws.uniform(_BATCH)
    order = draws.uniform(_BATCH * cells).reshape(_BATCH, cells)
    num_walls = np.round(share * cells).astype(np.int64)[:, None]
    passable = pack(order >= np.take_along_axis(np.sort(order, axis=1), num_walls, axis=1))
    passable = passable[:, _may_reach(passable, steps.start - _SLACK, draws)]
    tries = np.repeat(passable, ATTEMPTS, axis=1)
    start, goal = (pack(draws.one_of(unpack(tries))) for _ in range(2))
    fits = np.isin(steps_between(tries, start, goal), steps).reshape(-1, ATTEMPTS)
    rows = np.flatnonzero(fits.any(1))
    columns = rows * ATTEMPTS + fits[rows].argmax(1)
    return Mazes.of(tries[:, columns], start[:, columns], goal[:, columns])


def _may_reach(passable: Plane, num_steps: int, draws: Draws) -> np.ndarray:
    """Numbers of the boards with two cells so far from each other, by a double sweep of each connected part: from a
    random cell to one that is farthest away, and from there again. Most boards have none, and need not be tried."""
    found, rows, unseen = np.zeros(passable.shape[1], dtype=bool), np.arange(passable.shape[1]), passable
    while len(rows):
        depth, far, seen = _sweep(passable[:, rows], pack(draws.one_of(unpack(unseen))))
        wide = 2 * depth >= num_steps  # no two cells are farther from each other than both are from a third
        found[rows[wide]] |= _sweep(passable[:, rows[wide]], pack(draws.one_of(unpack(far[:, wide]))))[0] >= num_steps
        unseen = unseen & ~seen
        large = (unpack(unseen).sum(1) > num_steps) & ~found[rows]
        rows, unseen = rows[large], unseen[:, large]
    return np.flatnonzero(found)


def _sweep(passable: Plane, start: Plane) -> tuple[np.ndarray, Plane, Plane]:
    """How far the cells are that can be reached, int64 [B]; the farthest of them; all of them."""
    depth, far, seen = np.zeros(start.shape[1], dtype=np.int64), start, start
    for distance, front in enumerate(fronts(passable, start), 1):
        reaches = front.any(0)
        depth[reaches] = distance
        far = np.where(reaches, front, far)
        seen = seen | front
    return depth, far, seen


def perfect(size: int, steps: range, draws: Draws) -> Mazes:
    """Corridors of a tree, one cell wide, on a board of odd size with a border; an even board has a wall more.

    The tree is that of a depth-first walk. The length of the path is uniform in `steps`; the start is a random free
    cell, the goal a random one in that distance.

    Source: Equilibrium Reasoners (2605.21488), Maze-Unique.
    """
    passable = pack(_depth_first(size, draws))
    wanted = steps.start + (draws.uniform(_BATCH) * len(steps)).astype(np.int64)
    start, goal, rows = np.zeros_like(passable), np.zeros_like(passable), np.arange(_BATCH)
    for _ in range(_STARTS):
        first = pack(draws.one_of(unpack(passable[:, rows])))
        goals = np.zeros_like(first)
        for distance, front in enumerate(fronts(passable[:, rows], first), 1):
            goals |= np.where(wanted[rows] == distance, front, 0)
        found = goals.any(0)
        start[:, rows[found]] = first[:, found]
        goal[:, rows[found]] = pack(draws.one_of(unpack(goals[:, found])))
        rows = rows[~found]
        if not len(rows):
            break
    placed = goal.any(0)
    return Mazes.of(passable[:, placed], start[:, placed], goal[:, placed])


def _depth_first(size: int, draws: Draws) -> np.ndarray:
    """Bool [B, N*N]: rooms at odd rows and columns, joined by a depth-first walk that goes back where all are taken."""
    rooms = np.arange(1, size - 1, 2)
    cells = (rooms[:, None] * size + rooms).ravel()
    has_room = np.zeros((size + 4, size + 4), dtype=bool)
    has_room[np.ix_(rooms + 2, rooms + 2)] = True
    two_on = ((0, 2), (2, 0), (2, 4), (4, 2))
    is_board = np.stack([has_room[row : row + size, column : column + size].ravel() for row, column in two_on], axis=1)
    offsets = np.array([(row - 2) * size + column - 2 for row, column in two_on])
    every, depth = np.arange(_BATCH), np.zeros(_BATCH, dtype=np.int64)
    here = cells[(draws.uniform(_BATCH) * len(cells)).astype(np.int64)]
    trail = np.zeros((_BATCH, len(cells)), dtype=np.int64)
    passable = np.zeros((_BATCH, size**2), dtype=bool)
    passable[every, here] = True
    for _ in range(2 * (len(cells) - 1)):  # into every room and out again
        near = np.where(is_board[here], here[:, None] + offsets, here[:, None])
        choice = draws.one_of(~passable[every[:, None], near])
        goes = choice.any(1)
        there = near[every, choice.argmax(1)]
        passable[every[goes], (here + there)[goes] // 2] = True
        passable[every[goes], there[goes]] = True
        trail[every[goes], depth[goes]] = here[goes]
        depth += np.where(goes, 1, -1)
        here = np.where(goes, there, trail[every, depth])
    return passable
