"""ARC's grids: as tokens on a square canvas, and as they look under another colouring and turn of the square."""

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

PAD, END, FIRST_COLOUR, NUM_COLOURS = 0, 1, 2, 10
MAX_SIDE = 30
Grid = np.ndarray
"""Colours, integers [H, W] in 0..9."""
_PUBLIC_TURNS = (0, 1, 2, 3, 6, 5, 7, 4)
"""The public code's number of each symmetry of the square."""
_VIEW = re.compile(r"(?P<task>.+?)(?P<separator>\|\|\||_)t(?P<turn>[0-7])(?P=separator)(?P<colours>0\d{9})")
"""How it names a view; its first versions put `_` between the parts."""
_DRAWS = 5
"""Augmentations that are drawn for each one that is wanted, as some of them look alike."""


@dataclass(frozen=True)
class Augmentations:
    """The K augmentations of one of ARC's tasks; number 0 changes nothing.

    Attributes:
        turns: uint8 [K], which of the 8 symmetries of the square: quarter turns, 0..3; of the transposed grid, 4..7.
        colours: uint8 [K, 10], the new name of every colour; 0, the background, keeps its own.
    """

    turns: np.ndarray
    colours: np.ndarray

    def __len__(self) -> int:
        return len(self.turns)

    def names(self, task: str) -> list[str]:
        """What the public code calls them: turn and colours after the task's name, which alone is the plain view."""
        views = zip(self.turns[1:].tolist(), self.colours[1:].tolist(), strict=True)
        return [task, *(f"{task}|||t{_PUBLIC_TURNS[turn]}|||{''.join(map(str, colours))}" for turn, colours in views)]

    @staticmethod
    def of_names(task: str, names: Iterable[str]) -> "Augmentations":
        """The inverse of `names`, up to the first name that is none of the task's."""
        turns, colours = [0], [list(range(NUM_COLOURS))]
        for name in itertools.islice(names, 1, None):
            match = _VIEW.fullmatch(name)
            if match is None or match["task"] != task or len(set(match["colours"])) < NUM_COLOURS:
                break
            turns.append(_PUBLIC_TURNS.index(int(match["turn"])))
            colours.append([int(colour) for colour in match["colours"]])
        return Augmentations(np.array(turns, dtype=np.uint8), np.array(colours, dtype=np.uint8))

    def apply(self, number: int, grid: Grid) -> Grid:
        """The grid as augmentation `number` shows it."""
        turn = int(self.turns[number])
        return self.colours[number][np.rot90(grid.T if turn >= 4 else grid, turn % 4)]

    def invert(self, number: int, grid: Grid) -> Grid:
        """The grid that augmentation `number` shows so: the inverse of `apply`."""
        turn = int(self.turns[number])
        back = np.rot90(self.colours[number].argsort()[grid], -(turn % 4))
        return back.T if turn >= 4 else back

    def that_show(self, grid: Grid, shown: Grid) -> list[int]:
        """The numbers of the augmentations under which `grid` looks like `shown`."""
        found: list[int] = []
        for turn in range(8):
            turned = np.rot90(grid.T if turn >= 4 else grid, turn % 4)
            if turned.shape == shown.shape:
                numbers = np.flatnonzero(self.turns == turn)
                found += numbers[(self.colours[numbers][:, turned] == shown).all((1, 2))].tolist()
        return found


def signature(grid: Grid) -> tuple[int, ...]:
    """Numbers that are the same in all views of a grid: its sides, and how many cells have each colour."""
    background, *counts = np.bincount(grid.ravel(), minlength=NUM_COLOURS).tolist()
    return (*sorted(grid.shape), background, *sorted(counts))


EVERY_TURN = Augmentations(np.arange(8, dtype=np.uint8), np.tile(np.arange(NUM_COLOURS, dtype=np.uint8), (8, 1)))
"""The 8 symmetries of the square, in the plain colours."""


def draw_augmentations(used: np.ndarray, count: int, random: np.random.Generator) -> Augmentations:
    """Draw up to `count` augmentations beside the plain view that differ from it and from each other.

    Two that give the used colours the same names are one; so a task of few colours has fewer of them than `count`.

    Args:
        used: bool [10], the colours that occur.
        count: how many.
        random: where they come from.
    """
    num_draws = _DRAWS * count + 1
    turns = random.integers(8, size=num_draws, dtype=np.uint8)
    colours = np.tile(np.arange(NUM_COLOURS, dtype=np.uint8), (num_draws, 1))
    colours[1:, 1:] = random.permuted(colours[1:, 1:], axis=1)
    turns[0] = 0
    digits = np.where(used, colours, 0).astype(np.int64)
    _, first = np.unique(
        turns.astype(np.int64) * 10**NUM_COLOURS + digits @ 10 ** np.arange(NUM_COLOURS), return_index=True
    )
    chosen = np.sort(first)[: count + 1]
    return Augmentations(turns[chosen], colours[chosen])


def to_tokens(grid: Grid, size: int, row: int = 0, column: int = 0) -> np.ndarray:
    """Place a grid on the canvas: colours from token 2 on, an end token below and beside its edge, padding around.

    Args:
        grid: [H, W].
        size: side of the canvas, at least H + row and W + column.
        row: of the grid's first cell.
        column: of the grid's first cell.

    Returns:
        int64 [size * size]. A grid that reaches the canvas's edge has no end there.
    """
    bottom, right = row + grid.shape[0], column + grid.shape[1]
    canvas = np.full((size, size), PAD, dtype=np.int64)
    canvas[row:bottom, column:right] = grid + FIRST_COLOUR
    canvas[bottom : bottom + 1, column:right] = END
    canvas[row:bottom, right : right + 1] = END
    return canvas.ravel()


def find_grid(tokens: np.ndarray, size: int) -> tuple[Grid, int, int] | None:
    """Find the grid that `to_tokens` has placed: the grid and its first cell's row and column; None if it has not.

    Args:
        tokens: int64 [size * size].
        size: side of the canvas.
    """
    canvas = tokens.reshape(size, size)
    rows, columns = np.nonzero(canvas >= FIRST_COLOUR)
    if not len(rows):
        return None
    row, column = int(rows.min()), int(columns.min())
    grid = canvas[row : rows.max() + 1, column : columns.max() + 1] - FIRST_COLOUR
    if grid.min() < 0 or not np.array_equal(to_tokens(grid, size, row, column), tokens):
        return None
    return grid, row, column


def to_grid(tokens: np.ndarray, size: int) -> Grid:
    """Read the grid in the corner of a canvas: the largest rectangle there that holds colours alone.

    Whatever lies beyond the end tokens does not matter; so the inverse of `to_tokens` at row 0 and column 0.

    Args:
        tokens: int64 [size * size].
        size: side of the canvas.

    Returns:
        [H, W]; [0, 0] if the corner holds no colour.
    """
    canvas = tokens.reshape(size, size)
    is_colour = np.pad(canvas >= FIRST_COLOUR, ((0, 0), (0, 1)))
    widths = np.minimum.accumulate(is_colour.argmin(1))  # of the widest rectangle for each height
    height = int((widths * np.arange(1, size + 1)).argmax()) + 1
    width = int(widths[height - 1])
    return canvas[: height if width else 0, :width] - FIRST_COLOUR
