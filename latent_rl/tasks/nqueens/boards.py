"""Boards of N-Queens: every solution, the dihedral maps, and splits that are pure functions of a seed."""

import math
from functools import lru_cache
from random import Random
from typing import Literal

import numpy as np

from latent_rl.errors import InvalidValueError
from latent_rl.tasks.base import SPLITS, Split
from latent_rl.tasks.grids import dihedral_maps

HoldOut = Literal["boards", "solutions"]

_POOL = 4
"""Boards drawn for each one that is kept: enough for every split after the held-out ones have been sifted."""


@lru_cache
def solutions(size: int) -> np.ndarray:
    """Every way to place n queens so that none attacks another: bool [K, n*n], in lexicographic order."""
    columns = np.zeros((1, 0), dtype=np.int8)
    for row in range(size):
        following = np.tile(np.arange(size, dtype=np.int8), len(columns))[:, None]
        columns = np.concatenate([columns.repeat(size, axis=0), following], axis=1)
        gap = np.abs(columns[:, :-1] - following)
        columns = columns[((gap != 0) & (gap != np.arange(row, 0, -1))).all(1)]
    return np.eye(size, dtype=bool)[columns].reshape(len(columns), -1)


def orbit_keys(boards: np.ndarray) -> np.ndarray:
    """Bytes [B] that are equal for two boards, bool [B, n*n], exactly if a symmetry maps one to the other."""
    views = np.packbits(boards[:, dihedral_maps(math.isqrt(boards.shape[1]))], axis=2)
    return np.sort(views.view(f"S{views.shape[2]}")[:, :, 0], axis=1)[:, 0]


def completable(givens: np.ndarray, boards: np.ndarray) -> np.ndarray:
    """Bool [B, K]: which of the full boards, bool [K, L], hold all queens of the givens, bool [B, L]."""
    # A count of the queens that a board lacks, as a matrix product: float32 counts are exact.
    return givens.astype(np.float32) @ (~boards.T).astype(np.float32) == 0


@lru_cache
def draw_splits(
    size: int, counts: tuple[int, int, int], seed: int, hold_out: HoldOut
) -> dict[Split, tuple[np.ndarray, np.ndarray]]:
    """Draw boards with some queens of a solution given, in splits that share none up to symmetry.

    The solution and which of its queens are given are drawn uniformly; 1, 2, .. n-1 given queens are equally
    frequent as far as the split has such boards. There are few boards with few queens, so that these repeat within
    a split; often they can be completed in several ways, of which the drawn solution is one.

    Args:
        size: n.
        counts: boards in the training, validation and test split.
        seed: of everything that is drawn.
        hold_out: "boards": a board and its symmetric copies lie in one split only. "solutions": moreover, every
            solution that completes a validation or test board is foreign, up to symmetry, to the other splits'
            solutions. A board that a solution of another split would complete is therefore left out.

    Returns:
        For each split the givens and the solution, bool [P, n*n] each.

    Raises:
        InvalidValueError: the size has too few boards or solutions for such splits.
    """
    every = solutions(size)
    # Python promises that the numbers of `Random.random` stay the same in later versions; numpy does not.
    random = Random(seed)
    pool = _POOL * sum(counts)
    draws = np.array([random.random() for _ in range(pool * (size + 2))]).reshape(pool, size + 2)
    chosen = (draws[:, 0] * len(every)).astype(np.int64)
    num_given = 1 + (draws[:, 1] * (size - 1)).astype(np.int64)
    row_is_given = draws[:, 2:].argsort(1).argsort(1) < num_given[:, None]
    labels = every[chosen]
    givens = labels & row_is_given.repeat(size, axis=1)
    if hold_out == "boards":
        owner = _allot(orbit_keys(givens), counts, random)
        kept = np.ones(pool, dtype=bool)
    else:
        owner_of_solution = _allot(orbit_keys(every), counts, random)
        owner = owner_of_solution[chosen]
        foreign = completable(givens, every) & (owner_of_solution != owner[:, None])
        kept = (owner == SPLITS.index("train")) | ~foreign.any(1)
    splits: dict[Split, tuple[np.ndarray, np.ndarray]] = {}
    for number, (split, count) in enumerate(zip(SPLITS, counts, strict=True)):
        rows = np.flatnonzero(kept & (owner == number))
        rows = rows[_turns(num_given[rows]).argsort(kind="stable")][:count]
        if len(rows) < count:
            raise InvalidValueError(
                f"{size}-queens must have {count} boards for the {split} split with {hold_out} held out; it has"
                f" {len(rows)}. Ask for fewer, or choose a larger board."
            )
        splits[split] = givens[rows], labels[rows]
    return splits


def _allot(keys: np.ndarray, counts: tuple[int, ...], random: Random) -> np.ndarray:
    """Int64 [B]: the split of every item, so that equal keys share a split and sizes are as `counts` to each other.

    Groups go, the largest first, to the split that is furthest from its share.
    """
    _, group, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    owner = np.zeros(len(sizes), dtype=np.int64)
    filled = np.zeros(len(counts))
    tie_break = np.array([random.random() for _ in sizes])
    for number in np.lexsort((tie_break, -sizes)):
        owner[number] = split = (filled / counts).argmin()
        filled[split] += sizes[number]
    return owner[group]


def _turns(kinds: np.ndarray) -> np.ndarray:
    """Int64 [B]: how many items of the same kind come before each; sorted by it, the kinds take turns."""
    turns = np.zeros(len(kinds), dtype=np.int64)
    for kind in np.unique(kinds):
        turns[kinds == kind] = np.arange((kinds == kind).sum())
    return turns
