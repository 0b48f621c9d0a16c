"""The columns of a table: its fields, what a header calls them, and which of them are puzzles and answers."""

import csv
from collections.abc import Iterable
from typing import NamedTuple

from latent_rl.errors import InvalidValueError, PuzzleError, UnknownNameError
from latent_rl.tasks.files.board_text import BoardText
from latent_rl.tasks.files.text import Line

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
"""What may stand between the columns of a table; spaces may, too."""
QUESTIONS = frozenset({"question", "questions", "quiz", "quizzes", "puzzle", "puzzles", "sudoku", "board", "grid",
                       "problem", "input", "given"})  # fmt: skip
ANSWERS = frozenset({"answer", "answers", "solution", "solutions", "solved", "label", "labels", "output", "target"})
"""Columns that are known by their names, in small letters."""


class Header(NamedTuple):
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
        return [
            number - 1 if (number := column_number(name)) else self.names.index(plain_name(name)) for name in columns
        ]


def known_header(line: Line) -> Header | None:
    """The header of a table whose columns we know."""
    number, content = line
    for delimiter in DELIMITERS:
        names = [plain_name(field) for field in split_fields(content, delimiter)]
        if len(names) > 1 and not QUESTIONS.isdisjoint(names):
            return Header(number, delimiter, names)
    return None


def named_header(text: BoardText, line: Line, columns: tuple[str, ...]) -> Header:
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
            is_header = bool(wanted) or not text.looks_like_a_puzzle(content)
            return Header(line[0], delimiter, names, is_header)
    most = max(tables.values(), key=len)
    missing = next((name for name in wanted if name not in most), str(last))
    raise UnknownNameError("column", missing, [*most, *map(str, range(1, len(most) + 1))])


def is_answer_alone(text: BoardText, boards: dict[int, str], names: list[str]) -> bool:
    """Whether a line shows no puzzle, at the most the answer of one with a mistake in it."""
    questions = [board for place, board in boards.items() if ANSWERS.isdisjoint(names[place : place + 1])]
    return not questions or (len(questions) == 1 and bool(text.blanks) and text.blanks.isdisjoint(questions[0]))


def roles(text: BoardText, number: int, boards: dict[int, str], names: list[str]) -> tuple[int, int | None]:
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


def column_number(name: str) -> int | None:
    """The number of a column, from 1, if it is called by that."""
    return int(name) or None if name.isdecimal() and len(name) < 10 else None


def plain_name(name: str) -> str:
    """The name of a column in small letters, without quotes and spaces."""
    return name.strip().strip('"').casefold()


def split_fields(line: str, delimiter: str) -> list[str]:
    """The fields of a line of a table; a space stands for any number of them."""
    if delimiter == " ":
        return line.split()
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:  # a quote that never ends, say: then it is a symbol like any other
        return line.split(delimiter)
