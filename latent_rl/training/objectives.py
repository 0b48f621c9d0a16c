"""What a reasoner is trained for: the target of every step, and the loss of a step.

- `labels`: imitate the answer that the puzzle came with.
- `reward`: raise the environment's reward, which the verifier gives; no answer is needed.
- `verified`: imitate answers that a step policy found and the verifier accepted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError
from latent_rl.improvement import advantage_margin, log_softmax
from latent_rl.tasks.base import Task
from latent_rl.training.answers import Enumerates, Searches, has_several, nearest
from latent_rl.training.config import TrainConfig
from latent_rl.training.losses import step_loss
from latent_rl.training.reward import entropy, policy_objective
from latent_rl.training.targets import TARGETS, linear_rates
from latent_rl.types import Puzzles, ReasonerOutput, matches


@dataclass(frozen=True, kw_only=True)
class Supervised:
    """One supervised step, whose loss the trainer follows by one optimizer step.

    Attributes:
        puzzles: as the reasoner saw them in this step, with their answers y*.
        output: of the step.
        targets: int64 [B, L], the step's target y_s.
        weight: float32, the step's weight w_s: a scalar, or [B] if rows differ in age.
        keys: int64 [B], what an objective draws depends on this alone.
        finished: int64 [F], the number of steps that each puzzle has had that leaves the batch after this one.
        previous: int64 [B, L], the target of the step before; see `step_loss`.
        continue_target: float32 [B], the value of another step; None if it is not trained.
    """

    puzzles: Puzzles
    output: ReasonerOutput
    targets: Tensor
    weight: Tensor
    keys: Tensor
    finished: Tensor
    previous: Tensor | None = None
    continue_target: Tensor | None = None


class Objective(Protocol):
    """What a reasoner is trained for.

    Attributes:
        needs_answers: puzzles without a known answer are not trained on.
        searches: answers are searched for during the training, see `search_round`.
    """

    needs_answers: ClassVar[bool]
    searches: ClassVar[bool]

    def path(self, puzzles: Puzzles, num_steps: int, generator: torch.Generator) -> Tensor:
        """The step targets y_1..y_S of fresh puzzles: int64 [B, S, L]."""

    def is_right(self, puzzles: Puzzles, output: ReasonerOutput) -> Tensor:
        """Bool [B]: what the readout says is right."""

    def loss(self, step: Supervised) -> Tensor:
        """What the weights are to lower: a scalar."""

    def metrics(self, step: Supervised) -> dict[str, Tensor]:
        """What is worth a curve: scalars under names of TensorBoard."""


@dataclass(frozen=True)
class LabelObjective:
    """Learn the answers: targets lead to the label in the config's way, the loss is their cross-entropy. Where answers
    are "nearest", each step's target is a right answer that its readout makes most likely; see `nearest`.

    Attributes:
        config: how to train.
        task: whose puzzles they are.

    Raises:
        InvalidValueError: answers are "nearest", and the task has only one for a puzzle, or can't find them.
    """

    needs_answers: ClassVar[bool] = True
    searches: ClassVar[bool] = False
    config: TrainConfig
    task: Task

    def __post_init__(self) -> None:
        check_answers(self.config, self.task)

    def path(self, puzzles: Puzzles, num_steps: int, generator: torch.Generator) -> Tensor:
        """See `Objective.path`; the last target is the label."""
        rates = linear_rates(num_steps, self.config.corruption)
        return TARGETS[self.config.targets](self.task, puzzles, rates, generator).transpose(0, 1)

    def is_right(self, puzzles: Puzzles, output: ReasonerOutput) -> Tensor:
        """See `Objective.is_right`."""
        answers = answers_now(self.config, self.task, puzzles, output)
        return matches(output.conditional_logits.argmax(-1), answers).all(1)

    def loss(self, step: Supervised) -> Tensor:
        """In nats; see `step_loss`."""
        answers = answers_now(self.config, self.task, step.puzzles, step.output)
        targets = step.targets if answers is step.puzzles.labels else answers
        return imitation_loss(self.config, step, targets, answers, step.weight)

    def metrics(self, step: Supervised) -> dict[str, Tensor]:
        """The share of answers that equal their label, and the advantage margin."""
        labels, logits = step.puzzles.labels, step.output.conditional_logits
        return {
            "train/exact_accuracy": matches(logits.argmax(-1), labels).all(1).float().mean(),
            "train/advantage_margin": advantage_margin(step.output.reference_logits, logits, labels).mean(),
        }


@dataclass(frozen=True)
class JudgedObjective:
    """What the objectives have in common that ask the verifier: the known answer is the target of every step, so that
    the reasoner gets there in fewer of them, and right is what is accepted.

    Attributes:
        config: how to train.
        task: whose puzzles they are.

    Raises:
        InvalidValueError: the task has no rules, or answers are "nearest" and it does not find several.
    """

    config: TrainConfig
    task: Task

    def __post_init__(self) -> None:
        check_rules(self.config, self.task)
        check_answers(self.config, self.task)

    def path(self, puzzles: Puzzles, num_steps: int, generator: torch.Generator) -> Tensor:
        """See `Objective.path`: the answer at every step, 0 where it is not known."""
        return puzzles.labels[:, None].expand(-1, num_steps, -1)

    def is_right(self, puzzles: Puzzles, output: ReasonerOutput) -> Tensor:
        """See `Objective.is_right`; the verifier says so."""
        return is_accepted(self.task, puzzles.inputs, said(self.task, puzzles.inputs, output.conditional_logits))


@dataclass(frozen=True)
class RewardObjective(JudgedObjective):
    """Raise the environment's reward: every step's readout is a policy whose policy gradient is followed, see
    `policy_objective`, with `entropy_weight` times its entropy. Puzzles with a label learn that instead.
    """

    needs_answers: ClassVar[bool] = False
    searches: ClassVar[bool] = False

    def loss(self, step: Supervised) -> Tensor:
        """Minus the policy objective, or cross-entropy to the label in nats; and the halting head's loss."""
        puzzles, output, config = step.puzzles, step.output, self.config
        weight = step.weight.expand(len(puzzles))
        right = self.is_right(puzzles, output)
        imitation = imitation_loss(config, step, puzzles.labels, puzzles.labels, weight, right)
        log_probs = log_softmax(self.task.constrain(puzzles.inputs, output.conditional_logits))
        gain = policy_objective(
            self.task, puzzles.inputs, log_probs, step.keys, reward=config.reward, num_samples=config.num_samples
        )
        if config.entropy_weight:
            gain = gain + config.entropy_weight * entropy(log_probs)
        is_unknown = (puzzles.labels == 0).all(1)
        return imitation - (weight * is_unknown * gain).mean()

    def metrics(self, step: Supervised) -> dict[str, Tensor]:
        """The share of answers that the verifier accepts, and the step's reward Phi_s - Phi_(s-1), as the environment
        gives it for the potential "constraints"."""
        inputs, output = step.puzzles.inputs, step.output
        before, after = (
            self.task.satisfied_share(inputs.cpu(), said(self.task, inputs, logits).cpu()).mean()
            for logits in (output.reference_logits, output.conditional_logits)
        )
        return {"train/solved_rate": self.is_right(step.puzzles, output).float().mean(), "train/reward": after - before}


