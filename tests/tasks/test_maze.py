"""Mazes: rules, symmetries, text, and what the drawn mazes promise; checked against networkx's search."""

import hashlib
import itertools
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from latent_rl.commands.make_bank import MakeBank
from latent_rl.errors import InvalidValueError, PuzzleError, UnknownNameError
from latent_rl.tasks.bank import bank_facts, load_bank
from latent_rl.tasks.base import SPLITS, Task, draw_symmetry
from latent_rl.tasks.files.puzzle_io import read_puzzles
from latent_rl.tasks.maze.bank import make_bank
from latent_rl.tasks.maze.boards import beside, pack, unpack
from latent_rl.tasks.maze.drawing import draw_mazes, orbit_keys
from latent_rl.tasks.maze.families import WALL_SHARE, Family, looped, perfect, scattered
from latent_rl.tasks.maze.task import FREE, GOAL, PATH, START, WALL, Maze
from latent_rl.tasks.registry import make_task

SMALL = Maze("maze6", 6, counts=(60, 20, 20), min_steps=6)
TEN = make_task("maze10")
FIVE = Maze("maze5", 5, counts=(3, 1, 1), min_steps=5)
#: Two shortest paths of six steps lead around the wall in the middle; the way along the right border is longer.
TWO_WAYS = "S..#.|.#.#.|..G..|##.#.|.....".replace("|", "")


def graph_of(maze: Tensor, size: int) -> nx.Graph:
    """The cells that are no wall, with an edge between neighbours."""
    graph = nx.grid_2d_graph(size, size)
    graph.remove_nodes_from([divmod(cell, size) for cell in (maze == WALL).nonzero().flatten().tolist()])
    return graph


def place(maze: Tensor, token: int, size: int) -> tuple[int, int]:
    return divmod(int((maze == token).nonzero()[0]), size)


def shortest_paths(maze: Tensor, size: int) -> list[list[tuple[int, int]]]:
    graph, ends = graph_of(maze, size), (place(maze, START, size), place(maze, GOAL, size))
    return list(nx.all_shortest_paths(graph, *ends)) if nx.has_path(graph, *ends) else []


def random_mazes(seed: int, size: int = 6, count: int = 12) -> Tensor:
    """Walls anywhere, a start and a goal: with no way, one or several."""
    generator = torch.Generator().manual_seed(seed)
    walls = torch.rand(count, size**2, generator=generator) < torch.linspace(0, 0.6, count)[:, None]
    mazes = torch.where(walls, WALL, FREE)
    for maze in mazes:
        maze[torch.randperm(size**2, generator=generator)[:2]] = torch.tensor([START, GOAL])
    return mazes


def marked(maze: Tensor, path: list[tuple[int, int]], size: int) -> Tensor:
    answer = maze.clone()
    for row, column in path[1:-1]:
        answer[row * size + column] = PATH
    return answer


def test_the_protocol_is_satisfied() -> None:
    assert isinstance(SMALL, Task)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_the_verifier_accepts_every_shortest_path_and_no_other_path(seed: int) -> None:
    for maze in random_mazes(seed):
        graph, ends = graph_of(maze, 6), (place(maze, START, 6), place(maze, GOAL, 6))
        right = [marked(maze, path, 6) for path in shortest_paths(maze, 6)[:20]]
        if right:
            longest = len(shortest_paths(maze, 6)[0])
            others = itertools.islice(nx.all_simple_paths(graph, *ends, cutoff=longest + 3), 50)
            wrong = [marked(maze, path, 6) for path in others if len(path) > longest]
        else:
            wrong = [maze, torch.where(maze == FREE, PATH, maze)]
        answers = torch.stack([*right, *wrong])
        inputs, expected = maze.expand_as(answers), [True] * len(right) + [False] * len(wrong)
        assert SMALL.verify(inputs, answers).tolist() == expected
        share = SMALL.satisfied_share(inputs, answers)
        assert (share == 1).tolist() == expected
        assert ((share > 0) & (share <= 1)).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000))
def test_any_change_of_a_right_answer_is_refused(seed: int) -> None:
    puzzles = SMALL.puzzles("train")
    generator = torch.Generator().manual_seed(seed)
    answers = puzzles.labels.clone()
    cells = torch.randint(36, (len(answers), 1), generator=generator)
    tokens = (answers.gather(1, cells) + torch.randint(1, 6, cells.shape, generator=generator)) % 6
    answers.scatter_(1, cells, tokens)
    assert not SMALL.verify(puzzles.inputs, answers).any()
    assert (SMALL.satisfied_share(puzzles.inputs, answers) < 1).all()


