"""Frozen values that pass between the parts. Shapes: B batch, L cells, V vocabulary, D width, S steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batched:
    """A bundle of tensors that share their first axis, the batch."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Apply `function` to every tensor, those of nested bundles included."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(
            self,
            **{
                name: value.map(function) if isinstance(value, Batched) else function(value)
                for name, value in values.items()
                if isinstance(value, Batched | Tensor)
            },
        )

    def __getitem__(self, rows: slice) -> Self:
        """A slice of the rows as a bundle of its own; it shares memory with this one."""
        if not isinstance(rows, slice):  # else Python would take a bundle for a sequence to loop over
            raise TypeError(f"a {type(self).__name__} takes slices of rows; got {rows!r}. Use `select` for others.")
        return self.map(lambda tensor: tensor[rows])

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        return self.map(lambda tensor: tensor.to(device))

    def select(self, rows: Tensor) -> Self:
        """The given rows (int64 indices, or a bool mask) as a bundle of its own."""
        places = rows.nonzero().squeeze(1) if rows.dtype == torch.bool else rows
        return self.map(lambda tensor: tensor.index_select(0, places.to(tensor.device)))

    def put(self, rows: Tensor, other: Self) -> Self:
        """A copy in which the given rows (int64 indices or a bool mask) come from `other`."""

        places = rows.nonzero().squeeze(1) if rows.dtype == torch.bool else rows
        changes: dict[str, Batched | Tensor] = {}
        for f in fields(self):
            mine, theirs = getattr(self, f.name), getattr(other, f.name)
            if isinstance(mine, Batched):
                changes[f.name] = mine.put(places, theirs)
            elif isinstance(mine, Tensor):
                changes[f.name] = mine.index_copy(0, places.to(mine.device), theirs.to(mine))
        return replace(self, **changes)

    def concat(self, *others: Self) -> Self:
        """The rows of this bundle and of the others, one after the other."""
        changes: dict[str, Batched | Tensor] = {}
        for f in fields(self):
            mine, theirs = getattr(self, f.name), [getattr(other, f.name) for other in others]
            if isinstance(mine, Batched):
                changes[f.name] = mine.concat(*theirs)
            elif isinstance(mine, Tensor):
                changes[f.name] = torch.cat([mine, *theirs])
        return replace(self, **changes)


@dataclass(frozen=True)
class Puzzles(Batched):
    """Puzzles with their answers.

    Attributes:
        inputs: int64 [B, L], tokens of the puzzle.
        labels: int64 [B, L], tokens of the answer y*; 0 (padding, which no answer holds) where it is unknown, or left
            open: see `matches`.
        puzzle_ids: int64 [B], which embedding a reasoner with puzzle embeddings looks up; None for its first.
    """

    inputs: Tensor
    labels: Tensor
    puzzle_ids: Tensor | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return self.inputs.shape[0]

    def seen_in(self, symmetry: Symmetry) -> Self:
        """The puzzles as they look in a view."""
        boards = replace(self, puzzle_ids=None).map(symmetry.apply)
        return replace(boards, puzzle_ids=self.puzzle_ids)

    @staticmethod
    def unlabelled(inputs: Tensor) -> Puzzles:
        """Puzzles, int64 [B, L], whose answers nobody knows."""
        return Puzzles(inputs, torch.zeros_like(inputs))


@runtime_checkable
class PuzzleSource(Protocol):
    """Puzzles that are taken out by row: a table of them (`Puzzles`), or what reads or makes them when they are asked
    for, as there may be millions.

    One of your own inherits from this and needs the first two methods alone.
    """

    def __len__(self) -> int: ...

    def select(self, rows: Tensor) -> Puzzles:
        """The puzzles in these rows, int64 [B]."""

    def __getitem__(self, rows: slice) -> Puzzles:
        """The puzzles of a slice of the rows."""
        return self.select(torch.arange(len(self))[rows])


def matches(answers: Tensor, labels: Tensor) -> Tensor:
    """Bool [B, L]: the cell of the answer, int64 [B, L], equals that of the label, or the label leaves it open (0)."""
    return (answers == labels) | (labels == 0)


@dataclass(frozen=True)
class Symmetry(Batched):
    """An invertible map of a task onto itself, one for each row of a batch: view[i] = tokens[x[cells[i]]].

    Attributes:
        cells: int64 [B, L], for each cell of the view the cell of the original it shows.
        tokens: int64 [B, V], the new name of every token.
    """

    cells: Tensor
    tokens: Tensor

    def apply(self, x: Tensor) -> Tensor:
        """Tokens int64 [B, L], or paths of them [B, S, L], as they look in the view."""
        cells, tokens = self.cells, self.tokens
        if x.ndim == 3:
            cells, tokens = (tensor[:, None].expand(-1, x.shape[1], -1) for tensor in (cells, tokens))
        return tokens.gather(-1, x.gather(-1, cells))

    def invert(self, view: Tensor) -> Tensor:
        """Tokens int64 [B, L] of the view as they look in the original: the inverse of `apply`."""
        return self.tokens.argsort(1).gather(1, view).gather(1, self.cells.argsort(1))

    def invert_logits(self, logits: Tensor) -> Tensor:
        """Logits [B, L, V] over the view's cells and tokens as logits over the original's."""
        back = self.cells.argsort(1)[:, :, None].expand_as(logits)
        return logits.gather(1, back).gather(2, self.tokens[:, None, :].expand_as(logits))

    @staticmethod
    def identity(batch_size: int, seq_len: int, vocab_size: int) -> Symmetry:
        """The map that changes nothing."""
        return Symmetry(torch.arange(seq_len).expand(batch_size, -1), torch.arange(vocab_size).expand(batch_size, -1))


@dataclass(frozen=True)
class TaskShape:
    """What a network must know of a task to be made for it.

    Attributes:
        vocab_size: V.
        seq_len: L.
        units: sets of cells in which no symbol stands twice, under the names of the weights that they share; None
            where the rules are not of this kind.
        has_background: a cell may stay without a symbol, and token 1 says so.
    """

    vocab_size: int
    seq_len: int
    units: Mapping[str, tuple[tuple[int, ...], ...]] | None = None
    has_background: bool = False


@dataclass(frozen=True)
class Carry(Batched):
    """What a reasoner hands from one supervision step to the next.

    Attributes:
        answer: [B, P + L, D], the current answer, embedded (the paper's y, z_H), behind P puzzle positions (mostly
            none); compute dtype.
        latent: [B, P + L, D], the scratchpad (z, z_L), never decoded; compute dtype.
        prediction: int64 [B, L], the previous step's argmax answer (zeros before any step).
    """

    answer: Tensor
    latent: Tensor
    prediction: Tensor


@dataclass(frozen=True)
class ReasonerOutput(Batched):
    """What one supervision step says.

    Attributes:
        reference_logits: float32 [B, L, V], readout of the answer before the step (l_u).
        conditional_logits: float32 [B, L, V], readout of the answer after the step (l_c).
        halt_logit: float32 [B], the halting head's log-odds that the answer is right; 0 without such a head.
        passes: forward passes that each row of the step cost, T * (n + 1).
        continue_logit: float32 [B], the halting head's value of another step; None without such a head.
    """

    reference_logits: Tensor
    conditional_logits: Tensor
    halt_logit: Tensor
    passes: int
    continue_logit: Tensor | None = None
