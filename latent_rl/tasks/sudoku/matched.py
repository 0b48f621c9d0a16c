"""Hard 9x9 Sudokus in the proportions of a collection: a histogram of guesses, filled from walks.

Walks climb to puzzles that need many guesses and pass easier ones on their way. Easy puzzles are dug, some minimal and
some with more givens. A walk belongs to one split, and no two puzzles are symmetric to each other.
"""

import io
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latent_rl.errors import PuzzleError, one_line
from latent_rl.storage.atomic import write_atomically
from latent_rl.tasks.base import Split
from latent_rl.tasks.sudoku.bitboards import geometry, search
from latent_rl.tasks.sudoku.histogram import Histogram
from latent_rl.tasks.sudoku.rating import guesses
from latent_rl.tasks.sudoku.search import dig
from latent_rl.tasks.sudoku.symmetry import symmetry_hash
from latent_rl.tasks.sudoku.task import box_index
from latent_rl.tasks.sudoku.walks import walk

GOALS = ((40.0, 26, 0.15), (70.0, 25, 0.1), (110.0, 25, 0.1)) * 4 + ((1.0, 17, 1.0),)
"""What walks go for in turn: a rating, a number of givens and its weight. The last ones make sparse puzzles."""
NUM_PROPOSALS = 20_000
"""Length of a walk, some four seconds."""
DUG_AT_ONCE = 100
"""Easy puzzles that are dug together."""
MINIMAL_SHARE = 0.4
"""Of the dug puzzles; the others have a drawn number of blanks."""
TURNS: tuple[Split, ...] = ("train", "test", "train", "train", "validation", "train", "test", "train", "train", "test")
"""The splits that walks, and batches of dug puzzles, belong to, in turn; those of a full split are not made. As it does
not depend on the counts, no puzzle of one bank's test split is in the training split of a larger bank of that seed."""
TILT = 0.5
"""Of two puzzles of a bin, one with a given more is chosen e^TILT times as often: walks favour few givens, collections
do not. It begins at `TILT_FROM` givens, so that sparse puzzles stay."""
TILT_FROM = 22


@dataclass(frozen=True)
class Rated:
    """Puzzles, their difficulty and where they come from.

    Attributes:
        boards: int64 [N, 81], digits 1..9 or 0.
        guesses: float32 [N, K], in K orders of cells: see `rating.guesses`. The first one is what is matched, as
            collections are rated by one count.
        source: int64 [N], the number of the walk or of the batch of dug puzzles.
    """

    boards: np.ndarray
    guesses: np.ndarray
    source: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "Rated":
        return Rated(self.boards[rows], self.guesses[rows], self.source[rows])


def matched(
    histogram: Histogram,
    empties: tuple[int, int],
    counts: dict[Split, int],
    seed: int,
    walks: Path | None,
    report: Callable[[int], None],
) -> dict[Split, Rated]:
    """Make puzzles until every bin of every split is full.

    Args:
        histogram: the wanted shares.
        empties: least and greatest number of blanks.
        counts: how many puzzles each split should have.
        seed: the generator's seed; the same seed and counts give the same puzzles.
        walks: a folder that keeps the walks, so that a stopped run goes on; None for none.
        report: is told how many more of the asked puzzles there are.

    Returns:
        The splits. Each of their beginnings has about the shares of the whole, out of as many walks as there are.
    """
    wanted = {split: histogram.counts(count) for split, count in counts.items()}
    have = {split: np.zeros_like(wanted[split]) for split in counts}
    parts: dict[Split, list[Rated]] = {split: [] for split in counts}
    seen: set[int] = set()

    def fill(split: Split, found: Rated) -> None:
        """Add what has the right number of blanks and is not symmetric to any before."""
        hashes = symmetry_hash(found.boards, 3, 3).tolist()
        empty = (found.boards == 0).sum(1)
        fits = (empty >= empties[0]) & (empty <= empties[1])
        new = []
        for row, key in enumerate(hashes):
            if fits[row] and key not in seen:
                seen.add(key)
                new.append(row)
        still = np.maximum(wanted[split] - have[split], 0).sum()
        have[split] += np.bincount(histogram.bins(found.guesses[new, 0]), minlength=len(have[split]))
        parts[split].append(found[np.array(new, dtype=np.int64)])
        report(int(still - np.maximum(wanted[split] - have[split], 0).sum()))

    for make, bins in ((_dug, slice(1)), (_walked, slice(1, None))):
        for number in itertools.count():
            lacking = [split for split in counts if (have[split] < wanted[split])[bins].any()]
            if not lacking:
                break
            if (split := TURNS[number % len(TURNS)]) in lacking:
                fill(split, make(seed, number, walks))
    random = np.random.default_rng(seed)
    return {split: _chosen(_joined(parts[split]), histogram, wanted[split], random) for split in counts}


