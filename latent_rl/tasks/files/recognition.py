"""Tell in which layout a text holds its puzzles."""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, islice
from typing import NamedTuple

from latent_rl.errors import InvalidValueError, PuzzleError, UnknownNameError
from latent_rl.tasks.base import Task
from latent_rl.tasks.files.board_text import BoardText
from latent_rl.tasks.files.layouts import (
    DELIMITERS,
    Boards,
    Header,
    Layout,
    Line,
    Lines,
    Row,
    Table,
    Words,
    column_number,
    objection,
    plain_name,
    split_fields,
)

QUESTIONS = frozenset({"question", "questions", "quiz", "quizzes", "puzzle", "puzzles", "sudoku", "board", "grid",
                       "problem", "input", "given"})  # fmt: skip
ANSWERS = frozenset({"answer", "answers", "solution", "solutions", "solved", "label", "labels", "output", "target"})
"""Columns that are known by their names, in small letters."""
_LEFT_OUT = frozenset({"state", "pencilmarks", "solution", "solutions", "answer", "answers", "colors"})
"""Sections, such as [State] in a .sdk file, that hold no puzzles."""
_SECTION = re.compile(r"\s*\[([A-Za-z ]+)\]\s*")
_LOOK_AT = 200
"""Lines in which other tasks look for their puzzles."""
_LOOK_AHEAD, _LOOK_AHEAD_CHARACTERS = 2_000, 2**22
"""Lines, and characters, among which the first puzzle must be."""


class NoPuzzleError(PuzzleError):
    """A text holds no puzzle of the task."""


class Reading(NamedTuple):
    """Puzzles, and how they were found in their text."""

    description: str
    rows: Iterator[Row]


def recognize(task: Task, lines: Iterator[Line], columns: tuple[str, ...] = ()) -> Reading:
    """Find out how a text holds puzzles: the first whole one decides, and no more than that is read ahead.

    Args:
        task: whose puzzles they are.
        lines: of the text.
        columns: names, or numbers from 1, of a table's columns with the puzzles and, if need be, with their answers.

    Raises:
        NoPuzzleError: with the reason, and the task that it would fit.
        PuzzleError: two columns may be the puzzles.
        UnknownNameError: there is no such column.
        InvalidValueError: `columns` are no names, or more than two.
    """
    text = BoardText(task)
    head: list[Line] = []
    if reading := _recognized(text, lines, columns, head):
        return reading
    raise NoPuzzleError(_no_puzzle(text, head))


def _recognized(text: BoardText, lines: Iterator[Line], columns: tuple[str, ...], head: list[Line]) -> Reading | None:
    """As `recognize`; the lines that are read ahead are kept in `head`."""
    lines = _puzzle_sections(lines)
    header: Header | None = None
    many = 4 * max(text.side, 16)
    room = _LOOK_AHEAD_CHARACTERS
    for line in islice(lines, _LOOK_AHEAD):
        head.append(line)
        if (room := room - len(line[1])) < 0:
            break
        if columns and not text.is_empty(line[1]):
            header = _named(text, line, columns)
            return _reading(Table(text, header, *header.places(columns)), head, lines, header)
        if layout := _of_line(text, line, header):
            return _reading(layout, head, lines, header)
        header = header or _header(line)
        if len(head) == many:
            if boards := _boards(text, head, ended=False):
                return _reading(boards, head, lines)
            many *= 4
    boards = _boards(text, head, ended=True)
    return _reading(boards, head, lines) if boards else None


def _no_puzzle(text: BoardText, head: list[Line]) -> str:
    """Why the first lines of a text hold no puzzle, and the task of which they do."""
    from latent_rl.tasks.registry import TASKS  # which knows the folders, which read tables

    written = [line for line in head if not text.is_empty(line[1])]
    if not written:
        return "must hold at least one puzzle; got none."
    likely = next((line for line in written if _looks_like_a_puzzle(text, line[1])), None)
    boards = text.side and next(Boards(text, text.side).rows(head), None)
    number, content = likely or written[0]
    if boards and not likely:
        number, reason = boards.line, str(boards.error)
    else:
        reason = objection(text, content)
    for other in TASKS.values():
        if other.seq_len != text.num_cells and other.has_rules:
            with suppress(PuzzleError):
                if _recognized(BoardText(other), iter(head[:_LOOK_AT]), (), []):
                    reason += f" It is one of {other.name}: use --task {other.name}."
                    break
    return f"must hold puzzles of {text.task.name}; line {number}: {reason}"


def _boards(text: BoardText, head: list[Line], ended: bool) -> Boards | None:
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


def _of_line(text: BoardText, line: Line, header: Header | None) -> Layout | None:
    """The layout of a text that has a whole puzzle in this line."""
    number, content = line
    if text.is_empty(content) or text.is_rule(content):
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
        if not _is_answer_alone(text, boards, names):
            head = header or Header(number, delimiter, names, is_header=False)
            return Table(text, head, *_roles(text, number, boards, names))
    words = dict(enumerate(text.whole_words(content)))
    return None if _is_answer_alone(text, words, []) else Words(text, len(words), *_roles(text, number, words, []))


