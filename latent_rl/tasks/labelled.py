"""Puzzles whose rules nobody told: an answer is right if it equals a label."""

import math
import string
from functools import cached_property

import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError, PuzzleError
from latent_rl.tasks.base import SPLITS, Source, Split
from latent_rl.tasks.grids import constrain_logits, read_symbols
from latent_rl.types import Puzzles, Symmetry, matches

SYMBOLS = string.digits + string.ascii_letters
_CHUNK = 4096
"""Puzzles that are looked at together."""


class LabelIndex:
    """Finds the labels of boards again.

    Args:
        parts: puzzles, each as often as it has labels.
        seq_len: L.
        vocab_size: V.
    """

    def __init__(self, parts: list[Puzzles], seq_len: int, vocab_size: int) -> None:
        self._parts = parts
        generator = torch.Generator().manual_seed(0)
        self._weights = torch.randint(-(2**62), 2**62, (seq_len, vocab_size), generator=generator)
        keys, places = [], []
        for number, puzzles in enumerate(parts):
            for start in range(0, len(puzzles), _CHUNK):
                rows = torch.arange(start, min(start + _CHUNK, len(puzzles)))
                keys.append(self._keys_of(puzzles.select(rows).inputs))
                places.append(torch.stack([torch.full_like(rows, number), rows]))
        if not keys:
            keys, places = [torch.empty(0, dtype=torch.int64)], [torch.empty(2, 0, dtype=torch.int64)]
        order = torch.cat(keys).argsort()
        self._keys, (self._part, self._row) = torch.cat(keys)[order], torch.cat(places, dim=1)[:, order]

    def _keys_of(self, inputs: Tensor) -> Tensor:
        """Int64 [B]: a sum of random weights, modulo 2^64, by which boards are found again."""
        return self._weights[torch.arange(inputs.shape[1]), inputs].sum(1)

    def labels(self, inputs: Tensor) -> list[Tensor]:
        """The labels of each row, int64 [K, L]; K is 0 where the board, int64 [B, L], is unknown."""
        wanted = self._keys_of(inputs)
        first, end = torch.searchsorted(self._keys, wanted), torch.searchsorted(self._keys, wanted, right=True)
        found = []
        for start, stop in zip(first.tolist(), end.tolist(), strict=True):
            places = zip(self._part[start:stop].tolist(), self._row[start:stop].tolist(), strict=True)
            labels = [self._parts[part].labels[row] for part, row in places]
            found.append(torch.stack(labels) if labels else inputs.new_zeros(0, inputs.shape[1]))
        return found


