"""Everything a training needs to go on exactly: one safetensors file with a checksum, written atomically, no pickle."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from latent_rl.config import from_dict
from latent_rl.errors import CheckpointError, InvalidValueError, one_line
from latent_rl.reasoners.base import ReasonerModule
from latent_rl.storage.atomic import checksum, write_atomically
from latent_rl.training import parallel
from latent_rl.training.batches import Batching
from latent_rl.training.config import TrainConfig

HARMLESS = ("num_batches", "save_every", "validate_every", "num_validation", "validation_steps")
"""Options that a run may go on with other values of: how long it is, and what does not touch the weights."""


@dataclass(frozen=True)
class Progress:
    """How far a run is, over all its resumptions; work that a kill lost is not counted.

    Attributes:
        batch: batches done.
        seconds: of wall time.
        cpu_seconds: of this process, all its threads together, validations included; not of the compiler it calls.
        examples: puzzles that have had their last step.
        curve: one row for each validation.
        extensions: one row for each time that the run went on with another number of batches: how many it was planned
            for, and how many were done then.
    """

    batch: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    examples: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    extensions: list[dict[str, int]] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """The same as plain JSON values, for the run's `config.json`."""
        return asdict(self) | {"seconds": round(self.seconds), "cpu_seconds": round(self.cpu_seconds, 3)}


@dataclass(frozen=True)
class TrainingState:
    """The live objects of a run, and the config they were made from."""

    reasoner: ReasonerModule
    average: AveragedModel
    optimizers: list[Optimizer]
    batching: Batching
    config: TrainConfig

    def _parts(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        yield "reasoner", self.reasoner.state_dict()
        yield "average", self.average.state_dict()
        yield "batching", self.batching.tensors()
        for number, optimizer in enumerate(self.optimizers):
            moments = optimizer.state_dict()["state"]
            yield (
                f"optimizer{number}",
                {f"{i}/{k}": v for i, slot in moments.items() for k, v in slot.items()},
            )

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor under one flat name."""
        return {f"{part}/{name}": value for part, values in self._parts() for name, value in values.items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put the tensors back; the inverse of `tensors`."""

        def part(prefix: str) -> dict[str, Tensor]:
            start = len(prefix) + 1
            return {name[start:]: value for name, value in tensors.items() if name.startswith(prefix + "/")}

        self.reasoner.load_state_dict(part("reasoner"))
        self.average.load_state_dict(part("average"))
        self.batching.load(part("batching"))
        for number, optimizer in enumerate(self.optimizers):
            moments: dict[int, dict[str, Tensor]] = {}
            for name, value in part(f"optimizer{number}").items():
                slot, key = name.split("/")
                moments.setdefault(int(slot), {})[key] = value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})


def save_training_state(path: Path, state: TrainingState, progress: Progress) -> None:
    """Write the state after some batches; an interrupted write leaves the file before intact.

    All workers must call it, as each holds a part of the state; the first one writes.
    """
    facts = {"config": asdict(state.config), **_shape(state.reasoner), **asdict(progress)}
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in state.tensors().items()}
    if parallel.rank() == 0:
        write_atomically(path, sealed(save_tensors(tensors, {"facts": json.dumps(facts), "checksum": _UNSEALED})))


_UNSEALED = "0" * 64
_CHECKSUM = re.compile(rb'"checksum":"([0-9a-f]{64})"')


def sealed(content: bytes) -> bytes:
    """A state's file with the checksum of all of it, but for the checksum itself, in the place that its header has.

    Raises:
        ValueError: there is no such place.
    """
    place = _CHECKSUM.search(content)
    if place is None:
        raise ValueError("it has no checksum")
    before, after = content[: place.start(1)], content[place.end(1) :]
    return before + checksum(before + _UNSEALED.encode() + after).encode() + after


def load_training_state(path: Path, state: TrainingState) -> Progress:
    """Put a saved state into the live objects and return how far it is.

    Raises:
        CheckpointError: the file is damaged, or its options are not those of this run.
        InvalidValueError: the run has done more batches than it is asked for now.
    """
    try:
        if not path.is_file():
            raise ValueError("it is no file")
        content = path.read_bytes()
        if sealed(content) != content:
            raise ValueError("its checksum is another, so it is damaged")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} must be a whole training state: {one_line(error)}. Copy it again, or train anew in another --out."
        ) from error
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    facts = json.loads(header["__metadata__"]["facts"])
    _check_options(path, facts, state)
    # Counts that are younger than the file count as their defaults.
    progress = Progress(**{name: facts[name] for name in asdict(Progress()) if name in facts})
    asked, planned = state.config.num_batches, facts["config"]["num_batches"]
    if asked < progress.batch:
        raise InvalidValueError(
            f"--num-batches must be at least {progress.batch}, the batches that {path} has done; got {asked}."
        )
    try:
        state.load(load_tensors(content))
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} must fit this reasoner and its optimizers: {one_line(error)}.") from error
    if asked == planned:
        return progress
    extension = {"batch": progress.batch, "num_batches": planned}
    return replace(progress, extensions=[*progress.extensions, extension])


def _shape(reasoner: ReasonerModule) -> dict[str, Any]:
    return {"architecture": type(reasoner).__name__.lower(), "reasoner": asdict(reasoner.config)}


def _check_options(path: Path, facts: dict[str, Any], state: TrainingState) -> None:
    """Refuse a state that was saved with other options than `HARMLESS` ones, and name them as they are typed."""
    # Fields that are younger than the file count as their defaults.
    pairs = [(asdict(from_dict(TrainConfig, facts["config"])), asdict(state.config))]
    ours = _shape(state.reasoner)
    pairs.append(({"architecture": facts["architecture"]}, {"architecture": ours["architecture"]}))
    if facts["architecture"] == ours["architecture"]:
        theirs = asdict(from_dict(type(state.reasoner.config), facts["reasoner"]))
        pairs.append((theirs, ours["reasoner"]))
    for then, now in pairs:
        differing = [name for name in now if then[name] != now[name] and name not in HARMLESS]
        if differing:
            options = ", ".join(f"--{n.replace('_', '-')} (was {then[n]}, is {now[n]})" for n in differing)
            raise CheckpointError(
                f"{path} must belong to a run with the same options; these differ: {options}."
                " Resume with the options of then, or choose another --out."
            )
