"""Mazes on bit planes: breadth-first search for a whole batch at once, and mazes that are pure functions of a seed.

A plane is uint32 [N, B]: bit c of row r of maze b says something about the cell in row r, column c. A wave of the
search then takes a dozen operations on whole planes, whatever the number of mazes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from latent_rl.errors import InvalidValueError
from latent_rl.tasks.grids import dihedral_maps

Plane = np.ndarray

_BATCH = 2048
"""Mazes that are grown at once."""
_PATIENCE = 20
"""Batches in a row that may yield nothing before the size counts as exhausted."""


def pack(cells: np.ndarray) -> Plane:
    """Bool [B, N*N] as a plane."""
    size = math.isqrt(cells.shape[1])
    bits = cells.reshape(len(cells), size, size).astype(np.uint32) << np.arange(size, dtype=np.uint32)
    return np.ascontiguousarray(np.bitwise_or.reduce(bits, axis=2).T)


def unpack(plane: Plane) -> np.ndarray:
    """The inverse of `pack`: bool [B, N*N]."""
    bits = plane.T[:, :, None] >> np.arange(len(plane), dtype=np.uint32) & 1
    return bits.astype(bool).reshape(plane.shape[1], len(plane) ** 2)


def beside(plane: Plane) -> tuple[Plane, Plane]:
    """The cells with at least one neighbour, and those with at least two neighbours, in the plane.

    Columns beyond the board may be set, too: the caller masks them.
    """
    above, below = np.zeros_like(plane), np.zeros_like(plane)
    above[1:], below[:-1] = plane[:-1], plane[1:]
    left, right = plane << np.uint32(1), plane >> np.uint32(1)
    vertical, horizontal = above | below, left | right
    return vertical | horizontal, above & below | left & right | vertical & horizontal


def waves(passable: Plane, start: Plane) -> Iterator[tuple[Plane, Plane]]:
    """Search from the starts, one distance after the other.

    Yields:
        The cells at distance 1, 2, ..., and those among them that several shortest paths lead to.
    """
    front, several, seen = start, np.zeros_like(start), start
    while True:
        reached, twice = beside(front)
        front = reached & passable & ~seen
        if not front.any():
            return
        several = (twice | beside(several)[0]) & front
        seen = seen | front
        yield front, several


def path_lengths(passable: Plane, start: Plane, goal: Plane) -> tuple[np.ndarray, np.ndarray]:
    """Steps of a shortest path, int64 [B], 0 without any; and whether there are several, bool [B]."""
    length, ambiguous = np.zeros(start.shape[1], dtype=np.int64), np.zeros(start.shape[1], dtype=bool)
    for distance, (front, several) in enumerate(waves(passable, start), 1):
        length[(front & goal).any(0)] = distance
        ambiguous |= (several & goal).any(0)
    return length, ambiguous


def on_shortest_paths(passable: Plane, start: Plane, goal: Plane) -> Plane:
    """The cells of all shortest paths, without the start."""
    fronts = [front for front, _ in waves(passable, start)]
    trail, found = np.zeros_like(start), np.zeros_like(start)
    for front in reversed(fronts):
        trail = (beside(trail)[0] | goal) & front
        found |= trail
    return found


def distances(passable: Plane, start: Plane) -> np.ndarray:
    """Steps from the start, int64 [B, N*N]; N*N where no path leads."""
    found = np.where(unpack(start), 0, len(start) ** 2)
    for distance, (front, _) in enumerate(waves(passable, start), 1):
        found[unpack(front)] = distance
    return found


class _Draws:
    """Random numbers from a bit generator's raw stream, which numpy promises to keep as it is."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def plane(self, size: int, count: int) -> Plane:
        """A plane of fair coins."""
        words = self._bits.random_raw(-(-size * count // 2)).astype("<u8").view("<u4")
        return words[: size * count].reshape(size, count).astype(np.uint32)

    def one_of(self, cells: np.ndarray) -> np.ndarray:
        """One of the marked cells of every row, bool [B, L] to bool [B, L]; nothing where none is marked."""
        rank = cells.cumsum(1, dtype=np.int16)
        draws = (self._bits.random_raw(len(cells)) >> np.uint64(11)) * 2.0**-53
        return cells & (rank == 1 + (draws * rank[:, -1]).astype(np.int16)[:, None])


def _grow(size: int, draws: _Draws) -> tuple[Plane, Plane]:
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
        passable = passable | chosen & ~beside(chosen)[0]
    holes = np.full_like(passable, board)
    for _ in range(4):
        holes = holes & draws.plane(size, _BATCH)
    return passable | holes, start


@dataclass(frozen=True)
class Mazes:
    """Mazes with one shortest path each; every field is bool [P, N*N].

    Attributes:
        passable: the cells that are no wall, start and goal included.
        start: one cell.
        goal: one cell.
        path: the cells between them on the shortest path.
    """

    passable: np.ndarray
    start: np.ndarray
    goal: np.ndarray
    path: np.ndarray

    def select(self, rows: np.ndarray | slice) -> "Mazes":
        """The given rows."""
        return Mazes(**{name: cells[rows] for name, cells in vars(self).items()})

    @staticmethod
    def concat(parts: Sequence["Mazes"]) -> "Mazes":
        """The rows of all parts, one after the other."""
        return Mazes(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def _draw_batch(size: int, min_steps: int, draws: _Draws) -> Mazes:
    """As many mazes with a unique and long enough shortest path as a batch yields."""
    passable, start = _grow(size, draws)
    for front, _ in waves(passable, start):  # to a cell far from everything
        start = np.where(front.any(0), front, start)
    start = pack(draws.one_of(unpack(start)))
    goals = np.zeros_like(start)
    for distance, (front, several) in enumerate(waves(passable, start), 1):
        if distance >= min_steps:
            goals |= front & ~several
    rows = goals.any(0)
    passable, start, goal = passable[:, rows], start[:, rows], pack(draws.one_of(unpack(goals[:, rows])))
    path = on_shortest_paths(passable, start, goal) & ~goal
    return Mazes(*map(unpack, (passable, start, goal, path)))


@lru_cache
def draw_mazes(size: int, min_steps: int, count: int, seed: int) -> Mazes:
    """Draw mazes with one shortest path each, of which none is a symmetric copy of another.

    A start lies as far as can be from a random cell; the goal is a random cell among those that only one shortest path
    leads to, of `min_steps` steps or more.

    Args:
        size: N, up to 32.
        min_steps: least number of steps from start to goal.
        count: P, how many.
        seed: of everything that is drawn.

    Raises:
        InvalidValueError: the size does not have so many mazes with such paths.
    """
    draws, seen, parts, misses = _Draws(seed), np.zeros(0, dtype=np.uint64), list[Mazes](), 0
    while len(seen) < count:
        batch = _draw_batch(size, min_steps, draws)
        keys, rows = np.unique(orbit_keys(batch), return_index=True)
        is_new = ~np.isin(keys, seen)
        rows = np.sort(rows[is_new])
        parts.append(batch.select(rows))
        seen = np.concatenate([seen, keys[is_new]])
        misses = 0 if len(rows) else misses + 1
        if misses == _PATIENCE:
            raise InvalidValueError(
                f"{size}x{size} must have {count} mazes with a shortest path of {min_steps} steps or more; found"
                f" {len(seen)}. Ask for fewer, or for shorter paths."
            )
    return Mazes.concat(parts).select(slice(count))


def orbit_keys(mazes: Mazes) -> np.ndarray:
    """Uint64 [P], equal for two mazes exactly if a symmetry maps one to the other, but for one chance in 2^64.

    A symmetry is one of the 8 of the square, with or without an exchange of start and goal.
    """
    cells = mazes.passable.shape[1]
    weights = np.random.PCG64(0).random_raw(3 * cells).reshape(3, cells)
    maps = dihedral_maps(math.isqrt(cells))
    views = []
    for ends in ((mazes.start, mazes.goal), (mazes.goal, mazes.start)):
        # A sum of random weights, modulo 2^64: one matrix product for all views.
        kinds = zip((mazes.passable, *ends), weights, strict=True)
        views.append(sum(kind.astype(np.uint64) @ weight[maps].T for kind, weight in kinds))
    keys: np.ndarray = np.concatenate(views, axis=1).min(1)
    return keys
