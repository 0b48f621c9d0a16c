"""Where a task's cells stand on its board: found in what the task itself draws."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from latent_rl.tasks.base import Task

_LONGEST_LINE = 40


@dataclass(frozen=True)
class BoardLayout:
    """Where a task's cells stand on the board, as its `render` draws it.

    Attributes:
        rows: int64 [L].
        columns: int64 [L].
        across: rows with a line above them, the first aside.
        down: columns with a line to their left, the first aside.
        places: int64 [L], where each cell's symbol stands in the text; None if that can't be told.
        is_filled: the puzzle stays in sight and is filled in; otherwise it is drawn beside the answer.
    """

    rows: np.ndarray
    columns: np.ndarray
    across: tuple[int, ...]
    down: tuple[int, ...]
    places: np.ndarray | None
    is_filled: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the board."""
        return int(self.rows.max()) + 1, int(self.columns.max()) + 1


def layout_of(task: Task) -> BoardLayout:
    """Find the cells in what the task's `render` draws: whatever the board looks like, pictures follow it.

    A text that can't be taken apart leaves a plain grid: a square, or rows of up to 40 cells, as of a long line.
    """
    tokens = torch.arange(task.vocab_size)[:, None].expand(-1, task.seq_len)
    is_filled = bool(task.is_given(tokens).any())
    try:
        found = _find_cells(task)
    except Exception:  # a user's own drawing may ask for more than tokens in the cells
        found = None
    if found is None:
        side = math.isqrt(task.seq_len)
        width = side if side**2 == task.seq_len else min(task.seq_len, _LONGEST_LINE)
        rows, columns = np.divmod(np.arange(task.seq_len), width)
        return BoardLayout(rows, columns, (), (), None, is_filled)
    text, places = found
    lines = text.split("\n")
    starts = np.cumsum([0, *(len(line) + 1 for line in lines[:-1])])
    line = np.searchsorted(starts, places, side="right") - 1
    used, rows = np.unique(line, return_inverse=True)
    edges, columns = np.unique(places - starts[line], return_inverse=True)
    if len(used) == 1 and len(edges) > _LONGEST_LINE:
        rows, columns = np.divmod(columns, _LONGEST_LINE)
        return BoardLayout(rows, columns, (), (), places, is_filled)
    ruled = [any(set(text) & set("-=─━═") for text in lines[a + 1 : b]) for a, b in pairwise(used)]
    gaps = [lines[used[0]][a + 1 : b] for a, b in pairwise(edges)]
    across = tuple(row for row, is_ruled in enumerate(ruled, 1) if is_ruled)
    down = tuple(column for column, gap in enumerate(gaps, 1) if set(gap) & set("|│┃║"))
    return BoardLayout(rows, columns, across, down, places, is_filled)


def _find_cells(task: Task) -> tuple[str, np.ndarray] | None:
    """A board as text, and the place of every cell in it: each cell spells its number on boards of two symbols."""
    numbers = torch.arange(task.seq_len)
    bits = [numbers >> bit & 1 for bit in range(task.seq_len.bit_length())]
    boards = [torch.zeros_like(numbers), torch.ones_like(numbers), *bits]
    texts = [task.render(board + task.vocab_size - 2) for board in boards]
    if len({len(text) for text in texts}) > 1:
        return None
    symbols = np.array([list(text) for text in texts])
    places = np.flatnonzero(symbols[0] != symbols[1])
    spelled = (symbols[2:, places] == symbols[1, places]).astype(np.int64)
    cells = 2 ** np.arange(len(bits)) @ spelled
    if sorted(cells.tolist()) != numbers.tolist():
        return None
    return texts[0], places[cells.argsort()]
