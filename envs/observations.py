"""Observations: what an agent sees, as a table of named entries. No entry may depend on the label.

To add an entry, write its function, which says in its first line what it shows, and put it into `FEATURES`, or into a
selection of `OBSERVATIONS`. An own one needs no entry here: `observation=("features", Feature("mine", of_state=mine))`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import torch
from torch import Tensor

from latent_rl.envs.state import Measured, State
from latent_rl.errors import InvalidValueError, UnknownNameError, lookup
from latent_rl.improvement import kl_divergence, probabilities, relative_change
from latent_rl.tasks.base import Task
from latent_rl.types import Carry, ReasonerOutput

SURE = 0.99
OBSERVATION_BOUND = 10.0
"""Observations are clipped here; the features stay far below it."""


@dataclass(frozen=True)
class StepView:
    """What one supervision step shows of itself, label-free; every row is one episode.

    Attributes:
        given: bool [B, L], the cells that are given or committed.
        log_probs: float32 [B, L, V], of the constrained answer.
        output: of the step, in the same view.
        before: the carry before the step.
        after: the carry after it.
    """

    given: Tensor
    log_probs: Tensor
    output: ReasonerOutput
    before: Carry
    after: Carry

    @cached_property
    def confidence(self) -> Tensor:
        """Top probability of every cell, 1 where given: float32 [B, L]."""
        return self.log_probs.amax(-1).exp().masked_fill(self.given, 1.0)

    @cached_property
    def least(self) -> Tensor:
        """The least of a row: float32 [B]."""
        return self.confidence.amin(1)

    @cached_property
    def blank(self) -> Tensor:
        """The cells that are not given: bool [B, L]."""
        return ~self.given

    @cached_property
    def num_blank(self) -> Tensor:
        """How many, at least 1: int64 [B]."""
        return self.blank.sum(1).clamp(min=1)

    @cached_property
    def entropy(self) -> Tensor:
        """Of every cell's distribution, in units of log V, 0 where given: float32 [B, L]."""
        nats = -(probabilities(self.log_probs) * self.log_probs).sum(-1)
        return (nats / math.log(self.log_probs.shape[-1])).masked_fill(self.given, 0.0)


@dataclass(frozen=True)
class Feature:
    """One entry of an observation: one number for each episode, or several.

    Attributes:
        name: how it is asked for.
        of_state: shows a state to who looks at it: float32 [B] or [B, k], in memory of the CPU.
        of_step: measures a step when it is taken, from what is gone afterwards: float32 [B]. One of the two is given.
        needs_rules: it asks the rules of the task.
        needs_carry: it looks at `carry` or `certainty`, which the states of recorded steps do not hold.
    """

    name: str
    of_state: Callable[[Task, State], Tensor] | None = None
    of_step: Callable[[StepView], Tensor] | None = None
    needs_rules: bool = False
    needs_carry: bool = False

    def __post_init__(self) -> None:
        """Check that there is one function."""
        if (self.of_state is None) == (self.of_step is None):
            raise InvalidValueError(f"the observation '{self.name}' must have either of_state or of_step, one of them.")

    @property
    def about(self) -> str:
        """What it shows: the first line of its function."""
        return ((self.of_state or self.of_step).__doc__ or "").split("\n")[0]

    def of(self, task: Task, state: State) -> Tensor:
        """What it shows of a state, float32 [B, k].

        Raises:
            InvalidValueError: its function gives something else.
        """
        if self.of_state is None:
            return state.measured.of(self.name)
        values, count = self.of_state(task, state), state.keys.shape[0]
        if values.ndim not in (1, 2) or values.shape[0] != count:
            raise InvalidValueError(
                f"the observation '{self.name}' must give one or more numbers for each of {count} episodes; got shape"
                f" {list(values.shape)}."
            )
        return (values if values.ndim == 2 else values[:, None]).float()


def observe(features: Sequence[Feature], task: Task, state: State) -> Tensor:
    """What the entries show of a state, side by side: float32 [B, F] within +-`OBSERVATION_BOUND`."""
    columns = []
    for is_measured, entries in groupby(features, lambda feature: feature.of_state is None):
        if is_measured:  # at once, which is faster
            columns.append(state.measured.of(*(feature.name for feature in entries)))
        else:
            columns += [feature.of(task, state) for feature in entries]
    return torch.cat(columns, dim=1).clamp_(-OBSERVATION_BOUND, OBSERVATION_BOUND)


