"""Folders of a user's puzzles as tasks: the public dataset layout, CSVs, rules by vocabulary, and mistakes."""

import gzip
import json
import pickle
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from folder_cases import FOUR, MAZES, edit_facts, random_puzzles, write_folder, write_part
from helpers import random_reasoner

from latent_rl import __main__ as cli
from latent_rl.envs.core import Core
from latent_rl.errors import InvalidValueError, PuzzleError, UnknownNameError
from latent_rl.evaluation.fixed_steps import evaluate_fixed
from latent_rl.reasoners.checkpoint import save_reasoner
from latent_rl.tasks.base import SPLITS, Task, first, sample
from latent_rl.tasks.files.folder import folder_task
from latent_rl.tasks.labelled import TokenTask
from latent_rl.tasks.maze.task import Maze
from latent_rl.tasks.nqueens.task import NQueens
from latent_rl.tasks.registry import make_task
from latent_rl.training.losses import NO_TARGET, step_loss
from latent_rl.training.trainer import TrainConfig, train
from latent_rl.types import Puzzles, ReasonerOutput, Symmetry, matches

QUEENS = NQueens("queens6", 6, counts=(30, 10, 10))


@pytest.fixture
def unruled(tmp_path: Path) -> TokenTask:
    """Random tokens with ids of their own, whose last five cells are open."""
    write_part(tmp_path / "mine" / "train", random_puzzles(20), 12, ids=list(range(1, 21)))
    write_part(tmp_path / "mine" / "test", random_puzzles(8), 12, ids=list(range(21, 29)))
    task = make_task(str(tmp_path / "mine"))
    assert isinstance(task, TokenTask)
    return task


@pytest.mark.parametrize("rules", [FOUR, MAZES, QUEENS, make_task("sudoku9x9")], ids=lambda task: task.name)
def test_a_public_folder_is_a_task_with_the_rules_of_its_vocabulary(rules: Task, tmp_path: Path) -> None:
    task = make_task(str(write_folder(tmp_path / "mine", rules)))
    assert isinstance(task, Task)
    assert type(task) is type(rules)
    assert (task.name, task.vocab_size, task.seq_len) == ("mine", rules.vocab_size, rules.seq_len)
    assert make_task(str(tmp_path / "mine")) is task
    sizes = {split: len(task.puzzles(split)) for split in SPLITS}
    assert sizes == {"train": 27 * 3, "validation": 3, "test": 10}
    test, expected = first(task, "test", 10), first(rules, "test", 10)
    assert torch.equal(test.inputs, expected.inputs)
    assert torch.equal(test.labels, expected.labels)
    assert test.puzzle_ids is None
    seen = {split: {bytes(row.to(torch.uint8).numpy()) for row in task.puzzles(split).inputs} for split in SPLITS}
    assert rules is QUEENS or not seen["train"] & seen["validation"]  # boards of queens repeat
    batch = sample(task, task.puzzles("train"), 16, torch.Generator().manual_seed(0))
    assert batch.inputs.dtype == torch.int64
    assert task.verify(batch.inputs, batch.labels).all()


def test_training_puzzles_stay_in_their_file(tmp_path: Path) -> None:
    """Opening 4 MB of arrays and drawing a batch takes a tenth of that memory."""
    write_part(tmp_path / "mine" / "train", random_puzzles(2200, seq_len=900), 12)
    task = make_task(str(tmp_path / "mine"))
    tracemalloc.start()
    batch = task.puzzles("train").select(torch.arange(8))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert batch.inputs.shape == (8, 900)
    assert peak < 400_000


