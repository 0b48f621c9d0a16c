"""Everything a training needs to go on exactly: one safetensors file, written atomically, no pickle."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from latent_rl import parallel
from latent_rl.batches import Batching
from latent_rl.config import from_dict
from latent_rl.errors import CheckpointError
from latent_rl.files import write_atomically
from latent_rl.train_config import TrainConfig


@dataclass(frozen=True)
class Progress:
    """How far a run is, over all its resumptions; work that a kill lost is not counted.

    Attributes:
        batch: batches done.
        seconds: of wall time.
        cpu_seconds: of this process, all its threads together, validations included; not of the compiler it calls.
        examples: puzzles that have had their last step.
        curve: one row for each validation.
    """

    batch: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    examples: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """The same as plain JSON values, for the run's `config.json`."""
        return asdict(self) | {"seconds": round(self.seconds), "cpu_seconds": round(self.cpu_seconds, 3)}


@dataclass(frozen=True)
class TrainingState:
    """The live objects of a run, and the config they were made from."""

    reasoner: nn.Module
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
    facts = {"config": asdict(state.config), **asdict(progress)}
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in state.tensors().items()}
    if parallel.rank() == 0:
        write_atomically(path, save_tensors(tensors, {"facts": json.dumps(facts)}))


def load_training_state(path: Path, state: TrainingState) -> Progress:
    """Put a saved state into the live objects and return how far it is.

    Raises:
        CheckpointError: the file is damaged, or its config is not the one of this run.
    """
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        # Fields that are younger than the file count as their defaults.
        theirs, ours = asdict(from_dict(TrainConfig, facts["config"])), asdict(state.config)
        differing = {name for name in ours if theirs[name] != ours[name]}
        if differing:
            raise CheckpointError(
                f"{path} must belong to a run with the same config; {', '.join(sorted(differing))} differ."
                " Resume with the same options, or choose another --out."
            )
        state.load(tensors)
        # So do counts.
        return Progress(**{name: facts[name] for name in asdict(Progress()) if name in facts})
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} must be a whole training state of this reasoner: {error}") from error
