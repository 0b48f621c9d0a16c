"""Typed errors. Every message says what must hold, what was got, and what to do."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Self, TypeVar

Entry = TypeVar("Entry")


class LatentRLError(Exception):
    """The base of every error that a user's input can cause here."""


def one_line(error: BaseException | str, limit: int = 300) -> str:
    """A foreign error's text on one line, cut to `limit` characters: libraries write pages."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was asked for that the machine, or a GPU, does not have; torch says so in several ways."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error)


class InvalidValueError(LatentRLError, ValueError):
    """A value is out of its range or of the wrong shape."""


class UnknownNameError(LatentRLError, ValueError):
    """A name is not in its registry."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        super().__init__(f"unknown {kind} '{name}'{_known_names(name, known)}")

    def __reduce__(self) -> tuple[Any, ...]:
        """From the text: workers send their errors to the process that started them."""
        return _restored, (type(self), *self.args)


def lookup(kind: str, name: object, registry: Mapping[str, Entry]) -> Entry:
    """The entry of that name.

    Args:
        kind: what the registry holds, for the error.
        name: any object; only a name of the registry is found.
        registry: by name.

    Raises:
        UnknownNameError: there is none; it lists the known ones and the nearest.
    """
    if not isinstance(name, str) or name not in registry:
        raise UnknownNameError(kind, name, registry)
    return registry[name]


class UnexpectedArgumentError(LatentRLError, TypeError):
    """An argument is none; other libraries look for Python's own words and do without it then."""

    @classmethod
    def of(cls, function: str, name: str, known: Iterable[str]) -> Self:
        """The error of a call of `function` with an argument of that name."""
        return cls(f"{function} got an unexpected keyword argument '{name}'{_known_names(name, known)}")


def _known_names(name: object, known: Iterable[str]) -> str:
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return f"{hint} Known: {', '.join(known) or 'none'}."


def _restored(cls: type[LatentRLError], text: str) -> LatentRLError:
    return cls.__new__(cls, text)


class PuzzleError(LatentRLError, ValueError):
    """A puzzle, or a file of puzzles, can't be read or is not a puzzle."""


class CheckpointError(LatentRLError, OSError):
    """A checkpoint is missing, damaged or does not fit."""


class MissingExtraError(LatentRLError, ImportError):
    """An optional dependency is not installed."""


class CompilationError(LatentRLError, RuntimeError):
    """A network can't be compiled on this machine."""


class FileError(LatentRLError, OSError):
    """A file can't be written, or another process uses it."""


class StoppedError(LatentRLError):
    """The user stopped a command; the text says what is kept and how to go on.

    Attributes:
        status: the exit status, 128 + the signal's number.
    """

    def __init__(self, text: str, status: int = 130) -> None:
        super().__init__(text)
        self.status = status
