"""Save and load reasoners: a folder with `config.json` and `reasoner.safetensors`; never a pickle.

`config.json` holds a checksum of either file, so that damage, or the weights of another run, are noticed; what it says
is held to its types and ranges, and the weights to it, before memory is taken.
"""

import dataclasses
import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, overload

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from latent_rl.config import COUNT, DEPTH, SHARE, check_fields, from_dict
from latent_rl.errors import CheckpointError, LatentRLError, UnknownNameError, lookup, one_line
from latent_rl.reasoners.base import ReasonerModule
from latent_rl.reasoners.colours import Colours, ColoursConfig
from latent_rl.reasoners.feedforward import FeedForward, FeedForwardConfig
from latent_rl.reasoners.grid import Grid, GridConfig
from latent_rl.reasoners.hrm import HRM, HRMConfig
from latent_rl.reasoners.symbols import Symbols, SymbolsConfig
from latent_rl.reasoners.trm import TRM, TRMConfig
from latent_rl.storage.atomic import checksum, read_json, write_atomically, write_json

WEIGHTS, CONFIG = "reasoner.safetensors", "config.json"
_PRETRAINED = Path(__file__).parent.parent / "pretrained"
STAND_INS = {
    "sudoku6x6": "sudoku9x9-extreme",
    "sudoku9x9": "sudoku9x9-extreme",
    "sudoku9x9-hard": "sudoku9x9-extreme",
    "sudoku9x9-minimal": "sudoku9x9-extreme",
    "sudoku16x16": "sudoku9x9-extreme",
    "nqueens6": "nqueens8",
    "nqueens10": "nqueens8",
    "nqueens12": "nqueens8",
    "latin5": "latin12",
    "latin7": "latin12",
    "latin9": "latin12",
    "maze14": "maze20",
    "maze30": "maze20",
}
"""Tasks that another shipped reasoner solves than the one named like them: there is none, or it is not as good."""
ARCHITECTURES: dict[str, tuple[type[ReasonerModule], type[Any]]] = {
    "trm": (TRM, TRMConfig),
    "hrm": (HRM, HRMConfig),
    "feedforward": (FeedForward, FeedForwardConfig),
    "symbols": (Symbols, SymbolsConfig),
    "grid": (Grid, GridConfig),
    "colours": (Colours, ColoursConfig),
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
        CheckpointError: the folder is one of the public code, which must be imported.
    """
    shipped = _PRETRAINED / str(name_or_path)
    folder = shipped if (shipped / WEIGHTS).is_file() else Path(name_or_path)
    if not folder.is_dir():
        raise UnknownNameError("reasoner (neither shipped nor a folder)", name_or_path, shipped_reasoners())
    if not (folder / CONFIG).exists() and (folder / "all_config.yaml").is_file():
        raise CheckpointError(
            f"{folder} must be a reasoner of latent_rl; it is a run folder of the public TRM, HRM or DIS code. Convert"
            f" it: latent-rl import {folder} --out my-reasoner"
        )
    return folder


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How a reasoner decodes best, as found at the end of its training."""

    num_steps: Annotated[int, DEPTH]
    """Supervision steps that solve most of the validation split."""
    solved_rate: Annotated[float, SHARE] | None = None
    """How much of it they solve."""
    num_puzzles: Annotated[int, COUNT] | None = None
    """How many puzzles it has."""

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_fields(self)


def reasoner_facts(name_or_path: str | Path) -> dict[str, Any]:
    """What `config.json` says of a reasoner: architecture, shape, how it was trained, validation curve.

    Raises:
        CheckpointError: the file is missing, or not as it was written.
    """
    path = reasoner_folder(name_or_path) / CONFIG
    facts = read_json(path)
    _check_facts(path, facts)
    return facts


def chosen_steps(name_or_path: str | Path) -> int:
    """How many supervision steps were best on validation when it was trained; else how many it was trained for.

    Raises:
        CheckpointError: `config.json` is damaged, or says nothing sensible of it.
    """
    facts = reasoner_facts(name_or_path)
    try:
        if "decoding" in facts:
            return from_dict(Decoding, facts["decoding"]).num_steps
    except (TypeError, LatentRLError) as error:
        path = reasoner_folder(name_or_path) / CONFIG
        raise CheckpointError(f"{path} must say how to decode: {one_line(error)}") from error
    return load_reasoner(name_or_path).num_supervision_steps


def _checksums(facts: dict[str, Any]) -> dict[str, Any]:
    """The checksums of a folder's two files by their names, as `config.json` has them; none if it has not."""
    found = facts.get("checksums")
    return found if isinstance(found, dict) else {}


def _facts_checksum(facts: dict[str, Any]) -> str:
    """Of all that `config.json` says but for its checksums, however it is laid out."""
    said = {name: value for name, value in facts.items() if name != "checksums"}
    return checksum(json.dumps(said, sort_keys=True).encode())


def _check_facts(path: Path, facts: dict[str, Any]) -> None:
    if _checksums(facts).get(CONFIG) != _facts_checksum(facts):
        raise CheckpointError(_mismatch(path))


def _mismatch(path: Path) -> str:
    return (
        f"{path} must be as it was written; its checksum is not the one in {CONFIG}: it is damaged, changed by hand, of"
        " another run, or a save was cut. Copy the folder again, or let `latent-rl train --resume` write it again;"
        " after a change on purpose, call latent_rl.reasoners.checkpoint.seal."
    )


@overload
def make_reasoner(config: TRMConfig, compute_dtype: torch.dtype | None = None) -> TRM: ...
@overload
def make_reasoner(config: TRMConfig | HRMConfig, compute_dtype: torch.dtype | None = None) -> TRM | HRM: ...
@overload
def make_reasoner(config: Any, compute_dtype: torch.dtype | None = None) -> ReasonerModule: ...
def make_reasoner(config: Any, compute_dtype: torch.dtype | None = None) -> ReasonerModule:
    """The module that a config describes, with random weights."""
    modules: dict[type, Any] = {config_class: module for module, config_class in ARCHITECTURES.values()}
    module = modules[type(config)]
    return module(config) if compute_dtype is None else module(config, compute_dtype)


def architecture_of(reasoner: ReasonerModule) -> str:
    """The name of the reasoner's architecture.

    Raises:
        UnknownNameError: it is of none in `ARCHITECTURES`.
    """
    names = {module: name for name, (module, _) in ARCHITECTURES.items()}
    if type(reasoner) not in names:
        raise UnknownNameError("architecture", type(reasoner).__name__, ARCHITECTURES)
    return names[type(reasoner)]


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
    facts = read_json(folder / CONFIG)
    try:
        _, config_class = lookup("architecture", facts.get("architecture"), ARCHITECTURES)
        config = from_dict(config_class, facts.get("reasoner"))
        expected = weights_of(config)
    except (TypeError, LatentRLError) as error:
        raise CheckpointError(f"{folder / CONFIG} must describe a reasoner: {one_line(error)}") from error
    _check_facts(folder / CONFIG, facts)
    weights = _read_weights(folder / WEIGHTS, expected, _checksums(facts).get(WEIGHTS))
    reasoner = make_reasoner(config, compute_dtype)
    reasoner.load_state_dict(weights)
    return reasoner.requires_grad_(False).eval()


def weights_of(config: Any) -> dict[str, Tensor]:
    """Names, shapes and dtypes of the weights that a config asks for, in tensors that take no memory.

    Raises:
        LatentRLError: there is no such network.
    """
    try:
        with torch.device("meta"):
            return make_reasoner(config).state_dict()
    except (RuntimeError, TypeError):  # a network of the user's that looks at numbers as it is made
        return make_reasoner(config).state_dict()


def _read_weights(path: Path, expected: dict[str, Tensor], sha256: str | None) -> dict[str, Tensor]:
    """The weights in a file, which must be the expected ones.

    Raises:
        CheckpointError: they are not, or the file's checksum is another.
    """
    beside = f"{path} must hold the weights that {CONFIG} beside it describes"
    room = sum(tensor.nbytes for tensor in expected.values())
    try:
        if (size := path.stat().st_size) > 2 * room + 2**20:  # 1 MiB, and as much again, are more than a header takes
            raise CheckpointError(f"{beside}: {room:,} bytes; got {size:,}.")
        if not path.is_file():
            raise ValueError("it is no file")
        content = path.read_bytes()
        if checksum(content) != sha256:
            raise CheckpointError(_mismatch(path))
        weights = load_tensors(content)
    except CheckpointError:
        raise
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{beside}: {one_line(error)}.") from error
    if differing := sorted(expected.keys() ^ weights.keys()):
        name = differing[0]
        raise CheckpointError(f"{beside}: {name} is {'missing' if name in expected else 'none of them'}.")
    for name, tensor in sorted(weights.items()):
        wanted, got = (f"{one.dtype} {list(one.shape)}" for one in (expected[name], tensor))
        if wanted != got:
            raise CheckpointError(f"{beside}: {name} must be {wanted}; got {got}.")
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{beside}: {name} must be finite; it holds a NaN or an infinity.")
    return weights


@functools.cache
def shared_reasoner(name_or_path: str | Path) -> ReasonerModule:
    """The reasoner that `load_reasoner` loads, once in a process: for many environments that take one each."""
    return load_reasoner(name_or_path)


def save_reasoner(reasoner: ReasonerModule, path: str | Path, facts: dict[str, Any] | None = None) -> None:
    """Write a reasoner into a folder, each file atomically: the weights, then `config.json` with the checksums.

    If the process is killed between the two, loading says so.

    Args:
        reasoner: the module; its weights are written as float32.
        path: the folder, made if need be.
        facts: kept in `config.json` beside the architecture (how it was trained, versions, seed).

    Raises:
        UnknownNameError: the reasoner is of no architecture in `ARCHITECTURES`.
    """
    folder, architecture = Path(path), architecture_of(reasoner)
    state = {name: tensor.contiguous() for name, tensor in reasoner.state_dict().items()}
    weights = save_tensors(state)
    write_atomically(folder / WEIGHTS, weights)
    config = {"architecture": architecture, "reasoner": dataclasses.asdict(reasoner.config), **(facts or {})}
    _write_config(folder, config, weights)


def seal(path: str | Path) -> None:
    """Take a folder's files as they are: write their checksums, say after a change of `config.json` by hand.

    Args:
        path: the folder.

    Raises:
        CheckpointError: `config.json` can't be read.
    """
    folder = Path(path)
    _write_config(folder, read_json(folder / CONFIG), (folder / WEIGHTS).read_bytes())


def _write_config(folder: Path, facts: dict[str, Any], weights: bytes) -> None:
    facts = json.loads(json.dumps(facts))  # as it will be read: tuples become lists
    checksums = {CONFIG: _facts_checksum(facts), WEIGHTS: checksum(weights)}
    write_json(folder / CONFIG, facts | {"checksums": checksums})
