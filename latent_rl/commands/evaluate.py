"""`latent-rl evaluate`: a fixed number of steps, on a split or a file of puzzles."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from rich.table import Column, Table
from torch import Tensor

from latent_rl.config import COUNT, DEPTH, check_fields
from latent_rl.evaluation.difficulty import by_difficulty
from latent_rl.evaluation.fixed_steps import FixedStepResult, evaluate_fixed
from latent_rl.evaluation.intervals import wilson_interval
from latent_rl.fit import loaded, reasoner_of
from latent_rl.reasoners.checkpoint import chosen_steps
from latent_rl.tasks.base import Split, Task, first
from latent_rl.tasks.files.overlap import note_repeated
from latent_rl.tasks.files.puzzle_io import collect_puzzles
from latent_rl.tasks.files.text import source_name
from latent_rl.tasks.registry import make_task
from latent_rl.types import Puzzles


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Decode puzzles with a fixed number of steps."""

    task: str
    """Name of the task, or a folder of puzzles."""
    reasoner: str | None = None
    """Name of a shipped reasoner, or a folder; default: the one that is shipped for the task."""
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
        task = make_task(self.task)
        name = self.reasoner or reasoner_of(task, self.task)
        task, reasoner = loaded(task, name, self.device)
        puzzles, num_left_out = self.asked(task)
        steps = chosen_steps(name) if self.steps is None else self.steps
        result = evaluate_fixed(reasoner, task, puzzles, steps)
        guesses = task.guesses(self.split) if self.puzzles is None else None
        has_labels = bool(puzzles.labels.any())
        num_ambiguous = int(task.is_ambiguous(puzzles.inputs).sum()) if has_labels else None  # matters to them alone
        report = {"reasoner": name} | evaluation_report(result, guesses, has_labels=has_labels)
        report |= {"num_ambiguous": num_ambiguous, "num_left_out": num_left_out}
        if self.json:
            print(json.dumps(report, indent=2))
            return
        print_evaluation(Console(), f"{name} on {len(puzzles)} puzzles of {task.name}", report)

    def asked(self, task: Task) -> tuple[Puzzles, int]:
        """The puzzles that were asked for, and how many rows of a file are none.

        Raises:
            PuzzleError: the file can't be read, or holds no puzzle.
        """
        if self.puzzles is None:
            puzzles = first(task, self.split, self.num_puzzles)
            if self.split == "test":
                note_repeated(task)
            return puzzles, 0
        puzzles, description, left_out = collect_puzzles(self.puzzles, task, self.columns)
        print(f"{source_name(self.puzzles)}: {len(puzzles):,} puzzles, {description}", file=sys.stderr)
        if left_out:
            print(f"{len(left_out):,} rows are left out, the first: {left_out[0]}", file=sys.stderr)
        return puzzles, len(left_out)


def evaluation_report(
    result: FixedStepResult, guesses: Tensor | None = None, *, has_labels: bool = True
) -> dict[str, Any]:
    """What `evaluate --json` prints: the last step's rates, by difficulty too, and those of every step.

    Args:
        result: of P puzzles.
        guesses: float32 [N], N >= P, see `Task.guesses`; of the evaluated puzzles first.
        has_labels: whether there is a label to compare with; else the accuracies are None.
    """
    rates = zip(result.solved_rate, result.exact.float().mean(1), result.token_accuracy.mean(1), strict=True)
    per_step = [
        {
            "step": step,
            "passes": step * result.passes_per_step,
            "solved_rate": solved.item(),
            "exact_accuracy": exact.item() if has_labels else None,
            "token_accuracy": tokens.item() if has_labels else None,
        }
        for step, (solved, exact, tokens) in enumerate(rates, 1)
    ]
    last, solved = per_step[-1], result.solved[-1].numpy()
    rows = [] if guesses is None else by_difficulty(solved, guesses[: len(solved)].numpy())
    return {
        "solved_rate": last["solved_rate"],
        "solved_interval": wilson_interval(solved),
        "exact_accuracy": last["exact_accuracy"],
        "token_accuracy": last["token_accuracy"],
        "mean_passes": float(last["passes"]),
        "num_puzzles": len(solved),
        "by_difficulty": [asdict(row) for row in rows],
        "per_step": per_step,
    }


def print_evaluation(console: Console, title: str, report: dict[str, Any]) -> None:
    """Print the steps and, of puzzles that are rated, the last step's solved rate by difficulty."""
    headings = (Column(heading, justify="right") for heading in ("step", "passes", "solved", "exact", "tokens"))
    table = Table(*headings, title=title, title_justify="left", caption_justify="left")
    for row in report["per_step"]:
        values = (row[name] for name in ("solved_rate", "exact_accuracy", "token_accuracy"))
        rates = ("-" if value is None else f"{value:.3f}" for value in values)
        table.add_row(str(row["step"]), str(row["passes"]), *rates)
    low, high = report["solved_interval"]
    table.caption = f"solved {report['solved_rate']:.3f}, 95% interval [{low:.3f}, {high:.3f}]"
    if ambiguous := report["num_ambiguous"]:
        table.caption += (
            f"; {ambiguous} of the puzzles have several answers: solved counts any of them, exact and tokens compare"
            " with one"
        )
    console.print(table)
    if report["by_difficulty"]:
        headings = (Column(heading, justify="right") for heading in ("guesses", "puzzles", "solved"))
        table = Table(*headings, title="solved at the last step", title_justify="left")
        for row in report["by_difficulty"]:
            table.add_row(row["guesses"], str(row["num_puzzles"]), f"{row['solved_rate']:.3f}")
        console.print(table)
