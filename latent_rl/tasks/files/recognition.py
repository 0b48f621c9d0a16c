"""In which layout a text holds its puzzles: the first whole one decides, and no more than that is read ahead."""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from latent_rl.errors import PuzzleError
from latent_rl.tasks.files.board_text import BoardText
from latent_rl.tasks.files.columns import (
    ANSWERS,
    DELIMITERS,
    QUESTIONS,
    Header,
    is_answer_alone,
    known_header,
    named_header,
    roles,
    split_fields,
)
from latent_rl.tasks.files.layouts import Boards, Layout, Lines, Table, Words
from latent_rl.tasks.files.text import Line

_LOOK_AHEAD, _LOOK_AHEAD_CHARACTERS = 2_000, 2**22
"""Lines, and characters, among which the first puzzle must be."""


class NoPuzzleError(PuzzleError):
    """A text holds no puzzle of the task.

    Attributes:
        head: its first lines; none if they are empty.
    """

    def __init__(self, reason: str, head: list[Line]) -> None:
        super().__init__(reason)
        self.head = head


class Recognized(NamedTuple):
    """How a text holds its puzzles.

    Attributes:
        layout: it.
        head: the lines that were read ahead.
        header: the table's first line that was met, if one was.
    """

    layout: Layout
    head: list[Line]
    header: Header | None


def recognize(text: BoardText, lines: Iterator[Line], columns: tuple[str, ...]) -> Recognized:
    """Read ahead until a layout fits.

    Args:
        text: how the task's boards are written.
        lines: of the text.
        columns: names, or numbers from 1, of a table's columns with the puzzles and, if need be, with their answers.

    Raises:
        NoPuzzleError: none fits.
        PuzzleError: two columns may be the puzzles.
        UnknownNameError: there is no such column.
        InvalidValueError: `columns` are no names, or more than two.
    """
    head: list[Line] = []
    header: Header | None = None
    many = 4 * max(text.side, 16)
    room = _LOOK_AHEAD_CHARACTERS
    for line in islice(lines, _LOOK_AHEAD):
        head.append(line)
        if (room := room - len(line[1])) < 0:
            break
        if layout := _layout_of_line(text, line, header, columns):
            return Recognized(layout, head, header)
        header = header or known_header(line)
        if len(head) == many:
            if boards := _layout_of_boards(text, head, ended=False):
                return Recognized(boards, head, None)
            many *= 4
    if boards := _layout_of_boards(text, head, ended=True):
        return Recognized(boards, head, None)
    raise _no_puzzle(text, head)


def _layout_of_line(text: BoardText, line: Line, header: Header | None, columns: tuple[str, ...]) -> Layout | None:
    """The layout of a text that has a whole puzzle in this line, or the columns that were asked for."""
    number, content = line
    if text.is_empty(content):
        return None
    if columns:
        named = named_header(text, line, columns)
        return Table(text, named, *named.places(columns))
    if text.is_rule(content):
        return None
    count = text.num_cells
    if text.cells(content, count) or text.cells(text.without_comment(content), count):
        question, answer = (header.first_of(QUESTIONS), header.first_of(ANSWERS)) if header else (None, None)
        if header and question is not None and answer is not None:
            return Table(text, header, question, answer)  # of which this row lacks columns
        return Lines(text)
    for delimiter in [header.delimiter] if header else [d for d in DELIMITERS if d in content]:
        fields = split_fields(content, delimiter)
        boards = {place: cells for place, field in enumerate(fields) if (cells := text.cells(field, count))}
        names = header.names if header else []
        if not is_answer_alone(text, boards, names):
            head = header or Header(number, delimiter, names, is_header=False)
            return Table(text, head, *roles(text, number, boards, names))
    words = dict(enumerate(text.whole_words(content)))
    return None if is_answer_alone(text, words, []) else Words(text, len(words), *roles(text, number, words, []))


def _layout_of_boards(text: BoardText, head: list[Line], ended: bool) -> Boards | None:
    """The way to part boards by which the first lines hold some."""
    side = text.side
    if not side:
        return None
    bands = [count for count in range(side // 2, 0, -1) if side % count == 0]
    for has_marks in (False, True):
        for rules_part, blocks in ((False, [side, *bands]), (True, [side]), (False, [0])):
            marks = list(Boards(text, side, rules_part, has_marks).marks(head))
            for block in blocks:
                layout = Boards(text, block, rules_part, has_marks)
                if any(row.error is None for row in layout.assembled(marks, ended)):
                    return layout
    return None


def _no_puzzle(text: BoardText, head: list[Line]) -> NoPuzzleError:
    """Why the first lines of a text hold no puzzle."""
    written = [line for line in head if not text.is_empty(line[1])]
    if not written:
        return NoPuzzleError("must hold at least one puzzle; got none.", [])
    likely = next((line for line in written if text.looks_like_a_puzzle(line[1])), None)
    boards = text.side and next(Boards(text, text.side).rows(head), None)
    number, content = likely or written[0]
    if boards and not likely:
        number, reason = boards.line, str(boards.error)
    else:
        reason = text.objection(content)
    return NoPuzzleError(f"must hold puzzles of {text.task.name}; line {number}: {reason}", head)
