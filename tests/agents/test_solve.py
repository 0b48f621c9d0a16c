"""`latent-rl solve`: boards and files, cuts and kills, honest marks, mistakes in one line."""

import csv
import gzip
import io
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from attacks import with_flipped_bit
from helpers import TASK, random_core, random_reasoner

from latent_rl import __main__ as cli
from latent_rl.agents.commands.results import COLUMNS
from latent_rl.agents.commands.setting import Process
from latent_rl.agents.commands.solve import Solve, show_solution
from latent_rl.agents.commands.solve_file import solve_file
from latent_rl.agents.rules import best_of_steps, two_threshold_rule
from latent_rl.agents.solver import Solver
from latent_rl.envs.core import Core
from latent_rl.envs.state import State
from latent_rl.errors import FileError, InvalidValueError, PuzzleError, StoppedError
from latent_rl.reasoners.checkpoint import save_reasoner
from latent_rl.storage.claims import claimed
from latent_rl.tasks.files.puzzle_io import read_rows
from latent_rl.tasks.files.text import STANDARD_STREAM
from latent_rl.tasks.labelled import TokenTask
from latent_rl.types import Puzzles

BASE = TASK.puzzles("test")[:7]
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


@pytest.mark.parametrize("policy", ["rule", "fixed-3", "verifier", "verifier-rule", "guess-rule", "commit-rule"])
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

    class Endless:
        def readline(self, size: int = -1) -> str:
            read_lines.append(LINES[0])
            return f"{LINES[0]}\n"

    monkeypatch.setattr(sys, "stdin", Endless())
    rows = read_rows(STANDARD_STREAM, TASK).rows
    for count in range(1, 5):
        assert next(rows).line == count
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
    whole = out.read_text()
    said = capsys.readouterr().err.splitlines()[-1]
    assert "7 of 7 solved" in said

    class Nobody:
        name, submit = "nobody", None

    idle = Solver(random_core(), Nobody())  # type: ignore[arg-type]
    made_by = Solve(process=Process(task="sudoku4x4"))
    assert solve_file(idle, source, out, made_by=made_by.made_by(made_by.make_solver())) == 0
    assert out.read_text() == whole
    assert capsys.readouterr().err.splitlines()[-1] == said


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

    with pytest.raises(StoppedError, match=r"out\.csv keeps the \d rows that are done\. Go on with: "):
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
        (",".join(COLUMNS[:6]) + "\n", "must be new or hold results"),
        (",".join(COLUMNS) + "\nonly this\n", "line 2: it must be a row of results"),
        (",".join(COLUMNS) + f"\n{LINES[0]},{LINES[0]},true,1,3,0.5,,12345678\n", "another policy, reasoner, seed"),
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
    assert len(captured.err.splitlines()) == 2
    assert out.read_text() == content


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("in.txt", "", "in.txt must hold at least one puzzle"),
        ("in.txt", "# nothing\n\n# else\n", "in.txt must hold at least one puzzle"),
        (
            "in.txt",
            f"{LINES[0][1:]}\n",
            "in.txt must hold puzzles of sudoku4x4; line 1: a sudoku4x4 puzzle must have 16",
        ),
        ("in.txt", "." * 80 + "1\n", "got 81. It is one of sudoku9x9: use --task sudoku9x9."),
        ("in.txt", "Dear reader,\nsome words.\n", "line 1: a sudoku4x4 puzzle must have 16 symbols; got 12"),
        ("in.csv", "puzzle,solution\n", "in.csv must hold puzzles of sudoku4x4; line 1"),
        ("in.csv", f"{LINES[0]},{LINES[1]}\n", "which is the puzzle can't be told"),
        ("in.bin", "\0" * 2**25, "in.bin must be a text of lines; line 1 does not end"),
        ("in.zip", "PK\x03\x04", "it is a zip archive"),
        ("-", "\n", "standard input must hold at least one puzzle"),
    ],
)
def test_a_file_without_puzzles_is_refused_with_the_reason(
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


def test_bad_rows_stop_nothing(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each gets a row with its reason, in its place, and the others the results that they have without it."""
    alone, out = source.with_name("alone.csv"), source.with_name("out.csv")
    solve_file(a_solver(), source, alone)
    bad = {0: "11" + "." * 14, 2: LINES[0][1:], 3: "z" + LINES[0][1:], 8: "words, \xff", 11: "12"}
    good = iter(LINES)
    lines = [bad.get(place) or next(good) for place in range(12)]
    source.write_bytes("\n".join(lines).encode("latin-1"))
    assert solve_file(a_solver(), source, out) == 1
    rows = read(out.read_text())
    assert [place for place, row in enumerate(rows) if row["error"]] == list(bad)
    kept = COLUMNS[:-1]
    assert [[row[name] for name in kept] for row in rows if not row["error"]] == [
        [row[name] for name in kept] for row in read(alone.read_text())
    ]
    for place, reason in ((0, "the givens contradict"), (2, "got 15"), (3, "got 'z' at position 1"), (8, "got 8")):
        assert rows[place]["error"].startswith(f"line {place + 1}: ")
        assert reason in rows[place]["error"]
        assert [rows[place][name] for name in COLUMNS[1:6]] == ["", "false", "", "", ""]
    assert rows[8]["puzzle"] == r"words, \xff"
    said = capsys.readouterr().err.splitlines()[-1]
    assert "of 12 solved" in said
    assert "rows that are no puzzles: 5, the first: line 1: the givens contradict" in said
    whole = out.read_bytes()
    for cut in range(0, len(whole), 23):
        out.write_bytes(whole[:cut])
        assert solve_file(a_solver(), source, out) == 1
        assert out.read_bytes() == whole


def test_many_bad_rows_in_a_row_do_not_wait(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latent_rl.agents.commands.solve_file._MAX_BAD", 4)
    out = source.with_name("out.csv")
    source.write_text(LINES[0] + "\n" + "12\n" * 11 + LINES[1] + "\n" + "12\n" * 9)
    solve_file(a_solver(), source, out)
    assert [bool(row["error"]) for row in read(out.read_text())] == [False, *[True] * 11, False, *[True] * 9]


def test_a_file_of_bad_rows_alone_is_answered(source: Path) -> None:
    out = source.with_name("out.csv")
    source.write_text("11" + "." * 14 + "\n")
    assert solve_file(a_solver(), source, out) == 1
    assert "contradict" in read(out.read_text())[0]["error"]


def test_a_source_that_breaks_off_gives_what_it_had(source: Path) -> None:
    out = source.with_name("out.csv")
    lines = [TASK.format(row) for row in TASK.puzzles("test").inputs[:60]]
    packed = gzip.compress("\n".join(lines).encode())
    source.write_bytes(packed[:-40])
    with pytest.raises(PuzzleError, match=r"in\.txt, line \d+, must be a readable text file"):
        solve_file(a_solver(), source, out)
    found = [row["puzzle"] for row in read(out.read_text())]
    assert lines[: len(found)] == found
    assert len(found) > 20


def test_damaged_results_are_refused_or_mended(source: Path) -> None:
    """Nothing that was changed is taken for a result, and what is refused stays as it is."""
    out = source.with_name("out.csv")
    status = solve_file(a_solver(), source, out)
    whole = out.read_bytes()
    lines = whole.split(b"\n")
    swapped = b"\n".join([lines[0], lines[2], lines[1], *lines[3:]])
    random_ = random.Random(0)
    damaged = [swapped, b"\n".join([*lines[:2], *lines[3:]]), whole + b"noise", whole + lines[1] + b"\n"]
    places = random_.sample(range(len(whole)), 60)
    damaged += [with_flipped_bit(whole, 8 * place + random_.randrange(8)) for place in places]
    refused = 0
    for content in damaged:
        out.write_bytes(content)
        try:
            assert solve_file(a_solver(), source, out) == status
        except InvalidValueError:
            refused += 1
            assert out.read_bytes() == content
        else:
            assert out.read_bytes() == whole
    assert refused > 50


@pytest.mark.parametrize("changed", ["policy", "reasoner", "seed", "horizon", "actions"])
def test_results_of_other_options_are_left_alone(
    changed: str, source: Path, untrained: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = source.with_name("out.csv")
    assert solve("--file", str(source), "--out", str(out)) == 0
    values = {
        "policy": ["fixed-2"],
        "reasoner": [untrained],
        "seed": ["1"],
        "horizon": ["5"],
        "actions": ["halt", "refine", "restart_view", "deep"],
    }
    content = out.read_bytes()
    assert solve("--file", str(source), "--out", str(out), f"--{changed}", *values[changed]) == 2
    assert (
        "line 2: it must be a row of results that this command wrote; it was made with another"
        in capsys.readouterr().err
    )
    assert out.read_bytes() == content
    assert solve("--file", str(source), "--out", str(out), "--batch-size", "3") == 0


def test_devices_take_results_and_folders_do_not(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def to(out: str) -> tuple[int, str]:
        status = solve("--file", str(source), "--out", out)
        return status, capsys.readouterr().err.splitlines()[-1]

    assert to(os.devnull)[0] == 0
    assert to(str(source.parent)) == (2, f"latent-rl: --out must be a file; {source.parent} is a folder.")
    assert to(str(source / "out.csv"))[0] == 2
    if Path("/dev/full").exists():
        assert to("/dev/full") == (2, "latent-rl: /dev/full could not be written: No space left on device.")
    out = source.with_name("out.csv")
    with claimed(out):
        status, said = to(str(out))
    assert status == 2
    assert f"{out} must have one writer; another process uses it" in said
    assert to(str(source.with_name("no-suffix")))[0] == 0
    assert source.with_name("no-suffix").is_file()


def test_standard_output_may_be_a_file(source: Path) -> None:
    """Even by its other name; and nothing is put beside it."""
    command = [
        sys.executable,
        "-m",
        "latent_rl",
        "solve",
        "--task",
        "sudoku4x4",
        "--file",
        source,
        "--out",
        "/dev/stdout",
    ]
    with source.with_name("out.csv").open("wb") as sink:
        assert subprocess.run(command, stdout=sink, stderr=subprocess.DEVNULL, check=False).returncode == 0
    assert [row["puzzle"] for row in read(source.with_name("out.csv").read_text())] == LINES
    assert sorted(path.name for path in source.parent.iterdir()) == ["in.txt", "out.csv"]


def test_results_that_are_deleted_meanwhile_are_missed(source: Path) -> None:
    out = source.with_name("out.csv")
    working = a_solver()

    class Deleting:
        name, submit = "deleting", None

        def act(self, observation: np.ndarray, state: State) -> np.ndarray:
            out.unlink(missing_ok=True)
            return working.policy.act(observation, state)

    with pytest.raises(FileError, match=r"out\.csv could not be written: it was deleted meanwhile\.$"):
        solve_file(Solver(working.core, Deleting(), 3), source, out)


def test_a_full_disk_keeps_what_is_written(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, out = source.with_name("whole.csv"), source.with_name("out.csv")
    solve_file(a_solver(), source, whole)
    room = [len(whole.read_bytes()) // 2]

    def write(file: io.FileIO, content: bytes) -> None:
        file.write(content[: room[0]])
        room[0] -= len(content)
        if room[0] < 0:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("latent_rl.agents.commands.results._write_all", write)
        with pytest.raises(FileError, match=r"No space left on device; .*out\.csv keeps the \d rows .* Go on with: "):
            solve_file(a_solver(), source, out)
    solve_file(a_solver(), source, out)
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_says_how_to_go_on(number: int, source: Path) -> None:
    out = source.with_name("out.csv")
    source.write_text(TEXT * 20_000)
    command = [sys.executable, "-m", "latent_rl", "solve", "--task", "sudoku4x4", "--policy", "fixed-1"]
    with subprocess.Popen([*command, "--file", source, "--out", out], stderr=subprocess.PIPE, text=True) as run:
        while not out.exists() or len(out.read_bytes()) < 1000:
            time.sleep(0.05)
        run.send_signal(number)
        said = run.communicate()[1].splitlines()
    assert run.returncode == 128 + number
    assert len(said) == 2
    kept = out.read_bytes().count(b"\n") - 1
    assert said[1].startswith(
        f"latent-rl: stopped; {out} keeps the {kept:,} rows that are done. Go on with: latent-rl solve"
    )


def test_a_puzzle_may_be_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    drawn = TASK.render(BASE.inputs[0])
    for text in (drawn, drawn.replace("\n", "\\n"), LINES[0].replace(".", "?"), " ".join(LINES[0]), f"# mine\n{drawn}"):
        assert solve("--puzzle", text) == 0
        assert TASK.render(BASE.labels[0]) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("task", "puzzle", "hint"),
    [
        (
            "sudoku9x9",
            ".......12.5.4............3.7..6..4....1..........8....92....8.....51.7.......3... --horizon 1",
            "more steps may solve it: try a larger --horizon",
        ),
        ("sudoku4x4", "1" + "." * 15, "this one has several solutions"),
        ("sudoku4x4", "12..3......1...2", "this one has no solution"),
    ],
)
def test_a_puzzle_that_is_not_solved_comes_with_a_hint(
    task: str, puzzle: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["solve", "--task", task, "--puzzle", *puzzle.split()]) == 1
    captured = capsys.readouterr()
    assert "NOT solved" in captured.out
    assert hint in captured.err
    assert len(captured.err.splitlines()) == 1


def test_tasks_without_a_reasoner_say_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [f"{TASK.format(q)},{TASK.format(a)}" for q, a in zip(BASE.inputs, BASE.labels, strict=True)]
    for part in ("train", "test"):
        (tmp_path / f"{part}.csv").write_text("quizzes,solutions\n" + "\n".join(pairs))
    for task, message in (
        (str(tmp_path), "use one that fits: --reasoner sudoku4x4; or train one (latent-rl train --task "),
        ("nqueens8-classes", "--reasoner nqueens8 or nqueens8-dis or nqueens8-final or nqueens8-trm"),
        ("sudoku25x25", "unknown task 'sudoku25x25'"),
    ):
        assert cli.run(["solve", "--task", task, "--puzzle", LINES[0]]) == 2
        assert message in capsys.readouterr().err
    assert cli.run(["solve", "--task", str(tmp_path), "--reasoner", "sudoku4x4", "--puzzle", LINES[0]]) == 0


def test_without_rules_nothing_is_judged(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a board nor a file: its answers equal no label that anybody knows."""
    puzzles = Puzzles(torch.randint(1, 6, (4, 16)), torch.randint(1, 6, (4, 16)))
    task = TokenTask("mine", 6, 16, lambda split: puzzles)
    core = random_core(task=task, reasoner=random_reasoner(task), horizon=2, reward="sparse", puzzles=puzzles)
    solver = Solver(core, best_of_steps(core.mode, 2))
    assert show_solution(solver, task.format(puzzles.inputs[0])) == 0
    assert "no rules known, so not judged; 2 steps" in capsys.readouterr().out
    source.write_text("\n".join(map(task.format, puzzles.inputs)))
    out = source.with_name("out.csv")
    assert solve_file(solver, source, out) == 0
    assert [row["solved"] for row in read(out.read_text())] == ["unknown"] * 4
    assert "4 of 4 answered, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "either --puzzle, or --file"),
        (("--puzzle", LINES[0], "--file", "in.txt"), "either --puzzle, or --file"),
        (("--puzzle", LINES[0], "--out", "out.csv"), "either --puzzle, or --file"),
        (("--puzzle", LINES[0][1:]), "must have 16 symbols"),
        (("--puzzle", LINES[0], "--policy", "oracle"), "must do without the answers"),
        (("--puzzle", LINES[0], "--policy", "guess-oracle"), "must do without the answers"),
        (
            ("--puzzle", LINES[0], "--policy", "guess-rule", "--actions", "halt", "refine"),
            "needs the action 'restart_guess'",
        ),
        (("--puzzle", LINES[0], "--policy", "rulle"), "did you mean 'rule'"),
        (("--puzzle", LINES[0], "--policy", "gone/agent.zip"), "must be an agent that a training saved"),
        (("--puzzle", LINES[0], "--reasoner", "nobody"), "neither shipped nor a folder"),
        (("--puzzle", LINES[0], "--batch-size", "0"), "batch_size must be a whole number in [1, 65536]"),
        (("--puzzle", LINES[0], "--batch-size", f"{10**20}"), "batch_size must be a whole number in [1, 65536]"),
        (("--puzzle", LINES[0], "--horizon", "0"), "horizon must be a whole number"),
        (("--puzzle", LINES[0], "--horizon", f"{10**20}"), "horizon must be a whole number"),
        (("--puzzle", LINES[0], "--tune", "-1"), "tune must be a whole number in [0, "),
        (("--puzzle", LINES[0], "--seed", "-1"), "seed must be a whole number in [0, "),
        (("--puzzle", LINES[0], "--columns", "puzzle"), "--columns names columns of --file"),
        (("--file", "gone.txt"), "gone.txt must be a readable text file"),
        (("--file", "."), ". must be a readable text file: Is a directory"),
        (("--puzzle", ""), "must hold at least one puzzle"),
        (("--puzzle", f"{LINES[0]}\\n{LINES[1]}"), "there must be one puzzle"),
        (("--puzzle", "." * 81), "use --task sudoku9x9"),
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
    process = Process(task="sudoku4x4", horizon=4)
    policy = Solve(process=process, policy="fixed", tune=40)
    core = Core(policy.env_config())
    name = policy.make_policy(core).name
    assert name in {f"fixed-{count}" for count in range(1, 5)}
    false = BASE.labels.roll(1, 0)
    assert torch.equal(core.potential(TASK, BASE, false, None), core.potential(TASK, BASE, BASE.labels, None))
    with pytest.raises(InvalidValueError):
        Solve(process=process, policy="rule", tune=-1)


def test_the_command_is_there_and_others_do_not_pay_for_it() -> None:
    code = (
        "import sys; from latent_rl.__main__ import main\n"
        "def ended(*arguments):\n"
        "    sys.argv = ['latent-rl', *arguments]\n"
        "    try: main()\n    except SystemExit as end: print('ended', end.code, 'stable_baselines3' in sys.modules)\n"
        f"ended('evaluate', '--help')\nended('solve', '--task', 'sudoku4x4', '--puzzle', {LINES[0]!r})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = [line for line in run.stdout.splitlines() if line.startswith("ended")]
    assert told == ["ended 0 False", "ended 0 True"]
