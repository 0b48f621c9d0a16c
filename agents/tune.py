"""Choose the baselines' constants on validation puzzles: refine once, try every threshold on what was seen."""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from latent_rl.agents.baselines import (
    CONFIDENCES,
    HALTING,
    Baseline,
    RandomPolicy,
    StepPolicy,
    aged,
    best_of_steps,
    committing_rule,
    fixed_steps,
    halting,
    restarting_oracle,
    two_threshold_rule,
    verifying_rule,
)
from latent_rl.agents.solver import Solver
from latent_rl.envs.core import Core
from latent_rl.envs.randomness import episode_keys
from latent_rl.errors import UnknownNameError
from latent_rl.types import Puzzles

AGES = {"restart_view": (4, 8, 12, 16, 24, 32), "commit_forced": (2, 3, 4, 6, 8)}
"""Ages at which a rule may begin anew, by the action that does it."""
LATEST_RESTART = 16
"""Age at which the untuned rule begins anew at the latest."""
BASELINES = (*HALTING, "rule", "verifier-rule", "commit-rule", "fixed", "fixed-K", "best-of", "best-of-K", "random")
"""What baselines there are, for any number K."""
_NUMBERED = re.compile(r"(fixed|best-of)(?:-([1-9]\d{0,8}))?")


@dataclass(frozen=True)
class Unhalted:
    """What P episodes would have submitted after each of S steps, had they never halted.

    Attributes:
        answered: bool [S, P], the step's own answer is right: plain decoding.
        scores: float32 [S, P] for each name in `HALTING`, of the state after the step.
        worth: float32 [S, P], return of halting there.
    """

    answered: np.ndarray
    scores: dict[str, np.ndarray]
    worth: np.ndarray


def unhalted(
    core: Core, puzzles: Puzzles, restart_age: int | None = None, seed: int = 0, restart_action: str = "restart_view"
) -> Unhalted:
    """Refine up to the horizon; with a restart age, puzzles surer than every threshold stay as they are."""
    count, num_steps = len(puzzles), core.horizon
    answered, worth = (np.zeros((num_steps, count), dtype=np.float32) for _ in range(2))
    scores = {name: np.zeros((num_steps, count), dtype=np.float32) for name in HALTING}
    state = core.begin(puzzles, episode_keys(torch.arange(count), seed))
    start, rows = state.potential, torch.arange(count)
    restart = None if restart_age is None else aged(restart_age)
    never = Baseline(
        "unhalted", core.mode, lambda s: torch.zeros(len(s), dtype=torch.bool), restart, restart_action=restart_action
    )
    for step in range(num_steps):
        if not len(rows):
            break
        decision = core.mode.decode(torch.as_tensor(never.act(core.observe(state).numpy(), state)))
        state = core.step(state, decision).state
        right = core.task.verify(state.puzzles.inputs, state.submission).float()
        gain = core.gamma * state.potential - start[rows] - core.cost_per_pass * state.passes
        answered[step:, rows.numpy()] = core.task.verify(state.puzzles.inputs, state.prediction).numpy()
        worth[step:, rows.numpy()] = (gain + core.solve_bonus * right).numpy()
        for name, rule in HALTING.items():
            scores[name][step:, rows.numpy()] = rule.score(core, state).numpy()
        if restart_age is not None:
            unsure = HALTING["threshold"].score(core, state) <= max(CONFIDENCES)
            rows, state = rows[unsure], state.select(unsure)
    return Unhalted(answered.astype(bool), scores, worth)


def halting_worth(seen: Unhalted, name: str, threshold: float) -> float:
    """Mean return of halting at the first step whose score of that name exceeds the threshold."""
    ready = seen.scores[name] > threshold
    first = np.where(ready.any(0), ready.argmax(0), len(ready) - 1)
    return float(seen.worth[first, np.arange(ready.shape[1])].mean())


