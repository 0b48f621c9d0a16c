"""N-Queens: rules, symmetries, text, and what the splits promise."""

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from latent_rl.errors import InvalidValueError, PuzzleError, UnknownNameError
from latent_rl.tasks.base import SPLITS, Task, draw_symmetry
from latent_rl.tasks.files.puzzle_io import read_puzzles
from latent_rl.tasks.grids import dihedral_maps
from latent_rl.tasks.nqueens.boards import orbit_keys, solutions
from latent_rl.tasks.nqueens.task import EMPTY, PAD, QUEEN, NQueens
from latent_rl.tasks.registry import make_task

QUEENS = NQueens()
CLASSES = make_task("nqueens8-classes")
SOLUTION = "Q.......|....Q...|.......Q|.....Q..|..Q.....|......Q.|.Q......|...Q....".replace("|", "")


def attacks(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] == b[0] or a[1] == b[1] or abs(a[0] - b[0]) == abs(a[1] - b[1])


def queens_of(board: Tensor, size: int = 8) -> list[tuple[int, int]]:
    return [divmod(cell, size) for cell in (board == QUEEN).nonzero().flatten().tolist()]


def random_boards(seed: int, count: int = 8) -> Tensor:
    """8x8 boards: solutions with 0..3 queens moved to random cells, and others with wrong diagonals only."""
    generator = torch.Generator().manual_seed(seed)
    full = torch.from_numpy(solutions(8)).long() + EMPTY
    boards = full[torch.randint(len(full), (count,), generator=generator)]
    for row in range(count):
        for _ in range(row % 4):
            queens = (boards[row] == QUEEN).nonzero().flatten()
            boards[row, queens[torch.randint(len(queens), (1,), generator=generator)]] = EMPTY
            boards[row, torch.randint(64, (1,), generator=generator)] = QUEEN
    # Two rows of a solution exchanged: every row and column still has one queen.
    exchanged = full[torch.randint(len(full), (count,), generator=generator)].view(count, 8, 8)
    for board in exchanged:
        pair = torch.randperm(8, generator=generator)[:2]
        board[pair] = board[pair.flip(0)]
    return torch.cat([boards, exchanged.flatten(1)])


def test_the_protocol_is_satisfied() -> None:
    assert isinstance(QUEENS, Task)


@pytest.mark.parametrize(
    ("size", "count"), [(4, 2), (5, 10), (6, 4), (7, 40), (8, 92), (9, 352), (10, 724), (11, 2680), (12, 14200)]
)
def test_the_number_of_solutions_is_the_known_one(size: int, count: int) -> None:
    """OEIS A000170; all different, and each accepted by the verifier."""
    boards = solutions(size)
    assert len(np.unique(boards, axis=0)) == len(boards) == count
    tokens = torch.from_numpy(boards).long() + EMPTY
    task = NQueens("queens", size)
    nothing_given = torch.full_like(tokens, EMPTY)
    assert task.verify(nothing_given, tokens).all()


@pytest.mark.parametrize(("size", "count"), [(4, 1), (5, 2), (6, 1), (7, 6), (8, 12), (9, 46), (10, 92)])
def test_the_number_of_solutions_up_to_symmetry_is_the_known_one(size: int, count: int) -> None:
    """OEIS A002562."""
    assert len(np.unique(orbit_keys(solutions(size)))) == count


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000))
def test_the_verifier_agrees_with_the_rules(seed: int) -> None:
    boards = random_boards(seed)
    inputs = torch.full_like(boards, EMPTY)
    expected = [
        len(queens) == 8 and not any(attacks(a, b) for a, b in itertools.combinations(queens, 2))
        for queens in map(queens_of, boards)
    ]
    verdict = QUEENS.verify(inputs, boards)
    assert verdict.tolist() == expected
    share = QUEENS.satisfied_share(inputs, boards)
    assert (share == 1).tolist() == expected
    assert ((share >= 0) & (share <= 1)).all()


def test_an_answer_that_moves_a_given_queen_is_refused() -> None:
    """The same valid board is an answer to one puzzle and not to another."""
    first, second = (torch.from_numpy(solutions(8)).long() + EMPTY)[:2]
    kept, moved = (torch.where(torch.arange(64) < 8 * rows, first, EMPTY) for rows in (1, 8))
    assert torch.equal(first[:8], second[:8])
    inputs, answers = torch.stack([kept, moved]), torch.stack([second, second])
    assert QUEENS.verify(inputs, answers).tolist() == [True, False]
    assert (QUEENS.satisfied_share(inputs, answers) == 1).tolist() == [True, False]


