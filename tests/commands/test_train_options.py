"""What `train` and the commands around it refuse before anything is made of it: one line, status 2."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from latent_rl import __main__ as cli
from latent_rl.errors import InvalidValueError, PuzzleError
from latent_rl.reasoners.checkpoint import ARCHITECTURES
from latent_rl.reasoners.feedforward import MATCHES
from latent_rl.reasoners.layers import BLOCKS
from latent_rl.reasoners.trm import STEP_INDICES
from latent_rl.storage.claims import claimed
from latent_rl.training.config import BATCHING_NAMES
from latent_rl.training.optim import OPTIMIZERS
from latent_rl.training.targets import TARGETS
from latent_rl.training.trainer import TrainConfig

HUGE = "1" + 20 * "0"
REFUSED = {
    "--lr nan": "lr must be a finite number; got nan",
    "--lr 1e400": "lr must be a finite number; got inf",
    "--muon-lr=-1": "muon_lr must be a number of at least 0",
    "--weight-decay nan": "weight_decay must be a finite number",
    "--puzzle-lr=-1": "puzzle_lr must be",
    "--halt-weight=-1": "halt_weight must be",
    "--dual-weight inf": "dual_weight must be",
    "--warmup-steps=-1": "warmup_steps must be",
    "--seed=-1": "seed must be a whole number in",
    f"--seed {HUGE}": "seed must be a whole number in",
    "--ema 1.5": "ema must be a number in",
    "--corruption 0": "corruption must be a number in (0, 1]",
    "--num-batches 0": "num_batches must be",
    f"--batch-size {HUGE}": "batch_size must be",
    "--batch-size 1000000000": "must fit into memory",
    "--save-every 0": "save_every must be",
    "--extended-depth 1000000000": "extended_depth must be",
    "--validation-steps 1000000000": "validation_steps must be",
    "--threads 0": "threads must be",
    "--threads 1000000000": "threads must be",
    "--width 0": "width must be",
    f"--width {HUGE}": "width must be",
    "--width 65536": "must fit into memory",
    "--width 7 --num-heads 2": "--num-heads has no meaning without --mixer attention",
    "--width 7 --num-heads 4 --mixer attention": "width must be a multiple of 2 * num_heads",
    "--num-layers 1000000000": "num_layers must be",
    "--num-cycles 1000000000": "num_cycles must be",
    "--num-cycles 9999 --num-latent-updates 9999": "forward passes",
    "--num-supervision-steps 1000000000": "num_supervision_steps must be",
    "--architecture hmr": "unknown architecture 'hmr'; did you mean 'hrm'?",
    "--architecture=hrm --step_index=integer": "--step-index has no meaning with --architecture hrm; it is",
    "--no-feedback --architecture feedforward": "--no-feedback has no meaning with --architecture feedforward",
    "--num-answer-layers 2": "it is an option of hrm",
    "--mixer convolutoin": "did you mean 'convolution'",
    "--mixer convolution --task sudoku6x6 --num-puzzle-positions=-1": "num_puzzle_positions must be",
    "--device meta": "the device must be one of this machine",
    "--device cuda:99": "the device must be one of this machine",
    "--out /dev/null": "must be a folder",
    "--targets trajectories --trajectories /dev/zero": "must be a readable text file: it is a device",
}


def refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert said.out == ""


@pytest.mark.parametrize("options", REFUSED)
def test_train_refuses(
    options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(["train", "--task", "sudoku4x4", *options.split()], REFUSED[options], capsys)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("architecture", "option", "registry"),
    [
        ("trm", "--architecture", ARCHITECTURES),
        ("trm", "--batching", BATCHING_NAMES),
        ("trm", "--targets", TARGETS),
        ("trm", "--optimizer", OPTIMIZERS),
        ("trm", "--step-index", STEP_INDICES),
        ("hrm", "--mixer", BLOCKS),
        ("feedforward", "--match", MATCHES),
    ],
)
def test_help_shows_the_names_that_there_are(
    architecture: str,
    option: str,
    registry: Iterable[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "120")  # no names are broken into lines
    with pytest.raises(SystemExit):
        cli.run(["train", "--architecture", architecture, "--help"])
    assert f"{option} {{{','.join(registry)}}}" in capsys.readouterr().out


@pytest.mark.parametrize("value", [8.0, True, "8", None])
def test_a_config_holds_whole_numbers(value: object) -> None:
    with pytest.raises(InvalidValueError, match="batch_size must be a whole number"):
        TrainConfig(batch_size=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("command", ["evaluate", "diagnose"])
@pytest.mark.parametrize(
    "option", ["--steps=-1", "--steps 0", f"--steps {HUGE}", "--num-puzzles 0", f"--num-puzzles {HUGE}"]
)
def test_other_commands_refuse(command: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [command, "--task", "sudoku4x4", "--reasoner", "sudoku4x4", *option.split()]
    refused(arguments, "must be a whole number", capsys)


@pytest.mark.parametrize("option", ["--num-train 0", "--num-test=-1", f"--num-validation {HUGE}", "--seed=-1"])
def test_make_bank_refuses(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["make-bank", "--task", "sudoku4x4", "--out", str(tmp_path / "bank"), *option.split()]
    refused(arguments, "must be a whole number", capsys)


def test_make_bank_has_a_file_to_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["make-bank", "--task", "sudoku4x4", "--out"]
    refused([*arguments, str(tmp_path)], "must be a file to write", capsys)
    with claimed(tmp_path / "bank", is_file=True):
        refused([*arguments, str(tmp_path / "bank")], "must have one writer", capsys)


@pytest.mark.parametrize("line", ["[" * 100_000, "9" * 5000, "{", "3", '{"input": "' + "1" * 16 + '", "steps": [[]]}'])
def test_trajectories_that_are_none(line: str, tmp_path: Path) -> None:
    from latent_rl.tasks.registry import make_task
    from latent_rl.training.trajectories import read_trajectories

    (tmp_path / "paths.jsonl").write_text(line)
    with pytest.raises(PuzzleError, match="line 1") as error:
        read_trajectories(tmp_path / "paths.jsonl", make_task("sudoku4x4"), 6)
    assert "\n" not in str(error.value)