@pytest.mark.parametrize("rules", [make_task("sudoku9x9"), MAZES], ids=lambda task: task.name)
def test_a_folder_of_csvs_is_a_task(rules: Task, tmp_path: Path) -> None:
    folder = tmp_path / "csvs"
    folder.mkdir()
    for split in ("train", "test"):
        puzzles = first(rules, split, 20)
        rows = [
            f"here,{rules.format(question)},{rules.format(answer)},3"
            for question, answer in zip(puzzles.inputs, puzzles.labels, strict=True)
        ]
        text = "\n".join(["source,question,answer,rating", *rows])
        # The public mazes write a blank for a free cell.
        (folder / f"{split}.csv").write_text(text.replace(".", " ") if isinstance(rules, Maze) else text)
    task = make_task(str(folder))
    assert type(task) is type(rules)
    assert {split: len(task.puzzles(split)) for split in SPLITS} == {"train": 18, "validation": 2, "test": 20}
    assert torch.equal(first(task, "test", 20).labels, first(rules, "test", 20).labels)
    parts = [row.tolist() for split in ("train", "validation") for row in task.puzzles(split).inputs]
    assert sorted(parts) == sorted(first(rules, "train", 20).inputs.tolist())


def test_tables_of_validation_puzzles_and_packed_ones_are_read(tmp_path: Path) -> None:
    puzzles = first(FOUR, "train", 9)
    pairs = zip(puzzles.inputs, puzzles.labels, strict=True)
    rows = [f"{FOUR.format(question)},{FOUR.format(answer)}\n" for question, answer in pairs]
    for name, part in (("train.csv.gz", rows[:4]), ("val.csv", rows[4:6]), ("test.csv", rows[6:])):
        content = ("quizzes,solutions\n" + "".join(part)).encode()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    task = make_task(str(tmp_path))
    shown = [FOUR.format(row) for split in SPLITS for row in task.puzzles(split)[:].inputs]
    assert shown == [row[:16] for row in rows]
    assert len(task.puzzles("validation")) == 2
    (tmp_path / "test.csv").unlink()
    folder_task.cache_clear()
    with pytest.raises(PuzzleError, match=r"must have test\.csv to give test puzzles"):
        make_task(str(tmp_path)).puzzles("test")


def test_a_table_alone_is_told_its_place(tmp_path: Path) -> None:
    table = tmp_path / "sudoku.csv"
    table.write_text("quizzes,solutions\n")
    with pytest.raises(PuzzleError, match=r"is a file\. Put it into a folder as train\.csv"):
        make_task(str(table))
    with pytest.raises(PuzzleError, match=r"holds sudoku\.csv\. Name your tables so"):
        make_task(str(tmp_path))


