"""Files that are whole or not there: atomic writes, and checksums."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from latent_rl.errors import CheckpointError, FileError, one_line

MAX_JSON = 64 * 2**20
"""Bytes of a JSON file that is read at the most."""


def read_file(path: Path, max_bytes: int) -> bytes:
    """What a file holds.

    Raises:
        OSError: it can't be read.
        ValueError: it is no file, as a device may never end, or larger than that.
    """
    if (size := path.stat().st_size) > max_bytes:
        raise ValueError(f"it has {size:,} bytes, more than {max_bytes:,}")
    if not path.is_file():
        raise ValueError("it is no file")
    return path.read_bytes()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: the file is missing, larger than `MAX_JSON`, or is not a JSON object.
    """
    try:
        data = json.loads(read_file(path, MAX_JSON).decode())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} must be a readable JSON file: {one_line(error)}.") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} must hold a JSON object; got {type(data).__name__}.")
    return data


def write_json(path: Path, data: object) -> None:
    """Write `data` as JSON, atomically: readers see the old file or the new one, never a part."""
    write_atomically(path, (json.dumps(data, indent=2) + "\n").encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` by way of a temporary file in the same folder.

    Raises:
        FileError: it can't be written, say for want of room; what the path held before is still there.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):  # the folder itself may be the reason
            partial.unlink(missing_ok=True)
        raise FileError(f"{path} could not be written: {error.strerror or one_line(error)}.") from error


def checksum(content: bytes) -> str:
    """SHA-256 of some bytes, in hexadecimal: a flipped bit anywhere in a file is noticed."""
    return hashlib.sha256(content).hexdigest()
