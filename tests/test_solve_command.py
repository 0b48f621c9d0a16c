"""`latent-rl solve`: boards and files, cuts and kills, honest marks, mistakes in one line."""

import csv
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TASK, random_core, random_reasoner

from latent_rl import __main__ as cli
from latent_rl.agents.baselines import two_threshold_rule
from latent_rl.agents.solve import Solve
from latent_rl.agents.solve_file import COLUMNS, solve_file
from latent_rl.agents.solver import Solver
from latent_rl.envs.state import State
from latent_rl.errors import InvalidValueError
from latent_rl.reasoners.checkpoint import save_reasoner
from latent_rl.tasks.puzzle_io import STANDARD_STREAM, puzzle_rows

BASE = TASK.puzzles("test").map(lambda tensor: tensor[:7])
LINES = [TASK.format(row) for row in BASE.inputs]
TEXT = "".join(f"{line}\n" for line in LINES)


def solve(*arguments: str) -> int:
    return cli.run(["solve", "--task", "sudoku4x4", *arguments])


@pytest.fixture
def untrained(tmp_path: Path) -> str:
    save_reasoner(random_reasoner(), tmp_path / "untrained")
    return str(tmp_path / "untrained")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.txt"
    path.write_text(TEXT)
    return path


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def a_solver() -> Solver:
    """Its results depend on the random views, so on every puzzle's place."""
    core = random_core(horizon=5, reward="sparse")
    return Solver(core, two_threshold_rule(core, 0.37, 2), 3, seed=1)


