"""Read a user's puzzles, with their answers, from a file or a text in whichever of the `layouts` they are."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from latent_rl.errors import PuzzleError
from latent_rl.tasks.base import Task
from latent_rl.tasks.files.json_text import as_lines
from latent_rl.tasks.files.layouts import Row
from latent_rl.tasks.files.reading import Reading, read_text
from latent_rl.tasks.files.recognition import NoPuzzleError
from latent_rl.tasks.files.text import Line, source_name, text_lines
from latent_rl.tasks.registry import TASKS
from latent_rl.types import Puzzles

_LOOK_AT = 200
"""Lines in which other tasks look for their puzzles."""


class Collected(NamedTuple):
    """The puzzles of a file.

    Attributes:
        puzzles: those that could be read, with their answers.
        description: how they were found.
        left_out: line and reason of each of the others.
    """

    puzzles: Puzzles
    description: str
    left_out: list[str]


def read_puzzles(path: Path, task: Task, columns: tuple[str, ...] = ()) -> Puzzles:
    """Read every puzzle of a file, with its answer.

    Answers that the file gives are checked, others are found by exact search. Where any completion counts
    (`Task.is_ambiguous`), a puzzle with several is as good as another, and its label is one of them.

    Args:
        path: the file; see `read_rows`.
        task: whose puzzles they are.
        columns: see `read_rows`.

    Raises:
        PuzzleError: as `read_rows`; or a row that is no puzzle, an answer that does not solve its question, a puzzle
            without answer, or with several where the task demands only one.
    """
    return collect_puzzles(path, task, columns, keep_going=False).puzzles


def collect_puzzles(path: Path, task: Task, columns: tuple[str, ...] = (), *, keep_going: bool = True) -> Collected:
    """Read the puzzles of a file as `read_puzzles` does, but leave out the rows that are none.

    Raises:
        PuzzleError: as `read_rows`; or no row is a puzzle.
    """
    reading = read_rows(path, task, columns)
    puzzles: list[tuple[Tensor, Tensor]] = []
    left_out: list[str] = []
    for row in reading.rows:
        try:
            puzzles.append(_with_answer(task, row))
        except PuzzleError as error:
            left_out.append(f"line {row.line}: {error}")
            if not keep_going:
                raise PuzzleError(f"{source_name(path)}, {left_out[0]}") from error
    if not puzzles:
        raise PuzzleError(f"{source_name(path)}, {left_out[0]}")
    inputs, labels = map(torch.stack, zip(*puzzles, strict=True))
    return Collected(Puzzles(inputs, labels), reading.description, left_out)


def read_rows(path: Path, task: Task, columns: tuple[str, ...] = ()) -> Reading:
    """Stream the puzzles of a file, or of standard input: it is never held as a whole.

    It may hold a puzzle a line, alone or among other words; a table with or without header, such as
    `source,question,answer,rating`; boards of several lines, drawn in many ways: see `layouts`; or a JSON array of
    puzzles, see `json_text`. It may be compressed by gzip, bzip2 or xz.

    Args:
        path: the file, or `STANDARD_STREAM`.
        task: whose puzzles they are.
        columns: names, or numbers from 1, of a table's columns with the puzzles and, if need be, with their answers;
            otherwise names and rules tell.

    Raises:
        PuzzleError: with file and reason: it can't be read, or holds no puzzle of the task. Later, from the rows: it
            can't be read to its end.
        UnknownNameError: it has no such column.
    """
    reading = _found(task, text_lines(path), columns, source_name(path))
    return reading._replace(rows=(_parsed(task, row) for row in reading.rows))


def count_rows(path: Path, task: Task, columns: tuple[str, ...] = ()) -> int | None:
    """How many rows `read_rows` will give; None for what can be read only once, or not to its end."""
    if not path.is_file():
        return None
    with suppress(PuzzleError):  # who reads it is told
        return sum(1 for _ in _found(task, text_lines(path), columns, source_name(path)).rows)
    return None


def read_board(task: Task, text: str) -> str:
    """Find the one board in a text, in any of the layouts of `read_rows`: a symbol for each cell.

    Raises:
        PuzzleError: there is none, or more than one.
    """
    lines = enumerate(text.replace("\\n", "\n").split("\n"), 1)
    rows = list(islice(_found(task, lines, (), "the text").rows, 2))
    if len(rows) > 1:
        raise PuzzleError("there must be one puzzle; got several. Give a file of them.")
    if rows[0].error:
        raise PuzzleError(rows[0].error)
    return rows[0].question


def _found(task: Task, lines: Iterator[Line], columns: tuple[str, ...], name: str) -> Reading:
    """The puzzles of a text; where it has none, the error names it, and the task of which it has some."""
    try:
        return read_text(task, as_lines(lines, task.seq_len), columns)
    except NoPuzzleError as error:
        raise PuzzleError(f"{name} {error}{_other_task(task, error.head)}") from error


def _other_task(task: Task, head: list[Line]) -> str:
    """Which task's puzzles the first lines of a text hold, if not this one's."""
    for other in TASKS.values():
        if other.seq_len != task.seq_len and other.has_rules:
            with suppress(PuzzleError):
                read_text(other, iter(head[:_LOOK_AT]))
                return f" It is one of {other.name}: use --task {other.name}."
    return ""


def _parsed(task: Task, row: Row) -> Row:
    """The row with its tokens, or with the reason why it is no puzzle."""
    if row.error:
        return row
    try:
        return row._replace(puzzle=task.parse(row.question))
    except PuzzleError as error:
        return row._replace(error=str(error))


def _with_answer(task: Task, row: Row) -> tuple[Tensor, Tensor]:
    """A puzzle and its answer, int64 [L] each."""
    if row.puzzle is None:
        raise PuzzleError(row.error)
    puzzle = row.puzzle
    if row.answer is None:
        return puzzle, task.any_answer(puzzle)
    label = task.parse(row.answer)
    if not bool(task.verify(puzzle[None], label[None])):
        raise PuzzleError("the answer does not solve the question.")
    return puzzle, label