def test_every_command_takes_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = str(write_folder(tmp_path / "mine", FOUR)), str(tmp_path / "run")
    small = ["--num-batches", "2", "--batch-size", "4", "--width", "16", "--num-validation", "2"]
    assert cli.run(["train", "--task", folder, *small, "--out", out]) == 0
    assert f"--task {folder} --reasoner {out}" in capsys.readouterr().out
    assert cli.run(["evaluate", "--task", folder, "--reasoner", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_puzzles"] == 10
    diagnosing = ["--task", folder, "--reasoner", out, "--steps", "2", "--out", str(tmp_path / "d"), "--json"]
    assert cli.run(["diagnose", *diagnosing]) == 0
    assert json.loads(capsys.readouterr().out)["num_puzzles"] == 3


def test_agents_take_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from latent_rl.agents.commands.compare import Comparison, compare
    from latent_rl.agents.commands.setting import Process, Setting
    from latent_rl.agents.commands.solve import Solve

    folder = str(write_folder(tmp_path / "mine", FOUR))
    save_reasoner(random_reasoner(FOUR), tmp_path / "r")
    process = Process(task=folder, reasoner=str(tmp_path / "r"), horizon=4)
    setting, agents = Setting(process=process), ("fixed", "rule")
    args = Comparison(setting=setting, agents=agents, seeds=1, out=tmp_path / "c", progress=False)
    assert {row.num_puzzles for row in compare(args)} == {10}
    puzzle = FOUR.format(first(FOUR, "test", 1).inputs[0])
    assert Solve(process=process, puzzle=puzzle).run() in (0, 1)
    assert "4 steps" in capsys.readouterr().out


def test_unknown_rules_judge_by_the_label(unruled: TokenTask) -> None:
    for split, sizes in (("train", 18), ("validation", 2), ("test", 8)):
        puzzles = unruled.puzzles(split)[:]
        assert len(puzzles) == sizes
        anything = torch.where(puzzles.labels == 0, 3, puzzles.labels)
        wrong = anything.clone()
        wrong[:, 0] = 1 + wrong[:, 0] % 11
        assert unruled.verify(puzzles.inputs, anything).all()
        assert (unruled.satisfied_share(puzzles.inputs, anything) == 1).all()
        assert not unruled.verify(puzzles.inputs, wrong).any()
        torch.testing.assert_close(unruled.satisfied_share(puzzles.inputs, wrong), torch.full((sizes,), 19 / 20))
        assert not unruled.is_ambiguous(puzzles.inputs).any()
        assert torch.equal(unruled.solve(puzzles.inputs[0]), puzzles.labels[0])
    strange = puzzles.inputs.flip(1)
    assert not unruled.verify(strange, anything).any()
    assert (unruled.satisfied_share(strange, anything) == 0).all()
    with pytest.raises(PuzzleError, match="must be one of the folder's"):
        unruled.any_answer(strange[0])
    assert torch.equal(unruled.parse(unruled.format(puzzles.inputs[0])), puzzles.inputs[0])
    assert unruled.constrain(puzzles.inputs, torch.zeros(8, 20, 12)).argmax(-1).min() == 1


def test_a_puzzle_with_several_labels_has_several_answers(tmp_path: Path) -> None:
    puzzles = random_puzzles(6)
    puzzles.inputs[1] = puzzles.inputs[0]
    write_part(tmp_path / "train", puzzles, 12)
    task = make_task(str(tmp_path))
    both = puzzles[:2]
    answers = both.labels.clamp(min=1)
    assert task.verify(both.inputs, answers).all()
    assert task.verify(both.inputs, answers.flip(0)).all()
    assert task.is_ambiguous(puzzles.inputs).tolist() == [True, True, False, False, False, False]
    with pytest.raises(PuzzleError, match="several"):
        task.solve(puzzles.inputs[0])


def test_puzzle_ids_reach_the_reasoner(unruled: TokenTask) -> None:
    """With embeddings that differ, the same board is read differently under another id; also in the environment."""
    reasoner = random_reasoner(unruled, num_puzzle_ids=29, puzzle_width=16, num_puzzle_positions=1)
    with torch.no_grad():
        reasoner.embed_puzzles.normal_(generator=torch.Generator().manual_seed(0))
    puzzles = first(unruled, "test", 8)
    assert puzzles.puzzle_ids is not None
    assert puzzles.puzzle_ids.tolist() == list(range(21, 29))
    _, expected = reasoner.step(puzzles.inputs, reasoner.initial_carry(8), 0, puzzle_ids=puzzles.puzzle_ids)
    _, blank = reasoner.step(puzzles.inputs, reasoner.initial_carry(8), 0)
    answers = unruled.constrain(puzzles.inputs, expected.conditional_logits).argmax(-1)
    assert not torch.equal(answers, unruled.constrain(puzzles.inputs, blank.conditional_logits).argmax(-1))
    labelled = replace(puzzles, labels=answers)
    assert evaluate_fixed(reasoner, unruled, labelled, 1).exact.all()
    assert not evaluate_fixed(reasoner, unruled, replace(labelled, puzzle_ids=None), 1).exact.all()
    core = Core(unruled, reasoner, horizon=4, puzzles=labelled)
    keys = torch.arange(8)
    refine = core.mode.decode(torch.ones(8, dtype=torch.int64))
    after = core.step(core.begin(labelled, keys), refine).state
    assert torch.equal(after.prediction, answers)
    restart = core.mode.decode(torch.full((8,), 2))
    assert torch.equal(core.step(after, restart).state.prediction, answers)
    assert core.start(keys).puzzles.puzzle_ids.min() >= 21


def test_the_task_of_a_folder_goes_to_workers(unruled: TokenTask) -> None:
    other = pickle.loads(pickle.dumps(unruled))
    assert torch.equal(first(other, "test", 3).inputs, first(unruled, "test", 3).inputs)


@pytest.mark.parametrize("batching", ["episodes", "replacement"])
def test_embeddings_are_trained_under_their_ids(batching: str, unruled: TokenTask, tmp_path: Path) -> None:
    """Only rows of training puzzles move; ids of the test stay as they were."""
    reasoner = random_reasoner(unruled, num_puzzle_ids=29, puzzle_width=16, num_puzzle_positions=1)
    config = TrainConfig(
        task=unruled.name, num_batches=2, batch_size=8, num_validation=2, batching=batching, optimizer="adamw",
        weight_decay=0.0,
    )  # fmt: skip
    folder = Path(unruled.puzzles("test").origin).parent
    trained = train(replace(config, task=str(folder)), reasoner.requires_grad_(True), tmp_path / "run")
    moved = (reasoner.embed_puzzles != 0).any(1)
    assert trained.config.num_puzzle_ids == 29
    assert moved[1:19].any()
    assert not moved[19:].any()
    assert not moved[0]


def test_a_view_leaves_the_ids_alone() -> None:
    puzzles = Puzzles(torch.tensor([[1, 2]]), torch.tensor([[3, 4]]), puzzle_ids=torch.tensor([7]))
    turned = puzzles.seen_in(Symmetry(torch.tensor([[1, 0]]), torch.arange(5)[None]))
    assert (turned.inputs.tolist(), turned.labels.tolist(), turned.puzzle_ids.tolist()) == ([[2, 1]], [[4, 3]], [7])


def test_open_cells_count_as_right_and_are_not_trained() -> None:
    logits = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([[1, 2, 0, 0], [3, 4, 1, 2]])
    output = ReasonerOutput(logits, logits, torch.zeros(2), 3)
    loss = step_loss(output, labels, labels, torch.tensor(1.0), 0.0)
    by_hand = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    torch.testing.assert_close(loss, by_hand[labels.flatten() > 0].mean())
    loss.backward()
    assert (logits.grad[0, 2:] == 0).all()
    assert matches(torch.tensor([[1, 1, 4, 4]]), labels[:1]).tolist() == [[True, False, True, True]]
    assert NO_TARGET < 0


def damage(place: Path, name: str, change: Any) -> None:
    array = change(np.load(place / f"all__{name}.npy"))
    np.save(place / f"all__{name}.npy", array)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda p: (p / "all__labels.npy").unlink(), r"all__labels\.npy must be a whole \.npy file"),
        (lambda p: cut(p / "all__inputs.npy"), r"all__inputs\.npy must be a whole \.npy file"),
        (lambda p: (p / "all__inputs.npy").write_bytes(b"no numpy"), r"all__inputs\.npy must be a whole \.npy file"),
        (lambda p: (p / "all__inputs.npy").write_bytes(b""), r"all__inputs\.npy must be a whole \.npy file"),
        (lambda p: (p / "dataset.json").write_text("{"), r"dataset\.json must be .*readable JSON"),
        (lambda p: edit_facts(p, lambda f: f.pop("seq_len")), r"dataset\.json must be .*needs seq_len"),
        (lambda p: edit_facts(p, lambda f: f.update(vocab_size="6")), "vocab_size must be a whole number"),
        (lambda p: edit_facts(p, lambda f: f.update(sets=["a", "b"])), r"must name one set; got \['a', 'b'\]"),
        (
            lambda p: edit_facts(p, lambda f: f.update(ignore_label_id=3)),
            "null, 0 or negative; got 0 and 3",
        ),
        (lambda p: edit_facts(p, lambda f: f.update(seq_len=25)), r"shape \[N, 25\].*got \[90, 16\] and \[90, 16\]"),
        (lambda p: damage(p, "labels", lambda a: a[:-1]), r"got \[90, 16\] and \[89, 16\]"),
        (lambda p: damage(p, "inputs", lambda a: a.astype(float)), r"whole numbers on 2 axes; got float64"),
        (lambda p: damage(p, "inputs", lambda a: a[0]), r"whole numbers on 2 axes; got uint8 \[16\]"),
        (lambda p: damage(p, "inputs", lambda a: a + 5), r"must hold inputs in 0\.\.5; got 6\.\.10"),
        (
            lambda p: damage(p, "labels", lambda a: np.concatenate([a[:5], a[:-5]])),
            r"labels that solve their inputs; those of row 5 do not",
        ),
        (
            lambda p: (edit_facts(p, lambda f: f.update(ignore_label_id=None)), damage(p, "labels", lambda a: a * 0)),
            r"must hold labels in 1\.\.5; got 0\.\.0",
        ),
        (lambda p: damage(p, "puzzle_indices", lambda a: a + 1), "puzzle_indices must rise from 0 to 90; got 1, 2"),
        (lambda p: damage(p, "group_indices", lambda a: a[::-1]), "group_indices must rise from 0 to 90; got 90"),
        (lambda p: damage(p, "puzzle_identifiers", lambda a: a[:-3]), "group_indices must rise from 0 to 87"),
        (lambda p: damage(p, "puzzle_identifiers", lambda a: a + 4), r"identifiers in 0\.\.0; got 4\.\.4"),
    ],
)
def test_each_damage_has_its_one_error(
    break_it: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "mine", FOUR)
    break_it(folder / "train")
    with pytest.raises(PuzzleError, match=message):
        make_task(str(folder)).puzzles("train")
    assert cli.run(["train", "--task", str(folder), "--out", str(tmp_path / "run")]) == 2
    captured = capsys.readouterr()
    assert str(folder) in captured.err
    assert len(captured.err.strip().splitlines()) == 1


