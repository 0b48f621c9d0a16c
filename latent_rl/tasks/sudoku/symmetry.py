"""Which boards are the same but for a symmetry of the Sudoku."""

import numpy as np

from latent_rl.tasks.sudoku.task import box_index

_ROUNDS = 6


def symmetry_hash(boards: np.ndarray, box_rows: int, box_columns: int) -> np.ndarray:
    """A number that no symmetry changes: boards with different ones are not symmetric to each other.

    Every cell has a colour, at first whether it is given; in every round it takes up the colours in its lines, its box
    and the cells of its digit, each as a multiset (Weisfeiler and Leman 1968). Boards that are not symmetric can have
    the same number, but that is rare.

    Args:
        boards: int [B, N*N], digits 1..N or 0.
        box_rows: rows of a box.
        box_columns: columns of a box.

    Returns:
        Uint64 [B].
    """
    n = box_rows * box_columns
    box_of = box_index(box_rows, box_columns)
    boxes = np.argsort(box_of, kind="stable").reshape(n, n)
    row_of, column_of = np.divmod(np.arange(n * n), n)
    colours = _mixed((boards > 0).astype(np.uint64))
    for _ in range(_ROUNDS):
        grids = colours.reshape(-1, n, n)
        rows, columns = _mixed(grids.sum(2)), _mixed(grids.sum(1))
        if box_rows != box_columns:  # no transposition
            columns = _mixed(columns)
        lines = rows[:, row_of] + columns[:, column_of]
        in_box = _mixed(_mixed(colours[:, boxes].sum(2)))[:, box_of]
        alike = np.zeros_like(colours)
        for digit in range(1, n + 1):
            holds = boards == digit
            alike += np.where(holds, np.where(holds, colours, np.uint64(0)).sum(1, keepdims=True), np.uint64(0))
        colours = _mixed(colours + _mixed(lines) + in_box + _mixed(_mixed(_mixed(alike))))
    return _mixed(colours).sum(1)


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Scatter 64-bit numbers (the finalizer of SplitMix64; Steele, Lea, Flood 2014)."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
