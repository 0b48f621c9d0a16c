"""Frozen configuration dataclasses to and from plain JSON, refusing what they don't know."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from latent_rl.errors import CheckpointError, InvalidValueError, UnknownNameError

Config = TypeVar("Config")


def from_dict(cls: type[Config], data: Mapping[str, Any]) -> Config:
    """Build the dataclass `cls` from `data`.

    Raises:
        UnknownNameError: a key is not a field of `cls`.
        InvalidValueError: a field without a default is missing.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise UnknownNameError(f"{cls.__name__} field", key, fields)
    required = {
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    if missing := sorted(required - set(data)):
        raise InvalidValueError(f"{cls.__name__} needs {', '.join(missing)}; got {', '.join(sorted(data))}.")
    return cls(**data)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: the file is missing or is not a JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} must be a readable JSON file: {error}.") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} must hold a JSON object; got {type(data).__name__}.")
    return data


def write_json(path: Path, data: object) -> None:
    """Write `data` as JSON, atomically: readers see the old file or the new one, never a part."""
    write_atomically(path, (json.dumps(data, indent=2) + "\n").encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` by way of a temporary file in the same folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
