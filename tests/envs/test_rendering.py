"""Boards as text, as pictures and in the terminal, whatever the task and whoever asks."""

import importlib.util
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import matplotlib
import numpy as np
import pytest
import torch
from helpers import TASK, Clockwork, every_task, random_core, random_reasoner
from PIL import Image
from torch import Tensor

from latent_rl.agents.evaluate import Outcome
from latent_rl.agents.report.figure import draw
from latent_rl.agents.report.replay import Frame, frames, write_gif
from latent_rl.agents.report.rows import report_row
from latent_rl.agents.rules import RulePolicy
from latent_rl.agents.sb3.vec_env import LatentVecEnv
from latent_rl.agents.solver import Solver
from latent_rl.envs import IDS, LatentReasoningEnv, LatentReasoningVectorEnv
from latent_rl.envs.core import Core
from latent_rl.envs.rendering.boards import Board, boards_of, plain, wrong_cells
from latent_rl.envs.rendering.layout import layout_of
from latent_rl.envs.rendering.pictures import cell_size, picture
from latent_rl.envs.rendering.screen import RENDER_MODES
from latent_rl.envs.rendering.terminal import page
from latent_rl.errors import InvalidValueError, UnknownNameError
from latent_rl.evaluation.diagnose import diagnose
from latent_rl.evaluation.report import write_diagnosis
from latent_rl.figures import png
from latent_rl.randomness import episode_keys
from latent_rl.tasks.base import Task
from latent_rl.tasks.registry import make_task
from latent_rl.types import Puzzles

ID = "LatentReasoning/Sudoku4x4-v0"
SMALL: dict[str, Any] = {"task": TASK, "reasoner": random_reasoner(), "horizon": 6}
BASE = TASK.puzzles("test")[:8]
HALT, REFINE, RESTART = 0, 1, 2
needs_moviepy = pytest.mark.skipif(
    importlib.util.find_spec("moviepy") is None, reason="needs moviepy, of gymnasium[other]"
)


class Terminal:
    """Standard output that says whether it is a terminal, and keeps what it gets."""

    def __init__(self, is_terminal: bool) -> None:
        self.is_terminal, self.pieces = is_terminal, []

    def isatty(self) -> bool:
        return self.is_terminal

    def write(self, text: str) -> None:
        self.pieces.append(text)

    def flush(self) -> None:
        pass


def play(core: Core, actions: list[int], puzzles: Puzzles | None = None, key: int = 3) -> list[Board]:
    """The boards of one episode."""
    keys, layout = torch.tensor([key]), layout_of(core.task)
    state = core.start(keys) if puzzles is None else core.begin(puzzles, keys)
    boards = boards_of(core, layout, state)
    for action in actions:
        chosen = torch.tensor([action])
        transition = core.step(state, core.mode.decode(chosen))
        boards += boards_of(core, layout, transition.state, state, core.mode.names(chosen), transition.terminated)
        state = transition.state
    return boards


def board_of(task: Task, **changes: Any) -> Board:
    """The first test puzzle as an untrained reasoner answers it."""
    core = Core(task, random_reasoner(task), horizon=4)
    return replace(play(core, [REFINE], task.puzzles("test")[:1])[1], **changes)


def grey(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).convert("L")).astype(int)


