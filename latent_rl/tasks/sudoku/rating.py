"""How hard a Sudoku is, and hard ones made by hill climbing: a search that propagates before it guesses.

A puzzle's difficulty is the number of guesses that a search needs which fills in naked and hidden singles and
eliminates locked candidates before each guess; the field rates its collections by such numbers. All functions are
compiled by numba (the `generate` extra). Digits are 1..N, 0 is blank; a cell's candidates are a mask with bit d - 1 for
digit d.
"""

from functools import lru_cache

import numpy as np

from latent_rl.tasks.sudoku.search import Grid, njit

NUM_ORDERS = 10
"""Orders of cells over which a rating is averaged."""
LEAST_MOVES = 2
"""Steps of a walk between two puzzles, at the least."""


@lru_cache
def board_tables(box_rows: int, box_columns: int) -> tuple[Grid, Grid]:
    """Int64 [3N, N], the cells of rows, columns and boxes; int64 [N*N, 3], the units of every cell."""
    n = box_rows * box_columns
    cells = np.arange(n * n).reshape(n, n)
    boxes = cells.reshape(n // box_rows, box_rows, n // box_columns, box_columns).transpose(0, 2, 1, 3).reshape(n, n)
    units = np.concatenate([cells, cells.T, boxes])
    unit_of = np.empty((n * n, 3), dtype=np.int64)
    for number, unit in enumerate(units):
        unit_of[unit, number // n] = number
    return units, unit_of


@njit(cache=True)
def _count(mask: int) -> int:
    count = 0
    while mask:
        mask &= mask - 1
        count += 1
    return count


@njit(cache=True)
def _propagate(options: Grid, done: Grid, units: Grid, unit_of: Grid, box_rows: int, box_columns: int) -> bool:
    """Singles and locked candidates until nothing changes; False if a cell or a digit of a unit has no place left.

    Args:
        options: int64 [N*N], the candidates; narrowed.
        done: bool [N*N], the cells whose digit has been taken from the other cells of their units; grows.
        units: see `board_tables`.
        unit_of: see `board_tables`.
        box_rows: rows of a box.
        box_columns: columns of a box.
    """
    n = units.shape[1]
    every = (1 << n) - 1
    columns_of_boxes = n // box_columns
    changed = True
    while changed:
        changed = False
        # Naked singles.
        again = True
        while again:
            again = False
            for cell in range(n * n):
                mask = options[cell]
                if mask == 0:
                    return False
                if not done[cell] and mask & (mask - 1) == 0:
                    done[cell] = True
                    for kind in range(3):
                        for other in units[unit_of[cell, kind]]:
                            if other != cell and options[other] & mask:
                                options[other] &= ~mask
                                if options[other] == 0:
                                    return False
                                again = True
        # Hidden singles.
        for unit in units:
            once, more = 0, 0
            for cell in unit:
                more |= once & options[cell]
                once |= options[cell]
            if once != every:
                return False
            once &= ~more
            if once:
                for cell in unit:
                    mask = options[cell] & once
                    if mask and not done[cell] and mask != options[cell]:
                        if mask & (mask - 1):
                            return False
                        options[cell] = mask
                        changed = True
        if changed:
            continue
        # Locked candidates: a digit that a box has in one line only, or a line in one box only.
        for box in range(n):
            top, left = box // columns_of_boxes * box_rows, box % columns_of_boxes * box_columns
            for line in range(box_rows + box_columns):
                is_row = line < box_rows
                number = top + line if is_row else n + left + line - box_rows
                inside, in_box, in_line = 0, 0, 0
                for cell in units[number]:
                    if unit_of[cell, 2] == 2 * n + box:
                        inside |= options[cell]
                    else:
                        in_line |= options[cell]
                for cell in units[2 * n + box]:
                    if unit_of[cell, 0] != number and unit_of[cell, 1] != number:
                        in_box |= options[cell]
                pointing, claiming = inside & ~in_box & in_line, inside & ~in_line & in_box
                if pointing:
                    for cell in units[number]:
                        if unit_of[cell, 2] != 2 * n + box and options[cell] & pointing:
                            options[cell] &= ~pointing
                            changed = True
                if claiming:
                    for cell in units[2 * n + box]:
                        if unit_of[cell, 0] != number and unit_of[cell, 1] != number and options[cell] & claiming:
                            options[cell] &= ~claiming
                            changed = True
    return True


@njit(cache=True)
def _choice(options: Grid, done: Grid, order: Grid) -> int:
    """The cell to guess: the first, in the given order, of those with the fewest candidates; -1 if none is open."""
    best, least = -1, 1 << 30
    for cell in order:
        if not done[cell]:
            count = _count(options[cell])
            if count < least:
                best, least = cell, count
                if count == 2:
                    break
    return best


@njit(cache=True)
def search(
    grid: Grid,
    order: Grid,
    units: Grid,
    unit_of: Grid,
    box_rows: int,
    box_columns: int,
    max_guesses: int,
    solutions: Grid,
    cell_without: int = -1,
    digit_without: int = 0,
) -> tuple[int, int]:
    """Find completions of a board, and count the guesses it takes.

    Args:
        grid: int64 [N*N], digits or 0.
        order: int64 [N*N], the cells in the order in which one to guess is looked for.
        units: see `board_tables`.
        unit_of: see `board_tables`.
        box_rows: rows of a box.
        box_columns: columns of a box.
        max_guesses: give up after so many guesses.
        solution: int64 [N*N], gets the first completion.
        cell_without: an open cell that must not hold `digit_without`; -1 for none.
        digit_without: see there.

    Returns:
        Completions found (-1 if it gave up), and guesses: candidates that were tried where no deduction was left.
    """
    n = units.shape[1]
    cells = n * n
    every = (1 << n) - 1
    stack = np.empty((cells + 2, cells), dtype=np.int64)
    marks = np.empty((cells + 2, cells), dtype=np.bool_)
    places = np.empty(cells + 2, dtype=np.int64)
    untried = np.empty(cells + 2, dtype=np.int64)
    for cell in range(cells):
        stack[0, cell] = every if grid[cell] == 0 else 1 << (grid[cell] - 1)
        marks[0, cell] = False
    if cell_without >= 0:
        stack[0, cell_without] &= ~(1 << (digit_without - 1))
    found, guesses, depth, fresh = 0, 0, 0, True
    while depth >= 0:
        if fresh:
            if not _propagate(stack[depth], marks[depth], units, unit_of, box_rows, box_columns):
                depth, fresh = depth - 1, False
                continue
            best = _choice(stack[depth], marks[depth], order)
            if best < 0:
                for cell in range(cells):
                    mask, digit = stack[depth, cell], 0
                    while mask:
                        mask >>= 1
                        digit += 1
                    solutions[found, cell] = digit
                found += 1
                if found == len(solutions):
                    return found, guesses
                depth, fresh = depth - 1, False
                continue
            places[depth], untried[depth] = best, stack[depth, best]
        options = untried[depth]
        if options == 0:
            depth, fresh = depth - 1, False
            continue
        bit = options & -options
        untried[depth] = options & ~bit
        if guesses == max_guesses:
            return -1, guesses
        guesses += 1
        stack[depth + 1] = stack[depth]
        marks[depth + 1] = marks[depth]
        stack[depth + 1, places[depth]] = bit
        depth, fresh = depth + 1, True
    return found, guesses


@njit(cache=True)
def rating(grid: Grid, orders: Grid, units: Grid, unit_of: Grid, box_rows: int, box_columns: int, most: int) -> float:
    """Mean guesses of a puzzle with one solution over orders of cells, int64 [K, N*N]; at most `most` in each."""
    total, scratch = 0, np.empty((2, len(grid)), dtype=np.int64)
    for order in orders:
        total += search(grid, order, units, unit_of, box_rows, box_columns, most, scratch)[1]
    return total / len(orders)


@njit(cache=True)
def _minimise(grid: Grid, units: Grid, unit_of: Grid, box_rows: int, box_columns: int) -> None:
    """Blank givens in random order as long as the solution stays the only one."""
    order, scratch = np.random.permutation(len(grid)), np.empty((1, len(grid)), dtype=np.int64)
    for cell in order:
        digit = grid[cell]
        if digit:
            grid[cell] = 0
            if search(grid, order, units, unit_of, box_rows, box_columns, 10_000, scratch, cell, digit)[0]:
                grid[cell] = digit


@njit(cache=True)
def _completed(grid: Grid, units: Grid, unit_of: Grid, box_rows: int, box_columns: int) -> bool:
    """Add random givens, each from one of two completions that differ there, until there is only one completion.

    Returns:
        Whether there is any.
    """
    pair = np.empty((2, len(grid)), dtype=np.int64)
    while True:
        order = np.random.permutation(len(grid))
        found, _ = search(grid, order, units, unit_of, box_rows, box_columns, 10_000, pair)
        if found < 2:
            return found == 1
        for cell in order:
            if pair[0, cell] != pair[1, cell]:
                grid[cell] = pair[np.random.randint(2), cell]
                break


@njit(cache=True)
def walk(
    start: Grid, targets: Grid, patience: int, units: Grid, unit_of: Grid, box_rows: int, box_columns: int, seed: int
) -> tuple[Grid, Grid]:
    """A random walk over minimal puzzles that comes to each wanted difficulty in turn.

    A proposal drops one to three givens, adds random ones until the solution is unique again and blanks what can be
    spared; it is taken by Metropolis' rule on the distance, in logarithms, between its rating and the target. Puzzles
    of one walk resemble each other: put a walk into one split as a whole.

    Args:
        start: int64 [N*N], a puzzle with one solution.
        targets: float64 [K], wanted ratings.
        patience: proposals for one target of rating t, divided by 1 + t / 15, at the most; then what is there must do.
        units: see `board_tables`.
        unit_of: see `board_tables`.
        box_rows: rows of a box.
        box_columns: columns of a box.
        seed: of the walk.

    Returns:
        Puzzles, int64 [K, N*N], and their ratings, float64 [K].
    """
    np.random.seed(seed)
    tolerance, temperature = 0.15, 0.05
    orders = np.empty((NUM_ORDERS, len(start)), dtype=np.int64)
    for number in range(len(orders)):
        orders[number] = np.random.permutation(len(start))
    puzzles = np.empty((len(targets), len(start)), dtype=np.int64)
    ratings = np.empty(len(targets))
    current = start.copy()
    level = rating(current, orders, units, unit_of, box_rows, box_columns, 2000)
    for number in range(len(targets)):
        goal, moves = np.log(targets[number] + 1), 0
        for _ in range(int(patience * (1 + targets[number] / 15))):
            if moves >= LEAST_MOVES and abs(np.log(level + 1) - goal) < tolerance:
                break
            proposal = current.copy()
            givens = np.nonzero(proposal)[0]
            for place in np.random.permutation(len(givens))[: np.random.randint(1, 4)]:
                proposal[givens[place]] = 0
            if not _completed(proposal, units, unit_of, box_rows, box_columns):
                continue
            _minimise(proposal, units, unit_of, box_rows, box_columns)
            # A first impression saves most of the ratings.
            new = rating(proposal, orders[:2], units, unit_of, box_rows, box_columns, 2000)
            if abs(np.log(new + 1) - goal) - abs(np.log(level + 1) - goal) > 1:
                continue
            new = rating(proposal, orders, units, unit_of, box_rows, box_columns, 2000)
            loss = abs(np.log(new + 1) - goal) - abs(np.log(level + 1) - goal)
            if np.random.random() < np.exp(-loss / temperature):
                moves += (proposal != current).any()
                current, level = proposal, new
        puzzles[number], ratings[number] = current, level
    return puzzles, ratings
