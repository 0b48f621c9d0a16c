"""Different mazes of a family, as a pure function of a seed."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from latent_rl.errors import InvalidValueError
from latent_rl.tasks.grids import dihedral_maps
from latent_rl.tasks.maze.draws import Draws
from latent_rl.tasks.maze.families import Family, Mazes

_PATIENCE = 20
"""Batches in a row that may yield nothing before the size counts as exhausted."""


@lru_cache
def draw_mazes(
    family: Family, size: int, steps: range, count: int, seed: int, report: Callable[[int], object] | None = None
) -> Mazes:
    """Draw mazes of which none is a symmetric copy of another.

    Args:
        family: how each is drawn.
        size: N, up to 32.
        steps: how many steps there may be from start to goal.
        count: P, how many mazes.
        seed: of everything that is drawn.
        report: is told of every new maze, by their number.

    Raises:
        InvalidValueError: the size does not have so many mazes with such paths.
    """
    draws, seen, parts, misses = Draws(seed), np.zeros(0, dtype=np.uint64), list[Mazes](), 0
    while len(seen) < count:
        batch = family(size, steps, draws)
        keys, rows = np.unique(orbit_keys(batch), return_index=True)
        is_new = ~np.isin(keys, seen)
        rows = np.sort(rows[is_new])
        parts.append(batch.select(rows))
        seen = np.concatenate([seen, keys[is_new]])
        if report is not None:
            report(len(rows))
        misses = 0 if len(rows) else misses + 1
        if misses == _PATIENCE:
            raise InvalidValueError(
                f"{size}x{size} must have {count} mazes with a shortest path of {steps.start} to {steps.stop - 1}"
                f" steps; found {len(seen)}. Ask for fewer, or for shorter paths."
            )
    return Mazes(**{name: np.concatenate([vars(part)[name] for part in parts])[:count] for name in vars(parts[0])})


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
