"""Step policies that need no training: what every learned one is compared with.

To add one, add an entry to `BASELINES`: how it is described, made, and how its constants are chosen. Commands, help
texts and tests follow from the table.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Generic, TypeVar

from latent_rl.agents.policy import StepPolicy
from latent_rl.agents.rules import (
    Condition,
    RandomPolicy,
    Score,
    aged,
    best_of_steps,
    committing_rule,
    fixed_steps,
    guess_due,
    guess_oracle,
    guessing_rule,
    halting,
    is_right,
    is_valid,
    least_confidence,
    of_feature,
    oracle,
    two_threshold_rule,
    verifying_guess_rule,
    verifying_rule,
)
from latent_rl.agents.solver import Solver
from latent_rl.agents.tune import CONFIDENCES, Unhalted, halting_worth, unhalted
from latent_rl.envs.core import Core
from latent_rl.errors import UnknownNameError
from latent_rl.types import Puzzles

Constants = TypeVar("Constants")
RESTART_AGES = (4, 8, 12, 16, 24, 32)
"""Ages at which a rule may begin anew in another view."""
COMMIT_AGES = (2, 3, 4, 6, 8)
"""Ages at which a rule may commit cells."""
GUESS_AGES = (4, 8, 12, 16, 24, 32, 48)
"""Ages at which a rule may guess."""
LATEST_RESTART = 16
"""Age at which an untuned rule begins anew at the latest."""
_NUMBERED = re.compile(r"(.+)-([1-9]\d{0,8})")


@dataclass(frozen=True)
class Baseline(Generic[Constants]):
    """An entry of `BASELINES`.

    Attributes:
        name: by which it is asked for.
        about: how it decides, in a few words.
        make: the policy, from the dynamics, its constants and a seed.
        tune: its constants, chosen on validation puzzles.
        default: its constants without any, from the number of steps that is best for all puzzles.
        score: above which it halts, if so: `tune` finds what it was after every step.
        is_numbered: "name-K" has the number K as its constants.
        knows_labels: it decides by the labels: a bound, not a competitor.
        action: by which it begins anew, if it does.
    """

    name: str
    about: str
    make: Callable[[Core, Constants, int], StepPolicy]
    tune: "Callable[[Tuned], Constants]"
    default: Callable[[int], Constants]
    score: Score | None = None
    is_numbered: bool = False
    knows_labels: bool = False
    action: str | None = None


@dataclass(frozen=True)
class Tuned:
    """The baselines' constants, each chosen on validation puzzles when it is asked for: the highest mean return.

    Attributes:
        core: the dynamics.
        puzzles: with their labels.
    """

    core: Core
    puzzles: Puzzles
    _chosen: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def constants(self, baseline: Baseline[Constants]) -> Constants:
        """The constants of a baseline."""
        if baseline.name not in self._chosen:
            self._chosen[baseline.name] = baseline.tune(self)
        found: Constants = self._chosen[baseline.name]
        return found

    @cached_property
    def plain(self) -> Unhalted:
        """What the puzzles' episodes are like without any halt or restart."""
        return unhalted(self.core, self.puzzles, _scores())

    def best_threshold(self, name: str, candidates: Sequence[float]) -> float:
        """The threshold of the score of the baseline of that name."""
        if len(candidates) == 1:
            return candidates[0]
        return max(candidates, key=lambda threshold: halting_worth(self.plain, name, threshold))

    def best_pair(self, action: str, ages: Sequence[int]) -> tuple[float, int]:
        """Confidence to halt at, and age to begin anew at by the action of that name; from the horizon on is never."""
        worths = {(c, self.core.horizon): halting_worth(self.plain, "threshold", c) for c in CONFIDENCES}
        for age in self.possible(action, ages):
            worths |= {(c, age): worth for c, worth in self.confident(action, aged(age)).items()}
        return max(worths, key=lambda pair: worths[pair])

    def confident(self, action: str, restart: Condition) -> dict[float, float]:
        """What it is worth to halt at each of `CONFIDENCES`, and to begin anew under a condition by an action."""
        seen = unhalted(self.core, self.puzzles, {"threshold": least_confidence}, restart, restart_action=action)
        return {confidence: halting_worth(seen, "threshold", confidence) for confidence in CONFIDENCES}

    def worth(self, policy: StepPolicy) -> float:
        """The mean return of a policy."""
        return float(Solver(self.core, policy).solve(self.puzzles).returns.mean())

    def best(self, candidates: Sequence[Constants], make: Callable[[Core, Constants], StepPolicy]) -> Constants:
        """The constants whose policy does best, which every one of them is run for."""
        worths = [self.worth(make(self.core, constants)) for constants in candidates]
        return candidates[worths.index(max(worths))]

    def best_guessing(self, worth: Callable[[int, int], float]) -> tuple[int, int]:
        """Ages of the first guess and of those after it, of the highest worth: the one is chosen, then the other. From
        the horizon on is never."""
        ages, never = self.possible("restart_guess", GUESS_AGES), self.core.horizon
        often = ages[len(ages) // 2] if ages else never
        first = max([*ages, never], key=lambda age: worth(age, often))
        return first, max(ages or [never], key=lambda age: worth(first, age))

    def best_guess_ages(self, make: Callable[[Core, int, int], StepPolicy]) -> tuple[int, int]:
        """The two ages of the policy that does best."""
        return self.best_guessing(lambda first, later: self.worth(make(self.core, first, later)))

    def best_confident_guessing(self) -> tuple[float, int, int]:
        """Confidence to halt at, and the two ages."""

        @cache
        def worths(first: int, later: int) -> dict[float, float]:
            return self.confident("restart_guess", guess_due(first, later))

        first, later = self.best_guessing(lambda first, later: max(worths(first, later).values()))
        found = worths(first, later)
        return max(found, key=lambda confidence: found[confidence]), first, later

    def possible(self, action: str, ages: Sequence[int]) -> list[int]:
        """Ages at which an action of that name may begin anew before the horizon; none if the table lacks it."""
        known = any(entry.name == action for entry in self.core.mode.actions)
        return [age for age in ages if known and age < self.core.horizon]


@dataclass(frozen=True)
class Untuned:
    """The baselines' constants without validation puzzles: middle thresholds; restarts where steps add little.

    Attributes:
        num_steps: the best fixed number of steps.
    """

    num_steps: int

    def constants(self, baseline: Baseline[Constants]) -> Constants:
        """The constants of a baseline."""
        return baseline.default(self.num_steps)


def middle(candidates: Sequence[float]) -> float:
    """The threshold to take without validation puzzles to choose on."""
    return candidates[len(candidates) // 2]


def halts_above(name: str, about: str, score: Score, candidates: Sequence[float]) -> Baseline[float]:
    """An entry that halts once a score exceeds a threshold.

    Args:
        name: see `Baseline`.
        about: see `Baseline`.
        score: of the state.
        candidates: thresholds to choose from, in order; a single one is no choice.
    """
    return Baseline(
        name,
        about,
        make=lambda core, threshold, seed: halting(core, name, score, threshold),
        tune=lambda tuned: tuned.best_threshold(name, candidates),
        default=lambda num_steps: middle(candidates),
        score=score,
    )


def _restart_age(num_steps: int) -> int:
    return min(num_steps, LATEST_RESTART)


def _guess_ages(num_steps: int) -> tuple[int, int]:
    """The first where steps add little, as most runs that are not done before are still on their way."""
    return num_steps, _restart_age(num_steps)


_ENTRIES: tuple[Baseline[Any], ...] = (
    halts_above("threshold", "halts when the least confident cell is sure enough", least_confidence, CONFIDENCES),
    halts_above(
        "entropy",
        "halts when the mean entropy of the blank cells, in units of log V, is low enough",
        of_feature("mean_entropy", -1.0),
        (-0.1, -0.05, -0.02, -0.01, -0.005, -0.002, -0.001),
    ),
    halts_above("unchanged", "halts when a step changed no cell", of_feature("changed_share", -1.0), (-1e-6,)),
    halts_above(
        "drift",
        "halts when a step moved the latent state little enough",
        of_feature("latent_drift", -1.0),
        (-0.5, -0.4, -0.3, -0.2, -0.15, -0.1, -0.07, -0.05, -0.03),
    ),
    halts_above("act", "halts when the reasoner's own halting head says so", of_feature("halt_probability"), (0.5,)),
    Baseline(
        "rule",
        "halts like threshold, and begins anew in another view at a certain age",
        make=lambda core, constants, seed: two_threshold_rule(core, *constants),
        tune=lambda tuned: tuned.best_pair("restart_view", RESTART_AGES),
        default=lambda num_steps: (middle(CONFIDENCES), _restart_age(num_steps)),
        action="restart_view",
    ),
    Baseline(
        "commit-rule",
        "halts like threshold, and commits what is sure, or the surest cell, at a certain age",
        make=lambda core, constants, seed: committing_rule(core, *constants),
        tune=lambda tuned: tuned.best_pair("commit_forced", COMMIT_AGES),
        default=lambda num_steps: (middle(CONFIDENCES), COMMIT_AGES[1]),
        action="commit_forced",
    ),
    halts_above("verifier", "halts when the rules of the task hold", is_valid, (0.5,)),
    Baseline(
        "verifier-rule",
        "halts when the rules of the task hold, and begins anew in another view at a certain age",
        make=lambda core, age, seed: verifying_rule(core, age),
        tune=lambda tuned: tuned.best(
            [tuned.core.horizon, *tuned.possible("restart_view", RESTART_AGES)], verifying_rule
        ),
        default=_restart_age,
        action="restart_view",
    ),
    Baseline(
        "guess-rule",
        "halts like threshold, and at certain ages begins anew with one cell of the puzzle's last readout as if given",
        make=lambda core, constants, seed: guessing_rule(core, *constants),
        tune=Tuned.best_confident_guessing,
        default=lambda num_steps: (middle(CONFIDENCES), *_guess_ages(num_steps)),
        action="restart_guess",
    ),
    Baseline(
        "verifier-guess-rule",
        "halts when the rules of the task hold, and guesses like guess-rule",
        make=lambda core, ages, seed: verifying_guess_rule(core, *ages),
        tune=lambda tuned: tuned.best_guess_ages(verifying_guess_rule),
        default=_guess_ages,
        action="restart_guess",
    ),
    Baseline(
        "fixed",
        "the same number of steps for every puzzle (plain decoding): the best number, or K",
        make=lambda core, num_steps, seed: fixed_steps(core.mode, num_steps),
        tune=lambda tuned: int(tuned.plain.answered.mean(1).argmax()) + 1,
        default=lambda num_steps: num_steps,
        is_numbered=True,
    ),
    Baseline(
        "best-of",
        "the same number of steps for every puzzle, then the surest snapshot: the best number, or K",
        make=lambda core, num_steps, seed: best_of_steps(core.mode, num_steps),
        tune=lambda tuned: int(tuned.plain.worth.mean(1).argmax()) + 1,
        default=lambda num_steps: num_steps,
        is_numbered=True,
    ),
    Baseline(
        "random",
        "any action",
        make=lambda core, constants, seed: RandomPolicy(core.mode, seed),
        tune=lambda tuned: None,
        default=lambda num_steps: None,
    ),
    Baseline(
        "oracle",
        "halts when the label says so, and begins anew like rule: a bound, not a competitor",
        make=lambda core, age, seed: oracle(core, age),
        tune=lambda tuned: tuned.constants(BASELINES["rule"])[1],
        default=_restart_age,
        score=is_right,
        knows_labels=True,
        action="restart_view",
    ),
    Baseline(
        "guess-oracle",
        "halts when the label says so, guesses like guess-rule, and gives a wrong guess up at once: a bound",
        make=lambda core, ages, seed: guess_oracle(core, *ages),
        tune=lambda tuned: tuned.best_guess_ages(guess_oracle),
        default=_guess_ages,
        knows_labels=True,
        action="restart_guess",
    ),
)
BASELINES: dict[str, Baseline[Any]] = {baseline.name: baseline for baseline in _ENTRIES}


def baseline_names() -> list[str]:
    """What can be asked for, with "fixed-K" for all of its kind."""
    return [name for b in BASELINES.values() for name in (b.name, f"{b.name}-K")[: 1 + b.is_numbered]]


def describe_baselines(*, with_bounds: bool = True) -> str:
    """All of the table, if need be without those that know the labels, in a sentence for help texts."""
    kept = [baseline for baseline in BASELINES.values() if with_bounds or not baseline.knows_labels]
    return "; ".join(f"{b.name}{'[-K]' * b.is_numbered}: {b.about}" for b in kept)


def is_baseline(name: str) -> bool:
    """Whether there is a baseline of that name."""
    return name in BASELINES or _numbered(name) is not None


def knows_labels(name: str) -> bool:
    """Whether the name is that of a baseline that decides by the labels."""
    return name in BASELINES and BASELINES[name].knows_labels


def make_baseline(core: Core, name: str, constants: Tuned | Untuned, seed: int = 0) -> StepPolicy:
    """The baseline of that name; "fixed-K" and "best-of-K" for any K, "fixed" and "best-of" for the best one.

    Args:
        core: the dynamics.
        name: a key of `BASELINES`, if need be with a number.
        constants: only those that the baseline needs are chosen.
        seed: of those that draw.

    Raises:
        UnknownNameError: there is none of that name.
        InvalidValueError: the environment lacks an action that it needs, or the task its rules.
    """
    if name in BASELINES:
        baseline = BASELINES[name]
        return baseline.make(core, constants.constants(baseline), seed)
    numbered = _numbered(name)
    if numbered is None:
        raise UnknownNameError("baseline", name, baseline_names())
    baseline, number = numbered
    return baseline.make(core, number, seed)


def _numbered(name: str) -> tuple[Baseline[int], int] | None:
    """The baseline and the number of a name such as "fixed-6"."""
    match = _NUMBERED.fullmatch(name)
    baseline = BASELINES.get(match[1]) if match else None
    return (baseline, int(match[2])) if match and baseline and baseline.is_numbered else None


def _scores() -> dict[str, Score]:
    return {name: baseline.score for name, baseline in BASELINES.items() if baseline.score is not None}