@dataclass(frozen=True)
class Tuned:
    """The baselines' constants, each chosen on validation puzzles when it is asked for.

    Attributes:
        core: the dynamics.
        puzzles: with their labels.
    """

    core: Core
    puzzles: Puzzles

    @cached_property
    def num_steps(self) -> int:
        """The number of steps whose own answer is right most often; the smallest of them."""
        return int(self._plain.answered.mean(1).argmax()) + 1

    @cached_property
    def best_of(self) -> int:
        """The number of steps after which submitting the best snapshot has the highest mean return."""
        return int(self._plain.worth.mean(1).argmax()) + 1

    @cached_property
    def thresholds(self) -> dict[str, float]:
        """For each name in `HALTING` the threshold with the highest mean return."""
        return {
            name: max(rule.candidates, key=lambda c, name=name: halting_worth(self._plain, name, c))  # type: ignore[misc]
            for name, rule in HALTING.items()
        }

    @cached_property
    def rule(self) -> tuple[float, int]:
        """Confidence and restart age with the highest mean return together; an age at the horizon never restarts."""
        return self._best_pair("restart_view")

    @cached_property
    def commit_rule(self) -> tuple[float, int]:
        """The same for forced commits."""
        return self._best_pair("commit_forced")

    @cached_property
    def verifier_age(self) -> int:
        """Restart age with the highest mean return, if the verifier says when to halt; the horizon is never."""
        ages = [self.core.horizon, *_ages(self.core, "restart_view")]
        solvers = {age: Solver(self.core, verifying_rule(self.core, age)) for age in ages}
        worths = {age: float(solver.solve(self.puzzles).returns.mean()) for age, solver in solvers.items()}
        return max(ages, key=lambda age: worths[age])

    @cached_property
    def _plain(self) -> Unhalted:
        return unhalted(self.core, self.puzzles)

    def _best_pair(self, action: str) -> tuple[float, int]:
        """Confidence to halt at, and age to begin anew at by the action of that name, with the highest mean return."""
        worths = {(c, self.core.horizon): halting_worth(self._plain, "threshold", c) for c in CONFIDENCES}
        for age in _ages(self.core, action):
            restarted = unhalted(self.core, self.puzzles, age, restart_action=action)
            worths |= {(c, age): halting_worth(restarted, "threshold", c) for c in CONFIDENCES}
        return max(worths, key=lambda pair: worths[pair])


@dataclass(frozen=True)
class Untuned:
    """Constants without validation puzzles: middle thresholds; rules restart where further steps add little.

    Attributes:
        num_steps: the best fixed number of steps.
    """

    num_steps: int

    @property
    def best_of(self) -> int:
        """The same number."""
        return self.num_steps

    @property
    def thresholds(self) -> dict[str, float]:
        """For each name in `HALTING` the middle one."""
        return {name: rule.middle for name, rule in HALTING.items()}

    @property
    def rule(self) -> tuple[float, int]:
        """Confidence and restart age."""
        return self.thresholds["threshold"], self.verifier_age

    @property
    def commit_rule(self) -> tuple[float, int]:
        """Confidence and age of forced commits."""
        return self.thresholds["threshold"], AGES["commit_forced"][1]

    @property
    def verifier_age(self) -> int:
        """Restart age, if the verifier says when to halt."""
        return min(self.num_steps, LATEST_RESTART)


def is_baseline(name: str) -> bool:
    """Whether there is a baseline of that name."""
    return bool(_NUMBERED.fullmatch(name)) or (name in BASELINES and not name.endswith("-K"))


def make_baseline(core: Core, name: str, constants: Tuned | Untuned, seed: int = 0) -> StepPolicy:
    """The baseline of that name; "fixed-K" and "best-of-K" for any K, "fixed" and "best-of" for the best one.

    Args:
        core: the dynamics.
        name: one of `BASELINES`.
        constants: only those that the baseline needs are asked for.
        seed: of "random".

    Raises:
        UnknownNameError: there is none of that name.
        InvalidValueError: the environment lacks an action that it needs.
    """
    if not is_baseline(name):
        raise UnknownNameError("baseline", name, BASELINES)
    if number := _NUMBERED.fullmatch(name):
        if number[1] == "fixed":
            return fixed_steps(core.mode, int(number[2] or constants.num_steps))
        return best_of_steps(core.mode, int(number[2] or constants.best_of))
    if name == "random":
        return RandomPolicy(core.mode, seed)
    if name == "rule":
        return two_threshold_rule(core, *constants.rule)
    if name == "verifier-rule":
        return verifying_rule(core, constants.verifier_age)
    if name == "commit-rule":
        return committing_rule(core, *constants.commit_rule)
    if name == "oracle" and constants.rule[1] < core.horizon:
        return restarting_oracle(core, constants.rule[1])
    return halting(core, name, constants.thresholds[name])


def _ages(core: Core, action: str) -> list[int]:
    """Ages at which an action of that name may begin anew before the horizon; none if the table lacks it."""
    known = any(entry.name == action for entry in core.mode.actions)
    return [age for age in AGES[action] if known and age < core.horizon]
