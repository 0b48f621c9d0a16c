"""The public code's weights: its names for ours, and reading its files without trusting them."""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from latent_rl.errors import CheckpointError, one_line
from latent_rl.notes import note
from latent_rl.reasoners.hrm import HRM
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
_ROOTS = {name.partition(".")[0] for name in (*_TOP.values(), *_NETWORKS.values())}
_WRAPPERS = ("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
"""What compiling and distributing put into the middle of a key; what is in front of a root goes anyway."""
_DERIVED = {
    *(f"puzzle_emb.local_{name}" for name in ("weights", "ids")),
    *(f"rotary_emb.{name}" for name in ("cos_cached", "sin_cached", "inv_freq")),
}
"""Buffers that some versions save and that say nothing new."""
_PLACES = (
    "model", "state_dict", "model_state_dict", "module", "network", "net", "weights", "params", "ema_state_dict",
    "ema_model", "model_ema", "ema", "ema_helper", "shadow",
)  # fmt: skip
"""Where a file may keep its weights, the first that is there; under another name, if nothing else could be meant."""
_NO_WEIGHTS = r"(?i)optim|sched|grad|momentum|exp_avg|carry"
"""What else has the names of weights."""
_DEEPEST = 4
_AVERAGES = {name for name in _PLACES if "ema" in name}
_WEIGHTS = r"(?i)checkpoint|ckpt|model|pytorch_model|weights|last|best|final"
"""What weights that count nothing are called."""
_WITHIN = "checkpoints"
"""Where in a run folder they may lie."""
_SUFFIXES = ("", ".pt", ".pth", ".bin", ".ckpt", ".safetensors")
_OTHER_FILES = r"(?i)preds|optim|sched|random_states|training_args|carry"
"""Files beside the weights that are called alike."""
_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
MAX_WEIGHTS = 32 * 2**30
"""Bytes of a weights file that is read at the most."""


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
    """A key of a file without what wrapping, compiling and distributing put in front of it.

    >>> bare_name("module._orig_mod._fsdp_wrapped_module.model.inner.lm_head.weight")
    'lm_head.weight'
    """
    parts = [part for part in key.split(".") if part not in _WRAPPERS]
    start = next((place for place, part in enumerate(parts) if part in _ROOTS), 0)
    return ".".join(parts[start:])


def find_weights(folder: Path) -> Path:
    """The weights file of a run folder, or of `checkpoints` in it: of those whose names count steps the latest, else
    the one that is called like weights, else the only one that could be.

    Raises:
        CheckpointError: there is none, or which of several is meant can't be told.
    """
    files = (path for path in sorted(folder.iterdir()) if path.suffix in _SUFFIXES and path.is_file())
    found = [path for path in files if not re.search(_OTHER_FILES, path.name)]
    numbered = [(number, path) for path in found if (number := _number(path)) is not None]
    kinds = {re.sub(r"\d+", "#", path.stem) for _, path in numbered}
    latest = [path for number, path in numbered if number == max(numbered)[0] or len(kinds) > 1]
    called = [path for path in found if re.fullmatch(_WEIGHTS, path.stem)]
    candidates = latest or called or [path for path in found if path.suffix]
    if not candidates and (folder / _WITHIN).is_dir():
        return find_weights(folder / _WITHIN)
    if not candidates:
        raise CheckpointError(
            f"{folder} must be a run folder of the public code; it holds no weights, such as step_N, checkpoint,"
            " step_N.pt or model.safetensors. Give the folder in which they lie, or the file: --weights."
        )
    if len(candidates) > 1:
        names = ", ".join(path.name for path in candidates[:6]) + (", ..." if len(candidates) > 6 else "")
        raise CheckpointError(f"{folder} must say which weights are meant; it holds {names}. Choose one: --weights.")
    return candidates[0]


def _number(path: Path) -> int | None:
    """The step that a file's name tells, or what else it counts."""
    for word in ("step", "epoch|ep|iter|checkpoint|ckpt|model|weights"):
        if match := re.search(rf"(?i)({word})[_=-]?(\d{{1,18}})", path.stem):
            return int(match[2])
    return None


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a weights file: tensors under bare names, in the dtypes of the file, all of them whole and finite.

    The file is one of torch.save, old or new, or of safetensors, whatever its name. The weights may lie within, under
    "model", "state_dict", "ema" and the like.

    Raises:
        CheckpointError: it is damaged, asks for code, or holds no weights.
    """
    try:
        size = path.stat().st_size
        if size > MAX_WEIGHTS:
            raise ValueError(f"it has {size:,} bytes, more than {MAX_WEIGHTS:,}")
        content = _content(path)
    except Exception as error:  # A damaged file can make zipfile, pickle and torch raise anything.
        asked = re.search(r"GLOBAL (\w[\w.]*)", str(error))
        if asked is not None:
            raise CheckpointError(
                f"{path} must hold tensors only, as a file must not run code; it asks for {asked[1]}."
                " Save the model's state_dict() alone."
            ) from error
        raise CheckpointError(
            f"{path} must be a whole weights file of torch.save or safetensors; it is damaged or none"
            f" ({one_line(error, 120)}). Copy it again."
        ) from error
    found = _state_of(content)
    if found is None:
        inside = ", ".join(one_line(str(key), 40) for key in list(content)[:4])
        raise CheckpointError(
            f"{path} must hold the state_dict of a public TRM, HRM or DIS, weights such as lm_head.weight; it holds"
            f" {inside or 'nothing'}."
        )
    place, state = found
    tensors: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = bare_name(key)
        if name in _DERIVED:
            continue
        if name in tensors:
            raise CheckpointError(
                f"{path} must hold each weight once; {name} comes under several prefixes, such as {one_line(key, 80)}."
                " Save the one network that is meant."
            )
        tensors[name] = tensor
    _check_tensors(path, tensors, 2 * size)
    others = [name for name in content if name not in place and name in _AVERAGES]
    if others or not set(place) <= set(_PLACES):
        unread = f"; not read: {', '.join(others)}" if others else ""
        note(f"{path.name}: read {one_line('.'.join(place)) or 'the weights'}{unread}.")
    return tensors


def _content(path: Path) -> dict[str, Any]:
    """What the file holds, read without running code, in memory that its own size bounds."""
    with path.open("rb") as file:
        head = file.read(512)
    if head[8:9] == b"{":
        with safe_open(path, framework="pt") as tensors:
            return {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118 (it is no dict)
    if head[257:262] == b"ustar":
        raise ValueError("it is a tar archive, a format that torch can't read without running code")
    if head.startswith(b"PK") or zipfile.is_zipfile(path):
        content = torch.load(_verified(path), map_location="cpu", weights_only=True)
    else:
        with path.open("rb") as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    return content if isinstance(content, dict) else {f"a {type(content).__name__}": content}


def _verified(path: Path) -> io.BytesIO:
    """The archive again, written anew from members whose checksums are right.

    torch compares no checksums and reads an archive's directory in its own way, so that it can take a file which is
    damaged there for whole. It packs nothing: what is packed, or lies in the file twice, is no archive of torch's, and
    could be as large as it likes.
    """
    clean = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(clean, "w") as copy:
        members = archive.infolist()
        if len({member.filename for member in members}) < len(members):
            raise ValueError("it has members of one name")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("its members are packed, which torch never does")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("its members are larger than the file")
        for member in members:
            copy.writestr(member.filename, archive.read(member))
    clean.seek(0)
    return clean


def _state_of(
    content: dict[Any, Any], place: tuple[str, ...] = (), seen: set[int] | None = None
) -> tuple[tuple[str, ...], dict[str, Tensor]] | None:
    """Where within a file's content the weights lie, and the weights; None if they don't, or it can't be told."""
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if any(bare_name(key).partition(".")[0] in _ROOTS for key in state):
        return place, state
    seen = seen or set()  # a file can hold one dictionary many times over
    if len(place) == _DEEPEST or id(content) in seen:
        return None
    seen.add(id(content))
    inner = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, dict)}
    for key in _PLACES:
        if key in inner and (found := _state_of(inner[key], (*place, key), seen)):
            return found
    others = [key for key in inner if key not in _PLACES and not re.search(_NO_WEIGHTS, key)]
    states = [found for key in others if (found := _state_of(inner[key], (*place, key), seen))]
    return states[0] if len(states) == 1 else None