def _is_answer_alone(text: BoardText, boards: dict[int, str], names: list[str]) -> bool:
    """Whether a line shows no puzzle, at the most the answer of one with a mistake in it."""
    questions = [board for place, board in boards.items() if ANSWERS.isdisjoint(names[place : place + 1])]
    return not questions or (len(questions) == 1 and bool(text.blanks) and text.blanks.isdisjoint(questions[0]))


def _roles(text: BoardText, number: int, boards: dict[int, str], names: list[str]) -> tuple[int, int | None]:
    """Which of the boards in a line is the puzzle, and which its answer.

    Raises:
        PuzzleError: neither the names nor the rules tell.
    """
    answers = [place for place in boards if not ANSWERS.isdisjoint(names[place : place + 1])]
    others = [place for place in boards if place not in answers]
    questions = [place for place in others if not QUESTIONS.isdisjoint(names[place : place + 1])] or others
    if len(questions) == 1 and len(answers) < 2:
        unnamed = [place for place in others if place not in questions and _solves(text, boards, questions[0], place)]
        rest = answers or unnamed
        return questions[0], rest[0] if len(rest) == 1 else None
    if len(questions) == 2 and not answers:
        first, second = questions
        blanks = text.blanks
        for tell in (
            lambda question, answer: _solves(text, boards, question, answer),
            lambda question, answer: blanks.isdisjoint(boards[answer]) and not blanks.isdisjoint(boards[question]),
        ):
            if tell(first, second) != tell(second, first):
                return (first, second) if tell(first, second) else (second, first)
    raise PuzzleError(
        f"line {number} has {len(boards)} boards, and which is the puzzle can't be told. Name its column, and that of"
        " its answer, by --columns."
    )


def _solves(text: BoardText, boards: dict[int, str], question: int, answer: int) -> bool:
    tokens = (text.task.read_grid(boards[place])[None] for place in (question, answer))
    return text.task.has_rules and bool(text.task.verify(*tokens))


def _header(line: Line) -> Header | None:
    """The header of a table whose columns we know."""
    number, content = line
    for delimiter in DELIMITERS:
        names = [plain_name(field) for field in split_fields(content, delimiter)]
        if len(names) > 1 and not QUESTIONS.isdisjoint(names):
            return Header(number, delimiter, names)
    return None


def _named(text: BoardText, line: Line, columns: tuple[str, ...]) -> Header:
    """The header of a table, its first line, with the columns that were asked for."""
    content = line[1]
    if len(columns) > 2 or "0" in columns:
        raise InvalidValueError(
            "--columns must name the column of the puzzles and, if need be, that of the answers, or number them from 1;"
            f" got {' '.join(columns)}."
        )
    tables = {d: [plain_name(field) for field in split_fields(content, d)] for d in (*DELIMITERS, " ")}
    numbers = {name: number for name in columns if (number := column_number(name))}
    wanted = [plain_name(name) for name in columns if name not in numbers]
    last = max(numbers.values(), default=1)
    for delimiter, names in tables.items():
        if set(wanted) <= set(names) and last <= len(names) and (len(names) > 1 or delimiter == " "):
            is_header = bool(wanted) or not _looks_like_a_puzzle(text, content)
            return Header(line[0], delimiter, names, is_header)
    most = max(tables.values(), key=len)
    missing = next((name for name in wanted if name not in most), str(last))
    raise UnknownNameError("column", missing, [*most, *map(str, range(1, len(most) + 1))])


def _puzzle_sections(lines: Iterator[Line]) -> Iterator[Line]:
    """The lines of a text without those of the sections that hold no puzzles."""
    is_left_out = False
    for line in lines:
        if "[" in line[1] and (found := _SECTION.fullmatch(line[1])):
            is_left_out = found[1].lower().replace(" ", "") in _LEFT_OUT
        if not is_left_out:
            yield line


def _reading(layout: Layout, head: list[Line], rest: Iterator[Line], header: Header | None = None) -> Reading:
    """The puzzles of a text whose first lines are known, without the words above them."""
    text = layout.text
    above = 0
    if not isinstance(layout, Boards):
        if header and header.is_header:
            head = [line for line in head if line[0] > header.line]
        *before, last = head or [(0, "")]
        before = [line for line in before if not text.is_empty(line[1])]
        kept = [line for line in before if _looks_like_a_puzzle(text, line[1])]
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


def _looks_like_a_puzzle(text: BoardText, line: str) -> bool:
    """Whether a line is a puzzle, or one with a mistake in it, rather than words."""
    return any(text.resembles(part, text.num_cells) for part in (line, *text.words(line)))