@pytest.mark.parametrize("env_id", every_task(IDS))
def test_every_registered_environment_renders_in_every_mode(env_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    task = make_task(IDS[env_id])
    reasoner = random_reasoner(task)
    for mode in RENDER_MODES:
        single = gym.make(env_id, reasoner=reasoner, render_mode=mode)
        vector = gym.make_vec(env_id, num_envs=2, reasoner=reasoner, render_mode=mode)
        single.reset(seed=5)
        vector.reset(seed=5)
        before = (single.render(), *(vector.render() or (None, None)))
        single.step(REFINE)
        vector.step(np.array([REFINE, REFINE]))
        after = (single.render(), *(vector.render() or (None, None)))
        if mode == "rgb_array":
            assert len({frame.shape for frame in before + after}) == 1
            for frame in after:
                assert frame.dtype == np.uint8
                assert frame.ndim == 3
                assert frame.shape[2] == 3
                assert frame.shape[0] % 2 == frame.shape[1] % 2 == 0, "H.264 wants even sides"
            assert np.array_equal(after[0], after[1]), "stream 0 is what the single environment is"
            assert not np.array_equal(before[0], after[0])
        elif mode == "ansi":
            assert all(isinstance(text, str) for text in before + after)
            assert after[0] == after[1]
            shown = single.unwrapped.core.task.render(single.unwrapped._streams.state.prediction[0])
            drawn = plain(after[0]).translate(str.maketrans(dict.fromkeys("*'xX+", " ")))
            # Beside the marks, the board is what the task draws.
            assert all(line.replace("+", " ").rstrip() in drawn for line in shown.splitlines())
        else:
            assert before == after == (None, None, None)
            assert "\x1b" not in capsys.readouterr().out, "a pipe gets no escape codes"


def test_pictures_are_drawn_alike_and_fast() -> None:
    board = board_of(make_task("sudoku9x9-hard"))
    first = picture(board)
    assert np.array_equal(first, picture(board))
    assert first is not picture(board), "who gets a frame may write on it"
    seconds = []
    for _ in range(10):
        started = time.process_time()
        picture(board)
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.02


def cell(board: Board, place: int) -> np.ndarray:
    """The pixels of one cell of a filled board."""
    size, image = cell_size(board.layout.shape[1]), picture(board)
    row, column = int(board.layout.rows[place]), int(board.layout.columns[place])
    left = (image.shape[1] - size * board.layout.shape[1]) // 2
    return image[68 + row * size : 68 + (row + 1) * size, left + column * size : left + (column + 1) * size]


@pytest.mark.parametrize("name", ["sudoku4x4", "sudoku9x9", "nqueens8", "maze10"])
def test_cells_are_told_apart_without_colour(name: str) -> None:
    """Given, answered, committed, changed and wrong cells with the same symbol differ in brightness, or in form."""
    task = make_task(name)
    board = board_of(task)
    place = int((~task.is_given(board.puzzle[None])[0]).nonzero()[0])
    token = board.answer.clone()
    token[place] = task.vocab_size - 1  # a digit, a queen, a path
    plainly = replace(board, answer=token, changed=np.zeros_like(board.changed), wrong=np.zeros_like(board.wrong))
    mark = np.arange(task.seq_len) == place
    looks = {}
    for kind in ("given", "committed", "answer"):
        kinds = tuple(kind if here else old for here, old in zip(mark, plainly.kinds, strict=True))
        looks[kind] = replace(plainly, kinds=kinds)
    looks["changed"] = replace(looks["answer"], changed=mark)
    looks["wrong"] = replace(looks["answer"], wrong=mark)
    looks["changed and wrong"] = replace(looks["changed"], wrong=mark)
    if name == "maze10":
        del looks["given"]  # no maze gives a piece of the path
    drawn = {kind: grey(cell(look, place)) for kind, look in looks.items()}
    for kind, pixels in drawn.items():
        for other, others in drawn.items():
            if kind < other:
                different = (abs(pixels - others) > 40).mean()
                assert different > 0.01, f"{kind} and {other} must differ in grey"
    # The text has a mark for each.
    marks = {kind: look.mark(place) for kind, look in looks.items()}
    assert len(set(marks.values())) == len(marks)


def test_a_board_tells_how_its_episode_goes() -> None:
    core = random_core()
    start, first, again, end = play(core, [REFINE, RESTART, HALT])
    assert (start.action, start.step, start.confidence, start.outcome) == ("", 0, None, "")
    assert not start.changed.any()
    assert not start.wrong.any()
    assert set(start.kinds) == {"given", "blank"}
    assert (first.action, first.restarts, first.restarted) == ("refine", 0, False)
    assert first.changed.any()
    assert (again.action, again.restarts, again.restarted, again.age) == ("restart_view", 1, True, 1)
    assert (end.action, end.step) == ("halt", 2)
    assert end.outcome in ("solved", "not solved")
    text = plain(again.text())
    assert text == again.text(styled=False)
    assert text.startswith(f"step 2/8  passes {again.passes}  restarts 1\nrestart_view  least confidence 0.")
    assert again.text() != text
    assert "\x1b[" in again.text()


def test_the_end_shows_what_was_submitted() -> None:
    """Not the last answer, if an earlier one was better."""
    core = random_core(submit="best_confidence", horizon=20)
    for key in range(20):
        keys = torch.tensor([key])
        state = core.start(keys)
        for action in (REFINE, REFINE, RESTART, REFINE):
            before, state = state, core.step(state, core.mode.decode(torch.tensor([action]))).state
        if not torch.equal(state.prediction, state.submission):
            break
    else:
        pytest.fail("no episode submits an earlier answer")
    transition = core.step(state, core.mode.decode(torch.tensor([HALT])))
    layout = layout_of(core.task)
    (running,) = boards_of(core, layout, state, before, ["refine"])
    (end,) = boards_of(core, layout, transition.state, state, ["halt"], transition.terminated)
    assert torch.equal(running.answer, state.prediction[0])
    assert torch.equal(end.answer, state.submission[0])
    assert end.changed.tolist() == (state.submission != state.prediction)[0].tolist()


def pairs_that_clash(line: str, clash: Callable[[tuple[int, int], tuple[int, int]], bool]) -> list[int]:
    """Cells with the same symbol, no blank, where `clash` forbids it: by hand."""
    side = round(len(line) ** 0.5)
    cells = [(divmod(place, side), symbol) for place, symbol in enumerate(line)]
    return [
        place
        for place, (at, symbol) in enumerate(cells)
        if symbol != "." and any(at != there and symbol == other and clash(at, there) for there, other in cells)
    ]


@pytest.mark.parametrize("line", ["1132341221434321", "1234341221434321", "1111111111111111"])
def test_without_a_label_the_rules_of_sudoku_say_what_is_wrong(line: str) -> None:
    answer = TASK.read_grid(line)[None]
    wrong = wrong_cells(TASK, Puzzles.unlabelled(torch.ones_like(answer)), answer)[0]
    expected = pairs_that_clash(
        line, lambda a, b: a[0] == b[0] or a[1] == b[1] or (a[0] // 2, a[1] // 2) == (b[0] // 2, b[1] // 2)
    )
    assert wrong.nonzero().flatten().tolist() == expected


@pytest.mark.parametrize("queens", [[0, 7], [0, 8], [0, 35], [5, 30], [0, 13], [1, 9, 17, 18, 26, 34], [0, 6, 20]])
def test_without_a_label_attacking_queens_are_wrong(queens: list[int]) -> None:
    task = make_task("nqueens6")
    line = "".join("Q" if place in queens else "." for place in range(36))
    answer = task.read_grid(line)[None]
    wrong = wrong_cells(task, Puzzles.unlabelled(torch.ones_like(answer)), answer)[0]
    expected = pairs_that_clash(line, lambda a, b: a[0] == b[0] or a[1] == b[1] or abs(a[0] - b[0]) == abs(a[1] - b[1]))
    assert wrong.nonzero().flatten().tolist() == expected


def test_without_a_label_the_ends_of_a_torn_path_are_wrong() -> None:
    task = make_task("maze10")
    puzzles = task.puzzles("test")[:1]
    assert not task.clashes(puzzles.labels).any()
    gap = int((puzzles.labels[0] != puzzles.inputs[0]).nonzero()[3])
    answer = puzzles.labels.clone()
    answer[0, gap] = puzzles.inputs[0, gap]
    ends = wrong_cells(task, Puzzles.unlabelled(puzzles.inputs), answer)[0].nonzero().flatten().tolist()
    assert len(ends) == 2
    assert all(abs(end - gap) in (1, task.size) for end in ends)


def test_a_label_says_what_is_wrong_unless_other_answers_are_right_too() -> None:
    answers = BASE.labels.clone()
    place = int((~TASK.is_given(BASE.inputs[:1])[0]).nonzero()[0])
    answers[0, place] = 2 + (answers[0, place] - 1) % 4
    assert wrong_cells(TASK, BASE, answers).nonzero().tolist() == [[0, place]]
    task = make_task("nqueens8")
    boards = task.puzzles("test")
    several = boards.select(task.is_ambiguous(boards.inputs))[:1]
    others = task._completions(several.inputs[0])
    assert len(others) > 1
    for other in others:
        assert not wrong_cells(task, several, other[None]).any()


def test_nothing_is_wrong_in_an_answer_that_the_task_accepts() -> None:
    """Also where the task does not say that there are several."""

    class Free(Grid):
        def verify(self, inputs: Tensor, answers: Tensor) -> Tensor:
            return (answers >= 2).all(1)

    puzzles = Free().puzzles("test")
    assert not wrong_cells(Free(), puzzles, torch.full_like(puzzles.labels, 4)).any()
    assert wrong_cells(Grid(), puzzles, torch.full_like(puzzles.labels, 4)).any()


def test_what_was_done_is_kept_though_its_array_is_used_again() -> None:
    envs = gym.make_vec("LatentReasoning-v0", num_envs=2, render_mode="ansi", **SMALL)
    envs.reset(seed=0)
    envs.step(np.array([REFINE, REFINE]))
    actions = np.array([REFINE, RESTART])
    ended = envs.step(actions)[2]
    actions[:], ended[:] = HALT, True
    assert ["restart_view" in text for text in envs.render()] == [False, True]
    assert not any("halt" in text or "solved" in text for text in envs.render())


class Grid(Task):
    """Two rows of three, drawn with bars; digits; a blank is to be filled with 1."""

    name, seq_len, symbols = "grid", 6, "?.123"
    first_answer_token = 2

    def puzzles(self, split: Any) -> Puzzles:
        inputs = torch.tensor([[1, 3, 4, 1, 2, 3], [1, 1, 4, 3, 2, 3]])
        return Puzzles(inputs, torch.where(inputs == 1, 2, inputs))

    def is_given(self, inputs: Tensor) -> Tensor:
        return inputs != 1

    def verify(self, inputs: Tensor, answers: Tensor) -> Tensor:
        return (answers == torch.where(inputs == 1, 2, inputs)).all(1)


class Line(Grid):
    """A long line."""

    seq_len = 90

    def puzzles(self, split: Any) -> Puzzles:
        return super().puzzles(split).map(lambda tensor: tensor.repeat(1, 15))


class Barred(Grid):
    """With a bar and a rule, as people draw them."""

    def render(self, tokens: Tensor) -> str:
        a, b, c, d, e, f = self.format(tokens)
        return f"{a} {b} | {c}\n----+--\n{d} {e} | {f}"


class Transposed(Grid):
    """Column by column, without a space."""

    def render(self, tokens: Tensor) -> str:
        line = self.format(tokens)
        return f"<{line[0::3]}>\n<{line[1::3]}>\n<{line[2::3]}>"


class Worded(Grid):
    """In words of different lengths: no cell has a place of its own."""

    def render(self, tokens: Tensor) -> str:
        return " ".join(("pad", "blank", "one", "two", "three")[token] for token in tokens.tolist())


class Picky(Grid):
    """Draws real boards only."""

    def render(self, tokens: Tensor) -> str:
        return f"the first 3 is at {tokens.tolist().index(4)}\n{self.format(tokens)}"


class Unreadable(Grid):
    """Nothing is one symbol a cell."""

    def format(self, tokens: Tensor) -> str:
        return ",".join(str(token) for token in tokens.tolist())

    def render(self, tokens: Tensor) -> str:
        return self.format(tokens) + "!" * int(tokens[0])


@pytest.mark.parametrize(
    ("task", "shape", "across", "down", "is_found"),
    [
        (Grid(), (1, 6), (), (), True),
        (Line(), (3, 40), (), (), True),
        (Barred(), (2, 3), (1,), (2,), True),
        (Transposed(), (3, 2), (), (), True),
        (Worded(), (1, 6), (), (), False),
        (Picky(), (1, 6), (), (), False),
        (Unreadable(), (1, 6), (), (), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Task) else "",
)
def test_a_task_of_ones_own_is_drawn_as_its_text_says(
    task: Grid, shape: tuple[int, int], across: tuple[int, ...], down: tuple[int, ...], is_found: bool
) -> None:
    layout = layout_of(task)
    assert (layout.shape, layout.across, layout.down, layout.places is not None) == (shape, across, down, is_found)
    if isinstance(task, Transposed):
        assert list(zip(layout.rows.tolist(), layout.columns.tolist(), strict=True)) == [
            (0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)
        ]  # fmt: skip
    env = gym.make("LatentReasoning-v0", task=task, reasoner=random_reasoner(task), horizon=3, render_mode="ansi")
    env.reset(seed=0)
    env.step(REFINE)
    answer = env.unwrapped._streams.state.prediction[0]
    drawn = "\n".join(plain(env.render()).split("\n")[3:])
    blank = str.maketrans(dict.fromkeys("*'xX+", " "))
    assert drawn.translate(blank).split() == task.render(answer).translate(blank).split()
    assert picture(board_of(task)).shape == picture(play(Core(task, random_reasoner(task)), [])[0]).shape


def test_givens_answers_commits_changes_and_wrong_cells_have_their_marks() -> None:
    board = board_of(Barred())
    kinds = ("given", "committed", "answer", "answer", "answer", "blank")
    marked = replace(
        board,
        answer=torch.tensor([2, 3, 4, 2, 3, 4]),
        kinds=kinds,
        changed=np.array([False, False, False, True, True, False]),
        wrong=np.array([False, False, False, False, True, True]),
    )
    assert marked.text(styled=False, head=False) == "1 2+| 3'\n----+--\n1*2X| 3x"
    assert plain(marked.text(head=False)) == marked.text(styled=False, head=False)
    assert marked.counts == {"changed": 2, "committed": 1, "wrong": 2}


def test_a_puzzle_that_is_not_filled_in_stands_beside_its_answer() -> None:
    """Such as ARC's: nothing of the answer is given."""

    class Mirror(Barred):
        def is_given(self, inputs: Tensor) -> Tensor:
            return torch.zeros_like(inputs, dtype=torch.bool)

    start, after = play(Core(Mirror(), random_reasoner(Mirror()), horizon=4), [REFINE])
    assert start.text(styled=False, head=False).startswith(Barred().render(start.puzzle).split("\n")[0])
    assert set(start.kinds) == {"blank"}
    assert set(after.kinds) == {"answer"}
    assert " -> " in after.text(styled=False)
    assert picture(after).shape[1] >= 2 * 3 * cell_size(6)
    assert start.text(styled=False, head=False, width=10) == Barred().render(start.puzzle)
    assert "->" not in after.text(width=10)
    assert after.text(width=30) == after.text()


def test_where_nobody_knows_the_answer_nothing_is_judged() -> None:
    class Lawless(Barred):
        has_rules = False

    task = Lawless()
    core = Core(task, random_reasoner(task), horizon=4, reward="sparse")
    inputs = task.puzzles("test").inputs[:1]
    after, end = play(core, [REFINE, HALT], Puzzles.unlabelled(inputs))[1:]
    assert not after.wrong.any()
    assert end.outcome == "ended"
    assert "solved" not in end.text()
    assert play(core, [REFINE, HALT], task.puzzles("test")[:1])[2].outcome == "not solved"


def test_human_mode_plays_in_place_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, slept = Terminal(True), []
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    env = gym.make(ID, render_mode="human")
    env.reset(seed=0)
    env.step(REFINE)
    env.step(REFINE)
    env.render()
    env.step(HALT)
    env.reset()
    pieces = terminal.pieces
    assert len(pieces) == 5, "one write a frame; render() draws nothing twice"
    height = pieces[1].count("\n") - 1
    up = f"\x1b[{height}F"
    assert [up in piece for piece in pieces] == [False, False, True, True, False]
    assert all(f"\x1b[{sgr}m" in pieces[1] for sgr in ("1", "36;4")), "styles"
    assert "solved" in pieces[3]
    assert all(0 <= seconds <= 1 for seconds in slept)
    assert slept[-1] > 0.9, "the end stays for a while"
    monkeypatch.setenv("NO_COLOR", "1")
    env.step(REFINE)
    assert "\x1b[1m" not in pieces[5]


@pytest.mark.parametrize("width", [10, 80, 200])
@pytest.mark.parametrize("height", [5, 24, 100])
def test_a_page_keeps_to_the_terminal(width: int, height: int) -> None:
    texts = [f"board {i}\nabc def ghi\nxyz" for i in range(30)]
    lines = page(texts, width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= max(width, len("abc def ghi"))
    told = lines[-1].split() if lines[-1].startswith("and ") else ["and", "0", "more"]
    shown = sum(line.count("board") for line in lines)
    assert shown + int(told[1]) == 30 or len(lines) == height
    assert sum(line.count("board") for line in page(texts, width)) == 30


def test_a_pipe_gets_each_board_once(capsys: pytest.CaptureFixture[str]) -> None:
    env = gym.make(ID, render_mode="human")
    env.reset(seed=0)
    env.step(REFINE)
    env.render()
    env.step(HALT)
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert [line for line in printed.splitlines() if line.startswith("step")] == [
        f"step {step}/16  passes {3 * step}  restarts 0" for step in (0, 1, 1)
    ]


def test_what_is_drawn_before_the_first_episode_and_in_an_unknown_mode() -> None:
    for mode in ("ansi", "rgb_array"):
        for env in (LatentReasoningEnv, LatentReasoningVectorEnv):
            with pytest.raises(InvalidValueError, match="call reset"):
                env(render_mode=mode, **SMALL).render()
    assert LatentReasoningEnv(**SMALL).render() is None
    assert LatentReasoningVectorEnv(**SMALL).render() is None
    for make in (LatentReasoningEnv, LatentReasoningVectorEnv, lambda **k: LatentVecEnv(random_core(), 2, **k)):
        with pytest.raises(UnknownNameError, match="did you mean 'rgb_array'"):
            make(render_mode="rgb_aray", **(SMALL if make in (LatentReasoningEnv, LatentReasoningVectorEnv) else {}))


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_vector_boards_follow_their_streams(mode: str) -> None:
    """A stream that ends shows the next start, at once or after its end; the other goes on."""
    envs = gym.make_vec("LatentReasoning-v0", num_envs=2, render_mode="ansi", autoreset_mode=mode, **SMALL)
    envs.reset(seed=0)
    envs.step(np.array([REFINE, REFINE]))
    envs.step(np.array([HALT, REFINE]))
    first, second = (plain(text) for text in envs.render())
    assert "step 2/6" in second
    if mode == "SameStep":
        assert "the puzzle" in first
    else:
        assert "halt: " in first
        envs.step(np.array([REFINE, REFINE]))
        assert "the puzzle" in plain(envs.render()[0])
    envs.step(np.array([REFINE, REFINE]))
    envs.reset(seed=0)
    assert all("the puzzle" in text and "changed" not in text for text in envs.render())


@pytest.mark.parametrize("mode", RENDER_MODES)
def test_sb3_gets_boards_or_one_clear_refusal(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    env = LatentVecEnv(random_core(), 4, render_mode=mode)
    env.reset()
    env.step(np.full(4, REFINE))
    boards = env.env_method("render", indices=[1, 3])
    assert len(boards) == 2
    if mode == "rgb_array":
        assert np.array_equal(boards[0], env.get_images()[1])
        tiled = env.render()
        assert tiled.shape == (2 * boards[0].shape[0], 2 * boards[0].shape[1], 3)
    elif mode == "ansi":
        assert all(isinstance(board, str) for board in boards)
        assert env.get_images() == [None] * 4
    else:
        assert boards == [None, None]
        assert capsys.readouterr().out.count("step 1/8") == 4
    silent = LatentVecEnv(random_core(), 4)
    silent.reset()
    with pytest.raises(InvalidValueError, match="render_mode"):
        silent.env_method("render")


def test_gymnasiums_own_collections_and_observations_take_the_pictures() -> None:
    env = gym.make("LatentReasoning-v0", render_mode="rgb_array_list", **SMALL)
    env.reset(seed=0)
    env.step(REFINE)
    assert [frame.dtype for frame in env.render()] == [np.uint8, np.uint8]
    env = gym.wrappers.AddRenderObservation(gym.make("LatentReasoning-v0", render_mode="rgb_array", **SMALL))
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert env.observation_space.contains(env.step(REFINE)[0])


@needs_moviepy
@pytest.mark.parametrize("who", ["RecordVideo", "save_video", "vector", "VecVideoRecorder"])
def test_videos(who: str, tmp_path: Path) -> None:
    from gymnasium.utils.save_video import save_video
    from stable_baselines3.common.vec_env import VecVideoRecorder

    arguments = {**SMALL, "render_mode": "rgb_array"}
    if who == "RecordVideo":
        env = gym.wrappers.RecordVideo(gym.make("LatentReasoning-v0", **arguments), str(tmp_path / "videos"))
        env.reset(seed=0)
        for action in (REFINE, RESTART, HALT):
            env.step(action)
        env.close()
    elif who == "save_video":
        env = gym.make("LatentReasoning-v0", **arguments | {"render_mode": "rgb_array_list"})
        env.reset(seed=0)
        for action in (REFINE, RESTART, HALT):
            env.step(action)
        save_video(env.render(), str(tmp_path / "videos"), fps=env.metadata["render_fps"])
    elif who == "vector":
        envs = gym.make_vec("LatentReasoning-v0", num_envs=2, autoreset_mode="NextStep", **arguments)
        envs = gym.wrappers.vector.RecordVideo(envs, str(tmp_path / "videos"))
        envs.reset(seed=0)
        for _ in range(7):
            envs.step(np.array([REFINE, REFINE]))
        envs.close()
    else:
        env = LatentVecEnv(random_core(), 2, render_mode="rgb_array")
        recorder = VecVideoRecorder(env, str(tmp_path / "videos"), lambda step: step == 0, video_length=4)
        recorder.reset()
        for _ in range(5):
            recorder.step(np.array([REFINE, REFINE]))
        recorder.close()
    videos = list((tmp_path / "videos").glob("*.mp4"))
    assert videos
    assert all(video.stat().st_size > 1000 for video in videos)


@pytest.mark.skipif(importlib.util.find_spec("torchrl") is None, reason="needs torchrl")
def test_torchrl_takes_pixels() -> None:
    from torchrl.envs.libs.gym import GymEnv

    env = GymEnv("LatentReasoning-v0", from_pixels=True, pixels_only=False, **SMALL)
    pixels = env.rollout(2)["pixels"]
    assert pixels.dtype == torch.uint8
    assert pixels.shape[-1] == 3


def test_drawing_leaves_matplotlib_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notebooks have a backend of their own, which pyplot would load and `matplotlib.use` would switch."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it fails
    solved = np.array([True, False])
    row = report_row(Outcome("ppo", solved, *[np.array([9, 3])] * 3, solved.astype(float)), seed=0)
    with matplotlib.rc_context({"backend": "svg"}):
        (tmp_path / "comparison.png").write_bytes(png(draw("title", [row], ["ppo"]), dpi=150))
        write_diagnosis(tmp_path, "title", diagnose(random_reasoner(), TASK, BASE, 2))
        picture(play(random_core(), [REFINE])[1])
        assert matplotlib.get_backend(auto_select=False) == "svg"
    for name in ("comparison.png", "diagnosis.png"):
        with Image.open(tmp_path / name) as image:
            assert len(set(image.convert("L").tobytes())) > 10, "something is drawn"


class Chosen:
    """A policy that takes the given actions one after the other."""

    name = "chosen"

    def __init__(self, actions: list[Any], submit: str | None = None) -> None:
        self.actions, self.submit = actions, submit

    def act(self, observation: np.ndarray, state: Any) -> np.ndarray:
        return np.array([self.actions[int(step)] for step in state.step])


@pytest.mark.parametrize(
    ("mode", "actions", "names"),
    [
        ("refine", [1, 2, 0], ["refine", "restart_view", "halt"]),
        ("joint", [[1, 1, 0], [1, 0, 1], [0, 0, 0]], ["refine", "refine_w0.75 x2", "halt"]),
        ("continuous", [[1 / 3], [0.0], [-1.0]], ["refine", "refine_w0.75", "halt"]),
    ],
)
def test_an_episode_is_replayed_in_every_action_mode(mode: str, actions: list[Any], names: list[str]) -> None:
    core = random_core(actions=mode)
    episode = list(frames(core, Chosen(actions), BASE[:1], torch.tensor([1])))
    assert [frame.action for frame in episode] == ["puzzle", *names]
    assert [frame.board.action for frame in episode] == ["", *names]


def test_a_replay_submits_what_the_policy_wants_submitted() -> None:
    """A right answer, then one that looks as sure: "verified" keeps the first, "last" takes the second."""
    one = BASE[:1]
    core = Core(TASK, Clockwork(TASK, {one.inputs.numpy().tobytes(): 2}), horizon=6, submit="last")
    keys = episode_keys(torch.tensor([0]), 0)
    for submit, solved in ((None, False), ("last", False), ("verified", True)):
        policy = Chosen([1, 1, 2, 0], submit)
        episode = list(frames(core, policy, one, keys))
        solution = Solver(core, policy, batch_size=1).solve(one)
        assert episode[-1].solved is bool(solution.solved[0]) is solved
        assert torch.equal(episode[-1].board.answer, solution.answers[0])
        assert episode[-1].board.outcome == ("solved" if solved else "not solved")


def test_a_gif_has_one_picture_a_frame(tmp_path: Path) -> None:
    core = random_core()
    policy = RulePolicy("twice", core.mode, lambda state: state.step >= 2)
    episode: list[Frame] = list(frames(core, policy, BASE[:1], torch.tensor([1])))
    write_gif(tmp_path / "a.gif", "a name that is much too long for the room that there is", episode)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == len(episode) == 4
        assert gif.size == picture(episode[0].board).shape[1::-1]
