"""Save and load reasoners: a folder with `config.json` and `reasoner.safetensors`; never a pickle."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, overload

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from latent_rl.config import from_dict
from latent_rl.errors import CheckpointError, LatentRLError, UnknownNameError
from latent_rl.files import read_json, write_atomically, write_json
from latent_rl.reasoners.base import ReasonerModule
from latent_rl.reasoners.feedforward import FeedForward, FeedForwardConfig
from latent_rl.reasoners.hrm import HRM, HRMConfig
from latent_rl.reasoners.trm import TRM, TRMConfig

WEIGHTS, CONFIG = "reasoner.safetensors", "config.json"
_PRETRAINED = Path(__file__).parent.parent / "pretrained"
STAND_INS = {
    "sudoku9x9-minimal": "sudoku9x9-hard",
    "nqueens8": "nqueens8-final",
    "maze14": "maze20",
    "maze30": "maze20",
}
"""Tasks that no shipped reasoner is named like, and the shipped one that solves them."""
ARCHITECTURES: dict[str, tuple[type[ReasonerModule], type[Any]]] = {
    "trm": (TRM, TRMConfig),
    "hrm": (HRM, HRMConfig),
    "feedforward": (FeedForward, FeedForwardConfig),
}
"""Module and config of what a folder can hold, by the name that its `config.json` gives it. To add a network of your
own, put it here: `module(config)` must make it."""


def shipped_reasoners() -> tuple[str, ...]:
    """Names of the reasoners that come with the package."""
    return tuple(sorted(path.parent.name for path in _PRETRAINED.glob(f"*/{WEIGHTS}")))


def default_reasoner(task: str) -> str:
    """The reasoner of the task of that name: the one named like it, or the one that stands in for it."""
    return STAND_INS.get(task, task)


def reasoner_folder(name_or_path: str | Path) -> Path:
    """Where a shipped reasoner, or one in a folder of the user's, lies.

    Raises:
        UnknownNameError: it is neither the name of a shipped reasoner nor a folder.
    """
    shipped = _PRETRAINED / str(name_or_path)
    folder = shipped if (shipped / WEIGHTS).is_file() else Path(name_or_path)
    if not folder.is_dir():
        raise UnknownNameError("reasoner (neither shipped nor a folder)", name_or_path, shipped_reasoners())
    return folder


def reasoner_facts(name_or_path: str | Path) -> dict[str, Any]:
    """What `config.json` says of a reasoner: architecture, shape, how it was trained, validation curve."""
    return read_json(reasoner_folder(name_or_path) / CONFIG)


def chosen_steps(name_or_path: str | Path) -> int:
    """How many supervision steps were best on validation when it was trained; else how many it was trained for."""
    facts = reasoner_facts(name_or_path)
    if "decoding" in facts:
        return int(facts["decoding"]["num_steps"])
    return load_reasoner(name_or_path).num_supervision_steps


@overload
def make_reasoner(config: TRMConfig, compute_dtype: torch.dtype | None = None) -> TRM: ...
@overload
def make_reasoner(config: Any, compute_dtype: torch.dtype | None = None) -> ReasonerModule: ...
def make_reasoner(config: Any, compute_dtype: torch.dtype | None = None) -> ReasonerModule:
    """The module that a config describes, with random weights."""
    modules: dict[type, Any] = {config_class: module for module, config_class in ARCHITECTURES.values()}
    module = modules[type(config)]
    return module(config) if compute_dtype is None else module(config, compute_dtype)


def load_reasoner(name_or_path: str | Path, compute_dtype: torch.dtype | None = None) -> ReasonerModule:
    """Load a reasoner by the name of a shipped one or from a folder, ready for inference.

    Args:
        name_or_path: e.g. "sudoku9x9-hard", or the folder a training wrote.
        compute_dtype: dtype of the states; bfloat16 by default where the machine has it.

    Raises:
        UnknownNameError: no such reasoner.
        CheckpointError: the folder is incomplete, damaged, or weights and config don't fit.
    """
    folder = reasoner_folder(name_or_path)
    data = read_json(folder / CONFIG)
    try:
        if data["architecture"] not in ARCHITECTURES:
            raise UnknownNameError("architecture", data["architecture"], ARCHITECTURES)
        _, config_class = ARCHITECTURES[data["architecture"]]
        reasoner = make_reasoner(from_dict(config_class, data["reasoner"]), compute_dtype)
    except (KeyError, TypeError, LatentRLError) as error:
        raise CheckpointError(f"{folder / CONFIG} must describe a reasoner: {error}") from error
    try:
        reasoner.load_state_dict(load_tensors((folder / WEIGHTS).read_bytes()))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{folder / WEIGHTS} must hold the weights of {CONFIG} beside it: {error}") from error
    return reasoner.requires_grad_(False).eval()


@functools.cache
def shared_reasoner(name_or_path: str | Path) -> ReasonerModule:
    """The reasoner that `load_reasoner` loads, once in a process: for many environments that take one each."""
    return load_reasoner(name_or_path)


def save_reasoner(reasoner: ReasonerModule, path: str | Path, facts: dict[str, Any] | None = None) -> None:
    """Write a reasoner into a folder, each file atomically.

    Args:
        reasoner: the module; its weights are written as float32.
        path: the folder, made if need be.
        facts: kept in `config.json` beside the architecture (how it was trained, versions, seed).

    Raises:
        UnknownNameError: the reasoner is of no architecture in `ARCHITECTURES`.
    """
    folder = Path(path)
    architecture = next((name for name, (module, _) in ARCHITECTURES.items() if module is type(reasoner)), None)
    if architecture is None:
        raise UnknownNameError("architecture", type(reasoner).__name__, ARCHITECTURES)
    config = {"architecture": architecture, "reasoner": dataclasses.asdict(reasoner.config), **(facts or {})}
    write_json(folder / CONFIG, config)
    state = {name: tensor.contiguous() for name, tensor in reasoner.state_dict().items()}
    write_atomically(folder / WEIGHTS, save_tensors(state))
