"""Arrays as others write them, and damaged ones: read as they are meant, or one clear error before memory is taken."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from folder_cases import FOUR, MAZES, edit_facts, write_folder, write_part

from latent_rl import __main__ as cli
from latent_rl.errors import LatentRLError, PuzzleError
from latent_rl.tasks.base import SPLITS, Task, first
from latent_rl.tasks.files.folder import folder_task
from latent_rl.tasks.files.overlap import note_repeated, num_repeated
from latent_rl.tasks.files.stored import StoredPuzzles
from latent_rl.tasks.labelled import TokenTask
from latent_rl.tasks.registry import make_task
from latent_rl.tasks.sudoku.task import Sudoku

NANO = {"num_puzzles": 10, "grid_size": 4, "max_grid_size": 4, "min_givens": 4, "max_givens": 10}


def nano_folder(folder: Path, task: Task = FOUR, raised: int = 1) -> Path:
    """As nano-trm writes it: train, val and test without index arrays, an end token between padding and blank."""
    parts = {"train": first(task, "train", 30), "val": first(task, "validation", 6), "test": first(task, "test", 10)}
    for name, puzzles in parts.items():
        (folder / name).mkdir(parents=True)
        np.save(folder / name / "all__inputs.npy", puzzles.inputs.numpy() + raised)
        np.save(folder / name / "all__labels.npy", puzzles.labels.numpy() + raised)
        np.save(folder / name / "all__puzzle_identifiers.npy", np.zeros(len(puzzles), dtype=np.int32))
        facts = NANO | {"seq_len": task.seq_len, "vocab_size": task.vocab_size + raised}
        (folder / name / "dataset.json").write_text(json.dumps(facts))
    (folder / "metadata.json").write_text("{}")
    return folder


def test_a_folder_of_nano_trm_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    task = make_task(str(nano_folder(tmp_path / "nano")))
    assert isinstance(task, Sudoku)
    assert {split: len(task.puzzles(split)) for split in SPLITS} == {"train": 30, "validation": 6, "test": 10}
    for split in SPLITS:
        puzzles, expected = first(task, split, 6), first(FOUR, split, 6)
        assert torch.equal(puzzles.inputs, expected.inputs)
        assert torch.equal(puzzles.labels, expected.labels)
    (message,) = caplog.messages
    assert message.startswith(f"note: {tmp_path / 'nano'}: its tokens begin at 2, as nano-trm's do")


def test_its_mazes_have_our_tokens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    task = make_task(str(nano_folder(tmp_path / "nano", MAZES, raised=0)))
    assert type(task) is type(MAZES)
    assert torch.equal(first(task, "test", 10).labels, first(MAZES, "test", 10).labels)
    assert not caplog.messages


def test_boards_of_several_sizes_have_no_rules(tmp_path: Path) -> None:
    """nano-trm pads the smaller ones: with 0, and labels with -100."""
    folder = nano_folder(tmp_path / "nano")
    for name, padding in (("inputs", 0), ("labels", -100)):
        path = folder / "train" / f"all__{name}.npy"
        array = np.load(path)
        array[:, -4:] = padding
        np.save(path, array)
    task = make_task(str(folder))
    assert isinstance(task, TokenTask)
    assert (first(task, "train", 30).labels[:, -4:] == 0).all()
    assert (first(task, "train", 30).inputs[:, -4:] == 0).all()


def test_a_pad_among_boards_without_one_is_damage(tmp_path: Path) -> None:
    folder = nano_folder(tmp_path / "nano")
    array = np.load(folder / "test" / "all__inputs.npy")
    array[9, 3] = 1
    np.save(folder / "test" / "all__inputs.npy", array)
    with pytest.raises(PuzzleError, match=r"must hold inputs in 2\.\.6; got 1\.\.6"):
        make_task(str(folder)).puzzles("test")[:]


def test_unknown_facts_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_folder(tmp_path / "mine", FOUR, author="me", colour="red")
    assert len(make_task(str(folder)).puzzles("test")) == 10
    assert caplog.messages == [f"note: {folder}: not used of dataset.json: author, colour."]


@pytest.mark.parametrize("name", ["puzzle_indices", "group_indices"])
def test_groups_that_are_told_of_must_be_there(name: str, tmp_path: Path) -> None:
    """Or variants of training puzzles would stand in validation."""
    folder = write_folder(tmp_path / "mine", FOUR)
    (folder / "train" / f"all__{name}.npy").unlink()
    with pytest.raises(PuzzleError, match=rf"all__{name}\.npy must be a whole"):
        make_task(str(folder)).puzzles("train")
    edit_facts(folder / "train", lambda facts: facts.update(num_puzzle_identifiers=2, total_groups=None))
    (folder / "train" / "all__puzzle_identifiers.npy").unlink()
    with pytest.raises(PuzzleError, match=r"all__puzzle_identifiers\.npy must be a whole"):
        make_task(str(folder)).puzzles("train")


@pytest.mark.parametrize("ignored", [-100, -1, None, 0])
def test_ignored_labels_are_open(ignored: int | None, tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(1, 12, (20, 20))
    if ignored is not None:
        labels[:, -5:] = ignored
    write_part(tmp_path / "train", first(FOUR, "train", 20), 12, seq_len=20, ignore_label_id=ignored)
    np.save(tmp_path / "train" / "all__inputs.npy", np.abs(labels))
    np.save(tmp_path / "train" / "all__labels.npy", labels)
    np.save(tmp_path / "train" / "all__inputs.npy", np.random.default_rng(1).integers(1, 12, (20, 20)))
    read = first(make_task(str(tmp_path)), "train", 20).labels
    assert torch.equal(read, torch.from_numpy(np.where(labels < 0, 0, labels))[:18])


def converted(place: Path, name: str, change: Callable[[np.ndarray], Any]) -> None:
    array = np.load(place / f"all__{name}.npy")
    np.save(place / f"all__{name}.npy", change(array))


@pytest.mark.parametrize(
    "change",
    [
        np.asfortranarray, lambda a: a.astype(">i4"), lambda a: a.astype(">u2"), lambda a: a.astype(np.uint64),
        lambda a: a.astype(np.int64), lambda a: a.astype(np.uint16), lambda a: np.asfortranarray(a.astype(">i8")),
    ],
)  # fmt: skip
def test_any_whole_numbers_are_read(change: Callable[[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine", FOUR)
    for part in ("train", "test"):
        for name in ("inputs", "labels", "puzzle_indices", "group_indices", "puzzle_identifiers"):
            converted(folder / part, name, change)
    task = make_task(str(folder))
    assert torch.equal(first(task, "test", 10).inputs, first(FOUR, "test", 10).inputs)
    assert len(task.puzzles("validation")) == 3


def test_arrays_may_go_without_the_name_of_the_set(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine", FOUR)
    for path in [*folder.glob("*/all__*.npy")]:
        path.rename(path.with_name(path.name.removeprefix("all__")))
    assert len(make_task(str(folder)).puzzles("train")) == 81


def header(array: np.ndarray, **changes: Any) -> bytes:
    """An .npy file whose header claims something else."""
    facts = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape} | changes
    text = (facts["raw"] if "raw" in facts else repr(facts)).encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + array.tobytes()


def rewritten(**changes: Any) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        path.write_bytes(header(np.load(path), **changes))

    return write


def zipped(path: Path) -> None:
    array = np.load(path)
    with path.open("wb") as file:
        np.savez(file, array)


def pickled(path: Path) -> None:
    np.save(path, np.load(path).astype(object), allow_pickle=True)


WRONG: dict[str, Callable[[Path], object]] = {
    "npz": zipped,
    "pickled": pickled,
    "objects": rewritten(descr="|O"),
    "huge": rewritten(shape=(10**12, 16)),
    "overflowing": rewritten(shape=(2**62, 2**62)),
    "negative": rewritten(shape=(-1, 16)),
    "longer": rewritten(shape=(3, 16)),
    "no shape": rewritten(shape=None),
    "floats for sizes": rewritten(shape=(90.0, 16)),
    "structured": rewritten(descr=[("a", "u1")]),
    "times": rewritten(descr="<M8[s]"),
    "text": rewritten(descr="<U4"),
    "bools": lambda path: np.save(path, np.load(path) > 2),
    "floats": lambda path: np.save(path, np.load(path).astype(np.float32)),
    "complex": lambda path: np.save(path, np.load(path).astype(np.complex64)),
    "unfinished": rewritten(raw="{'descr': '|u1', 'shape': ("),
    "nested": rewritten(raw="(" * 5000),
    "code": rewritten(raw="__import__('os').getcwd()"),
    "unparsable": rewritten(raw="{'descr': '|u1', 'fortran_order': False, 'shape': (90, 16), '\x00"),
    "no version": lambda path: path.write_bytes(b"\x93NUMPY\x09\x09" + path.read_bytes()[8:]),
    "long header": rewritten(raw="{" + " " * 60_000 + "}"),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "cut in the header": lambda path: path.write_bytes(path.read_bytes()[:40]),
    "more": lambda path: path.write_bytes(path.read_bytes() + b"0"),
    "empty": lambda path: path.write_bytes(b""),
    "JSON": lambda path: path.write_text("[[1, 2]]"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "too large": lambda path: np.save(path, np.load(path).astype(np.uint64) + np.uint64(2**63)),
    "no rows": lambda path: np.save(path, np.load(path)[:0]),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("name", ["inputs", "puzzle_indices"])
def test_a_damaged_array_is_one_clear_error(
    case: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "mine", FOUR)
    WRONG[case](folder / "train" / f"all__{name}.npy")
    started = time.monotonic()
    with pytest.raises(PuzzleError, match=re.escape(str(folder / "train"))):
        make_task(str(folder)).puzzles("train")
    assert time.monotonic() - started < 2
    assert cli.run(["train", "--task", str(folder), "--out", str(tmp_path / "run")]) == 2
    assert re.fullmatch(r"latent-rl: [^\n]{,500}\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    "indices", [[0, 3, 1, 90], [0, 90, 90], [90], [], [1, 90], [0, 5, 2**40, 90], [0, 2**31 - 1, -(2**31), 90]]
)
@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.int32])
def test_indices_that_do_not_rise(indices: list[int], dtype: type, tmp_path: Path) -> None:
    """In unsigned numbers a difference never looks negative."""
    folder = write_folder(tmp_path / "mine", FOUR)
    np.save(folder / "train" / "all__puzzle_indices.npy", np.array(indices, dtype=np.int64).astype(dtype))
    with pytest.raises(PuzzleError, match=r"puzzle_indices must rise|below 2\^63"):
        make_task(str(folder)).puzzles("train")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"seq_len": 10**12}, "seq_len must be a whole number in"),
        ({"vocab_size": 0}, "vocab_size must be"),
        ({"vocab_size": True}, "vocab_size must be"),
        ({"num_puzzle_identifiers": 10**18}, "num_puzzle_identifiers must be"),
        ({"num_puzzle_identifiers": -1}, "num_puzzle_identifiers must be"),
        ({"ignore_label_id": "x"}, "ignore_label_id must be"),
        ({"pad_id": 3}, "must have pad_id 0"),
        ({"sets": [3]}, "must name one set"),
        ({"sets": ["../../x"]}, r"whole \.npy file"),
        ({"sets": "all"}, "must name one set"),
    ],
)
def test_facts_that_cannot_be(facts: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine", FOUR)
    edit_facts(folder / "train", lambda all_facts: all_facts.update(facts))
    with pytest.raises(PuzzleError, match=message):
        make_task(str(folder)).puzzles("train")


def test_random_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    """Bits, bytes, lengths: a clear error, or tokens that the labels' rules still allow."""
    random = np.random.default_rng(0)
    folder = write_folder(tmp_path / "mine", FOUR)
    paths = sorted([*(folder / "train").iterdir()])
    whole = {path: path.read_bytes() for path in paths}
    refused: list[str] = []
    for number in range(300):
        path = paths[number % len(paths)]
        content = bytearray(whole[path])
        place = int(random.integers(min(len(content), 160 if number % 2 else len(content))))
        if number % 3 == 0:
            content[place] ^= 1 << int(random.integers(8))
        elif number % 3 == 1:
            del content[place:]
        else:
            content[place : place + 4] = random.bytes(4)
        path.write_bytes(content)
        try:
            task = folder_task.__wrapped__(folder)  # which does not remember it
            for split in ("train", "validation"):
                task.puzzles(split)[:]
        except LatentRLError as error:
            refused.append(str(error))
        path.write_bytes(whole[path])
    assert len(refused) > 100
    assert not any("\n" in message for message in refused)


