"""Exact search over units: completions of a board, found by singles and guesses.

Compiled where numba is installed (the `generate` extra), as the Sudoku search is. A cell's options are a mask with bit
s for symbol s; with a background bit S stands for "no symbol".
"""

import numpy as np

from latent_rl.tasks.sudoku.search import COMPILED, njit

PATIENCE = 10**6 if COMPILED else 10**4
"""Guesses after which a puzzle is too hard: a second or a few."""
HURRY = 10**3
"""Guesses after which a search in the middle of a training gives up: milliseconds."""
UNDECIDED = -1
"""The count of completions that nobody waited for."""


@njit(cache=True)
def _propagate(options: np.ndarray, units: np.ndarray, is_exact: np.ndarray, num_symbols: int) -> bool:
    """Naked and hidden singles until nothing changes; False if a cell has no option, or a unit no place, left."""
    symbols = (1 << num_symbols) - 1
    changed = True
    while changed:
        changed = False
        for number in range(len(units)):
            fixed, once, more = 0, 0, 0
            for cell in units[number]:
                if cell < 0:
                    break
                mask = options[cell]
                if mask == 0:
                    return False
                if mask & (mask - 1) == 0:
                    if fixed & mask & symbols:
                        return False
                    fixed |= mask & symbols
                more |= once & mask
                once |= mask
            if is_exact[number] and once & symbols != symbols:
                return False
            hidden = once & ~more & symbols if is_exact[number] else 0
            for cell in units[number]:
                if cell < 0:
                    break
                mask = options[cell]
                narrowed = mask
                if mask & (mask - 1):
                    narrowed = mask & ~fixed
                    if narrowed & hidden:
                        narrowed &= hidden
                        if narrowed & (narrowed - 1):
                            return False
                if narrowed != mask:
                    options[cell] = narrowed
                    changed = True
                    if narrowed == 0:
                        return False
    return True


@njit(cache=True)
def _choice(options: np.ndarray, order: np.ndarray) -> int:
    """The first cell, in the given order, of those with the fewest options, two at least; -1 if none is open."""
    best, least = -1, 1 << 30
    for cell in order:
        mask, count = options[cell], 0
        while mask:
            mask &= mask - 1
            count += 1
        if 1 < count < least:
            best, least = cell, count
            if count == 2:
                break
    return best


@njit(cache=True)
def search(
    options: np.ndarray,
    units: np.ndarray,
    is_exact: np.ndarray,
    num_symbols: int,
    cells: np.ndarray,
    values: np.ndarray,
    patience: int,
    found: np.ndarray,
) -> int:
    """Find completions, depth first.

    Args:
        options: int64 [L], the masks to begin with.
        units: int64 [U, K], cells, filled up with -1.
        is_exact: bool [U], every symbol stands exactly once in the unit; else at most once.
        num_symbols: S.
        cells: int64 [L], the order in which a cell to guess is looked for.
        values: int64 [L, S + 1], the order in which each cell's options are tried.
        patience: guesses after which the answer is `UNDECIDED`.
        found: int64 [K, L], gets the symbols of up to K completions, S for none.

    Returns:
        The number of completions found.
    """
    num_cells = len(options)
    stack = np.empty((num_cells + 2, num_cells), dtype=np.int64)
    places = np.empty(num_cells + 2, dtype=np.int64)
    tried = np.zeros(num_cells + 2, dtype=np.int64)
    stack[0] = options
    count, depth, guesses, fresh = 0, 0, 0, True
    while depth >= 0:
        if fresh:
            if not _propagate(stack[depth], units, is_exact, num_symbols):
                depth, fresh = depth - 1, False
                continue
            places[depth], tried[depth] = _choice(stack[depth], cells), 0
            if places[depth] < 0:
                for cell in range(num_cells):
                    mask, value = stack[depth, cell], 0
                    while mask > 1:
                        mask >>= 1
                        value += 1
                    found[count, cell] = value
                count += 1
                if count == len(found):
                    return count
                depth, fresh = depth - 1, False
                continue
        cell, k = places[depth], tried[depth]
        while k <= num_symbols and not stack[depth, cell] >> values[cell, k] & 1:
            k += 1
        if k > num_symbols:
            depth, fresh = depth - 1, False
            continue
        tried[depth] = k + 1
        guesses += 1
        if guesses > patience:
            return UNDECIDED
        stack[depth + 1] = stack[depth]
        stack[depth + 1, cell] = 1 << values[cell, k]
        depth, fresh = depth + 1, True
    return count


def complete(
    symbols: np.ndarray,
    units: np.ndarray,
    is_exact: np.ndarray,
    num_symbols: int,
    has_background: bool,
    patience: int,
    found: np.ndarray,
    cells: np.ndarray | None = None,
    values: np.ndarray | None = None,
) -> int:
    """`search` from a board, int64 [L] with -1 for open cells; cells and symbols in their own order unless given."""
    every = (1 << (num_symbols + has_background)) - 1
    options = np.where(symbols < 0, every, 1 << symbols.clip(min=0)).astype(np.int64)
    cells = np.arange(len(symbols)) if cells is None else cells
    values = np.tile(np.arange(num_symbols + 1), (len(symbols), 1)) if values is None else values
    return int(search(options, units, is_exact, num_symbols, cells, values, patience, found))


@njit(cache=True)
def draw(
    units: np.ndarray, is_exact: np.ndarray, num_symbols: int, num_cells: int, patience: int, seed: int
) -> np.ndarray:
    """A random board that keeps the rules, int64 [L]: searched from nothing in random order; begun anew at need."""
    np.random.seed(seed)
    options = np.full(num_cells, (1 << num_symbols) - 1, dtype=np.int64)
    found = np.empty((1, num_cells), dtype=np.int64)
    values = np.empty((num_cells, num_symbols + 1), dtype=np.int64)
    while True:
        for cell in range(num_cells):
            values[cell, :num_symbols] = np.random.permutation(num_symbols)
            values[cell, num_symbols] = num_symbols
        cells = np.random.permutation(num_cells)
        if search(options, units, is_exact, num_symbols, cells, values, patience, found) == 1:
            return found[0]


@njit(cache=True)
def dig(
    board: np.ndarray, units: np.ndarray, is_exact: np.ndarray, num_symbols: int, num_open: int, seed: int
) -> np.ndarray:
    """Open cells of a full board in random order, up to `num_open`, as long as it stays the only completion.

    Returns:
        int64 [L] with -1 for open cells.
    """
    np.random.seed(seed)
    num_cells = len(board)
    options = np.empty(num_cells, dtype=np.int64)
    for cell in range(num_cells):
        options[cell] = 1 << board[cell]
    values = np.empty((num_cells, num_symbols + 1), dtype=np.int64)
    for cell in range(num_cells):
        values[cell] = np.arange(num_symbols + 1)
    found = np.empty((1, num_cells), dtype=np.int64)
    puzzle, opened = board.copy(), 0
    for cell in np.random.permutation(num_cells):
        if opened == num_open:
            break
        kept = options[cell]
        # Another completion must differ in this cell: all others had only one before it was opened.
        options[cell] = ((1 << num_symbols) - 1) & ~kept
        if search(options, units, is_exact, num_symbols, np.arange(num_cells), values, 10_000, found) == 0:
            options[cell] = (1 << num_symbols) - 1
            puzzle[cell] = -1
            opened += 1
        else:
            options[cell] = kept
    return puzzle