def test_satisfied_share_by_hand() -> None:
    """Nothing marked: 25 cells hold; S and G lack their neighbour; the path is none. One dead end more holds a cell."""
    maze = FIVE.parse(TWO_WAYS)[None]
    torch.testing.assert_close(FIVE.satisfied_share(maze, maze), torch.tensor([25 / 28]))
    stub = maze.clone()
    stub[0, 1] = PATH
    torch.testing.assert_close(FIVE.satisfied_share(maze, stub), torch.tensor([26 / 29]))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_ambiguity_and_answers_are_those_of_a_search(seed: int) -> None:
    mazes = random_mazes(seed)
    every = [shortest_paths(maze, 6) for maze in mazes]
    assert SMALL.is_ambiguous(mazes).tolist() == [len(paths) > 1 for paths in every]
    for maze, paths in zip(mazes, every, strict=True):
        if not paths:
            with pytest.raises(PuzzleError, match="this one has none"):
                SMALL.any_answer(maze)
            continue
        answer = SMALL.any_answer(maze)
        assert any(torch.equal(answer, marked(maze, path, 6)) for path in paths)
        if len(paths) == 1:
            assert torch.equal(SMALL.solve(maze), answer)
        else:
            with pytest.raises(PuzzleError, match="this one has several"):
                SMALL.solve(maze)


def test_the_edit_order_follows_the_path_from_the_start() -> None:
    puzzles = TEN.puzzles("test")[:20]
    draws = torch.rand(20, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ranks = TEN.edit_order(puzzles.inputs, puzzles.labels, draws)
    assert torch.equal(ranks.sort(1).values, torch.arange(100).expand(20, -1))
    for maze, order in zip(puzzles.inputs, ranks, strict=True):
        cells = [row * 10 + column for row, column in shortest_paths(maze, 10)[0]]
        assert order[cells].diff().min() > 0
        num_reached = len(nx.node_connected_component(graph_of(maze, 10), place(maze, START, 10)))
        assert order[maze == WALL].min() >= num_reached


def test_constrain_copies_givens_and_leaves_free_cells_free_or_path() -> None:
    maze = FIVE.parse(TWO_WAYS)[None]
    probabilities = FIVE.constrain(maze, torch.zeros(1, 25, 6)).softmax(-1)
    given_cells = maze[0] != FREE
    assert (probabilities[0, given_cells].gather(1, maze[0, given_cells, None]) == 1).all()
    torch.testing.assert_close(probabilities[0, ~given_cells].unique(dim=0), torch.tensor([[0.0, 0, 0.5, 0, 0, 0.5]]))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_symmetries_are_invertible_and_leave_the_verdict_alone(seed: int) -> None:
    inputs = random_mazes(seed)
    solvable = torch.tensor([bool(shortest_paths(maze, 6)) for maze in inputs])
    answers = torch.stack([SMALL.any_answer(m) if ok else m for m, ok in zip(inputs, solvable, strict=True)])
    view = draw_symmetry(SMALL, len(inputs), torch.Generator().manual_seed(seed))
    assert torch.equal(view.invert(view.apply(answers)), answers)
    assert torch.equal(SMALL.verify(view.apply(inputs), view.apply(answers)), solvable)
    wrong = torch.where(inputs == FREE, PATH, inputs)
    shares = [SMALL.satisfied_share(i, a) for i, a in ((inputs, wrong), (view.apply(inputs), view.apply(wrong)))]
    torch.testing.assert_close(*shares)


def test_the_symmetries_are_those_of_the_square_with_and_without_exchanged_ends() -> None:
    draws = torch.cartesian_prod(torch.linspace(0, 1, 9)[:8], torch.tensor([0.0, 0.5])).double()
    view = SMALL.symmetry(draws)
    assert len(torch.cat([view.cells, view.tokens], dim=1).unique(dim=0)) == 16
    assert view.tokens.unique(dim=0).tolist() == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 4, 3, 5]]


@pytest.mark.parametrize("task", [SMALL, TEN, make_task("maze20")], ids=lambda task: task.name)
def test_drawn_mazes_have_one_long_shortest_path_which_is_the_label(task: Maze) -> None:
    for split in SPLITS:
        puzzles = task.puzzles(split)
        assert not task.is_ambiguous(puzzles.inputs).any()
        assert ((puzzles.labels == PATH).sum(1) + 1 >= task.min_steps).all()
        for maze, label in zip(puzzles.inputs[:20], puzzles.labels[:20], strict=True):
            (path,) = shortest_paths(maze, task.size)
            assert torch.equal(marked(maze, path, task.size), label)
    assert task.min_steps >= 2 * task.size or task is SMALL


