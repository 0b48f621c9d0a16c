"""Mazes on bit planes: breadth-first search for a whole batch at once.

A plane is uint32 [N, B]: bit c of row r of maze b says something about the cell in row r, column c. A wave of the
search then takes a dozen operations on whole planes, whatever the number of mazes.
"""

import math
from collections.abc import Iterator

import numpy as np

Plane = np.ndarray


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


def near(plane: Plane) -> Plane:
    """The cells with at least one neighbour in the plane; columns as in `beside`."""
    found = plane << np.uint32(1) | plane >> np.uint32(1)
    found[1:] |= plane[:-1]
    found[:-1] |= plane[1:]
    return found


def fronts(passable: Plane, start: Plane) -> Iterator[Plane]:
    """The cells at distance 1, 2, ... from the starts."""
    front, open_cells = start, passable & ~start
    while True:
        front = near(front) & open_cells
        if not front.any():
            return
        open_cells = open_cells & ~front
        yield front


def waves(passable: Plane, start: Plane) -> Iterator[tuple[Plane, Plane]]:
    """Search from the starts, one distance after the other, and count the paths up to two.

    Yields:
        The cells at distance 1, 2, ..., and those among them that several shortest paths lead to.
    """
    front, several, seen = start, np.zeros_like(start), start
    while True:
        reached, twice = beside(front)
        front = reached & passable & ~seen
        if not front.any():
            return
        several = (twice | near(several)) & front
        seen = seen | front
        yield front, several


def steps_between(passable: Plane, start: Plane, goal: Plane) -> np.ndarray:
    """Steps of a shortest path, int64 [B]; 0 without any."""
    length = np.zeros(start.shape[1], dtype=np.int64)
    for distance, front in enumerate(fronts(passable, start), 1):
        length[(front & goal).any(0)] = distance
    return length


def have_several(passable: Plane, start: Plane, goal: Plane) -> np.ndarray:
    """Bool [B]: there are several shortest paths."""
    several_paths = np.zeros(start.shape[1], dtype=bool)
    for _, several in waves(passable, start):
        several_paths |= (several & goal).any(0)
    return several_paths


def shortest_path(passable: Plane, start: Plane, goal: Plane) -> Plane:
    """The cells of a shortest path between start and goal: walked back from the goal, up where that is as good as left,
    right, down. Nothing where none leads there."""
    trail, found = np.zeros_like(start), np.zeros_like(start)
    for front in reversed(list(fronts(passable, start))):
        trail = (near(trail) | goal) & front
        trail = np.where((trail > 0).cumsum(0) == 1, trail & -trail, 0)  # its first cell, row by row
        found |= trail
    return found & ~goal


def distances(passable: Plane, start: Plane) -> np.ndarray:
    """Steps from the start, int64 [B, N*N]; N*N where no path leads."""
    found = np.where(unpack(start), 0, len(start) ** 2)
    for distance, front in enumerate(fronts(passable, start), 1):
        found[unpack(front)] = distance
    return found
