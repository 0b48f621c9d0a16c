"""A search for Sudokus that deduces before it guesses, on bit boards, for sizes up to 16.

It fills in naked and hidden singles and eliminates locked candidates; only where all that ends does it guess. Compiled
where numba is installed (the `generate` extra). Digits are 1..N, 0 is blank. The places that a digit may still have
are one word of bits for every band of boxes: bit r * N + c is row r of the band, column c.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from latent_rl.errors import InvalidValueError
from latent_rl.tasks.sudoku.search import COMPILED, Grid, njit

ZERO, ONE = np.uint64(0), np.uint64(1)
PATIENCE = 10_000 if COMPILED else 1_000
"""Guesses, a second or a few, after which a board is given up: some without solution take hours."""


class Geometry(NamedTuple):
    """What the search must know of a size.

    Attributes:
        box_rows: rows of a box.
        box_columns: columns of a box.
        peers: uint64 [N*N, bands], the other cells of every cell's row, column and box.
        rows: int64 [2^(box_rows^2)], the places that locked candidates leave in a band: see `_locked`.
        columns: int64 [2^(box_columns^2)], the same in a stack of boxes.
    """

    box_rows: int
    box_columns: int
    peers: Grid
    rows: Grid
    columns: Grid


@lru_cache
def geometry(box_rows: int, box_columns: int) -> Geometry:
    """The tables of a size.

    Raises:
        InvalidValueError: a box with more than 4 rows or columns.
    """
    if max(box_rows, box_columns) > 4:
        raise InvalidValueError(f"boxes must have at most 4 rows and columns; got {box_rows} x {box_columns}.")
    n = box_rows * box_columns
    row, column = np.divmod(np.arange(n * n), n)
    box = row // box_rows * n + column // box_columns
    seen = np.zeros((n * n, n * n), dtype=bool)
    for unit in (row, column, box):
        seen |= unit[:, None] == unit
    np.fill_diagonal(seen, val=False)
    bits = ONE << np.arange(box_rows * n, dtype=np.uint64)
    peers = np.where(seen.reshape(n * n, -1, box_rows * n), bits, ZERO).sum(-1, dtype=np.uint64)
    return Geometry(box_rows, box_columns, peers, _locked(box_rows), _locked(box_columns))


@lru_cache
def _locked(size: int) -> Grid:
    """What is left of a digit's places in `size` boxes in a row, by locked candidates.

    Where a line holds the digit in one box only, that box holds it in no other line, and the other way round.

    Args:
        size: boxes, and lines through each.

    Returns:
        Int64 [2^(size^2)]: index and value have bit line * size + box where the line has places in the box.
    """
    bits = np.arange(size * size)
    kept = np.arange(1 << size * size)
    while True:
        places = (kept[:, None] >> bits & 1).astype(bool).reshape(-1, size, size)
        only_box = places & (places.sum(2, keepdims=True) == 1)
        only_line = places & (places.sum(1, keepdims=True) == 1)
        elsewhere = ~(only_box.any(1, keepdims=True) & ~only_box) & ~(only_line.any(2, keepdims=True) & ~only_line)
        new = ((places & elsewhere).reshape(len(kept), -1) << bits).sum(1)
        if (new == kept).all():
            return kept
        kept = new


@njit(cache=True)
def _assign_singles(boards: Grid, solved: Grid, peers: Grid) -> bool:
    """Take the digit of every cell that has one candidate from the cells that it sees, until there is none left."""
    digits, bands = boards.shape
    width = len(peers) // bands
    full = ~ZERO >> np.uint64(64 - width)
    again = True
    while again:
        again = False
        for band in range(bands):
            once, twice = ZERO, ZERO
            for digit in range(digits):
                twice |= once & boards[digit, band]
                once |= boards[digit, band]
            if once != full:
                return False
            single = once & ~twice & ~solved[band]
            if single == ZERO:
                continue
            again = True
            solved[band] |= single
            for digit in range(digits):
                hits, cell = boards[digit, band] & single, band * width
                while hits:
                    while hits & ONE == ZERO:
                        hits, cell = hits >> ONE, cell + 1
                    if boards[digit, band] >> np.uint64(cell - band * width) & ONE == ZERO:
                        return False
                    for other in range(bands):
                        boards[digit, other] &= ~peers[cell, other]
                    hits, cell = hits >> ONE, cell + 1
    return True


@njit(cache=True)
def _claim(boards: Grid, digit: int, band: int, cells: np.uint64) -> None:
    """Take every other digit from these cells."""
    for other in range(len(boards)):
        if other != digit:
            boards[other, band] &= ~cells


@njit(cache=True)
def _hidden_singles(boards: Grid, solved: Grid, digit: int, box_rows: int, box_columns: int) -> int:
    """Claim the cells that are a unit's only place for the digit: how many bands have any; -1 if a unit has none."""
    n, bands = boards.shape
    every = ~ZERO >> np.uint64(64 - n)
    row_bits, box_bits = ZERO, ZERO
    for row in range(box_rows):
        row_bits |= ONE << np.uint64(row * n)
        box_bits |= ~ZERO >> np.uint64(64 - box_columns) << np.uint64(row * n)
    once, twice, found = ZERO, ZERO, 0
    for band in range(bands):
        places = boards[digit, band]
        for row in range(box_rows):
            line = places >> np.uint64(row * n) & every
            twice |= once & line
            once |= line
    if once != every:
        return -1
    columns = (once & ~twice) * row_bits
    for band in range(bands):
        places = boards[digit, band]
        hidden = places & columns
        for row in range(box_rows):
            line = places & every << np.uint64(row * n)
            if line == ZERO:
                return -1
            if line & (line - ONE) == ZERO:
                hidden |= line
        for left in range(0, n, box_columns):
            inside = places & box_bits << np.uint64(left)
            if inside == ZERO:
                return -1
            if inside & (inside - ONE) == ZERO:
                hidden |= inside
        hidden &= ~solved[band]
        if hidden:
            found += 1
            _claim(boards, digit, band, hidden)
    return found


