"""Read a user's puzzles from a text file of lines or a CSV with `question` and `answer` columns."""

import csv
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from latent_rl.errors import PuzzleError
from latent_rl.tasks.base import Task
from latent_rl.types import Puzzles


def read_puzzles(path: Path, task: Task) -> Puzzles:
    """Read every puzzle of a file.

    A file whose name ends in `.csv`, or whose first line names a `question` column, is a CSV such as
    `source,question,answer,rating`; its answers are checked. Any other file holds one puzzle a line (blank lines
    and lines that begin with `#` are skipped); their answers are found by exact search. Where any completion counts
    (`Task.is_ambiguous`), a puzzle with several is as good as another, and its label is one of them.

    Raises:
        PuzzleError: with file, line and reason: unreadable file, no puzzle in it, missing column, a line that is
            no puzzle, an answer that does not solve its question, a puzzle without answer, or with several where
            the task demands only one.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PuzzleError(f"{path} must be a readable text file: {error}.") from error
    lines = text.splitlines()
    header = lines[0].lower().split(",") if lines else []
    rows = _csv_rows(path, lines) if path.suffix.lower() == ".csv" or "question" in header else _text_rows(lines)
    inputs, labels = [], []
    for number, question, answer in rows:
        try:
            puzzle = task.parse(question)
            label = task.any_answer(puzzle) if answer is None else _checked_answer(task, puzzle, answer)
        except PuzzleError as error:
            raise PuzzleError(f"{path}, line {number}: {error}") from error
        inputs.append(puzzle)
        labels.append(label)
    if not inputs:
        raise PuzzleError(f"{path} must hold at least one puzzle; it has {len(lines)} lines and none.")
    return Puzzles(torch.stack(inputs), torch.stack(labels))


def _checked_answer(task: Task, puzzle: Tensor, answer: str) -> Tensor:
    label = task.parse(answer)
    if not bool(task.verify(puzzle[None], label[None])):
        raise PuzzleError("the answer does not solve the question.")
    return label


def _text_rows(lines: list[str]) -> Iterator[tuple[int, str, None]]:
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            yield number, line, None


def _csv_rows(path: Path, lines: list[str]) -> Iterator[tuple[int, str, str]]:
    reader = csv.DictReader(lines)
    for column in ("question", "answer"):
        if column not in (reader.fieldnames or []):
            raise PuzzleError(
                f"{path}, line 1: a CSV of puzzles needs the columns question and answer; {column} is missing,"
                f" got {', '.join(reader.fieldnames or []) or 'an empty line'}."
            )
    for row in reader:
        if row["question"] is None or row["answer"] is None:
            raise PuzzleError(f"{path}, line {reader.line_num}: the row is shorter than the header.")
        yield reader.line_num, row["question"], row["answer"]
