"""`latent-rl diagnose`: what every step adds."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from rich.console import Console

from latent_rl.config import COUNT, DEPTH, check_fields
from latent_rl.evaluation.diagnose import diagnose
from latent_rl.evaluation.report import print_diagnosis, write_diagnosis
from latent_rl.fit import loaded, reasoner_of
from latent_rl.tasks.base import first
from latent_rl.tasks.registry import make_task


@dataclass(frozen=True, kw_only=True)
class Diagnose:
    """Show what every step adds, and where compute is dead."""

    task: str
    """Name of the task, or a folder of puzzles."""
    reasoner: str | None = None
    """Name of a shipped reasoner, or a folder; default: the one that is shipped for the task."""
    split: Literal["validation", "test"] = "validation"
    """Which base puzzles."""
    num_puzzles: Annotated[int, COUNT] = 500
    """How many of them; at most the whole split."""
    steps: Annotated[int, DEPTH] = 24
    """Supervision steps to look at."""
    out: Path | None = None
    """Folder for the JSON, the plot and the TensorBoard run; default: runs/diagnose/<reasoner>."""
    device: str | None = None
    """Such as cpu or cuda:1; default: a GPU if there is one."""
    json: bool = False
    """Print JSON instead of tables."""

    def run(self) -> None:
        """Diagnose, print and save."""
        check_fields(self)
        task = make_task(self.task)
        name = self.reasoner or reasoner_of(task, self.task)
        task, reasoner = loaded(task, name, self.device)
        puzzles = first(task, self.split, self.num_puzzles)
        diagnosis = diagnose(reasoner, task, puzzles, self.steps)
        out = self.out or Path("runs/diagnose") / Path(name).name
        title = f"{name} on {len(puzzles)} {self.split} puzzles of {task.name}"
        write_diagnosis(out, title, diagnosis)
        if self.json:
            print(json.dumps({"reasoner": name} | diagnosis.facts(), indent=2))
            return
        console = Console()
        print_diagnosis(console, title, diagnosis)
        console.print(f"Plot, JSON and TensorBoard run in {out}")
