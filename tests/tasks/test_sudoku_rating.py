"""How hard a Sudoku is: a search that guesses only where deductions end, and walks to a wanted difficulty."""

import numpy as np
import pytest

from latent_rl.tasks.registry import make_task
from latent_rl.tasks.sudoku import search as sudoku_solver
from latent_rl.tasks.sudoku.rating import board_tables, rating, search, walk
from latent_rl.tasks.sudoku.task import box_index

pytestmark = [
    pytest.mark.slow,  # compiling takes half a minute
    pytest.mark.skipif(not sudoku_solver.COMPILED, reason="needs numba, of the extra generate"),
]
SIZES = {"sudoku4x4": (2, 2), "sudoku6x6": (2, 3), "sudoku9x9-minimal": (3, 3)}
HARD = "1....7.9..3..2...8..96..5....53..9...1..8...26....4...3......1..4......7..7...3.."


def orders(cells: int, count: int = 5) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([rng.permutation(cells) for _ in range(count)])


@pytest.mark.parametrize("name", SIZES)
def test_it_finds_the_only_completion(name: str) -> None:
    task, tables = make_task(name), board_tables(*SIZES[name])
    puzzles = task.puzzles("test")
    for puzzle, label in zip(puzzles.inputs[:50].numpy() - 1, puzzles.labels[:50].numpy() - 1, strict=True):
        found = np.zeros((2, task.seq_len), dtype=np.int64)
        count, _ = search(puzzle, np.arange(task.seq_len), *tables, *SIZES[name], 10_000, found)
        assert count == 1
        assert (found[0] == label).all()


@pytest.mark.parametrize("dropped", [1, 3, 6])
def test_it_counts_as_the_plain_search_does(dropped: int) -> None:
    puzzles, rng = make_task("sudoku4x4").puzzles("test").inputs.numpy() - 1, np.random.default_rng(dropped)
    for puzzle in puzzles[:40]:
        board = puzzle.copy()
        board[rng.permutation(np.flatnonzero(board))[:dropped]] = 0
        found = np.zeros((20, 16), dtype=np.int64)
        count, _ = search(board, np.arange(16), *board_tables(2, 2), 2, 2, 10_000, found)
        plain = sudoku_solver.count_solutions(board, box_index(2, 2), 4, 20, np.zeros(16, dtype=np.int64))
        assert count == (plain[0] if isinstance(plain, tuple) else plain)


def test_a_candidate_may_be_left_out() -> None:
    task, scratch = make_task("sudoku9x9-minimal"), np.zeros((1, 81), dtype=np.int64)
    puzzles = task.puzzles("test")
    puzzle, label = puzzles.inputs[0].numpy() - 1, puzzles.labels[0].numpy() - 1
    cell = int(np.flatnonzero(puzzle == 0)[0])
    search_without = (np.arange(81), *board_tables(3, 3), 3, 3, 10_000, scratch, cell)
    assert search(puzzle, *search_without, int(label[cell]))[0] == 0
    assert search(puzzle, *search_without, int(label[cell]) % 9 + 1)[0] == 1


def test_easy_puzzles_need_no_guess_and_hard_ones_many() -> None:
    easy = make_task("sudoku9x9").puzzles("test").inputs[:50].numpy() - 1
    tables = (*board_tables(3, 3), 3, 3)
    assert max(rating(puzzle, orders(81), *tables, 1000) for puzzle in easy) == 0
    hard = np.array([0 if symbol == "." else int(symbol) for symbol in HARD])
    assert rating(hard, orders(81), *tables, 100_000) >= 5


def test_a_walk_comes_to_the_wanted_difficulty_and_its_puzzles_are_minimal() -> None:
    start, _ = sudoku_solver.dig(9, box_index(3, 3), 81, 1)
    targets = np.array([2.0, 5.0, 10.0])
    tables = board_tables(3, 3)
    puzzles, ratings = walk(start, targets, 100, *tables, 3, 3, 0)
    again, _ = walk(start, targets, 100, *tables, 3, 3, 0)
    assert (puzzles == again).all()
    assert np.abs(np.log1p(ratings) - np.log1p(targets)).max() < 0.2
    scratch = np.zeros(81, dtype=np.int64)
    for puzzle in puzzles:
        assert sudoku_solver.count_solutions(puzzle, box_index(3, 3), 9, 2, scratch) == 1
        for cell in np.flatnonzero(puzzle):
            spared = puzzle.copy()
            spared[cell] = 0
            assert sudoku_solver.count_solutions(spared, box_index(3, 3), 9, 2, scratch) == 2
