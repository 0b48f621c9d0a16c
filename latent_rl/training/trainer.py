"""One trainer for every reasoner, step target and batching: an optimizer step per supervised step, EMA, resume."""

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

from tqdm import tqdm

from latent_rl.errors import FileError
from latent_rl.evaluation.fixed_steps import evaluate_fixed
from latent_rl.fit import check_fits
from latent_rl.reasoners.base import Reasoner, ReasonerModule
from latent_rl.storage.event_log import EventLog
from latent_rl.storage.identifiers import write_identifiers
from latent_rl.storage.stops import deferred_stop
from latent_rl.tasks.base import Task, first
from latent_rl.tasks.registry import make_task
from latent_rl.training import parallel
from latent_rl.training.batches import ExampleSource, training_puzzles
from latent_rl.training.config import TrainConfig, suited
from latent_rl.training.folder import STATE, RunFolder, check_unused
from latent_rl.training.memory import check_batch
from latent_rl.training.objectives import LabelObjective
from latent_rl.training.provenance import provenance
from latent_rl.training.state import Progress, TrainingState, lr_factor, read_training_state
from latent_rl.training.targets import monotonicity
from latent_rl.training.trajectories import RecordedPuzzles
from latent_rl.training.updates import train_batch
from latent_rl.types import PuzzleSource

ModuleT = TypeVar("ModuleT", bound=ReasonerModule)


def begun(source: ExampleSource, reasoner: ReasonerModule, saved: Path) -> tuple[TrainingState, Progress]:
    """A run where the saved state left it; at its beginning if there is none."""
    if not saved.exists():
        return TrainingState.begin(source, reasoner), Progress()
    progress, tensors = read_training_state(saved, source.config, reasoner)
    state = TrainingState.begin(source, reasoner, first_step=progress.batch * reasoner.num_supervision_steps)
    state.load(tensors)
    return state, progress


def path_facts(base: PuzzleSource) -> dict[str, Any]:
    """How monotone the recorded paths of the puzzles are, for the run folder and the user; nothing without paths."""
    if not isinstance(base, RecordedPuzzles):
        return {}
    summary = monotonicity(base.path.transpose(0, 1), base.labels).summary()
    if parallel.rank() == 0:
        tqdm.write(
            f"{summary['num_paths']} recorded paths, {summary['monotone_share']:.1%} of them monotone; a path moves"
            f" away from the answer by {summary['mean_backward']:.2f} cells on average."
        )
    return {"paths": summary}


def decoding(reasoner: Reasoner, task: Task, num_steps: int) -> dict[str, Any]:
    """The number of steps, up to `num_steps`, that solves most of the whole validation split."""
    puzzles = task.puzzles("validation")
    result = evaluate_fixed(reasoner, task, puzzles, num_steps)
    best = result.best_step
    return {"num_steps": best, "solved_rate": result.solved_rate[best - 1].item(), "num_puzzles": len(puzzles)}


def train(config: TrainConfig, reasoner: ModuleT, out: Path, *, resume: bool = False) -> ModuleT:
    """Train `reasoner` and keep its moving average in the folder `out`.

    The folder gets `config.json`, `reasoner.safetensors` (the average), `training.safetensors` (to resume) and
    TensorBoard logs; at the end the best number of steps is chosen on the whole validation split. A run that was
    killed at any moment goes on with `resume` exactly as if it had not been. It may go on with another `num_batches`,
    too, after its end as well: the schedules then are those of a run of that length, from where it stands. Ctrl-C ends
    the batch, saves, and stops. Within `parallel.workers()`, the workers that torchrun started share every batch, and
    the first one validates and writes.

    Args:
        config: how; what has no meaning for the reasoner is turned off, see `suited`.
        reasoner: the module to train, in place.
        out: the run's folder.
        resume: go on from the last save; start afresh if there is none yet.

    Returns:
        The moving average, ready for inference.

    Raises:
        InvalidValueError: the reasoner does not fit task or config, a batch does not fit into memory, or `out` holds a
            run or a reasoner and `resume` is not set.
        CheckpointError: the saved state is damaged or belongs to another config.
        DivergedError: the loss is not finite.
        FileError: `out` can't be written, or another process trains there.
    """
    task = make_task(config.task)
    check_fits(reasoner, task)
    config = suited(config, reasoner)
    check_batch(config, reasoner)
    if out.exists() and not out.is_dir():
        raise FileError(f"{out} must be a folder, for a run; it is a file. Choose another --out.")
    with parallel.claimed_by_first(out):
        check_unused(out, resume=resume)
        return _train(config, reasoner, task, out)


