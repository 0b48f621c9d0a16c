"""Puzzles from a file, or standard input, into a CSV of results that can be cut anywhere and gone on with."""

import csv
import errno
import io
import os
import sys
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor
from tqdm import tqdm

from latent_rl.agents.commands.advice import better_task
from latent_rl.agents.solver import Solutions, Solver
from latent_rl.errors import FileError, InvalidValueError, PuzzleError, one_line
from latent_rl.storage.claims import claimed
from latent_rl.storage.stops import resumable, this_command
from latent_rl.tasks.base import Task
from latent_rl.tasks.files.layouts import Row
from latent_rl.tasks.files.puzzle_io import STANDARD_STREAM, read_rows, source_name

COLUMNS = ("puzzle", "answer", "solved", "steps", "passes", "confidence", "error", "check")
"""Of the results. `solved` is unknown where no rules are; `error` says why a row of the source is no puzzle, and then
`puzzle` is what was written there; `check` is a checksum of the row, of those before it, and of what made them."""
HEADER = (",".join(COLUMNS) + "\n").encode()
_STANDARD_OUTPUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
"""Other names of `STANDARD_STREAM`."""
_MAX_BAD = 1000
"""Rows that are no puzzles and wait for the results of those before them."""


class Result(NamedTuple):
    """A row of the results, without its checksum."""

    puzzle: str
    answer: str = ""
    solved: str = "false"
    steps: str = ""
    passes: str = ""
    confidence: str = ""
    error: str = ""


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
    task, out = solver.core.task, STANDARD_STREAM if str(out) in _STANDARD_OUTPUT else out
    if out.is_dir():
        raise InvalidValueError(f"--out must be a file; {out} is a folder.")
    reading = read_rows(source, task, columns)
    print(f"{source_name(source)}: {reading.description}", file=sys.stderr)
    tally = Tally(task)
    is_kept = out != STANDARD_STREAM and not _is_stream(out)
    with claimed(out, is_file=True) if is_kept else nullcontext():
        results = Results(out, made_by)
        stops = resumable(results.left) if is_kept else nullcontext()
        total = _count(task, source, columns)
        with stops, tqdm(total=total, unit="puzzle", disable=None) as bar:
            for row in _solved(solver, source, reading.rows, results, is_kept):
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
    better: Counter[str] = field(default_factory=Counter)

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
        if row.solved == "false" and (better := better_task(self.task, self.task.read_grid(row.puzzle))):
            self.better[better] += 1

    def summary(self) -> str:
        """In a line."""
        tried = max(self.count - self.num_bad, 1)
        means = f"with {self.steps / tried:.2f} steps and {self.passes / tried:.2f} passes on average"
        said = f"{self.solved:,} of {self.count:,} solved, {means}"
        if not self.task.has_rules:
            said = f"{self.unknown:,} of {self.count:,} answered, {means}; no rules known, so not judged"
        if self.num_bad:
            said += f"; rows that are no puzzles: {self.num_bad:,}, the first: {self.first_bad}"
        for name, count in self.better.items():
            said += f"; {count:,} not solved are beyond what {self.task.name} was trained on: use --task {name}"
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


