"""The layouts in which people keep puzzles in a text, and how to tell which one a text has."""

import csv
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from itertools import chain, islice
from typing import NamedTuple, Protocol

from latent_rl.errors import InvalidValueError, PuzzleError, UnknownNameError
from latent_rl.tasks.base import Task, has_rules
from latent_rl.tasks.board_text import BoardText

QUESTIONS = frozenset(
    (
        "question",
        "questions",
        "quiz",
        "quizzes",
        "puzzle",
        "puzzles",
        "sudoku",
        "board",
        "grid",
        "problem",
        "input",
        "given",
    )
)
ANSWERS = frozenset(("answer", "answers", "solution", "solutions", "solved", "label", "labels", "output", "target"))
"""Columns that are known by their names, in small letters."""
_LEFT_OUT = frozenset(("state", "pencilmarks", "solution", "solutions", "answer", "answers", "colors"))
"""Sections, such as [State] in a .sdk file, that hold no puzzles."""
_SECTION = re.compile(r"\s*\[([A-Za-z ]+)\]\s*")
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_LOOK_AHEAD = 10_000
"""Lines among which the first puzzle must be."""
_SHOWN = 200
"""Characters of a text that is no puzzle that are kept."""
Line = tuple[int, str]
"""Its number, from 1, and its text without what ends it."""


class Row(NamedTuple):
    """A puzzle as a text has it, or what stands where one should.

    Attributes:
        line: number of the line in which it begins.
        question: a symbol for each cell; if there is an error, what was written.
        answer: the same for its answer, or what was written in its place; None if the text gives none.
        error: why it can't be read, if so.
    """

    line: int
    question: str
    answer: str | None = None
    error: str | None = None


class NoPuzzleError(PuzzleError):
    """A text holds no puzzle of the task."""


class Layout(Protocol):
    """How a text holds its puzzles."""

    @property
    def text(self) -> BoardText:
        """How its boards are written."""

    @property
    def description(self) -> str:
        """In a few words."""

    def rows(self, lines: Iterable[Line]) -> Iterator[Row]:
        """The puzzles of a text."""


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
    header: _Header | None = None
    many = 4 * max(text.side, 16)
    for line in islice(lines, _LOOK_AHEAD):
        head.append(line)
        if columns and not text.is_empty(line[1]):
            header = _named(text, line, columns)
            return _reading(Table(text, header, *header.places(columns)), head, lines, header)
        if layout := _of_line(text, line, header):
            return _reading(layout, head, lines, header)
        header = header or _header(line)
        if len(head) == many:
            if boards := _boards(text, head, ended=False):
                return _reading(boards, head, lines)
            many *= 2
    boards = _boards(text, head, ended=True)
    return _reading(boards, head, lines) if boards else None


def objection(text: BoardText, line: str) -> str:
    """Why a line is no board."""
    try:
        text.task.read_grid(line if " " in text.symbols else line.strip())
    except PuzzleError as error:
        return str(error)
    return f"a {text.task.name} puzzle must have {text.num_cells} symbols, in one line or in the lines of a board."


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
        if other.seq_len != text.num_cells and has_rules(other):
            with suppress(PuzzleError):
                if _recognized(BoardText(other), iter(head[:_SHOWN]), (), []):
                    reason += f" It is one of {other.name}: use --task {other.name}."
                    break
    return f"must hold puzzles of {text.task.name}; line {number}: {reason}"


@dataclass(frozen=True)
class Lines:
    """A puzzle a line."""

    text: BoardText
    description = "a puzzle a line"

    def rows(self, lines: Iterable[Line]) -> Iterator[Row]:
        """See `Layout`."""
        text, count = self.text, self.text.num_cells
        for number, line in lines:
            if cells := text.cells(line, count):
                yield Row(number, cells)
            elif not text.is_empty(line):
                cells = text.cells(text.without_comment(line), count)
                yield Row(number, cells) if cells else _bad(number, line, objection(text, line))


