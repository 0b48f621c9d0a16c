"""Everything a training needs to go on exactly: one safetensors file, written atomically, no pickle."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from latent_rl import parallel
from latent_rl.batches import Batching
from latent_rl.config import from_dict, write_atomically
from latent_rl.errors import CheckpointError
from latent_rl.train_config import TrainConfig


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


def save_training_state(
    path: Path, state: TrainingState, batch: int, seconds: float, curve: list[dict[str, float]]
) -> None:
    """Write the state after `batch` batches; an interrupted write leaves the file before intact.

    All workers must call it, as each holds a part of the state; the first one writes.
    """
    facts = {"config": asdict(state.config), "batch": batch, "seconds": seconds, "curve": curve}
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in state.tensors().items()}
    if parallel.rank() == 0:
        write_atomically(path, save_tensors(tensors, {"facts": json.dumps(facts)}))


def load_training_state(path: Path, state: TrainingState) -> tuple[int, float, list[dict[str, float]]]:
    """Put a saved state into the live objects.

    Returns:
        The number of batches done, the seconds they took, and the validation curve so far.

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
        return facts["batch"], facts["seconds"], facts["curve"]
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} must be a whole training state of this reasoner: {error}") from error