def test_repeated_puzzles_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    train, test = first(FOUR, "train", 30), first(FOUR, "test", 10).map(torch.clone)
    write_part(tmp_path / "mine" / "train", train, 6)
    test.inputs[[1, 4, 5]] = train.inputs[[7, 7, 20]]
    test.labels[[1, 4, 5]] = train.labels[[7, 7, 20]]
    write_part(tmp_path / "mine" / "test", test, 6)
    folder = str(tmp_path / "mine")
    assert cli.run(["evaluate", "--task", folder, "--reasoner", "sudoku4x4", "--json"]) == 0
    assert caplog.messages == ["note: 3 of 10 test puzzles of mine also stand in training."]
    assert json.loads(capsys.readouterr().out)["num_puzzles"] == 10
    caplog.clear()
    small = ["--num-batches", "1", "--batch-size", "4", "--width", "16", "--num-validation", "2"]
    assert cli.run(["train", "--task", folder, *small, "--out", str(tmp_path / "run")]) == 0
    assert "3 of 10 test puzzles of mine" in caplog.text


def test_nothing_is_said_where_nothing_is_repeated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for task in (make_task(str(write_folder(tmp_path / "mine", FOUR))), FOUR, make_task("maze10")):
        note_repeated(task)
    assert not caplog.messages


def test_many_puzzles_are_looked_through_in_no_time() -> None:
    inputs = torch.randint(1, 11, (200_000, 81), dtype=torch.uint8)
    many = StoredPuzzles(inputs, inputs, vocab_size=11, least_label=1, source="many")
    few = replace(many, inputs=inputs[50_000:50_400], labels=inputs[50_000:50_400])
    started = time.monotonic()
    assert num_repeated(many, few) == 400
    assert time.monotonic() - started < 3