def test_a_puzzle_becomes_a_board(untrained: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert solve("--puzzle", LINES[0]) == 0
    printed = capsys.readouterr().out
    assert TASK.render(BASE.labels[0]) in printed
    assert "\nsolved; 1 steps, 3 passes, confidence " in printed
    # A board that breaks the rules is shown, but not as a solution.
    assert solve("--puzzle", LINES[0], "--reasoner", untrained, "--policy", "fixed-2") == 1
    printed = capsys.readouterr().out
    assert "\nNOT solved, the board breaks the rules; 2 steps, 6 passes, confidence " in printed


@pytest.mark.parametrize("policy", ["rule", "fixed-3", "verifier", "verifier-rule"])
@pytest.mark.parametrize("trained", [True, False])
def test_a_file_becomes_a_table_that_marks_what_is_not_solved(
    policy: str, trained: bool, source: Path, untrained: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = source.parent / "new" / "out.csv"
    reasoner = "sudoku4x4" if trained else untrained
    arguments = ("--policy", policy, "--reasoner", reasoner, "--horizon", "4", "--batch-size", "3")
    status = solve("--file", str(source), "--out", str(out), *arguments)
    rows = read(out.read_text())
    assert tuple(rows[0]) == COLUMNS
    assert [row["puzzle"] for row in rows] == LINES
    answers = torch.stack([TASK.read_grid(row["answer"]) for row in rows])
    right = TASK.verify(BASE.inputs, answers).tolist()
    assert [row["solved"] for row in rows] == [str(value).lower() for value in right]
    assert all(right) == trained
    assert status == (0 if trained else 1)
    for row in rows:
        assert int(row["passes"]) == 3 * int(row["steps"]) <= 12
        assert 0 < float(row["confidence"]) <= 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"{sum(right)} of 7 solved" in captured.err


def test_a_csv_needs_questions_only_and_ignores_answers(source: Path) -> None:
    """An answer in the file, even a false one, changes nothing."""
    tables = []
    for name, text in (
        ("plain.txt", TEXT),
        ("a.csv", "rating,question\n" + "".join(f"1,{line}\n" for line in LINES)),
        ("b.csv", "question,answer\n" + "".join(f"{line},{LINES[0]}\n" for line in LINES)),
        ("bom.txt", "\ufeff" + TEXT),
    ):
        path, out = source.with_name(name), source.with_name(f"{name}.out")
        path.write_text(text)
        assert solve("--file", str(path), "--out", str(out)) == 0
        tables.append(out.read_text())
    assert len(set(tables)) == 1


def test_standard_input_to_standard_output(
    source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = source.with_name("out.csv")
    assert solve("--file", str(source), "--out", str(out)) == 0
    capsys.readouterr()
    for arguments in ((), ("--out", "-")):
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"# mine\n\n{TEXT}"))
        assert solve("--file", "-", *arguments) == 0
        assert capsys.readouterr().out == out.read_text()


def test_files_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    read_lines = []

    def endless() -> Iterator[str]:
        while True:
            read_lines.append(LINES[0])
            yield f"{LINES[0]}\n"

    monkeypatch.setattr(sys, "stdin", endless())
    rows = puzzle_rows(STANDARD_STREAM)
    for count in range(1, 5):
        assert next(rows)[0] == count
        assert len(read_lines) == count


def test_a_file_cut_anywhere_is_completed(source: Path) -> None:
    """Within the header, at the end of a row, within one: the same comes out in the end."""
    whole = source.with_name("whole.csv")
    status = solve_file(a_solver(), source, whole)
    content = whole.read_bytes()
    ends = [place + 1 for place, byte in enumerate(content) if byte == ord("\n")]
    assert len(ends) == 8
    out = source.with_name("out.csv")
    for cut in sorted(
        {0, 1, 10, len(content) - 1, *ends, *(end + 1 for end in ends[:-1]), *range(20, len(content), 37)}
    ):
        out.write_bytes(content[:cut])
        assert solve_file(a_solver(), source, out) == status
        assert out.read_bytes() == content, cut


def test_kept_rows_are_not_solved_again_but_count(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = source.with_name("out.csv")
    assert solve("--file", str(source), "--out", str(out)) == 0
    rows = out.read_text().splitlines(keepends=True)
    marked = f"{LINES[0]},{LINES[0]},false,900,2700,0.1234\n"
    out.write_text("".join([rows[0], marked, *rows[2:4]]))
    assert solve("--file", str(source), "--out", str(out)) == 1
    assert out.read_text() == "".join([rows[0], marked, *rows[2:]])
    assert "6 of 7 solved" in capsys.readouterr().err


def test_a_killed_run_leaves_whole_rows_and_is_completed(source: Path) -> None:
    whole, out = source.with_name("whole.csv"), source.with_name("out.csv")
    solve_file(a_solver(), source, whole)
    working = a_solver()

    class Killed:
        name, submit = "killed", None
        calls = 0

        def act(self, observation: np.ndarray, state: State) -> np.ndarray:
            self.calls += 1
            if self.calls > 8:
                raise KeyboardInterrupt
            return working.policy.act(observation, state)

    with pytest.raises(KeyboardInterrupt):
        solve_file(Solver(working.core, Killed(), 3, seed=1), source, out)
    left = out.read_text()
    assert whole.read_text().startswith(left)
    assert left.endswith("\n")
    assert 1 < left.count("\n") < 8
    solve_file(a_solver(), source, out)
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("my notes", "must be new or hold results"),
        ("question,answer\n", "must be new or hold results"),
        (",".join(COLUMNS) + "\nonly this\n", "line 2: it must be a row of results"),
        (",".join(COLUMNS) + f"\n{LINES[0]},{LINES[0]},maybe,1,3,0.5\n", "line 2: it must be a row of results"),
        (",".join(COLUMNS) + f"\n{LINES[1]},{LINES[1]},true,1,3,0.5\n", "line 1: the puzzle must be the one"),
        (",".join(COLUMNS) + "\n" + "".join(f"{p},{p},true,1,3,0.5\n" for p in (*LINES, LINES[0])), "more results"),
    ],
)
def test_a_file_of_something_else_is_left_alone(
    content: str, message: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = source.with_name("out.csv")
    out.write_text(content)
    assert solve("--file", str(source), "--out", str(out)) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "--out" in captured.err
    assert len(captured.err.splitlines()) == 1
    assert out.read_text() == content


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "in.txt",
            f"{LINES[0]}\n\n{LINES[1][1:]}\n",
            "in.txt, line 3: a sudoku4x4 puzzle must have 16 symbols; got 15",
        ),
        ("in.txt", f"# two\n11{'.' * 14}\n", "in.txt, line 2: the givens contradict each other"),
        ("in.txt", f"{LINES[0]}\n{LINES[0][:-1]}x\n", "in.txt, line 2: a sudoku4x4 puzzle must have digits 1-4"),
        ("in.txt", "", "in.txt must hold at least one puzzle"),
        ("in.csv", f"puzzle,answer\n{LINES[0]},\n", "in.csv, line 1: a CSV of puzzles needs the columns question;"),
        ("in.csv", f"id,question\n1,{LINES[0]}\n2\n", "in.csv, line 3: the row is shorter than the header"),
        ("-", f"{LINES[0]}\n{LINES[0]}.\n", "standard input, line 2: a sudoku4x4 puzzle must have 16 symbols"),
        ("-", "\n", "standard input must hold at least one puzzle"),
    ],
)
def test_wrong_lines_are_named(
    name: str,
    text: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = name if name == "-" else str(tmp_path / name)
    if name == "-":
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    else:
        Path(file).write_text(text)
    assert solve("--file", file, "--out", str(tmp_path / "out.csv")) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "either --puzzle, or --file"),
        (("--puzzle", LINES[0], "--file", "in.txt"), "either --puzzle, or --file"),
        (("--puzzle", LINES[0], "--out", "out.csv"), "either --puzzle, or --file"),
        (("--puzzle", LINES[0][1:]), "must have 16 symbols"),
        (("--puzzle", LINES[0], "--policy", "oracle"), "must do without the answers"),
        (("--puzzle", LINES[0], "--policy", "rulle"), "did you mean 'rule'"),
        (("--puzzle", LINES[0], "--policy", "gone/agent.zip"), "must be an agent that a training saved"),
        (("--puzzle", LINES[0], "--reasoner", "nobody"), "neither shipped nor a folder"),
        (("--puzzle", LINES[0], "--batch-size", "0"), "batch_size must be at least 1"),
        (("--puzzle", LINES[0], "--horizon", "0"), "horizon must be a whole number"),
        (("--puzzle", LINES[0], "--tune", "-1"), "must be at least 1"),
        (("--file", "gone.txt"), "gone.txt must be a readable text file"),
    ],
)
def test_mistakes_get_one_line_and_status_2(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert solve(*arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""


def test_a_wrong_file_leaves_no_table(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.txt"):
        solve_file(a_solver(), tmp_path / "gone.txt", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_constants_can_be_tuned_without_labels_in_the_core() -> None:
    """`--tune` looks at solved validation puzzles; the core that solves sees no label, whatever it is tuned on."""
    policy = Solve(task="sudoku4x4", policy="fixed", tune=40, horizon=4)
    core = policy.make_core()
    name = policy.make_policy(core).name
    assert name in {f"fixed-{count}" for count in range(1, 5)}
    false = BASE.labels.roll(1, 0)
    assert torch.equal(core.potential(TASK, BASE, false, None), core.potential(TASK, BASE, BASE.labels, None))
    with pytest.raises(InvalidValueError):
        Solve(task="sudoku4x4", policy="rule", tune=-1).make_policy(core)


def test_the_command_is_there_and_others_do_not_pay_for_it() -> None:
    code = (
        "import sys; from latent_rl.__main__ import main; sys.argv = ['latent-rl', *{}]\n"
        "try: main()\nexcept SystemExit as end: print('ended', end.code, 'stable_baselines3' in sys.modules)"
    )
    for arguments, ended in (
        (["solve", "--task", "sudoku4x4", "--puzzle", LINES[0]], "0 True"),
        (["tasks"], "0 False"),
    ):
        command = [sys.executable, "-c", code.format(arguments)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        assert run.stdout.splitlines()[-1] == f"ended {ended}"
