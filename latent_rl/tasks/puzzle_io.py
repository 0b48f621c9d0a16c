"""Read a user's puzzles from a text file of lines or a CSV with `question` and `answer` columns."""

import csv
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from latent_rl.errors import PuzzleError
from latent_rl.tasks.base import Task
from latent_rl.types import Puzzles

STANDARD_STREAM = Path("-")
"""Stands for standard input."""
Row = tuple[int, str, str | None]
"""Line number, question, answer; None where the file gives no answer."""


def read_puzzles(path: Path, task: Task) -> Puzzles:
    """Read every puzzle of a file, with its answer.

    The format is that of `puzzle_rows`; a CSV's answers are checked, those of other files are found by exact search.
    Where any completion counts (`Task.is_ambiguous`), a puzzle with several is as good as another, and its label is one
    of them.

    Raises:
        PuzzleError: as `puzzle_rows`; or no puzzle in the file, a line that is no puzzle, an answer that does not solve
            its question, a puzzle without answer, or with several where the task demands only one.
    """
    inputs, labels = [], []
    for number, question, answer in puzzle_rows(path, ("question", "answer"), comment_of(task)):
        with at_line(path, number):
            puzzle = task.parse(question)
            labels.append(task.any_answer(puzzle) if answer is None else _checked_answer(task, puzzle, answer))
        inputs.append(puzzle)
    if not inputs:
        raise PuzzleError(f"{path} must hold at least one puzzle; got none.")
    return Puzzles(torch.stack(inputs), torch.stack(labels))


def comment_of(task: Task) -> str:
    """What begins a comment in a text file of the task's puzzles: its attribute `comment`, or # if it has none."""
    comment: str = getattr(task, "comment", "#")
    return comment


def puzzle_rows(path: Path, columns: tuple[str, ...] = ("question",), comment: str = "#") -> Iterator[Row]:
    """Stream the puzzles of a file, or of standard input, as they are written: the file is never held as a whole.

    A file whose name ends in `.csv`, or whose first line names a `question` column, is a CSV such as
    `source,question,answer,rating`. Any other file holds one puzzle a line; blank lines and comments are skipped.

    Args:
        path: the file, or `STANDARD_STREAM`.
        columns: what a CSV must have.
        comment: what begins a comment in another file; see `comment_of`.

    Raises:
        PuzzleError: with file, line and reason: unreadable file, missing column, a row shorter than the header.
    """
    try:
        if path == STANDARD_STREAM:
            yield from _rows(path, sys.stdin, columns, comment)
        else:
            with path.open(encoding="utf-8") as file:
                yield from _rows(path, file, columns, comment)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PuzzleError(f"{source_name(path)} must be a readable text file: {error}.") from error


@contextmanager
def at_line(path: Path, number: int) -> Iterator[None]:
    """Say of a `PuzzleError` in which line of which file it is."""
    try:
        yield
    except PuzzleError as error:
        raise PuzzleError(f"{source_name(path)}, line {number}: {error}") from error


def source_name(path: Path) -> str:
    """What messages call it."""
    return "standard input" if path == STANDARD_STREAM else str(path)


def _checked_answer(task: Task, puzzle: Tensor, answer: str) -> Tensor:
    label = task.parse(answer)
    if not bool(task.verify(puzzle[None], label[None])):
        raise PuzzleError("the answer does not solve the question.")
    return label


def _rows(path: Path, lines: Iterable[str], columns: tuple[str, ...], comment: str) -> Iterator[Row]:
    rest = iter(lines)
    head = next(rest, "").removeprefix("\ufeff")
    is_csv = path.suffix.lower() == ".csv" or "question" in head.strip().lower().split(",")
    lines = chain([head], rest)
    return _csv_rows(path, lines, columns) if is_csv else _text_rows(lines, comment)


def _text_rows(lines: Iterable[str], comment: str) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith(comment):
            yield number, line, None


def _csv_rows(path: Path, lines: Iterable[str], columns: tuple[str, ...]) -> Iterator[Row]:
    reader = csv.DictReader(lines)
    with at_line(path, 1):
        for column in columns:
            if column not in (reader.fieldnames or []):
                raise PuzzleError(
                    f"a CSV of puzzles needs the columns {' and '.join(columns)}; {column} is missing,"
                    f" got {', '.join(reader.fieldnames or []) or 'an empty line'}."
                )
    for row in reader:
        with at_line(path, reader.line_num):
            if any(row[column] is None for column in columns):
                raise PuzzleError("the row is shorter than the header.")
        yield reader.line_num, row["question"], row.get("answer")
