"""A run killed at any moment goes on exactly as if it had not been, whatever the batching."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import TASK, logged, random_reasoner, undecided
from resume_cases import STATE, assert_same_state, killed_after

from latent_rl.errors import CheckpointError, InvalidValueError
from latent_rl.reasoners.hrm import HRM, HRMConfig
from latent_rl.reasoners.trm import TRM
from latent_rl.storage.sealed import read_sealed, write_sealed
from latent_rl.training.optim import warmup_cosine
from latent_rl.training.trainer import TrainConfig, train

TINY = TrainConfig(
    task="sudoku4x4", num_batches=6, batch_size=8, num_validation=8, validate_every=2, validation_steps=3, save_every=2
)
EPISODES = dataclasses.replace(TINY, extended_from=0.0, extended_fraction=0.5, midway_fraction=0.5, extended_depth=12)
REPLACEMENT = dataclasses.replace(TINY, batching="replacement", halt_exploration=0.5)
RUNS: dict[str, tuple[str, TrainConfig]] = {
    "episodes, Muon": ("trm", EPISODES),
    "episodes, AdamW": ("trm", dataclasses.replace(EPISODES, optimizer="adamw")),
    "replacement": ("trm", dataclasses.replace(REPLACEMENT, targets="dis", dual_weight=0.2)),
    "replacement, HRM": ("hrm", dataclasses.replace(REPLACEMENT, continue_target=True)),
}


def fresh(architecture: str = "trm") -> TRM | HRM:
    if architecture == "trm":
        return undecided(random_reasoner())
    torch.manual_seed(0)
    shape = HRMConfig(vocab_size=TASK.vocab_size, seq_len=TASK.seq_len, width=16, num_supervision_steps=6)
    return undecided(HRM(shape, torch.float32))


@pytest.mark.parametrize("run", RUNS)
def test_a_resumed_run_equals_an_uninterrupted_one(run: str, tmp_path: Path) -> None:
    """Same losses, same weights, same batch, to the last bit: killed before the first save, in the middle of a batch
    after it, and right after a save."""
    architecture, config = RUNS[run]
    train(config, fresh(architecture), tmp_path / "whole")
    for num_steps in (3, 16, 12):
        with killed_after(num_steps):
            train(config, fresh(architecture), tmp_path / "cut", resume=True)
    train(config, fresh(architecture), tmp_path / "cut", resume=True)
    for key in ("train/loss", "train/mean_steps", "train/examples"):
        assert logged(tmp_path / "whole", key) == logged(tmp_path / "cut", key)
    state = assert_same_state(tmp_path / "whole", tmp_path / "cut")
    if config.batching == "replacement":
        # Else there would have been nothing to carry over.
        assert state["batching/age"].unique().numel() > 1
    whole, cut = (json.loads((tmp_path / folder / "config.json").read_text()) for folder in ("whole", "cut"))
    assert cut["examples"] == whole["examples"] == cut["curve"][-1]["examples"]
    assert (config.batching == "episodes") == (whole["examples"] == 6 * 8)
    spent = [row["cpu_seconds"] for row in cut["curve"]]
    assert 0 < spent[0] < spent[-1] <= cut["cpu_seconds"]


def test_states_of_before_the_newer_options_resume(tmp_path: Path) -> None:
    """Options and counts that a saved state does not know count as their defaults."""
    train(EPISODES, fresh(), tmp_path / "whole")
    with killed_after(4 * 6):
        train(EPISODES, fresh(), tmp_path / "old")
    state = tmp_path / "old" / STATE
    tensors, facts = read_sealed(state, "a state")
    for name in ("batching", "halt_exploration", "continue_target"):
        del facts["config"][name]
    del facts["cpu_seconds"], facts["examples"], facts["extensions"], facts["reasoner"]["injection_first"]
    write_sealed(state, tensors, facts)
    with pytest.raises(CheckpointError, match=r"--batching \(was episodes, is replacement\), .*--halt-exploration"):
        train(REPLACEMENT, fresh(), tmp_path / "old", resume=True)
    train(EPISODES, fresh(), tmp_path / "old", resume=True)
    assert_same_state(tmp_path / "whole", tmp_path / "old")


@pytest.mark.slow
@pytest.mark.parametrize("batching", ["episodes", "replacement"])
def test_a_killed_process_loses_at_most_the_steps_since_the_last_save(batching: str, tmp_path: Path) -> None:
    """SIGKILL at a random moment, several times; every resume goes on, and the end is that of a whole run."""
    command = [
        sys.executable, "-m", "latent_rl", "train", "--task", "sudoku4x4", "--num-batches", "60", "--batch-size", "8",
        "--width", "16", "--num-validation", "8", "--validate-every", "20", "--validation-steps", "3",
        "--save-every", "3", "--threads", "1", "--batching", batching,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def whole_run(folder: str) -> None:
        run = [*command, "--out", str(tmp_path / folder), "--resume"]
        subprocess.run(run, check=True, capture_output=True, env=environment)

    whole_run("whole")
    state = tmp_path / "cut" / STATE
    for _ in range(3):
        run = subprocess.Popen(
            [*command, "--out", str(tmp_path / "cut"), "--resume"], stderr=subprocess.DEVNULL, env=environment
        )
        before, deadline = state.stat().st_mtime_ns if state.exists() else 0, time.monotonic() + 60
        while time.monotonic() < deadline and run.poll() is None:
            if state.exists() and state.stat().st_mtime_ns > before:
                break
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        run.wait()
    whole_run("cut")
    assert_same_state(tmp_path / "whole", tmp_path / "cut")


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    train(TINY, fresh(), tmp_path)
    with pytest.raises(InvalidValueError, match="--resume"):
        train(TINY, fresh(), tmp_path)
    changed = dataclasses.replace(TINY, batch_size=4, lr=1.0)
    with pytest.raises(CheckpointError, match=r"--batch-size \(was 8, is 4\), --lr \(was 0.002, is 1.0\)"):
        train(changed, fresh(), tmp_path, resume=True)
    (tmp_path / STATE).unlink()
    for resume in (False, True):  # a reasoner alone, say an imported one
        with pytest.raises(InvalidValueError, match="must not hold a reasoner that no training here has made"):
            train(TINY, fresh(), tmp_path, resume=resume)


def test_a_kill_between_the_two_saves_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is there, the reasoner is of before, or there is none."""
    train(TINY, fresh(), tmp_path / "whole")

    class Killed(Exception):
        pass

    def killed(*arguments: Any) -> None:
        raise Killed

    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr("latent_rl.training.folder.save_reasoner", killed)
            with pytest.raises(Killed):
                train(TINY, fresh(), tmp_path / "cut", resume=True)
    train(TINY, fresh(), tmp_path / "cut", resume=True)
    weights = [(tmp_path / folder / "reasoner.safetensors").read_bytes() for folder in ("whole", "cut")]
    assert weights[0] == weights[1]