class Unruled:
    """Tokens in, tokens out. `verify` looks the puzzle up among the base puzzles of all splits; of one that it does not
    know, no answer is right.

    No cell is given, and no view is symmetric to another. Cells of a label that hold 0 are open: anything may be there,
    but 0 itself.

    Args:
        name: the task's.
        vocab_size: V, up to 62: each token has a symbol, 0-9, a-z, A-Z.
        seq_len: L.
        source: gives the base puzzles of a split.
        symbols: the symbol of each token, if not these.
        num_puzzle_ids: how many embeddings the puzzles ask for; 0 if they have no ids.
        identifiers: what the ids mean, if that is known.

    Raises:
        InvalidValueError: there are more tokens than symbols.
    """

    num_symmetry_draws = 0
    has_rules = False

    def __init__(
        self,
        name: str,
        vocab_size: int,
        seq_len: int,
        source: Source,
        *,
        symbols: str = SYMBOLS,
        num_puzzle_ids: int = 0,
        identifiers: list[str] | None = None,
    ) -> None:
        if not 2 <= vocab_size <= len(SYMBOLS):
            raise InvalidValueError(
                f"the vocabulary of puzzles without known rules must have 2..{len(SYMBOLS)} tokens; got {vocab_size}."
            )
        self.name, self.vocab_size, self.seq_len, self._source = name, vocab_size, seq_len, source
        self.symbols, self._num_puzzle_ids, self._identifiers = symbols[:vocab_size], num_puzzle_ids, identifiers

    @property
    def num_puzzle_ids(self) -> int:
        """How many embeddings the puzzles ask for; 0 if they have no ids."""
        return self._num_puzzle_ids

    @property
    def identifiers(self) -> list[str] | None:
        """What the ids mean, a name for each; None if that is not known."""
        return self._identifiers

    def puzzles(self, split: Split) -> Puzzles:
        """The base puzzles of a split."""
        return self._source(split)

    def symmetry(self, draws: Tensor) -> Symmetry:
        """The map that changes nothing."""
        return Symmetry.identity(len(draws), self.seq_len, self.vocab_size)

    def is_given(self, inputs: Tensor) -> Tensor:
        """Bool [B, L], all false."""
        return torch.zeros_like(inputs, dtype=torch.bool)

    def constrain(self, inputs: Tensor, logits: Tensor) -> Tensor:
        """Padding becomes impossible."""
        return constrain_logits(inputs, self.is_given(inputs), logits, range(1, self.vocab_size))

    @cached_property
    def _index(self) -> LabelIndex:
        parts = []
        for split in SPLITS:
            try:
                parts.append(self._source(split))
            except PuzzleError as error:  # a folder may have one part only
                missing = error
        if not parts:
            raise missing
        return LabelIndex(parts, self.seq_len, self.vocab_size)

    def _labels(self, inputs: Tensor) -> list[Tensor]:
        """The known labels of each row, int64 [K, L]."""
        return self._index.labels(inputs)

    def verify(self, inputs: Tensor, answers: Tensor) -> Tensor:
        """Bool [B]: the answer matches a label of the puzzle."""
        rows = zip(answers, self._labels(inputs), strict=True)
        return torch.tensor([bool(matches(answer, labels).all(1).any()) for answer, labels in rows], dtype=torch.bool)

    def satisfied_share(self, inputs: Tensor, answers: Tensor) -> Tensor:
        """Float32 [B]: the share of cells that match the label, the nearest one if there are several."""
        rows = zip(answers, self._labels(inputs), strict=True)
        shares = [matches(answer, labels).float().mean(1).max() if len(labels) else 0.0 for answer, labels in rows]
        return torch.tensor(shares)

    def edit_order(self, inputs: Tensor, labels: Tensor, draws: Tensor) -> Tensor:
        """Int64 [B, L]: at random."""
        return draws.argsort(1).argsort(1)

    def read_grid(self, text: str) -> Tensor:
        """Read a line of one symbol for each cell.

        Raises:
            PuzzleError: wrong length or an unknown symbol.
        """
        alphabet = {symbol: token for token, symbol in enumerate(self.symbols)}
        return read_symbols(text, alphabet, self.seq_len, self.name, f"one of {self.symbols}")

    def parse(self, text: str) -> Tensor:
        """Read a puzzle as `read_grid` does."""
        return self.read_grid(text)

    def format(self, tokens: Tensor) -> str:
        """One symbol for each cell."""
        return "".join(self.symbols[token] for token in tokens.tolist())

    def render(self, tokens: Tensor) -> str:
        """One line for each row of a square board, otherwise lines of 40 cells."""
        line, side = self.format(tokens), math.isqrt(self.seq_len)
        width = side if side**2 == self.seq_len else 40
        return "\n".join(" ".join(line[start : start + width]) for start in range(0, self.seq_len, width))

    def is_ambiguous(self, inputs: Tensor) -> Tensor:
        """Bool [B]: the puzzle has several different labels."""
        return torch.tensor([len(labels.unique(dim=0)) > 1 for labels in self._labels(inputs)], dtype=torch.bool)

    def any_answer(self, inputs: Tensor) -> Tensor:
        """The first label of one puzzle, int64 [L].

        Raises:
            PuzzleError: the puzzle is none of the known ones.
        """
        labels = self._labels(inputs[None])[0]
        if not len(labels):
            raise PuzzleError(f"a {self.name} puzzle must be one of the folder's, for want of rules; this one is not.")
        return labels[0]

    def solve(self, inputs: Tensor) -> Tensor:
        """The only label of one puzzle, int64 [L].

        Raises:
            PuzzleError: the puzzle is none of the known ones, or has several labels.
        """
        if bool(self.is_ambiguous(inputs[None])):
            raise PuzzleError(f"a {self.name} puzzle must have one label to be solved; this one has several.")
        return self.any_answer(inputs)
