"""Banks of base puzzles for constraint tasks, from a random board that keeps the rules: each has one answer, unless the
task wants several."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from latent_rl.errors import MissingExtraError
from latent_rl.tasks.bank import check_counts, save_bank
from latent_rl.tasks.base import Split
from latent_rl.tasks.colouring import Colouring
from latent_rl.tasks.constraint_search import dig, draw
from latent_rl.tasks.constraints import FIRST_SYMBOL, OPEN
from latent_rl.tasks.latin import Latin
from latent_rl.tasks.sudoku.search import COMPILED
from latent_rl.types import Puzzles

ATTEMPT = 1_000
"""Guesses after which a random board is begun anew."""


def make_bank(task: Latin | Colouring, counts: dict[Split, int], seed: int, out: Path) -> dict[str, Any]:
    """Generate base puzzles, no two of which are equal, and write them as a bank.

    Args:
        task: whose rules they keep, and which shares of open cells to aim at: there are fewer where the answer would
            not stay the only one.
        counts: how many puzzles each split should have.
        seed: the generator's seed.
        out: the `.npz` file to write.

    Returns:
        The facts written into the bank.

    Raises:
        MissingExtraError: numba, from the `generate` extra, is not installed.
        InvalidValueError: a split would have no puzzle.
    """
    if not COMPILED:
        raise MissingExtraError("making banks needs numba: pip install 'latent_rl[generate]'.")
    check_counts(counts, "puzzle")
    rules, random = task.constraints, np.random.default_rng(seed)
    units, is_exact, num_symbols = rules.table, rules.is_exact.numpy(), rules.num_symbols
    low, high = (round(share * rules.num_cells) for share in task.open_share)
    pairs: dict[bytes, np.ndarray] = {}
    with tqdm(total=sum(counts.values()), desc=task.name, unit="puzzle") as bar:
        while len(pairs) < sum(counts.values()):
            draws, digs = (int(random.integers(2**31)) for _ in range(2))
            board = draw(units, is_exact, num_symbols, rules.num_cells, ATTEMPT, draws)
            num_open = int(random.integers(low, high + 1))
            if isinstance(task, Latin) or task.has_one_answer:
                puzzle = dig(board, units, is_exact, num_symbols, num_open, digs)
            else:
                puzzle = board.copy()
                puzzle[np.random.default_rng(digs).permutation(rules.num_cells)[:num_open]] = -1
            if pairs.setdefault(puzzle.tobytes(), pair := np.stack([puzzle, board])) is pair:
                bar.update()
    symbols = torch.from_numpy(np.stack(list(pairs.values())))
    tokens = torch.where(symbols < 0, OPEN, symbols + FIRST_SYMBOL)
    splits: dict[Split, Puzzles] = {}
    start = 0
    for split, count in counts.items():
        splits[split] = Puzzles(tokens[start : start + count, 0], tokens[start : start + count, 1])
        start += count
    return save_bank(out, splits, {"task": task.name, "generator": __name__, "seed": seed, "asked": counts})