def _train(config: TrainConfig, reasoner: ModuleT, task: Task, out: Path) -> ModuleT:
    """Train in a folder that is claimed."""
    validation = first(task, "validation", config.num_validation)
    parallel.same_weights(reasoner)
    num_steps = reasoner.num_supervision_steps
    base = training_puzzles(config, task, num_steps)
    source = ExampleSource(config, task, base, LabelObjective(config, task))
    state, progress = begun(source, reasoner, out / STATE)
    averaged, factor, clock = cast(ModuleT, state.average.module), lr_factor(config, num_steps), Clock(progress)
    speaks = parallel.rank() == 0
    facts = provenance(config) | path_facts(base)
    names = task.identifiers if speaks and getattr(reasoner.config, "num_puzzle_ids", False) else None
    if names is not None:
        facts |= write_identifiers(out, names)
    if speaks and (line := _extension(progress, config, num_steps)):
        tqdm.write(line)
    folder = RunFolder(out, facts, progress.batch)
    bar = tqdm(
        total=config.num_batches, initial=progress.batch, unit="batch", desc=config.task, mininterval=1,
        disable=not speaks,
    )  # fmt: skip
    # Several workers would see a signal at different batches, and wait for each other.
    stops: AbstractContextManager[list[int]] = deferred_stop() if parallel.num_workers() == 1 else nullcontext([])
    with folder.telling():
        log = EventLog(out / "tensorboard", progress.batch + 1) if speaks else None
        with bar, stops as signals:
            while progress.batch < config.num_batches and not signals:
                metrics = train_batch(state, state.batching.steps(progress.batch))
                progress = clock.after_batch(progress, int(metrics["train/examples"]))
                metrics["train/examples"] = progress.examples
                metrics["train/lr_factor"] = factor(progress.batch * num_steps - 1)
                is_last = progress.batch == config.num_batches
                if speaks and (progress.batch % config.validate_every == 0 or is_last):
                    metrics |= validation_metrics(averaged, task, validation, config.validation_steps)
                    progress.curve.append(progress.counts() | metrics)
                if log is not None:
                    log.scalars(metrics, progress.batch)
                solved = progress.curve[-1]["eval/solved_rate"] if progress.curve else float("nan")
                bar.set_postfix_str(f"loss {metrics['train/loss']:.3f}, validation solved {solved:.3f}", refresh=False)
                bar.update()
                if progress.batch % config.save_every == 0 or is_last or signals:
                    folder.save(state, averaged, progress)
        if speaks:
            folder.save_reasoner(averaged, progress, decoding=decoding(averaged, task, config.validation_steps))
    return averaged.requires_grad_(False).eval()


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


def validation_metrics(reasoner: Reasoner, task: Task, puzzles: PuzzleSource, num_steps: int) -> dict[str, float]:
    """How much of the puzzles is solved with the best number of steps, up to `num_steps`, and with all of them."""
    result = evaluate_fixed(reasoner, task, puzzles, num_steps)
    return {
        "eval/solved_rate": result.solved_rate[result.best_step - 1].item(),
        "eval/solved_rate_last_step": result.solved_rate[-1].item(),
        "eval/best_step": result.best_step,
    }


def _extension(progress: Progress, config: TrainConfig, num_steps: int) -> str | None:
    """What a run says that goes on from here with another number of batches than it was planned for."""
    if not progress.extensions or progress.extensions[-1]["batch"] != progress.batch:
        return None
    planned = progress.extensions[-1]["num_batches"]
    factor = lr_factor(config, num_steps)(progress.batch * num_steps)
    return (
        f"goes on from batch {progress.batch} to {config.num_batches} instead of {planned}, on the schedules of a run"
        f" of {config.num_batches} batches: its learning rate is {factor:.0%} of its peak here."
    )
