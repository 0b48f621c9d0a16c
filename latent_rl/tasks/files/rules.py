"""Which rules a user's boards go by: length and vocabulary allow some, labels that keep them decide."""

import math
from collections.abc import Callable
from functools import partial

from latent_rl.errors import PuzzleError
from latent_rl.tasks.base import Splits, Task
from latent_rl.tasks.files.stored import StoredPuzzles
from latent_rl.tasks.maze.task import Maze
from latent_rl.tasks.nqueens.task import NQueens
from latent_rl.tasks.sudoku.task import Sudoku

Rules = Sudoku | Maze | NQueens
_BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3), 16: (4, 4)}
_SAMPLE = 64
"""Puzzles at the beginning of a split whose labels are checked against the rules."""


def rules_of(name: str, seq_len: int) -> list[Callable[[Splits | None], Rules]]:
    """The rules that boards of L cells may go by: each makes a task from where its puzzles come from."""
    side = math.isqrt(seq_len)
    rules: list[Callable[[Splits | None], Rules]] = []
    if side**2 == seq_len:
        if side in _BOXES:
            rules.append(lambda splits: Sudoku(name, *_BOXES[side], (0, seq_len), splits))
        rules.extend(partial(_of_size, kind, name, side) for kind in (Maze, NQueens) if side in kind.sizes)
    return rules


def _of_size(kind: type[Maze] | type[NQueens], name: str, side: int, splits: Splits | None) -> Rules:
    return kind(name, side, splits=splits)


def keeping(rules: Task, stored: StoredPuzzles) -> StoredPuzzles:
    """The puzzles, if their first labels keep the rules.

    Raises:
        PuzzleError: one does not, or is no board of these rules.
    """
    sample = stored[:_SAMPLE]
    broken = (~rules.verify(sample.inputs, sample.labels)).nonzero().flatten().tolist()
    if broken:
        raise PuzzleError(f"{stored.origin} must hold labels that solve their inputs; those of row {broken[0]} do not.")
    return stored


def any_keeps(rules: Task, stored: StoredPuzzles) -> bool:
    """Whether one of the first labels keeps the rules: then others that do not are damage.

    Raises:
        PuzzleError: a token is none.
    """
    sample = stored[:_SAMPLE]
    return bool(rules.verify(sample.inputs, sample.labels).any())
