"""Make a bank of base puzzles: unique solutions, splits disjoint up to symmetry where that can be decided."""

import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from latent_rl.errors import InvalidValueError, MissingExtraError
from latent_rl.tasks.bank import save_bank
from latent_rl.tasks.base import Split
from latent_rl.tasks.sudoku import search as sudoku_solver
from latent_rl.tasks.sudoku.task import BLANK, Sudoku, box_index
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


def make_bank(task: Sudoku, counts: dict[Split, int], seed: int, out: Path) -> dict[str, Any]:
    """Generate base puzzles and write them as a bank.

    Up to 6x6 no two puzzles of the bank are symmetric to each other; for 9x9, where the group has over 10^12
    elements, they are different as drawn. Where a size has too few different puzzles (4x4), the splits share
    what there is in the asked proportions.

    Args:
        task: which size and how many blanks.
        counts: how many puzzles each split should have.
        seed: the generator's seed.
        out: the `.npz` file to write.

    Returns:
        The facts written into the bank.

    Raises:
        MissingExtraError: numba, from the `generate` extra, is not installed.
    """
    if not sudoku_solver.COMPILED:
        raise MissingExtraError("making banks needs numba: pip install 'latent_rl[generate]'.")
    if min(counts.values()) < 1:
        raise InvalidValueError(f"every split must have at least 1 puzzle; got {counts}.")
    random = np.random.default_rng(seed)
    boxes = box_index(task.box_rows, task.box_columns)
    seen: set[bytes] = set()
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    total, misses = sum(counts.values()), 0
    with tqdm(total=total, desc=task.name, unit="puzzle") as bar:
        # A long run of repetitions means that the size is exhausted.
        while len(pairs) < total and misses < 20_000:
            target = int(random.integers(task.empties[0], task.empties[1] + 1)) if task.empties[0] else task.seq_len
            puzzle, solution = sudoku_solver.dig(task.size, boxes, target, int(random.integers(2**31)))
            short = task.empties[0] > 0 and (puzzle == 0).sum() < task.empties[0]
            small = task.size <= 6
            key = canonical_form(puzzle, task.box_rows, task.box_columns) if small else puzzle.tobytes()
            if short or key in seen:
                misses += 1
                continue
            misses = 0
            seen.add(key)
            pairs.append((puzzle, solution))
            bar.update()
    random.shuffle(pairs)
    tokens = torch.from_numpy(np.array(pairs)) + BLANK
    splits: dict[Split, Puzzles] = {}
    start = 0
    for split, count in counts.items():
        end = start + count * len(pairs) // total
        splits[split] = Puzzles(tokens[start:end, 0], tokens[start:end, 1])
        start = end
    digest = hashlib.sha256(tokens[:start].numpy().astype(np.uint8).tobytes()).hexdigest()
    facts = {
        "task": task.name,
        "generator": "latent_rl.tasks.sudoku.make_bank",
        "seed": seed,
        "asked": counts,
        "counts": {split: len(puzzles) for split, puzzles in splits.items()},
        "sha256": digest,
    }
    save_bank(out, splits, facts)
    return facts
