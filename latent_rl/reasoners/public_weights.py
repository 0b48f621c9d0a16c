"""The public code's weights: its names for ours, and reading its files without trusting them."""

import io
import re
import zipfile
from pathlib import Path

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from latent_rl.errors import CheckpointError
from latent_rl.reasoners.trm import TRM

PREFIX = "_orig_mod.model.inner."
"""In front of every key of a file: the compiled, wrapped model."""
STEPS = "timestep_embed.embedding_weight"
HALTING = ("q_head.weight", "q_head.bias")
_TOP = {
    "initial_answer": "H_init",
    "initial_latent": "L_init",
    "embed_tokens": "embed_tokens.embedding_weight",
    "embed_positions": "embed_pos.embedding_weight",
    "embed_puzzles": "puzzle_emb.weights",
    "embed_step": STEPS,
    "head": "lm_head.weight",
    "halt_head.weight": HALTING[0],
    "halt_head.bias": HALTING[1],
}
_NETWORKS = {"blocks": "L_level.layers", "answer_blocks": "H_level.layers"}
_LAYERS = {
    "cells.qkv": "self_attn.qkv_proj.weight",
    "cells.out": "self_attn.o_proj.weight",
    "cells.gate_up": "mlp_t.gate_up_proj.weight",
    "cells.down": "mlp_t.down_proj.weight",
    "channels.gate_up": "mlp.gate_up_proj.weight",
    "channels.down": "mlp.down_proj.weight",
}


def public_name(name: str) -> str:
    """The public code's name, without prefix, of one of our weights.

    >>> public_name("answer_blocks.1.channels.down")
    'H_level.layers.1.mlp.down_proj.weight'
    """
    if name in _TOP:
        return _TOP[name]
    network, index, layer = name.split(".", 2)
    return f"{_NETWORKS[network]}.{index}.{_LAYERS[layer]}"


def bare_name(key: str) -> str:
    """A key of a file without what wrapping, compiling and distributing put in front.

    >>> bare_name("module._orig_mod.model.inner.lm_head.weight")
    'lm_head.weight'
    """
    parts = [part for part in key.split(".") if part not in ("_orig_mod", "module")]
    return ".".join(parts).removeprefix("model.").removeprefix("inner.")


def newest_checkpoint(folder: Path) -> Path:
    """The weights file `step_N` or `step_N.pth` with the largest N.

    Raises:
        CheckpointError: there is none.
    """
    found = {
        int(match[1]): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := re.fullmatch(r"step_(\d+)(\.pth)?", path.name)) and path.is_file()
    }
    if not found:
        raise CheckpointError(
            f"{folder} must be a run folder of the public code; it holds no weights file step_N or step_N.pth."
            " Give the folder in which all_config.yaml lies."
        )
    return found[max(found)]


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a weights file as float32 tensors under bare names.

    Raises:
        CheckpointError: it is damaged, or holds anything but named tensors.
    """
    try:
        archive = _verified(path)
        forbidden = get_unsafe_globals_in_checkpoint(archive)
        archive.seek(0)
        content = None if forbidden else torch.load(archive, map_location="cpu", weights_only=True)
    except Exception as error:  # A damaged file can make zipfile, pickle and torch raise anything.
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{path} must be a whole weights file of torch.save; it is damaged or none ({reason}). Copy it again."
        ) from error
    if forbidden:
        raise CheckpointError(
            f"{path} must hold tensors only, as a file must not run code; it asks for {', '.join(sorted(forbidden))}."
            " Save the model's state_dict() alone."
        )
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(
            f"{path} must hold a state_dict, tensors by name; it holds another {type(content).__name__}."
        )
    return {bare_name(str(key)): tensor.float() for key, tensor in content.items()}


def _verified(path: Path) -> io.BytesIO:
    """The archive again, written anew from members whose checksums are right.

    torch compares no checksums and reads an archive's directory in its own way, so that it can take a file which is
    damaged there for whole.
    """
    clean = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(clean, "w") as copy:
        for member in archive.infolist():
            copy.writestr(member.filename, archive.read(member))
    clean.seek(0)
    return clean


def from_public(tensors: dict[str, Tensor], reasoner: TRM) -> dict[str, Tensor]:
    """The state_dict of a reasoner of this shape.

    Raises:
        CheckpointError: a weight is missing, unknown or of another shape.
    """
    tensors = dict(tensors)
    if STEPS in tensors:
        # The public code counts steps from 1 and has a row to spare at the end; without step indices it ignores all.
        steps = tensors.pop(STEPS)[1 : 1 + reasoner.num_supervision_steps]
        if reasoner.config.step_embedding:
            tensors[STEPS] = steps
    wanted = {public_name(name): tensor for name, tensor in reasoner.state_dict().items()}
    problems = [f"{name} is missing" for name in wanted if name not in tensors]
    problems += [f"{name} is unknown" for name in tensors if name not in wanted]
    problems += [
        f"{name} is {list(tensors[name].shape)} instead of {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(f"the weights must fit the config beside them; {', '.join(problems[:3])}{more}.")
    return {name: tensors[public_name(name)] for name in reasoner.state_dict()}


def to_public(reasoner: TRM) -> dict[str, Tensor]:
    """The reasoner's weights as the public code saves them; rows that only it has are zero."""
    tensors = {public_name(name): tensor.detach() for name, tensor in reasoner.state_dict().items()}
    for name in HALTING:
        tensors[name] = _place(tensors[name], 0, 2)
    if STEPS in tensors:
        tensors[STEPS] = _place(tensors[STEPS], 1, len(tensors[STEPS]) + 2)
    return {PREFIX + name: tensor.cpu().clone() for name, tensor in tensors.items()}


def _place(rows: Tensor, first: int, total: int) -> Tensor:
    placed = rows.new_zeros(total, *rows.shape[1:])
    placed[first : first + len(rows)] = rows
    return placed