class Results:
    """The rows of results in a file, or on standard output, and the checksum that goes on from row to row.

    Attributes:
        out: the file, or `STANDARD_STREAM`.
        count: rows that were there and are kept.
    """

    def __init__(self, out: Path, made_by: str = "") -> None:
        self.out, self.count = out, 0
        self._sum = zlib.crc32(made_by.encode())
        self._end = 0
        self._write: Callable[[bytes], None] = _to_standard_output

    def kept(self) -> Iterator[Result]:
        """The rows that are there. What a kill left half-written at the end is none, and is cut off once others follow.

        Raises:
            InvalidValueError: a row is none of ours, or no longer what it was, or something else made it.
        """
        if not self.out.exists():
            return
        with self.out.open("rb") as file:
            head = file.readline(len(HEADER) + 1)
            if not HEADER.startswith(head):
                raise InvalidValueError(
                    f"{self.out} must be new or hold results of this command. Choose another --out."
                )
            self._end = len(head) if head == HEADER else 0
            for number, line in enumerate(file, 2):
                if not line.endswith(b"\n"):
                    return
                body, _, check = line[:-1].rpartition(b",")
                self._sum = zlib.crc32(body, self._sum)
                if check != b"%08x" % self._sum:
                    cause = "" if self.count else "was made with another policy, reasoner, seed or option, or "
                    raise InvalidValueError(
                        f"{self.out}, line {number}: it must be a row of results that this command wrote; it {cause}was"
                        " changed since. Choose another --out."
                    )
                self._end += len(line)
                self.count += 1
                yield Result(*next(csv.reader([body.decode()])))

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make ready for more rows: whatever stands behind those that are kept is cut off."""
        if self.out == STANDARD_STREAM:
            with self._one_line_errors():
                self._write(HEADER)
            yield
            return
        with self._one_line_errors():
            self.out.parent.mkdir(parents=True, exist_ok=True)
            file = self.out.open("wb" if _is_stream(self.out) or not self.out.exists() else "rb+", buffering=0)
        with file:
            with self._one_line_errors():
                if not _is_stream(self.out):
                    file.truncate(self._end)
                    file.seek(self._end)
                self._write = partial(_write_all, file)
                if not self._end:
                    self._write(HEADER)
            yield

    def append(self, rows: list[Result]) -> None:
        """Write rows behind the others.

        Raises:
            FileError: there is no room for them, say.
        """
        text = b""
        for row in rows:
            line = io.StringIO()
            csv.writer(line, lineterminator="").writerow(row)
            body = line.getvalue().encode()
            self._sum = zlib.crc32(body, self._sum)
            text += b"%b,%08x\n" % (body, self._sum)
        with self._one_line_errors():
            self._write(text)

    @contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:  # the reader has seen enough
            raise
        except OSError as error:
            name = "standard output" if self.out == STANDARD_STREAM else str(self.out)
            left = f"; {self.left()}. Go on with: {this_command()}" if self.out.is_file() else "."
            raise FileError(f"{name} could not be written: {error.strerror or one_line(error)}{left}") from error

    def left(self) -> str:
        """What a stop leaves."""
        with self.out.open("rb") if self.out.exists() else io.BytesIO() as file:
            count = sum(line.endswith(b"\n") for line in file) - 1
        return f"{self.out} keeps the {max(count, 0):,} rows that are done"


def _write_all(file: Any, content: bytes) -> None:
    """Write without a buffer, so that nothing is left to fail later."""
    if not os.fstat(file.fileno()).st_nlink:
        raise FileNotFoundError(errno.ENOENT, "it was deleted meanwhile")
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def _to_standard_output(content: bytes) -> None:
    sys.stdout.write(content.decode())
    sys.stdout.flush()


def _is_stream(out: Path) -> bool:
    """Whether a path is a device or a pipe, which keeps nothing to go on with."""
    return out.exists() and not out.is_file() and not out.is_dir()


def _count(task: Task, source: Path, columns: tuple[str, ...]) -> int | None:
    """How many puzzles, if somebody sees the bar; None for a pipe, which can be read only once."""
    if not sys.stderr.isatty() or not source.is_file():
        return None
    with suppress(PuzzleError):  # which is told when it is met
        return sum(1 for _ in read_rows(source, task, columns).rows)
    return None


def _solved(solver: Solver, source: Path, rows: Iterator[Row], results: Results, goes_on: bool) -> Iterator[Result]:
    """The rows that the results hold already, then those of the other puzzles, as they are written behind them."""
    task, written = solver.core.task, 0
    for kept in results.kept() if goes_on else ():
        _check_same(task, source, next(rows, None), results.out, kept)
        written += not kept.error
        yield kept
    with results.opened():
        waiting = Waiting(task, rows, written)
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

    def __init__(self, task: Task, rows: Iterator[Row], taken: int) -> None:
        self.is_over = False
        self.failure: PuzzleError | None = None
        self._task, self._rows, self._taken = task, rows, taken
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
            try:
                if row.error:
                    raise PuzzleError(row.error)
                puzzle = self._task.parse(row.question)
            except PuzzleError as error:
                bad = Result(_shown(row.question), error=_shown(f"line {row.line}: {one_line(error)}"))
                self._bad.append((self._taken, bad))
            else:
                self._taken += 1
                yield puzzle

    def bad_rows(self, written: int) -> Iterator[Result]:
        """Those that come before the next puzzle, if the results of so many are written."""
        while self._bad and self._bad[0][0] <= written:
            yield self._bad.popleft()[1]


def _shown(text: str) -> str:
    """Any text in plain letters on one line."""
    return repr(text.encode("utf-8", "surrogateescape"))[2:-1]


def _check_same(task: Task, source: Path, row: Row | None, out: Path, kept: Result) -> None:
    """Refuse to go on behind the results of other puzzles."""
    if row is None:
        raise InvalidValueError(f"{out} holds more results than {source_name(source)} puzzles. Choose another --out.")
    try:
        wanted = _shown(row.question) if kept.error else task.format(task.read_grid(row.question))
    except PuzzleError:
        wanted = ""
    if wanted != kept.puzzle:
        raise InvalidValueError(
            f"{source_name(source)}, line {row.line}: the puzzle must be the one whose result {out} holds. Choose"
            " another --out."
        )
