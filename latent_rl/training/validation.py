"""How good a reasoner is on validation puzzles: on some of them during its training, on all at its end."""

from typing import Any

from latent_rl.evaluation.fixed_steps import evaluate_fixed
from latent_rl.reasoners.base import Reasoner
from latent_rl.tasks.base import Task
from latent_rl.types import PuzzleSource


def validation_metrics(reasoner: Reasoner, task: Task, puzzles: PuzzleSource, num_steps: int) -> dict[str, float]:
    """How much of the puzzles is solved with the best number of steps, up to `num_steps`, and with all of them."""
    result = evaluate_fixed(reasoner, task, puzzles, num_steps)
    return {
        "eval/solved_rate": result.solved_rate[result.best_step - 1].item(),
        "eval/solved_rate_last_step": result.solved_rate[-1].item(),
        "eval/best_step": result.best_step,
    }


def decoding(reasoner: Reasoner, task: Task, num_steps: int) -> dict[str, Any]:
    """The number of steps, up to `num_steps`, that solves most of the whole validation split."""
    puzzles = task.puzzles("validation")
    result = evaluate_fixed(reasoner, task, puzzles, num_steps)
    best = result.best_step
    return {"num_steps": best, "solved_rate": result.solved_rate[best - 1].item(), "num_puzzles": len(puzzles)}
