"""What the tasks on token grids share: a base for new ones, reading a line of symbols, a readout that respects the
puzzle."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from latent_rl.errors import PuzzleError
from latent_rl.tasks.base import Split
from latent_rl.types import Puzzles, Symmetry

MASKED = -1e4
"""Added to the logit of a token that can't be: its probability is exactly 0 in float32, and differences stay finite."""


@lru_cache
def dihedral_maps(size: int) -> np.ndarray:
    """Int64 [8, n*n]: for each symmetry of the square, the cell that every cell of the view shows."""
    cells = np.arange(size**2).reshape(size, size)
    return np.stack([np.rot90(side, turns).ravel() for side in (cells, cells.T) for turns in range(4)])


@lru_cache
def _penalties(vocab_size: int, answer_tokens: tuple[int, ...]) -> Tensor:
    """Float32 [V + 1, V]: row t for a cell that must hold token t, the last row for one that is open."""
    penalties = torch.full((vocab_size + 1, vocab_size), MASKED)
    penalties.fill_diagonal_(0.0)
    penalties[vocab_size, list(answer_tokens)] = 0.0
    return penalties


def constrain_logits(inputs: Tensor, given: Tensor, logits: Tensor, answer_tokens: Iterable[int]) -> Tensor:
    """Make givens certain, and elsewhere all tokens but `answer_tokens` impossible.

    Args:
        inputs: int64 [B, L].
        given: bool [B, L], the cells that the puzzle fixes.
        logits: float32 [B, L, V].
        answer_tokens: what an answer may hold in the other cells.

    Returns:
        float32 [B, L, V], lower by `MASKED` where a token can't be.
    """
    vocab_size = logits.shape[-1]
    rows = torch.where(given, inputs, vocab_size)
    return F.embedding(rows, _penalties(vocab_size, tuple(answer_tokens))) + logits


def read_symbols(text: str, alphabet: Mapping[str, int], num_cells: int, task: str, expected: str) -> Tensor:
    """Read a line of one symbol per cell.

    Args:
        text: the line; what ends it is dropped, and blanks around it unless a blank is a symbol.
        alphabet: the token of every symbol.
        num_cells: L.
        task: the task's name, for the message.
        expected: the alphabet in words, for the message.

    Returns:
        Tokens, int64 [L].

    Raises:
        PuzzleError: wrong length, or a symbol outside the alphabet.
    """
    line = text.strip("\r\n" if " " in alphabet else None)
    if len(line) != num_cells:
        raise PuzzleError(f"a {task} puzzle must have {num_cells} symbols; got {len(line)}.")
    try:
        return torch.tensor([alphabet[symbol] for symbol in line])
    except KeyError as error:
        symbol = str(error.args[0])
        position = line.index(symbol) + 1
        raise PuzzleError(f"a {task} puzzle must have {expected}; got {symbol!r} at position {position}.") from None


class GridTask(ABC):
    """A task by its name, its symbols and three methods; everything else of the protocol has a plain default.

    A subclass sets the attributes and says which puzzles there are, which cells they fix, and when an answer is right.
    It overrides what it can do better: `symmetry` (training then shows each puzzle in many views, and restarts in a new
    view become useful), `satisfied_share` (a reward without labels), `solve` (for files of puzzles without answers).

    Attributes:
        name: what reports and folders call it.
        seq_len: L, the number of cells.
        symbols: the symbol of each token, in order; token 0 is padding, which no answer holds.
        first_answer_token: the smallest token that an answer may hold.
        num_symmetry_draws: random numbers that `symmetry` takes.
    """

    name: str
    seq_len: int
    symbols: str
    first_answer_token = 1
    num_symmetry_draws = 0

    @property
    def vocab_size(self) -> int:
        """V, one token for each symbol."""
        return len(self.symbols)

    @abstractmethod
    def puzzles(self, split: Split) -> Puzzles:
        """See `Task.puzzles`."""

    @abstractmethod
    def is_given(self, inputs: Tensor) -> Tensor:
        """See `Task.is_given`."""

    @abstractmethod
    def verify(self, inputs: Tensor, answers: Tensor) -> Tensor:
        """See `Task.verify`."""

    def symmetry(self, draws: Tensor) -> Symmetry:
        """The identity."""
        return Symmetry.identity(len(draws), self.seq_len, self.vocab_size)

    def constrain(self, inputs: Tensor, logits: Tensor) -> Tensor:
        """Givens become certain, tokens before `first_answer_token` impossible."""
        return constrain_logits(inputs, self.is_given(inputs), logits, range(self.first_answer_token, self.vocab_size))

    def satisfied_share(self, inputs: Tensor, answers: Tensor) -> Tensor:
        """Float32 [B]: 1 if solved, else 0."""
        return self.verify(inputs, answers).float()

    def edit_order(self, inputs: Tensor, labels: Tensor, draws: Tensor) -> Tensor:
        """Int64 [B, L]: a random order."""
        return draws.argsort(1).argsort(1)

    def read_grid(self, text: str) -> Tensor:
        """Read a line of symbols; raise `PuzzleError` on a wrong length or symbol."""
        alphabet = {symbol: token for token, symbol in enumerate(self.symbols) if token}
        return read_symbols(text, alphabet, self.seq_len, self.name, f"the symbols {' '.join(alphabet)}")

    def parse(self, text: str) -> Tensor:
        """Read a puzzle as `read_grid` does."""
        return self.read_grid(text)

    def format(self, tokens: Tensor) -> str:
        """One line of symbols."""
        return "".join(self.symbols[token] for token in tokens.tolist())

    def render(self, tokens: Tensor) -> str:
        """Draw a square board; a line, if the number of cells is no square."""
        line, side = self.format(tokens), math.isqrt(self.seq_len)
        width = side if side**2 == self.seq_len else self.seq_len
        return "\n".join(" ".join(line[start : start + width]) for start in range(0, self.seq_len, width))

    def is_ambiguous(self, inputs: Tensor) -> Tensor:
        """Bool [B], all false."""
        return torch.zeros(len(inputs), dtype=torch.bool)

    def any_answer(self, inputs: Tensor) -> Tensor:
        """The only answer: see `solve`."""
        return self.solve(inputs)

    def solve(self, inputs: Tensor) -> Tensor:
        """Raise `PuzzleError`, until a subclass can solve its puzzles."""
        raise PuzzleError(
            f"a {self.name} puzzle must come with its answer, as the task has no solver; give a CSV with the columns"
            " question and answer, or define solve."
        )
