"""Sudoku 4x4, 6x6 (boxes of 2x3), 9x9 and 16x16: rules, symmetries, text."""

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError, PuzzleError
from latent_rl.tasks.bank import load_guesses
from latent_rl.tasks.base import Split, Splits
from latent_rl.tasks.constraints import Constraints, ConstraintTask, Kind, held, renamed, rows_and_columns
from latent_rl.tasks.sudoku.histogram import Histogram
from latent_rl.tasks.sudoku.singles import singles_rounds
from latent_rl.types import Symmetry

BLANK = 1
"""Token of an empty cell; 0 is padding and digit d is token d + 1, as in the public datasets."""
SYMBOLS = "123456789ABCDEFG"
"""Of the digits: from 10 on they are letters, as on printed 16x16 boards."""
_BLANK_CHARACTERS = ".0_*-xX?·"


@lru_cache
def box_index(box_rows: int, box_columns: int) -> np.ndarray:
    """Int64 [N*N]: the box of every cell, with N = box_rows * box_columns."""
    n = box_rows * box_columns
    row, column = np.divmod(np.arange(n * n), n)
    return row // box_rows * (n // box_columns) + column // box_columns


class Sudoku(ConstraintTask):
    """Fill the blanks so that every row, column and box holds every digit once.

    A Sudoku has one solution; the banks and `solve` see to that.

    Args:
        name: the registered name; a shipped bank of base puzzles has the same.
        box_rows: rows of a box; a board has N = box_rows * box_columns rows.
        box_columns: columns of a box.
        empties: least and greatest number of blanks; (0, N*N) is "minimal": no given can be spared.
        splits: gives the base puzzles; by default the shipped bank of that name.
        environment: see `Task`; by default that of any task.
        difficulty: what share of a bank's puzzles needs how many guesses; None takes puzzles as they are dug.

    Raises:
        InvalidValueError: a board of more than 16 x 16 cells.
    """

    def __init__(
        self,
        name: str,
        box_rows: int,
        box_columns: int,
        empties: tuple[int, int],
        splits: Splits | None = None,
        environment: Mapping[str, Any] | None = None,
        difficulty: Histogram | None = None,
    ) -> None:
        if box_rows * box_columns > len(SYMBOLS):
            raise InvalidValueError(f"a Sudoku must be 16x16 at most; {name} has boxes of {box_rows}x{box_columns}.")
        self.box_rows = box_rows
        self.box_columns = box_columns
        self.empties = empties
        self.difficulty = difficulty
        self.size = box_rows * box_columns
        boxes = np.argsort(box_index(box_rows, box_columns), kind="stable").reshape(self.size, -1)
        kinds = (*rows_and_columns(self.size), Kind.of("box", boxes))
        super().__init__(name, Constraints(self.size**2, self.size, kinds), splits, environment)
        bands, stacks = self.size // box_rows, self.size // box_columns
        self.num_symmetry_draws = self.size + bands + self.size + stacks + self.size + 1

    @cached_property
    def units(self) -> Tensor:
        """Int64 [3N, N]: the cells of every row, column and box."""
        return torch.from_numpy(self.constraints.table)

    @property
    def alphabet(self) -> Mapping[str, int]:
        """Digits, from 10 on letters of either case, and any of ``.0_*-xX?·`` for a blank."""
        digits = {symbol: token for token, symbol in enumerate(SYMBOLS[: self.size], BLANK + 1)}
        small = {symbol.lower(): token for symbol, token in digits.items()}
        return dict.fromkeys(_BLANK_CHARACTERS, BLANK) | digits | small

    @property
    def legend(self) -> str:
        """See `Task.legend`."""
        letters = f", letters A-{SYMBOLS[self.size - 1]}" if self.size > 9 else ""
        return f"digits 1-{min(self.size, 9)}{letters}, or one of {_BLANK_CHARACTERS} for a blank"

    def symmetry(self, draws: Tensor) -> Symmetry:
        """Relabel digits; permute bands, rows in bands, stacks, columns in stacks; transpose (square boxes)."""
        n = self.size
        bands, stacks = n // self.box_rows, n // self.box_columns
        digits, band, row, stack, column, flip = draws.split([n, bands, n, stacks, n, 1], dim=1)
        rows = _grouped_permutation(band, row)
        columns = _grouped_permutation(stack, column)
        cells = rows[:, :, None] * n + columns[:, None, :]
        if self.box_rows == self.box_columns:
            cells = torch.where(flip[:, :, None] < 0.5, cells, cells.transpose(1, 2))
        return Symmetry(cells.reshape(-1, n * n), renamed(digits))

    def satisfied_share(self, inputs: Tensor, answers: Tensor) -> Tensor:
        """Float32 [B]: the share of (unit, digit) pairs present and of givens kept.

        A blank counts as kept: its digit is missed in three units already.
        """
        kept = (answers == inputs) | ~self.is_given(inputs)
        return torch.cat([held(self.constraints, answers).flatten(1), kept], dim=1).float().mean(1)

    def edit_order(self, inputs: Tensor, labels: Tensor, draws: Tensor) -> Tensor:
        """Int64 [B, L]: the order in which naked and hidden singles decide the cells; the rest at random, last."""
        digits, known = (labels - BLANK - 1).numpy(), self.is_given(inputs).numpy()
        rounds = torch.from_numpy(singles_rounds(digits, known, self.units.numpy()))
        return (rounds + draws).argsort(1).argsort(1)

    def guesses(self, split: Split) -> Tensor | None:
        """See `Task.guesses`: banks that are made by difficulty keep them."""
        return None if self.difficulty is None else load_guesses(self.name, split)

    def render(self, tokens: Tensor) -> str:
        """Draw a board with its boxes."""
        line = self.format(tokens)
        rule = "+".join("-" * (2 * self.box_columns + 1) for _ in range(self.size // self.box_columns))
        drawn = []
        for row in range(self.size):
            if row and row % self.box_rows == 0:
                drawn.append(rule)
            cells = line[row * self.size : (row + 1) * self.size]
            groups = [" ".join(cells[c : c + self.box_columns]) for c in range(0, self.size, self.box_columns)]
            drawn.append(" " + " | ".join(groups))
        return "\n".join(drawn)

    def solve(self, inputs: Tensor) -> Tensor:
        """The only answer, int64 [L], by exact search.

        Raises:
            PuzzleError: the puzzle has no solution or several, or the search takes too long.
        """
        from latent_rl.tasks.sudoku.bitboards import PATIENCE, geometry, search

        grid = (inputs.numpy() - BLANK).astype(np.int64)
        answers = np.zeros((2, self.seq_len), dtype=np.int64)
        size = geometry(self.box_rows, self.box_columns)
        count, _ = search(grid, np.arange(self.seq_len), size, PATIENCE, answers)
        if count < 0:
            raise PuzzleError(
                f"a {self.name} puzzle must have exactly one solution; a long search did not tell whether this one has."
            )
        if count != 1:
            found = "several solutions" if count > 1 else "no solution"
            raise PuzzleError(f"a {self.name} puzzle must have exactly one solution; this one has {found}.")
        return torch.from_numpy(answers[0]) + BLANK


def _grouped_permutation(groups: Tensor, members: Tensor) -> Tensor:
    """Permute groups and the members in each: int64 [B, N] from uniform draws [B, G] and [B, N]."""
    size = members.shape[1] // groups.shape[1]
    inner = members.reshape(len(groups), groups.shape[1], size).argsort(2)
    order = groups.argsort(1)
    return (order[:, :, None] * size + inner).flatten(1)
