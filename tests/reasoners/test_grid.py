"""The grid network: its formula, walls, boards of other sizes, random starts, checkpoints, training."""

from pathlib import Path

import pytest
import torch
from torch.autograd import gradcheck

from latent_rl.errors import InvalidValueError
from latent_rl.evaluation.fixed_steps import evaluate_fixed
from latent_rl.fit import fitted
from latent_rl.reasoners.checkpoint import load_reasoner, save_reasoner
from latent_rl.reasoners.engine import Rows
from latent_rl.reasoners.grid import Grid, GridConfig, OpenCells, neighbour_sum
from latent_rl.tasks.maze.task import FREE, GOAL, PAD, START, WALL, Maze
from latent_rl.tasks.registry import TASKS, make_task
from latent_rl.training.trainer import TrainConfig, train
from latent_rl.types import Carry, TaskShape

TEN, FOURTEEN = make_task("maze10"), make_task("maze14")


def network(size: int = 10, width: int = 8, num_layers: int = 1) -> Grid:
    """An untrained float32 network; the same one each time."""
    torch.manual_seed(0)
    config = GridConfig(vocab_size=6, seq_len=size**2, width=width, num_layers=num_layers)
    return Grid(config, compute_dtype=torch.float32).requires_grad_(False).eval()


def open_cells(reasoner: Grid, inputs: torch.Tensor) -> OpenCells:
    return reasoner.embed(Rows(inputs, reasoner.initial_carry(len(inputs)), 0, None))


def test_a_block_is_its_formula() -> None:
    """Cell by cell, in plain loops, on two boards of which one has walls and padding."""
    reasoner = network(3, width=6)
    block, inputs = reasoner.blocks[0], torch.full((2, 9), FREE)
    inputs[0, [1, 3]], inputs[0, 8] = WALL, PAD
    x = torch.randn(2, 9, 6)

    def norm(v: torch.Tensor) -> torch.Tensor:
        return v / (v.square().mean(-1, keepdim=True) + 1e-5).sqrt()

    def gate(v: torch.Tensor, gate_up: torch.Tensor) -> torch.Tensor:
        g, u = (gate_up @ v).chunk(2)
        return g * g.sigmoid() * u

    expected = torch.zeros_like(x)
    for board, cell in (inputs == FREE).nonzero().tolist():
        total = x[board, cell].clone()
        for weight, (down, right) in zip(block.kernel, ((-1, 0), (0, -1), (0, 1), (1, 0)), strict=True):
            row, column = cell // 3 + down, cell % 3 + right
            if row in range(3) and column in range(3) and inputs[board, 3 * row + column] == FREE:
                total += weight * gate(x[board, 3 * row + column], block.send)
        total = norm(total)
        expected[board, cell] = norm(total + block.channels.down @ gate(total, block.channels.gate_up))
    cells = open_cells(reasoner, inputs)
    found = reasoner.leave(block(reasoner.enter(x, cells), cells.neighbours), cells)
    torch.testing.assert_close(found, expected)


def test_the_gradient_of_a_sum_goes_back_to_the_neighbours() -> None:
    reasoner = network(4)
    inputs = torch.where(torch.rand(2, 16) < 0.3, WALL, FREE)
    neighbours = open_cells(reasoner, inputs).neighbours
    rows = torch.randn(neighbours.shape[1], 3, dtype=torch.float64, requires_grad=True)
    kernel = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda *parts: neighbour_sum(*parts, neighbours), (rows, kernel))


def test_walls_are_certain_and_have_no_state() -> None:
    inputs = TEN.puzzles("test").inputs[:5].clone()
    inputs[0, -1] = PAD
    reasoner = network()
    carry, output = reasoner.step(inputs, reasoner.initial_carry(5), 0)
    is_closed = (inputs == WALL) | (inputs == PAD)
    certain = output.conditional_logits.softmax(-1).gather(2, inputs[:, :, None]).squeeze(2)
    assert (certain[is_closed] == 1).all()
    assert (certain[~is_closed] < 1).all()
    assert ((carry.answer == 0).all(2) == is_closed).all()


def test_nothing_passes_through_walls() -> None:
    """What lies behind a closed wall does not matter, nor what the states of walls were."""
    board = torch.full((2, 10, 10), FREE)
    board[:, 4] = WALL
    board[:, 0, 0], board[:, 3, 9] = START, GOAL
    board[1, 6, 2:7] = WALL
    inputs, reasoner = board.flatten(1), network(num_layers=2)
    start = reasoner.initial_carry(1)
    carry = start.concat(Carry(start.answer + 10 * (inputs[:1] == WALL)[..., None], start.latent, start.prediction))
    for step in range(4):
        carry, output = reasoner.step(inputs, carry, step)
    one, other = output.conditional_logits.unflatten(1, (10, 10))
    torch.testing.assert_close(one[:5], other[:5])
    assert not torch.isclose(one[5:], other[5:]).all()


