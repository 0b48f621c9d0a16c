"""`evaluate` and `diagnose`: whose reasoner, intervals, difficulty."""

import json
from pathlib import Path

import pytest
from helpers import TASK

from latent_rl import __main__ as cli
from latent_rl.evaluation.fixed_steps import evaluate_fixed
from latent_rl.evaluation.intervals import wilson_interval
from latent_rl.reasoners.checkpoint import load_reasoner
from latent_rl.tasks.colouring import Colouring
from latent_rl.tasks.registry import TASKS, make_task
from latent_rl.tasks.sudoku.histogram import EXTREME
from latent_rl.tasks.sudoku.task import Sudoku
from latent_rl.types import Puzzles

EXTREME_TASK = ["evaluate", "--task", "sudoku9x9-extreme", "--steps", "2", "--num-puzzles", "60"]


@pytest.mark.parametrize("command", ["evaluate", "diagnose"])
def test_the_shipped_reasoner_is_taken_and_named(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [command, "--task", "sudoku4x4", "--num-puzzles", "8", "--steps", "2"]
    assert cli.run(arguments) == 0
    assert capsys.readouterr().out.startswith("sudoku4x4 on 8 ")
    assert cli.run([*arguments, "--json"]) == 0
    taken = json.loads(capsys.readouterr().out)
    assert taken["reasoner"] == "sudoku4x4"
    assert cli.run([*arguments, "--json", "--reasoner", "sudoku4x4"]) == 0
    assert json.loads(capsys.readouterr().out) == taken


@pytest.mark.parametrize("command", ["evaluate", "diagnose"])
@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("line", "there must be a reasoner for line, and none is shipped; train one"),
        ("nqueens8-classes", "--reasoner nqueens8 or nqueens8-dis or nqueens8-final or nqueens8-trm; or train one"),
    ],
)
def test_a_task_without_a_reasoner_needs_one(
    command: str, task: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(TASKS, "line", Colouring("line", 3, 2, [(0, 1), (1, 2)]))
    assert cli.run([command, "--task", task]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert len(said.err.splitlines()) == 1
    assert said.out == ""


def test_the_interval_is_that_of_the_last_step(capsys: pytest.CaptureFixture[str]) -> None:
    puzzles = TASK.puzzles("test")[:40]
    solved = evaluate_fixed(load_reasoner("sudoku4x4"), TASK, puzzles, 1).solved[-1].numpy()
    assert 0 < solved.mean() < 1
    arguments = ["evaluate", "--task", "sudoku4x4", "--num-puzzles", "40", "--steps", "1"]
    assert cli.run([*arguments, "--json"]) == 0
    low, high = json.loads(capsys.readouterr().out)["solved_interval"]
    assert (low, high) == wilson_interval(solved)
    assert cli.run(arguments) == 0
    caption = f"solved {solved.mean():.3f}, 95% interval [{low:.3f}, {high:.3f}]"
    assert caption in " ".join(capsys.readouterr().out.split())


def test_rated_puzzles_are_told_apart_by_difficulty(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*EXTREME_TASK, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    guesses = make_task("sudoku9x9-extreme").guesses("test")
    assert guesses is not None
    tally = EXTREME.tally(guesses[:60].numpy())
    rows = report["by_difficulty"]
    assert {row["guesses"]: row["num_puzzles"] for row in rows} == {name: n for name, n in tally.items() if n}
    solved = sum(row["num_puzzles"] * row["solved_rate"] for row in rows)
    assert solved == pytest.approx(60 * report["solved_rate"], abs=1e-4)
    assert solved > 0
    assert cli.run(EXTREME_TASK) == 0
    printed = capsys.readouterr().out
    lines = [line.replace("│", " ").split() for line in printed.splitlines()]
    for row in rows:
        assert [*row["guesses"].split(), str(row["num_puzzles"]), f"{row['solved_rate']:.3f}"] in lines


def test_a_file_of_puzzles_is_not_rated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = make_task("sudoku9x9-extreme")
    file = tmp_path / "puzzles.txt"
    file.write_text("".join(f"{task.format(row)}\n" for row in task.puzzles("test").inputs[:3]))
    assert cli.run([*EXTREME_TASK, "--puzzles", str(file), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["num_puzzles"], report["by_difficulty"]) == (3, [])


def test_without_labels_nothing_is_compared_with_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    boards = Puzzles.unlabelled(TASK.puzzles("test")[:8].inputs)
    monkeypatch.setitem(TASKS, "sudoku4x4", Sudoku("sudoku4x4", 2, 2, (6, 12), splits=lambda split: boards))
    arguments = ["evaluate", "--task", "sudoku4x4", "--reasoner", "sudoku4x4", "--steps", "2"]
    assert cli.run([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["solved_rate"] > 0.5
    assert report["exact_accuracy"] is report["token_accuracy"] is report["num_ambiguous"] is None
    assert cli.run(arguments) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert [row[-2] for row in rows[-2:]] == ["-", "-"]