def measure(features: Sequence[Feature], view: StepView) -> Measured:
    """What entries with `of_step` measure of a step.

    Raises:
        InvalidValueError: one gives something else than a number for each row.
    """
    names, count = tuple(feature.name for feature in features), len(view.given)
    columns = [feature.of_step(view) for feature in features if feature.of_step is not None]
    for name, column in zip(names, columns, strict=True):
        if column.shape != (count,):
            raise InvalidValueError(
                f"the observation '{name}' must measure one number for each of {count} episodes; got shape"
                f" {list(column.shape)}."
            )
    return Measured(names, torch.stack(columns, dim=1))


def step(task: Task, state: State) -> Tensor:
    """Supervision steps done / horizon."""
    return state.step / state.horizon


def age(task: Task, state: State) -> Tensor:
    """Steps since the carry was fresh / 32, at most 4."""
    return (state.age / 32).clamp(max=4)


def restarts(task: Task, state: State) -> Tensor:
    """Restarts so far / 8, at most 4."""
    return (state.restarts / 8).clamp(max=4)


def changed_share(task: Task, state: State) -> Tensor:
    """Share of cells whose answer changed in the last step."""
    return state.changed


def best_confidence(task: Task, state: State) -> Tensor:
    """Least confidence of the best snapshot so far."""
    return state.confidence


def agreement(task: Task, state: State) -> Tensor:
    """Share of cells on which the last answer and the best snapshot agree; 0 before any step."""
    return (state.prediction == state.submission).float().mean(1).masked_fill(state.step == 0, 0.0)


def given_share(task: Task, state: State) -> Tensor:
    """Share of cells that the puzzle gives."""
    return task.is_given(state.puzzles.inputs).float().mean(1)


def committed_share(task: Task, state: State) -> Tensor:
    """Share of cells committed since the last restart."""
    return task.is_given(state.inputs).float().mean(1) - given_share(task, state)


def mean_confidence(view: StepView) -> Tensor:
    """Mean top probability of the blank cells."""
    return (view.confidence * view.blank).sum(1) / view.num_blank


def least_confidence(view: StepView) -> Tensor:
    """The least top probability of any cell."""
    return view.least


def doubt(view: StepView) -> Tensor:
    """-log10(1 - least confidence) / 4: tells .9 from .99 from .999."""
    return -(1 - view.least).clamp(min=1e-6).log10() / 4


