"""Sudoku: rules, symmetries, banks, an independent solver, and what a user may type."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import every_task
from hypothesis import given
from hypothesis import strategies as st
from pysat.solvers import Cadical153

from latent_rl.errors import InvalidValueError, MissingExtraError, PuzzleError, UnknownNameError
from latent_rl.tasks.bank import bank_facts, load_bank
from latent_rl.tasks.base import SPLITS, Task, draw_symmetry, first, sample
from latent_rl.tasks.files.puzzle_io import read_puzzles
from latent_rl.tasks.grids import MASKED
from latent_rl.tasks.maze.task import Maze
from latent_rl.tasks.registry import TASKS, make_task, task_names
from latent_rl.tasks.sudoku.make_bank import canonical_form, make_bank
from latent_rl.tasks.sudoku.search import COMPILED
from latent_rl.tasks.sudoku.task import BLANK, Sudoku, box_index

LINE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
ANSWER = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
NINE = make_task("sudoku9x9")


def sat_solutions(puzzle: torch.Tensor, task: Sudoku, limit: int = 2) -> list[list[int]]:
    """Up to `limit` completions of tokens [L], found by a SAT solver from the rules alone."""
    n = task.size
    boxes = box_index(task.box_rows, task.box_columns)

    def holds(cell: int, digit: int) -> int:
        return cell * n + digit

    groups = [[c for c in range(n * n) if c // n == i] for i in range(n)]
    groups += [[c for c in range(n * n) if c % n == i] for i in range(n)]
    groups += [[c for c in range(n * n) if boxes[c] == i] for i in range(n)]
    clauses = [[holds(c, d) for d in range(1, n + 1)] for c in range(n * n)]
    clauses += [[holds(c, d) for c in group] for group in groups for d in range(1, n + 1)]
    for group in groups:
        for i, a in enumerate(group):
            clauses += [[-holds(a, d), -holds(b, d)] for b in group[i + 1 :] for d in range(1, n + 1)]
    clauses += [[holds(c, int(token) - BLANK)] for c, token in enumerate(puzzle) if token > BLANK]
    found: list[list[int]] = []
    with Cadical153(bootstrap_with=clauses) as solver:
        while len(found) < limit and solver.solve():
            chosen = [literal for literal in solver.get_model() if literal > 0]
            found.append([(literal - 1) % n + 1 for literal in sorted(chosen)])
            solver.add_clause([-literal for literal in chosen])
    return found


@pytest.mark.parametrize("name", [name for name in task_names() if name.startswith("sudoku")])
class TestBanks:
    """Every shipped bank."""

    def test_its_puzzles_have_exactly_one_solution(self, name: str) -> None:
        """An independent solver finds the label and nothing else, for puzzles of every split."""
        task = make_task(name)
        for split in SPLITS:
            base = task.puzzles(split)
            for row in np.linspace(0, len(base) - 1, 8).astype(int):
                solutions = sat_solutions(base.inputs[row], task)
                assert solutions == [(base.labels[row] - BLANK).tolist()]

    def test_its_labels_solve_its_inputs(self, name: str) -> None:
        task = make_task(name)
        for split in SPLITS:
            base = task.puzzles(split)
            assert task.verify(base.inputs, base.labels).all()
            assert (task.satisfied_share(base.inputs, base.labels) == 1).all()

    def test_its_puzzles_have_the_promised_number_of_blanks(self, name: str) -> None:
        task = make_task(name)
        blanks = torch.cat([(task.puzzles(split).inputs == BLANK).sum(1) for split in SPLITS])
        assert task.empties[0] <= blanks.min()
        assert blanks.max() <= task.empties[1]

    def test_its_splits_are_disjoint(self, name: str) -> None:
        """Up to 6x6 up to symmetry; for 9x9 as drawn, and no two answers are equal either."""
        task = make_task(name)
        seen: list[set[bytes]] = []
        for split in SPLITS:
            digits = (task.puzzles(split).inputs - BLANK).numpy()
            if task.size == 4:
                seen.append({canonical_form(d, task.box_rows, task.box_columns) for d in digits})
            else:
                seen.append({d.astype(np.uint8).tobytes() for d in digits})
            assert len(seen[-1]) == len(digits)
        assert len(set().union(*seen)) == sum(map(len, seen))

    def test_its_facts_are_true(self, name: str) -> None:
        """Seed, counts and the sha256 of the tokens."""
        facts = bank_facts(name)
        splits = [load_bank(name, split) for split in SPLITS]
        assert facts["counts"] == {split: len(p) for split, p in zip(SPLITS, splits, strict=True)}
        pairs = torch.cat([torch.stack([p.inputs, p.labels], dim=1) for p in splits])
        assert hashlib.sha256(pairs.numpy().astype(np.uint8).tobytes()).hexdigest() == facts["sha256"]


def test_minimal_puzzles_lose_uniqueness_without_any_given() -> None:
    task = make_task("sudoku9x9-minimal")
    puzzle = task.puzzles("test").inputs[0]
    for cell in (puzzle > BLANK).nonzero().squeeze(1):
        spared = puzzle.clone()
        spared[cell] = BLANK
        assert len(sat_solutions(spared, task)) == 2


@pytest.mark.parametrize("name", every_task(task_names()))
class TestTaskContract:
    """What every task owes the trainer, the environment and the command line."""

    def test_it_satisfies_the_protocol(self, name: str) -> None:
        assert isinstance(make_task(name), Task)

    def test_symmetries_are_invertible_and_keep_the_rules(self, name: str) -> None:
        task = make_task(name)
        base = first(task, "test", 64)
        view = draw_symmetry(task, len(base), torch.Generator().manual_seed(3))
        inputs, labels = view.apply(base.inputs), view.apply(base.labels)
        assert torch.equal(inputs, base.inputs) == (task.num_symmetry_draws == 0)
        assert torch.equal(view.invert(inputs), base.inputs)
        assert torch.equal(view.invert(labels), base.labels)
        assert task.verify(inputs, labels).all()
        assert torch.equal(task.is_given(inputs).sum(1), task.is_given(base.inputs).sum(1))

    def test_logits_go_back_with_their_tokens(self, name: str) -> None:
        task = make_task(name)
        base = first(task, "test", 8)
        view = draw_symmetry(task, 8, torch.Generator().manual_seed(4))
        logits = torch.randn(8, task.seq_len, task.vocab_size)
        back = view.invert_logits(logits)
        assert torch.equal(back.argmax(-1), view.invert(logits.argmax(-1)))
        torch.testing.assert_close(back.sort(-1).values.sum(1), logits.sort(-1).values.sum(1), atol=1e-3, rtol=1e-3)
        assert base.inputs.shape == (8, task.seq_len)

    def test_constrained_answers_keep_the_givens_and_are_answers(self, name: str) -> None:
        task = make_task(name)
        base = first(task, "test", 20)
        logits = torch.randn(20, task.seq_len, task.vocab_size)
        answers = task.constrain(base.inputs, logits).argmax(-1)
        given = task.is_given(base.inputs)
        assert torch.equal(answers[given], base.inputs[given])
        allowed = base.labels.unique()
        assert torch.isin(answers, allowed).all()
        probabilities = task.constrain(base.inputs, logits).softmax(-1)
        assert (probabilities[given].amax(-1) == 1).all()
        assert logits.min() - 1000 > MASKED

    def test_verify_and_share_agree(self, name: str) -> None:
        task = make_task(name)
        base = first(task, "test", 64)
        wrong = base.labels.clone()
        blank = (~task.is_given(base.inputs)).float().argmax(1)
        rows = torch.arange(len(base))
        tokens = wrong[rows, blank]
        wrong[rows, blank] = torch.where(tokens > 2, tokens - 1, tokens + 1).clamp(max=task.vocab_size - 1)
        changed = (wrong != base.labels).any(1)
        assert changed.any()
        accepted = task.verify(base.inputs, wrong)
        assert not accepted[changed & ~task.is_ambiguous(base.inputs)].any()
        assert torch.equal(accepted, task.satisfied_share(base.inputs, wrong) == 1)
        assert not task.verify(base.inputs, base.inputs).any()

    def test_text_there_and_back(self, name: str) -> None:
        task = make_task(name)
        for tokens in (task.puzzles("test").inputs[0], task.puzzles("test").labels[0]):
            assert torch.equal(task.parse(task.format(tokens)), tokens)
        assert "\n" in task.render(tokens)


def test_symmetries_draw_from_the_whole_group() -> None:
    """4x4 has 2 * (2! * 2!^2)^2 = 128 maps of cells and 4! = 24 of digits: all of them occur."""
    task = make_task("sudoku4x4")
    view = draw_symmetry(task, 4000, torch.Generator().manual_seed(0))
    assert len(view.cells.unique(dim=0)) == 128
    assert len(view.tokens.unique(dim=0)) == 24
    six = make_task("sudoku6x6")
    view = draw_symmetry(six, 1000, torch.Generator().manual_seed(0))
    # Boxes of 2x3 can't be transposed: cells of a row stay in a row.
    rows = view.cells.reshape(-1, 6, 6) // 6
    assert (rows == rows[:, :, :1]).all()


def test_samples_are_new_views_of_training_puzzles() -> None:
    task = make_task("sudoku4x4")
    batch = sample(task, task.puzzles("train"), 200, torch.Generator().manual_seed(0))
    assert task.verify(batch.inputs, batch.labels).all()
    train = {canonical_form(row.numpy(), 2, 2) for row in task.puzzles("train").inputs - BLANK}
    assert {canonical_form(row.numpy(), 2, 2) for row in batch.inputs - BLANK} <= train


@given(st.integers(0, 2**31 - 1))
def test_a_canonical_form_is_the_same_for_every_view(seed: int) -> None:
    task = make_task("sudoku4x4")
    puzzle = task.puzzles("test").inputs[seed % 100][None]
    view = draw_symmetry(task, 1, torch.Generator().manual_seed(seed))
    one, other = ((x[0] - BLANK).numpy() for x in (puzzle, view.apply(puzzle)))
    assert canonical_form(one, 2, 2) == canonical_form(other, 2, 2)


def test_the_known_puzzle() -> None:
    puzzle = NINE.parse(LINE)
    assert NINE.format(NINE.solve(puzzle)) == ANSWER
    assert NINE.parse(LINE.replace(".", "0")).equal(puzzle)
    assert NINE.render(puzzle).splitlines()[:4] == [
        " 5 3 . | . 7 . | . . .",
        " 6 . . | 1 9 5 | . . .",
        " . 9 8 | . . . | . 6 .",
        "-------+-------+-------",
    ]


def test_making_banks_without_numba_says_what_to_install(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("latent_rl.tasks.sudoku.search.COMPILED", False)
    with pytest.raises(MissingExtraError, match=r"latent_rl\[generate\]"):
        make_bank(make_task("sudoku4x4"), {"train": 1, "validation": 1, "test": 1}, seed=5, out=tmp_path / "bank.npz")


@pytest.mark.skipif(not COMPILED, reason="making banks needs the extra generate")
def test_digging_proves_uniqueness(tmp_path: Path) -> None:
    task = make_task("sudoku4x4")
    facts = make_bank(task, {"train": 20, "validation": 5, "test": 5}, seed=5, out=tmp_path / "bank.npz")
    again = make_bank(task, {"train": 20, "validation": 5, "test": 5}, seed=5, out=tmp_path / "again.npz")
    assert facts["sha256"] == again["sha256"]
    with np.load(tmp_path / "bank.npz") as file:
        given = np.unpackbits(file["test_given"], axis=1, count=16).astype(bool)
        inputs = np.where(given, file["test_answers"], BLANK)
    for puzzle in inputs:
        assert len(sat_solutions(torch.from_numpy(puzzle), task)) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LINE[:-1], "must have 81 symbols; got 80"),
        ("z" + LINE[1:], "got 'z' at position 1"),
        ("55" + LINE[2:], "5 stands more than once in row 1"),
        (LINE[:2] + "8" + LINE[3:], "8 stands more than once in column 3"),
    ],
)
def test_lines_that_are_no_puzzle_are_refused(text: str, message: str) -> None:
    with pytest.raises(PuzzleError, match=message):
        NINE.parse(text)


def test_a_digit_beyond_the_size_is_refused() -> None:
    with pytest.raises(PuzzleError, match="digits 1-4"):
        make_task("sudoku4x4").parse("5" + 15 * ".")


@pytest.mark.parametrize(
    ("puzzle", "message"),
    [("." * 81, "several solutions"), ("12345678." + "." * 35 + "9" + "." * 36, "no solution")],
)
def test_puzzles_without_a_single_solution_are_refused(puzzle: str, message: str) -> None:
    with pytest.raises(PuzzleError, match=message):
        NINE.solve(NINE.parse(puzzle))


class TestFiles:
    """Text files and CSVs of a user's own."""

    def write(self, folder: Path, name: str, text: str) -> Path:
        path = folder / name
        path.write_text(text)
        return path

    def test_lines(self, tmp_path: Path) -> None:
        puzzles = read_puzzles(self.write(tmp_path, "p.txt", f"# mine\n\n{LINE}\n{LINE}\n"), NINE)
        assert len(puzzles) == 2
        assert NINE.format(puzzles.labels[1]) == ANSWER

    @pytest.mark.parametrize("name", ["p.csv", "p.txt"])
    def test_csv(self, tmp_path: Path, name: str) -> None:
        text = f"source,question,answer,rating\nme,{LINE},{ANSWER},3\n"
        puzzles = read_puzzles(self.write(tmp_path, name, text), NINE)
        assert NINE.format(puzzles.inputs[0]) == LINE
        assert NINE.format(puzzles.labels[0]) == ANSWER

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("p.txt", "", "at least one puzzle"),
            ("p.txt", "# nothing\n", "at least one puzzle"),
            ("p.txt", f"{LINE}\n{LINE[1:]}\n", r"p\.txt, line 2: .*81 symbols"),
            ("p.txt", "." * 81, r"p\.txt, line 1: .*several solutions"),
            ("p.csv", "source,question\n", r"p\.csv must hold puzzles of sudoku9x9; line 1"),
            ("p.csv", f"question,answer\n{LINE}\n", r"line 2: the row is shorter"),
            ("p.csv", f"question,answer\n{LINE},{ANSWER[::-1]}\n", r"line 2: the answer does not solve"),
            ("p.csv", f"question,answer\n{LINE},{LINE}\n", r"line 2: the answer does not solve"),
        ],
    )
    def test_bad_files_name_file_line_and_reason(self, tmp_path: Path, name: str, text: str, message: str) -> None:
        with pytest.raises(PuzzleError, match=message):
            read_puzzles(self.write(tmp_path, name, text), NINE)

    def test_a_missing_or_binary_file(self, tmp_path: Path) -> None:
        binary = tmp_path / "b.txt"
        binary.write_bytes(bytes([0xFF, 0xFE, 0x81]))
        for path in (tmp_path / "none.txt", binary):
            with pytest.raises(PuzzleError, match="readable text file"):
                read_puzzles(path, NINE)


