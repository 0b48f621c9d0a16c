"""What people see of a comparison: tables, a plot, TensorBoard."""

import csv
import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from latent_rl.errors import FileError, LatentRLError, one_line
from latent_rl.figures import new_figure, png
from latent_rl.storage.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
_EVALUATION = ".evaluation"
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


def draw(title: str, rows: Sequence[Row], learned: Sequence[str]) -> "Figure":
    """A matplotlib figure: solved rate, with its interval, against mean forward passes; stars are learned."""
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    for i, row in enumerate(rows):
        is_learned = row["agent"] in learned
        center = row["solved_rate"]
        axes.errorbar(
            row["mean_passes"],
            center,
            yerr=[[max(0.0, center - row["solved_low"])], [max(0.0, row["solved_high"] - center)]],
            fmt="*" if is_learned else "x" if row["agent"] == "oracle" else "o",
            color=f"C{i % 10}",
            markersize=15 if is_learned else 7,
            zorder=3 if is_learned else 2,
            capsize=3,
            label=f"{row['agent']}: {center:.3f} with {row['mean_passes']:.1f} passes",
        )
    # An agent that solves hardly anything must not press the others together.
    worth_seeing = [row["solved_low"] for row in rows if row["solved_rate"] > 0.3] or [0.0]
    axes.set(xscale="log", xlabel="mean forward passes per puzzle", ylabel="solved rate", title=title)
    axes.set_ylim(max(-0.02, min(worth_seeing) - 0.04), 1.02)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:g}"[0] in "235" else "")
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8)
    return figure


def plot(path: Path, title: str, rows: Sequence[Row], learned: Sequence[str]) -> None:
    """Write the figure of `draw` as a PNG."""
    write_atomically(path, png(draw(title, rows, learned), dpi=150))


def log_evaluation(folder: Path, row: Row, steps: Sequence[int], facts: Mapping[str, str | int]) -> None:
    """Write one agent's evaluation into its TensorBoard run: the same tags for all, and a line of the HParams table.

    Args:
        folder: the run.
        row: of the report.
        steps: training steps at which the values are drawn; two make a line, beside the curves of agents that train.
        facts: the columns of the HParams table, before the metrics.

    Raises:
        FileError: it can't be written.
    """
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams

    metrics = {f"eval/{tag}": row[tag] for tag in EVALUATION_TAGS}
    for earlier in folder.glob(f"*{_EVALUATION}"):  # of a run that was cut here
        earlier.unlink()
    with logging_to(folder), SummaryWriter(str(folder), filename_suffix=_EVALUATION) as writer:
        for tag, value in metrics.items():
            for step in steps:
                writer.add_scalar(tag, value, step)
        # Not writer.add_hparams, which would make a run of its own for them.
        for summary in hparams(dict(facts), metrics):
            writer.file_writer.add_summary(summary)


@contextmanager
def logging_to(folder: Path) -> Iterator[None]:
    """Say in one line that a TensorBoard run could not be written.

    Its writer is a thread that ends with a traceback when the disk is full, and hands the error on to whoever writes
    next: the one line is enough.

    Raises:
        FileError: in place of `OSError`.
    """
    threading.excepthook = _end_quietly
    try:
        yield
    except LatentRLError:
        raise
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise FileError(f"the TensorBoard run {folder} could not be written: {reason}.") from error


def _end_quietly(end: threading.ExceptHookArgs) -> None:
    if not (isinstance(end.exc_value, OSError) and type(end.thread).__name__ == "_AsyncWriterThread"):
        threading.__excepthook__(end)
