"""A run's folder: who may write there, what is saved when, and what a failure leaves."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from latent_rl.errors import FileError, InvalidValueError
from latent_rl.reasoners.base import ReasonerModule
from latent_rl.reasoners.checkpoint import WEIGHTS, save_reasoner
from latent_rl.training import parallel
from latent_rl.training.progress import Progress
from latent_rl.training.state import TrainingState, save_training_state
from latent_rl.training.updates import DivergedError

STATE = "training.safetensors"
"""What a run needs to go on."""


def check_unused(out: Path, *, resume: bool) -> None:
    """Refuse a folder that holds what a training must not write over.

    Raises:
        InvalidValueError: it holds a run, and `resume` is not set; or a reasoner without a run.
    """
    if (out / STATE).exists() and not resume:
        raise InvalidValueError(f"{out} must not hold a run already; it does. Pass --resume, or another --out.")
    if (out / WEIGHTS).exists() and not (out / STATE).exists():
        raise InvalidValueError(
            f"{out} must not hold a reasoner that no training here has made; it does, and no {STATE}."
            " Choose another --out; --init starts from its weights."
        )


class RunFolder:
    """Keeps a run.

    Args:
        out: the folder.
        facts: kept in `config.json`, beside how far the run is.
        kept: batches of the run that are there already.
    """

    def __init__(self, out: Path, facts: dict[str, Any], kept: int) -> None:
        self.out = out
        self.facts = facts
        self.kept = kept

    def save(self, state: TrainingState, averaged: ReasonerModule, progress: Progress) -> None:
        """Save the state and the reasoner. All workers must call it; the first one writes.

        Raises:
            DivergedError: a weight is not finite.
            FileError: the folder can't be written.
        """
        check_finite(averaged)
        # The state first: what a kill leaves between the two, a resumption mends.
        save_training_state(self.out / STATE, state, progress)
        self.save_reasoner(averaged, progress)
        self.kept = progress.batch

    def save_reasoner(self, averaged: ReasonerModule, progress: Progress, **more: Any) -> None:
        """Save the reasoner alone, with more facts about it; the first worker writes.

        Raises:
            FileError: the folder can't be written.
        """
        if parallel.rank() == 0:
            save_reasoner(averaged, self.out, self.facts | progress.facts() | more)

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Let an error of the training that runs in this block say what of the run is kept."""
        try:
            yield
        except DivergedError as error:
            left = (
                f"{self.out} keeps this one up to batch {self.kept}" if self.kept else "nothing of this one was saved"
            )
            raise DivergedError(f"{error} Train anew with lower --lr and --muon-lr; {left}.") from error
        except FileError as error:
            left = f"the run up to batch {self.kept}" if self.kept else "nothing of the run"
            raise FileError(f"{error} {self.out} keeps {left}; go on with --resume when that is mended.") from error


def check_finite(reasoner: nn.Module) -> None:
    """Refuse to save what could not be loaded.

    Raises:
        DivergedError: a weight is a NaN or an infinity.
    """
    if not all(bool(value.isfinite().all()) for value in reasoner.state_dict().values()):
        raise DivergedError("the weights must stay finite; some are not.")
