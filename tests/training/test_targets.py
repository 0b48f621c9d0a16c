"""Step targets: schedules, paths from corruption and from solvers, the losses on them, and the step index."""

import dataclasses

import pytest
import torch
from helpers import example_source, random_reasoner
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from latent_rl.config import from_dict
from latent_rl.errors import InvalidValueError, UnknownNameError
from latent_rl.reasoners.engine import Rows
from latent_rl.reasoners.symbols import IMPOSSIBLE
from latent_rl.reasoners.trm import TRM, TRMConfig
from latent_rl.tasks.base import Task, sample
from latent_rl.tasks.registry import make_task
from latent_rl.tasks.sudoku.task import Sudoku
from latent_rl.training.episodes import plan_batch
from latent_rl.training.losses import step_loss
from latent_rl.training.targets import STEP_WEIGHTS, TARGETS, linear_rates, monotonicity, reveal_targets
from latent_rl.training.trainer import TrainConfig
from latent_rl.types import Puzzles, ReasonerOutput

PATHS = sorted(set(TARGETS) - {"final", "trajectories"})
TASKS = ("sudoku6x6", "sudoku9x9-hard", "nqueens8")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(task: Task, size: int, seed: int = 0) -> Puzzles:
    return sample(task, task.puzzles("train"), size, generator(seed))


@pytest.mark.parametrize("num_steps", [1, 2, 6, 16])
def test_the_default_schedule_takes_equal_steps(num_steps: int) -> None:
    expected = torch.tensor([1 - s / num_steps for s in range(1, num_steps + 1)], dtype=torch.float64)
    torch.testing.assert_close(linear_rates(num_steps), expected)


def test_a_schedule_falls_linearly_from_its_first_rate_to_zero() -> None:
    rates = linear_rates(5, 0.8)
    torch.testing.assert_close(rates, torch.tensor([0.8, 0.6, 0.4, 0.2, 0.0], dtype=torch.float64))
    assert linear_rates(1, 0.8).tolist() == [0.0]


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(PATHS),
    st.sampled_from(TASKS),
    st.integers(1, 20),
    st.none() | st.floats(0.05, 1.0),
    st.integers(0, 1000),
)
def test_paths_rise_to_the_answer_and_respect_the_givens(
    name: str, task_name: str, num_steps: int, first: float | None, seed: int
) -> None:
    task = make_task(task_name)
    puzzles = batch(task, 8, seed)
    rates = linear_rates(num_steps, first)
    targets = TARGETS[name](task, puzzles, rates, generator(seed))
    assert targets.shape == (num_steps, *puzzles.labels.shape)
    assert targets.dtype == torch.int64
    assert torch.equal(targets[-1], puzzles.labels)
    assert monotonicity(targets, puzzles.labels).backward.eq(0).all()
    given_cells = task.is_given(puzzles.inputs).expand_as(targets)
    assert torch.equal(targets[given_cells], puzzles.inputs.expand_as(targets)[given_cells])
    assert torch.equal(TARGETS[name](task, puzzles, rates, generator(seed)), targets)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 64), st.integers(0, 81))
