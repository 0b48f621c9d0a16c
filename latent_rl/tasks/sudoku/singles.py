"""The order in which a solver that knows only singles decides the cells of a Sudoku, for a whole batch at once."""

import numpy as np

Grid = np.ndarray


def singles_rounds(digits: Grid, known: Grid, units: Grid) -> Grid:
    """In which round of propagation every cell gets decided.

    A round decides, all at once, each open cell with one candidate left (naked single) and each that is the only
    one of a row, column or box to have a candidate (hidden single); candidates are the digits that no decided
    cell of the three units holds. Both rules are sound, so that what they decide is the answer's digit: it
    need not be deduced, only looked up.

    Args:
        digits: int64 [B, L], the answer's digits counted from 0.
        known: bool [B, L], the givens.
        units: int64 [3N, N], the cells of every row, column and box.

    Returns:
        int64 [B, L]: 0 for givens, the round (from 1) for decided cells, L for those that singles don't reach.
    """
    size = units.shape[1]
    num_cells = size**2
    # Each cell lies in three units: their numbers, sorted by cell.
    units_of = units.ravel().argsort(kind="stable").reshape(num_cells, 3) // size
    # Sets of digits as bits, and the batch in the last axis: a gather of cells then copies whole rows.
    bits = (1 << digits.T).astype(np.int16)
    known = known.T
    rounds = np.where(known, 0, num_cells)
    for number in range(1, num_cells):
        used = np.bitwise_or.reduce(np.where(known, bits, 0)[units], axis=1)
        taken = np.bitwise_or.reduce(used[units_of], axis=1)
        candidates = np.where(known, 0, (1 << size) - 1 & ~taken)
        once = twice = np.zeros_like(used)
        for members in units.T:
            twice = twice | once & candidates[members]
            once = once | candidates[members]
        hidden = candidates & np.bitwise_or.reduce((once & ~twice)[units_of], axis=1)
        naked = (candidates & (candidates - 1)) == 0
        decided = ~known & (naked | (hidden != 0))
        if not decided.any():
            break
        rounds[decided] = number
        known = known | decided
    return rounds.T
