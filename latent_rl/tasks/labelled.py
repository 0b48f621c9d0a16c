"""Puzzles whose rules nobody told: an answer is right if it equals a label."""

import string
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError, PuzzleError
from latent_rl.tasks.base import SPLITS, Split, Splits, Task
from latent_rl.types import PuzzleSource, matches

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

    def __init__(self, parts: list[PuzzleSource], seq_len: int, vocab_size: int) -> None:
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
        self._keys = torch.cat(keys)[order]
        self._part, self._row = torch.cat(places, dim=1)[:, order]

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
            labels = [self._parts[part][row : row + 1].labels for part, row in places]
            found.append(torch.cat(labels) if labels else inputs.new_zeros(0, inputs.shape[1]))
        return found


class Labelled(Task):
    """A task whose rules nobody told: an answer is right if it matches a label of the puzzle, and `labels` looks these
    up; of a puzzle that it does not know, no answer is right.

    No cell is given, and no view is symmetric to another. Cells of a label that hold 0 are open: anything may be there,
    but 0 itself.
    """

    has_rules = False

    @abstractmethod
    def labels(self, inputs: Tensor) -> list[Tensor]:
        """The known labels of each puzzle, int64 [K, L]; K is 0 where the board, int64 [B, L], is unknown."""

    @property
    def alphabet(self) -> Mapping[str, int]:
        """Every token as it is written, padding included."""
        return {symbol: token for token, symbol in enumerate(self.symbols)}

    @property
    def legend(self) -> str:
        """See `Task.legend`."""
        return f"one of {self.symbols}"

    def is_given(self, inputs: Tensor) -> Tensor:
        """Bool [B, L], all false."""
        return torch.zeros_like(inputs, dtype=torch.bool)

    def verify(self, inputs: Tensor, answers: Tensor) -> Tensor:
        """Bool [B]: the answer matches a label of the puzzle."""
        rows = zip(answers, self.labels(inputs), strict=True)
        return torch.tensor([bool(matches(answer, labels).all(1).any()) for answer, labels in rows], dtype=torch.bool)

    def satisfied_share(self, inputs: Tensor, answers: Tensor) -> Tensor:
        """Float32 [B]: the share of cells that match the label, the nearest one if there are several."""
        rows = zip(answers, self.labels(inputs), strict=True)
        shares = [matches(answer, labels).float().mean(1).max() if len(labels) else 0.0 for answer, labels in rows]
        return torch.tensor(shares)

    def is_ambiguous(self, inputs: Tensor) -> Tensor:
        """Bool [B]: the puzzle has several different labels."""
        return torch.tensor([len(labels.unique(dim=0)) > 1 for labels in self.labels(inputs)], dtype=torch.bool)

    def any_answer(self, inputs: Tensor) -> Tensor:
        """The first label of one puzzle, int64 [L].

        Raises:
            PuzzleError: the puzzle is none of the known ones.
        """
        labels = self.labels(inputs[None])[0]
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


class TokenTask(Labelled):
    """Tokens in, tokens out: puzzles of which no more is known, with their labels in all splits.

    Args:
        name: the task's.
        vocab_size: V, up to 62: each token has a symbol, 0-9, a-z, A-Z.
        seq_len: L.
        splits: gives the base puzzles.
        num_puzzle_ids: how many embeddings the puzzles ask for; 0 if they have no ids.
        identifiers: what the ids mean, if that is known.

    Raises:
        InvalidValueError: there are more tokens than symbols.
    """

    def __init__(
        self,
        name: str,
        vocab_size: int,
        seq_len: int,
        splits: Splits,
        *,
        num_puzzle_ids: int = 0,
        identifiers: list[str] | None = None,
    ) -> None:
        if not 2 <= vocab_size <= len(SYMBOLS):
            raise InvalidValueError(
                f"the vocabulary of puzzles without known rules must have 2..{len(SYMBOLS)} tokens; got {vocab_size}."
            )
        self.name = name
        self.seq_len = seq_len
        self.symbols = SYMBOLS[:vocab_size]
        self._splits = splits
        self._num_puzzle_ids = num_puzzle_ids
        self._identifiers = identifiers

    @property
    def num_puzzle_ids(self) -> int:
        """See `Task.num_puzzle_ids`."""
        return self._num_puzzle_ids

    @property
    def identifiers(self) -> list[str] | None:
        """See `Task.identifiers`."""
        return self._identifiers

    def puzzles(self, split: Split) -> PuzzleSource:
        """The base puzzles of a split."""
        return self._splits(split)

    def labels(self, inputs: Tensor) -> list[Tensor]:
        """The labels of each puzzle in any split, int64 [K, L]."""
        return self._index.labels(inputs)

    @cached_property
    def _index(self) -> LabelIndex:
        parts = []
        for split in SPLITS:
            try:
                parts.append(self._splits(split))
            except PuzzleError as error:  # a folder may have one part only
                missing = error
        if not parts:
            raise missing
        return LabelIndex(parts, self.seq_len, self.vocab_size)
