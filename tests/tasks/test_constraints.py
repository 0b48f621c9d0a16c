"""Tasks by their units: rules, violations, clashes and exact search, against independent checks."""

import json
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
import torch
from pysat.solvers import Cadical153

from latent_rl.commands.make_bank import MakeBank
from latent_rl.errors import InvalidValueError, PuzzleError
from latent_rl.tasks.bank import bank_facts
from latent_rl.tasks.base import SPLITS
from latent_rl.tasks.colouring import Colouring, random_edges
from latent_rl.tasks.constraints import (
    FIRST_SYMBOL,
    OPEN,
    Constraints,
    ConstraintTask,
    Kind,
    expected_violations,
    rows_and_columns,
)
from latent_rl.tasks.latin import Latin
from latent_rl.tasks.registry import make_task
from latent_rl.tasks.sudoku.search import COMPILED
from latent_rl.types import Puzzles

UNIQUE = ("latin5", "latin7", "latin9", "latin12", "colouring3", "colouring4")
BANKS = (*UNIQUE, "colouring3-open")
NAMES = ("sudoku4x4", "sudoku9x9", "nqueens6", *BANKS)


def task_of(name: str) -> ConstraintTask:
    task = make_task(name)
    assert isinstance(task, ConstraintTask)
    return task


def sat_answers(task: ConstraintTask, puzzle: torch.Tensor, limit: int = 2) -> list[list[int]]:
    """Up to `limit` answers, tokens [L], that a SAT solver finds from the units alone."""
    rules = task.constraints
    values = range(rules.num_symbols + rules.has_background)  # the last one of them is "no symbol"

    def holds(cell: int, value: int) -> int:
        return cell * (rules.num_symbols + 1) + value + 1

    clauses = []
    for cell in range(rules.num_cells):
        clauses.append([holds(cell, value) for value in values])
        clauses += [[-holds(cell, a), -holds(cell, b)] for a, b in combinations(values, 2)]
        if puzzle[cell] >= FIRST_SYMBOL:
            clauses.append([holds(cell, int(puzzle[cell]) - FIRST_SYMBOL)])
    for kind in rules.kinds:
        for unit, symbol in product(kind.units, range(rules.num_symbols)):
            clauses += [[-holds(a, symbol), -holds(b, symbol)] for a, b in combinations(unit, 2)]
            clauses += [[holds(cell, symbol) for cell in unit]] if kind.exact else []
    found: list[list[int]] = []
    with Cadical153(bootstrap_with=clauses) as solver:
        while len(found) < limit and solver.solve():
            model = set(solver.get_model())
            answer = [next(v for v in values if holds(c, v) in model) for c in range(rules.num_cells)]
            found.append([v + FIRST_SYMBOL if v < rules.num_symbols else OPEN for v in answer])
            solver.add_clause([-holds(c, v) for c, v in enumerate(answer)])
    return found


@pytest.mark.parametrize("name", NAMES)
class TestRules:
    """What follows from the units alone."""

    def test_labels_solve_and_any_other_cell_does_not(self, name: str) -> None:
        """One changed open cell breaks a unit, or an answer of a puzzle with several is still one by the rules."""
        task = task_of(name)
        puzzles = task.puzzles("validation")[:50]
        assert task.verify(puzzles.inputs, puzzles.labels).all()
        assert (task.satisfied_share(puzzles.inputs, puzzles.labels) == 1).all()
        wrong = puzzles.labels.clone()
        cells = (puzzles.inputs == OPEN).float().argmax(1)
        rows = torch.arange(len(wrong))
        first, last = task.first_answer_token, task.vocab_size - 1
        wrong[rows, cells] = torch.where(wrong[rows, cells] == last, first, wrong[rows, cells] + 1)
        verified = task.verify(puzzles.inputs, wrong)
        assert torch.equal(verified, task.satisfied_share(puzzles.inputs, wrong) == 1)
        assert not verified[~task.is_ambiguous(puzzles.inputs)].any()

    def test_boards_with_open_cells_are_no_answers(self, name: str) -> None:
        task = task_of(name)
        puzzles = task.puzzles("validation")[:50]
        assert not task.verify(puzzles.inputs, puzzles.inputs).any()
        assert not task.verify(puzzles.inputs, torch.zeros_like(puzzles.inputs)).any()

    def test_expected_violations_are_the_mean_over_drawn_answers(self, name: str) -> None:
        """Against 4,000 draws, whose violations are counted by going through pairs of cells."""
        task = task_of(name)
        rules, generator = task.constraints, torch.Generator().manual_seed(0)
        logits = 2 * torch.randn(1, task.seq_len, task.vocab_size, generator=generator)
        probabilities = task.constrain(torch.full((1, task.seq_len), OPEN), logits).softmax(-1)
        drawn = torch.multinomial(probabilities[0], 4000, replacement=True, generator=generator).T
        counted = torch.zeros(len(drawn))
        for kind in rules.kinds:
            for unit in kind.units:
                for a, b in combinations(unit, 2):
                    counted += (drawn[:, a] == drawn[:, b]) & (drawn[:, a] >= FIRST_SYMBOL)
                if kind.exact and rules.has_background:
                    counted += (drawn[:, list(unit)] < FIRST_SYMBOL).all(1)
        error = counted.std() / len(drawn) ** 0.5
        assert abs(expected_violations(rules, probabilities)[0] - counted.mean()) < 4 * error

    def test_expected_violations_vanish_exactly_at_answers(self, name: str) -> None:
        task = task_of(name)
        labels = task.puzzles("validation").labels[:20]
        one_hot = torch.nn.functional.one_hot(labels, task.vocab_size).float()
        assert expected_violations(task.constraints, one_hot).max() < 1e-4
        shifted = one_hot.roll(1, dims=1)  # every symbol one cell further
        broken = ~task.verify(torch.full_like(labels, OPEN), labels.roll(1, dims=1))
        assert (expected_violations(task.constraints, shifted)[broken] > 0.5).all()

    def test_search_finds_what_a_sat_solver_finds(self, name: str) -> None:
        task = task_of(name)
        for puzzle in task.puzzles("validation").inputs[:6]:
            found = ConstraintTask.completions(task, puzzle, 5).tolist()
            expected = sat_answers(task, puzzle, 5)
            assert len(found) == len(expected)
            if len(found) < 5:
                assert sorted(found) == sorted(expected)

    def test_clashing_cells_are_those_of_a_broken_pair(self, name: str) -> None:
        task = task_of(name)
        boards = torch.randint(OPEN, task.vocab_size, (5, task.seq_len), generator=torch.Generator().manual_seed(0))
        expected = torch.zeros_like(boards, dtype=torch.bool)
        for unit in task.constraints.units:
            for a, b in combinations(unit, 2):
                same = (boards[:, a] == boards[:, b]) & (boards[:, a] >= FIRST_SYMBOL)
                expected[:, a] |= same
                expected[:, b] |= same
        assert torch.equal(task.clashes(boards), expected)


