"""The symbol network: equivariance, boards of other sizes, random starts, checkpoints, training."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latent_rl.errors import CheckpointError, InvalidValueError
from latent_rl.evaluation.fixed_steps import evaluate_fixed
from latent_rl.fit import check_fits, fitted
from latent_rl.reasoners.checkpoint import load_reasoner, save_reasoner
from latent_rl.reasoners.symbols import Symbols, SymbolsConfig
from latent_rl.tasks.base import draw_symmetry
from latent_rl.tasks.registry import make_task
from latent_rl.training.trainer import TrainConfig, train
from latent_rl.types import Carry, Symmetry, TaskShape


def network(name: str, **shape: int) -> Symbols:
    """An untrained float32 network; the same one each time."""
    torch.manual_seed(0)
    config = SymbolsConfig(**vars(make_task(name).shape), **{"width": 8, **shape})
    return Symbols(config, compute_dtype=torch.float32).requires_grad_(False).eval()


def seen_in(carry: Carry, view: Symmetry, num_symbols: int) -> Carry:
    """The states of the candidates as the view shows them."""

    def moved(states: torch.Tensor) -> torch.Tensor:
        states = states.unflatten(2, (num_symbols, -1))
        rows = torch.arange(len(states))[:, None, None]
        back = view.tokens.argsort(1)[:, 2:] - 2  # which symbol the view's s-th one was
        return states[rows, view.cells[:, :, None], back[:, None, :]].flatten(2)

    return replace(carry, answer=moved(carry.answer), latent=moved(carry.latent))


@pytest.mark.parametrize("name", ["sudoku4x4", "sudoku6x6", "latin5", "nqueens6", "colouring3"])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_it_is_equivariant_to_every_symmetry_of_its_task(name: str, seed: int) -> None:
    """Logits and states of a view are the view of logits and states."""
    task, reasoner = make_task(name), network(name, num_layers=2)
    view = draw_symmetry(task, 3, torch.Generator().manual_seed(seed))
    inputs, carry = task.puzzles("test").inputs[:3], reasoner.initial_carry(3)
    shown = seen_in(carry, view, reasoner.config.num_symbols)
    for step in range(3):
        carry, output = reasoner.step(inputs, carry, step)
        shown, seen = reasoner.step(view.apply(inputs), shown, step)
        torch.testing.assert_close(
            view.invert_logits(seen.conditional_logits), output.conditional_logits, atol=1e-3, rtol=1e-3
        )
        torch.testing.assert_close(seen.halt_logit, output.halt_logit)
    expected = seen_in(carry, view, reasoner.config.num_symbols)
    torch.testing.assert_close(shown.answer, expected.answer, atol=1e-3, rtol=1e-3)


def test_a_block_is_its_formula() -> None:
    """Node by node, in plain loops, for rows, columns and cells of a small board."""
    torch.manual_seed(1)
    units = {"line": ((0, 1), (2, 3), (0, 2), (1, 3))}
    config = SymbolsConfig(vocab_size=4, seq_len=4, units=units, width=6)
    network = Symbols(config, compute_dtype=torch.float32)
    block = network.blocks[0]
    x = torch.randn(1, 4, 2, 6)

    def norm(v: torch.Tensor) -> torch.Tensor:
        return v / (v.square().mean(-1, keepdim=True) + 1e-5).sqrt()

    def gate(v: torch.Tensor, gate_up: torch.Tensor, down: torch.Tensor | None = None) -> torch.Tensor:
        g, u = (gate_up @ v).chunk(2)
        h = g * g.sigmoid() * u
        return h if down is None else down @ h

    sent = {(c, s): gate(x[0, c, s], block.send) for c in range(4) for s in range(2)}
    expected = torch.empty_like(x)
    for c in range(4):
        for s in range(2):
            total = x[0, c, s].clone()
            line, cell = block.answer["line"], block.answer["cell"]
            for unit in units["line"]:
                if c in unit:
                    total += gate(norm(block.rest + sum(sent[i, s] for i in unit)), line.gate_up, line.down)
            total += gate(norm(block.rest + sent[c, 0] + sent[c, 1]), cell.gate_up, cell.down)
            total = norm(total)
            expected[0, c, s] = norm(total + gate(total, block.channels.gate_up, block.channels.down))
    found = block(x.view(8, 6), network.tables.candidates(torch.ones(1, 4, dtype=torch.int64)))
    torch.testing.assert_close(found.view_as(x), expected)


@pytest.mark.parametrize("name", ["sudoku6x6", "latin5", "nqueens6", "colouring3"])
def test_candidates_are_what_the_givens_leave_open(name: str) -> None:
    """And their nodes: every symbol in every unit and every cell, with all candidates that it has and no other."""
    task = make_task(name)
    reasoner = network(name)
    inputs, num_symbols = task.puzzles("test").inputs[:3], reasoner.config.num_symbols
    found = reasoner.tables.candidates(inputs)
    units = [unit for of_kind in reasoner.config.units.values() for unit in of_kind]
    expected: dict[tuple[int, int, int], int] = {}
    for board, tokens in enumerate(inputs.tolist()):
        for cell, token in enumerate(tokens):
            peers = {other for unit in units if cell in unit for other in unit}
            for symbol in range(num_symbols):
                if token < 2 and all(tokens[peer] != symbol + 2 for peer in peers):
                    expected[board, cell, symbol] = len(expected)
    places = [(board * task.seq_len + cell) * num_symbols + symbol for board, cell, symbol in expected]
    assert found.places.tolist() == places
    nodes = [
        {expected[board, cell, symbol] for cell in unit if (board, cell, symbol) in expected}
        for of_kind in reasoner.config.units.values()
        for board in range(3)
        for unit in of_kind
        for symbol in range(num_symbols)
    ] + [
        {expected[board, cell, symbol] for symbol in range(num_symbols) if (board, cell, symbol) in expected}
        for board in range(3)
        for cell in range(task.seq_len)
    ]
    nodes = [node for node in nodes if node]
    assert [set(row) - {len(expected)} for row in found.members.tolist()] == nodes
    of_candidate = [{number for number, node in enumerate(nodes) if row in node} for row in range(len(expected))]
    assert [set(row) - {len(nodes)} for row in found.nodes.tolist()] == of_candidate


def test_what_the_givens_exclude_has_no_logit() -> None:
    """A given is certain; its symbol is impossible in its units, as are the others in its cell."""
    task, reasoner = make_task("sudoku6x6"), network("sudoku6x6")
    puzzles = task.puzzles("test")[:20]
    _, output = reasoner.step(puzzles.inputs, reasoner.initial_carry(20), 0)
    probability = output.conditional_logits.softmax(-1)
    is_given = puzzles.inputs > 1
    assert (probability.gather(2, puzzles.inputs[:, :, None]).squeeze(2)[is_given] == 1).all()
    assert (probability.gather(2, puzzles.labels[:, :, None]) > 0).all()
    for board, cell in is_given.nonzero().tolist():
        for unit in (unit for of_kind in reasoner.config.units.values() for unit in of_kind if cell in unit):
            others = [other for other in unit if other != cell]
            assert (probability[board, others, puzzles.inputs[board, cell]] == 0).all()


def test_only_answers_have_logits() -> None:
    for name, possible in (("sudoku4x4", [2, 3, 4, 5]), ("nqueens6", [1, 2])):
        task, reasoner = make_task(name), network(name)
        inputs = task.puzzles("test").inputs[:4]
        _, output = reasoner.step(inputs, reasoner.initial_carry(4), 0)
        likely = output.conditional_logits > -1000
        assert likely.any(1).all(0).nonzero().squeeze(1).tolist() == possible
        assert not likely.any((0, 1))[0]
    assert (output.conditional_logits[..., 1] == torch.where(inputs == 2, -1e4, 0)).all()


def test_one_set_of_weights_fits_boards_of_every_size() -> None:
    small, large = make_task("sudoku4x4"), make_task("sudoku9x9")
    reasoner = network("sudoku4x4")
    twin = fitted(reasoner, large)
    assert isinstance(twin, Symbols)
    assert all(
        torch.equal(a, b) for a, b in zip(reasoner.state_dict().values(), twin.state_dict().values(), strict=True)
    )
    inputs = large.puzzles("test").inputs[:2]
    _, output = twin.step(inputs, twin.initial_carry(2), 0)
    assert output.conditional_logits.shape == (2, 81, 11)
    assert fitted(reasoner, small) is reasoner
    assert fitted(twin, small).config == reasoner.config
    with pytest.raises(InvalidValueError, match="must fit the task latin5"):
        fitted(reasoner, make_task("latin5"))  # no boxes there


def test_other_units_of_the_same_size_are_another_board() -> None:
    """Two graphs of as many vertices and colours."""
    task, reasoner = make_task("colouring3"), network("colouring3")
    other = TaskShape(task.vocab_size, task.seq_len, {"edge": ((0, 1),)})
    twin = reasoner.resized(other)
    assert twin is not None
    assert twin.tables.cells.tolist() == [[0, 1]]
    check_fits(twin, task)


def test_starts_depend_on_their_keys_alone() -> None:
    reasoner = network("sudoku4x4")
    whole = reasoner.initial_carry(5, torch.tensor([7, 3, 7, 1, 2**62]))
    single = reasoner.initial_carry(1, torch.tensor([3]))
    assert torch.equal(whole.answer[1:2], single.answer)
    assert torch.equal(whole.latent[0], whole.latent[2])
    assert not torch.isclose(whole.answer[0], whole.answer[1]).all(1).any()
    assert torch.equal(reasoner.initial_carry(2).answer, reasoner.initial_carry(2, torch.arange(2)).answer)
    states = whole.answer.unflatten(2, (4, -1))
    torch.testing.assert_close(states.square().mean(-1), torch.ones(5, 16, 4), atol=1e-3, rtol=0)


def test_evaluation_does_not_depend_on_the_batch_size() -> None:
    task, reasoner = make_task("sudoku4x4"), network("sudoku4x4")
    puzzles = task.puzzles("test")[:50]
    one, other = (evaluate_fixed(reasoner, task, puzzles, 3, size) for size in (50, 7))
    assert torch.equal(one.token_accuracy, other.token_accuracy)


def test_a_checkpoint_says_what_board_it_is_for(tmp_path: Path) -> None:
    reasoner = network("colouring3")
    save_reasoner(reasoner, tmp_path)
    loaded = load_reasoner(tmp_path, torch.float32)
    assert loaded.config == reasoner.config
    inputs = make_task("colouring3").puzzles("test").inputs[:3]
    mine, theirs = (each.step(inputs, each.initial_carry(3), 0)[1].conditional_logits for each in (reasoner, loaded))
    assert torch.equal(mine, theirs)


@pytest.mark.parametrize(
    "units", [{"cell": [[0]]}, {"line": []}, {"line": [[]]}, {"line": [[16]]}, {"a b": [[0]]}, [[0]]]
)
def test_damaged_units_are_refused(units: object) -> None:
    with pytest.raises(InvalidValueError, match=r"SymbolsConfig.units must be lists of cells in 0\.\.15"):
        SymbolsConfig(vocab_size=6, seq_len=16, units=units)  # type: ignore[arg-type]


def test_a_checkpoint_with_damaged_units_is_refused(tmp_path: Path) -> None:
    save_reasoner(network("sudoku4x4"), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"box"', '"cell"'))
    with pytest.raises(CheckpointError, match="units must be lists of cells"):
        load_reasoner(tmp_path)


@pytest.mark.parametrize("batching", ["episodes", "replacement"])
def test_it_learns_small_boards(tmp_path: Path, batching: str) -> None:
    """4x4 Sudoku within seconds."""
    torch.manual_seed(0)
    config = SymbolsConfig(**vars(make_task("sudoku4x4").shape), width=16)
    training = TrainConfig(
        task="sudoku4x4", num_batches=40, batch_size=32, muon_lr=5e-3, warmup_steps=20, ema=0.9, num_validation=100,
        validate_every=40, validation_steps=8, batching=batching,
    )  # fmt: skip
    trained = train(training, Symbols(config, torch.float32), tmp_path)
    task = make_task("sudoku4x4")
    assert evaluate_fixed(trained, task, task.puzzles("test")[:200], 8).solved_rate[-1] > 0.7
