"""How fast everything is, as ratios within one run: a table, a plot, JSON.

    python benchmarks/speed/run.py --json runs/benchmarks.json --plots docs/images

One thread by default, and CPU time: a busy machine then disturbs ratios little. --quick only shows that all works.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from costs import memory, roofline, scaling, start_up
from environment import environment
from race import TABLE_HEAD, Row, Settings
from shares import profile
from solving import batching, inference, solver
from training import engines, workers

from latent_rl.errors import LatentRLError, UnknownNameError
from latent_rl.figures import new_figure
from latent_rl.storage.atomic import write_json

ENTRIES: dict[str, Callable[[Settings], list[Row]]] = {
    "solver": solver,
    "solver-compiled": partial(solver, compiled=True),
    "batching": batching,
    "inference": inference,
    "training": engines,
    "workers": workers,
    "environment": environment,
    "profile": profile,
    "roofline": roofline,
    "scaling": scaling,
    "memory": memory,
    "start-up": start_up,
}
MILLISECONDS = (5, 10, 20, 50, 100, 200, 500)
"""Marks of the cost curves' axis."""


@dataclass(kw_only=True)
class Args:
    """What to measure."""

    only: tuple[str, ...] = tuple(ENTRIES)
    """The entries to run."""
    quick: bool = False
    """As little as shows that everything works."""
    threads: int = 1
    """Threads of the machine to use."""
    json: Path | None = None
    """File for every value of every run."""
    plots: Path | None = None
    """Folder for speed.png and scaling.png."""


def plot(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Draw the ratios, and the cost curves with their exponents."""
    folder.mkdir(parents=True, exist_ok=True)
    bars = [row for row in rows if row["median_ratio"] is not None]
    if bars:
        figure = new_figure(9, 0.3 * len(bars) + 1)
        axes = figure.subplots()
        ratios = [row["median_ratio"] for row in bars]
        axes.barh(range(len(bars)), ratios, color=["C0" if ratio == 1 else "C7" for ratio in ratios])
        for place, ratio in enumerate(ratios):
            axes.text(ratio, place, f" {ratio:.3g}", va="center", fontsize=8)
        axes.set_yticks(range(len(bars)), [f"{row['entry']}: {row['what']}" for row in bars], fontsize=8)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xlim(0.5, 1.5 * max(ratios))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.margins(y=0.01)
        axes.set_xlabel("how many times as fast the entry's first contestant is")
        figure.savefig(folder / "speed.png", dpi=110)
    curves = [row for row in rows if row["entry"] == "scaling"]
    if curves:
        figure = new_figure(11, 2.8)
        panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
        for axes, row in zip(panels, curves, strict=True):
            x, y = zip(*row["curve"], strict=True)
            axes.loglog(x, [1000 * value for value in y], "o-")
            axes.minorticks_off()
            axes.set_xticks(x, [str(int(value)) for value in x], rotation=45)
            axes.set_yticks(MILLISECONDS, [str(value) for value in MILLISECONDS])
            axes.grid(alpha=0.3)
            axes.set_xlabel(row["what"].removeprefix("cost against "))
            axes.set_title(f"exponent {row['median']:.2f}", fontsize=9)
        panels[0].set_ylabel("milliseconds")
        figure.savefig(folder / "scaling.png", dpi=110)


def main(args: Args) -> None:
    """Run the entries; the table grows as they finish, and so does the JSON.

    Raises:
        UnknownNameError: there is no entry of that name.
    """
    for name in args.only:
        if name not in ENTRIES:
            raise UnknownNameError("benchmark", name, ENTRIES)
    torch.set_num_threads(args.threads)
    rows: list[dict[str, Any]] = []
    print(TABLE_HEAD)
    for name in args.only:
        for row in ENTRIES[name](Settings(args.quick, args.threads)):
            print(row.markdown(), flush=True)
            rows.append(row.facts())
        if args.json is not None:
            facts = {"quick": args.quick, "threads": args.threads, "torch": torch.__version__}
            write_json(args.json, facts | {"rows": rows})
    if args.plots is not None:
        plot(args.plots, rows)


if __name__ == "__main__":
    try:
        main(tyro.cli(Args, description=__doc__))
    except LatentRLError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(2)
