"""One trainer for every kind of step target: an optimizer step after each supervision step, EMA, resume."""

import dataclasses
import random
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from latent_rl.errors import InvalidValueError, LatentRLError, UnknownNameError
from latent_rl.evaluation import check_fits, evaluate_fixed
from latent_rl.improvement import advantage_margin
from latent_rl.losses import step_loss
from latent_rl.optim import OPTIMIZERS, warmup_cosine
from latent_rl.reasoners.checkpoint import save_reasoner
from latent_rl.reasoners.trm import TRM
from latent_rl.targets import STEP_WEIGHTS, TARGETS, linear_rates, monotonicity
from latent_rl.tasks.base import Task, first, sample
from latent_rl.tasks.registry import make_task
from latent_rl.training_state import TrainingState, load_training_state, save_training_state
from latent_rl.trajectories import RecordedPuzzles, read_trajectories
from latent_rl.types import Puzzles


class DivergedError(LatentRLError, ArithmeticError):
    """The loss is not finite."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a reasoner is trained. Defaults are what measured best on 9x9 Sudoku."""

    task: str = "sudoku9x9-hard"
    """Name of the task."""
    num_batches: int = 1000
    """Batches; every batch takes N_sup optimizer steps."""
    batch_size: int = 64
    """Puzzles in a batch."""
    targets: str = "final"
    """Step targets: "final" (the answer at every step), or a path to it: "dis" (cells appear in random order),
    "edits" (in a solver's order), "mask" or "replace" (random cells are hidden or wrong), "trajectories" (recorded)."""
    corruption: float | None = None
    """beta_1, the share of the answer that a path's first target lacks; falls linearly to 0. Default: 1 - 1/N_sup."""
    trajectories: str | None = None
    """JSONL file of recorded paths, whose puzzles are trained on; with targets "trajectories"."""
    step_weights: str = "linear"
    """Weights of the steps' losses: "linear" (rising) or "uniform"."""
    dual_weight: float = 0.0
    """Weight of the anchor of the reference logits to the target of the step before."""
    halt_weight: float = 0.5
    """Weight of the halting head's loss; 0 leaves it untrained."""
    optimizer: str = "muon"
    """"muon" (Muon on the blocks' matrices, AdamW on the rest) or "adamw"."""
    lr: float = 2e-3
    """Peak learning rate of AdamW."""
    muon_lr: float = 2.5e-3
    """Peak learning rate of Muon."""
    weight_decay: float = 0.1
    """Decoupled weight decay."""
    warmup_steps: int = 200
    """Optimizer steps of linear warm-up."""
    ema: float = 0.999
    """Decay of the average of weights that is evaluated and saved."""
    extended_depth: int = 64
    """Steps up to which the reasoner should stay good; batches beyond N_sup start with steps without gradient."""
    extended_fraction: float = 0.35
    """Share of batches with extended depth."""
    extended_from: float = 0.3
    """Share of the run after which they begin."""
    reveal_fraction: float = 0.15
    """Share of examples that show a random part of their answer as givens."""
    midway_fraction: float = 0.1
    """Share of batches in which such givens appear in the middle of the recursion (this teaches commits)."""
    seed: int = 0
    """Seeds the weights and, with the batch's number, every batch."""
    validate_every: int = 250
    """Batches between validations."""
    num_validation: int = 256
    """Validation puzzles."""
    validation_steps: int = 24
    """Supervision steps at validation."""
    save_every: int = 50
    """Batches between saves for --resume."""

    def __post_init__(self) -> None:
        """Check names and ranges."""
        for kind, name, known in (
            ("targets", self.targets, TARGETS),
            ("step_weights", self.step_weights, STEP_WEIGHTS),
            ("optimizer", self.optimizer, OPTIMIZERS),
        ):
            if name not in known:
                raise UnknownNameError(kind, name, known)
        for name in (
            "num_batches",
            "batch_size",
            "validate_every",
            "num_validation",
            "validation_steps",
            "save_every",
        ):
            if getattr(self, name) < 1:
                raise InvalidValueError(f"TrainConfig.{name} must be at least 1; got {getattr(self, name)}.")
        for name in ("extended_fraction", "extended_from", "reveal_fraction", "midway_fraction", "ema"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidValueError(f"TrainConfig.{name} must be in [0, 1]; got {getattr(self, name)}.")
        if self.corruption is not None and not 0 < self.corruption <= 1:
            raise InvalidValueError(f"TrainConfig.corruption must be in (0, 1]; got {self.corruption}.")
        if self.dual_weight < 0:
            raise InvalidValueError(f"TrainConfig.dual_weight must not be negative; got {self.dual_weight}.")
        if (self.targets == "trajectories") != (self.trajectories is not None):
            raise InvalidValueError(
                'TrainConfig.trajectories must name a file exactly if targets is "trajectories"; got'
                f" {self.trajectories} with targets {self.targets!r}."
            )


@dataclass(frozen=True)
class Plan:
    """One batch: its puzzles and what happens when.

    Attributes:
        puzzles: inputs and labels.
        targets: int64 [S, B, L].
        burn_in: steps without gradient before the S supervised ones.
        midway: the step before which more givens appear; -1 for never.
        revealed: bool [B, L], the cells that are given from then on.
    """

    puzzles: Puzzles
    targets: Tensor
    burn_in: int
    midway: int
    revealed: Tensor


def reveal(puzzles: Puzzles, share: Tensor, generator: torch.Generator) -> Tensor:
    """Choose cells whose answer is shown: bool [B, L], each row with its own probability `share` [B, 1]."""
    return torch.rand(puzzles.inputs.shape, generator=generator) < share


def training_puzzles(config: TrainConfig, task: Task, num_steps: int) -> Puzzles:
    """The base puzzles to train on: the task's own, or those of the file of trajectories.

    Raises:
        PuzzleError: the file can't be read; see `read_trajectories`.
    """
    if config.trajectories is None:
        return task.puzzles("train")
    return read_trajectories(Path(config.trajectories), task, num_steps)


def plan_batch(config: TrainConfig, task: Task, base: Puzzles, num_steps: int, batch: int) -> Plan:
    """Draw batch number `batch` from the base puzzles: a pure function of the config's seed and the number."""
    # Python's own generator spreads (seed, number) over 63 bits; torch's would correlate near seeds.
    seeds = random.Random(f"{config.seed}/{batch}")
    generator = torch.Generator().manual_seed(seeds.getrandbits(63))
    puzzles = sample(task, base, config.batch_size, generator)
    share = torch.rand(config.batch_size, 1, generator=generator) * 0.5
    share[torch.rand(config.batch_size, generator=generator) >= config.reveal_fraction] = 0
    shown = reveal(puzzles, share, generator)
    puzzles = replace(puzzles, inputs=torch.where(shown, puzzles.labels, puzzles.inputs))
    rates = linear_rates(num_steps, config.corruption)
    targets = TARGETS[config.targets](task, puzzles, rates, generator)
    burn_in = 0
    late = batch >= config.extended_from * config.num_batches
    if late and config.extended_depth > num_steps and seeds.random() < config.extended_fraction:
        # Squared: mostly a little beyond N_sup, sometimes up to the full depth.
        burn_in = 1 + int(seeds.random() ** 2 * (config.extended_depth - num_steps))
    midway = seeds.randrange(burn_in + num_steps) if seeds.random() < config.midway_fraction else -1
    revealed = reveal(puzzles, torch.full((config.batch_size, 1), 0.5 * seeds.random()), generator)
    return Plan(puzzles, targets, burn_in, midway, revealed)


def supervise(reasoner: TRM, plan: Plan) -> Iterator[tuple[int, Any]]:
    """Run a batch's steps and yield (s, output) for each supervised one, its carry detached from the last."""
    inputs, labels = plan.puzzles.inputs, plan.puzzles.labels
    carry = reasoner.initial_carry(len(plan.puzzles))
    for index in range(plan.burn_in + len(plan.targets)):
        if index == plan.midway:
            inputs = torch.where(plan.revealed, labels, inputs)
        with torch.set_grad_enabled(index >= plan.burn_in):
            carry, output = reasoner.step(inputs, carry, index)
        carry = carry.map(Tensor.detach)
        if index >= plan.burn_in:
            yield index - plan.burn_in, output


def train_batch(
    reasoner: TRM,
    average: AveragedModel,
    optimizers: list[Optimizer],
    config: TrainConfig,
    plan: Plan,
    first_step: int,
) -> dict[str, float]:
    """One optimizer step after each supervision step of the batch; returns metrics of the last step."""
    num_steps = len(plan.targets)
    weights = STEP_WEIGHTS[config.step_weights](num_steps)
    labels = plan.puzzles.labels
    losses, factor = [], 0.0
    for s, output in supervise(reasoner, plan):
        loss = step_loss(
            output,
            plan.targets[s],
            labels,
            weights[s],
            config.halt_weight,
            previous=plan.targets[s - 1] if s else None,
            dual_weight=config.dual_weight,
        )
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        factor = warmup_cosine(first_step + s, config.num_batches * num_steps, config.warmup_steps)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor
            optimizer.step()
        average.update_parameters(reasoner)
        losses.append(loss.item())
    if not all(map(torch.isfinite, torch.tensor(losses))):
        raise DivergedError(f"the loss must stay finite; got {losses}. Lower lr and muon_lr.")
    with torch.no_grad():
        logits = output.conditional_logits
        margin = advantage_margin(output.reference_logits, logits, labels).mean().item()
        exact = (logits.argmax(-1) == labels).all(1).float().mean().item()
    return {
        "train/loss": sum(losses) / num_steps,
        "train/exact_accuracy": exact,
        "train/advantage_margin": margin,
        "train/lr_factor": factor,
    }


def provenance(config: TrainConfig) -> dict[str, Any]:
    """What a run folder records besides the architecture: config, versions, git revision."""
    git = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return {
        "train": dataclasses.asdict(config),
        "versions": {name: version(name) for name in ("torch", "numpy")},
        "revision": git.stdout.strip() or None,
    }


def path_facts(base: Puzzles) -> dict[str, Any]:
    """How monotone the recorded paths of the puzzles are, for the run folder and the user; nothing without paths."""
    if not isinstance(base, RecordedPuzzles):
        return {}
    summary = monotonicity(base.path.transpose(0, 1), base.labels).summary()
    tqdm.write(
        f"{summary['num_paths']} recorded paths, {summary['monotone_share']:.1%} of them monotone; a path moves away"
        f" from the answer by {summary['mean_backward']:.2f} cells on average."
    )
    return {"paths": summary}


def make_optimizers(config: TrainConfig, reasoner: nn.Module) -> list[Optimizer]:
    """The config's optimizers; every group remembers its `peak_lr`, which the schedule scales."""
    optimizers = OPTIMIZERS[config.optimizer](reasoner, config.lr, config.muon_lr, config.weight_decay)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def decoding(reasoner: TRM, task: Task, num_steps: int) -> dict[str, Any]:
    """The number of steps, up to `num_steps`, that solves most of the whole validation split."""
    puzzles = task.puzzles("validation")
    result = evaluate_fixed(reasoner, task, puzzles, num_steps)
    best = result.best_step
    return {"num_steps": best, "solved_rate": result.solved_rate[best - 1].item(), "num_puzzles": len(puzzles)}


def train(config: TrainConfig, reasoner: TRM, out: Path, *, resume: bool = False) -> TRM:
    """Train `reasoner` and keep its moving average in the folder `out`.

    The folder gets `config.json`, `reasoner.safetensors` (the average), `training.safetensors` (to resume) and
    TensorBoard logs; at the end the best number of steps is chosen on the whole validation split. A run that was
    killed at any moment goes on with `resume` exactly as if it had not been.

    Args:
        config: how.
        reasoner: the module to train, in place.
        out: the run's folder.
        resume: go on from the last save; start afresh if there is none yet.

    Returns:
        The moving average, ready for inference.

    Raises:
        InvalidValueError: the reasoner does not fit the task, or `out` holds a run and `resume` is not set.
        CheckpointError: the saved state is damaged or belongs to another config.
        DivergedError: the loss is not finite.
    """
    task = make_task(config.task)
    check_fits(reasoner, task)
    validation = first(task, "validation", config.num_validation)
    average = AveragedModel(reasoner, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=False)
    optimizers = make_optimizers(config, reasoner)
    state = TrainingState(reasoner, average, optimizers, config=dataclasses.asdict(config))
    saved = out / "training.safetensors"
    if saved.exists() and not resume:
        raise InvalidValueError(f"{out} must not hold a run already; it does. Pass --resume, or another --out.")
    batch, seconds, curve = load_training_state(saved, state) if saved.exists() else (0, 0.0, [])
    averaged = cast(TRM, average.module)
    num_steps = reasoner.num_supervision_steps
    base = training_puzzles(config, task, num_steps)
    facts = provenance(config) | path_facts(base)
    writer = SummaryWriter(str(out / "tensorboard"), purge_step=batch + 1)
    started = time.monotonic() - seconds
    with tqdm(total=config.num_batches, initial=batch, unit="batch", desc=config.task, mininterval=1) as bar:
        while batch < config.num_batches:
            plan = plan_batch(config, task, base, num_steps, batch)
            metrics = train_batch(reasoner, average, optimizers, config, plan, batch * num_steps)
            batch += 1
            last = batch == config.num_batches
            if batch % config.validate_every == 0 or last:
                result = evaluate_fixed(averaged, task, validation, config.validation_steps)
                best = result.best_step
                metrics["eval/solved_rate"] = result.solved_rate[best - 1].item()
                metrics["eval/solved_rate_last_step"] = result.solved_rate[-1].item()
                metrics["eval/best_step"] = best
                curve.append({"batch": batch, "seconds": round(time.monotonic() - started), **metrics})
            for name, value in metrics.items():
                writer.add_scalar(name, value, batch)
            solved = curve[-1]["eval/solved_rate"] if curve else float("nan")
            bar.set_postfix_str(f"loss {metrics['train/loss']:.3f}, validation solved {solved:.3f}", refresh=False)
            bar.update()
            if batch % config.save_every == 0 or last:
                seconds = time.monotonic() - started
                progress = {"batch": batch, "seconds": round(seconds), "curve": curve}
                save_reasoner(averaged, out, facts | progress)
                save_training_state(saved, state, batch, seconds, curve)
    writer.close()
    chosen = decoding(averaged, task, config.validation_steps)
    save_reasoner(
        averaged, out, {**facts, "batch": batch, "seconds": round(seconds), "curve": curve, "decoding": chosen}
    )
    return averaged.requires_grad_(False).eval()