def test_the_dis_path_shows_exactly_floor_s_over_S_of_the_cells(num_steps: int, num_open: int) -> None:
    labels = torch.full((2, 81), 5)
    inputs = torch.where(torch.arange(81) < num_open, 1, labels)
    targets = reveal_targets(make_task("sudoku9x9"), Puzzles(inputs, labels), linear_rates(num_steps), generator())
    shown = num_open - (targets != labels).sum(2)
    assert shown[:, 0].tolist() == [s * num_open // num_steps for s in range(1, num_steps + 1)]


@pytest.mark.parametrize("first", [0.3, 1.0])
@pytest.mark.parametrize("name", ["mask", "replace"])
def test_cells_are_corrupted_at_rate_beta(name: str, first: float) -> None:
    """Each open cell independently: counts lie within 5 standard deviations of the binomial's mean."""
    task = make_task("sudoku6x6")
    puzzles = batch(task, 512)
    rates = linear_rates(6, first)
    targets = TARGETS[name](task, puzzles, rates, generator())
    is_open = ~task.is_given(puzzles.inputs)
    count = int(is_open.sum())
    wrong = ((targets != puzzles.labels) & is_open).sum((1, 2))
    deviation = 5 * (count * rates * (1 - rates)).sqrt()
    assert ((wrong - count * rates).abs() <= deviation).all()


def test_masks_show_what_the_puzzle_shows_and_replacements_every_wrong_answer_token() -> None:
    task = make_task("sudoku6x6")
    puzzles = batch(task, 512)
    rates = linear_rates(6)
    differs = TARGETS["mask"](task, puzzles, rates, generator())[0]
    changed = differs != puzzles.labels
    assert torch.equal(differs[changed], puzzles.inputs[changed])
    replaced = TARGETS["replace"](task, puzzles, rates, generator())[0]
    changed = replaced != puzzles.labels
    pairs = set(zip(puzzles.labels[changed].tolist(), replaced[changed].tolist(), strict=True))
    assert pairs == {(right, wrong) for right in range(2, 8) for wrong in range(2, 8) if right != wrong}


def singles(grid: list[int], units: list[list[int]], size: int) -> set[int]:
    """Cells whose digit follows from the grid (digits 1..N, 0 blank) by a naked or a hidden single."""

    def options(cell: int) -> set[int]:
        seen = {grid[other] for unit in units if cell in unit for other in unit}
        return set() if grid[cell] else set(range(1, size + 1)) - seen

    candidates = {cell: options(cell) for cell in range(size * size)}
    naked = {cell for cell, digits in candidates.items() if len(digits) == 1}
    hidden = {
        holders[0]
        for unit in units
        for digit in range(1, size + 1)
        if len(holders := [cell for cell in unit if digit in candidates[cell]]) == 1
    }
    return naked | hidden


@pytest.mark.parametrize(("name", "count"), [("sudoku4x4", 12), ("sudoku6x6", 8), ("sudoku9x9-hard", 5)])
def test_the_solvers_order_shows_only_what_follows_from_what_was_shown(name: str, count: int) -> None:
    """Checked cell by cell in plain Python; where a cell does not follow, no other open cell does either."""
    task = make_task(name)
    assert isinstance(task, Sudoku)
    puzzles = batch(task, count)
    draws = torch.rand(puzzles.inputs.shape, generator=generator(), dtype=torch.float64)
    ranks = task.edit_order(puzzles.inputs, puzzles.labels, draws)
    assert torch.equal(ranks.sort(1).values, torch.arange(task.seq_len).expand_as(ranks))
    decided = 0
    for inputs, labels, rank in zip(puzzles.inputs, puzzles.labels, ranks, strict=True):
        grid = (inputs - 1).clamp(min=0).tolist()
        units = task.units.tolist()
        order = [cell for cell in rank.argsort().tolist() if not grid[cell]]
        for cell in order:
            following = singles(grid, units, task.size)
            if cell not in following:
                assert not following
                break
            grid[cell] = int(labels[cell]) - 1
            decided += 1
    assert decided > 0.5 * (puzzles.inputs != puzzles.labels).sum()


def test_ties_and_unreachable_cells_are_ordered_by_the_draws() -> None:
    """An empty grid has no singles at all, so that the order is the draws'."""
    task = make_task("sudoku9x9")
    labels = task.puzzles("test").labels[:4]
    draws = torch.rand(labels.shape, generator=generator(), dtype=torch.float64)
    ranks = task.edit_order(torch.ones_like(labels), labels, draws)
    assert torch.equal(ranks.argsort(1), draws.argsort(1))


def test_queens_appear_row_by_row() -> None:
    task = make_task("nqueens8")
    puzzles = batch(task, 32)
    targets = TARGETS["edits"](task, puzzles, linear_rates(6), generator())
    missing = (targets != puzzles.labels).view(6, 32, 8, 8).any(3)
    hidden_rows = (puzzles.inputs != puzzles.labels).view(32, 8, 8).any(2)
    # Among the rows that lack their queen in the puzzle, those still hidden are always the lowest ones.
    still = missing.int().cumsum(2) > 0
    assert torch.equal(missing, still & hidden_rows)


def test_monotonicity_by_hand() -> None:
    """Distances 2, 3, 1, 2, 0: two steps back by one cell each."""
    labels = torch.tensor([[1, 1, 1]])
    path = torch.tensor([[[1, 2, 2]], [[2, 2, 2]], [[1, 1, 2]], [[2, 1, 2]], [[1, 1, 1]]])
    found = monotonicity(path, labels)
    assert found.distance.flatten().tolist() == [2, 3, 1, 2, 0]
    assert found.backward.tolist() == [2]
    assert found.summary() == {"num_paths": 1, "monotone_share": 0.0, "mean_backward": 2.0}


@pytest.mark.parametrize("name", ["final", *PATHS])
def test_a_planned_batch_ends_at_its_labels(name: str) -> None:
    """The trainer asks every strategy in the same way."""
    config = TrainConfig(task="nqueens8", targets=name, batch_size=8, corruption=0.9)
    task = make_task(config.task)
    plan = plan_batch(example_source(config, task=task), random_reasoner(task), 0)
    assert plan.path.shape == (8, 6, 64)
    assert torch.equal(plan.path[:, -1], plan.puzzles.labels)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"targets": "edit"}, "did you mean 'edits'"),
        ({"corruption": 0.0}, r"corruption must be a number in \(0, 1\]"),
        ({"dual_weight": -1.0}, "dual_weight must be a number of at least 0"),
        ({"targets": "trajectories"}, "must name a file"),
        ({"trajectories": "paths.jsonl"}, "must name a file"),
    ],
)
def test_impossible_configs_are_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises((InvalidValueError, UnknownNameError), match=reason):
        dataclasses.replace(TrainConfig(), **changes)


