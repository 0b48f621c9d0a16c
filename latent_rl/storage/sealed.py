"""Tensors, and facts about them, in one safetensors file that notices any damage; no pickle."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from latent_rl.errors import CheckpointError, one_line
from latent_rl.storage.atomic import read_file, write_atomically

MAX_BYTES = 2**30
"""Of a sealed file that is read at the most, unless more is asked for."""
_KEY = "latent_rl"


def write_sealed(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors and facts as one safetensors file, atomically.

    Args:
        path: the file.
        tensors: by name.
        facts: plain JSON values; they are the file's metadata, beside the checksum of everything in it.

    Raises:
        FileError: it can't be written.
    """
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps({"sha256": _digest(own, facts), "facts": facts})
    write_atomically(path, save_tensors(own, {_KEY: text}))


def read_sealed(path: Path, what: str, max_bytes: int = MAX_BYTES) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the facts of a file that `write_sealed` wrote.

    Args:
        path: the file.
        what: it must be, for the error.
        max_bytes: of a file that is read.

    Raises:
        CheckpointError: it can't be read, is no such file, or is damaged.
    """
    try:
        content = read_file(path, max_bytes)
        tensors = load_tensors(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        sealed = json.loads(header["__metadata__"][_KEY])
        facts, digest = sealed["facts"], sealed["sha256"]
        if not isinstance(facts, dict) or digest != _digest(tensors, facts):
            raise ValueError("its checksum does not fit, so it is damaged or was changed")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
        if isinstance(error, KeyError):
            reason = f"it has no {error}"
        raise CheckpointError(f"{path} must be {what}: {reason}.") from error
    return tensors, facts


def _digest(tensors: dict[str, Tensor], facts: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
