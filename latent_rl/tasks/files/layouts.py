"""The layouts in which people keep puzzles in a text: lines, words among others, tables, boards."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple, Protocol

from torch import Tensor

from latent_rl.tasks.files.board_text import BoardText
from latent_rl.tasks.files.columns import DELIMITERS, Header, split_fields
from latent_rl.tasks.files.text import Line

_SHOWN = 200
"""Characters of a text that is no puzzle that are kept."""


class Row(NamedTuple):
    """A puzzle as a text has it, or what stands where one should.

    Attributes:
        line: number of the line in which it begins.
        question: a symbol for each cell; if there is an error, what was written.
        answer: the same for its answer, or what was written in its place; None if the text gives none.
        error: why it can't be read, if so.
        puzzle: the question as tokens, int64 [L], once they are read.
    """

    line: int
    question: str
    answer: str | None = None
    error: str | None = None
    puzzle: Tensor | None = None


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
                yield Row(number, cells) if cells else _bad(number, line, text.objection(line))


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
                yield _bad(number, line, wrong or text.objection(longest))


@dataclass(frozen=True)
class Table:
    """A table with the puzzles in one column, and perhaps their answers in another."""

    text: BoardText
    header: Header
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
        between = DELIMITERS.get(self.header.delimiter, "spaces")
        return f"a table with {between} between its columns, {', '.join(said)}"

    def rows(self, lines: Iterable[Line]) -> Iterator[Row]:
        """See `Layout`."""
        text, count, delimiter = self.text, self.text.num_cells, self.header.delimiter
        question, answer = self.question, self.answer
        for number, line in lines:
            if text.is_empty(line):
                continue
            fields = split_fields(line, delimiter)
            if len(fields) <= max(question, answer or 0):
                whole = "header" if self.header.is_header else "first"
                yield _bad(number, line, f"the row is shorter than the {whole}.")
            elif cells := text.cells(fields[question], count):
                solved = None if answer is None else text.cells(fields[answer], count) or fields[answer].strip() or None
                yield Row(number, cells, solved)
            else:
                yield _bad(number, fields[question], text.objection(fields[question]))


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


def _bad(number: int, written: str, reason: str) -> Row:
    return Row(number, written.strip()[:_SHOWN], error=reason)
