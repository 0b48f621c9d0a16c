"""Puzzles in a JSON document, such as an array of records or of grids, as the lines of a text or a table."""

import csv
import io
import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from latent_rl.storage.atomic import MAX_JSON
from latent_rl.tasks.files.text import Line


def as_lines(lines: Iterator[Line], num_cells: int) -> Iterator[Line]:
    """The lines of a text; of a JSON array a line for each of its items, by number, below one with a record's names.

    Args:
        lines: of any text; what is no JSON array, or is longer than `MAX_JSON`, stays as it is.
        num_cells: L, which tells one board of rows from several boards.
    """
    head: list[Line] = []
    size = 0
    for line in lines:
        head.append(line)
        size += len(line[1])
        if size > MAX_JSON or (len(head) == 1 and not line[1].lstrip("\ufeff \t").startswith("[") and line[1].strip()):
            return chain(head, lines)
    try:
        items = json.loads("\n".join(text for _, text in head))
        return iter(list(enumerate(_written(items, num_cells))))
    except (ValueError, RecursionError):
        return iter(head)


def _written(items: Any, num_cells: int) -> Iterator[str]:
    if not isinstance(items, list) or not items:
        raise ValueError("it is no array of puzzles")
    if all(isinstance(item, dict) for item in items):
        names = list(items[0])
        yield _row(names)
        yield from (_row([_cells(item.get(name, "")) for name in names]) for item in items)
        return
    boards = [_cells(item) for item in items]
    is_one = len("".join(boards)) == num_cells
    yield ""
    yield from ["".join(boards)] if is_one else boards


def _cells(value: Any) -> str:
    """A board as a symbol for each cell, whatever it is nested in; anything else as it is."""
    if isinstance(value, list):
        return "".join(map(_cells, value))
    return "." if value is None else " ".join(str(value).split("\n"))


def _row(fields: list[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()
