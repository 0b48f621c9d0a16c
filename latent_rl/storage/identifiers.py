"""What puzzle ids mean: `identifiers.json`, a name for each, as the public dataset scripts write it."""

import json
from pathlib import Path
from typing import Any

from latent_rl.errors import CheckpointError, one_line
from latent_rl.storage.atomic import MAX_JSON, checksum, read_file, write_atomically

IDENTIFIERS, BLANK = "identifiers.json", "<blank>"


def read_identifiers(path: Path) -> list[str]:
    """The names by id.

    Raises:
        CheckpointError: the file is missing, larger than `MAX_JSON`, or no list of names.
    """
    try:
        names = json.loads(read_file(path, MAX_JSON).decode())
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not names:
            raise ValueError("it is no list of names")
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} must be a list of names, one for each puzzle id: {one_line(error)}.") from error
    return names


def write_identifiers(folder: Path, names: list[str]) -> dict[str, Any]:
    """Write them beside a reasoner.

    Returns:
        What its `config.json` is to say of them: a checksum.
    """
    write_atomically(folder / IDENTIFIERS, json.dumps(names).encode())
    return {"puzzle_ids": meaning(names)}


def meaning(names: list[str]) -> str:
    """A checksum of what the ids mean: equal for equal names in equal order."""
    return checksum("\n".join(names).encode())