def test_a_run_goes_on_after_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the schedules of the longer run, exactly, and can itself be cut and go on."""
    short, long = (dataclasses.replace(EPISODES, num_batches=n, warmup_steps=1) for n in (4, 8))
    for folder in ("one", "other"):
        train(short, fresh(), tmp_path / folder)
    capsys.readouterr()
    train(long, fresh(), tmp_path / "one", resume=True)
    said = capsys.readouterr().out
    assert "goes on from batch 4 to 8 instead of 4" in said
    assert "learning rate is 52% of its peak" in said
    for num_steps in (3, 15):
        with killed_after(num_steps):
            train(long, fresh(), tmp_path / "other", resume=True)
    train(long, fresh(), tmp_path / "other", resume=True)
    assert_same_state(tmp_path / "one", tmp_path / "other")
    assert logged(tmp_path / "one", "train/loss") == logged(tmp_path / "other", "train/loss")
    factors = logged(tmp_path / "one", "train/lr_factor")
    assert factors[8] < factors[4] < factors[5] == pytest.approx(warmup_cosine(5 * 6 - 1, 8 * 6, 1))
    facts = json.loads((tmp_path / "other" / "config.json").read_text())
    assert facts["extensions"] == [{"batch": 4, "num_batches": 4}]
    assert (facts["batch"], facts["train"]["num_batches"]) == (8, 8)
    assert "decoding" in facts
    with pytest.raises(InvalidValueError, match=r"--num-batches must be at least 8, .* has done; got 6"):
        train(dataclasses.replace(long, num_batches=6), fresh(), tmp_path / "one", resume=True)


def test_a_run_may_save_and_validate_at_other_times(tmp_path: Path) -> None:
    """That changes no weight."""
    train(TINY, fresh(), tmp_path / "whole")
    with killed_after(2 * 6 + 1):
        train(TINY, fresh(), tmp_path / "cut")
    other = dataclasses.replace(TINY, save_every=3, validate_every=1, num_validation=4, validation_steps=1)
    train(other, fresh(), tmp_path / "cut", resume=True)
    assert_same_state(tmp_path / "whole", tmp_path / "cut")