@dataclass(frozen=True)
class Words:
    """A puzzle a line among other words, such as a rating; perhaps with its answer.

    Attributes:
        count: boards in a line.
        question: which of them is the puzzle.
        answer: which is its answer.
    """

    text: BoardText
    count: int
    question: int
    answer: int | None

    @property
    def description(self) -> str:
        """See `Layout`."""
        answer = "" if self.answer is None else f", its answer {'behind' if self.answer else 'before'} it"
        return f"a puzzle in each line, among other words{answer}"

    def rows(self, lines: Iterable[Line]) -> Iterator[Row]:
        """See `Layout`."""
        text = self.text
        for number, line in lines:
            boards = text.whole_words(line)
            if len(boards) == self.count:
                yield Row(number, boards[self.question], None if self.answer is None else boards[self.answer])
            elif not text.is_empty(line):
                longest = max(text.words(line), key=len, default="")
                wrong = f"the line must have {self.count} boards; got {len(boards)}." if boards else None
                yield _bad(number, line, wrong or objection(text, longest))


class _Header(NamedTuple):
    """A table's first line, or what can be told of one that has no names."""

    line: int
    delimiter: str
    names: list[str]
    is_header: bool = True

    def first_of(self, names: Iterable[str]) -> int | None:
        """Where the first column with one of these names is."""
        return next((place for place, name in enumerate(self.names) if name in names), None)

    def places(self, columns: Iterable[str]) -> list[int]:
        """Where the columns of these names, or numbers, are."""
        return [int(name) - 1 if name.isdecimal() else self.names.index(_plain(name)) for name in columns]


@dataclass(frozen=True)
class Table:
    """A table with the puzzles in one column, and perhaps their answers in another."""

    text: BoardText
    header: _Header
    question: int
    answer: int | None = None

    @property
    def description(self) -> str:
        """See `Layout`."""
        places = {"puzzles": self.question} | ({} if self.answer is None else {"answers": self.answer})
        names = self.header.names if self.header.is_header else []
        said = [
            f"{what} in column {place + 1}" + (f" ({names[place]})" if place < len(names) else "")
            for what, place in places.items()
        ]
        between = _DELIMITERS.get(self.header.delimiter, "spaces")
        return f"a table with {between} between its columns, {', '.join(said)}"

    def rows(self, lines: Iterable[Line]) -> Iterator[Row]:
        """See `Layout`."""
        text, count, delimiter = self.text, self.text.num_cells, self.header.delimiter
        question, answer = self.question, self.answer
        for number, line in lines:
            if text.is_empty(line):
                continue
            fields = _split(line, delimiter)
            if len(fields) <= max(question, answer or 0):
                whole = "header" if self.header.is_header else "first"
                yield _bad(number, line, f"the row is shorter than the {whole}.")
            elif cells := text.cells(fields[question], count):
                solved = None if answer is None else text.cells(fields[answer], count) or fields[answer].strip() or None
                yield Row(number, cells, solved)
            else:
                yield _bad(number, fields[question], objection(text, fields[question]))


class _Kind(Enum):
    """What a line can be in a text of boards: a row of cells, one that may also be a rule, one with a mistake in it; a
    rule; nothing; words."""

    ROW = auto()
    DASHES = auto()
    DAMAGED = auto()
    RULE = auto()
    EMPTY = auto()
    WORDS = auto()


class _Mark(NamedTuple):
    line: int
    kind: _Kind
    text: str
    cells: str = ""