@pytest.mark.parametrize("name", ["maze10", "maze30", "maze30-hard", "maze30-unique"])
def test_splits_share_no_maze_up_to_symmetry(name: str) -> None:
    """By the text of all 16 views, not by the generator's own keys."""
    task, seen = make_task(name), dict[str, bytes]()
    for split in SPLITS:
        inputs = task.puzzles(split).inputs[:300]
        draws = torch.cartesian_prod(torch.arange(8) / 8, torch.tensor([0.0, 0.5])).double()
        views = [task.symmetry(draw.expand(len(inputs), -1)).apply(inputs).to(torch.uint8).numpy() for draw in draws]
        smallest = {min(bytes(view[row]) for view in views) for row in range(len(inputs))}
        assert len(smallest) == len(inputs)
        assert not smallest & set(seen)
        seen |= dict.fromkeys(smallest, split)


def test_keys_are_equal_for_symmetric_mazes_alone() -> None:
    mazes = draw_mazes(looped, 6, range(6, 37), 100, 0)
    keys = orbit_keys(mazes)
    assert len(np.unique(keys)) == 100
    for name in ("passable", "start", "goal", "path"):
        turned = {
            key: np.rot90(cells.reshape(-1, 6, 6), 1, (1, 2)).reshape(100, 36) for key, cells in vars(mazes).items()
        }
        assert (turned[name].sum(1) == getattr(mazes, name).sum(1)).all()
    exchanged = turned | {"start": turned["goal"], "goal": turned["start"]}
    assert (orbit_keys(type(mazes)(**exchanged)) == keys).all()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("maze10", "5e26e665ad4dfb7876e03514817bb0f56cdc9674cee1d4484f141a0ef3058b20"),
        ("maze30-hard", "0e73a864cd4450faf4c5f59eab2451ad78c6088d8bdec83e0d162387022bb458"),
        ("maze30-unique", "59ad2e177a0b2f501fe5ca6c31911dacffb111e85baf34f5c89704ac7a7d038a"),
    ],
)
def test_the_mazes_are_those_that_results_were_measured_on(name: str, expected: str) -> None:
    """A change of the generator would silently change every published number."""
    digest = hashlib.sha256()
    for split in SPLITS:
        puzzles = make_task(name).puzzles(split)
        digest.update(torch.cat([puzzles.inputs, puzzles.labels]).to(torch.uint8).numpy().tobytes())
    assert digest.hexdigest() == expected


