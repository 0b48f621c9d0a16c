"""Files and configs: whole or not there, one writer, types and ranges in one place."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from latent_rl.config import SHARE, Range, check_fields, from_dict
from latent_rl.errors import CheckpointError, FileError, InvalidValueError, StoppedError, UnknownNameError
from latent_rl.storage.atomic import read_json, write_atomically, write_json
from latent_rl.storage.claims import claimed
from latent_rl.storage.stops import Terminated, resumable


@dataclass(frozen=True, kw_only=True)
class Shape:
    width: Annotated[int, Range(1, 100)] = 8
    lr: Annotated[float, Range(0, open_low=True)] = 0.1
    share: Annotated[float, SHARE] | None = None
    kind: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ()
    name: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("width", 0, "a whole number in [1, 100]"),
        ("width", 10**20, "a whole number in [1, 100]"),
        ("width", 8.0, "a whole number"),
        ("width", True, "a whole number"),
        ("lr", float("nan"), "a finite number"),
        ("lr", 0.0, "a number above 0"),
        ("lr", "0.1", "a finite number"),
        ("share", 1.5, "a number in [0, 1]"),
        ("share", float("inf"), "a finite number or nothing"),
        ("names", ("a", 1), "values each of which is text"),
        ("names", "ab", "several values"),
        ("name", 3, "text or nothing"),
    ],
)
def test_a_value_of_the_wrong_type_or_out_of_range_is_refused(field: str, value: Any, text: str) -> None:
    with pytest.raises(InvalidValueError) as error:
        Shape(**{field: value})
    assert str(error.value).startswith(f"Shape.{field} must be {text}")
    assert "got" in str(error.value)


def test_a_value_outside_a_literal_is_an_unknown_name() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown Shape\.kind 'c'\. Known: a, b"):
        from_dict(Shape, {"kind": "c"})


def test_whole_numbers_are_numbers_and_lists_are_several_values() -> None:
    shape = Shape(lr=1, share=0, names=["a"], name="x")  # type: ignore[arg-type]
    assert (shape.lr, shape.share, shape.names) == (1, 0, ["a"])


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"a": ' * 100_000, "\xff"])
def test_a_damaged_json_file_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("latin1"))
    with pytest.raises(CheckpointError, match=r"a\.json must") as error:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(error.value)


def test_a_write_that_fails_leaves_the_file_before() -> None:
    """`/dev/full` takes no byte; a file cannot be a folder."""
    with pytest.raises(FileError, match="could not be written"):
        write_json(Path("/dev/full/a.json"), {})


def test_an_atomic_write_leaves_no_partial_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(FileError, match="could not be written"):
        write_atomically(tmp_path / "a", b"x")
    write_atomically(tmp_path / "b", b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("name", ["run", "results.csv"])
def test_a_folder_or_file_has_one_writer(tmp_path: Path, name: str) -> None:
    code = (
        "import pathlib, sys\nfrom latent_rl.storage.claims import claimed\n"
        "with claimed(pathlib.Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / name)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(FileError, match="one writer"), claimed(tmp_path / name):
            pytest.fail("two writers")
        other.kill()
    with claimed(tmp_path / name):
        assert name == "run" or not (tmp_path / name).exists()


@pytest.mark.parametrize(("raised", "status"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_a_stop_says_what_is_kept_and_how_to_go_on(
    raised: type[BaseException], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/latent-rl", "train", "--out", "a b"])
    with pytest.raises(StoppedError) as error, resumable("a b keeps all of it", "--resume"):
        raise raised
    assert str(error.value) == "stopped; a b keeps all of it. Go on with: latent-rl train --out 'a b' --resume"
    assert error.value.status == status


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux")
def test_where_no_file_can_be_made_nobody_is_blamed() -> None:
    with (
        pytest.raises(FileError, match="could not be claimed: no file can be made there"),
        claimed(Path("/proc/x.csv")),
    ):
        pass