@dataclass(frozen=True)
class Boards:
    """Boards of a row a line, one below the other.

    Attributes:
        block: rows between two empty lines: N if these part the boards, fewer if they also part the rows of a board, 0
            if nothing parts the boards.
        rules_part: a rule, such as ========, parts two boards, too; it is not drawn within one.
        has_marks: cells may hold pencil marks.
    """

    text: BoardText
    block: int
    rules_part: bool = False
    has_marks: bool = False

    @property
    def description(self) -> str:
        """See `Layout`."""
        side = self.text.side
        parted = "" if self.block else ", without a line between two of them"
        return f"boards of {side} lines{parted}" + (", pencil marks left out" if self.has_marks else "")

    def rows(self, lines: Iterable[Line]) -> Iterator[Row]:
        """See `Layout`."""
        return self.assembled(self.marks(lines))

    def marks(self, lines: Iterable[Line]) -> Iterator[_Mark]:
        """What each line is."""
        text = self.text
        for number, whole in lines:
            line = text.without_comment(whole)
            cells = text.cells(line, text.side) or (text.candidates(line) if self.has_marks else None)
            if cells:
                yield _Mark(number, _Kind.DASHES if text.is_rule(line) else _Kind.ROW, line, cells)
            elif text.is_empty(line):
                yield _Mark(number, _Kind.WORDS if whole.strip() else _Kind.EMPTY, line)
            elif text.is_rule(line):
                yield _Mark(number, _Kind.WORDS if self.rules_part else _Kind.RULE, line)
            else:
                yield _Mark(number, _Kind.DAMAGED if text.resembles(line, text.side) else _Kind.WORDS, line)

    def assembled(self, marks: Iterable[_Mark], ended: bool = True) -> Iterator[Row]:
        """The boards.

        Args:
            marks: what each line is.
            ended: whether more lines may follow.
        """
        side = self.text.side
        board: list[_Mark] = []
        blocks, before = 0, _Kind.EMPTY
        for mark in marks:
            if mark.kind is _Kind.RULE:
                continue
            if mark.kind in (_Kind.EMPTY, _Kind.WORDS):
                blocks += before not in (_Kind.EMPTY, _Kind.WORDS)
                goes_on = 0 < self.block < side and blocks * self.block < side and before is not mark.kind
                if mark.kind is _Kind.WORDS or not goes_on:
                    yield from self._board(board)
                    board, blocks = [], 0
            else:
                if self.block == side and mark.kind is _Kind.DAMAGED and self._is_whole(board):
                    yield from self._board(board)
                    board = []
                if len(board) < 4 * side:  # a board that never ends is refused anyhow
                    board.append(mark)
                if not self.block and len(_without_rules(board)) == side:
                    yield from self._board(board)
                    board = []
            before = mark.kind
        if ended:
            yield from self._board(board)

    def _without_title(self, marks: list[_Mark]) -> list[_Mark]:
        """The rows of a board; a title may look like a row that is damaged, say a date."""
        rows = _without_rules(marks)
        while len(rows) > self.text.side and rows[0].kind is _Kind.DAMAGED:
            rows = rows[1:]
        return rows

    def _is_whole(self, marks: list[_Mark]) -> bool:
        """Whether these lines are a board, so that another one begins behind them."""
        rows = self._without_title(marks)
        return len(rows) == self.text.side and all(row.kind is not _Kind.DAMAGED for row in rows)

    def _board(self, marks: list[_Mark]) -> Iterator[Row]:
        """One board, if these lines hold any."""
        side = self.text.side
        rows = self._without_title(marks)
        if all(row.kind is _Kind.DAMAGED for row in rows) and len(rows) < side:
            return
        damaged = [row for row in rows if row.kind is _Kind.DAMAGED]
        written = " / ".join(row.text.strip() for row in rows)
        if len(rows) != side:
            reason = f"a board must have {side} lines of {side} symbols; got {len(rows)} lines."
            yield _bad(rows[0].line, written, reason)
        elif damaged:
            reason = f"a row must have {side} symbols; line {damaged[0].line} is {damaged[0].text.strip()[:40]!r}."
            yield _bad(rows[0].line, written, reason)
        else:
            yield Row(rows[0].line, "".join(row.cells for row in rows))


