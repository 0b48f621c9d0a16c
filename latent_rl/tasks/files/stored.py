"""Puzzles that lie in the folders of the public dataset scripts, memory-mapped."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from latent_rl.errors import PuzzleError
from latent_rl.tasks.base import Split
from latent_rl.tasks.files.facts import FACTS, Facts
from latent_rl.tasks.files.npy import read_array
from latent_rl.tasks.files.validation import VALIDATIONS, num_validation
from latent_rl.types import Puzzles, PuzzleSource


@dataclass(frozen=True)
class StoredPuzzles(PuzzleSource):
    """Puzzles in tensors of any integer type, memory-mapped or not; what is taken out of them is int64 and checked.

    Attributes:
        inputs: [N, L], any integers.
        labels: [N, L], any integers.
        vocab_size: V.
        least_label: the smallest token of a label, 0 where labels may leave cells open, 1 where they may not.
        origin: what an error calls them.
        ignored: the number that stands for 0 in labels.
        lowered: what is taken from every token; where it is, there is no padding.
        puzzle_ids: int64 [N], as in `Puzzles`.
    """

    inputs: Tensor
    labels: Tensor
    vocab_size: int
    least_label: int
    origin: str
    ignored: int = 0
    lowered: int = 0
    puzzle_ids: Tensor | None = None

    def __len__(self) -> int:
        return self.inputs.shape[0]

    def select(self, rows: Tensor) -> Puzzles:
        """The puzzles in these rows, int64 [B].

        Raises:
            PuzzleError: a token that was read is none.
        """
        return self.part(rows).read()

    def __getitem__(self, rows: slice) -> Puzzles:
        """The puzzles of a slice of the rows; see `select`."""
        return self.part(rows).read()

    def part(self, rows: slice | Tensor) -> Self:
        """Some of the puzzles, still stored: a slice is no copy."""
        ids = None if self.puzzle_ids is None else self.puzzle_ids[rows]
        return replace(self, inputs=self.inputs[rows], labels=self.labels[rows], puzzle_ids=ids)

    def read(self) -> Puzzles:
        """All of them in memory.

        Raises:
            PuzzleError: a token is none.
        """
        inputs, labels = self.inputs.long(), self.labels.long()
        if self.ignored:
            labels = labels.masked_fill(labels == self.ignored, 0)
        if self.lowered:
            inputs, labels = inputs - self.lowered, labels - self.lowered
        for name, tokens, least in (("inputs", inputs, min(self.lowered, 1)), ("labels", labels, self.least_label)):
            if tokens.numel() and (tokens.min() < least or tokens.max() >= self.vocab_size):
                least, most = least + self.lowered, self.vocab_size - 1 + self.lowered
                raise PuzzleError(
                    f"{self.origin} must hold {name} in {least}..{most}; got {int(tokens.min()) + self.lowered}.."
                    f"{int(tokens.max()) + self.lowered}."
                )
        return Puzzles(inputs, labels, puzzle_ids=self.puzzle_ids)

    def renumbered(self, lowered: int) -> Self:
        """The same puzzles in a vocabulary that begins later: every token is so much lower, and there is no padding."""
        return replace(self, vocab_size=self.vocab_size - lowered, least_label=1, lowered=lowered)


def stored_split(folder: Path, parts: Mapping[str, Facts], split: Split) -> StoredPuzzles:
    """Memory-map a split of a folder of the public dataset scripts.

    "validation" is the folder `val`, if there is one. Otherwise it is made of the last groups in `train`, one puzzle
    each: a tenth of the groups, `MAX_VALIDATION` at most. "train" is the rest, so that neither shares a puzzle, or a
    variant of one, with the other. Where nothing tells of groups, every row is one of its own.

    Args:
        folder: it.
        parts: see `read_facts`.
        split: which.

    Raises:
        PuzzleError: with file and reason: a file is missing, truncated or damaged, or files don't fit each other.
    """
    validation = next((name for name in VALIDATIONS if name in parts), None)
    part = validation if split == "validation" and validation else "test" if split == "test" else "train"
    if part not in parts:
        raise PuzzleError(f"{folder} must have {part}/{FACTS} to give {split} puzzles; it has not.")
    place, facts = folder / part, parts[part]
    read = partial(read_array, place, facts.sets[0])
    inputs, labels = read("inputs"), read("labels")
    if inputs.shape[1] != facts.seq_len or labels.shape != inputs.shape:
        raise PuzzleError(
            f"{place} must hold inputs and labels of one shape [N, {facts.seq_len}], as its {FACTS} says; got"
            f" {list(inputs.shape)} and {list(labels.shape)}."
        )
    if not len(inputs):
        raise PuzzleError(f"{place} must hold at least one puzzle; got none.")
    # Only folders that tell of no groups, or of no ids, may go without them.
    grouped = facts.total_groups is not None
    puzzles = read("puzzle_indices", None if grouped else np.arange(len(inputs) + 1)).astype(np.int64)
    shared = np.zeros(max(len(puzzles) - 1, 0), dtype=np.int64)
    identifiers = read("puzzle_identifiers", shared if facts.num_puzzle_identifiers == 1 else None)
    groups = read("group_indices", None if grouped else np.arange(len(puzzles))).astype(np.int64)
    for name, starts, count in (
        ("puzzle_indices", puzzles, len(inputs)), ("group_indices", groups, len(identifiers))
    ):  # fmt: skip
        if len(starts) < 2 or starts[0] != 0 or starts[-1] != count or (starts[1:] <= starts[:-1]).any():
            raise PuzzleError(f"{place}: {name} must rise from 0 to {count}; got {_shortened(starts)}.")
    if len(puzzles) != len(identifiers) + 1:
        raise PuzzleError(
            f"{place} must have one identifier for each puzzle, {len(puzzles) - 1}; got {len(identifiers)}."
        )
    if identifiers.min() < 0 or identifiers.max() >= facts.num_puzzle_identifiers:
        raise PuzzleError(
            f"{place} must hold puzzle identifiers in 0..{facts.num_puzzle_identifiers - 1}; got {identifiers.min()}.."
            f"{identifiers.max()}."
        )
    puzzle_ids = None
    if facts.num_puzzle_identifiers > 1:
        puzzle_ids = torch.from_numpy(np.repeat(identifiers.astype(np.int64), np.diff(puzzles)))
    stored = StoredPuzzles(
        torch.from_numpy(inputs),
        torch.from_numpy(labels),
        vocab_size=facts.vocab_size,
        least_label=1 if facts.ignore_label_id is None else 0,
        origin=str(place),
        ignored=facts.ignore_label_id or 0,
        puzzle_ids=puzzle_ids,
    )
    if split == "test" or validation:
        return stored
    first_held_out = len(groups) - 1 - num_validation(len(groups) - 1, place)
    if split == "train":
        return stored.part(slice(int(puzzles[groups[first_held_out]])))
    return stored.part(torch.from_numpy(puzzles[groups[first_held_out:-1]]))


def _shortened(numbers: np.ndarray) -> str:
    text = ", ".join(map(str, numbers[:6].tolist()))
    return f"{text}, ..., {numbers[-1]}" if len(numbers) > 6 else text or "nothing"
