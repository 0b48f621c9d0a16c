"""`latent-rl evaluate`: a fixed number of steps, on a split or a file of puzzles."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from rich.table import Table

from latent_rl.config import COUNT, DEPTH, check_fields
from latent_rl.evaluation.fixed_steps import FixedStepResult, evaluate_fixed
from latent_rl.fit import matched
from latent_rl.reasoners.checkpoint import (
    chosen_steps,
    load_reasoner,
)
from latent_rl.reasoners.engine import chosen_device
from latent_rl.tasks.base import Split, first
from latent_rl.tasks.files.overlap import note_repeated
from latent_rl.tasks.files.puzzle_io import collect_puzzles
from latent_rl.tasks.files.text import source_name
from latent_rl.tasks.registry import make_task


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Decode puzzles with a fixed number of steps."""

    task: str
    """Name of the task, or a folder of puzzles."""
    reasoner: str
    """Name of a shipped reasoner, or a folder."""
    puzzles: Path | None = None
    """A file of puzzles, in lines, tables or boards; default: the test split."""
    columns: tuple[str, ...] = ()
    """Names, or numbers from 1, of the columns of --puzzles that hold the puzzles and, if need be, their answers."""
    split: Split = "test"
    """Which base puzzles, without --puzzles."""
    num_puzzles: Annotated[int, COUNT] = 1000
    """How many of them; at most the whole split."""
    steps: Annotated[int, DEPTH] | None = None
    """Supervision steps; default: the number that was best on validation when the reasoner was trained."""
    device: str | None = None
    """Such as cpu or cuda:1; default: a GPU if there is one."""
    json: bool = False
    """Print JSON."""

    def run(self) -> None:
        """Evaluate and print."""
        check_fields(self)
        task = matched(make_task(self.task), self.reasoner)
        reasoner = load_reasoner(self.reasoner).to(chosen_device(self.device))
        left_out: list[str] = []
        if self.puzzles is not None:
            puzzles, description, left_out = collect_puzzles(self.puzzles, task, self.columns)
            print(f"{source_name(self.puzzles)}: {len(puzzles):,} puzzles, {description}", file=sys.stderr)
            if left_out:
                print(f"{len(left_out):,} rows are left out, the first: {left_out[0]}", file=sys.stderr)
        else:
            puzzles = first(task, self.split, self.num_puzzles)
            if self.split == "test":
                note_repeated(task)
        steps = chosen_steps(self.reasoner) if self.steps is None else self.steps
        report = evaluation_report(evaluate_fixed(reasoner, task, puzzles, steps))
        report["num_ambiguous"] = ambiguous = int(task.is_ambiguous(puzzles.inputs).sum())
        report["num_left_out"] = len(left_out)
        if self.json:
            print(json.dumps(report, indent=2))
            return
        table = Table(title=f"{self.reasoner} on {len(puzzles)} puzzles of {task.name}", title_justify="left")
        for heading in ("step", "passes", "solved", "exact", "tokens"):
            table.add_column(heading, justify="right")
        for row in report["per_step"]:
            rates = (f"{row[name]:.3f}" for name in ("solved_rate", "exact_accuracy", "token_accuracy"))
            table.add_row(str(row["step"]), str(row["passes"]), *rates)
        if ambiguous:
            table.caption = (
                f"{ambiguous} of the puzzles have several answers: solved counts any of them, exact and tokens compare"
                " with one"
            )
        Console().print(table)


def evaluation_report(result: FixedStepResult) -> dict[str, Any]:
    """What `evaluate --json` prints: the last step's rates, and those of every step."""
    rates = zip(result.solved_rate, result.exact.float().mean(1), result.token_accuracy.mean(1), strict=True)
    per_step = [
        {
            "step": step,
            "passes": step * result.passes_per_step,
            "solved_rate": solved.item(),
            "exact_accuracy": exact.item(),
            "token_accuracy": tokens.item(),
        }
        for step, (solved, exact, tokens) in enumerate(rates, 1)
    ]
    last = per_step[-1]
    return {
        "solved_rate": last["solved_rate"],
        "exact_accuracy": last["exact_accuracy"],
        "token_accuracy": last["token_accuracy"],
        "mean_passes": float(last["passes"]),
        "num_puzzles": result.solved.shape[1],
        "per_step": per_step,
    }
