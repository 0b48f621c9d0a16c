"""The results of `latent-rl solve`: a CSV that may be cut anywhere and is gone on with, or standard output."""

import csv
import errno
import io
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from latent_rl.errors import FileError, InvalidValueError, one_line
from latent_rl.storage.stops import this_command
from latent_rl.tasks.files.text import STANDARD_STREAM

COLUMNS = ("puzzle", "answer", "solved", "steps", "passes", "confidence", "error", "check")
"""Of the results. `solved` is unknown where no rules are; `error` says why a row of the source is no puzzle, and then
`puzzle` is what was written there; `check` is a checksum of the row, of those before it, and of what made them."""
HEADER = (",".join(COLUMNS) + "\n").encode()
_STANDARD_OUTPUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
"""Other names of `STANDARD_STREAM`."""


class Result(NamedTuple):
    """A row of the results, without its checksum."""

    puzzle: str
    answer: str = ""
    solved: str = "false"
    steps: str = ""
    passes: str = ""
    confidence: str = ""
    error: str = ""


class Results:
    """The rows of results in a file, or on standard output, and the checksum that goes on from row to row.

    Attributes:
        out: the file, or `STANDARD_STREAM`, whatever it was called.
        count: rows that were there and are kept.
    """

    def __init__(self, out: Path, made_by: str = "") -> None:
        self.out = STANDARD_STREAM if str(out) in _STANDARD_OUTPUT else out
        self.count = 0
        self._sum = zlib.crc32(made_by.encode())
        self._end = 0
        self._write: Callable[[bytes], None] = _to_standard_output

    @property
    def is_kept(self) -> bool:
        """Whether there will be a file to go on with."""
        return self.out != STANDARD_STREAM and not _is_stream(self.out)

    def kept(self) -> Iterator[Result]:
        """The rows that are there. What a kill left half-written at the end is none, and is cut off once others follow.

        Raises:
            InvalidValueError: a row is none of ours, or no longer what it was, or something else made it.
        """
        if not self.is_kept or not self.out.exists():
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
