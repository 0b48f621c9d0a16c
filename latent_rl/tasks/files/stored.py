"""Puzzles that lie in the folders of the public dataset scripts, memory-mapped."""

import warnings
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import torch
from torch import Tensor

from latent_rl.config import SIZE, Range, check_fields, from_dict
from latent_rl.errors import LatentRLError, PuzzleError, one_line
from latent_rl.storage.atomic import read_json
from latent_rl.tasks.base import Split
from latent_rl.types import Puzzles, PuzzleSource

FACTS = "dataset.json"
ARRAYS = {"inputs": 2, "labels": 2, "puzzle_identifiers": 1, "puzzle_indices": 1, "group_indices": 1}
"""The files of a split, and how many axes each has."""
VALIDATIONS = ("val", "valid", "validation")
"""What a folder of validation puzzles may be called."""
VALIDATION_SHARE, MAX_VALIDATION = 10, 1000
"""Without such a folder, one of so many groups of the training folder is kept for validation, at most so many."""
_UNUSED = {
    "blank_identifier_id", "total_puzzles", "mean_puzzle_examples",
    "num_puzzles", "grid_size", "max_grid_size", "min_givens", "max_givens", "num_groups", "num_augmentations",
    "mean_puzzles_per_group", "mixed_size", "grid_sizes", "grid_size_counts",
}  # fmt: skip
"""Further keys of `dataset.json`: of the public TRM and HRM code, and of nano-trm."""


@dataclass(frozen=True)
class Facts:
    """What is used of a public `dataset.json`.

    Attributes:
        vocab_size: V.
        seq_len: L.
        sets: name of the one set, with which the names of the arrays' files begin.
        ignore_label_id: the token of labels that leaves a cell open; None for none.
        num_puzzle_identifiers: how many embeddings the puzzles ask for; 1 if they share one.
        pad_id: the token of padding.
        total_groups: how many groups there are; None if there is no telling, and each row is one.
    """

    vocab_size: Annotated[int, Range(1, 2**20)]
    seq_len: Annotated[int, SIZE]
    sets: list[str] = field(default_factory=lambda: ["all"])
    ignore_label_id: int | None = -100
    num_puzzle_identifiers: Annotated[int, Range(1, 10**8)] = 1
    pad_id: int = 0
    total_groups: int | None = None

    @staticmethod
    def read(path: Path) -> "Facts":
        """Read and check the file.

        Raises:
            PuzzleError: it is unreadable, or not what the public scripts write.
        """
        try:
            facts = from_dict(Facts, {key: value for key, value in read_json(path).items() if key in _USED})
            check_fields(facts)
        except LatentRLError as error:
            raise PuzzleError(f"{path} must be the one that a public dataset script wrote: {error}") from error
        if facts.pad_id != 0 or (facts.ignore_label_id or 0) > 0:
            raise PuzzleError(
                f"{path} must have pad_id 0 and an ignore_label_id that is null, 0 or negative; got {facts.pad_id} and"
                f" {facts.ignore_label_id}. Renumber the tokens."
            )
        if not isinstance(facts.sets, list) or len(facts.sets) != 1 or not isinstance(facts.sets[0], str):
            raise PuzzleError(
                f"{path} must name one set; got {one_line(repr(facts.sets), 80)}. Make a folder of each set."
            )
        return facts


_USED = {each.name for each in fields(Facts)}


def unknown_facts(path: Path) -> set[str]:
    """Keys of a `dataset.json` that no public script that is known here writes."""
    return read_json(path).keys() - _USED - _UNUSED


@dataclass(frozen=True)
class StoredPuzzles(PuzzleSource):
    """Puzzles in tensors of any integer type, memory-mapped or not; what is taken out of them is int64 and checked.

    Attributes:
        inputs: [N, L], any integers.
        labels: [N, L], any integers.
        vocab_size: V.
        least_label: the smallest token of a label, 0 where labels may leave cells open, 1 where they may not.
        source: what an error calls them.
        ignored: the number that stands for 0 in labels.
        lowered: what is taken from every token; where it is, there is no padding.
        puzzle_ids: int64 [N], as in `Puzzles`.
    """

    inputs: Tensor
    labels: Tensor
    vocab_size: int
    least_label: int
    source: str
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
                    f"{self.source} must hold {name} in {least}..{most}; got {int(tokens.min()) + self.lowered}.."
                    f"{int(tokens.max()) + self.lowered}."
                )
        return Puzzles(inputs, labels, puzzle_ids=self.puzzle_ids)

    def renumbered(self, lowered: int) -> Self:
        """The same puzzles in a vocabulary that begins later: every token is so much lower, and there is no padding."""
        return replace(self, vocab_size=self.vocab_size - lowered, least_label=1, lowered=lowered)


