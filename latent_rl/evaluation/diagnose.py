"""Where compute is dead: what every supervision step adds, with and without guidance."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError
from latent_rl.evaluation.fixed_steps import unroll
from latent_rl.evaluation.intervals import bootstrap_interval, enough_steps
from latent_rl.fit import fitted
from latent_rl.improvement import advantage_margin, guided_logits, kl_divergence, relative_change
from latent_rl.reasoners.base import Reasoner
from latent_rl.tasks.base import Task
from latent_rl.types import Batched, Carry, Puzzles, PuzzleSource, ReasonerOutput, matches

SWEEP = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
"""Guidance scales that are tried."""


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """What a step does, as means over the puzzles.

    Attributes:
        step: its number, counted from 1.
        passes: forward passes until then.
        solved_rate: share of puzzles whose answer passes the verifier.
        exact_accuracy: share of those that equal the label.
        token_accuracy: share of cells that do.
        margin: nats per unit of w, over the cells that the puzzle leaves open.
        margin_answer_tokens: the same among tokens that can be an answer.
        improved_share: share of open cells with a positive margin.
        kl: nats, of the step's policy from the reference, over open cells.
        answer_drift: relative change of the answer's state.
        latent_drift: of the latent's.
    """

    step: int
    passes: int
    solved_rate: float
    exact_accuracy: float
    token_accuracy: float
    margin: float
    margin_answer_tokens: float
    improved_share: float
    kl: float
    answer_drift: float
    latent_drift: float


@dataclass(frozen=True, kw_only=True)
class GuidanceRow:
    """What a guidance scale does at the reasoner's own number of steps.

    Attributes:
        guidance_scale: w.
        readout_solved_rate: with w on the last readout alone.
        fed_back_solved_rate: with w on the state at every step.
    """

    guidance_scale: float
    readout_solved_rate: float
    fed_back_solved_rate: float


@dataclass(frozen=True)
class Diagnosis:
    """What S steps do on P puzzles.

    Attributes:
        steps: one row per step.
        solved: bool [S, P].
        sweep: one row per guidance scale.
        trained_steps: the number of steps that the reasoner was trained for.
        passes_per_step: T (n + 1).
    """

    steps: list[StepRow]
    solved: np.ndarray
    sweep: list[GuidanceRow]
    trained_steps: int
    passes_per_step: int

    @property
    def best_step(self) -> int:
        """The number of steps with the highest solved rate; the smallest of them."""
        return int(self.solved.mean(1).argmax()) + 1

    @property
    def enough_steps(self) -> int:
        """The smallest number of steps that is as good as the best within noise; see `intervals.enough_steps`."""
        return enough_steps(self.solved)

    @property
    def is_harmful_beyond(self) -> bool:
        """Whether the last step solves fewer than the best one, beyond noise."""
        lost = self.solved[self.best_step - 1].astype(float) - self.solved[-1]
        return bootstrap_interval(lost)[0] > 0

    def summary(self) -> dict[str, Any]:
        """The numbers that matter, as plain JSON values."""
        num_steps, count = self.solved.shape
        ever = self.solved.any(0)
        first = np.where(ever, self.solved.argmax(0) + 1, num_steps)
        return {
            "num_puzzles": count,
            "num_steps": num_steps,
            "trained_steps": self.trained_steps,
            "best_step": self.best_step,
            "best_solved_rate": float(self.solved[self.best_step - 1].mean()),
            "last_solved_rate": float(self.solved[-1].mean()),
            "enough_steps": self.enough_steps,
            "dead_share": 1 - self.enough_steps / num_steps,
            "dead_share_per_puzzle": float(np.where(ever, 1 - first / num_steps, 0.0).mean()),
            "oracle_solved_rate": float(ever.mean()),
            "oracle_passes": float(first.mean() * self.passes_per_step),
        }

    def facts(self) -> dict[str, Any]:
        """The summary and all rows, as plain JSON values."""
        rows = {"steps": [asdict(row) for row in self.steps], "sweep": [asdict(row) for row in self.sweep]}
        return self.summary() | rows

    def advice(self) -> str:
        """One sentence of plain advice."""
        last, enough, best = len(self.solved), self.enough_steps, self.best_step
        if self.is_harmful_beyond:
            return (
                f"steps {best + 1}-{last} harm on this task: run {enough}, or train with extended depth so that later"
                " steps keep the answer."
            )
        if enough < last:
            return f"steps {enough + 1}-{last} are dead compute on this task: run {enough}, or let an agent halt."
        return f"the solved rate still rises at step {last}: look further with --steps {2 * last}."


def diagnose(reasoner: Reasoner, task: Task, puzzles: PuzzleSource, num_steps: int, batch_size: int = 256) -> Diagnosis:
    """Run `num_steps` supervision steps on every puzzle and look at each.

    Raises:
        InvalidValueError: the reasoner does not fit the task, or the number of steps is below 1.
    """
    reasoner = fitted(reasoner, task)
    measures, passes = measure_steps(reasoner, task, puzzles, num_steps, batch_size)
    steps = [StepRow(step=s, passes=s * passes, **each.means()) for s, each in enumerate(measures, 1)]
    sweep = [guidance_row(reasoner, task, puzzles, w, batch_size) for w in SWEEP]
    solved = torch.stack([each.solved_rate for each in measures]).bool().numpy()
    return Diagnosis(steps, solved, sweep, reasoner.num_supervision_steps, passes)


@dataclass(frozen=True, kw_only=True)
class Measures(Batched):
    """What `StepRow` has of each puzzle: float32 [B]."""

    solved_rate: Tensor
    exact_accuracy: Tensor
    token_accuracy: Tensor
    margin: Tensor
    margin_answer_tokens: Tensor
    improved_share: Tensor
    kl: Tensor
    answer_drift: Tensor
    latent_drift: Tensor

    def means(self) -> dict[str, float]:
        """Over the puzzles."""
        return {name: values.mean().item() for name, values in vars(self).items()}


@torch.no_grad()
def measure_steps(
    reasoner: Reasoner, task: Task, puzzles: PuzzleSource, num_steps: int, batch_size: int = 256
) -> tuple[list[Measures], int]:
    """Run `num_steps` supervision steps on every puzzle and measure each, as `evaluate_fixed` runs them.

    Returns:
        What every step does to every puzzle, and the forward passes of one step.

    Raises:
        InvalidValueError: the reasoner does not fit the task, or the number of steps is below 1.
    """
    reasoner = fitted(reasoner, task)
    if num_steps < 1:
        raise InvalidValueError(f"the number of steps must be at least 1; got {num_steps}.")
    batches: list[list[Measures]] = []
    passes = 0
    for start in range(0, len(puzzles), batch_size):
        batch = puzzles[start : start + batch_size]
        keys = torch.arange(start, start + len(batch))  # so that the result does not depend on `batch_size`
        measures = []
        for before, after, output in unroll(reasoner, batch, num_steps, keys=keys):
            measures.append(_measure(task, batch, before, after, output))
            passes = output.passes
        batches.append(measures)
    return [first.concat(*others) for first, *others in zip(*batches, strict=True)], passes


def _measure(task: Task, puzzles: Puzzles, before: Carry, after: Carry, output: ReasonerOutput) -> Measures:
    inputs, labels = puzzles.inputs, puzzles.labels
    reference, conditional = output.reference_logits, output.conditional_logits
    allowed_reference, allowed = task.constrain(inputs, reference), task.constrain(inputs, conditional)
    answers = allowed.argmax(-1)
    right, is_open = matches(answers, labels), (~task.is_given(inputs) & (labels != 0)).float()

    def over_open(values: Tensor) -> Tensor:
        return (values * is_open).sum(1) / is_open.sum(1).clamp(min=1)

    margin = advantage_margin(reference, conditional, labels)
    return Measures(
        solved_rate=task.verify(inputs, answers).float(),
        exact_accuracy=right.all(1).float(),
        token_accuracy=right.float().mean(1),
        margin=over_open(margin),
        margin_answer_tokens=over_open(advantage_margin(allowed_reference, allowed, labels)),
        improved_share=over_open((margin > 0).float()),
        kl=over_open(kl_divergence(conditional, reference)),
        answer_drift=relative_change(before.answer, after.answer),
        latent_drift=relative_change(before.latent, after.latent),
    )


def guidance_row(
    reasoner: Reasoner, task: Task, puzzles: PuzzleSource, guidance_scale: float, batch_size: int
) -> GuidanceRow:
    """Solved rate at the reasoner's own number of steps with w on the last readout, and with w fed back."""

    def solved_rate(fed_back: float) -> float:
        solved = []
        for start in range(0, len(puzzles), batch_size):
            batch = puzzles[start : start + batch_size]
            keys = torch.arange(start, start + len(batch))
            for _, _, output in unroll(reasoner, batch, reasoner.num_supervision_steps, fed_back, keys):
                last = output
            logits = guided_logits(last.reference_logits, last.conditional_logits, guidance_scale)
            solved.append(task.verify(batch.inputs, task.constrain(batch.inputs, logits).argmax(-1)))
        return torch.cat(solved).float().mean().item()

    return GuidanceRow(
        guidance_scale=guidance_scale,
        readout_solved_rate=solved_rate(1.0),
        fed_back_solved_rate=solved_rate(guidance_scale),
    )