def _without_rules(marks: list[_Mark]) -> list[_Mark]:
    """A row of dashes is a row of cells only in a board whose other rows have dashes for cells, too."""
    others = {symbol for mark in marks if mark.kind is _Kind.ROW for symbol in mark.cells}
    are_cells = not others or not others.isdisjoint("-_")
    return [mark for mark in marks if are_cells or mark.kind is not _Kind.DASHES]


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


def _of_line(text: BoardText, line: Line, header: _Header | None) -> Layout | None:
    """The layout of a text that has a whole puzzle in this line."""
    number, content = line
    if text.is_empty(content) or text.is_rule(content):
        return None
    count = text.num_cells
    if text.cells(content, count) or text.cells(text.without_comment(content), count):
        if (
            header
            and len(both := [first for first in map(header.first_of, (QUESTIONS, ANSWERS)) if first is not None]) == 2
        ):
            return Table(text, header, *both)  # of which this row lacks columns
        return Lines(text)
    for delimiter in [header.delimiter] if header else [d for d in _DELIMITERS if d in content]:
        fields = _split(content, delimiter)
        boards = {place: cells for place, field in enumerate(fields) if (cells := text.cells(field, count))}
        names = header.names if header else []
        if not _is_answer_alone(text, boards, names):
            head = header or _Header(number, delimiter, names, is_header=False)
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
    return has_rules(text.task) and bool(text.task.verify(*tokens))


def _header(line: Line) -> _Header | None:
    """The header of a table whose columns we know."""
    number, content = line
    for delimiter in _DELIMITERS:
        names = [_plain(field) for field in _split(content, delimiter)]
        if len(names) > 1 and not QUESTIONS.isdisjoint(names):
            return _Header(number, delimiter, names)
    return None


def _named(text: BoardText, line: Line, columns: tuple[str, ...]) -> _Header:
    """The header of a table, its first line, with the columns that were asked for."""
    number, content = line
    if len(columns) > 2 or "0" in columns:
        raise InvalidValueError(
            "--columns must name the column of the puzzles and, if need be, that of the answers, or number them from 1;"
            f" got {' '.join(columns)}."
        )
    tables = {d: [_plain(field) for field in _split(content, d)] for d in (*_DELIMITERS, " ")}
    wanted = [_plain(name) for name in columns if not name.isdecimal()]
    last = max((int(name) for name in columns if name.isdecimal()), default=1)
    for delimiter, names in tables.items():
        if set(wanted) <= set(names) and last <= len(names) and (len(names) > 1 or delimiter == " "):
            is_header = bool(wanted) or not _looks_like_a_puzzle(text, content)
            return _Header(number, delimiter, names, is_header)
    most = max(tables.values(), key=len)
    missing = next((name for name in wanted if name not in most), str(last))
    raise UnknownNameError("column", missing, [*most, *map(str, range(1, len(most) + 1))])


def _plain(name: str) -> str:
    return name.strip().strip('"').casefold()


def _split(line: str, delimiter: str) -> list[str]:
    """The fields of a line of a table; a space stands for any number of them."""
    if delimiter == " ":
        return line.split()
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:  # a quote that never ends, say: then it is a symbol like any other
        return line.split(delimiter)


def _puzzle_sections(lines: Iterator[Line]) -> Iterator[Line]:
    """The lines of a text without those of the sections that hold no puzzles."""
    is_left_out = False
    for line in lines:
        if "[" in line[1] and (found := _SECTION.fullmatch(line[1])):
            is_left_out = found[1].lower().replace(" ", "") in _LEFT_OUT
        if not is_left_out:
            yield line


def _reading(layout: Layout, head: list[Line], rest: Iterator[Line], header: _Header | None = None) -> Reading:
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


def _bad(number: int, written: str, reason: str) -> Row:
    return Row(number, written.strip()[:_SHOWN], error=reason)
