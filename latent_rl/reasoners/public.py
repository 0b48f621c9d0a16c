"""Run folders of the public TRM, HRM and DIS code: weights `step_N` with `all_config.yaml` beside them."""

import io
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from latent_rl.errors import CheckpointError, InvalidValueError, LatentRLError, MissingExtraError
from latent_rl.files import read_json, write_atomically, write_json
from latent_rl.reasoners.checkpoint import make_reasoner
from latent_rl.reasoners.public_arch import DTYPES, PublicArch, arch_of, config_of
from latent_rl.reasoners.public_weights import from_public, newest_checkpoint, public_name, read_weights, to_public
from latent_rl.reasoners.trm import TRM, TRMConfig

CONFIG, DATASET = "all_config.yaml", "dataset.json"


def load_public_checkpoint(
    folder: str | Path, vocab_size: int | None = None, seq_len: int | None = None, dataset: str | Path | None = None
) -> TRM:
    """Load the newest weights of a run folder, ready for inference.

    V follows from the weights; so does L with a mixer or learned positions. Otherwise L must be said: by `seq_len`, by
    `dataset`, or by a `dataset.json` in the run folder. What is said twice must agree.

    Args:
        folder: the run folder.
        vocab_size: V.
        seq_len: L.
        dataset: the folder of the dataset that the run was trained on, or the `dataset.json` in it.

    Returns:
        A TRM (for DIS one that reads its own predictions) or an HRM, float32 if the run was, in the machine's best
        dtype otherwise.

    Raises:
        CheckpointError: the folder is incomplete or damaged, or its parts don't fit each other.
        InvalidValueError: V or L is unknown, or sources contradict each other.
        MissingExtraError: PyYAML, from the `public` extra, is not installed.
    """
    folder = Path(folder)
    path = newest_checkpoint(folder)
    arch, tensors, facts = read_arch(folder), read_weights(path), _dataset_facts(folder, dataset)
    vocab_size = _agreed(
        "vocab_size",
        {
            path.name: _num_rows(tensors, "embed_tokens"),
            DATASET: facts.get("vocab_size"),
            "the argument": vocab_size,
        },
    )
    seq_len = _agreed(
        "seq_len",
        {
            path.name: _seq_len(arch, tensors),
            DATASET: facts.get("seq_len"),
            "the argument": seq_len,
        },
    )
    num_puzzle_ids = (_num_rows(tensors, "embed_puzzles") or 1) if arch.puzzle_emb_ndim else 0
    try:
        config = config_of(arch, vocab_size=vocab_size, seq_len=seq_len, num_puzzle_ids=num_puzzle_ids)
        state = from_public(tensors, _shape_only(config))
    except LatentRLError as error:
        raise CheckpointError(f"{folder} must hold a {CONFIG} and a {path.name} of one run: {error}") from error
    # None is the machine's best: bfloat16 where it is native.
    reasoner = make_reasoner(config, torch.float32 if DTYPES[arch.forward_dtype] == torch.float32 else None)
    reasoner.load_state_dict(state)
    return reasoner.requires_grad_(False).eval()


def export_public_checkpoint(reasoner: TRM, folder: str | Path) -> None:
    """Write a run folder that the public code, and `load_public_checkpoint`, reads.

    The public code has a second halting logit and steps counted from 1; what the reasoner lacks of that is zero.

    Args:
        reasoner: with attention, or with the mixer "mlp_cell_norm".
        folder: made if need be; gets `step_0`, `all_config.yaml` and a `dataset.json` with V and L.

    Raises:
        InvalidValueError: the public code has no such network, or the folder holds a run already.
        MissingExtraError: PyYAML, from the `public` extra, is not installed.
    """
    folder, yaml = Path(folder), _yaml()
    arch, config = arch_of(reasoner), reasoner.config
    if any(folder.glob("step_*")):
        raise InvalidValueError(f"{folder} must not hold weights already; it does. Choose another folder.")
    weights = io.BytesIO()
    torch.save(to_public(reasoner), weights)
    facts = {
        "vocab_size": config.vocab_size,
        "seq_len": config.seq_len,
        "num_puzzle_identifiers": config.num_puzzle_ids,
    }
    write_json(folder / DATASET, facts)
    write_atomically(folder / CONFIG, yaml.safe_dump({"arch": asdict(arch)}).encode())
    write_atomically(folder / "step_0", weights.getvalue())


def read_arch(folder: Path) -> PublicArch:
    """The `arch` section of the folder's `all_config.yaml`.

    Raises:
        CheckpointError: the file or the section is missing, or the section is not one of the public code's.
        MissingExtraError: PyYAML, from the `public` extra, is not installed.
    """
    yaml, path = _yaml(), folder / CONFIG
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path} must be a readable YAML file: {' '.join(str(error).split())}.") from error
    section = content.get("arch") if isinstance(content, dict) else None
    if not isinstance(section, dict):
        raise CheckpointError(f"{path} must have a section `arch`; it has none. Take the file that the run wrote.")
    try:
        return PublicArch.read(section)
    except LatentRLError as error:
        raise CheckpointError(f"{path} must describe a public TRM, HRM or DIS: {error}") from error


def _yaml() -> ModuleType:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("public run folders need PyYAML: pip install 'latent_rl[public]'.") from error
    return yaml


def _dataset_facts(folder: Path, dataset: str | Path | None) -> dict[str, Any]:
    """What the `dataset.json` says; nothing if none was named and the run folder has none."""
    if dataset is None:
        return read_json(folder / DATASET) if (folder / DATASET).is_file() else {}
    named = Path(dataset)
    for path in (named, named / DATASET, named / "train" / DATASET, named / "test" / DATASET):
        if path.is_file():
            return read_json(path)
    raise CheckpointError(f"the dataset must be a {DATASET} or a folder with one, in it or in its train; got {named}.")


def _agreed(name: str, sources: dict[str, Any]) -> int:
    """The number that every source gives which gives one."""
    given = {source: value for source, value in sources.items() if value is not None}
    said = ", ".join(f"{value!r} from {source}" for source, value in given.items())
    if not given:
        raise InvalidValueError(
            f"{name} must be known; the weights don't tell. Give {name} itself (--{name.replace('_', '-')}), or the"
            " dataset that the run was trained on (--dataset)."
        )
    if len(set(map(repr, given.values()))) > 1 or not all(type(value) is int and value > 0 for value in given.values()):
        raise InvalidValueError(f"{name} must be one number of at least 1 from every source; got {said}.")
    return next(iter(given.values()))


def _num_rows(tensors: dict[str, Tensor], name: str) -> int | None:
    """The first axis of one of our weights, if the file has it."""
    tensor = tensors.get(public_name(name))
    return None if tensor is None or tensor.ndim == 0 else tensor.shape[0]


def _seq_len(arch: PublicArch, tensors: dict[str, Tensor]) -> int | None:
    """L, where a weight spans the positions: the table of positions, or the mixer's `down`."""
    num_positions = _num_rows(tensors, "embed_positions") or _num_rows(tensors, "blocks.0.cells.down")
    return None if num_positions is None else num_positions - arch.num_puzzle_positions


def _shape_only(config: TRMConfig) -> TRM:
    # On the meta device: a config that does not fit must not take the memory that it asks for.
    with torch.device("meta"):
        return make_reasoner(config)
