"""Puzzles that lie in the folders of the public dataset scripts, memory-mapped."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from latent_rl.config import from_dict
from latent_rl.errors import LatentRLError, PuzzleError
from latent_rl.files import read_json
from latent_rl.tasks.base import Split
from latent_rl.types import Puzzles

FACTS = "dataset.json"
ARRAYS = {"inputs": 2, "labels": 2, "puzzle_identifiers": 1, "puzzle_indices": 1, "group_indices": 1}
"""The files of a split, and how many axes each has."""
VALIDATION_SHARE, MAX_VALIDATION = 10, 1000
"""One of so many groups of the training folder is kept for validation, at most so many of them."""


@dataclass(frozen=True)
class Facts:
    """What a public `dataset.json` says; only the attributes described here are used.

    Attributes:
        vocab_size: V.
        seq_len: L.
        sets: name of the one set, with which the names of the arrays' files begin.
        ignore_label_id: the token of labels that leaves a cell open; None for none.
        num_puzzle_identifiers: how many embeddings the puzzles ask for; 1 if they share one.
    """

    vocab_size: int
    seq_len: int
    sets: list[str]
    ignore_label_id: int | None
    num_puzzle_identifiers: int
    pad_id: int = 0
    blank_identifier_id: int = 0
    total_groups: int | None = None
    total_puzzles: int | None = None
    mean_puzzle_examples: float | None = None

    @staticmethod
    def read(path: Path) -> "Facts":
        """Read and check the file.

        Raises:
            PuzzleError: it is unreadable, or not what the public scripts write.
        """
        try:
            facts = from_dict(Facts, read_json(path))
        except LatentRLError as error:
            raise PuzzleError(f"{path} must be the one that a public dataset script wrote: {error}") from error
        for name in ("vocab_size", "seq_len", "num_puzzle_identifiers"):
            if type(value := getattr(facts, name)) is not int or value < 1:
                raise PuzzleError(f"{path} must give {name} as a whole number of at least 1; got {value!r}.")
        if facts.ignore_label_id not in (None, 0) or facts.pad_id != 0:
            raise PuzzleError(
                f"{path} must have pad_id 0 and ignore_label_id 0 or null; got {facts.pad_id} and"
                f" {facts.ignore_label_id}. Renumber the tokens."
            )
        if not isinstance(facts.sets, list) or len(facts.sets) != 1 or not isinstance(facts.sets[0], str):
            raise PuzzleError(f"{path} must name one set; got {facts.sets!r}. Make a folder of each set.")
        return facts


@dataclass(frozen=True)
class StoredPuzzles(Puzzles):
    """Puzzles in tensors of any integer type, memory-mapped or not; what is taken out of them is int64 and checked.

    Attributes:
        vocab_size: V.
        least_label: the smallest token of a label, 0 where labels may leave cells open, 1 where they may not.
        source: what an error calls them.
    """

    vocab_size: int
    least_label: int
    source: str

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Apply `function`, then read what it chose: ordinary puzzles, int64.

        Raises:
            PuzzleError: a token that was read is none.
        """
        inputs, labels = function(self.inputs).long(), function(self.labels).long()
        puzzle_ids = None if self.puzzle_ids is None else function(self.puzzle_ids)
        for name, tokens, least in (("inputs", inputs, 0), ("labels", labels, self.least_label)):
            if tokens.numel() and (tokens.min() < least or tokens.max() >= self.vocab_size):
                raise PuzzleError(
                    f"{self.source} must hold {name} in {least}..{self.vocab_size - 1}; got {int(tokens.min())}.."
                    f"{int(tokens.max())}."
                )
        return Puzzles(inputs, labels, puzzle_ids=puzzle_ids)  # type: ignore[return-value]


def read_arrays(folder: Path, split: Split) -> tuple[Facts, StoredPuzzles]:
    """Memory-map a split of a folder of the public dataset scripts.

    "validation" is made of the last groups in `train`, one puzzle each: a tenth of the groups, `MAX_VALIDATION` at
    most. "train" is the rest, so that neither shares a puzzle, or a variant of one, with the other.

    Raises:
        PuzzleError: with file and reason: a file is missing, truncated or damaged, or files don't fit each other.
    """
    place = folder / ("test" if split == "test" else "train")
    if not (place / FACTS).is_file():
        raise PuzzleError(f"{folder} must have {place.name}/{FACTS} to give {split} puzzles; it has not.")
    facts = Facts.read(place / FACTS)
    arrays = {name: _open(place / f"{facts.sets[0]}__{name}.npy", kind) for name, kind in ARRAYS.items()}
    inputs, labels = arrays["inputs"], arrays["labels"]
    if inputs.shape[1] != facts.seq_len or labels.shape != inputs.shape:
        raise PuzzleError(
            f"{place} must hold inputs and labels of one shape [N, {facts.seq_len}], as its {FACTS} says; got"
            f" {list(inputs.shape)} and {list(labels.shape)}."
        )
    identifiers, puzzles, groups = (arrays[name] for name in ("puzzle_identifiers", "puzzle_indices", "group_indices"))
    for name, starts, count in (
        ("puzzle_indices", puzzles, len(inputs)), ("group_indices", groups, len(identifiers))
    ):  # fmt: skip
        if len(starts) < 2 or starts[0] != 0 or starts[-1] != count or (np.diff(starts) < 1).any():
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
        least_label=0 if facts.ignore_label_id == 0 else 1,
        source=str(place),
        puzzle_ids=puzzle_ids,
    )
    if split == "test":
        return facts, stored
    first_held_out = len(groups) - 1 - num_validation(len(groups) - 1, place)
    if split == "train":
        return facts, _rows(stored, slice(puzzles[groups[first_held_out]]))
    return facts, _rows(stored, torch.from_numpy(puzzles[groups[first_held_out:-1]].astype(np.int64)))


def num_validation(num_groups: int, source: Path) -> int:
    """How many groups are kept for validation.

    Raises:
        PuzzleError: there are too few to have both.
    """
    if num_groups < 2:
        raise PuzzleError(f"{source} must hold at least 2 different puzzles, for training and validation; got 1.")
    return min(max(1, num_groups // VALIDATION_SHARE), MAX_VALIDATION)


def _rows(stored: StoredPuzzles, rows: slice | Tensor) -> StoredPuzzles:
    """Part of the puzzles, still stored: a slice is no copy."""
    ids = None if stored.puzzle_ids is None else stored.puzzle_ids[rows]
    return replace(stored, inputs=stored.inputs[rows], labels=stored.labels[rows], puzzle_ids=ids)


def _open(path: Path, num_axes: int) -> np.ndarray:
    """Map an array of whole numbers into memory."""
    try:
        # Copy on write: torch wants memory that it may write to; nobody does.
        array = np.load(path, mmap_mode="c")
    except (OSError, ValueError, EOFError) as error:
        raise PuzzleError(f"{path} must be a whole .npy file of numbers: {' '.join(str(error).split())}.") from error
    if array.dtype.kind not in "iu" or array.ndim != num_axes:
        raise PuzzleError(f"{path} must hold whole numbers on {num_axes} axes; got {array.dtype} {list(array.shape)}.")
    if (array.dtype.kind == "u" and array.dtype.itemsize > 1) or not array.dtype.isnative:
        array = array.astype(np.int64)
    return array


def _shortened(numbers: np.ndarray) -> str:
    text = ", ".join(map(str, numbers[:6].tolist()))
    return f"{text}, ..., {numbers[-1]}" if len(numbers) > 6 else text or "nothing"