def solutions(boards: np.ndarray) -> np.ndarray:
    """The only completions, int64 [N, 81]."""
    size, found = geometry(3, 3), np.zeros((len(boards), 1, 81), dtype=np.int64)
    for board, solution in zip(boards, found, strict=True):
        search(board, np.arange(81), size, 2**31, solution)
    return found[:, 0]


def _dug(seed: int, number: int, walks: Path | None) -> Rated:
    """A batch of easy puzzles."""
    random, boxes = np.random.default_rng([seed, number, 1]), box_index(3, 3)
    boards = []
    for _ in range(DUG_AT_ONCE):
        blanks = 81 if random.random() < MINIMAL_SHARE else int(random.integers(45, 58))
        boards.append(dig(9, boxes, blanks, int(random.integers(2**31)))[0])
    return _rated(np.array(boards), -1 - number)


def _walked(seed: int, number: int, walks: Path | None) -> Rated:
    """The puzzles of a walk, made or read."""
    path = None if walks is None else walks / f"{number:05d}.npz"
    if path and path.exists():
        try:
            with np.load(path) as file:
                boards = file["puzzles"].astype(np.int64)
        except Exception as error:  # A damaged archive can raise anything.
            raise PuzzleError(f"{path} must be a walk of make-bank: {one_line(error)}. Delete it.") from error
        return _rated(boards, number)
    random = np.random.default_rng([seed, number])
    start, _ = dig(9, box_index(3, 3), 81, int(random.integers(2**31)))
    goal, num_givens, weight = GOALS[number % len(GOALS)]
    boards, _ = walk(start, goal, num_givens, weight, NUM_PROPOSALS, geometry(3, 3), int(random.integers(2**31)))
    if path:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, puzzles=boards.astype(np.uint8))
        write_atomically(path, buffer.getvalue())
    return _rated(boards, number)


def _rated(boards: np.ndarray, source: int) -> Rated:
    return Rated(boards, guesses(boards, geometry(3, 3)), np.full(len(boards), source))


def _joined(parts: list[Rated]) -> Rated:
    return Rated(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("boards", "guesses", "source")))


def _chosen(pool: Rated, histogram: Histogram, wanted: np.ndarray, random: np.random.Generator) -> Rated:
    """So many puzzles of every bin, in an order of which each beginning is about as the whole."""
    bins = histogram.bins(pool.guesses[:, 0])
    givens = np.maximum((pool.boards > 0).sum(1), TILT_FROM)
    # The greatest of logarithmic weights with Gumbel noise: a draw by weight without replacement.
    keys = -(TILT * givens + random.gumbel(size=len(bins)))
    rows, places = [], []
    for number, count in enumerate(wanted):
        members = np.flatnonzero(bins == number)
        members = members[np.argsort(keys[members])[:count]]
        # Sources alternate: first one puzzle of each, then a second one, ...
        turns = _turns(pool.source[members])
        members = members[np.lexsort((random.random(count), turns))]
        rows.append(members)
        places.append((np.arange(count) + random.random(count)) / max(count, 1))
    return pool[np.concatenate(rows)[np.argsort(np.concatenate(places))]]


def _turns(source: np.ndarray) -> np.ndarray:
    """Int64 [N]: how many with the same source come before."""
    order = np.argsort(source, kind="stable")
    first = np.searchsorted(source[order], source[order])
    turns = np.empty_like(order)
    turns[order] = np.arange(len(order)) - first
    return turns