def test_satisfied_share_by_hand() -> None:
    """4x4, no queen: 4 rows and 4 columns fail, 2 x 5 diagonals hold; one given queen is not kept."""
    task = NQueens("queens4", 4)
    inputs = torch.full((1, 16), EMPTY)
    inputs[0, 1] = QUEEN
    empty = torch.full((1, 16), EMPTY)
    torch.testing.assert_close(task.satisfied_share(inputs, empty), torch.tensor([10 / 19]))
    # The given queen alone: its row, its column, all diagonals and the given hold.
    torch.testing.assert_close(task.satisfied_share(inputs, inputs), torch.tensor([13 / 19]))


def test_constrain_copies_givens_and_masks_pad() -> None:
    inputs = torch.full((1, 64), EMPTY)
    inputs[0, 5] = QUEEN
    logits = torch.zeros(1, 64, 3)
    logits[..., PAD] = 50.0
    logits[..., EMPTY] = 1.0
    probabilities = QUEENS.constrain(inputs, logits).softmax(-1)
    assert (probabilities[..., PAD] == 0).all()
    assert probabilities[0, 5, QUEEN] == 1
    assert (probabilities.argmax(-1) == inputs).all()
    torch.testing.assert_close(probabilities[0, 6, QUEEN], torch.tensor(1 / (1 + torch.e)))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000))
def test_symmetries_are_invertible_and_leave_the_verdict_alone(seed: int) -> None:
    boards = random_boards(seed)
    inputs = torch.where(torch.rand(boards.shape, generator=torch.Generator().manual_seed(seed)) < 0.3, boards, EMPTY)
    view = draw_symmetry(QUEENS, len(boards), torch.Generator().manual_seed(seed))
    seen_inputs, seen = view.apply(inputs), view.apply(boards)
    assert torch.equal(view.invert(seen), boards)
    assert torch.equal(QUEENS.verify(seen_inputs, seen), QUEENS.verify(inputs, boards))
    torch.testing.assert_close(QUEENS.satisfied_share(seen_inputs, seen), QUEENS.satisfied_share(inputs, boards))


def test_the_symmetries_are_the_eight_of_the_square() -> None:
    """Eight different maps, closed under composition, that keep neighbours neighbours; draws reach each of them."""
    maps = {tuple(row) for row in dihedral_maps(8).tolist()}
    assert len(maps) == 8
    assert {tuple(np.array(a)[list(b)]) for a in maps for b in maps} == maps
    for cells in maps:
        rows, columns = np.divmod(np.array(cells).reshape(8, 8), 8)
        assert (np.abs(np.diff(rows, axis=0)) + np.abs(np.diff(columns, axis=0)) == 1).all()
    draws = torch.linspace(0, 1, 9, dtype=torch.float64)[:8, None]
    assert {tuple(row) for row in QUEENS.symmetry(draws).cells.tolist()} == maps


@pytest.mark.parametrize("name", ["nqueens6", "nqueens8", "nqueens8-classes", "nqueens10"])
def test_base_boards_are_puzzles_with_their_answers(name: str) -> None:
    task = make_task(name)
    for split in SPLITS:
        puzzles = task.puzzles(split)
        given_queens = (puzzles.inputs == QUEEN).sum(1)
        assert ((given_queens >= 1) & (given_queens < task.size)).all()
        assert task.verify(puzzles.inputs, puzzles.labels).all()


@pytest.mark.parametrize("name", ["nqueens6", "nqueens8", "nqueens8-classes", "nqueens10"])
def test_splits_share_no_board_up_to_symmetry(name: str) -> None:
    keys = [set(orbit_keys((make_task(name).puzzles(split).inputs == QUEEN).numpy())) for split in SPLITS]
    assert not any(one & other for one, other in itertools.combinations(keys, 2))


def test_the_papers_split_has_its_sizes_and_all_solution_classes_in_training() -> None:
    sizes = {split: len(QUEENS.puzzles(split)) for split in SPLITS}
    assert sizes["train"] + sizes["validation"] == 800
    assert sizes["test"] == 200
    assert len(set(orbit_keys((QUEENS.puzzles("train").labels == QUEEN).numpy()))) == 12
    # Given queens are spread evenly over 1..7.
    counts = (QUEENS.puzzles("test").inputs == QUEEN).sum(1).bincount(minlength=8)
    assert counts[1:].max() - counts[1:].min() <= 1


