"""Data-parallel training: two processes give what one gives, and go on where they, or one, were killed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import logged
from safetensors.torch import load_file

from latent_rl.storage.claims import claimed
from latent_rl.training import parallel

STATE = "training.safetensors"
TINY: dict[str, Any] = {
    "task": "sudoku4x4", "num_batches": 4, "batch_size": 8, "num_validation": 8, "validate_every": 2,
    "validation_steps": 3, "save_every": 2, "warmup_steps": 1, "optimizer": "adamw",
}  # fmt: skip
RUNS: dict[str, dict[str, Any]] = {
    "episodes": TINY | {"extended_from": 0.0, "extended_fraction": 0.5, "midway_fraction": 0.5, "extended_depth": 12},
    "replacement": TINY | {"batching": "replacement", "halt_exploration": 0.5, "targets": "dis"},
}


def run(folder: Path, config: dict[str, Any], num_workers: int, die_after: int = 0) -> None:
    worker = [str(Path(__file__).parents[1] / "parallel_worker.py"), str(folder), json.dumps(config), str(die_after)]
    team = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(num_workers)]
    done = subprocess.run(
        [sys.executable, *(team if num_workers > 1 else []), *worker], capture_output=True, text=True, check=False
    )
    assert (done.returncode != 0) == bool(die_after), done.stderr


def assert_near(one: Path, other: Path, tolerance: float) -> None:
    mine, theirs = load_file(one / STATE), load_file(other / STATE)
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, theirs[name], atol=tolerance, rtol=0, msg=lambda m, n=name: f"{n}: {m}")
        else:
            assert torch.equal(value, theirs[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("batching", RUNS)
def test_two_workers_give_what_one_gives(batching: str, tmp_path: Path) -> None:
    """The same weights, moments and slots but for the order of float sums; weights move by some .01 in these steps."""
    config = RUNS[batching]
    run(tmp_path / "one", config, 1)
    run(tmp_path / "two", config, 2)
    assert_near(tmp_path / "one", tmp_path / "two", 1e-4)
    for key in ("train/loss", "train/exact_accuracy", "train/mean_steps", "eval/solved_rate"):
        one, two = logged(tmp_path / "one", key), logged(tmp_path / "two", key)
        assert one == pytest.approx(two, abs=1e-4), key
    run(tmp_path / "cut", config, 2, die_after=15)
    assert not (tmp_path / "cut" / "config.json").read_text().count('"decoding"')
    run(tmp_path / "cut", config, 2)
    assert_near(tmp_path / "two", tmp_path / "cut", 0.0)
    # A different number of workers may go on.
    run(tmp_path / "fewer", config, 2, die_after=15)
    run(tmp_path / "fewer", config, 1)
    assert_near(tmp_path / "one", tmp_path / "fewer", 1e-4)


@pytest.mark.slow
def test_muon_agrees_too(tmp_path: Path) -> None:
    """For some steps: it rounds to bf16, which lets differences grow."""
    config = RUNS["episodes"] | {"optimizer": "muon", "num_batches": 1}
    run(tmp_path / "one", config, 1)
    run(tmp_path / "two", config, 2)
    assert_near(tmp_path / "one", tmp_path / "two", 1e-3)


@pytest.mark.slow
def test_the_command_trains_under_torchrun(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "latent_rl",
        "train", "--task", "sudoku4x4", "--num-batches", "2", "--width", "16", "--num-validation", "8",
        "--validation-steps", "2", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    done = subprocess.run([*command, "--batch-size", "8"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("reasoner saved in") == 1
    assert (tmp_path / "run" / "reasoner.safetensors").exists()
    refused = subprocess.run(
        [*command[:-1], str(tmp_path / "odd"), "--batch-size", "7"], capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    assert "must be a multiple of the number of workers; got 7 and 2" in refused.stderr


@pytest.mark.slow
def test_all_workers_are_refused_a_folder_that_another_run_uses(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "latent_rl",
        "train", "--task", "sudoku4x4", "--num-batches", "1", "--batch-size", "8", "--width", "16", "--num-validation",
        "8", "--validation-steps", "2", "--out", str(tmp_path),
    ]  # fmt: skip
    with claimed(tmp_path, is_file=False):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "latent-rl: " in done.stderr
    assert "must have one writer" in done.stderr
    assert "trainer.py" not in done.stderr
    assert not (tmp_path / STATE).exists()


def test_one_worker_needs_nobody() -> None:
    rows = torch.arange(6)
    with parallel.workers():
        assert (parallel.rank(), parallel.num_workers(), parallel.share(7)) == (0, 1, slice(0, 7))
        assert parallel.gather(rows) is rows
        assert parallel.mean(rows) is rows


def test_gradients_that_are_sparse_in_their_rows_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    def sparse(*rows: int) -> torch.Tensor:
        values = torch.arange(3.0 * len(rows)).view(-1, 3) + rows[0]
        return torch.sparse_coo_tensor(torch.tensor([rows]), values, (5, 3), check_invariants=True)

    mine, theirs = sparse(1, 3, 1), sparse(3, 0)
    arriving = iter([theirs.coalesce().indices()[0], theirs.coalesce().values()])
    monkeypatch.setattr(parallel, "num_workers", lambda: 2)
    monkeypatch.setattr(parallel, "gather", lambda rows: torch.cat([rows, next(arriving)]))
    averaged = parallel._average_rows(mine).to_dense()
    torch.testing.assert_close(averaged, (mine.to_dense() + theirs.to_dense()) / 2)