@pytest.mark.parametrize("name", BANKS)
class TestBanks:
    """The shipped banks of Latin squares and colourings."""

    def test_a_puzzle_has_one_answer_its_label_or_several(self, name: str) -> None:
        task = task_of(name)
        for split in SPLITS:
            puzzles = task.puzzles(split)
            for row in np.linspace(0, len(puzzles) - 1, 5).astype(int):
                found = sat_answers(task, puzzles.inputs[row])
                assert found == [puzzles.labels[row].tolist()] if name in UNIQUE else len(found) == 2

    def test_no_puzzle_stands_twice(self, name: str) -> None:
        inputs = torch.cat([task_of(name).puzzles(split).inputs for split in SPLITS])
        assert len(inputs.unique(dim=0)) == len(inputs)

    @pytest.mark.skipif(not COMPILED, reason="needs numba")
    def test_the_command_makes_it_again(self, name: str, tmp_path: Path) -> None:
        facts, counts = bank_facts(name), bank_facts(name)["asked"]
        made = MakeBank(
            task=name, out=tmp_path / "bank.npz", seed=facts["seed"], num_train=counts["train"],
            num_validation=counts["validation"], num_test=counts["test"],
        )  # fmt: skip
        made.run()
        with np.load(tmp_path / "bank.npz") as file:
            assert json.loads(str(file["facts"])) == facts

    def test_its_facts_are_true(self, name: str) -> None:
        counts = bank_facts(name)["counts"]
        assert counts == {split: len(task_of(name).puzzles(split)) for split in SPLITS}


def test_givens_that_clash_are_told_by_their_unit() -> None:
    with pytest.raises(PuzzleError, match="3 stands more than once in column 2"):
        make_task("latin5").parse(".3..." + "....." * 3 + ".3...")
    edge = make_task("colouring3").edges[4]  # type: ignore[attr-defined]
    text = "".join("2" if vertex in edge else "." for vertex in range(50))
    with pytest.raises(PuzzleError, match="2 stands more than once in edge 5"):
        make_task("colouring3").parse(text)


def test_a_path_of_two_colours() -> None:
    """By hand: one given decides a path of four vertices, none leaves two ways."""
    boards = torch.ones(1, 4, dtype=torch.int64)
    path = Colouring("path", 4, 2, [(0, 1), (1, 2), (2, 3)], splits=lambda split: Puzzles.unlabelled(boards))
    assert path.format(path.solve(path.parse("..1."))) == "1212"
    assert path.is_ambiguous(torch.stack([path.parse("...."), path.parse("..1.")])).tolist() == [True, False]
    with pytest.raises(PuzzleError, match="exactly one answer to be solved; this one has several"):
        path.solve(path.parse("...."))
    with pytest.raises(PuzzleError, match="must have an answer; this one has none"):
        path.any_answer(path.parse("1..1"))


def test_a_latin_square_sees_its_symmetries() -> None:
    task = make_task("latin7")
    puzzles = task.puzzles("test")[:40]
    view = task.symmetry(torch.rand(40, task.num_symmetry_draws, dtype=torch.float64))
    seen = puzzles.seen_in(view)
    assert task.verify(seen.inputs, seen.labels).all()
    assert torch.equal(view.invert(seen.labels), puzzles.labels)
    assert (seen.inputs != puzzles.inputs).any(1).all()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Kind.of("row", [(0, 0)]), "must have different cells in 0..3"),
        (Kind.of("row", [(0, 4)]), "must have different cells in 0..3"),
        (Kind.of("row", [(0, 1, 2)]), "must have at most 2 cells"),
        (Kind.of("row", [(0,)]), "must have at least 2 cells"),
    ],
)
def test_units_that_cannot_be_are_refused(kind: Kind, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        Constraints(4, 2, (kind,))


def test_sizes_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"must be in 5\.\.12; got 4"):
        Latin("small", 4)
    with pytest.raises(InvalidValueError, match="needs 3 or 4 colours"):
        random_edges(50, 5, 0)


def test_kinds_that_mean_the_same_share_their_weights() -> None:
    rules = Constraints(4, 2, rows_and_columns(2))
    assert rules.by_weights() == {"line": ((0, 1), (2, 3), (0, 2), (1, 3))}
