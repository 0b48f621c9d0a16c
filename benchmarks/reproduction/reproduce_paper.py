"""Train, evaluate and report every arm of the paper's comparison.

`python benchmarks/reproduction/reproduce_paper.py` takes hours, can be killed at any moment and goes on where it was;
finished runs (a JSON file in benchmarks/results/reproduction each; remove it to train anew) are
skipped. With `--quick` the same code runs with tiny budgets in minutes, in runs/reproduce-quick. Every training is a
command of `latent-rl` itself, which the report prints.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
import tyro
from arms import ARMS, SEEDS, SETTINGS, Run, queue
from measure import measure
from report import write_report

from latent_rl.errors import InvalidValueError, LatentRLError, UnknownNameError
from latent_rl.storage.atomic import read_json, write_json

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Args:
    """Reproduce the paper's comparison."""

    quick: bool = False
    """Tiny budgets, to see that everything runs."""
    tasks: list[str] = field(default_factory=lambda: list(SETTINGS))
    """Which tasks, the most important first."""
    arms: list[str] = field(default_factory=lambda: list(ARMS))
    """Which arms."""
    only_seeds: list[int] = field(default_factory=lambda: list(SEEDS))
    """Which seeds; elsewhere `--seeds` is how many."""
    report_only: bool = False
    """Train nothing; write the report of what is there."""

    def __post_init__(self) -> None:
        """Check the names."""
        for kind, names, known in (("task", self.tasks, SETTINGS), ("arm", self.arms, ARMS)):
            for name in names:
                if name not in known:
                    raise UnknownNameError(kind, name, known)

    @property
    def folder(self) -> Path:
        """Where the trainings go."""
        return Path("runs/reproduce-quick" if self.quick else "runs/reproduce")

    @property
    def results(self) -> Path:
        """Where the results go: into version control, unless they are of the quick mode."""
        return self.folder / "results" if self.quick else ROOT / "benchmarks/results/reproduction"

    @property
    def document(self) -> Path:
        """The report."""
        return self.folder / "reproduction.md" if self.quick else ROOT / "docs/reproduction.md"


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Hold a run's folder alone; a training inherits the lock, so that it outlives a killed parent."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def is_finished(run: Run, args: Args) -> bool:
    """Whether the result is there.

    Raises:
        InvalidValueError: it comes from another command.
    """
    path = args.results / f"{run.name}.json"
    if not path.exists():
        return False
    wanted, got = " ".join(run.options(args.folder, is_quick=args.quick)), read_json(path)["command"]
    if got != f"latent-rl {wanted}":
        raise InvalidValueError(
            f"{path} must come from `latent-rl {wanted}`; it comes from `{got}`. Remove it, and the folder of its"
            " training, to run it again."
        )
    return True


def complete(run: Run, args: Args) -> None:
    """Train what is left of a run, evaluate it, write its result."""
    options = run.options(args.folder, is_quick=args.quick)
    out = Path(options[options.index("--out") + 1])
    with locked(out) as lock:
        if is_finished(run, args):  # by another process, while this one waited
            return
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        subprocess.run([sys.executable, "-m", "latent_rl", *options], check=True, pass_fds=(lock,), env=environment)
        result = measure(run, out, is_quick=args.quick)
        write_json(args.results / f"{run.name}.json", {"command": " ".join(["latent-rl", *options]), **result})


def report(args: Args) -> None:
    """Write the report; one process at a time."""
    with locked(args.folder):
        write_report(args.results, args.document)


def main(args: Args) -> int:
    """Run the queue, writing the report after every run; exit status 1 if a run failed."""
    torch.set_num_threads(1)
    failed = []
    for run in [] if args.report_only else queue(args.tasks, args.arms, args.only_seeds):
        if is_finished(run, args):
            continue
        print(f"== {run.name}", flush=True)
        try:
            complete(run, args)
        except subprocess.CalledProcessError as error:
            print(f"{run.name} failed: {error}", file=sys.stderr, flush=True)
            failed.append(run.name)
            continue
        report(args)
    report(args)
    print(f"report in {args.document}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Args, description=__doc__)))
    except LatentRLError as error:
        sys.exit(f"reproduce_paper: {error}")