@njit(cache=True)
def _lock(boards: Grid, digit: int, size: Geometry) -> bool:
    """Eliminate locked candidates of one digit, in bands and then in stacks; whether there were any."""
    n, bands = boards.shape
    box_rows, box_columns = size.box_rows, size.box_columns
    part, column_bits, changed = ~ZERO >> np.uint64(64 - box_columns), ZERO, False
    for row in range(box_rows):
        column_bits |= ONE << np.uint64(row * n)
    # A row's parts in boxes, all the boxes of the band after each other, are numbered as `size.rows` has them.
    for band in range(bands):
        held = 0
        for number in range(box_rows * box_rows):
            if boards[digit, band] & part << np.uint64(number * box_columns):
                held |= 1 << number
        lost = held & ~size.rows[held]
        if lost:
            changed = True
            for number in range(box_rows * box_rows):
                if lost >> number & 1:
                    boards[digit, band] &= ~(part << np.uint64(number * box_columns))
    for left in range(0, n, box_columns):
        held = 0
        for band in range(bands):
            for column in range(box_columns):
                if boards[digit, band] & column_bits << np.uint64(left + column):
                    held |= 1 << (column * bands + band)
        lost = held & ~size.columns[held]
        if lost:
            changed = True
            for band in range(bands):
                for column in range(box_columns):
                    if lost >> (column * bands + band) & 1:
                        boards[digit, band] &= ~(column_bits << np.uint64(left + column))
    return changed


@njit(cache=True)
def _differs(boards: Grid, seen: Grid, digit: int) -> bool:
    """Whether a digit's places are not those seen last; then they are."""
    differs = False
    for band in range(boards.shape[1]):
        if boards[digit, band] != seen[digit, band]:
            seen[digit, band] = boards[digit, band]
            differs = True
    return differs


@njit(cache=True)
def _propagate(boards: Grid, solved: Grid, seen: Grid, size: Geometry) -> bool:
    """Singles and locked candidates until nothing changes; False if a cell or a digit of a unit has no place left.

    Args:
        boards: uint64 [N, bands], the places of every digit; narrowed.
        solved: uint64 [bands], the cells whose digit has been taken from the cells that they see; grows.
        seen: uint64 [2, N, bands], places of digits that had no hidden single and no locked candidate; kept up to date.
        size: see `geometry`.
    """
    changed = True
    while changed:
        if not _assign_singles(boards, solved, size.peers):
            return False
        changed = False
        for digit in range(len(boards)):
            if _differs(boards, seen[0], digit):
                found = _hidden_singles(boards, solved, digit, size.box_rows, size.box_columns)
                if found < 0:
                    return False
                changed |= found > 0
        if not changed:
            for digit in range(len(boards)):
                if _differs(boards, seen[1], digit):
                    changed |= _lock(boards, digit, size)
    return True