class TestFamilies:
    """What every family owes `draw_mazes`, and what is peculiar to one."""

    @pytest.mark.parametrize(
        ("family", "size", "steps"),
        [(looped, 10, range(20, 31)), (scattered, 10, range(20, 27)), (perfect, 10, range(12, 21))],
        ids=["looped", "scattered", "perfect"],
    )
    def test_labels_are_shortest_paths_of_the_wanted_length(self, family: Family, size: int, steps: range) -> None:
        task = Maze("drawn", size, min_steps=steps.start, max_steps=steps.stop - 1, family=family)
        puzzles = task.draw(60, seed=1)
        assert task.verify(puzzles.inputs, puzzles.labels).all()
        for maze, label in zip(puzzles.inputs, puzzles.labels, strict=True):
            paths = shortest_paths(maze, size)
            assert len(paths[0]) - 1 in steps
            assert torch.equal(task.any_answer(maze), label)
            every = torch.stack([marked(maze, path, size) for path in paths[:20]])
            assert task.verify(maze.expand_as(every), every).all()
            assert len(paths) == 1 or family is scattered
        again = task.draw(60, seed=1)
        assert torch.equal(again.inputs, puzzles.inputs)
        draw_mazes.cache_clear()
        afresh = task.draw(60, seed=1)
        assert torch.equal(afresh.inputs, puzzles.inputs)
        assert torch.equal(afresh.labels, puzzles.labels)
        assert not torch.equal(task.draw(60, seed=2).inputs, puzzles.inputs)

    @pytest.mark.parametrize("size", [9, 10, 29])
    def test_perfect_mazes_are_trees_of_all_rooms_within_a_border(self, size: int) -> None:
        task = Maze("perfect", size, min_steps=4, family=perfect)
        odd = size - 1 + size % 2
        rooms = {(row, column) for row in range(1, odd, 2) for column in range(1, odd, 2)}
        for maze in task.draw(20, seed=0).inputs:
            graph = graph_of(maze, size)
            assert nx.is_tree(graph)
            assert rooms <= set(graph)
            assert all(0 < row < odd - 1 and 0 < column < odd - 1 for row, column in graph)
            assert all(row % 2 or column % 2 for row, column in graph)

    def test_lengths_of_perfect_mazes_are_uniform(self) -> None:
        """Pearson's statistic of 41 lengths stays below the 99.99% quantile of its distribution."""
        puzzles = make_task("maze30-unique").draw(2000, seed=0)
        counts = np.bincount((puzzles.labels == PATH).sum(1).numpy() + 1)
        assert len(counts) == 141
        assert not counts[:100].any()
        expected = 2000 / 41
        assert ((counts[100:] - expected) ** 2 / expected).sum() < 84

    def test_hard_mazes_are_as_promised(self) -> None:
        task = make_task("maze30-hard")
        inputs = torch.cat([task.puzzles(split).inputs for split in SPLITS])
        labels = torch.cat([task.puzzles(split).labels for split in SPLITS])
        assert [len(task.puzzles(split)) for split in SPLITS] == [1000, 200, 1000]
        assert task.verify(inputs, labels).all()
        assert ((labels == PATH).sum(1) + 1 > 110).all()
        shares = (inputs == WALL).double().mean(1)
        assert WALL_SHARE[0] - 1 / 900 <= shares.min()
        assert shares.max() <= WALL_SHARE[1] + 1 / 900
        assert task.is_ambiguous(inputs).double().mean() > 0.5  # so exact accuracy says less than the solved rate
        for maze, label in zip(inputs[::100], labels[::100], strict=True):
            assert torch.equal(task.any_answer(maze), label)
            another = nx.shortest_path(graph_of(maze, 30), place(maze, GOAL, 30), place(maze, START, 30))
            assert task.verify(maze[None], marked(maze, another, 30)[None]).all()

    def test_the_facts_of_the_bank_are_true(self) -> None:
        facts = bank_facts("maze30-hard")
        parts = [make_task("maze30-hard").puzzles(split) for split in SPLITS]
        assert facts["counts"] == {split: len(part) for split, part in zip(SPLITS, parts, strict=True)}
        pairs = torch.cat([torch.stack([part.inputs, part.labels], dim=1) for part in parts])
        assert hashlib.sha256(pairs.to(torch.uint8).numpy().tobytes()).hexdigest() == facts["sha256"]

    def test_a_bank_is_what_the_task_draws(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        out = tmp_path / "maze10.npz"
        MakeBank(task="maze10", out=out, num_train=6, num_validation=2, num_test=4, seed=3).run()
        drawn = TEN.draw(12, seed=3)
        monkeypatch.setattr("latent_rl.tasks.bank.FOLDER", tmp_path)
        parts = [load_bank("maze10", split, blank=FREE) for split in SPLITS]
        assert [len(part) for part in parts] == [6, 2, 4]
        assert torch.equal(torch.cat([part.inputs for part in parts]), drawn.inputs)
        assert torch.equal(torch.cat([part.labels for part in parts]), drawn.labels)
        with pytest.raises(InvalidValueError, match="at least 1 maze"):
            make_bank(SMALL, {"train": 6, "validation": 0, "test": 4}, seed=3, out=tmp_path / "none.npz")


def test_planes_and_neighbours() -> None:
    cells = torch.rand(5, 36, generator=torch.Generator().manual_seed(0)).numpy() < 0.4
    assert (unpack(pack(cells)) == cells).all()
    padded = np.pad(cells.reshape(5, 6, 6), ((0, 0), (1, 1), (1, 1))).astype(int)
    near = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    for plane, least in zip(beside(pack(cells)), (1, 2), strict=True):
        assert (unpack(plane) == (near >= least).reshape(5, -1)).all()


def test_the_largest_size_uses_every_bit() -> None:
    corner = torch.full((1, 1024), FREE)
    corner[0, 0], corner[0, -1] = START, GOAL
    task = Maze("maze32", 32)
    answer = task.any_answer(corner[0])[None]
    assert (answer == PATH).sum() == 61
    assert task.verify(corner, answer).all()
    assert task.is_ambiguous(corner).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 4}, r"in 5\.\.32; got 4"),
        ({"size": 33}, r"in 5\.\.32; got 33"),
        ({"counts": (1, 0, 1)}, "at least 1 maze"),
        ({"min_steps": 0}, "at least 1 step, and min_steps up to max_steps; got 0 and 100"),
        ({"max_steps": 19}, "up to max_steps; got 20 and 19"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        Maze("maze", **arguments)


def test_a_size_without_such_mazes_is_refused() -> None:
    with pytest.raises(
        InvalidValueError, match="5x5 must have 6 mazes with a shortest path of 20 to 25 steps; found 0"
    ):
        Maze("maze", 5, counts=(4, 1, 1), min_steps=20).puzzles("train")
    with pytest.raises(UnknownNameError, match="did you mean 'test'"):
        SMALL.puzzles("tests")


def test_text_and_back() -> None:
    maze = FIVE.parse(TWO_WAYS)
    assert FIVE.format(maze) == TWO_WAYS
    assert torch.equal(FIVE.parse(TWO_WAYS.replace(".", " ")), maze)
    assert FIVE.render(maze).splitlines()[2] == ". . G . ."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (TWO_WAYS[1:], "must have 25 symbols; got 24"),
        (TWO_WAYS + " ", "must have 25 symbols; got 26"),
        ("x" + TWO_WAYS[1:], "got 'x' at position 1"),
        ("." + TWO_WAYS[1:], "must have one start S; got 0"),
        ("SG" + TWO_WAYS[2:], "must have one goal G; got 2"),
    ],
)
def test_bad_text_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(PuzzleError, match=reason):
        FIVE.parse(text)


