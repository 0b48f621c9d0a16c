"""Banks of base puzzles: one small `.npz` per task, made by the repository's own generator."""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError, PuzzleError, one_line
from latent_rl.storage.atomic import write_atomically
from latent_rl.tasks.base import Split, check_split
from latent_rl.types import Puzzles

FOLDER = Path(__file__).parent / "banks"


@lru_cache(maxsize=32)
def load_bank(name: str, split: Split, blank: int = 1) -> Puzzles:
    """Load one split of a shipped bank; `blank` is the token of the cells that are not given.

    Raises:
        UnknownNameError: there is no such split.
        PuzzleError: the file is damaged, or another task's.
    """
    check_split(split)
    with _opened(name) as file:
        if (task := json.loads(str(file["facts"])).get("task")) != name:
            raise ValueError(f"it is that of {task}")
        labels = file[f"{split}_answers"]
        given = np.unpackbits(file[f"{split}_given"], axis=1, count=labels.shape[1]).astype(bool)
        inputs = np.where(given, labels, blank)
    return Puzzles(torch.from_numpy(inputs).long(), torch.from_numpy(labels).long())


def bank_size(name: str, split: Split) -> int:
    """How many puzzles a split of a shipped bank has; only the head of its array is read.

    Raises:
        UnknownNameError: there is no such split.
        PuzzleError: the file is damaged.
    """
    check_split(split)
    with _opened(name) as file, file.zip.open(f"{split}_given.npy") as array:
        np.lib.format.read_magic(array)
        (size, _), *_ = np.lib.format.read_array_header_1_0(array)
    return int(size)


def load_guesses(name: str, split: Split) -> Tensor:
    """How hard the puzzles of a split are, float32 [N]: the guesses that a search needs, where the bank has them.

    Raises:
        UnknownNameError: there is no such split.
        PuzzleError: the file is damaged, or its puzzles are not rated.
    """
    check_split(split)
    with _opened(name) as file:
        return torch.from_numpy(file[f"{split}_guesses"])


def bank_facts(name: str) -> dict[str, Any]:
    """How a shipped bank was made: generator, seed, counts, sha256 of its content.

    Raises:
        PuzzleError: the file is damaged.
    """
    with _opened(name) as file:
        facts: dict[str, Any] = json.loads(str(file["facts"]))
    return facts


@contextmanager
def _opened(name: str) -> Iterator[Any]:
    """A shipped bank's arrays. They carry checksums, as all that is zipped; what meets damage fails in many ways."""
    path = FOLDER / f"{name}.npz"
    try:
        with path.open("rb") as raw, np.load(raw) as file:
            yield file
    except (
        OSError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, MemoryError,
        zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise PuzzleError(f"{path} must be a whole bank of puzzles: {one_line(error)}. Install anew.") from error


def check_counts(counts: dict[Split, int], what: str) -> None:
    """Refuse a bank with an empty split.

    Args:
        counts: how many puzzles each split should have.
        what: they are, such as "puzzle".

    Raises:
        InvalidValueError: a split would have none.
    """
    if min(counts.values()) < 1:
        raise InvalidValueError(f"every split must have at least 1 {what}; got {counts}.")


def save_bank(
    path: Path,
    splits: dict[Split, Puzzles],
    made: dict[str, Any],
    guesses: dict[Split, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Write a bank: answers as uint8 tokens, givens as packed bits, guesses, if known, as float32, facts as JSON.

    Args:
        path: the `.npz` file.
        splits: the puzzles.
        made: how: the task's name, the generator, its seed, what was asked, and whatever else the facts are to tell.
        guesses: see `Task.guesses`.

    Returns:
        The facts: `made`, with the counts and a sha256 of all puzzles and answers.
    """
    pairs = torch.cat([torch.stack([puzzles.inputs, puzzles.labels], dim=1) for puzzles in splits.values()])
    facts = made | {
        "counts": {split: len(puzzles) for split, puzzles in splits.items()},
        "sha256": hashlib.sha256(pairs.numpy().astype(np.uint8).tobytes()).hexdigest(),
    }
    arrays: dict[str, Any] = {"facts": np.array(json.dumps(facts))}
    for split, puzzles in splits.items():
        arrays[f"{split}_answers"] = puzzles.labels.numpy().astype(np.uint8)
        arrays[f"{split}_given"] = np.packbits((puzzles.inputs == puzzles.labels).numpy(), axis=1)
        if guesses:
            arrays[f"{split}_guesses"] = guesses[split]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomically(path, buffer.getvalue())
    return facts
