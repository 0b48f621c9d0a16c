"""What baselines would be worth on validation puzzles: refine once, try every threshold on what was seen."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from latent_rl.agents.policy import Episodes, play_all
from latent_rl.agents.rules import Condition, RulePolicy, Score, exceeds, least_confidence
from latent_rl.envs.core import Core
from latent_rl.types import Puzzles

CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Least confidences at which a rule may halt."""


@dataclass(frozen=True)
class Unhalted:
    """What P episodes would have submitted after each of S steps, had they never halted.

    Attributes:
        answered: bool [S, P], the step's own answer is right: plain decoding.
        scores: float32 [S, P] by name, of the state after the step.
        worth: float32 [S, P], return of halting there.
    """

    answered: np.ndarray
    scores: dict[str, np.ndarray]
    worth: np.ndarray


def unhalted(
    core: Core,
    puzzles: Puzzles,
    scores: Mapping[str, Score],
    restart: Condition | None = None,
    *,
    seed: int = 0,
    restart_action: str = "restart_view",
) -> Unhalted:
    """Refine up to the horizon; where it begins anew, puzzles surer than every threshold stay as they are."""
    count, num_steps = len(puzzles), core.horizon
    answered, worth = (np.zeros((num_steps, count), dtype=np.float32) for _ in range(2))
    seen = {name: np.zeros((num_steps, count), dtype=np.float32) for name in scores}
    halt = exceeds(core, least_confidence, math.inf if restart is None else max(CONFIDENCES))
    policy = RulePolicy("unhalted", core.mode, halt, restart, restart_action=restart_action)
    episodes = Episodes.begun(core, puzzles, seed)
    start = episodes.state.potential
    for turn in play_all(core, policy, episodes):
        rows, state = turn.after.places, turn.after.state
        first = int(state.step[0]) - 1  # of all, since they began together; who halts keeps what was written before
        right = core.task.verify(state.puzzles.inputs, state.submission).float()
        gain = core.gamma * state.potential - start[rows] - core.cost_per_pass * state.passes
        answered[first:, rows.numpy()] = core.task.verify(state.puzzles.inputs, state.prediction).numpy()
        worth[first:, rows.numpy()] = (gain + core.solve_bonus * right).numpy()
        for name, score in scores.items():
            seen[name][first:, rows.numpy()] = score(core, state).numpy()
    return Unhalted(answered.astype(bool), seen, worth)


def halting_worth(seen: Unhalted, name: str, threshold: float) -> float:
    """Mean return of halting at the first step whose score of that name exceeds the threshold."""
    ready = seen.scores[name] > threshold
    first = np.where(ready.any(0), ready.argmax(0), len(ready) - 1)
    return float(seen.worth[first, np.arange(ready.shape[1])].mean())
