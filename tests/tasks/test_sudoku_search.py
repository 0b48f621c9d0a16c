"""How hard a Sudoku is: a search that guesses where deductions end, walks to a wanted difficulty, matched banks."""

import numpy as np
import pytest
import torch

from latent_rl.errors import InvalidValueError, PuzzleError
from latent_rl.tasks.bank import bank_facts, load_guesses
from latent_rl.tasks.base import SPLITS, draw_symmetry
from latent_rl.tasks.registry import make_task
from latent_rl.tasks.sudoku import search as plain
from latent_rl.tasks.sudoku.bitboards import geometry, search
from latent_rl.tasks.sudoku.histogram import EXTREME, Histogram
from latent_rl.tasks.sudoku.make_bank import make_bank
from latent_rl.tasks.sudoku.matched import TURNS
from latent_rl.tasks.sudoku.rating import NUM_ORDERS, guesses, rating
from latent_rl.tasks.sudoku.symmetry import symmetry_hash
from latent_rl.tasks.sudoku.task import Sudoku, box_index
from latent_rl.tasks.sudoku.walks import dig_by_deduction, walk

needs_numba = pytest.mark.skipif(not plain.COMPILED, reason="needs numba, of the extra generate")
SIZES = {"sudoku4x4": (2, 2), "sudoku6x6": (2, 3), "sudoku9x9-minimal": (3, 3), "sudoku16x16": (4, 4)}
HARD = "1....7.9..3..2...8..96..5....53..9...1..8...26....4...3......1..4......7..7...3.."


def orders(cells: int, count: int = 5) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([rng.permutation(cells) for _ in range(count)])


@pytest.mark.slow  # compiling takes half a minute
@needs_numba
class TestSearch:
    @pytest.mark.parametrize("name", SIZES)
    def test_it_finds_the_only_completion(self, name: str) -> None:
        task, size = make_task(name), geometry(*SIZES[name])
        puzzles = task.puzzles("test")
        for puzzle, label in zip(puzzles.inputs[:50].numpy() - 1, puzzles.labels[:50].numpy() - 1, strict=True):
            found = np.zeros((2, task.seq_len), dtype=np.int64)
            count, _ = search(puzzle, np.arange(task.seq_len), size, 10_000, found)
            assert count == 1
            assert (found[0] == label).all()

    @pytest.mark.parametrize("name", ["sudoku4x4", "sudoku6x6"])
    @pytest.mark.parametrize("dropped", [1, 3, 6])
    def test_it_counts_as_the_plain_search_does(self, name: str, dropped: int) -> None:
        task, rng = make_task(name), np.random.default_rng(dropped)
        for puzzle in task.puzzles("test").inputs.numpy()[:40] - 1:
            board = puzzle.copy()
            board[rng.permutation(np.flatnonzero(board))[:dropped]] = 0
            found = np.zeros((200, task.seq_len), dtype=np.int64)
            count, _ = search(board, np.arange(task.seq_len), geometry(*SIZES[name]), 10_000, found)
            scratch = np.zeros(task.seq_len, dtype=np.int64)
            assert count == plain.count_solutions(board, box_index(*SIZES[name]), task.size, 200, scratch)
            assert task.verify(torch.from_numpy(board + 1).expand(count, -1), torch.from_numpy(found[:count] + 1)).all()
            assert len(np.unique(found[:count], axis=0)) == count

    def test_a_candidate_may_be_left_out(self) -> None:
        task, scratch = make_task("sudoku9x9-minimal"), np.zeros((1, 81), dtype=np.int64)
        puzzles = task.puzzles("test")
        puzzle, label = puzzles.inputs[0].numpy() - 1, puzzles.labels[0].numpy() - 1
        cell = int(np.flatnonzero(puzzle == 0)[0])
        search_without = (np.arange(81), geometry(3, 3), 10_000, scratch, cell)
        assert search(puzzle, *search_without, int(label[cell]))[0] == 0
        assert search(puzzle, *search_without, int(label[cell]) % 9 + 1)[0] == 1

    def test_it_gives_up(self) -> None:
        hard = np.array([0 if symbol == "." else int(symbol) for symbol in HARD])
        assert search(hard, np.arange(81), geometry(3, 3), 2, np.zeros((2, 81), dtype=np.int64)) == (-1, 2)

    def test_easy_puzzles_need_no_guess_and_hard_ones_many(self) -> None:
        easy = make_task("sudoku9x9").puzzles("test").inputs[:50].numpy() - 1
        assert max(rating(puzzle, orders(81), geometry(3, 3), 1000) for puzzle in easy) == 0
        hard = np.array([0 if symbol == "." else int(symbol) for symbol in HARD])
        assert rating(hard, orders(81), geometry(3, 3), 100_000) >= 5


def test_boxes_of_more_than_four_rows_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="at most 4 rows and columns; got 5 x 5"):
        geometry(5, 5)


def is_minimal(puzzle: np.ndarray) -> bool:
    scratch, boxes = np.zeros(81, dtype=np.int64), box_index(3, 3)
    for cell in np.flatnonzero(puzzle):
        spared = puzzle.copy()
        spared[cell] = 0
        if plain.count_solutions(spared, boxes, 9, 2, scratch) != 2:
            return False
    return plain.count_solutions(puzzle, boxes, 9, 2, scratch) == 1


