"""N-Queens completion: rules, symmetries, text."""

import itertools
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError, PuzzleError
from latent_rl.tasks.base import SPLITS, Split, Splits, check_split
from latent_rl.tasks.constraints import Constraints, ConstraintTask, Kind, held, rows_and_columns
from latent_rl.tasks.grids import dihedral_maps
from latent_rl.tasks.nqueens.boards import HoldOut, completable, draw_splits, solutions
from latent_rl.types import Puzzles, PuzzleSource, Symmetry

PAD, EMPTY, QUEEN = 0, 1, 2
"""The tokens, as in the public datasets."""
_ALPHABET = dict.fromkeys("Qq1♛♕", QUEEN) | dict.fromkeys(".0_-", EMPTY)


class NQueens(ConstraintTask):
    """Place the missing queens so that n stand on the board and none attacks another.

    Many boards can be completed in several ways: `verify` accepts each of them, the label is one. So the solved rate
    is the share of valid completions and the exact accuracy that of the label itself; see `is_ambiguous`.

    The base boards are not shipped but drawn from the seed, which takes milliseconds: see `draw_splits`. The paper's 9
    dihedral variants of every training board are the 8 views that training shows each board in.

    Args:
        name: the registered name.
        size: n, 4..12.
        counts: base boards in the training, validation and test split. The default is the paper's 800 and 200, with
            the validation boards taken out of the 800.
        hold_out: "boards": no board occurs in two splits, up to symmetry, but solutions do. "solutions": no
            solution that completes a held-out board, up to symmetry, occurs in training.
        seed: of the base boards.
        splits: gives the base boards instead of a draw.

    Raises:
        InvalidValueError: a size out of range, or a split without boards.
    """

    sizes = range(4, 13)
    """The n that there may be."""
    is_unique = False
    environment = MappingProxyType(
        {
            "horizon": 32,
            "reward": "constraints",
            "actions": ("halt", "refine", "restart_view", "commit", "commit_forced"),
        }
    )
    """Closeness to the completion that is the label would punish the others; boards with several are decided by
    commits."""
    alphabet = MappingProxyType(_ALPHABET)
    legend = "Q or 1 for a queen, or one of .0_- for no queen"

    def __init__(
        self,
        name: str = "nqueens8",
        size: int = 8,
        *,
        counts: tuple[int, int, int] = (700, 100, 200),
        hold_out: HoldOut = "boards",
        seed: int = 0,
        splits: Splits | None = None,
    ) -> None:
        if size not in self.sizes:
            raise InvalidValueError(f"the size of an N-Queens board must be in 4..12; got {size}.")
        if min(counts) < 1:
            raise InvalidValueError(f"every split must have at least 1 board; got {counts}.")
        self.size = size
        self.counts = counts
        self.hold_out = hold_out
        self.seed = seed
        rules = Constraints(size**2, 1, (*rows_and_columns(size), *_diagonals(size)), has_background=True)
        super().__init__(name, rules, splits)
        self.symbols, self.num_symmetry_draws = "..Q", 1

    def puzzles(self, split: Split) -> PuzzleSource:
        """The base boards of a split."""
        check_split(split)
        return self._draw(split) if self.splits is None else self.splits(split)

    def num_puzzles(self, split: Split) -> int:
        """How many base boards a split has; none is drawn for it."""
        check_split(split)
        return self.counts[SPLITS.index(split)] if self.splits is None else len(self.splits(split))

    def _draw(self, split: Split) -> Puzzles:
        givens, labels = draw_splits(self.size, self.counts, self.seed, self.hold_out)[split]
        return Puzzles(_tokens(givens), _tokens(labels))

    def symmetry(self, draws: Tensor) -> Symmetry:
        """One of the 8 symmetries of the square; tokens keep their names."""
        cells = torch.from_numpy(dihedral_maps(self.size))[(draws[:, 0] * 8).long()]
        return Symmetry(cells, torch.arange(self.vocab_size).expand(len(draws), -1))

    def satisfied_share(self, inputs: Tensor, answers: Tensor) -> Tensor:
        """Float32 [B]: the share of rows, columns, diagonals that hold and of given queens kept."""
        given = self.is_given(inputs)
        lines = held(self.constraints, answers).flatten(1)
        count = lines.sum(1) + (given & (answers == QUEEN)).sum(1)
        return count / (lines.shape[1] + given.sum(1))

    def edit_order(self, inputs: Tensor, labels: Tensor, draws: Tensor) -> Tensor:
        """Int64 [B, L]: row by row."""
        return torch.arange(self.seq_len).expand_as(inputs)

    def parse(self, text: str) -> Tensor:
        """Read a line such as ``Q.......`` n times over: a Q for a queen, any of ``.0_-`` for an empty cell.

        Raises:
            PuzzleError: wrong length, an unknown symbol, or queens that attack each other.
        """
        board = self.read_grid(text)
        queens = [divmod(cell, self.size) for cell in (board == QUEEN).nonzero().flatten().tolist()]
        for (row, column), (other_row, other_column) in itertools.combinations(queens, 2):
            if row == other_row or column == other_column or abs(row - other_row) == abs(column - other_column):
                raise PuzzleError(
                    f"no queen may attack another; the one in row {row + 1}, column {column + 1} attacks the one in"
                    f" row {other_row + 1}, column {other_column + 1}."
                )
        return board

    def is_ambiguous(self, inputs: Tensor) -> Tensor:
        """Bool [B]: the board has several completions."""
        given = self.is_given(inputs).numpy()
        return torch.from_numpy(completable(given, solutions(self.size)).sum(1) > 1)

    def answers(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """All solutions, int64 [K, L], and bool [B, K] which of them complete which board, int64 [B, L]."""
        every = solutions(self.size)
        return _tokens(every), torch.from_numpy(completable(self.is_given(inputs).numpy(), every))

    def _completions(self, inputs: Tensor) -> Tensor:
        """Int64 [K, L]: all completions of one board, of which there must be one at least."""
        every = solutions(self.size)
        found = every[completable(self.is_given(inputs[None]).numpy(), every)[0]]
        if len(found) == 0:
            raise PuzzleError(f"a {self.name} puzzle must have a completion; this one has none.")
        return _tokens(found)

    def any_answer(self, inputs: Tensor) -> Tensor:
        """The first completion in lexicographic order, int64 [L].

        Raises:
            PuzzleError: the board has no completion.
        """
        return self._completions(inputs)[0]

    def solve(self, inputs: Tensor) -> Tensor:
        """The only completion, int64 [L].

        Raises:
            PuzzleError: the board has no completion or several.
        """
        found = self._completions(inputs)
        if len(found) > 1:
            raise PuzzleError(
                f"a {self.name} puzzle must have one completion to be solved; this one has {len(found)}."
                " Give more queens, or ask for any_answer."
            )
        return found[0]


def _diagonals(size: int) -> list[Kind]:
    """The diagonals of two cells or more, in both directions, on which no two queens stand."""
    row, column = np.divmod(np.arange(size**2), size)
    sides = ("diagonal", row - column), ("antidiagonal", row + column)
    return [
        Kind.of(
            name,
            [u for d in np.unique(side) if len(u := np.flatnonzero(side == d)) > 1],
            exact=False,
            weights="diagonal",
        )
        for name, side in sides
    ]


def _tokens(boards: np.ndarray) -> Tensor:
    """Boards, bool [B, L], as tokens int64 [B, L]."""
    return torch.from_numpy(boards).long() + EMPTY
