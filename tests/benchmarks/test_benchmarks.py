"""The benchmarks run and write down what they measured; how fast things are is not tested."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the checkout, not the wheel alone")


def run(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(FOLDER / script), *options], capture_output=True, text=True, check=False)


def test_a_run_leaves_a_table_and_every_value(tmp_path: Path) -> None:
    done = run(
        "speed/run.py", "--quick", "--only", "roofline", "--json", str(tmp_path / "b.json"), "--plots", str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "b.json").read_text())
    bf16, fp32 = report["rows"]
    assert bf16["ratios"] == [1.0] * len(bf16["values"])
    assert fp32["ratios"] == [a / b for a, b in zip(bf16["values"], fp32["values"], strict=True)]
    for row in (bf16, fp32):
        assert row["median"] == median(row["values"]) > 0
        assert f"| {row['entry']} | {row['what']} |" in done.stdout
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_entry_is_one_line() -> None:
    done = run("speed/run.py", "--only", "solvr")
    assert done.returncode == 2
    assert "did you mean 'solver'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_stream_of_puzzles_is_watched(tmp_path: Path) -> None:
    done = run("speed/stream.py", "--count", "3000", "--every", "0.1", "--json", str(tmp_path / "stream.json"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3,000 puzzles of sudoku4x4")
    points = json.loads((tmp_path / "stream.json").read_text())["points"]
    assert points[-1][0] <= 1
    assert all(memory > 10 for _, memory in points)


@pytest.mark.slow
def test_reasoner_and_step_policy_learn_from_each_other(tmp_path: Path) -> None:
    """Every arm spends the same; a second run reads what the first found, and other settings are refused."""
    small = (
        "--reasoner sudoku4x4 --task sudoku4x4 --no-compile --budget 2000 --batches 1 --search-puzzles 20 --steps 3"
        " --guesses 1 --pool 8 --views 2 --total-timesteps 4096 --num-validation 8 --num-final 8 --out"
    )
    options = [*small.split(), str(tmp_path / "a.json")]
    done = run("frontier/alternation.py", *options)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "a.json").read_text())
    assert set(found["arms"]) == {"alternation", "verified", "ppo"}
    for rows in found["arms"].values():
        passes = [row["passes"] for row in rows]
        assert passes == sorted(passes)
        assert all(spent < 2000 for spent in passes[:-1])
        assert passes[-1] >= 2000
    trained = 3 * 3 * 32 * 6  # passes: with their backward pass, of a TRM's step, puzzles, supervised steps
    assert found["arms"]["verified"][0]["passes"] > trained
    assert found["arms"]["alternation"][0]["known"] > 0
    assert [row["known"] for row in found["arms"]["ppo"]] == [0] * len(found["arms"]["ppo"])
    assert len({tuple(row["plain"]) for row in found["arms"]["ppo"]}) == 1  # its reasoner is left as it is
    again = run("frontier/alternation.py", *options)
    assert again.stdout.splitlines()[-3:] == done.stdout.splitlines()[-3:]
    assert "alternation {" not in again.stdout
    other = run("frontier/alternation.py", *options, "--seed", "1")
    assert other.returncode == 1
    assert "must be of these settings" in other.stderr
