"""The lines of a user's text: of a file, compressed or not, or of standard input."""

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TextIO

from latent_rl.errors import PuzzleError, one_line

Line = tuple[int, str]
"""Its number, from 1, and its text without what ends it."""
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
