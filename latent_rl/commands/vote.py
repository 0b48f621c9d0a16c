"""`latent-rl vote`: ARC's official score, and a submission."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from latent_rl.errors import InvalidValueError
from latent_rl.evaluation.arc_vote import Ranking, rank, submission
from latent_rl.evaluation.intervals import bootstrap_interval
from latent_rl.fit import matched
from latent_rl.notes import note
from latent_rl.reasoners.checkpoint import chosen_steps, load_reasoner
from latent_rl.reasoners.engine import chosen_device
from latent_rl.storage.atomic import write_json
from latent_rl.tasks.arc.task import Arc
from latent_rl.tasks.registry import make_task

ATTEMPTS = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Vote:
    """Score a reasoner on ARC by the official rule: the answers of all views vote for two attempts."""

    task: str
    """Name of an ARC task; or a file of tasks, such as arc-agi_evaluation_challenges.json, or a folder of them."""
    reasoner: str
    """A folder, e.g. that of a training."""
    split: Literal["validation", "test"] = "test"
    """Whose test inputs: those of evaluation tasks ("test"), or of training tasks that were held out."""
    views: int | None = None
    """Views of each test input, at most; default: all, 1 for the plain one alone."""
    steps: int | None = None
    """Supervision steps; default: the number that was best on validation when the reasoner was trained."""
    device: str | None = None
    """Such as cpu or cuda:1; default: a GPU if there is one."""
    submission: Path | None = None
    """File for the attempts in the official format."""
    json: bool = False
    """Print JSON."""

    def run(self) -> None:
        """Score and print."""
        task = matched(make_task(self.task), self.reasoner)
        if not isinstance(task, Arc):
            raise InvalidValueError(f"vote needs an ARC task, such as arc1; got {task.name}. Use evaluate.")
        reasoner = load_reasoner(self.reasoner).to(chosen_device(self.device))
        steps = chosen_steps(self.reasoner) if self.steps is None else self.steps
        rankings = rank(reasoner, task, self.split, steps, self.views)
        left_out = task.left_out(self.split)
        report = vote_report(rankings) | {"num_steps": steps, "num_left_out": len(left_out)}
        if report["num_tasks"] == 0 and self.submission is None:
            raise InvalidValueError(
                f"a score needs answers; those of {task.name} are not known. Write the attempts: --submission FILE."
            )
        if left_out:
            note(
                f"{len(left_out)} of {len(left_out) + len(rankings)} tasks are not asked: their grids are larger than"
                f" {task.size}x{task.size}, or {self.reasoner} was not trained on them."
            )
        if self.submission is not None:
            write_json(self.submission, submission(rankings, left_out))
        if self.json:
            print(json.dumps(report, indent=2))
            return
        if report["num_tasks"]:
            title = f"{self.reasoner} on {report['num_tasks']} {self.split} tasks of {task.name}"
            table = Table("attempts", "solved", "95% interval", title=title, title_justify="left")
            for k in ATTEMPTS:
                low, high = report[f"pass@{k}_interval"]
                table.add_row(f"pass@{k}", f"{report[f'pass@{k}']:.3f}", f"{low:.3f} - {high:.3f}")
            inputs, views = report["num_inputs"], report["mean_views"]
            table.caption = f"{inputs} test inputs, each in {views:.1f} views, {steps} steps"
            Console().print(table)
        if self.submission is not None:
            print(f"attempts for {len(rankings) + len(left_out)} tasks written to {self.submission}")


def vote_report(rankings: list[Ranking]) -> dict[str, Any]:
    """What `vote --json` prints: pass@1 and pass@2, their intervals over tasks, and both for each task; of tasks whose
    answers are known."""
    rankings = [ranking for ranking in rankings if ranking.is_scored]
    report: dict[str, Any] = {}
    for k in ATTEMPTS:
        solved = np.array([ranking.pass_at(k) for ranking in rankings])
        report[f"pass@{k}"] = float(solved.mean()) if rankings else None
        report[f"pass@{k}_interval"] = bootstrap_interval(solved) if rankings else None
    views = [ranking.num_views for ranking in rankings for _ in ranking.candidates]
    mean_views = float(np.mean(views)) if views else None
    report |= {"num_tasks": len(rankings), "num_inputs": len(views), "mean_views": mean_views}
    names = (ranking.riddle.task.name for ranking in rankings)
    return report | {
        "tasks": {
            name: {f"pass@{k}": ranking.pass_at(k) for k in ATTEMPTS}
            for name, ranking in zip(names, rankings, strict=True)
        }
    }
