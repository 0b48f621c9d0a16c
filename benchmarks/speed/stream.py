"""A million puzzles through `latent-rl solve`: how much memory it holds on the way (Linux).

python benchmarks/speed/stream.py --plot docs/images/stream_memory.png
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from latent_rl.figures import new_figure
from latent_rl.storage.atomic import write_json
from latent_rl.tasks.base import Task, sample
from latent_rl.tasks.registry import make_task


@dataclass(kw_only=True)
class Args:
    """How many puzzles, and where the curve goes."""

    count: int = 1_000_000
    """Puzzles: the bank's, in random views."""
    task: str = "sudoku4x4"
    """A Sudoku task."""
    batch_size: int = 256
    """Puzzles that are solved at the same time."""
    plot: Path | None = None
    """Image of the curve."""
    json: Path | None = None
    """File for the curve's points."""
    every: float = 1.0
    """Seconds between two points."""


def write_puzzles(task: Task, count: int, path: Path) -> None:
    """Write `count` puzzles, one a line."""
    generator, base = torch.Generator().manual_seed(0), task.puzzles("train")
    with path.open("wb") as file:
        for start in range(0, count, 10_000):
            tokens = sample(task, base, min(10_000, count - start), generator).inputs.numpy()
            symbols = np.where(tokens > 1, tokens - 1 + ord("0"), ord(".")).astype(np.uint8)
            newlines = np.full((len(tokens), 1), ord("\n"), dtype=np.uint8)
            file.write(np.concatenate([symbols, newlines], axis=1).tobytes())


def resident_mib(process: int) -> float:
    """Resident memory of a process; 0 if it has ended."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def watch(args: Args, folder: Path) -> list[tuple[float, float]]:
    """Solve them, and return (share of the results written, MiB) along the way.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    puzzles, out = folder / "puzzles.txt", folder / "solved.csv"
    write_puzzles(make_task(args.task), args.count, puzzles)
    command = [
        sys.executable, "-m", "latent_rl", "solve", "--task", args.task, "--file", str(puzzles), "--out", str(out),
        "--batch-size", str(args.batch_size),
    ]  # fmt: skip
    points: list[tuple[float, float]] = []
    solving = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while solving.poll() is None:
        if out.exists() and (memory := resident_mib(solving.pid)):
            points.append((float(out.stat().st_size), memory))
        time.sleep(args.every)
    if solving.returncode not in (0, 1):  # 1: some are not solved
        raise subprocess.CalledProcessError(solving.returncode, command)
    whole = out.stat().st_size
    return [(size / whole, memory) for size, memory in points]


def plot(path: Path, args: Args, points: list[tuple[float, float]]) -> None:
    """Draw the curve."""
    figure = new_figure(6, 2.8)
    axes = figure.subplots()
    axes.plot([done * args.count for done, _ in points], [memory for _, memory in points])
    top = 1.25 * max(memory for _, memory in points)
    axes.set(xlabel=f"{args.task} puzzles solved", ylabel="resident MiB", ylim=(0, top), xlim=(0, args.count))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(args: Args) -> None:
    """Watch, then report the range of memory after the first twentieth of the stream."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        points = watch(args, Path(folder))
    settled = [memory for done, memory in points if done > 0.05]
    print(
        f"{args.count:,} puzzles of {args.task} in {time.perf_counter() - started:,.0f} s; resident memory"
        f" {min(settled):.0f}-{max(settled):.0f} MiB after the first twentieth"
    )
    if args.json is not None:
        write_json(args.json, {"count": args.count, "task": args.task, "points": points})
    if args.plot is not None:
        plot(args.plot, args, points)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
