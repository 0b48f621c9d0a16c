"""Paired evaluation of step policies: the same puzzles, the same randomness, bootstrap intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from latent_rl.agents.baselines import StepPolicy
from latent_rl.envs.core import Core
from latent_rl.envs.randomness import episode_keys
from latent_rl.errors import InvalidValueError
from latent_rl.statistics import bootstrap_interval
from latent_rl.types import Puzzles


@dataclass(frozen=True)
class Outcome:
    """How a policy fared on P puzzles.

    Attributes:
        agent: its name.
        solved: bool [P].
        passes: int64 [P], forward passes spent.
        steps: int64 [P], supervision steps.
        restarts: int64 [P].
        returns: float64 [P], undiscounted.
    """

    agent: str
    solved: np.ndarray
    passes: np.ndarray
    steps: np.ndarray
    restarts: np.ndarray
    returns: np.ndarray


def evaluate_policy(
    core: Core, policy: StepPolicy, puzzles: Puzzles, *, seed: int = 0, batch_size: int = 256
) -> Outcome:
    """Run one episode on every puzzle; an ended one leaves the batch at once.

    Puzzle i's randomness depends on `seed` and i alone, so that policies can be compared puzzle by puzzle.
    """
    core = core if policy.submit is None else core.submitting(policy.submit)
    count = len(puzzles)
    if count < 1:
        raise InvalidValueError("an evaluation needs at least one puzzle; got none.")
    columns = {name: np.zeros(count, dtype=np.int64) for name in ("solved", "passes", "steps", "restarts")}
    returns = np.zeros(count)
    keys = episode_keys(count, seed)
    for start in range(0, count, batch_size):
        rows = torch.arange(start, min(start + batch_size, count))
        state = core.begin(puzzles.select(rows), keys[rows])
        while len(rows):
            actions = policy.act(core.observe(state).numpy(), state)
            transition = core.step(state, core.mode.decode(torch.as_tensor(actions)))
            after, ended = transition.state, transition.terminated
            returns[rows.numpy()] += transition.reward.numpy()
            done = rows[ended].numpy()
            values = {
                "solved": transition.solved,
                "passes": after.passes,
                "steps": after.step,
                "restarts": after.restarts,
            }
            for name, value in values.items():
                columns[name][done] = value[ended].numpy()
            if bool(ended.any()):
                rows, after = rows[~ended], after.select(~ended)
            state = after
    return Outcome(
        policy.name,
        columns["solved"].astype(bool),
        columns["passes"],
        columns["steps"],
        columns["restarts"],
        returns,
    )


def report_row(outcome: Outcome, **more: Any) -> dict[str, Any]:
    """One row of `report.json`; `more` is added to it."""
    low, high = bootstrap_interval(outcome.solved)
    return {
        "agent": outcome.agent,
        "solved_rate": float(outcome.solved.mean()),
        "solved_low": low,
        "solved_high": high,
        "mean_passes": float(outcome.passes.mean()),
        "mean_steps": float(outcome.steps.mean()),
        "mean_return": float(outcome.returns.mean()),
        "num_puzzles": len(outcome.solved),
        **more,
    }