def random_output() -> tuple[ReasonerOutput, Tensor, Tensor]:
    reference, conditional = torch.randn(2, 3, 4, 5, generator=generator()).requires_grad_()
    tokens = torch.randint(1, 5, (2, 3, 4), generator=generator())
    return ReasonerOutput(reference, conditional, torch.zeros(3), 3), tokens[0], tokens[1]


def test_the_dual_loss_anchors_the_reference_to_the_step_before() -> None:
    """w (CE(l_c, y_s) + d CE(l_u, y_{s-1})), written out with log-probabilities."""
    output, targets, previous = random_output()

    def mean_log_prob(logits: Tensor, tokens: Tensor) -> Tensor:
        return logits.log_softmax(-1).gather(-1, tokens[..., None]).mean()

    weight = torch.tensor(0.7)
    loss = step_loss(output, targets, targets, weight, 0.0, previous=previous, dual_weight=0.3)
    anchor = mean_log_prob(output.reference_logits, previous)
    torch.testing.assert_close(loss, -0.7 * (mean_log_prob(output.conditional_logits, targets) + 0.3 * anchor))


def test_without_weight_or_step_before_there_is_no_anchor() -> None:
    output, targets, previous = random_output()
    plain = F.cross_entropy(output.conditional_logits.flatten(0, 1), targets.flatten())
    one = torch.tensor(1.0)
    assert torch.equal(step_loss(output, targets, targets, one, 0.0, previous=previous, dual_weight=0.0), plain)
    assert torch.equal(step_loss(output, targets, targets, one, 0.0, previous=None, dual_weight=0.3), plain)


def test_a_target_that_can_not_be_said_is_not_trained() -> None:
    """A symbol network knows symbols to be impossible that a path may show for a while."""
    logits = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    logits[0, 1, 2] = IMPOSSIBLE
    output = ReasonerOutput(logits, logits, torch.zeros(1), 1)
    targets, labels = torch.tensor([[1, 2, 3]]), torch.tensor([[1, 3, 3]])
    expected = -logits.log_softmax(-1)[0, [0, 2], [1, 3]].mean()
    for weight in (torch.tensor(1.0), torch.ones(1)):
        torch.testing.assert_close(step_loss(output, targets, labels, weight, 0.0), expected)


@pytest.mark.parametrize("num_steps", [1, 6])
def test_step_weights_average_one_and_linear_ones_rise(num_steps: int) -> None:
    for weights in STEP_WEIGHTS.values():
        torch.testing.assert_close(weights(num_steps).mean(), torch.tensor(1.0))
    differences = STEP_WEIGHTS["linear"](num_steps).diff()
    torch.testing.assert_close(differences, torch.full((num_steps - 1,), 2 / (num_steps + 1)))


def step_term(reasoner: TRM, index: int | Tensor, inputs: Tensor) -> Tensor:
    """What the step index adds to the input embedding, [B, L, D]."""
    carry = reasoner.initial_carry(len(inputs))
    embedded = [reasoner.leave(reasoner.embed(Rows(inputs, carry, step, None)), None) for step in (index, 0)]
    return embedded[0] - embedded[1]


@pytest.mark.parametrize("mixer", ["mlp", "attention"])
def test_a_continuous_step_index_is_time_along_one_direction(mixer: str) -> None:
    """Step s of S adds s/(S-1) of what the last step adds; steps beyond N_sup add as much as the last."""
    torch.manual_seed(0)
    shape = TRMConfig(vocab_size=6, seq_len=16, width=16, mixer=mixer, step_index="continuous")
    reasoner = TRM(shape, torch.float32).requires_grad_(False)
    inputs = torch.randint(6, (3, 16), generator=generator())
    last = step_term(reasoner, 5, inputs)
    assert last.abs().min() > 0
    torch.testing.assert_close(step_term(reasoner, 2, inputs), 0.4 * last)
    torch.testing.assert_close(step_term(reasoner, 30, inputs), last)
    mixed = step_term(reasoner, torch.tensor([0, 2, 5]), inputs)
    torch.testing.assert_close(mixed, torch.tensor([0.0, 0.4, 1.0])[:, None, None] * last)


def test_the_integer_index_stays_the_default_and_old_configs_load() -> None:
    old = {"vocab_size": 6, "seq_len": 16, "width": 16, "step_embedding": True}
    config = from_dict(TRMConfig, old)
    assert config.step_index == "integer"
    assert TRM(config).state_dict()["embed_step"].shape == (6, 16)
    with pytest.raises(UnknownNameError, match="did you mean 'continuous'"):
        from_dict(TRMConfig, {**old, "step_index": "continous"})
