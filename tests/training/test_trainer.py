"""The trainer: plans, one step by hand, optimizers, learning. Resume is in test_resume.py."""

import dataclasses
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import TASK, example_source, logged, random_reasoner
from torch import nn
from torch.nn import functional as F

from latent_rl.errors import InvalidValueError, UnknownNameError
from latent_rl.evaluation.fixed_steps import evaluate_fixed
from latent_rl.reasoners.checkpoint import load_reasoner, reasoner_facts
from latent_rl.reasoners.trm import TRM
from latent_rl.training.batches import training_puzzles
from latent_rl.training.episodes import Plan, plan_batch, supervise
from latent_rl.training.losses import step_loss
from latent_rl.training.objectives import LabelObjective
from latent_rl.training.optim import OPTIMIZERS, scheduled, update_weights, warmup_cosine
from latent_rl.training.state import TrainingState
from latent_rl.training.trainer import TrainConfig, train
from latent_rl.training.updates import DivergedError, train_batch
from latent_rl.types import ReasonerOutput

TINY = TrainConfig(
    task="sudoku4x4", num_batches=6, batch_size=8, num_validation=8, validate_every=2, validation_steps=3, save_every=1
)


def plan_of(config: TrainConfig, num_steps: int, batch: int) -> Plan:
    return plan_batch(example_source(config), random_reasoner(num_supervision_steps=num_steps), batch)


def fresh() -> TRM:
    return random_reasoner().requires_grad_(True).train()


def test_a_plan_depends_on_seed_and_number_alone() -> None:
    one, same, other, later = (
        plan_of(dataclasses.replace(TINY, seed=seed), 6, batch) for seed, batch in [(0, 3), (0, 3), (1, 3), (0, 4)]
    )
    assert torch.equal(one.puzzles.inputs, same.puzzles.inputs)
    assert torch.equal(one.revealed, same.revealed)
    assert not torch.equal(one.puzzles.inputs, other.puzzles.inputs)
    assert not torch.equal(one.puzzles.inputs, later.puzzles.inputs)


def test_examples_come_from_the_first_training_puzzles_alone() -> None:
    config = dataclasses.replace(TINY, num_train=3, batch_size=64, reveal_fraction=0.0)
    objective = LabelObjective(config, TASK)
    base = training_puzzles(config, TASK, 6, objective)
    assert torch.equal(base[:].inputs, TASK.puzzles("train")[:3].inputs)
    givens = {int(count) for count in (base[:].inputs > 1).sum(1)}
    drawn = example_source(config, base).puzzles(64, torch.Generator().manual_seed(0))
    assert {int(count) for count in (drawn.inputs > 1).sum(1)} == givens
    with pytest.raises(InvalidValueError, match=r"number of training puzzles of sudoku4x4, 1,400; got 1,401"):
        training_puzzles(dataclasses.replace(config, num_train=1401), TASK, 6, objective)


def test_plans_extend_depth_and_reveal_as_often_as_asked() -> None:
    config = TrainConfig(
        task="sudoku4x4", num_batches=400, batch_size=16, extended_from=0.5, extended_fraction=0.4, midway_fraction=0.2
    )
    plans = [plan_of(config, 6, batch) for batch in range(400)]
    assert all(plan.burn_in == 0 for plan in plans[:200])
    burn_in = torch.tensor([plan.burn_in for plan in plans[200:]])
    assert 0.3 < (burn_in > 0).float().mean() < 0.5
    assert burn_in.max() <= config.extended_depth - 6
    assert burn_in.max() > 40
    assert 0.13 < sum(plan.midway >= 0 for plan in plans) / 400 < 0.27
    assert all(plan.midway < plan.burn_in + 6 for plan in plans)
    givens = torch.cat([(plan.puzzles.inputs > 1).sum(1) for plan in plans])
    plain = dataclasses.replace(config, reveal_fraction=0.0)
    fewer = torch.cat([(plan_of(plain, 6, batch).puzzles.inputs > 1).sum(1) for batch in range(400)])
    # 15% of the examples show a quarter of their blanks (8 of 16 on average) more.
    assert givens.float().mean() - fewer.float().mean() == pytest.approx(0.15 * 0.25 * 8, abs=0.06)