def read_arrays(folder: Path, split: Split) -> tuple[Facts, StoredPuzzles]:
    """Memory-map a split of a folder of the public dataset scripts.

    "validation" is the folder `val`, if there is one. Otherwise it is made of the last groups in `train`, one puzzle
    each: a tenth of the groups, `MAX_VALIDATION` at most. "train" is the rest, so that neither shares a puzzle, or a
    variant of one, with the other. Where nothing tells of groups, every row is one of its own.

    Raises:
        PuzzleError: with file and reason: a file is missing, truncated or damaged, or files don't fit each other.
    """
    validation = next((folder / name for name in VALIDATIONS if (folder / name / FACTS).is_file()), None)
    place = validation if split == "validation" and validation else folder / ("test" if split == "test" else "train")
    if not (place / FACTS).is_file():
        raise PuzzleError(f"{folder} must have {place.name}/{FACTS} to give {split} puzzles; it has not.")
    facts = Facts.read(place / FACTS)
    inputs, labels = (_array(place, facts, name) for name in ("inputs", "labels"))
    if inputs.shape[1] != facts.seq_len or labels.shape != inputs.shape:
        raise PuzzleError(
            f"{place} must hold inputs and labels of one shape [N, {facts.seq_len}], as its {FACTS} says; got"
            f" {list(inputs.shape)} and {list(labels.shape)}."
        )
    if not len(inputs):
        raise PuzzleError(f"{place} must hold at least one puzzle; got none.")
    # Only folders that tell of no groups, or of no ids, may go without them.
    grouped = facts.total_groups is not None
    puzzles = _array(place, facts, "puzzle_indices", None if grouped else np.arange(len(inputs) + 1)).astype(np.int64)
    shared = np.zeros(max(len(puzzles) - 1, 0), dtype=np.int64)
    identifiers = _array(place, facts, "puzzle_identifiers", shared if facts.num_puzzle_identifiers == 1 else None)
    groups = _array(place, facts, "group_indices", None if grouped else np.arange(len(puzzles))).astype(np.int64)
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
        source=str(place),
        ignored=facts.ignore_label_id or 0,
        puzzle_ids=puzzle_ids,
    )
    if split == "test" or validation:
        return facts, stored
    first_held_out = len(groups) - 1 - num_validation(len(groups) - 1, place)
    if split == "train":
        return facts, stored.part(slice(int(puzzles[groups[first_held_out]])))
    return facts, stored.part(torch.from_numpy(puzzles[groups[first_held_out:-1]]))


def num_validation(num_groups: int, source: Path) -> int:
    """How many groups are kept for validation.

    Raises:
        PuzzleError: there are too few to have both.
    """
    if num_groups < 2:
        raise PuzzleError(f"{source} must hold at least 2 different puzzles, for training and validation; got 1.")
    return min(max(1, num_groups // VALIDATION_SHARE), MAX_VALIDATION)


def _array(place: Path, facts: Facts, name: str, default: np.ndarray | None = None) -> np.ndarray:
    """An array of a split; `default`, if there is one, where its file is missing."""
    path = place / f"{facts.sets[0]}__{name}.npy"
    if not path.is_file() and (place / f"{name}.npy").is_file():
        path = place / f"{name}.npy"
    if default is not None and not path.exists():
        return default
    return _open(path, ARRAYS[name])


def _open(path: Path, num_axes: int) -> np.ndarray:
    """Map an array of whole numbers into memory."""
    try:
        with path.open("rb") as file:
            if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
                raise ValueError("it is another kind of file")
        with warnings.catch_warnings(), np.errstate(over="raise"):
            warnings.simplefilter("ignore")  # of what Python makes of a damaged header
            # Copy on write: torch wants memory that it may write to; nobody does.
            array = np.load(path, mmap_mode="c")
        if path.stat().st_size != array.offset + array.nbytes:
            raise ValueError("it is longer than its header says")
    except Exception as error:  # A damaged header can make Python's parser raise anything.
        raise PuzzleError(f"{path} must be a whole .npy file of numbers: {one_line(error, 120)}.") from error
    if array.dtype.kind not in "iu" or array.ndim != num_axes:
        raise PuzzleError(f"{path} must hold whole numbers on {num_axes} axes; got {array.dtype} {list(array.shape)}.")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        if array.size and array.max() > np.iinfo(np.int64).max:
            raise PuzzleError(f"{path} must hold whole numbers below 2^63; got {array.max()}.")
        return array.astype(np.int32 if array.dtype.itemsize == 2 else np.int64)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _shortened(numbers: np.ndarray) -> str:
    text = ", ".join(map(str, numbers[:6].tolist()))
    return f"{text}, ..., {numbers[-1]}" if len(numbers) > 6 else text or "nothing"