@dataclass(frozen=True)
class VerifiedObjective(JudgedObjective):
    """Learn answers that were found and accepted by the verifier: the projection of expert iteration. What the readout
    says counts as such an answer where the verifier accepts it. Elsewhere the one that was found is learned or, where
    answers are "nearest", one near to the readout: of many that are right, to imitate a fixed one teaches their mean.
    """

    needs_answers: ClassVar[bool] = True
    searches: ClassVar[bool] = True

    def loss(self, step: Supervised) -> Tensor:
        """In nats; see `step_loss`."""
        puzzles, output = step.puzzles, step.output
        answers = said(self.task, puzzles.inputs, output.conditional_logits)
        right = is_accepted(self.task, puzzles.inputs, answers)
        known = torch.where(right[:, None], answers, answers_now(self.config, self.task, puzzles, output))
        weight = step.weight.expand(len(puzzles))  # by row: a row without an answer has no loss
        return imitation_loss(self.config, step, known, known, weight, right)

    def metrics(self, step: Supervised) -> dict[str, Tensor]:
        """The share of answers that the verifier accepts."""
        return {"train/solved_rate": self.is_right(step.puzzles, step.output).float().mean()}


OBJECTIVES: dict[str, Callable[[TrainConfig, Task], Objective]] = {
    "labels": LabelObjective,
    "reward": RewardObjective,
    "verified": VerifiedObjective,
}
"""What a reasoner can be trained for, by the name that `TrainConfig.objective` gives it."""


def check_rules(config: TrainConfig, task: Task) -> None:
    """Refuse to do without labels where they are all that tells right from wrong.

    Raises:
        InvalidValueError: the task has no rules.
    """
    if not task.has_rules:
        raise InvalidValueError(
            f'TrainConfig.objective "{config.objective}" needs a task whose verifier knows the rules; {task.name} looks'
            ' labels up. Train it with objective "labels".'
        )


def check_answers(config: TrainConfig, task: Task) -> None:
    """Refuse to choose among answers that nobody finds.

    Raises:
        InvalidValueError: answers are "nearest", and the task has only one for a puzzle, or can't find them.
    """
    if config.answers == "nearest" and not has_several(task):
        raise InvalidValueError(
            'TrainConfig.answers "nearest" needs a task whose puzzles have several and that finds them, by a method'
            f" answers or likely_answers; {task.name} is none. Leave it out."
        )


def answers_now(config: TrainConfig, task: Task, puzzles: Puzzles, output: ReasonerOutput) -> Tensor:
    """The answers that a step is to learn, int64 [B, L]: the known ones, or those near its readout."""
    if config.answers == "nearest" and isinstance(task, Enumerates | Searches):
        return nearest(task, puzzles.inputs, puzzles.labels, output.conditional_logits)
    return puzzles.labels


@torch.no_grad()
def said(task: Task, inputs: Tensor, logits: Tensor) -> Tensor:
    """The answers, int64 [B, L], that a readout of these puzzles gives."""
    return task.constrain(inputs, logits).argmax(-1)


def is_accepted(task: Task, inputs: Tensor, answers: Tensor) -> Tensor:
    """Bool [B]: the verifier accepts; verifiers work on the CPU."""
    return task.verify(inputs.cpu(), answers.cpu()).to(inputs.device)


def imitation_loss(
    config: TrainConfig, step: Supervised, targets: Tensor, answers: Tensor, weight: Tensor, right: Tensor | None = None
) -> Tensor:
    """`step_loss` of a step as the config weighs its parts."""
    return step_loss(
        step.output,
        targets,
        answers,
        weight,
        config.halt_weight,
        right=right,
        previous=step.previous,
        dual_weight=config.dual_weight,
        continue_target=step.continue_target,
    )
