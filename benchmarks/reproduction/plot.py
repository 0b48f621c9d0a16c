"""The plot of a task."""

import io

import numpy as np
from arms import ARMS, LONG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from summary import Arms


def draw(task: str, arms: Arms) -> bytes:
    """A PNG of two panels: validation against CPU time while training, and the test puzzles by supervision step."""
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, arm in arms.items():
        color = f"C{list(ARMS).index(name)}"
        style = {"color": color, "linestyle": "--" if name in LONG else "-"}
        for number, run in enumerate(arm.runs.values()):
            minutes = [row["cpu_seconds"] / 60 for row in run["curve"]]
            valid = [row["valid"] for row in run["curve"]]
            left.plot(minutes, valid, label=None if number else name, marker=".", alpha=0.7, **style)
        rates = arm.per_step().mean(0)
        marker = "o" if len(rates) == 1 else "."
        right.plot(np.arange(1, len(rates) + 1), rates, label=name, marker=marker, **style)
        right.plot(arm.num_steps, rates[arm.num_steps - 1], marker="s", color=color)
    left.set(xscale="log", xlabel="CPU minutes of training (a line per seed)", ylabel="valid, 100 validation puzzles")
    right.set(xlabel="supervision step (square: the last one trained)", ylabel="valid, test puzzles, mean over seeds")
    for panel in (left, right):
        panel.set_ylim(0, 1)
        panel.grid(alpha=0.3)
    left.xaxis.set_major_locator(LogLocator(2))
    left.xaxis.set_major_formatter("{x:g}")
    left.xaxis.set_minor_locator(NullLocator())
    if max(arm.valid.shape[1] for arm in arms.values()) > 16:
        right.set_xscale("log", base=2)
        right.xaxis.set_major_formatter("{x:g}")
    left.legend(fontsize=8)
    figure.suptitle(task, fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
