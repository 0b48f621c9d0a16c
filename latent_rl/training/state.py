"""A run's live objects, and what of them it needs to go on exactly: one sealed file."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from latent_rl.config import from_dict
from latent_rl.errors import CheckpointError, InvalidValueError, one_line
from latent_rl.reasoners.base import Reasoner, ReasonerModule
from latent_rl.reasoners.checkpoint import architecture_of
from latent_rl.storage.sealed import read_sealed, write_sealed
from latent_rl.training import parallel
from latent_rl.training.batches import Batching, ExampleSource
from latent_rl.training.config import TrainConfig
from latent_rl.training.episodes import EpisodeBatches
from latent_rl.training.known import KnownAnswers
from latent_rl.training.optim import OPTIMIZERS, puzzle_optimizers, scheduled
from latent_rl.training.progress import Progress, lr_factor
from latent_rl.training.replacement import Replacement

BATCHINGS: dict[str, Callable[[ExampleSource, Reasoner], Batching]] = {
    "episodes": EpisodeBatches,
    "replacement": Replacement,
}
"""Ways of filling batches, by the name that `TrainConfig.batching` gives them."""
MAX_BYTES = 2**40
"""Of a saved state that is read at the most: more than any machine could train."""
HARMLESS = ("num_batches", "save_every", "validate_every", "num_validation", "validation_steps")
"""Options that a run may go on with other values of: how long it is, and what does not touch the weights."""


@dataclass(frozen=True)
class TrainingState:
    """The live objects of a run.

    Attributes:
        config: how it trains.
        source: of its examples, and what they are to teach.
        reasoner: which is trained.
        average: the moving average of its weights.
        optimizers: all together move every weight.
        schedules: of their learning rates, one each.
        batching: who is in a batch.
    """

    config: TrainConfig
    source: ExampleSource
    reasoner: ReasonerModule
    average: AveragedModel
    optimizers: list[Optimizer]
    schedules: list[LRScheduler]
    batching: Batching

    @staticmethod
    def begin(source: ExampleSource, reasoner: ReasonerModule, first_step: int = 0) -> "TrainingState":
        """The objects of a run as it begins; or, before `load`, of one that goes on at that optimizer step."""
        config = source.config
        optimizers = make_optimizers(config, reasoner)
        return TrainingState(
            config=config,
            source=source,
            reasoner=reasoner,
            average=AveragedModel(reasoner, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=False),
            optimizers=optimizers,
            schedules=scheduled(optimizers, lr_factor(config, reasoner.num_supervision_steps), first_step),
            batching=BATCHINGS[config.batching](source, reasoner),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor under one flat name. All workers must ask, as each holds a part."""
        return {f"{part}/{name}": value for part, values in self._parts() for name, value in values.items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put the tensors back; the inverse of `tensors`.

        Raises:
            CheckpointError: they are not those of such objects.
        """

        def part(prefix: str) -> dict[str, Tensor]:
            start = len(prefix) + 1
            return {name[start:]: value for name, value in tensors.items() if name.startswith(prefix + "/")}

        try:
            self.reasoner.load_state_dict(part("reasoner"))
            self.average.load_state_dict(part("average"))
            self.batching.load(part("batching"))
            if isinstance(self.source.base, KnownAnswers):
                self.source.base.load(part("known"))
            for number, optimizer in enumerate(self.optimizers):
                moments: dict[int, dict[str, Tensor]] = {}
                for name, value in part(f"optimizer{number}").items():
                    slot, key = name.split("/")
                    moments.setdefault(int(slot), {})[key] = value
                optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"a saved training state must fit this reasoner and its optimizers: {one_line(error)}."
            ) from error

    def _parts(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        yield "reasoner", self.reasoner.state_dict()
        yield "average", self.average.state_dict()
        yield "batching", self.batching.tensors()
        if isinstance(self.source.base, KnownAnswers):
            yield "known", self.source.base.tensors()
        for number, optimizer in enumerate(self.optimizers):
            moments = optimizer.state_dict()["state"]
            yield f"optimizer{number}", {f"{i}/{k}": v for i, slot in moments.items() for k, v in slot.items()}


def make_optimizers(config: TrainConfig, reasoner: ReasonerModule) -> list[Optimizer]:
    """The config's optimizers, at their peak learning rates."""
    optimizers = OPTIMIZERS[config.optimizer](reasoner, config.lr, config.muon_lr, config.weight_decay)
    return optimizers + puzzle_optimizers(reasoner, config.puzzle_lr, config.puzzle_weight_decay)


def save_training_state(path: Path, state: TrainingState, progress: Progress) -> None:
    """Write the state after some batches; an interrupted write leaves the file before intact.

    All workers must call it, as each holds a part of the state; the first one writes.
    """
    facts = {"config": asdict(state.config), **_shape(state.reasoner), **asdict(progress)}
    tensors = state.tensors()
    if parallel.rank() == 0:
        write_sealed(path, tensors, facts)


def read_training_state(
    path: Path, config: TrainConfig, reasoner: ReasonerModule
) -> tuple[Progress, dict[str, Tensor]]:
    """How far a saved run is, and the tensors for `TrainingState.load`.

    Args:
        path: the file.
        config: of the run that goes on.
        reasoner: of that run.

    Raises:
        CheckpointError: the file is damaged, or its options are not those of this run.
        InvalidValueError: the run has done more batches than it is asked for now.
    """
    try:
        tensors, facts = read_sealed(path, "a whole training state", MAX_BYTES)
    except CheckpointError as error:
        raise CheckpointError(f"{error} Copy it again, or train anew in another --out.") from error
    _check_options(path, facts, config, reasoner)
    # Counts that are younger than the file count as their defaults.
    progress = Progress(**{name: facts[name] for name in asdict(Progress()) if name in facts})
    asked, planned = config.num_batches, facts["config"]["num_batches"]
    if asked < progress.batch:
        raise InvalidValueError(
            f"--num-batches must be at least {progress.batch}, the batches that {path} has done; got {asked}."
        )
    if asked != planned:
        extension = {"batch": progress.batch, "num_batches": planned}
        progress = replace(progress, extensions=[*progress.extensions, extension])
    return progress, tensors


def _shape(reasoner: ReasonerModule) -> dict[str, Any]:
    return {"architecture": architecture_of(reasoner), "reasoner": asdict(reasoner.config)}


def _check_options(path: Path, facts: dict[str, Any], config: TrainConfig, reasoner: ReasonerModule) -> None:
    """Refuse a state that was saved with other options than `HARMLESS` ones, and name them as they are typed."""
    # Fields that are younger than the file count as their defaults.
    pairs = [(asdict(from_dict(TrainConfig, facts["config"])), asdict(config))]
    ours = _shape(reasoner)
    pairs.append(({"architecture": facts["architecture"]}, {"architecture": ours["architecture"]}))
    if facts["architecture"] == ours["architecture"]:
        theirs = asdict(from_dict(type(reasoner.config), facts["reasoner"]))
        pairs.append((theirs, ours["reasoner"]))
    for then, now in pairs:
        differing = [name for name in now if then[name] != now[name] and name not in HARMLESS]
        if differing:
            options = ", ".join(f"--{n.replace('_', '-')} (was {then[n]}, is {now[n]})" for n in differing)
            raise CheckpointError(
                f"{path} must belong to a run with the same options; these differ: {options}."
                " Resume with the options of then, or choose another --out."
            )
