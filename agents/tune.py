"""Choose the baselines' constants on validation puzzles: record once, try every threshold on the record."""

from dataclasses import dataclass

import numpy as np
import torch

from latent_rl.agents.baselines import Baseline, aged, fixed_steps, threshold, two_threshold_rule
from latent_rl.envs.core import Core
from latent_rl.envs.observations import FEATURES
from latent_rl.envs.randomness import derive, mix
from latent_rl.types import Puzzles

CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
AGES = (4, 6, 8, 12, 16, 24, 32)
_LEAST = FEATURES.index("least_confidence")


@dataclass(frozen=True)
class Record:
    """What P episodes would have submitted after each of S steps, had they never halted.

    Attributes:
        solved: bool [S, P].
        confidence: float32 [S, P], least confidence of the step's own answer.
        worth: float32 [S, P], return of halting there.
    """

    solved: np.ndarray
    confidence: np.ndarray
    worth: np.ndarray


def record(core: Core, puzzles: Puzzles, restart_age: int | None = None, seed: int = 0) -> Record:
    """Refine up to the horizon, restarting at the given age; puzzles surer than every threshold stay as they are."""
    count, num_steps = len(puzzles), core.horizon
    solved, confidence, worth = (np.zeros((num_steps, count), dtype=np.float32) for _ in range(3))
    state = core.begin(puzzles, derive(mix(torch.full((count,), seed + 1)), torch.arange(count)))
    start, rows = state.potential, torch.arange(count)
    never = Baseline("record", core.mode, lambda s: torch.zeros(len(s), dtype=torch.bool),
                     None if restart_age is None else aged(restart_age))  # fmt: skip
    for step in range(num_steps):
        if not len(rows):
            break
        decision = core.mode.decode(torch.as_tensor(never.act(state.features.numpy(), state)))
        state = core.step(state, decision).state
        right = core.task.verify(state.puzzles.inputs, state.submission).float()
        least = state.features[:, _LEAST]
        gain = core.gamma * state.potential - start[rows] - core.cost_per_pass * state.passes
        for recorded, value in (
            (solved, right),
            (confidence, least),
            (worth, gain + core.solve_bonus * right),
        ):
            recorded[step:, rows.numpy()] = value.numpy()
        unsure = least <= max(CONFIDENCES)
        rows, state = rows[unsure], state.select(unsure)
    return Record(solved.astype(bool), confidence, worth)


def halting_worth(trajectory: Record, confidence: float) -> float:
    """Mean return of halting at the first step whose least confidence is above the threshold."""
    sure = trajectory.confidence > confidence
    first = np.where(sure.any(0), sure.argmax(0), len(sure) - 1)
    return float(trajectory.worth[first, np.arange(sure.shape[1])].mean())


@dataclass(frozen=True)
class Tuned:
    """The baselines' constants, chosen on validation.

    Attributes:
        num_steps: the fixed number of steps with the highest solved rate; the smallest of them.
        confidence: the threshold with the highest mean return.
        rule: threshold and restart age with the highest mean return together.
    """

    num_steps: int
    confidence: float
    rule: tuple[float, int]

    def baselines(self, core: Core) -> list[Baseline]:
        """The tuned baselines."""
        best = fixed_steps(core.mode, self.num_steps)
        return [best, threshold(core.mode, self.confidence), two_threshold_rule(core.mode, *self.rule)]


def tune(core: Core, puzzles: Puzzles) -> Tuned:
    """Choose every constant on the given (validation) puzzles."""
    plain = record(core, puzzles)
    num_steps = int(plain.solved.mean(1).argmax()) + 1
    confidence = max(CONFIDENCES, key=lambda c: halting_worth(plain, c))
    worths: dict[tuple[float, int], float] = {}
    for age in (*(age for age in AGES if age < core.horizon), core.horizon):  # the horizon: no restart
        restarted = record(core, puzzles, age)
        worths |= {(c, age): halting_worth(restarted, c) for c in CONFIDENCES}
    return Tuned(num_steps, confidence, max(worths, key=lambda pair: worths[pair]))
