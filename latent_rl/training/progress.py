"""How far a run is, over all its resumptions, and where that is on its schedule."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from latent_rl.training.config import TrainConfig
from latent_rl.training.optim import warmup_cosine


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
        rounds: one row for each search for answers; see `search_round` and `search_rates`.
    """

    batch: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    examples: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    extensions: list[dict[str, int]] = field(default_factory=list)
    rounds: list[dict[str, float]] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """The same as plain JSON values, for the run's `config.json`."""
        return asdict(self) | self.counts()

    def counts(self) -> dict[str, float]:
        """The numbers among them, times rounded."""
        return {
            "batch": self.batch,
            "seconds": round(self.seconds),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "examples": self.examples,
        }


class Clock:
    """The time that a run takes, over all its resumptions.

    Args:
        progress: how far it is as the clock starts.
    """

    def __init__(self, progress: Progress) -> None:
        self._started = time.monotonic() - progress.seconds
        self._cpu_started = time.process_time() - progress.cpu_seconds

    def after_batch(self, progress: Progress, num_examples: int) -> Progress:
        """How far the run is one batch later, in which so many puzzles had their last step."""
        return replace(
            progress,
            batch=progress.batch + 1,
            seconds=time.monotonic() - self._started,
            cpu_seconds=time.process_time() - self._cpu_started,
            examples=progress.examples + num_examples,
        )


def lr_factor(config: TrainConfig, num_steps: int) -> Callable[[int], float]:
    """The factor of the learning rates by the number of the optimizer step, of which a batch has `num_steps`."""
    return partial(warmup_cosine, total_steps=config.num_batches * num_steps, warmup_steps=config.warmup_steps)


def extension_line(progress: Progress, config: TrainConfig, num_steps: int) -> str | None:
    """What a run says that goes on from here with another number of batches than it was planned for."""
    if not progress.extensions or progress.extensions[-1]["batch"] != progress.batch:
        return None
    planned = progress.extensions[-1]["num_batches"]
    factor = lr_factor(config, num_steps)(progress.batch * num_steps)
    return (
        f"goes on from batch {progress.batch} to {config.num_batches} instead of {planned}, on the schedules of a run"
        f" of {config.num_batches} batches: its learning rate is {factor:.0%} of its peak here."
    )