@njit(cache=True)
def _choice(boards: Grid, solved: Grid, order: Grid) -> int:
    """The cell to guess: the first, in the given order, of those with the fewest candidates; -1 if none is open."""
    digits, bands = boards.shape
    width = len(order) // bands
    best, least = -1, digits + 1
    for cell in order:
        band, place = cell // width, np.uint64(cell % width)
        if solved[band] >> place & ONE == ZERO:
            count = 0
            for digit in range(digits):
                if boards[digit, band] >> place & ONE:
                    count += 1
            if count < least:
                best, least = cell, count
                if count == 2:
                    break
    return best


@njit(cache=True)
def search(
    grid: Grid,
    order: Grid,
    size: Geometry,
    max_guesses: int,
    solutions: Grid,
    cell_without: int = -1,
    digit_without: int = 0,
) -> tuple[int, int]:
    """Find completions of a board, and count the guesses it takes.

    Args:
        grid: int64 [N*N], digits or 0.
        order: int64 [N*N], the cells in the order in which one to guess is looked for.
        size: see `geometry`.
        max_guesses: give up after so many guesses.
        solutions: int64 [K, N*N], gets the first K completions; the search ends with the last of them.
        cell_without: an open cell that must not hold `digit_without`; -1 for none.
        digit_without: see there.

    Returns:
        Completions found (-1 if it gave up), and guesses: candidates that were tried where no deduction was left.
    """
    cells, bands = size.peers.shape
    digits, width = size.box_rows * size.box_columns, cells // bands
    # A guess fills in a cell at least.
    boards = np.empty((cells + 2, digits, bands), dtype=np.uint64)
    solved = np.empty((cells + 2, bands), dtype=np.uint64)
    seen = np.zeros((2, digits, bands), dtype=np.uint64)
    places, untried = np.empty(cells + 2, dtype=np.int64), np.empty(cells + 2, dtype=np.int64)
    boards[0] = ~ZERO >> np.uint64(64 - width)
    solved[0] = ZERO
    for cell in range(cells):
        band, bit = cell // width, ONE << np.uint64(cell % width)
        if grid[cell]:
            _claim(boards[0], grid[cell] - 1, band, bit)
        if cell == cell_without:
            boards[0, digit_without - 1, band] &= ~bit
    found, guesses, depth, fresh = 0, 0, 0, True
    while depth >= 0:
        if fresh:
            if not _propagate(boards[depth], solved[depth], seen, size):
                depth, fresh = depth - 1, False
                continue
            best = _choice(boards[depth], solved[depth], order)
            if best < 0:
                for cell in range(cells):
                    for digit in range(digits):
                        if boards[depth, digit, cell // width] >> np.uint64(cell % width) & ONE:
                            solutions[found, cell] = digit + 1
                found += 1
                if found == len(solutions):
                    return found, guesses
                depth, fresh = depth - 1, False
                continue
            places[depth], untried[depth] = best, 0
            for digit in range(digits):
                if boards[depth, digit, best // width] >> np.uint64(best % width) & ONE:
                    untried[depth] |= 1 << digit
        if untried[depth] == 0:
            depth, fresh = depth - 1, False
            continue
        if guesses == max_guesses:
            return -1, guesses
        guesses += 1
        digit = 0
        while untried[depth] >> digit & 1 == 0:
            digit += 1
        untried[depth] &= untried[depth] - 1
        boards[depth + 1] = boards[depth]
        solved[depth + 1] = solved[depth]
        seen[:] = boards[depth]
        band, bit = places[depth] // width, ONE << np.uint64(places[depth] % width)
        _claim(boards[depth + 1], digit, band, bit)
        depth, fresh = depth + 1, True
    return found, guesses
