"""Make a bank of base puzzles: unique solutions, no two puzzles symmetric to each other."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from latent_rl.errors import InvalidValueError, MissingExtraError
from latent_rl.tasks.bank import check_counts, save_bank
from latent_rl.tasks.base import Split
from latent_rl.tasks.sudoku import search as sudoku_solver
from latent_rl.tasks.sudoku.bitboards import geometry
from latent_rl.tasks.sudoku.histogram import Histogram
from latent_rl.tasks.sudoku.matched import Rated, matched, solutions
from latent_rl.tasks.sudoku.symmetry import symmetry_hash
from latent_rl.tasks.sudoku.task import BLANK, Sudoku, box_index
from latent_rl.tasks.sudoku.walks import dig_by_deduction
from latent_rl.types import Puzzles


def canonical_form(digits: np.ndarray, box_rows: int, box_columns: int) -> bytes:
    """The smallest board in the orbit of `digits` (int [N*N], 0 blank) under all symmetries of the size."""
    cells = _all_cell_maps(box_rows, box_columns)
    boards = digits[cells]
    # Relabel by first appearance: the blank stays 0, the first digit met becomes 1, the next new one 2, ...
    relabelled = np.zeros_like(boards)
    names = np.zeros((len(boards), boards.max() + 1), dtype=boards.dtype)
    used = np.zeros(len(boards), dtype=boards.dtype)
    every = np.arange(len(boards))
    for cell in range(boards.shape[1]):
        value = boards[:, cell]
        new = (value > 0) & (names[every, value] == 0)
        used += new
        names[every[new], value[new]] = used[new]
        relabelled[:, cell] = np.where(value > 0, names[every, value], 0)
    return bytes(min(map(bytes, relabelled.astype(np.uint8))))


_CELL_MAPS: dict[tuple[int, int], np.ndarray] = {}


def _all_cell_maps(box_rows: int, box_columns: int) -> np.ndarray:
    """Int64 [K, N*N]: every permutation of cells that bands, rows, stacks, columns and transposition make."""
    if (box_rows, box_columns) not in _CELL_MAPS:
        n = box_rows * box_columns

        def lines(size: int) -> list[list[int]]:
            inner = list(itertools.permutations(range(size)))
            return [
                [group * size + member for group, members in zip(groups, chosen, strict=True) for member in members]
                for groups in itertools.permutations(range(n // size))
                for chosen in itertools.product(inner, repeat=n // size)
            ]

        rows, columns = np.array(lines(box_rows)), np.array(lines(box_columns))
        maps = (rows[:, None, :, None] * n + columns[None, :, None, :]).reshape(-1, n, n)
        if box_rows == box_columns:
            maps = np.concatenate([maps, maps.transpose(0, 2, 1)])
        _CELL_MAPS[box_rows, box_columns] = maps.reshape(-1, n * n)
    return _CELL_MAPS[box_rows, box_columns]


def make_bank(
    task: Sudoku, counts: dict[Split, int], seed: int, out: Path, walks: Path | None = None
) -> dict[str, Any]:
    """Generate base puzzles and write them as a bank.

    No two puzzles of the bank are symmetric to each other. Where a size has too few different puzzles (4x4), the splits
    share what there is in the asked proportions.

    Args:
        task: which size and how many blanks; what share of the puzzles is how hard.
        counts: how many puzzles each split should have.
        seed: the generator's seed.
        out: the `.npz` file to write.
        walks: a folder that keeps the walks to hard puzzles, so that a stopped command goes on; None for none.

    Returns:
        The facts written into the bank.

    Raises:
        MissingExtraError: numba, from the `generate` extra, is not installed.
        InvalidValueError: a split without puzzles, or difficulties of another size than 9x9.
    """
    if not sudoku_solver.COMPILED:
        raise MissingExtraError("making banks needs numba: pip install 'latent_rl[generate]'.")
    check_counts(counts, "puzzle")
    guesses: dict[Split, np.ndarray] | None = None
    more: dict[str, Any] = {}
    with tqdm(total=sum(counts.values()), desc=task.name, unit="puzzle") as bar:
        if task.difficulty is None:
            pairs = _dug(task, counts, seed, bar.update)
        else:
            if (task.box_rows, task.box_columns) != (3, 3):
                raise InvalidValueError(f"difficulties are those of 9x9 boards; {task.name} must have boxes of 3x3.")
            rated = matched(task.difficulty, task.empties, counts, seed, walks, bar.update)
            pairs = {split: np.stack([found.boards, solutions(found.boards)], axis=1) for split, found in rated.items()}
            guesses = {split: found.guesses.mean(1) for split, found in rated.items()}
            more = {"guesses": _difficulty(task.difficulty, rated)}
    tokens = {split: torch.from_numpy(found) + BLANK for split, found in pairs.items()}
    splits = {split: Puzzles(found[:, 0], found[:, 1]) for split, found in tokens.items()}
    made = {"task": task.name, "generator": __name__, "seed": seed, "asked": counts, **more}
    return save_bank(out, splits, made, guesses)


def _dug(task: Sudoku, counts: dict[Split, int], seed: int, report: Callable[[int], object]) -> dict[Split, np.ndarray]:
    """Int64 [N, 2, L] for each split: puzzles and solutions, digits, dug out of random grids."""
    random = np.random.default_rng(seed)
    seen: set[bytes] = set()
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    total, misses = sum(counts.values()), 0
    # A long run of repetitions means that the size is exhausted.
    while len(pairs) < total and misses < 20_000:
        target = int(random.integers(task.empties[0], task.empties[1] + 1)) if task.empties[0] else task.seq_len
        puzzle, solution = _dig(task, target, int(random.integers(2**31)))
        short = task.empties[0] > 0 and (puzzle == 0).sum() < task.empties[0]
        key = b"" if short else _symmetry_key(puzzle, task)
        if short or key in seen:
            misses += 1
            continue
        misses = 0
        seen.add(key)
        pairs.append((puzzle, solution))
        report(1)
    random.shuffle(pairs)
    dug = np.array(pairs)
    ends = np.cumsum([count * len(pairs) // total for count in counts.values()])
    return dict(zip(counts, np.split(dug, ends)[:-1], strict=True))


def _dig(task: Sudoku, num_empty: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A puzzle and its solution; on boards over 9x9 a search must deduce, or it does not end."""
    if task.size <= 9:
        return sudoku_solver.dig(task.size, box_index(task.box_rows, task.box_columns), num_empty, seed)
    return dig_by_deduction(geometry(task.box_rows, task.box_columns), num_empty, seed)


def _symmetry_key(puzzle: np.ndarray, task: Sudoku) -> bytes:
    """What is the same for symmetric puzzles; up to 6x6 it is so for no others, beyond hardly ever."""
    if task.size <= 6:
        return canonical_form(puzzle, task.box_rows, task.box_columns)
    return symmetry_hash(puzzle[None], task.box_rows, task.box_columns).tobytes()


def _difficulty(histogram: Histogram, rated: dict[Split, Rated]) -> dict[str, Any]:
    """What a bank's facts say of its guesses."""
    return {
        "wanted": dict(zip(histogram.names(), histogram.shares, strict=True)),
        "counts": {split: histogram.tally(found.guesses[:, 0]) for split, found in rated.items()},
        "mean": {split: round(float(found.guesses.mean()), 2) for split, found in rated.items()},
        "mean_givens": {split: round(float((found.boards > 0).sum(1).mean()), 2) for split, found in rated.items()},
        "walks": {split: len(np.unique(found.source[found.source >= 0])) for split, found in rated.items()},
    }