def test_supervised_steps_follow_the_burn_in_and_givens_appear_midway() -> None:
    plan = plan_of(TINY, 3, 0)
    plan = dataclasses.replace(plan, burn_in=2, midway=3, revealed=torch.ones_like(plan.revealed))
    reasoner = random_reasoner(num_supervision_steps=3).requires_grad_(True)
    steps = list(supervise(reasoner, plan, TINY))
    assert len(steps) == 3
    carry, inputs = reasoner.initial_carry(8), plan.puzzles.inputs
    for index in range(5):
        carry, output = reasoner.step(plan.puzzles.labels if index >= 3 else inputs, carry, index)
        if index >= 2:
            step = steps[index - 2]
            torch.testing.assert_close(step.output.conditional_logits, output.conditional_logits)
            assert torch.equal(step.targets, plan.path[:, index - 2])
    assert all(step.output.conditional_logits.requires_grad for step in steps)
    assert [step.finished.tolist() for step in steps] == [[], [], [5] * 8]


def test_the_loss_by_hand() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5)
    logits[..., 0] = -3  # no answer holds padding
    labels = logits.argmax(-1).clone()
    labels[1, 0] = labels[1, 0] % 4 + 1
    output = ReasonerOutput(torch.zeros_like(logits), logits, torch.tensor([0.3, -0.2]), 3)
    cross_entropy = -logits.log_softmax(-1).gather(-1, labels[..., None]).mean()
    halting = -(torch.tensor(0.3).sigmoid().log() + (1 - torch.tensor(-0.2).sigmoid()).log()) / 2
    loss = step_loss(output, labels, labels, torch.tensor(1.5), 0.5)
    torch.testing.assert_close(loss, 1.5 * cross_entropy + 0.5 * halting)


def test_the_schedule_warms_up_and_falls_to_zero() -> None:
    factors = [warmup_cosine(step, 100, 10) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == 1
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("first_step", [0, 1, 7])
def test_torchs_schedules_give_every_step_its_rate(first_step: int) -> None:
    """To the last bit, also from the middle: peak rates times the factor of the step."""
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizers = [torch.optim.SGD([weight], lr=lr) for weight, lr in zip(weights, (0.3, 0.7), strict=True)]
    schedules = scheduled(optimizers, partial(warmup_cosine, total_steps=10, warmup_steps=3), first_step)
    for step in range(first_step, 10):
        rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
        assert rates == [peak * warmup_cosine(step, 10, 3) for peak in (0.3, 0.7)]
        update_weights(optimizers, schedules)


def test_muon_moves_the_blocks_matrices_and_adamw_everything_else() -> None:
    reasoner = fresh()
    both = OPTIMIZERS["muon"](reasoner, 1e-3, 1e-3, 0.1)
    groups = [{id(p) for group in optimizer.param_groups for p in group["params"]} for optimizer in both]
    names = {id(p): name for name, p in reasoner.named_parameters()}
    assert {names[i] for i in groups[0]} == {name for name in names.values() if name.startswith("blocks.")}
    assert groups[0] | groups[1] == set(names)
    (alone,) = OPTIMIZERS["adamw"](reasoner, 1e-3, 1e-3, 0.1)
    assert sum(len(group["params"]) for group in alone.param_groups) == len(names)


def test_a_run_leaves_a_reasoner_with_its_history(tmp_path: Path) -> None:
    average = train(TINY, fresh(), tmp_path)
    loaded = load_reasoner(tmp_path, torch.float32)
    for name, value in average.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])
    facts = reasoner_facts(tmp_path)
    assert facts["train"] == dataclasses.asdict(TINY)
    assert [point["batch"] for point in facts["curve"]] == [2, 4, 6]
    assert set(facts["versions"]) == {"torch", "numpy"}
    last = facts["curve"][-1]
    from latent_rl.tasks.base import first

    again = evaluate_fixed(loaded, TASK, first(TASK, "validation", 8), 3)
    assert last["eval/solved_rate"] == again.solved_rate.max()
    whole = evaluate_fixed(loaded, TASK, TASK.puzzles("validation"), 3)
    assert facts["decoding"]["num_steps"] == whole.best_step
    assert facts["decoding"]["num_puzzles"] == len(TASK.puzzles("validation"))


