"""The benchmark of the paper's comparison: its arms, its queue, its numbers, and that it goes on where it was."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro

from latent_rl.commands.train import Train, train_command
from latent_rl.errors import InvalidValueError, UnknownNameError
from latent_rl.reasoners.checkpoint import make_reasoner
from latent_rl.reasoners.symbols import SymbolsConfig
from latent_rl.tasks.registry import make_task
from latent_rl.training.config import suited

ROOT = Path(__file__).parents[2]
pytest.importorskip("reproduce_paper", reason="needs the checkout, not the wheel alone")
import reproduce_paper  # noqa: E402
from arms import ARMS, SETTINGS, Run, queue  # noqa: E402
from measure import pack, unpack, view  # noqa: E402
from report import in_words, write_report  # noqa: E402
from summary import Estimate, at_examples, ceiling_of_exact, difference, read_outcomes  # noqa: E402
from tables import comparisons, margin_table  # noqa: E402

PASSES = {
    "dis": 18, "final": 18, "trm-small": 48, "hrm": 96, "one-pass-depth": 18, "one-pass-parameters": 1, "trm": 336,
    "trm-long": 336,
}  # fmt: skip
SYMBOLS = ("sudoku9x9-hard", "sudoku9x9-extreme")
RESULTS = ROOT / "benchmarks/results/reproduction"


def parsed(run: Run) -> Train:
    arguments = run.options(Path("runs"))[1:]
    return tyro.cli(train_command(arguments), args=arguments)


@pytest.mark.parametrize(
    ("task", "arm"), [(task, arm) for task, setting in SETTINGS.items() for arm in setting.batches]
)
def test_an_arm_is_what_it_says(task: str, arm: str) -> None:
    command = parsed(Run(task, arm, 1))
    shape = command.config_for(make_task(task))
    with torch.device("meta"):
        config = suited(command.train, make_reasoner(shape))
    assert shape.num_supervision_steps * shape.passes_per_step == PASSES[arm]
    assert shape.num_supervision_steps == ARMS[arm].steps
    if task in SYMBOLS:
        assert isinstance(shape, SymbolsConfig)
        assert (shape.width, shape.num_layers, config.batch_size, config.muon_lr) == (32, 1, 32, 5e-3)
    else:
        assert (shape.width, shape.mixer, shape.num_layers) == (128, "mlp", 18 if arm == "one-pass-depth" else 1)
        assert (config.batch_size, config.muon_lr) == (64, 2.5e-3)
    path = "replace" if task in SYMBOLS else "dis"
    assert config.targets == (path if arm == "dis" else "final")
    assert config.batching == ("replacement" if shape.num_supervision_steps == 16 else "episodes")
    assert (config.task, config.seed, config.num_batches) == (task, 1, SETTINGS[task].batches[arm])
    assert (config.extended_fraction, config.reveal_fraction, config.midway_fraction) == (0, 0, 0)
    # The same shares of every run, whatever its number of optimizer steps.
    steps = config.num_batches * shape.num_supervision_steps
    assert config.warmup_steps == pytest.approx(steps / 10, abs=1)
    assert (1 - config.ema) * steps == pytest.approx(12, rel=0.05)
    assert command.out == Path("runs") / task / f"{arm}-1"
    assert command.resume
    assert command.compile
    assert command.threads == 1


def test_the_queue_goes_seed_by_seed_and_long_arms_wait() -> None:
    a, b = "sudoku6x6", "sudoku9x9-hard"
    runs = queue([a, b], ["dis", "hrm", "trm-long"], [0, 1])
    assert [(run.task, run.arm, run.seed) for run in runs] == [
        (a, "dis", 0), (a, "hrm", 0), (a, "trm-long", 0), (a, "dis", 1), (a, "hrm", 1),
        (b, "dis", 0), (b, "trm-long", 0), (b, "dis", 1),
        (a, "trm-long", 1), (b, "trm-long", 1),
    ]  # fmt: skip


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="trm-small"):
        reproduce_paper.Args(arms=["trm-smal"])
    with pytest.raises(UnknownNameError, match="nqueens8"):
        reproduce_paper.Args(tasks=["nqueens"])


def test_outcomes_survive_packing() -> None:
    outcomes = np.random.default_rng(0).random((3, 8, 5)) < 0.5
    assert (unpack(json.loads(json.dumps(pack(outcomes)))) == outcomes).all()


def test_views_are_all_symmetric_boards_and_the_first_is_the_board_itself() -> None:
    task = make_task("nqueens8")
    board = task.puzzles("test")[-1:]
    views = [view(task, board, number, SETTINGS["nqueens8"].num_views) for number in range(8)]
    assert (views[0].inputs == board.inputs).all()
    assert len({task.format(v.labels[0]) for v in views}) == 8
    assert all(task.verify(v.inputs, v.labels).all() for v in views)


def test_the_ceiling_of_exact() -> None:
    task = make_task("nqueens8")
    boards = task.puzzles("test").inputs[:20]
    counts = [len(task._completions(board)) for board in boards]
    assert ceiling_of_exact("nqueens8", 20) == pytest.approx(np.mean([1 / count for count in counts]))
    assert max(counts) > 1
    assert ceiling_of_exact("sudoku6x6", 20) == 1


def made_up(folder: Path, arm: str, seed: int, valid: np.ndarray, **facts: object) -> None:
    """A result of the given outcomes, bool [S, W, P]."""
    run = Run("nqueens8", arm, seed)
    result = {
        "command": f"latent-rl {shlex.join(run.options(Path('runs')))}", "task": run.task, "arm": arm, "seed": seed,
        "parameters": 1000, "passes_per_step": 3, "num_supervision_steps": len(valid), "batch": 10, "examples": 640,
        "seconds": 100, "cpu_seconds": 90.0, "versions": {"torch": "2"}, "valid": pack(valid), "exact": pack(valid),
        "curve": [
            {"batch": batch, "examples": 64 * batch, "cpu_seconds": 9.0 * batch, "valid": batch / 20}
            for batch in (5, 10)
        ],
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / f"{run.name}.json").write_text(json.dumps({**result, **facts}))


def test_means_and_differences_are_over_common_seeds_and_puzzles(tmp_path: Path) -> None:
    good, bad = np.ones((2, 8, 4), dtype=bool), np.zeros((2, 8, 4), dtype=bool)
    half = bad.copy()
    half[1, :, :2] = True
    for seed, valid in enumerate((good, half)):
        made_up(tmp_path, "dis", seed, valid)
    made_up(tmp_path, "final", 1, bad)
    arms = read_outcomes(tmp_path)["nqueens8"]
    assert list(arms) == ["dis", "final"]
    assert arms["dis"].estimate("valid", all_views=True).mean == 0.75
    assert arms["dis"].by_seed() == [1.0, 0.5]
    assert arms["dis"].passes == 6
    assert difference(arms["dis"], arms["final"], "valid").mean == 0.5
    assert arms["dis"].enough_steps() == 1  # step 1 solves less, but of four puzzles that is noise
    assert [(each.other.arm, each.seeds, each.longer) for each in comparisons(arms)] == [("final", [1], 2)]
    assert margin_table(arms) == ""  # results of before it was measured
    assert at_examples(arms["dis"], 500) == (320, 0.25)
    assert np.isnan(at_examples(arms["dis"], 100)).all()


def test_equal_passes_let_the_cheaper_arm_run_on(tmp_path: Path) -> None:
    """Two trained steps of 3 passes against two of 6: after four steps both have taken 12."""
    cheap, dear = np.zeros((4, 8, 4), dtype=bool), np.zeros((2, 8, 4), dtype=bool)
    cheap[1, :, :1] = cheap[2, :, :2] = cheap[3] = dear[1, :, :2] = True
    made_up(tmp_path, "dis", 0, cheap, num_supervision_steps=2, margin=[0.5, 0.25, 0.125, -0.25])
    made_up(tmp_path, "trm", 0, dear, passes_per_step=6, margin=[1.0, 0.5])
    arms = read_outcomes(tmp_path)["nqueens8"]
    (each,) = comparisons(arms)
    assert (each.one.passes, each.other.passes, each.longer) == (6, 12, 4)
    assert difference(each.one, each.other, "valid").mean == -0.25
    assert difference(each.one, each.other, "valid", each.longer).mean == 0.5
    assert "| `dis` | +0.500 | +0.250 | +0.125 | -0.250 |\n| `trm` | +1.000 | +0.500 |  |  |" in margin_table(arms)
    assert arms["dis"].steps_within(2) is None  # not even one step
    assert arms["dis"].steps_within(15) is None  # a fifth was not evaluated
    write_report(tmp_path, tmp_path / "reproduction.md")
    text = (tmp_path / "reproduction.md").read_text()
    assert "0.250 against 0.500 valid" in text
    assert "Run on to as many passes, `dis` has 1.000: " in text


def test_words_follow_the_interval() -> None:
    assert in_words(Estimate(0.1, 0.05, 0.15), "dis") == "`dis` is ahead by 10.0 points"
    assert in_words(Estimate(-0.1, -0.15, -0.05), "final") == "`final` is behind by 10.0 points"
    assert "at most 2.0 points behind" in in_words(Estimate(0.01, -0.02, 0.04), "dis")


def test_the_report_of_the_committed_results(tmp_path: Path) -> None:
    write_report(RESULTS, tmp_path / "reproduction.md")
    text = (tmp_path / "reproduction.md").read_text()
    # Bootstrapped intervals may differ in the last digit between versions of numpy; the words and tables do not.
    committed, rendered = (re.sub(r"[\d.,]+", "#", t) for t in ((ROOT / "docs/reproduction.md").read_text(), text))
    assert committed == rendered, "docs/reproduction.md is out of date: reproduce_paper.py --report-only"
    for task, arms in read_outcomes(RESULTS).items():
        assert (tmp_path / f"images/reproduction_{task}.png").read_bytes().startswith(b"\x89PNG")
        for arm in arms.values():
            assert arm.facts["command"] in text
            last = unpack(arm.facts["valid"])[PASSES[arm.arm] // arm.facts["passes_per_step"] - 1, 0]
            if len(arm.runs) == 1:
                assert f"| {last.mean():.3f} [" in text


def test_missing_seeds_are_said(tmp_path: Path) -> None:
    made_up(tmp_path / "results", "dis", 0, np.ones((6, 8, 4), dtype=bool))
    made_up(tmp_path / "results", "trm", 0, np.zeros((16, 8, 4), dtype=bool), passes_per_step=21)
    write_report(tmp_path / "results", tmp_path / "reproduction.md")
    text = (tmp_path / "reproduction.md").read_text()
    assert "**Incomplete**" in text
    assert "dis (1, 2); final (0, 1, 2)" in text
    assert "1.000 against 0.000 valid, `dis` is ahead by 100.0 points (only 1 of 3 seeds so far)" in text
    assert "none solved" in text


@pytest.mark.slow
def test_quick_mode_goes_on_where_it_was(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    args = reproduce_paper.Args(quick=True, tasks=["nqueens8"], arms=["dis", "one-pass-parameters"], only_seeds=[0])
    assert reproduce_paper.main(args) == 0
    results = tmp_path / "runs/reproduce-quick/results"
    first, second = (json.loads((results / f"nqueens8-{arm}-0.json").read_text()) for arm in args.arms)
    assert (first["batch"], first["examples"], first["passes_per_step"], first["num_supervision_steps"]) == (
        2,
        128,
        3,
        6,
    )
    assert first["cpu_seconds"] > 0
    assert unpack(first["valid"]).shape == (16, 8, 20)
    assert unpack(second["exact"]).shape == (1, 8, 20)
    assert "one-pass-parameters" in (tmp_path / "runs/reproduce-quick/reproduction.md").read_text()
    # A finished run is not trained again, though its training is gone; a result of another command is refused.
    shutil.rmtree(tmp_path / "runs/reproduce-quick/nqueens8")
    assert reproduce_paper.main(args) == 0
    assert not (tmp_path / "runs/reproduce-quick/nqueens8").exists()
    (results / "nqueens8-dis-0.json").write_text(json.dumps({**first, "command": "latent-rl train"}))
    with pytest.raises(InvalidValueError, match="it comes from `latent-rl train`"):
        reproduce_paper.main(args)
