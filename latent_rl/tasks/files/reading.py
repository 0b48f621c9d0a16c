"""Find the puzzles of a text, and stream them."""

import re
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from latent_rl.tasks.base import Task
from latent_rl.tasks.files.board_text import BoardText
from latent_rl.tasks.files.layouts import Boards, Row, Table
from latent_rl.tasks.files.recognition import Recognized, recognize
from latent_rl.tasks.files.text import Line

_LEFT_OUT = frozenset({"state", "pencilmarks", "solution", "solutions", "answer", "answers", "colors"})
"""Sections, such as [State] in a .sdk file, that hold no puzzles."""
_SECTION = re.compile(r"\s*\[([A-Za-z ]+)\]\s*")


class Reading(NamedTuple):
    """Puzzles, and how they were found in their text."""

    description: str
    rows: Iterator[Row]


def read_text(task: Task, lines: Iterator[Line], columns: tuple[str, ...] = ()) -> Reading:
    """Find out how a text holds puzzles, and read them as they are asked for.

    Args:
        task: whose puzzles they are.
        lines: of the text.
        columns: names, or numbers from 1, of a table's columns with the puzzles and, if need be, with their answers.

    Raises:
        NoPuzzleError: it holds none.
        PuzzleError: two columns may be the puzzles.
        UnknownNameError: there is no such column.
        InvalidValueError: `columns` are no names, or more than two.
    """
    lines = _puzzle_sections(lines)
    return _reading(recognize(BoardText(task), lines, columns), lines)


def _puzzle_sections(lines: Iterator[Line]) -> Iterator[Line]:
    """The lines of a text without those of the sections that hold no puzzles."""
    is_left_out = False
    for line in lines:
        if "[" in line[1] and (found := _SECTION.fullmatch(line[1])):
            is_left_out = found[1].lower().replace(" ", "") in _LEFT_OUT
        if not is_left_out:
            yield line


def _reading(recognized: Recognized, rest: Iterator[Line]) -> Reading:
    """The puzzles of a text whose first lines are known, without the words above them."""
    layout, head, header = recognized
    header = layout.header if isinstance(layout, Table) else header
    text = layout.text
    above = 0
    if not isinstance(layout, Boards):
        if header and header.is_header:
            head = [line for line in head if line[0] > header.line]
        *before, last = head or [(0, "")]
        before = [line for line in before if not text.is_empty(line[1])]
        kept = [line for line in before if text.looks_like_a_puzzle(line[1])]
        head, above = [*kept, last], len(before) - len(kept)
    first = next((row.question for row in layout.rows(head) if not row.error), "")
    blanks = sorted(text.blanks.intersection(first))
    are_drawn = any(blank in line for blank in blanks for _, line in head)
    written = " ".join(map(repr, blanks)) if are_drawn else "spaces or nothing"
    said = f"{layout.description}, blanks {written}" if blanks else layout.description
    if any((found := _SECTION.fullmatch(line)) and found[1].lower() == "puzzle" for _, line in head):
        said += "; of its sections [Puzzle]"
    if above:
        said += f"; lines of words above them: {above}"
    return Reading(said, layout.rows(chain(head, rest)))