def test_labels_that_break_the_rules_everywhere_are_no_sudoku(tmp_path: Path) -> None:
    """A puzzle of another kind may have the same vocabulary and length: all labels decide, one that fails is damage."""
    puzzles = first(FOUR, "train", 30)
    write_part(tmp_path / "mine" / "train", replace(puzzles, labels=puzzles.inputs), FOUR.vocab_size)
    assert isinstance(make_task(str(tmp_path / "mine")), TokenTask)


def test_a_wrong_folder_says_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(PuzzleError, match=r"must hold train/dataset\.json .*holds nothing"):
        make_task(str(tmp_path))
    folder = write_folder(tmp_path / "mine", FOUR)
    with pytest.raises(PuzzleError, match=rf"Give the folder above it: {folder}"):
        make_task(str(folder / "train"))
    with pytest.raises(UnknownNameError, match="unknown task or folder"):
        make_task(str(tmp_path / "gone"))
    large = random_puzzles(4, vocab_size=70)
    write_part(tmp_path / "large" / "train", large, 70)
    with pytest.raises(InvalidValueError, match=r"2\.\.62 tokens; got 70"):
        make_task(str(tmp_path / "large"))


def test_one_part_will_do_until_the_other_is_asked_for(tmp_path: Path) -> None:
    write_part(tmp_path / "a" / "test", first(FOUR, "test", 4), FOUR.vocab_size)
    task = make_task(str(tmp_path / "a"))
    assert len(task.puzzles("test")) == 4
    with pytest.raises(PuzzleError, match=r"must have train/dataset\.json to give validation puzzles"):
        task.puzzles("validation")
    write_part(tmp_path / "b" / "train", first(FOUR, "train", 1), FOUR.vocab_size)
    with pytest.raises(PuzzleError, match="at least 2 different puzzles"):
        make_task(str(tmp_path / "b")).puzzles("train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("question,answer\n", r"train\.csv must hold questions and answers"),
        (
            "question,rating\n12,3\n",
            r"train\.csv must hold questions and answers .* begins with 'question,rating / 12,3'",
        ),
        ("question,answer\nabcd,abcd\n", r"train\.csv must hold questions and answers"),
        ("question,answer\n{good}\n{good}x\n", r"train\.csv, line 3: .*must have 16 symbols; got 17"),
        ("question,answer\n{good}\n{bad}\n", r"train\.csv, line 3: .*got '9' at position 1"),
        ("question,answer\n{good}\n{swapped}\n", r"those of row 1 do not"),
    ],
)
def test_a_bad_csv_has_its_one_error(text: str, message: str, tmp_path: Path) -> None:
    puzzle = first(FOUR, "train", 1)
    question, answer = FOUR.format(puzzle.inputs[0]), FOUR.format(puzzle.labels[0])
    rows = {"good": f"{question},{answer}", "bad": f"9{question[1:]},{answer}", "swapped": f"{answer},{question}"}
    (tmp_path / "train.csv").write_text(text.format(**rows))
    with pytest.raises(PuzzleError, match=message):
        make_task(str(tmp_path)).puzzles("train")