def test_unknown_names_and_counts() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'sudoku9x9'"):
        make_task("sudoku9x")
    with pytest.raises(UnknownNameError, match="split"):
        NINE.puzzles("tests")
    with pytest.raises(InvalidValueError, match="at least 1"):
        first(NINE, "test", 0)
    assert len(first(NINE, "test", 10_000)) == 3000
    assert make_task(NINE) is NINE
    assert set(task_names()) == set(TASKS)


def test_counts_are_known_without_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`latent-rl tasks` lists them; to draw all mazes takes seconds."""
    sized = [make_task(name) for name in ("sudoku4x4", "sudoku9x9", "nqueens6", "nqueens8")] + [
        Maze("maze6", 6, counts=(30, 10, 20), min_steps=6)
    ]
    expected = [[len(task.puzzles(split)) for split in SPLITS] for task in sized]

    def refuse(*_: object) -> None:
        raise AssertionError("nothing may be drawn")

    for drawing in ("constraints.load_bank", "nqueens.task.draw_splits", "maze.task.draw_mazes"):
        monkeypatch.setattr(f"latent_rl.tasks.{drawing}", refuse)
    assert [[task.num_puzzles(split) for split in SPLITS] for task in sized] == expected
    with pytest.raises(UnknownNameError, match="unknown split"):
        sized[0].num_puzzles("tests")


class TestSixteen:
    """Boards whose digits go beyond 9 are written with letters."""

    def test_what_is_written_is_read(self) -> None:
        task = make_task("sudoku16x16")
        puzzles = first(task, "test", 4)
        for tokens in (*puzzles.inputs, *puzzles.labels):
            line = task.format(tokens)
            assert len(line) == 256
            assert task.parse(line).equal(tokens)
            assert task.parse(line.lower()).equal(tokens)
        assert task.format(torch.arange(1, 18)) == ".123456789ABCDEFG"

    def test_drawn_boards_are_read(self, tmp_path: Path) -> None:
        task = make_task("sudoku16x16")
        puzzles = first(task, "test", 1)
        drawn = task.render(puzzles.inputs[0])
        assert drawn.count("+") == 9
        (tmp_path / "board.txt").write_text(drawn)
        found = read_puzzles(tmp_path / "board.txt", task)
        assert found.inputs.equal(puzzles.inputs)
        assert found.labels.equal(puzzles.labels)

    def test_it_says_what_is_wrong(self) -> None:
        task = make_task("sudoku16x16")
        with pytest.raises(PuzzleError, match="digits 1-9, letters A-G, or one of"):
            task.parse("H" + "." * 255)
        with pytest.raises(PuzzleError, match="G stands more than once in row 1"):
            task.parse("GG" + "." * 254)
        with pytest.raises(InvalidValueError, match="16x16 at most"):
            Sudoku("large", 5, 5, (0, 625))
