"""Subcommands of `latent-rl` (training: `cli_train.py`; the table of all: `__main__.py`): each a dataclass that tyro
reads, with a `run` method."""

import dataclasses
import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from latent_rl.config import COUNT, DEPTH, SEED, check_fields
from latent_rl.diagnose import diagnose
from latent_rl.diagnose_report import print_diagnosis, write_diagnosis
from latent_rl.errors import FileError, InvalidValueError, MissingExtraError
from latent_rl.evaluation import FixedStepResult, evaluate_fixed
from latent_rl.files import claimed, resumable
from latent_rl.matching import matched
from latent_rl.puzzle_ids import write_identifiers
from latent_rl.reasoners.base import chosen_device
from latent_rl.reasoners.checkpoint import (
    CONFIG,
    WEIGHTS,
    chosen_steps,
    load_reasoner,
    reasoner_facts,
    save_reasoner,
    shipped_reasoners,
)
from latent_rl.reasoners.public import load_public_run
from latent_rl.tasks.bank import FOLDER
from latent_rl.tasks.base import SPLITS, Split, first
from latent_rl.tasks.overlap import note_repeated
from latent_rl.tasks.puzzle_io import collect_puzzles, source_name
from latent_rl.tasks.registry import TASKS, make_task
from latent_rl.tasks.sudoku import Sudoku


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


@dataclass(frozen=True, kw_only=True)
class Diagnose:
    """Show what every step adds, and where compute is dead."""

    task: str
    """Name of the task, or a folder of puzzles."""
    reasoner: str
    """Name of a shipped reasoner, or a folder."""
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
        task = matched(make_task(self.task), self.reasoner)
        reasoner = load_reasoner(self.reasoner).to(chosen_device(self.device))
        puzzles = first(task, self.split, self.num_puzzles)
        diagnosis = diagnose(reasoner, task, puzzles, self.steps)
        out = self.out or Path("runs/diagnose") / Path(self.reasoner).name
        title = f"{self.reasoner} on {len(puzzles)} {self.split} puzzles of {task.name}"
        write_diagnosis(out, title, diagnosis)
        if self.json:
            print(json.dumps(diagnosis.summary() | {"steps": diagnosis.steps, "sweep": diagnosis.sweep}, indent=2))
            return
        console = Console()
        print_diagnosis(console, title, diagnosis)
        console.print(f"Plot, JSON and TensorBoard run in {out}")


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """List the tasks."""

    def run(self) -> None:
        """Print one line for each."""
        table = Table("task", "L", "V", *SPLITS, caption="base puzzles in each split")
        for task in TASKS.values():
            try:
                counts = [f"{len(task.puzzles(split)):,}" for split in SPLITS]
            except MissingExtraError as error:
                counts = [escape(str(error))]
            table.add_row(task.name, str(task.seq_len), str(task.vocab_size), *counts)
        Console().print(table)


@dataclass(frozen=True, kw_only=True)
class Reasoners:
    """List the shipped reasoners."""

    def run(self) -> None:
        """Print one line for each."""
        headings = ("parameters", "T", "n", "N_sup", "trained on", "validation solved (steps)")
        table = Table(Column("reasoner", no_wrap=True), *headings)
        for name in shipped_reasoners():
            reasoner, facts = load_reasoner(name), reasoner_facts(name)
            config, chosen = reasoner.config, facts["decoding"]
            table.add_row(
                name,
                f"{sum(parameter.numel() for parameter in reasoner.parameters()):,}",
                str(config.num_cycles),
                str(config.num_latent_updates),
                str(config.num_supervision_steps),
                facts["train"]["task"],
                f"{chosen['solved_rate']:.3f} ({chosen['num_steps']})",
            )
        Console().print(table)


@dataclass(frozen=True, kw_only=True)
class Import:
    """Convert a run folder of the public TRM, HRM or DIS code (needs the extra "public")."""

    folder: tyro.conf.Positional[Path]
    """The run folder, with all_config.yaml and weights such as step_N; the newest weights are taken."""
    out: Path
    """The folder to write."""
    weights: Path | None = None
    """The weights file, if not the newest: its name in the run folder, or its path."""
    vocab_size: int | None = None
    """V; default: the weights tell."""
    seq_len: int | None = None
    """L, if neither the weights nor a dataset.json tell."""
    dataset: Path | None = None
    """The folder of the dataset that the run was trained on; it also tells what puzzle ids mean."""

    def run(self) -> None:
        """Convert, then say where the reasoner is."""
        with resumable(f"{self.out} holds no reasoner yet"):
            self._refuse_a_reasoner()
            run = load_public_run(self.folder, self.vocab_size, self.seq_len, self.dataset, self.weights)
            with run.weights.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            source = {"weights": run.weights.name, "sha256": digest, "arch": dataclasses.asdict(run.arch)}
            facts: dict[str, Any] = {"imported": source}
            with claimed(self.out, is_file=False):
                self._refuse_a_reasoner()
                if run.identifiers is not None:
                    facts |= write_identifiers(self.out, run.identifiers)
                save_reasoner(run.reasoner, self.out, facts)
        print(
            f"{run.weights.name}: reasoner (V={run.reasoner.vocab_size}, L={run.reasoner.seq_len}) saved in {self.out};"
            f" try: latent-rl evaluate --reasoner {self.out} --task ..."
        )

    def _refuse_a_reasoner(self) -> None:
        """One that is whole: what a stopped import has left is written anew."""
        if (self.out / CONFIG).exists() and (self.out / WEIGHTS).exists():
            raise InvalidValueError(f"--out must not hold a reasoner already; {self.out} does. Choose another folder.")


@dataclass(frozen=True, kw_only=True)
class MakeBank:
    """Generate a bank of base puzzles (needs the extra "generate")."""

    task: str
    """Name of a Sudoku task."""
    out: Path | None = None
    """The file to write; default: the shipped bank itself."""
    num_train: Annotated[int, COUNT] = 10_000
    """Training puzzles."""
    num_validation: Annotated[int, COUNT] = 1_000
    """Validation puzzles."""
    num_test: Annotated[int, COUNT] = 3_000
    """Test puzzles."""
    seed: Annotated[int, SEED] = 0
    """The generator's seed."""

    def run(self) -> None:
        """Generate and print the bank's facts."""
        from latent_rl.tasks.make_bank import make_bank

        check_fields(self)
        task = make_task(self.task)
        if not isinstance(task, Sudoku):
            raise InvalidValueError(f"make-bank needs a Sudoku task; got {task.name}, which draws its puzzles itself.")
        counts = dict(zip(SPLITS, (self.num_train, self.num_validation, self.num_test), strict=True))
        out = self.out or FOLDER / f"{task.name}.npz"
        if out.is_dir():
            raise FileError(f"--out must be a file to write; {out} is a folder.")
        with claimed(out, is_file=True):
            print(json.dumps(make_bank(task, counts, self.seed, out), indent=2))
