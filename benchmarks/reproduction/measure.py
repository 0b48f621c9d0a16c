"""What one trained run is worth: plain decoding of the test puzzles at every step, as plain JSON values."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import torch
from arms import SETTINGS, Run

from latent_rl.evaluation.diagnose import measure_steps
from latent_rl.reasoners.checkpoint import load_reasoner, reasoner_facts
from latent_rl.reasoners.feedforward import FeedForward
from latent_rl.tasks.base import Task, first
from latent_rl.tasks.registry import make_task
from latent_rl.types import Puzzles

NUM_STEPS = 16
"""Supervision steps of the evaluation, at least."""


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
        Plain JSON values: the run, its network, its training, the outcomes `valid` and `exact` of S steps, W views
        and P puzzles (see `pack`), and the advantage margin of every step, in nats per unit of w, as a mean over the
        open cells, among the tokens that can be an answer.
    """
    setting, task, facts = SETTINGS[run.task], make_task(run.task), reasoner_facts(folder)
    reasoner = load_reasoner(folder)
    num_steps = max(NUM_STEPS, setting.num_passes // reasoner.config.passes_per_step)
    if isinstance(reasoner, FeedForward):
        num_steps = 1
    puzzles = first(task, "test", 20 if is_quick else setting.num_puzzles)
    if not is_quick:
        torch.compiler.reset()  # else the reasoners of earlier runs count against the limit of recompilations
        reasoner.compile()
    # 100 puzzles a batch, as in the validations of the training, for which the compiler's work is cached.
    views = [
        measure_steps(reasoner, task, view(task, puzzles, number, setting.num_views), num_steps, 100)
        for number in range(setting.num_views)
    ]
    passes_per_step = views[0][1]

    def by_step(name: str) -> np.ndarray:
        """A measure [S, W, P]."""
        return np.stack([[getattr(step, name).numpy() for step in steps] for steps, _ in views], axis=1)

    return {
        "task": run.task,
        "arm": run.arm,
        "seed": run.seed,
        "parameters": sum(parameter.numel() for parameter in reasoner.parameters()),
        "passes_per_step": passes_per_step,
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
        "margin": by_step("margin_answer_tokens").mean((1, 2)).tolist(),
        "valid": pack(by_step("solved_rate") > 0),
        "exact": pack(by_step("exact_accuracy") > 0),
    }