def test_a_file_of_mazes_may_begin_lines_with_walls_and_blanks(tmp_path: Path) -> None:
    """So # begins no comment here, and blanks are cells; any shortest path is an answer."""
    lines = ["#" + "." * 22 + "SG", " " * 10 + "S" + " " * 13 + "G"]
    text = tmp_path / "mazes.txt"
    text.write_text("// two mazes\n\n" + "\n".join(lines) + "\n")
    puzzles = read_puzzles(text, FIVE)
    assert [FIVE.format(row) for row in puzzles.inputs] == [line.replace(" ", ".") for line in lines]
    assert FIVE.verify(puzzles.inputs, puzzles.labels).all()
    answers = [FIVE.format(row).replace(".", " ") for row in puzzles.labels]
    csv = tmp_path / "mazes.csv"
    rows = [f"here,{question},{answer},1" for question, answer in zip(lines, answers, strict=True)]
    csv.write_text("source,question,answer,rating\n" + "\n".join(rows) + "\n")
    again = read_puzzles(csv, FIVE)
    assert torch.equal(again.inputs, puzzles.inputs)
    assert torch.equal(again.labels, puzzles.labels)
    csv.write_text("question,answer\n" + f"{TWO_WAYS},{TWO_WAYS}\n")
    with pytest.raises(PuzzleError, match=r"line 2: the answer does not solve"):
        read_puzzles(csv, FIVE)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_the_likely_answer_is_the_likeliest_of_all_shortest_paths(seed: int) -> None:
    """One by one, against networkx's."""
    mazes, counts = random_mazes(seed), []
    log_probs = torch.randn(len(mazes), 36, 6, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
    answers, has_one = SMALL.likely_answers(mazes, log_probs)
    for maze, answer, scores, found in zip(mazes, answers, log_probs, has_one, strict=True):
        right = [marked(maze, path, 6) for path in shortest_paths(maze, 6)]
        assert found == bool(right)
        if right:
            likely = [scores.gather(1, each[:, None]).sum().item() for each in right]
            assert torch.equal(answer, right[likely.index(max(likely))])
        counts.append(len(right))
    assert max(counts) > 1


def test_a_shown_part_of_a_path_stays_in_the_likely_answer() -> None:
    maze = Maze("maze5", 5).parse(TWO_WAYS)
    upper, lower = (marked(maze, path, 5) for path in shortest_paths(maze, 5)[:2])
    for shown, other in ((upper, lower), (lower, upper)):
        only = ((shown == PATH) & (other != PATH)).nonzero()[0]
        inputs = maze.clone()
        inputs[only] = PATH
        says_other = torch.nn.functional.one_hot(other, 6)[None].float() * 50
        answers, has_one = Maze("maze5", 5).likely_answers(inputs[None], says_other.log_softmax(-1))
        assert has_one.all()
        assert torch.equal(answers[0], shown)
