"""Read a user's puzzles from a file, or from standard input, in whichever of the `layouts` they are."""

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import torch
from torch import Tensor

from latent_rl.errors import PuzzleError, one_line
from latent_rl.tasks.base import Task
from latent_rl.tasks.files.json_text import as_lines
from latent_rl.tasks.files.layouts import Line, Row
from latent_rl.tasks.files.recognition import NoPuzzleError, Reading, recognize
from latent_rl.types import Puzzles

STANDARD_STREAM = Path("-")
"""Stands for standard input."""
_MAX_LINE, _MAX_REST = 2**16, 256
"""Characters of a line that are read, and how often as many may follow: what has more is no text of lines."""
_COMPRESSED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
"""What opens a compressed file, by its first bytes."""
_UNREADABLE = (OSError, EOFError, UnicodeError, ValueError, zlib.error, lzma.LZMAError)


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
    try:
        return recognize(task, as_lines(text_lines(path), task.seq_len), columns)
    except NoPuzzleError as error:
        raise PuzzleError(f"{source_name(path)} {error}") from error


def count_rows(path: Path, task: Task, columns: tuple[str, ...] = ()) -> int | None:
    """How many rows `read_rows` will give; None for what can be read only once, or not to its end."""
    if not path.is_file():
        return None
    with suppress(PuzzleError):  # who reads it is told
        return sum(1 for _ in read_rows(path, task, columns).rows)
    return None


def read_board(task: Task, text: str) -> str:
    """Find the one board in a text, in any of the layouts of `read_rows`: a symbol for each cell.

    Raises:
        PuzzleError: there is none, or more than one.
    """
    lines = enumerate(text.replace("\\n", "\n").split("\n"), 1)
    try:
        rows = list(islice(recognize(task, as_lines(lines, task.seq_len)).rows, 2))
    except NoPuzzleError as error:
        raise PuzzleError(f"the text {error}") from error
    if len(rows) > 1:
        raise PuzzleError("there must be one puzzle; got several. Give a file of them.")
    if rows[0].error:
        raise PuzzleError(rows[0].error)
    return rows[0].question


def text_lines(path: Path) -> Iterator[Line]:
    """The lines of a text file, compressed or not, or of standard input, by number.

    Raises:
        PuzzleError: it can't be read, or not to its end.
    """
    number = 0
    try:
        with _opened(path) as file:
            while line := file.readline(_MAX_LINE):
                number += 1
                if len(line) == _MAX_LINE and not any(_ends_line(file) for _ in range(_MAX_REST)):
                    raise PuzzleError(f"{source_name(path)} must be a text of lines; line {number} does not end.")
                yield number, line.rstrip("\n")
    except _UNREADABLE as error:
        if isinstance(error, PuzzleError):
            raise
        reason = getattr(error, "strerror", None) or one_line(error)
        place = f", line {number + 1}," if number else ""
        raise PuzzleError(f"{source_name(path)}{place} must be a readable text file: {reason}.") from error


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


def _with_answer(task: Task, row: Row) -> tuple[Tensor, Tensor]:
    """A puzzle and its answer, int64 [L] each."""
    if row.error:
        raise PuzzleError(row.error)
    puzzle = task.parse(row.question)
    if row.answer is None:
        return puzzle, task.any_answer(puzzle)
    label = task.parse(row.answer)
    if not bool(task.verify(puzzle[None], label[None])):
        raise PuzzleError("the answer does not solve the question.")
    return puzzle, label


def _ends_line(file: TextIO) -> bool:
    """Skip more of a long line; whether that is the last of it."""
    more = file.readline(_MAX_LINE)
    return not more or more.endswith("\n")


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    if path == STANDARD_STREAM and not hasattr(sys.stdin, "buffer"):  # somebody put another text in its place
        yield sys.stdin or io.StringIO()
        return
    source: Any = nullcontext(sys.stdin.buffer) if path == STANDARD_STREAM else path.open("rb")
    with source as file:
        begins = file.peek(6)[:6]
        if begins.startswith(b"PK\x03\x04"):
            raise PuzzleError(
                f"{source_name(path)} must be a text; it is a zip archive, as an Excel workbook is. Unpack it, or"
                " save it as CSV."
            )
        for mark, unpacked in _COMPRESSED.items():
            if begins.startswith(mark):
                file = unpacked(file)
                begins = file.peek(6)[:6]
        is_utf16 = begins[:2] in (b"\xff\xfe", b"\xfe\xff")
        # Bytes that are no text make a row that is no puzzle, not an error.
        text = (
            io.TextIOWrapper(file, "utf-16")
            if is_utf16
            else io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape")
        )
        try:
            yield text
        finally:
            text.detach()
