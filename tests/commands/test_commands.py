"""The command line and the examples as a user types them."""

import json
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import TASK, random_reasoner

from latent_rl import __main__ as cli
from latent_rl.agents import load_agent
from latent_rl.envs import Core
from latent_rl.reasoners.checkpoint import reasoner_facts, save_reasoner, shipped_reasoners

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def reasoner(tmp_path: Path) -> str:
    save_reasoner(random_reasoner(), tmp_path / "reasoner")
    return str(tmp_path / "reasoner")


def test_train_then_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "run")
    small = ["--num-batches", "2", "--batch-size", "4", "--width", "16", "--num-validation", "8"]
    assert cli.run(["train", "--task", "sudoku4x4", *small, "--out", out]) == 0
    assert f"--reasoner {out}" in capsys.readouterr().out
    assert cli.run(["evaluate", "--task", "sudoku4x4", "--reasoner", out, "--num-puzzles", "20", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["num_puzzles"] == 20
    steps = len(report["per_step"])
    assert report["mean_passes"] == 3 * steps
    assert [row["step"] for row in report["per_step"]] == list(range(1, steps + 1))
    assert report["solved_rate"] == report["per_step"][-1]["solved_rate"]
    assert {"exact_accuracy", "token_accuracy"} <= set(report)


@pytest.mark.parametrize(
    ("options", "architecture", "shape"),
    [
        ("--num-cycles 2 --batching replacement --halt-exploration 0.2", "trm", {"num_cycles": 2, "num_layers": 1}),
        (
            "--batching replacement --continue-target --num-answer-layers 2",
            "hrm",
            {"num_cycles": 2, "num_latent_updates": 2, "num_supervision_steps": 16, "mixer": "attention"}
            | {"num_answer_layers": 2, "continue_head": True},
        ),
        ("--num-supervision-steps 2", "feedforward", {"num_layers": 6, "num_passes": 6}),
        ("--match parameters", "feedforward", {"num_layers": 1, "num_passes": 1, "mixer": "mlp"}),
    ],
)
def test_every_architecture_trains(options: str, architecture: str, shape: dict, tmp_path: Path) -> None:
    small = ["--num-batches", "1", "--batch-size", "4", "--width", "16", "--num-validation", "8"]
    arguments = ["train", "--task", "sudoku4x4", "--architecture", architecture, "--out", str(tmp_path)]
    assert cli.run([*arguments, *small, *options.split()]) == 0
    facts = reasoner_facts(tmp_path)
    assert facts["architecture"] == architecture
    assert {name: facts["reasoner"][name] for name in shape} == shape


def test_evaluate_reads_puzzles_and_prints_a_table(
    reasoner: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    puzzles = tmp_path / "mine.txt"
    puzzles.write_text("\n".join(TASK.format(row) for row in TASK.puzzles("test").inputs[:3]))
    arguments = ["evaluate", "--task", "sudoku4x4", "--reasoner", reasoner, "--puzzles", str(puzzles), "--steps", "2"]
    assert cli.run(arguments) == 0
    printed = capsys.readouterr().out
    assert "3 puzzles of sudoku4x4" in " ".join(printed.split())
    assert cli.run([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_puzzles"] == 3


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["tasks"]) == 0
    assert "sudoku9x9-minimal" in capsys.readouterr().out
    assert cli.run(["reasoners"]) == 0
    printed = capsys.readouterr().out
    for name in shipped_reasoners():
        assert name in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--task", "sudoku9x", "--reasoner", "sudoku9x9"], "did you mean 'sudoku9x9'"),
        (["evaluate", "--task", "sudoku4x4", "--reasoner", "nobody"], "neither shipped nor a folder"),
        (["evaluate", "--task", "sudoku6x6", "--reasoner", "{reasoner}"], "must fit the task"),
        (
            ["evaluate", "--task", "sudoku4x4", "--reasoner", "{reasoner}", "--steps", "0"],
            "steps must be a whole number in",
        ),
        (["evaluate", "--task", "sudoku4x4", "--reasoner", "{reasoner}", "--puzzles", "gone.txt"], "readable"),
        (["train", "--task", "sudoku4x4", "--batch-size", "0"], "batch_size must be a whole number in"),
        (["train", "--task", "sudoku4x4", "--threads", "0"], "threads must be a whole number in"),
        (["train", "--batching", "replacemnt"], "did you mean 'replacement'"),
        (["train", "--halt-exploration", "0.2"], 'acts with batching "replacement" alone'),
        (["train", "--match", "depth"], "--match has no meaning with --architecture trm"),
        (["train", "--architecture", "hrm", "--step-index", "integer"], "--step-index has no meaning"),
        (["train", "--architecture", "feedforward", "--feedback"], "--feedback has no meaning"),
        (["train", "--architecture", "feedforward", "--continue-target"], "needs a network that recurses"),
    ],
)
def test_mistakes_get_one_line_and_status_2(
    arguments: list[str], message: str, reasoner: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([argument.format(reasoner=reasoner) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.out == ""


def test_the_overview_says_what_the_commands_say() -> None:
    """It is printed without importing them, so it has words of its own."""
    for name, (_, summary) in cli.COMMANDS.items():
        assert cli.command(name, [name]).__doc__.strip().splitlines()[0] == summary, name


def test_the_overview_imports_nothing_heavy() -> None:
    code = (
        "import sys; from latent_rl.__main__ import run\n"
        "try: run(['--help'])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert all(name in run.stdout for name in cli.COMMANDS)


def test_the_list_of_tasks_loads_no_network_and_no_plots() -> None:
    """It takes little more than torch itself does."""
    code = (
        "import sys; from latent_rl.__main__ import run\n"
        "assert run(['tasks']) == 0\n"
        "heavy = ('latent_rl.reasoners', 'latent_rl.training', 'safetensors', 'matplotlib', 'gymnasium', 'numba')\n"
        "assert not [name for name in heavy if name in sys.modules]"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_only_the_program_itself_freezes_what_it_has_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of the user's, whose garbage is not ours to keep, `run` does not."""
    frozen: list[bool] = []
    monkeypatch.setattr("gc.freeze", lambda: frozen.append("latent_rl.commands.tasks" in sys.modules))
    monkeypatch.setattr(signal, "signal", lambda *args: None)
    monkeypatch.setattr(sys, "argv", ["latent-rl", "tasks"])
    assert cli.run(["tasks"]) == 0
    assert frozen == []
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert frozen == [True]


def test_the_module_runs_and_unknown_options_get_status_2() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "latent_rl", "evaluate", "--tsak", "x"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert "Traceback" not in run.stderr


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="needs the checkout, not the wheel alone")
@pytest.mark.parametrize("agent", ["ppo", pytest.param("dqn", marks=pytest.mark.slow)])
def test_examples_leave_what_they_promise(agent: str, tmp_path: Path) -> None:
    """A tiny budget, a real shipped reasoner: every result file is there and holds together."""
    out = tmp_path / "out"
    command = [
        sys.executable, str(EXAMPLES / f"train_{agent}_sudoku.py"), "--task", "sudoku4x4", "--total-timesteps", "256",
        "--num-test", "50", "--num-validation", "50", "--out", str(out),
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    rows = json.loads((out / "report.json").read_text())
    names = [row["agent"] for row in rows]
    assert names.count(agent) == 1
    assert {"random", "threshold", "rule", "oracle"} <= set(names)
    assert any(name.startswith("fixed-") for name in names)
    for row in rows:
        assert (row["seed"], row["num_seeds"], row["num_puzzles"]) == (0, 1, 50)
        assert 0 <= row["solved_low"] <= row["solved_rate"] <= row["solved_high"] <= 1
        assert f"{row['solved_rate']:.3f}" in run.stdout
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert load_agent(out / "agents" / f"{agent}-0", Core("sudoku4x4", horizon=16)).name == agent
    assert list((out / "tensorboard").rglob("events.out.tfevents.*"))
    assert "step by step" in run.stdout


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="needs the checkout, not the wheel alone")
@pytest.mark.parametrize(
    ("example", "arguments", "message"),
    [
        ("train_ppo_sudoku", "--task sudoku5x5", "unknown task 'sudoku5x5'"),
        ("train_ppo_sudoku", "--total-timesteps 0", "total_timesteps must be a whole number in [1, "),
        ("train_dqn_sudoku", "--agents pppo", "did you mean 'ppo'"),
        ("compare_agents", "--seeds 0", "seeds must be a whole number in [1, "),
    ],
)
def test_a_wrong_example_argument_is_one_line(
    example: str,
    arguments: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = str(EXAMPLES / f"{example}.py")
    monkeypatch.setattr(sys, "argv", [script, *arguments.split(), "--out", str(tmp_path / "out")])
    monkeypatch.setattr(signal, "signal", lambda *args: None)  # the program's own process would be told of SIGTERM
    with pytest.raises(SystemExit) as end:
        runpy.run_path(script, run_name="__main__")
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"{example}: ")
    assert message in error
    assert len(error.splitlines()) == 1