def low_confidence(view: StepView) -> Tensor:
    """10%-quantile of the blank cells' top probabilities."""
    lowest = view.confidence.topk(view.confidence.shape[1] // 10 + 1, largest=False).values
    return lowest.gather(1, (view.num_blank // 10)[:, None]).squeeze(1)


def mean_entropy(view: StepView) -> Tensor:
    """Mean entropy of the blank cells' distributions, in units of log V."""
    return view.entropy.sum(1) / view.num_blank


def max_entropy(view: StepView) -> Tensor:
    """The largest of these entropies."""
    return view.entropy.amax(1)


def sure_share(view: StepView) -> Tensor:
    """Share of blank cells with a top probability above .99."""
    return ((view.confidence > SURE) & view.blank).sum(1) / view.num_blank


def log_kl(view: StepView) -> Tensor:
    """log10 of the step's mean KL(pi_c || pi_u), from 1e-6 up, as (x + 3) / 3."""
    kl = kl_divergence(view.output.conditional_logits, view.output.reference_logits).mean(1)
    return (kl.clamp(min=1e-6).log10() + 3) / 3


def answer_drift(view: StepView) -> Tensor:
    """Relative norm of the step's change of the answer state."""
    return relative_change(view.before.answer, view.after.answer)


def latent_drift(view: StepView) -> Tensor:
    """Relative norm of the step's change of the latent state."""
    return relative_change(view.before.latent, view.after.latent)


def halt_probability(view: StepView) -> Tensor:
    """The reasoner's halting head."""
    return view.output.halt_logit.sigmoid()


def pooled_states(task: Task, state: State) -> Tensor:
    """Mean- and max-pooled answer and latent vectors: 4D numbers."""
    answer, latent = state.carry.answer.float(), state.carry.latent.float()
    return torch.cat([answer.mean(1), answer.amax(1), latent.mean(1), latent.amax(1)], dim=1).to(state.step.device)


def satisfied(task: Task, state: State) -> Tensor:
    """The share of the task's constraints that the last answer satisfies, and whether all are."""
    share = task.satisfied_share(state.puzzles.inputs, state.prediction)
    return torch.stack([share, (share == 1).float()], dim=1)


def guesses(task: Task, state: State) -> Tensor:
    """Guesses so far / 8, at most 4."""
    return (state.guesses.count / 8).clamp(max=4)


def guess_probability(task: Task, state: State) -> Tensor:
    """Probability of the guess that stands in the readout it was drawn from; 0 where none does."""
    return state.guesses.probability


def entropy_lead(task: Task, state: State) -> Tensor:
    """Mean entropy of the last run on the puzzle itself at this age, minus this run's; 0 before any step."""
    entropies = state.guesses.entropies
    if not entropies.shape[1]:
        return torch.zeros(len(state))
    then = entropies.gather(1, (state.age - 1).clamp(min=0)[:, None])[:, 0]
    return (then - state.measured.of("mean_entropy")[:, 0]).masked_fill(state.age == 0, 0.0)


FEATURES: tuple[Feature, ...] = (
    Feature("step", of_state=step),
    Feature("age", of_state=age),
    Feature("restarts", of_state=restarts),
    Feature("changed_share", of_state=changed_share),
    Feature("best_confidence", of_state=best_confidence),
    Feature("agreement", of_state=agreement),
    Feature("given_share", of_state=given_share),
    Feature("committed_share", of_state=committed_share),
    Feature("mean_confidence", of_step=mean_confidence),
    Feature("least_confidence", of_step=least_confidence),
    Feature("doubt", of_step=doubt),
    Feature("low_confidence", of_step=low_confidence),
    Feature("mean_entropy", of_step=mean_entropy),
    Feature("max_entropy", of_step=max_entropy),
    Feature("sure_share", of_step=sure_share),
    Feature("log_kl", of_step=log_kl),
    Feature("answer_drift", of_step=answer_drift),
    Feature("latent_drift", of_step=latent_drift),
    Feature("halt_probability", of_step=halt_probability),
)
"""The table. Its order is that of the columns."""
SEARCH: tuple[Feature, ...] = (
    Feature("guesses", of_state=guesses),
    Feature("guess_probability", of_state=guess_probability),
    Feature("entropy_lead", of_state=entropy_lead),
)
"""What there is to see of guesses."""
OBSERVATIONS: dict[str, tuple[Feature, ...]] = {
    "features": FEATURES,
    "search": (*FEATURES, *SEARCH),
    "latent": (*FEATURES, Feature("pooled_states", of_state=pooled_states, needs_carry=True)),
    "verifier": (*FEATURES, Feature("satisfied", of_state=satisfied, needs_rules=True)),
}
"""Selections by name."""


def make_features(observation: str | Sequence[str | Feature]) -> tuple[Feature, ...]:
    """The entries of an observation, in the order of its columns.

    Args:
        observation: the name of a selection; or several, each an entry, its name, or the name of a selection.

    Raises:
        UnknownNameError: there is no such selection, or no such entry.
        InvalidValueError: there is no entry, or two share a name.
    """
    if isinstance(observation, str):
        return lookup("observation", observation, OBSERVATIONS)
    features = tuple(feature for entry in observation for feature in _entries(entry))
    names = [feature.name for feature in (*features, *(each for each in FEATURES if each not in features))]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if not features or doubled:
        raise InvalidValueError(
            f"an observation must have entries, each with a name of its own; got {', '.join(doubled) or 'none'}"
            f"{' twice' if doubled else ''}."
        )
    return features


def make_feature(entry: str | Feature) -> Feature:
    """The entry of that name, of any selection; a `Feature` is returned as it is.

    Raises:
        UnknownNameError: no entry has that name.
    """
    if isinstance(entry, Feature):
        return entry
    known = {feature.name: feature for selection in OBSERVATIONS.values() for feature in selection}
    if not isinstance(entry, str) or entry not in known:
        raise UnknownNameError("observation", entry, [*OBSERVATIONS, *known])
    return known[entry]


def _entries(entry: str | Feature) -> tuple[Feature, ...]:
    return OBSERVATIONS[entry] if isinstance(entry, str) and entry in OBSERVATIONS else (make_feature(entry),)


def measurements(features: Sequence[Feature]) -> tuple[Feature, ...]:
    """What is measured at every step: all of `FEATURES` that is, since baselines look at it whatever agents see; then
    what else there is among the given entries.
    """
    others = [feature for feature in features if feature not in FEATURES]
    return tuple(feature for feature in (*FEATURES, *others) if feature.of_step is not None)
