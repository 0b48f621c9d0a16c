"""What one trained run is worth: plain decoding of the test puzzles at every step, as plain JSON values."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import torch
from arms import Run

from latent_rl.evaluation.fixed_steps import evaluate_fixed
from latent_rl.reasoners.checkpoint import load_reasoner, reasoner_facts
from latent_rl.reasoners.feedforward import FeedForward
from latent_rl.tasks.base import Task, first
from latent_rl.tasks.registry import make_task
from latent_rl.types import Puzzles

NUM_STEPS = 16
NUM_PUZZLES = {"nqueens8": 200, "sudoku6x6": 2000}
NUM_VIEWS = {"nqueens8": 8, "sudoku6x6": 1}
"""Views of every puzzle: the 8 symmetric ones of a board tighten the interval, clustered by board."""


def view(task: Task, puzzles: Puzzles, number: int, count: int) -> Puzzles:
    """View `number` of `count`; number 0 of the N-Queens views is the board itself."""
    if count == 1:
        return puzzles
    draws = torch.full((len(puzzles), task.num_symmetry_draws), (number + 0.5) / count, dtype=torch.float64)
    return puzzles.map(task.symmetry(draws).apply)


def pack(outcomes: np.ndarray) -> dict[str, Any]:
    """Bool [S, W, P] as JSON."""
    bits = np.packbits(outcomes.reshape(-1))
    return {"shape": list(outcomes.shape), "bits": base64.b64encode(bits.tobytes()).decode()}


def unpack(data: dict[str, Any]) -> np.ndarray:
    """The inverse of `pack`."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(data["bits"]), dtype=np.uint8))
    return bits[: np.prod(data["shape"])].astype(bool).reshape(data["shape"])


def measure(run: Run, folder: Path, *, is_quick: bool = False) -> dict[str, Any]:
    """Decode the test puzzles and gather what the run's folder says.

    Returns:
        Plain JSON values: the run, its network, its training, and the outcomes `valid` and `exact` of S steps,
        W views and P puzzles (see `pack`).
    """
    task, facts = make_task(run.task), reasoner_facts(folder)
    reasoner = load_reasoner(folder)
    num_steps = 1 if isinstance(reasoner, FeedForward) else NUM_STEPS
    puzzles = first(task, "test", 20 if is_quick else NUM_PUZZLES[run.task])
    if not is_quick:
        torch.compiler.reset()  # else the reasoners of earlier runs count against the limit of recompilations
        reasoner.compile(dynamic=False)
    views = NUM_VIEWS[run.task]
    # 100 puzzles a batch, as in the validations of the training, for which the compiler's work is cached.
    results = [
        evaluate_fixed(reasoner, task, view(task, puzzles, number, views), num_steps, 100) for number in range(views)
    ]
    return {
        "task": run.task,
        "arm": run.arm,
        "seed": run.seed,
        "parameters": sum(parameter.numel() for parameter in reasoner.parameters()),
        "passes_per_step": results[0].passes_per_step,
        "num_supervision_steps": reasoner.num_supervision_steps,
        **{name: facts[name] for name in ("batch", "examples", "seconds", "cpu_seconds", "versions", "revision")},
        "curve": [
            {
                "batch": row["batch"],
                "examples": row["examples"],
                "cpu_seconds": row["cpu_seconds"],
                "valid": row["eval/solved_rate_last_step"],
            }
            for row in facts["curve"]
        ],
        "valid": pack(np.stack([result.solved.numpy() for result in results], axis=1)),
        "exact": pack(np.stack([result.exact.numpy() for result in results], axis=1)),
    }
