"""Puzzles from a file, or standard input, into a CSV of results that can be cut anywhere and gone on with."""

import csv
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from latent_rl.agents.solver import Solutions, Solver
from latent_rl.errors import InvalidValueError, PuzzleError
from latent_rl.tasks.base import Task
from latent_rl.tasks.puzzle_io import STANDARD_STREAM, Row, at_line, comment_of, puzzle_rows, source_name

COLUMNS = ("puzzle", "answer", "solved", "steps", "passes", "confidence")
HEADER = ",".join(COLUMNS) + "\n"
Result = dict[str, str]
"""A row of the results, by column."""


def solve_file(solver: Solver, source: Path, out: Path) -> int:
    """Write one row of `COLUMNS` for every puzzle of a file, in its order; the rows that are there already are kept.

    Args:
        solver: who solves.
        source: a file as `puzzle_rows` reads it.
        out: a file, or `STANDARD_STREAM`.

    Returns:
        0 if all puzzles are solved, 1 if some are not.

    Raises:
        PuzzleError: with file, line and reason: no puzzle in the file, a line that is none.
        InvalidValueError: `out` holds something else than results of these puzzles.
    """
    count = solved = steps = passes = 0
    with tqdm(total=_count(solver.core.task, source), unit="puzzle", disable=None) as bar:
        for row in _results(solver, source, out):
            bar.update()
            count += 1
            solved += row["solved"] == "true"
            steps += int(row["steps"])
            passes += int(row["passes"])
    if not count:
        raise PuzzleError(f"{source_name(source)} must hold at least one puzzle; got none.")
    print(
        f"{solved:,} of {count:,} solved, with {steps / count:.2f} steps and {passes / count:.2f} passes on average",
        file=sys.stderr,
    )
    return 0 if solved == count else 1


def result_rows(task: Task, solutions: Solutions) -> list[Result]:
    """Solutions as rows of `COLUMNS`."""
    columns = (
        map(task.format, solutions.inputs),
        map(task.format, solutions.answers),
        ("true" if solved else "false" for solved in solutions.solved.tolist()),
        map(str, solutions.steps.tolist()),
        map(str, solutions.passes.tolist()),
        (f"{value:.4f}" for value in solutions.confidence.tolist()),
    )
    return [dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]


def kept_rows(out: Path) -> Iterator[Result]:
    """Stream the rows of a file of results; first cut off what a kill left half-written at its end.

    Raises:
        InvalidValueError: the file holds something else.
    """
    with out.open("rb+") as file:
        head = file.readline()
        if not HEADER.encode().startswith(head):
            raise InvalidValueError(f"{out} must be new or hold results of this command. Choose another --out.")
        file.seek(0)
        file.truncate(sum(len(line) for line in file if line.endswith(b"\n")))
    with out.open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines), 2):
            if not _is_result(row):
                raise InvalidValueError(f"{out}, line {number}: it must be a row of results. Choose another --out.")
            yield row


def _is_result(row: dict[str, str]) -> bool:
    whole = row.keys() == set(COLUMNS) and None not in row.values()
    return whole and row["solved"] in ("true", "false") and row["steps"].isdecimal() and row["passes"].isdecimal()


def _count(task: Task, source: Path) -> int | None:
    """How many puzzles; None for a pipe, which can be read only once."""
    if source == STANDARD_STREAM or (source.exists() and not source.is_file()):
        return None
    return sum(1 for _ in puzzle_rows(source, comment=comment_of(task)))


def _results(solver: Solver, source: Path, out: Path) -> Iterator[Result]:
    """The rows that `out` holds already, then those of the other puzzles, as they are written behind them."""
    task, num_kept = solver.core.task, 0
    questions = puzzle_rows(source, comment=comment_of(task))
    to_file = out != STANDARD_STREAM
    if to_file and out.exists():
        for row in kept_rows(out):
            _check_same(task, source, next(questions, None), out, row)
            num_kept += 1
            yield row
    if to_file:
        out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8", newline="") if to_file else nullcontext(sys.stdout) as sink:
        if not to_file or sink.tell() == 0:
            sink.write(HEADER)
        writer = csv.DictWriter(sink, COLUMNS, lineterminator="\n")
        for block in solver.stream(_parsed(task, source, questions), num_kept):
            rows = result_rows(task, block)
            writer.writerows(rows)
            sink.flush()
            yield from rows


def _parsed(task: Task, source: Path, rows: Iterator[Row]) -> Iterator[Tensor]:
    for number, question, _ in rows:
        with at_line(source, number):
            puzzle = task.parse(question)
        yield puzzle


def _check_same(task: Task, source: Path, question: Row | None, out: Path, row: Result) -> None:
    """Refuse to go on behind the results of other puzzles."""
    if question is None:
        raise InvalidValueError(f"{out} holds more results than {source_name(source)} puzzles. Choose another --out.")
    with at_line(source, question[0]):
        if task.format(task.read_grid(question[1])) != row["puzzle"]:
            raise PuzzleError(f"the puzzle must be the one whose result {out} holds. Choose another --out.")