@pytest.mark.slow
@needs_numba
class TestWalks:
    def test_they_climb_and_their_puzzles_are_minimal(self) -> None:
        start, _ = plain.dig(9, box_index(3, 3), 81, 1)
        puzzles, ratings = walk(start, 15.0, 24, 0.1, 3000, geometry(3, 3), 0)
        again, _ = walk(start, 15.0, 24, 0.1, 3000, geometry(3, 3), 0)
        assert (puzzles == again).all()
        assert np.abs(np.log((ratings[-5:] + 1) / 16)).max() < 1
        assert all(map(is_minimal, puzzles))

    def test_they_come_to_few_givens(self) -> None:
        start, _ = plain.dig(9, box_index(3, 3), 81, 1)
        puzzles, _ = walk(start, 1.0, 17, 1.0, 3000, geometry(3, 3), 0)
        assert (puzzles[-1] > 0).sum() < min((start > 0).sum(), 23)
        assert is_minimal(puzzles[-1])

    def test_deduction_digs_large_boards(self) -> None:
        puzzle, solution = dig_by_deduction(geometry(4, 4), 150, 3)
        again, _ = dig_by_deduction(geometry(4, 4), 150, 3)
        assert (puzzle == again).all()
        assert (puzzle == 0).sum() == 150
        task = make_task("sudoku16x16")
        assert task.verify(torch.from_numpy(puzzle + 1)[None], torch.from_numpy(solution + 1)[None]).all()
        assert task.solve(torch.from_numpy(puzzle + 1)).equal(torch.from_numpy(solution + 1))


@pytest.mark.parametrize("name", ["sudoku6x6", "sudoku9x9-hard", "sudoku16x16"])
def test_symmetric_boards_have_one_hash_and_others_have_not(name: str) -> None:
    task = make_task(name)
    boards = task.puzzles("test").inputs[:200]
    views = draw_symmetry(task, len(boards), torch.Generator().manual_seed(3)).apply(boards)
    hashes, of_views = (symmetry_hash(b.numpy() - 1, task.box_rows, task.box_columns) for b in (boards, views))
    assert (hashes == of_views).all()
    assert len(np.unique(hashes)) == len(hashes)


def test_a_histogram_counts_and_names_its_bins() -> None:
    histogram = Histogram(edges=(0, 10), shares=(0.5, 0.3, 0.2))
    assert histogram.bins(np.array([0, 0.4, 0.6, 10, 10.6, 99])).tolist() == [0, 0, 1, 1, 2, 2]
    assert histogram.counts(9).tolist() == [4, 3, 2]
    assert histogram.tally(np.array([0, 0, 4, 5, 6])) == {"0": 2, "1-10": 3, "over 10": 0}


class TestExtreme:
    """The shipped bank that is matched to Sudoku-Extreme."""

    def test_every_thousand_has_the_collection_s_histogram(self) -> None:
        facts = bank_facts("sudoku9x9-extreme")["guesses"]
        assert list(facts["wanted"].values()) == list(EXTREME.shares)
        for counts in facts["counts"].values():
            assert list(counts.values()) == EXTREME.counts(sum(counts.values())).tolist()

    def test_its_puzzles_are_rated(self) -> None:
        task = make_task("sudoku9x9-extreme")
        for split in SPLITS:
            found = load_guesses(task.name, split)
            assert len(found) == len(task.puzzles(split))
            assert 18 < found.mean() < 26
        with pytest.raises(PuzzleError, match="test_guesses"):
            load_guesses("sudoku9x9", "test")

    @pytest.mark.slow
    @needs_numba
    def test_its_guesses_are_those_of_the_search(self) -> None:
        boards = make_task("sudoku9x9-extreme").puzzles("test").inputs[:40].numpy() - 1
        counts = guesses(boards, geometry(3, 3))
        assert counts.shape == (40, NUM_ORDERS)
        assert np.allclose(counts.mean(1), load_guesses("sudoku9x9-extreme", "test")[:40])


@pytest.mark.slow
@needs_numba
def test_a_matched_bank_can_be_made_again_and_goes_on_from_its_walks(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("latent_rl.tasks.sudoku.matched.NUM_PROPOSALS", 1500)
    easy = Histogram(edges=(0, 10), shares=(0.5, 0.2, 0.3))
    task = Sudoku("easy", 3, 3, (45, 64), difficulty=easy)
    counts = {"train": 60, "validation": 20, "test": 40}
    facts = make_bank(task, counts, 4, tmp_path / "bank.npz", tmp_path / "walks")
    written = sorted((tmp_path / "walks").iterdir())
    assert {TURNS[int(path.stem) % len(TURNS)] for path in written} == set(SPLITS)
    again = make_bank(task, counts, 4, tmp_path / "again.npz", tmp_path / "walks")
    without = make_bank(task, counts, 4, tmp_path / "without.npz")
    assert facts == again == without
    assert [list(found.values()) for found in facts["guesses"]["counts"].values()] == [
        [30, 12, 18],
        [10, 4, 6],
        [20, 8, 12],
    ]
    written[0].write_bytes(b"no archive")
    with pytest.raises(PuzzleError, match="must be a walk of make-bank"):
        make_bank(task, counts, 4, tmp_path / "bank.npz", tmp_path / "walks")
    with pytest.raises(InvalidValueError, match="boxes of 3x3"):
        make_bank(Sudoku("easy", 2, 2, (4, 8), difficulty=easy), counts, 4, tmp_path / "bank.npz")
