"""How people write boards: which symbols a task's cells have, and what is drawn around them."""

import math
import re

from latent_rl.errors import PuzzleError
from latent_rl.tasks.base import Task

_BARS = str.maketrans(dict.fromkeys("¦│┃║", "|") | {"\u00a0": " "})
_SEPARATORS = " \t|,!;:/[](){}'\""
_STROKES = frozenset("-=+~_").union(map(chr, range(0x2500, 0x2580)))
_RULE = "".join(_STROKES) + " \t*.:'`|"
"""What a rule may be drawn with, and what it must have some of."""
_CANDIDATES = re.compile(r"1?2?3?4?5?6?7?8?9?|[uU]\d")
_MANY = 3
"""A line with more than so many times the symbols of a row is no row, not even a damaged one."""
_WIDEST = 12
"""Characters that a cell takes in a line, at the most."""
_SYMBOLS = [*map(chr, range(32, 127)), *"·□█♕♛"]
"""What may stand for a cell, if the task reads it."""


class BoardText:
    """Reads cells out of what people draw: bars, spaces between digits, spaces for blanks, cells between commas.

    Attributes:
        task: whose boards they are.
        num_cells: L.
        side: rows, and cells of a row; 0 if the board is no square.
        symbols: what the task reads as a cell.
        blank: the symbol for a cell that is drawn as nothing; None if the task's boards have no blanks.
        blanks: all symbols that mean the same as `blank`.
        comment: what begins a comment; "" if nothing does.
    """

    def __init__(self, task: Task) -> None:
        self.task, self.num_cells = task, task.seq_len
        side = math.isqrt(task.seq_len)
        self.side = side if 1 < side**2 == task.seq_len else 0
        tokens = {symbol: token for symbol in _SYMBOLS if (token := _token(task, symbol)) is not None}
        self.symbols = frozenset(tokens)
        self._known = "".join(tokens)
        self.blank = next((symbol for symbol in "._" if symbol in tokens), None)
        self.blanks = frozenset(s for s, token in tokens.items() if self.blank and token == tokens[self.blank])
        self.comment = "" if task.comment[:1] in self.symbols else task.comment
        self._group = re.compile(f"[^{re.escape(''.join(set(_SEPARATORS) - self.symbols))}]+")

    def cells(self, text: str, count: int) -> str | None:
        """One symbol for each of `count` cells that a text shows; None if it does not show so many.

        It may hold the symbols alone; or groups of one size with bars, spaces, commas or brackets between them; or a
        cell between each two commas, semicolons, tabs or bars, where nothing is a blank; or every cell in its column
        of the text, where a space is a blank, as long as nothing else is.
        """
        if not self.symbols:  # a task that reads its puzzles in a way of its own
            return text.strip() or None if count == self.num_cells else None
        if len(text) == count and not text.strip(self._known):  # the common case, quickly
            return text
        if len(text) > count and len(alone := text.strip()) == count and not alone.strip(self._known):
            return alone
        if not count - 1 <= len(text) <= _WIDEST * count:
            return None
        text = text.translate(_BARS)
        groups = self._group.findall(text)
        joined = "".join(groups)
        if len(joined) == count and len(set(map(len, groups))) == 1 and self.symbols.issuperset(joined):
            return joined
        if self.blank is None:
            return None
        return self._separated(text, count, self.blank) or self._aligned(text, count, self.blank)

    def candidates(self, text: str) -> str | None:
        """The cells of a row with pencil marks: one digit is given, several are a blank, so is what a player placed."""
        words = text.translate(_BARS).replace("|", " ").split()
        fits = len(words) == self.side and self.blank and all(map(_CANDIDATES.fullmatch, words))
        row = "".join(word if len(word) == 1 else str(self.blank) for word in words)
        return row if fits and self.symbols.issuperset(row) else None

    def words(self, text: str) -> list[str]:
        """What stands between spaces, commas, quotes, brackets and the like."""
        return re.split(r"[\s,;|:\"'<>=()\[\]{}]+", text)

    def whole_words(self, text: str) -> list[str]:
        """The words that are whole boards."""
        return [word for word in self.words(text) if len(word) == self.num_cells and self.symbols.issuperset(word)]

    def is_empty(self, text: str) -> bool:
        """Whether a line holds nothing but spaces, brackets and the like, or a comment."""
        line = text.strip(_SEPARATORS)
        return not line or (bool(self.comment) and line.startswith(self.comment))

    def without_comment(self, text: str) -> str:
        """A line up to its comment."""
        return text.partition(self.comment)[0] if self.comment and self.comment in text else text

    def is_rule(self, text: str) -> bool:
        """Whether a line is drawn between cells, such as ------+-------+------ or a row of blanks written as -."""
        return not text.strip(_RULE) and not _STROKES.isdisjoint(text)

    def resembles(self, text: str, count: int) -> bool:
        """Whether a text looks like `count` cells with a mistake in them rather than like words."""
        if not count / 2 <= len(text) <= _WIDEST * count:
            return False
        written = [symbol for symbol in "".join(self._group.findall(text)) if symbol != " "]
        known = sum(symbol in self.symbols for symbol in written)
        return count / 2 <= len(written) <= _MANY * count and 3 * known >= 2 * len(written)

    def _separated(self, text: str, count: int, blank: str) -> str | None:
        """A cell between each two separators."""
        for separator in ",;\t|":
            if separator in text:
                parts = _between_bars(text) if separator == "|" else text.split(separator)
                cells = [part.strip(" \"'") or blank for part in parts]
                if len(cells) == count and self.symbols.issuperset(cells):
                    return "".join(cells)
        return None

    def _aligned(self, text: str, count: int, blank: str) -> str | None:
        """A cell at every so many characters from bar to bar."""
        groups = _between_bars(text)
        if count % len(groups):
            return None
        row = ""
        for group in groups:
            readings = _readings(group, count // len(groups))
            if len(readings) != 1:
                return None
            row += readings.pop()
        if " " in row and " " not in self.symbols and not self.blanks.isdisjoint(row):
            return None
        row = row.replace(" ", blank)
        return row if self.symbols.issuperset(row) else None


def _token(task: Task, symbol: str) -> int | None:
    try:
        return int(task.read_grid(symbol * task.seq_len)[0])
    except PuzzleError:
        return None


def _between_bars(text: str) -> list[str]:
    """What stands between bars; a frame adds nothing."""
    groups = text.split("|")
    if len(groups) > 1 and not groups[0].strip():
        groups = groups[1:]
    if len(groups) > 1 and not groups[-1].strip() and text.rstrip().endswith("|"):
        groups = groups[:-1]
    return groups


def _readings(group: str, count: int) -> set[str]:
    """The ways to see `count` cells at equal distances in a text that holds nothing but spaces elsewhere."""
    found = set()
    for distance in range(1, 5):
        for start in range(distance):
            end = start + distance * (count - 1)
            if end < len(group) <= end + distance:
                rest = [symbol for place, symbol in enumerate(group) if (place - start) % distance or place > end]
                if all(symbol == " " for symbol in rest):
                    found.add(group[start : end + 1 : distance])
    return found