def test_no_solution_of_a_held_out_board_occurs_in_training() -> None:
    """Of the class split; by search from the boards, not from the labels, and up to symmetry."""
    train = set(orbit_keys((CLASSES.puzzles("train").labels == QUEEN).numpy()))
    every = solutions(8)
    for split in ("validation", "test"):
        for board in (CLASSES.puzzles(split).inputs == QUEEN).numpy():
            answers = every[every[:, board].all(1)]
            assert len(answers)
            assert not train & set(orbit_keys(answers))


def test_the_shipped_boards_are_those_that_results_were_measured_on() -> None:
    """A change of the generator would silently change every published number."""
    digest = hashlib.sha256()
    for task in (QUEENS, CLASSES):
        for split in SPLITS:
            puzzles = task.puzzles(split)
            digest.update(torch.cat([puzzles.inputs, puzzles.labels]).to(torch.uint8).numpy().tobytes())
    assert digest.hexdigest() == "057693dfa888379b2e025e090468edde3c3798c14f6dfc9f1be8b283cd64a94b"


def test_another_seed_gives_other_boards() -> None:
    assert not torch.equal(NQueens(seed=1).puzzles("test").inputs, QUEENS.puzzles("test").inputs)


def test_a_size_without_enough_solution_classes_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="validation split with solutions held out; it has 0"):
        NQueens("queens4", 4, hold_out="solutions").puzzles("train")


@pytest.mark.parametrize("size", [3, 13])
def test_sizes_out_of_range_are_refused(size: int) -> None:
    with pytest.raises(InvalidValueError, match=r"4\.\.12"):
        NQueens("queens", size)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'test'"):
        QUEENS.puzzles("tests")


def test_text_and_back() -> None:
    board = QUEENS.parse(SOLUTION)
    assert QUEENS.format(board) == SOLUTION
    assert QUEENS.render(board).splitlines()[1] == ". . . . Q . . ."
    assert torch.equal(QUEENS.parse(SOLUTION.lower().replace(".", "0")), board)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Q" * 3, "must have 64 symbols; got 3"),
        ("Qx" + "." * 62, "got 'x' at position 2"),
        ("Q" + "." * 62 + "Q", r"row 1, column 1 attacks the one in row 8, column 8"),
        ("QQ" + "." * 62, "row 1, column 1 attacks the one in row 1, column 2"),
    ],
)
def test_bad_text_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(PuzzleError, match=reason):
        QUEENS.parse(text)


def test_reading_a_grid_does_not_judge_it() -> None:
    assert QUEENS.read_grid("Q" * 64).eq(QUEEN).all()


def test_solving_finds_the_only_completion_and_refuses_none_or_several() -> None:
    solution = QUEENS.parse(SOLUTION)
    unique = solution.clone()
    unique[(solution == QUEEN).nonzero()[-1]] = EMPTY
    assert torch.equal(QUEENS.solve(unique), solution)
    with pytest.raises(PuzzleError, match="this one has 92"):
        QUEENS.solve(torch.full((64,), EMPTY))
    with pytest.raises(PuzzleError, match="this one has none"):
        QUEENS.solve(QUEENS.parse("Q.......|..Q.....|....Q...|......Q.|.Q......".replace("|", "").ljust(64, ".")))


def test_ambiguity_is_that_of_a_search() -> None:
    inputs = QUEENS.puzzles("test").inputs
    every = solutions(8)
    several = [int(every[:, board].all(1).sum()) > 1 for board in (inputs == QUEEN).numpy()]
    assert QUEENS.is_ambiguous(inputs).tolist() == several
    assert 0.2 < np.mean(several) < 0.6


def test_a_file_may_hold_ambiguous_boards_where_any_completion_counts(tmp_path: Path) -> None:
    """A Sudoku with several solutions is no puzzle; a board of queens with several completions is one."""
    file = tmp_path / "boards.txt"
    file.write_text("# one queen\n" + "Q" + "." * 63 + "\n" + SOLUTION + "\n")
    puzzles = read_puzzles(file, QUEENS)
    assert QUEENS.is_ambiguous(puzzles.inputs).tolist() == [True, False]
    assert QUEENS.verify(puzzles.inputs, puzzles.labels).all()
    file.write_text("." * 16)
    with pytest.raises(PuzzleError, match=r"line 1: .*several solutions"):
        read_puzzles(file, make_task("sudoku4x4"))
