"""Training puzzles of which not every answer is known: labels of a share of them, and what was found since."""

import csv
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from latent_rl.errors import PuzzleError, one_line
from latent_rl.randomness import derive, uniform
from latent_rl.tasks.base import Task
from latent_rl.types import Puzzles, PuzzleSource

_CHUNK = 4096
"""Puzzles that are looked at together."""


class KnownAnswers(PuzzleSource):
    """Base puzzles with their known answers in place of their labels; 0 where none is known.

    Labels are read of `label_share` of the puzzles, chosen by the seed and their place, when this is made. No other is
    ever looked at.

    Args:
        base: the puzzles.
        label_share: how many of them keep their label, in [0, 1].
        seed: decides which.
        draws_unknown: rows are all puzzles; else those with a known answer, as long as there is one.

    Attributes:
        base: the puzzles; their labels are not for training.
        answers: int16 [N, L], 0 where unknown.
        is_known: bool [N].
        has_label: bool [N].
    """

    def __init__(self, base: PuzzleSource, label_share: float, seed: int, *, draws_unknown: bool) -> None:
        every = torch.arange(len(base))
        self.base = base
        self.has_label = uniform(derive(every, seed), 1).squeeze(1) < label_share
        self.is_known = torch.zeros(len(base), dtype=torch.bool)
        self.answers = torch.zeros(len(base), base[:1].inputs.shape[1], dtype=torch.int16)
        self._draws_unknown = draws_unknown
        for rows in every[self.has_label].split(_CHUNK):
            self.learn(rows, base.select(rows).labels)

    def learn(self, rows: Tensor, answers: Tensor) -> None:
        """Take the answers, int64 [K, L], of the puzzles in these places, int64 [K], for known."""
        self.answers[rows] = answers.short()
        self.is_known[rows] = True

    def unlabelled(self, places: Tensor) -> Puzzles:
        """The puzzles in these places of `base`, int64 [K], without any answer."""
        puzzles = self.base.select(places)
        return replace(puzzles, labels=torch.zeros_like(puzzles.labels))

    def __len__(self) -> int:
        return len(self._places())

    def select(self, rows: Tensor) -> Puzzles:
        """See `PuzzleSource.select`."""
        places = self._places()[rows]
        return replace(self.base.select(places), labels=self.answers[places].long())

    def _places(self) -> Tensor:
        if self._draws_unknown or not self.is_known.any():
            return torch.arange(len(self.base))
        return self.is_known.nonzero().squeeze(1)

    def tensors(self) -> dict[str, Tensor]:
        """What was learned beside the labels: part of a training's saved state."""
        found = (self.is_known & ~self.has_label).nonzero().squeeze(1)
        return {"places": found, "answers": self.answers[found]}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put it back; the inverse of `tensors`."""
        self.learn(tensors["places"], tensors["answers"])


def read_answers(file: Path, task: Task, base: PuzzleSource) -> tuple[Tensor, Tensor]:
    """Read what a step policy answered, a CSV with the columns puzzle and answer, as `latent-rl solve` writes it.

    Answers that the verifier refuses, and puzzles that are not in `base`, are passed over.

    Returns:
        Places in `base`, int64 [K], and answers, int64 [K, L].

    Raises:
        PuzzleError: the file can't be read, has other columns, or answers no puzzle.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, ValueError, csv.Error) as error:
        raise PuzzleError(f"{file} must be a readable CSV of answers: {one_line(error)}.") from error
    places = {row.numpy().tobytes(): place for place, row in enumerate(base[:].inputs)}
    found: dict[int, Tensor] = {}
    for number, row in enumerate(rows, 2):
        if row.get("puzzle") is None or row.get("answer") is None:
            raise PuzzleError(f"{file}, line {number}: must have the columns puzzle and answer, as of latent-rl solve.")
        if not row["answer"]:
            continue
        try:
            puzzle, answer = task.parse(row["puzzle"]), task.read_grid(row["answer"])
        except PuzzleError as error:
            raise PuzzleError(f"{file}, line {number}: {error}") from error
        place = places.get(puzzle.numpy().tobytes())
        if place is not None and bool(task.verify(puzzle[None], answer[None])):
            found[place] = answer
    if not found:
        raise PuzzleError(f"{file} must have a right answer of a {task.name} training puzzle; it has none.")
    return torch.tensor(list(found)), torch.stack(list(found.values()))