def test_divergence_is_reported_and_not_saved(tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, optimizer="adamw", lr=1e30, warmup_steps=1)
    with pytest.raises(DivergedError, match="lower --lr and --muon-lr; nothing of this one was saved"):
        train(config, fresh(), tmp_path)
    assert not (tmp_path / "reasoner.safetensors").exists()


def test_wrong_configs_are_refused() -> None:
    for change, message in [
        ({"targets": "fnal"}, "did you mean 'final'"),
        ({"optimizer": "sgd"}, "unknown optimizer"),
        ({"num_batches": 0}, "num_batches must be a whole number in"),
        ({"reveal_fraction": 1.5}, r"reveal_fraction must be a number in \[0, 1\]"),
    ]:
        with pytest.raises((InvalidValueError, UnknownNameError), match=message):
            dataclasses.replace(TINY, **change)
    with pytest.raises(InvalidValueError, match="must fit the task"):
        train(dataclasses.replace(TINY, task="sudoku6x6"), fresh(), Path("never"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [2.0248525, 2.1605277, 2.0487137, 2.0310297, 1.8828813]),
        (
            {"optimizer": "adamw", "targets": "dis", "dual_weight": 0.3},
            [2.6365478, 2.8595435, 2.6663492, 2.6453810, 2.4709997],
        ),
    ],
)
def test_a_seeded_run_has_the_losses_it_always_had(changes: dict, expected: list[float], tmp_path: Path) -> None:
    """Recorded before there was more than one batching; to the last bit on that machine, nearly so on others."""
    config = dataclasses.replace(
        TINY, num_batches=5, extended_depth=12, extended_from=0.0, extended_fraction=0.5, midway_fraction=0.5, **changes
    )
    train(config, fresh(), tmp_path)
    assert list(logged(tmp_path, "train/loss").values()) == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("targets", ["final", "dis"])
def test_eight_puzzles_can_be_learned_by_heart(targets: str) -> None:
    """Both kinds of targets bring the answer of a small set to certainty."""
    config = TrainConfig(task="sudoku4x4", num_batches=120, targets=targets, warmup_steps=20, extended_fraction=0.0)
    reasoner = random_reasoner(width=64).requires_grad_(True)
    state = TrainingState.begin(example_source(config), reasoner)
    few = dataclasses.replace(config, batch_size=8, midway_fraction=0.0)
    plan = plan_batch(example_source(few), reasoner, 0)
    losses = []
    for _ in range(120):
        metrics = train_batch(state, supervise(reasoner, plan, config))
        losses.append(metrics["train/loss"])
    assert metrics["train/exact_accuracy"] == 1
    assert losses[-1] < losses[0] / 2


def test_the_evaluation_judges_every_step() -> None:
    reasoner = random_reasoner()
    puzzles = TASK.puzzles("test")[:20]
    result = evaluate_fixed(reasoner, TASK, puzzles, 3, batch_size=7)
    assert result.solved.shape == result.exact.shape == (3, 20)
    carry = reasoner.initial_carry(20)
    for index in range(3):
        carry, output = reasoner.step(puzzles.inputs, carry, index)
        answers = TASK.constrain(puzzles.inputs, output.conditional_logits).argmax(-1)
        assert torch.equal(result.solved[index], TASK.verify(puzzles.inputs, answers))
        torch.testing.assert_close(result.token_accuracy[index], (answers == puzzles.labels).float().mean(1))
    assert F.relu(result.solved_rate).equal(result.solved_rate)
    with pytest.raises(InvalidValueError, match="at least 1"):
        evaluate_fixed(reasoner, TASK, puzzles, 0)
