"""What people see of a comparison: tables, a plot, TensorBoard."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from latent_rl.config import write_atomically

Row = Mapping[str, Any]
EVALUATION_TAGS = ("solved_rate", "mean_passes", "mean_steps", "mean_return")


def table_cells(row: Row) -> list[str]:
    """A row of a table for people."""
    return [
        row["agent"],
        f"{row['solved_rate']:.3f}",
        f"{row['solved_low']:.3f} - {row['solved_high']:.3f}",
        f"{row['mean_passes']:.1f}",
        f"{row['mean_steps']:.1f}",
        f"{row['mean_return']:.3f}",
    ]


HEADINGS = ("agent", "solved", "95% interval", "forward passes", "steps", "return")


def print_table(console: Console, title: str, rows: Sequence[Row]) -> None:
    """Print one line for each agent."""
    table = Table(title=title, title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == "agent" else "right")
    for row in rows:
        table.add_row(*table_cells(row))
    console.print(table)


def markdown_table(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its first column to the left and the others to the right."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def csv_text(rows: Sequence[Row]) -> str:
    """The rows as CSV, with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def draw(title: str, rows: Sequence[Row], learned: Sequence[str]) -> Any:
    """A matplotlib figure: solved rate, with its interval, against mean forward passes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for row in rows:
        is_learned = row["agent"] in learned
        center, passes = row["solved_rate"], row["mean_passes"]
        axes.errorbar(
            passes,
            center,
            yerr=[[max(0.0, center - row["solved_low"])], [max(0.0, row["solved_high"] - center)]],
            fmt="*" if is_learned else "o",
            color="tab:red" if is_learned else "tab:gray" if row["agent"] in ("random", "oracle") else "tab:blue",
            markersize=14 if is_learned else 7,
            capsize=3,
        )
        axes.annotate(row["agent"], (passes, center), xytext=(8, 6), textcoords="offset points")
    axes.set(xlabel="mean forward passes per puzzle", ylabel="solved rate", title=title)
    axes.margins(x=0.12, y=0.12)
    axes.set_ylim(top=min(1.04, axes.get_ylim()[1]))
    axes.grid(alpha=0.3)
    return figure


def plot(path: Path, title: str, rows: Sequence[Row], learned: Sequence[str]) -> None:
    """Write the figure of `draw` as a PNG."""
    from matplotlib import pyplot as plt

    figure, buffer = draw(title, rows, learned), io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    plt.close(figure)
    write_atomically(path, buffer.getvalue())


def log_evaluation(folder: Path, row: Row, step: int) -> None:
    """Write one agent's evaluation into its TensorBoard run, under the same tags for all.

    Args:
        folder: the run.
        row: of the report.
        step: its training steps, the place of the point; 0 for those that do not train.
    """
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for tag in EVALUATION_TAGS:
            writer.add_scalar(f"eval/{tag}", row[tag], step)