def test_news_travel_one_cell_a_pass() -> None:
    """Along a corridor, a goal is heard in a step of twelve passes up to twelve cells away."""
    torch.manual_seed(0)
    config = GridConfig(vocab_size=6, seq_len=400, width=8, num_latent_updates=11)
    reasoner = Grid(config, compute_dtype=torch.float64).requires_grad_(False).eval()
    board = torch.full((2, 20, 20), WALL)
    board[:, 10] = FREE
    board[1, 10, 0] = GOAL
    carry = Carry(*(torch.ones(2, 400, 8, dtype=torch.float64),) * 2, torch.zeros(2, 400, dtype=torch.int64))
    one, other = reasoner.step(board.flatten(1), carry, 0)[0].answer.unflatten(1, (20, 20))[:, 10]
    differs = (one != other).any(1).tolist()
    assert differs == [True] * 13 + [False] * 7


def test_a_frame_of_walls_changes_nothing() -> None:
    """One set of weights fits boards of every size."""
    puzzles, small = TEN.puzzles("test")[:3], network()
    large = fitted(small, FOURTEEN)
    assert isinstance(large, Grid)
    assert all(torch.equal(a, b) for a, b in zip(small.state_dict().values(), large.state_dict().values(), strict=True))
    board = torch.full((3, 14, 14), WALL)
    board[:, 1:11, 3:13] = puzzles.inputs.view(3, 10, 10)
    inside = (slice(None), slice(1, 11), slice(3, 13))
    start, framed = small.initial_carry(3), large.initial_carry(3)
    for mine, theirs in ((framed.answer, start.answer), (framed.latent, start.latent)):
        mine.unflatten(1, (14, 14))[inside] = theirs.unflatten(1, (10, 10))
    for step in range(2):
        start, expected = small.step(puzzles.inputs, start, step)
        framed, found = large.step(board.flatten(1), framed, step)
    found_inside = found.conditional_logits.unflatten(1, (14, 14))[inside]
    torch.testing.assert_close(found_inside, expected.conditional_logits.unflatten(1, (10, 10)))


def test_boards_that_are_no_maze_are_refused() -> None:
    assert network().resized(TaskShape(6, 99)) is None
    assert network().resized(TaskShape(7, 64)) is None
    with pytest.raises(InvalidValueError, match="needs a square board; got 99 cells"):
        Grid(GridConfig(vocab_size=6, seq_len=99))


def test_starts_depend_on_their_keys_alone() -> None:
    reasoner = network()
    whole = reasoner.initial_carry(4, torch.tensor([7, 3, 7, 2**62]))
    assert torch.equal(whole.answer[1:2], reasoner.initial_carry(1, torch.tensor([3])).answer)
    assert torch.equal(whole.latent[0], whole.latent[2])
    assert not torch.isclose(whole.answer[0], whole.answer[1]).all(1).any()
    torch.testing.assert_close(whole.answer.square().mean(-1), torch.ones(4, 100), atol=1e-3, rtol=0)


def test_evaluation_does_not_depend_on_the_batch_size() -> None:
    puzzles = TEN.puzzles("test")[:20]
    one, other = (evaluate_fixed(network(), TEN, puzzles, 3, size) for size in (20, 7))
    assert torch.equal(one.token_accuracy, other.token_accuracy)


def test_a_checkpoint_computes_the_same(tmp_path: Path) -> None:
    reasoner, inputs = network(), TEN.puzzles("test").inputs[:3]
    save_reasoner(reasoner, tmp_path)
    loaded = load_reasoner(tmp_path, torch.float32)
    mine, theirs = (each.step(inputs, each.initial_carry(3), 0)[1].conditional_logits for each in (reasoner, loaded))
    assert torch.equal(mine, theirs)
    assert loaded.config == reasoner.config


@pytest.mark.slow
def test_it_learns_small_mazes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """5x5 in a minute, as the shipped ones are trained."""
    task = Maze("maze5", 5, counts=(100, 20, 20), min_steps=5)
    monkeypatch.setitem(TASKS, task.name, task)
    torch.manual_seed(0)
    training = TrainConfig(
        task=task.name, num_batches=300, batch_size=32, muon_lr=5e-3, warmup_steps=20, ema=0.9, num_validation=20,
        validate_every=300, validation_steps=4, batching="replacement", leaves="solved", extended_depth=8,
        reveal_fraction=0.0, answers="nearest",
    )  # fmt: skip
    config = GridConfig(vocab_size=6, seq_len=25, width=16, num_latent_updates=5, num_supervision_steps=4)
    trained = train(training, Grid(config, torch.float32), tmp_path)
    assert evaluate_fixed(trained, task, task.puzzles("test"), 4).solved_rate[-1] > 0.6


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # which torch itself reads as it traces
def test_compiled_code_computes_the_same() -> None:
    """Gradients, too, on boards with other numbers of open cells than the first."""
    for start in (0, 7):
        inputs, found = TEN.puzzles("test").inputs[start : start + 5 + start], []
        for compiled in (False, True):
            reasoner = network().requires_grad_(True)
            if compiled:
                reasoner.compile()
            _, output = reasoner.step(inputs, reasoner.initial_carry(len(inputs)), 0)
            output.conditional_logits[inputs == FREE].square().mean().backward()
            found.append([output.conditional_logits, *(part.grad for part in reasoner.blocks.parameters())])
        for plain, fast in zip(*found, strict=True):
            torch.testing.assert_close(fast, plain, atol=1e-4, rtol=1e-3)
