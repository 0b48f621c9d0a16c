"""Fixed-step decoding: how good the answer is after every supervision step."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError
from latent_rl.fit import fitted
from latent_rl.improvement import guided_carry
from latent_rl.reasoners.base import Reasoner
from latent_rl.tasks.base import Task
from latent_rl.types import Carry, Puzzles, PuzzleSource, ReasonerOutput, matches


@dataclass(frozen=True)
class FixedStepResult:
    """Outcomes of fixed-step decoding.

    Attributes:
        solved: bool [S, P], the answer after step s passes the task's verifier.
        exact: bool [S, P], it equals the label, see `matches`.
        token_accuracy: float32 [S, P], share of cells that equal the label.
        passes_per_step: forward passes of one step.
    """

    solved: Tensor
    exact: Tensor
    token_accuracy: Tensor
    passes_per_step: int

    @property
    def solved_rate(self) -> Tensor:
        """Float32 [S]."""
        return self.solved.float().mean(1)

    @property
    def best_step(self) -> int:
        """The number of steps with the highest solved rate; the smallest of them if several."""
        return int(self.solved_rate.argmax()) + 1


@torch.no_grad()
def unroll(
    reasoner: Reasoner, puzzles: Puzzles, num_steps: int, guidance_scale: float = 1.0
) -> Iterator[tuple[Carry, Carry, ReasonerOutput]]:
    """Yield (carry before, carry after, output) of every step; w acts on the state, as in the environment."""
    carry = reasoner.initial_carry(len(puzzles))
    scale = torch.full((len(puzzles),), guidance_scale)
    for index in range(num_steps):
        after, output = reasoner.step(puzzles.inputs, carry, index, puzzle_ids=puzzles.puzzle_ids)
        if guidance_scale != 1:
            after = guided_carry(carry, after, scale)
        yield carry, after, output
        carry = after


@torch.no_grad()
def evaluate_fixed(
    reasoner: Reasoner, task: Task, puzzles: PuzzleSource, num_steps: int, batch_size: int = 256
) -> FixedStepResult:
    """Run `num_steps` supervision steps on every puzzle and judge the constrained answer after each."""
    reasoner = fitted(reasoner, task)
    if num_steps < 1:
        raise InvalidValueError(f"the number of steps must be at least 1; got {num_steps}.")
    rows: list[Tensor] = []
    passes = 0
    for start in range(0, len(puzzles), batch_size):
        batch = puzzles[start : start + batch_size]
        steps = []
        for _, _, output in unroll(reasoner, batch, num_steps):
            passes = output.passes
            answers = task.constrain(batch.inputs, output.conditional_logits).argmax(-1)
            right = matches(answers, batch.labels)
            solved = task.verify(batch.inputs, answers)
            steps.append(torch.stack([solved.float(), right.all(1).float(), right.float().mean(1)]))
        rows.append(torch.stack(steps))
    result = torch.cat(rows, dim=2)
    return FixedStepResult(result[:, 0].bool(), result[:, 1].bool(), result[:, 2], passes)
