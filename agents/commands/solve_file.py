"""Puzzles from a file, or standard input, solved into a CSV of results."""

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from latent_rl.agents.commands.results import Result, Results
from latent_rl.agents.solver import Solutions, Solver
from latent_rl.errors import InvalidValueError, PuzzleError, one_line
from latent_rl.storage.claims import claimed
from latent_rl.storage.stops import resumable
from latent_rl.tasks.base import Task
from latent_rl.tasks.files.layouts import Row
from latent_rl.tasks.files.puzzle_io import count_rows, read_rows
from latent_rl.tasks.files.text import source_name

_MAX_BAD = 1000
"""Rows that are no puzzles and wait for the results of those before them."""


def solve_file(solver: Solver, source: Path, out: Path, columns: tuple[str, ...] = (), made_by: str = "") -> int:
    """Write one row of `COLUMNS` for every puzzle of a file, in its order; the rows that are there already are kept.

    What is no puzzle gets a row with the reason, and the others are solved all the same.

    Args:
        solver: who solves.
        source: a file as `read_rows` reads it.
        out: a file, or `STANDARD_STREAM`.
        columns: see `read_rows`.
        made_by: what decides about the results, beside the puzzles; `out` is not gone on with by something else.

    Returns:
        0 if all puzzles are solved, 1 if some are not, or are none.

    Raises:
        PuzzleError: the source can't be read, or holds no puzzle.
        InvalidValueError: `out` is a folder, or holds something else than these results.
        FileError: `out` can't be written, or somebody else writes it.
        StoppedError: the user stopped it.
    """
    task, results = solver.core.task, Results(out, made_by)
    if out.is_dir():
        raise InvalidValueError(f"--out must be a file; {out} is a folder.")
    reading = read_rows(source, task, columns)
    name = source_name(source)
    print(f"{name}: {reading.description}", file=sys.stderr)
    tally = Tally(task)
    is_kept = results.is_kept
    with claimed(out, is_file=True) if is_kept else nullcontext():
        stops = resumable(results.left) if is_kept else nullcontext()
        total = count_rows(source, task, columns) if sys.stderr.isatty() else None  # if somebody sees the bar
        with stops, tqdm(total=total, unit="puzzle", disable=None) as bar:
            for row in _solved(solver, name, reading.rows, results):
                bar.update()
                tally.add(row)
    print(tally.summary(), file=sys.stderr)
    return 0 if tally.solved + tally.unknown == tally.count else 1


@dataclass
class Tally:
    """What became of the puzzles of a file."""

    task: Task
    count: int = 0
    solved: int = 0
    unknown: int = 0
    steps: int = 0
    passes: int = 0
    num_bad: int = 0
    first_bad: str = ""

    def add(self, row: Result) -> None:
        """Count a row."""
        self.count += 1
        if row.error:
            self.num_bad += 1
            self.first_bad = self.first_bad or row.error
            return
        self.solved += row.solved == "true"
        self.unknown += row.solved == "unknown"
        self.steps += int(row.steps)
        self.passes += int(row.passes)

    def summary(self) -> str:
        """In a line."""
        tried = max(self.count - self.num_bad, 1)
        means = f"with {self.steps / tried:.2f} steps and {self.passes / tried:.2f} passes on average"
        said = f"{self.solved:,} of {self.count:,} solved, {means}"
        if not self.task.has_rules:
            said = f"{self.unknown:,} of {self.count:,} answered, {means}; no rules known, so not judged"
        if self.num_bad:
            said += f"; rows that are no puzzles: {self.num_bad:,}, the first: {self.first_bad}"
        return said


def result_rows(task: Task, solutions: Solutions) -> list[Result]:
    """Solutions as rows of the results."""
    judged = solutions.solved.tolist() if task.has_rules else [None] * len(solutions)
    columns = (
        map(task.format, solutions.inputs),
        map(task.format, solutions.answers),
        ({True: "true", False: "false", None: "unknown"}[solved] for solved in judged),
        map(str, solutions.steps.tolist()),
        map(str, solutions.passes.tolist()),
        (f"{value:.4f}" for value in solutions.confidence.tolist()),
    )
    return [Result(*row) for row in zip(*columns, strict=True)]


def _solved(solver: Solver, name: str, rows: Iterator[Row], results: Results) -> Iterator[Result]:
    """The rows that the results hold already, then those of the other puzzles, as they are written behind them."""
    task, written = solver.core.task, 0
    for kept in results.kept():
        _check_same(task, name, next(rows, None), results.out, kept)
        written += not kept.error
        yield kept
    with results.opened():
        waiting = Waiting(rows, written)
        while not waiting.is_over:
            for block in solver.stream(waiting.puzzles(), written):
                done: list[Result] = []
                for row in result_rows(task, block):
                    done += [*waiting.bad_rows(written), row]
                    written += 1
                results.append(done)
                yield from done
            results.append(done := list(waiting.bad_rows(written)))
            yield from done
    if waiting.failure:
        raise waiting.failure


class Waiting:
    """The puzzles of a source that are still to be taken, and the rows that are none until it is their turn.

    Attributes:
        is_over: nothing is left to take.
        failure: why the source could not be read to its end, if so.
    """

    def __init__(self, rows: Iterator[Row], taken: int) -> None:
        self.is_over = False
        self.failure: PuzzleError | None = None
        self._rows = rows
        self._taken = taken
        self._bad: deque[tuple[int, Result]] = deque()

    def puzzles(self) -> Iterator[Tensor]:
        """The next puzzles, int64 [L] each; to the end, unless too many rows that are none come up among them."""
        while len(self._bad) < _MAX_BAD:
            try:
                row = next(self._rows, None)
            except PuzzleError as error:
                self.failure, row = error, None
            if row is None:
                self.is_over = True
                return
            if row.puzzle is None:
                bad = Result(_shown(row.question), error=_shown(f"line {row.line}: {one_line(row.error or '')}"))
                self._bad.append((self._taken, bad))
            else:
                self._taken += 1
                yield row.puzzle

    def bad_rows(self, written: int) -> Iterator[Result]:
        """Those that come before the next puzzle, if the results of so many are written."""
        while self._bad and self._bad[0][0] <= written:
            yield self._bad.popleft()[1]


def _shown(text: str) -> str:
    """Any text in plain letters on one line."""
    return repr(text.encode("utf-8", "surrogateescape"))[2:-1]


def _is_of(task: Task, kept: Result, row: Row) -> bool:
    if kept.error or row.puzzle is None:
        return bool(kept.error) and kept.puzzle == _shown(row.question)
    try:
        return torch.equal(task.read_grid(kept.puzzle), row.puzzle)
    except PuzzleError:
        return False


def _check_same(task: Task, name: str, row: Row | None, out: Path, kept: Result) -> None:
    """Refuse to go on behind the results of other puzzles."""
    if row is None:
        raise InvalidValueError(f"{out} holds more results than {name} puzzles. Choose another --out.")
    if not _is_of(task, kept, row):
        raise InvalidValueError(
            f"{name}, line {row.line}: the puzzle must be the one whose result {out} holds. Choose another --out."
        )
