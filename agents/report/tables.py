"""Rows of a report as tables: in the terminal, in Markdown, as CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields

from rich.console import Console
from rich.table import Table
from rich.text import Text

from latent_rl.agents.report.rows import ReportRow

HEADINGS = ("agent", "solved", "95% interval", "forward passes", "steps", "return")


def table_cells(row: ReportRow) -> list[str]:
    """What people see of a row, under `HEADINGS`."""
    return [
        row.agent,
        f"{row.solved_rate:.3f}",
        f"{row.solved_low:.3f} - {row.solved_high:.3f}",
        f"{row.mean_passes:.1f}",
        f"{row.mean_steps:.1f}",
        f"{row.mean_return:.3f}",
    ]


def print_table(console: Console, title: str, rows: Sequence[ReportRow]) -> None:
    """Print one line for each row."""
    table = Table(title=Text(title), title_justify="left")  # as it is: no ":school:" becomes a picture
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == "agent" else "right")
    for row in rows:
        table.add_row(*table_cells(row))
    console.print(table)


def markdown_table(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its first column to the left and the others to the right."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def report_markdown(rows: Sequence[ReportRow]) -> str:
    """The rows as a Markdown table."""
    return markdown_table(HEADINGS, [table_cells(row) for row in rows])


def report_csv(rows: Sequence[ReportRow]) -> str:
    """All that the rows say as CSV, with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(ReportRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(asdict, rows))
    return text.getvalue()
