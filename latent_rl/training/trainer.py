"""One trainer for every reasoner, step target and batching: an optimizer step per supervised step, EMA, resume."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeVar, cast

from tqdm import tqdm

from latent_rl.errors import FileError, lookup
from latent_rl.fit import check_fits
from latent_rl.reasoners.base import ReasonerModule
from latent_rl.storage.event_log import EventLog
from latent_rl.storage.identifiers import write_identifiers
from latent_rl.storage.stops import deferred_stop
from latent_rl.tasks.base import Task, first
from latent_rl.tasks.registry import make_task
from latent_rl.training import parallel
from latent_rl.training.batches import ExampleSource, training_puzzles
from latent_rl.training.config import TrainConfig, suited
from latent_rl.training.folder import STATE, RunFolder, check_unused
from latent_rl.training.known import KnownAnswers
from latent_rl.training.memory import check_batch
from latent_rl.training.objectives import OBJECTIVES
from latent_rl.training.progress import Clock, Progress, extension_line, lr_factor
from latent_rl.training.provenance import path_facts, paths_line, provenance
from latent_rl.training.search import GuessSearch, Search, is_search_due, search_rates, search_round
from latent_rl.training.state import TrainingState, read_training_state
from latent_rl.training.updates import train_batch
from latent_rl.training.validation import decoding, validation_metrics

ModuleT = TypeVar("ModuleT", bound=ReasonerModule)


def train(
    config: TrainConfig, reasoner: ModuleT, out: Path, *, resume: bool = False, search: Search | None = None
) -> ModuleT:
    """Train `reasoner` and keep its moving average in the folder `out`.

    The folder gets `config.json`, `reasoner.safetensors` (the average), `training.safetensors` (to resume) and
    TensorBoard logs; at the end the best number of steps is chosen on the whole validation split. A run that was
    killed at any moment goes on with `resume` exactly as if it had not been. It may go on with another `num_batches`,
    too, after its end as well: the schedules then are those of a run of that length, from where it stands. Ctrl-C ends
    the batch, saves, and stops. Within `parallel.workers()`, the workers that torchrun started share every batch, and
    the first one validates and writes.

    Args:
        config: how; what has no meaning for the reasoner is turned off, see `suited`.
        reasoner: the module to train, in place; all its weights are, if all are frozen, as those of a reasoner that was
            loaded or comes out of another training.
        out: the run's folder.
        resume: go on from the last save; start afresh if there is none yet.
        search: with objective "verified", who looks for answers; by default a `GuessSearch` as the config says. A
            resumed run needs the same again.

    Returns:
        The moving average, ready for inference.

    Raises:
        InvalidValueError: the reasoner does not fit task or config, a batch does not fit into memory, `out` holds a
            run or a reasoner and `resume` is not set, or a search finds no answer to begin with.
        UnknownNameError: there is no such objective.
        CheckpointError: the saved state is damaged or belongs to another config.
        DivergedError: the loss is not finite.
        FileError: `out` can't be written, or another process trains there.
    """
    config = suited(config, reasoner)
    check_batch(config, reasoner)
    task = make_task(config.task)
    check_fits(reasoner, task)
    if not any(weight.requires_grad for weight in reasoner.parameters()):
        reasoner.requires_grad_(True).train()
    if out.exists() and not out.is_dir():
        raise FileError(f"{out} must be a folder, for a run; it is a file. Choose another --out.")
    with parallel.claimed_by_first(out):
        check_unused(out, resume=resume)
        return _train(config, reasoner, task, out, search)


def _train(config: TrainConfig, reasoner: ModuleT, task: Task, out: Path, search: Search | None) -> ModuleT:
    """Train in a folder that is claimed."""
    validation = first(task, "validation", config.num_validation)
    parallel.same_weights(reasoner)
    num_steps = reasoner.num_supervision_steps
    objective = lookup("objective", config.objective, OBJECTIVES)(config, task)
    base = training_puzzles(config, task, num_steps, objective)
    source = ExampleSource(config, task, base, objective)
    search = search or GuessSearch(config.search_steps, config.search_guesses)
    state, progress = begun(source, reasoner, out / STATE)
    averaged, factor, clock = cast(ModuleT, state.average.module), lr_factor(config, num_steps), Clock(progress)
    speaks = parallel.rank() == 0
    facts = provenance(config) | path_facts(base)
    names = task.identifiers if speaks and getattr(reasoner.config, "num_puzzle_ids", False) else None
    if names is not None:
        facts |= write_identifiers(out, names)
    for line in (paths_line(facts), extension_line(progress, config, num_steps)):
        if speaks and line is not None:
            tqdm.write(line)
    folder = RunFolder(out, facts, progress.batch)
    # Several workers would see a signal at different batches, and wait for each other.
    stops: AbstractContextManager[list[int]] = deferred_stop() if parallel.num_workers() == 1 else nullcontext([])
    with folder.telling():
        log = EventLog(out / "tensorboard", progress.batch + 1) if speaks else None
        bar = tqdm(
            total=config.num_batches, initial=progress.batch, unit="batch", desc=config.task, mininterval=1,
            disable=not speaks,
        )  # fmt: skip
        with bar, stops as signals:
            while progress.batch < config.num_batches and not signals:
                found: dict[str, float] = {}
                if objective.searches and isinstance(base, KnownAnswers) and is_search_due(config, base, progress):
                    found = search_round(search, config, task, base, averaged, progress.batch)
                    found |= search_rates(search, config, task, averaged, validation)
                    progress.rounds.append(progress.counts() | found)
                metrics = train_batch(state, state.batching.steps(progress.batch))
                progress = clock.after_batch(progress, int(metrics["train/examples"]))
                metrics |= {f"search/{name}": value for name, value in found.items()}
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


def begun(source: ExampleSource, reasoner: ReasonerModule, saved: Path) -> tuple[TrainingState, Progress]:
    """A run where the saved state left it; at its beginning if there is none."""
    if not saved.exists():
        return TrainingState.begin(source, reasoner), Progress()
    progress, tensors = read_training_state(saved, source.config, reasoner)
    state = TrainingState.begin(source, reasoner, first_step=progress.batch * reasoner.num_supervision_steps)
    state.load(tensors)
    return state, progress
