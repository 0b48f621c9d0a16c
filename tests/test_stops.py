"""Trainings that are stopped, crowded out or let down by their machine: one line, and nothing lost."""

import errno
import json
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import logged, random_reasoner, undecided
from torch import Tensor

from latent_rl import __main__ as cli
from latent_rl.errors import CompilationError, FileError, InvalidValueError, is_out_of_memory
from latent_rl.reasoners.checkpoint import load_reasoner, weights_of
from latent_rl.reasoners.trm import TRM, TRMConfig
from latent_rl.storage.claims import claimed
from latent_rl.storage.stops import Terminated, deferred_stop
from latent_rl.training import memory, objectives, provenance
from latent_rl.training.losses import step_loss
from latent_rl.training.trainer import TrainConfig, train

TINY = TrainConfig(
    task="sudoku4x4", num_batches=4, batch_size=4, num_validation=4, validation_steps=1, validate_every=4, save_every=3
)
COMMAND = [
    "train", "--task", "sudoku4x4", "--num-batches", "4", "--batch-size", "4", "--width", "16", "--num-validation", "4",
    "--validation-steps", "1", "--validate-every", "4", "--save-every", "3",
]  # fmt: skip


def fresh() -> TRM:
    return undecided(random_reasoner())


@contextmanager
def at_step(number: int, act: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let something happen in an optimizer step, in the middle of a batch of six."""
    countdown = iter(range(number))

    def loss(*arguments: Any, **options: Any) -> Tensor:
        if next(countdown, "now") == "now":
            act()
        return step_loss(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(objectives, "step_loss", loss)
        yield


def batch_saved(folder: Path) -> int:
    return int(json.loads((folder / "config.json").read_text())["batch"])


class TestStop:
    """Ctrl-C and SIGTERM."""

    def test_the_batch_is_ended_and_saved(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        train(TINY, fresh(), tmp_path / "whole")
        once = iter([lambda: signal.raise_signal(signal.SIGINT)])
        with at_step(8, lambda: next(once, lambda: None)(), monkeypatch), pytest.raises(KeyboardInterrupt):
            train(TINY, fresh(), tmp_path / "cut")
        assert batch_saved(tmp_path / "cut") == 2
        train(TINY, fresh(), tmp_path / "cut", resume=True)
        one, other = (load_reasoner(tmp_path / name).state_dict() for name in ("whole", "cut"))
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert logged(tmp_path / "whole", "train/loss") == logged(tmp_path / "cut", "train/loss")

    def test_a_second_one_stops_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with (
            at_step(8, lambda: signal.raise_signal(signal.SIGINT), monkeypatch),
            pytest.raises(KeyboardInterrupt),
        ):
            train(TINY, fresh(), tmp_path)
        assert not (tmp_path / "config.json").exists()
        train(TINY, fresh(), tmp_path, resume=True)

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_the_command_says_how_to_go_on(
        self, number: signal.Signals, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        command = [*COMMAND, "--out", str(tmp_path / "a run")]
        monkeypatch.setattr(sys, "argv", ["latent-rl", *command])

        def terminate(*arguments: Any) -> None:
            raise Terminated

        before = signal.signal(signal.SIGTERM, terminate)
        try:
            with at_step(8, lambda: once.pop()() if once else None, monkeypatch):
                once = [lambda: signal.raise_signal(number)]
                assert cli.run(command) == status
        finally:
            signal.signal(signal.SIGTERM, before)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert "a run keeps all batches up to its last save. Go on with: latent-rl train --task sudoku4x4" in last
        assert last.endswith("a run' --resume")
        assert cli.run([*command, "--resume"]) == 0
        assert batch_saved(tmp_path / "a run") == 4

    def test_outside_the_main_thread_nothing_is_caught(self) -> None:
        handlers = []

        def work() -> None:
            with deferred_stop() as signals:
                handlers.append((signal.getsignal(signal.SIGINT), signals))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert handlers == [(signal.default_int_handler, [])]


class TestFolder:
    """What can be wrong with --out."""

    def test_two_trainings_with_one_folder(self, tmp_path: Path) -> None:
        with claimed(tmp_path / "run"), pytest.raises(FileError, match="one writer"):
            train(TINY, fresh(), tmp_path / "run")
        train(TINY, fresh(), tmp_path / "run")

    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "run").write_text("")
        with pytest.raises(FileError, match="must be a folder"):
            train(TINY, fresh(), tmp_path / "run")
        with pytest.raises(FileError, match="could not be claimed"):
            train(TINY, fresh(), tmp_path / "run" / "below")
        assert list(tmp_path.iterdir()) == [tmp_path / "run"]

    def test_a_folder_that_is_deleted_meanwhile(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        run = tmp_path / "run"
        with (
            at_step(20, lambda: shutil.rmtree(run, ignore_errors=True), monkeypatch),
            pytest.raises(FileError, match=r"tfevents.* could not be written: No such file") as error,
        ):
            train(TINY, fresh(), run)
        assert "\n" not in str(error.value)
        assert not run.exists()

    @pytest.mark.parametrize("where", ["events", "weights"])
    def test_a_full_disk(self, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was saved before stays, and the run goes on from there."""
        is_full = False

        def fill() -> None:
            nonlocal is_full
            is_full = True

        def failing(path: Path, *arguments: Any, **options: Any) -> Any:
            if is_full and ("tfevents" in path.name) == (where == "events"):
                raise OSError(errno.ENOSPC, "No space left on device")
            return whole(path, *arguments, **options)

        whole = Path.open
        monkeypatch.setattr(Path, "open", failing)
        with (
            at_step(20, fill, monkeypatch),
            pytest.raises(FileError, match=r"No space left on device\. .* keeps the run up to batch 3; go on with"),
        ):
            train(TINY, fresh(), tmp_path)
        is_full = False
        assert batch_saved(tmp_path) == 3
        train(TINY, fresh(), tmp_path, resume=True)
        assert batch_saved(tmp_path) == 4


class TestMachine:
    """What it may lack."""

    @pytest.mark.parametrize(
        "script", [None, "exit 1", "echo HEAD; exit 128", "echo surprise", "printf '\\377'", "kill -9 $$"]
    )
    def test_git_that_does_not_work(self, script: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        if script is not None:
            (tmp_path / "git").write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / "git").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert provenance.revision() is None

    def test_a_compiler_that_does_not_work(self) -> None:
        def broken(*arguments: Any) -> Any:
            raise RuntimeError("CppCompileError: C++ compile error\n\nCommand:\ng++ ...\n\nOutput:\n" + "line\n" * 100)

        reasoner = random_reasoner()
        reasoner.compile(backend=broken)
        with pytest.raises(CompilationError, match=r"C\+\+ compile error.*leave out --compile") as error:
            reasoner.step(torch.ones(64, 16, dtype=torch.int64), reasoner.initial_carry(64), 0)
        assert "\n" not in str(error.value)

    def test_too_large_a_batch(self, tmp_path: Path) -> None:
        for size in (10**9, 10**7):
            config = TrainConfig(**{**vars(TINY), "batch_size": size})
            with pytest.raises(InvalidValueError, match=rf"a batch of {size} puzzles must fit into memory"):
                train(config, fresh(), tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_too_large_a_network(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.run([*COMMAND, "--width", "65536"]) == 2
        assert "GiB at least" in capsys.readouterr().err

    def test_memory_is_what_the_process_may_take(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import resource

        cpu = torch.device("cpu")
        whole = memory.memory_of(cpu)
        assert 2**28 < whole < 2**62
        monkeypatch.setattr(resource, "getrlimit", lambda which: (2**20, 2**20))
        assert memory.memory_of(cpu) == 2**20
        shape = TRMConfig(vocab_size=6, seq_len=16)
        with pytest.raises(InvalidValueError, match="must fit into memory"):
            memory.check_weights(shape, cpu)

    def test_what_a_step_keeps_is_foreseen(self) -> None:
        """By trying it where tensors take no memory; here against what a real one keeps."""
        reasoner, kept = random_reasoner(width=64).requires_grad_(True), {}
        weights = {tensor.untyped_storage().data_ptr() for tensor in reasoner.state_dict().values()}

        def pack(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            _ = reasoner.step(torch.ones(32, 16, dtype=torch.int64), reasoner.initial_carry(32), 0)
        real = sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in weights)
        assert memory._kept_bytes(reasoner) == pytest.approx(real / 32, rel=0.1)

    def test_out_of_memory_is_one_line(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def failing(*arguments: Any, **options: Any) -> None:
            torch.empty(10**15)

        with pytest.raises(RuntimeError) as error:
            failing()
        assert is_out_of_memory(error.value)
        assert not is_out_of_memory(RuntimeError("another"))
        monkeypatch.setattr("latent_rl.commands.train.make_task", failing)
        assert cli.run(COMMAND) == 2
        said = capsys.readouterr().err.strip()
        assert said.startswith("latent-rl: out of memory; choose a smaller batch or network")
        assert "\n" not in said

    def test_weights_are_counted_without_making_them(self) -> None:
        shape = TRMConfig(vocab_size=6, seq_len=16, width=65536)
        assert sum(tensor.nbytes for tensor in weights_of(shape).values()) > 2**35