def _check_tensors(path: Path, tensors: dict[str, Tensor], max_bytes: int) -> None:
    """Refuse what is no plain array of finite floats, before any of it is copied."""
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise CheckpointError(f"{path} must hold plain arrays; {name} is {tensor.layout} on {tensor.device}.")
        if tensor.dtype not in _DTYPES:
            known = ", ".join(str(dtype).removeprefix("torch.") for dtype in _DTYPES)
            raise CheckpointError(
                f"{path} must hold weights of dtype {known}; {name} is {str(tensor.dtype).removeprefix('torch.')}."
            )
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise CheckpointError(
                f"{path} must hold every number that a weight has; {name} is {list(tensor.shape)}, expanded from"
                f" {tensor.untyped_storage().nbytes():,} bytes."
            )
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > max_bytes:
        raise CheckpointError(f"{path} must hold every number that a weight has; its weights share them.")
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{path} must hold finite weights; {name} has NaN or infinity. Copy it again.")


def from_public(tensors: dict[str, Tensor], reasoner: TRM | HRM) -> dict[str, Tensor]:
    """The state_dict of a reasoner of this shape, float32.

    Raises:
        CheckpointError: a weight is missing, unknown or of another shape.
    """
    tensors = dict(tensors)
    if STEPS in tensors:
        # The public code counts steps from 1 and has a row to spare at the end; without step indices it ignores all.
        steps = tensors.pop(STEPS)
        if hasattr(reasoner, "embed_step"):
            tensors[STEPS] = steps[1 : 1 + reasoner.num_supervision_steps] if steps.ndim else steps
    wanted = {public_name(name): tensor for name, tensor in reasoner.state_dict().items()}
    problems = [f"{name} is missing" for name in wanted if name not in tensors]
    problems += [f"{one_line(name, 80)} is unknown" for name in tensors if name not in wanted]
    problems += [
        f"{name} is {list(tensors[name].shape)} instead of {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(f"the weights must fit the config beside them; {', '.join(problems[:3])}{more}.")
    return {name: tensors[public_name(name)].float() for name in reasoner.state_dict()}


def to_public(reasoner: TRM | HRM) -> dict[str, Tensor]:
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
