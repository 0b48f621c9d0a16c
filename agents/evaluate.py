"""Paired evaluation of step policies: the same puzzles, the same randomness."""

from dataclasses import dataclass

import numpy as np

from latent_rl.agents.policy import StepPolicy
from latent_rl.agents.solver import Solver
from latent_rl.envs.core import Core
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
    """Run one episode on every puzzle, by the `Solver`'s loop.

    Puzzle i's randomness depends on `seed` and i alone, so that policies can be compared puzzle by puzzle.

    Raises:
        InvalidValueError: there is no puzzle.
    """
    solutions = Solver(core, policy, batch_size, seed).solve(puzzles)
    return Outcome(
        agent=policy.name,
        solved=solutions.solved.numpy(),
        passes=solutions.passes.numpy(),
        steps=solutions.steps.numpy(),
        restarts=solutions.restarts.numpy(),
        returns=solutions.returns.numpy(),
    )
