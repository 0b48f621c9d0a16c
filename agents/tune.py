"""Choose the baselines' constants on validation puzzles: record once, try every threshold on the record."""

import re
from dataclasses import dataclass

import numpy as np
import torch

from latent_rl.agents.baselines import (
    CONFIDENCES,
    HALTING,
    Baseline,
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
from latent_rl.tasks.base import has_rules
from latent_rl.types import Puzzles

AGES = {"restart_view": (4, 8, 12, 16, 24, 32), "commit_forced": (2, 3, 4, 6, 8)}
"""Ages at which a rule may begin anew, by the action that does it."""
LATEST_RESTART = 16
"""Age at which the untuned rule begins anew at the latest."""


@dataclass(frozen=True)
class Record:
    """What P episodes would have submitted after each of S steps, had they never halted.

    Attributes:
        answered: bool [S, P], the step's own answer is right: plain decoding.
        scores: float32 [S, P] for each name in `HALTING`, of the state after the step.
        worth: float32 [S, P], return of halting there.
    """

    answered: np.ndarray
    scores: dict[str, np.ndarray]
    worth: np.ndarray


def record(
    core: Core, puzzles: Puzzles, restart_age: int | None = None, seed: int = 0, restart_action: str = "restart_view"
) -> Record:
    """Refine up to the horizon; with a restart age, puzzles surer than every threshold stay as they are."""
    count, num_steps = len(puzzles), core.horizon
    answered, worth = (np.zeros((num_steps, count), dtype=np.float32) for _ in range(2))
    scores = {name: np.zeros((num_steps, count), dtype=np.float32) for name in HALTING}
    state = core.begin(puzzles, episode_keys(torch.arange(count), seed))
    start, rows = state.potential, torch.arange(count)
    never = Baseline("record", core.mode, lambda s: torch.zeros(len(s), dtype=torch.bool),
                     None if restart_age is None else aged(restart_age), restart_action=restart_action)  # fmt: skip
    for step in range(num_steps):
        if not len(rows):
            break
        decision = core.mode.decode(torch.as_tensor(never.act(state.features.numpy(), state)))
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
    return Record(answered.astype(bool), scores, worth)


def halting_worth(trajectory: Record, name: str, threshold: float) -> float:
    """Mean return of halting at the first step whose score of that name exceeds the threshold."""
    ready = trajectory.scores[name] > threshold
    first = np.where(ready.any(0), ready.argmax(0), len(ready) - 1)
    return float(trajectory.worth[first, np.arange(ready.shape[1])].mean())


@dataclass(frozen=True)
class Tuned:
    """The baselines' constants, chosen on validation.

    Attributes:
        num_steps: the number of steps whose own answer is right most often; the smallest of them.
        best_of: the number of steps after which submitting the best snapshot has the highest mean return.
        thresholds: for each name in `HALTING` the one with the highest mean return.
        rule: confidence and restart age with the highest mean return together; an age at the horizon never restarts.
        commit_rule: the same for forced commits.
        verifier_age: restart age with the highest mean return, if the verifier says when to halt.
    """

    num_steps: int
    best_of: int
    thresholds: dict[str, float]
    rule: tuple[float, int]
    commit_rule: tuple[float, int]
    verifier_age: int

    def baseline(self, core: Core, name: str) -> Baseline:
        """The tuned baseline of that name; "fixed-K" and "best-of-K" for any K, "fixed" and "best-of" for the best one.

        Raises:
            UnknownNameError: there is none.
        """
        for kind, make, best in (("fixed", fixed_steps, self.num_steps), ("best-of", best_of_steps, self.best_of)):
            if number := re.fullmatch(rf"{kind}(?:-([1-9]\d*))?", name):
                return make(core.mode, int(number[1] or best))
        if name == "rule":
            return two_threshold_rule(core, *self.rule)
        if name == "verifier-rule":
            return verifying_rule(core, self.verifier_age)
        if name == "commit-rule":
            return committing_rule(core, *self.commit_rule)
        if name == "oracle" and self.rule[1] < core.horizon:
            return restarting_oracle(core, self.rule[1])
        if name in HALTING:
            return halting(core, name, self.thresholds[name])
        rules = ["rule", "verifier-rule", "commit-rule"]
        raise UnknownNameError(
            "baseline", name, [*HALTING, *rules, "fixed", "fixed-K", "best-of", "best-of-K", "random"]
        )


def untuned(num_steps: int) -> Tuned:
    """Constants without validation puzzles: middle thresholds; the rule restarts where further steps add little.

    Args:
        num_steps: the best fixed number of steps.
    """
    thresholds = {name: rule.middle for name, rule in HALTING.items()}
    confidence = thresholds["threshold"]
    age, commit_age = min(num_steps, LATEST_RESTART), AGES["commit_forced"][1]
    return Tuned(num_steps, num_steps, thresholds, (confidence, age), (confidence, commit_age), age)


def tune(core: Core, puzzles: Puzzles) -> Tuned:
    """Choose every constant on the given (validation) puzzles."""
    plain = record(core, puzzles)
    num_steps = int(plain.answered.mean(1).argmax()) + 1
    best_of = int(plain.worth.mean(1).argmax()) + 1
    thresholds = {
        name: max(rule.candidates, key=lambda c, name=name: halting_worth(plain, name, c))  # type: ignore[misc]
        for name, rule in HALTING.items()
    }
    rule, commit_rule = (_best_pair(core, puzzles, plain, action) for action in AGES)
    return Tuned(num_steps, best_of, thresholds, rule, commit_rule, _best_verifier_age(core, puzzles))


def _ages(core: Core, action: str) -> list[int]:
    """Ages at which an action of that name may begin anew before the horizon; none if the table lacks it."""
    known = any(entry.name == action for entry in core.mode.actions)
    return [age for age in AGES[action] if known and age < core.horizon]


def _best_verifier_age(core: Core, puzzles: Puzzles) -> int:
    """Age to begin anew at with the highest mean return, if the verifier says when to halt; the horizon is never."""
    if not has_rules(core.task):
        return core.horizon
    ages = [core.horizon, *_ages(core, "restart_view")]
    worths = {age: float(Solver(core, verifying_rule(core, age)).solve(puzzles).returns.mean()) for age in ages}
    return max(ages, key=lambda age: worths[age])


def _best_pair(core: Core, puzzles: Puzzles, plain: Record, action: str) -> tuple[float, int]:
    """Confidence to halt at, and age to begin anew at by the action of that name, with the highest mean return."""
    worths = {(c, core.horizon): halting_worth(plain, "threshold", c) for c in CONFIDENCES}
    for age in _ages(core, action):
        restarted = record(core, puzzles, age, restart_action=action)
        worths |= {(c, age): halting_worth(restarted, "threshold", c) for c in CONFIDENCES}
    return max(worths, key=lambda pair: worths[pair])
