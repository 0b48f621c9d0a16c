"""Early replacement: who leaves when, who takes the slot, what is learned; the halting that decides it."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from helpers import TASK, example_source, random_reasoner, undecided
from torch import Tensor
from torch.nn import functional as F

from latent_rl.errors import InvalidValueError, UnknownNameError
from latent_rl.evaluation.fixed_steps import evaluate_fixed
from latent_rl.reasoners.hrm import HRM, HRMConfig
from latent_rl.reasoners.trm import TRM
from latent_rl.training.config import TrainConfig, suited
from latent_rl.training.episodes import plan_batch, supervise
from latent_rl.training.halting import continue_target, wants_halt
from latent_rl.training.losses import NO_TARGET, step_loss
from latent_rl.training.objectives import LabelObjective, Supervised
from latent_rl.training.optim import warmup_cosine
from latent_rl.training.replacement import Replacement, Slots, draw_slots, flat, most_steps, run_step
from latent_rl.training.state import TrainingState
from latent_rl.training.targets import STEP_WEIGHTS
from latent_rl.training.updates import train_batch
from latent_rl.types import Carry, ReasonerOutput, Symmetry

CONFIG = TrainConfig(task="sudoku4x4", batching="replacement", batch_size=16, halt_exploration=0.5, num_batches=6)
TRAIN = TASK.puzzles("train")


class Scripted:
    """A reasoner of five steps that counts them in its answer and wants to halt at an age that the puzzle says."""

    vocab_size, seq_len, num_latent_updates, num_supervision_steps = TASK.vocab_size, TASK.seq_len, 2, 5

    @staticmethod
    def wanted(inputs: Tensor) -> Tensor:
        """Int64 [B] in 1..7; beyond 5 it never wants to."""
        return inputs.sum(1) % 7 + 1

    def initial_carry(self, batch_size: int, keys: Tensor | None = None) -> Carry:
        zeros = torch.zeros(batch_size, self.seq_len, 1)
        return Carry(zeros, zeros, torch.zeros(batch_size, self.seq_len, dtype=torch.int64))

    def step(self, inputs: Tensor, carry: Carry, step_index: Any, **options: Any) -> tuple[Carry, ReasonerOutput]:
        after = dataclasses.replace(carry, answer=carry.answer + 1)
        logits = torch.zeros(len(inputs), self.seq_len, self.vocab_size)
        halts = torch.where(step_index + 1 >= self.wanted(inputs), 1.0, -1.0)
        return after, ReasonerOutput(logits, logits, halts, 3)


def scripted_run(num_batches: int) -> list[tuple[Slots, Supervised, Slots]]:
    """Every step's slots before it, what it says, and the slots after it."""
    batching, log = Replacement(example_source(CONFIG), Scripted()), []
    for batch in range(num_batches):
        before = batching.slots
        for supervised in batching.steps(batch):
            log.append((before, supervised, batching.slots))
            before = batching.slots
    return log


def test_a_puzzle_leaves_when_it_may_and_nobody_else_is_disturbed() -> None:
    """It leaves at N_sup = 5, or when it wants to and is as old as its minimum. Its slot gets a fresh puzzle; the
    others keep puzzle, state and minimum and are a step older."""
    seen_ages = set()
    for before, supervised, after in scripted_run(12):
        age = before.age + 1
        leaves = (age >= 5) | ((age >= Scripted.wanted(before.puzzles.inputs)) & (age >= before.minimum))
        assert supervised.finished.tolist() == age[leaves].tolist()
        assert after.age.tolist() == torch.where(leaves, 0, age).tolist()
        # The stand-in counts the steps of each row's state: none were lost, none were handed on.
        assert torch.equal(after.carry.answer, after.age.float()[:, None, None].expand(-1, 16, 1))
        for name, value in flat(after).items():
            if name != "age" and not name.startswith("carry/"):
                assert torch.equal(value[~leaves], flat(before)[name][~leaves]), name
        fresh = (after.puzzles.inputs != before.puzzles.inputs).any(1)
        assert torch.equal(fresh, leaves)
        assert (after.path[:, -1] == after.puzzles.labels).all()
        assert TASK.verify(after.puzzles.inputs, after.puzzles.labels).all()
        seen_ages.add(tuple(sorted(set(before.age.tolist()))))
    assert max(map(len, seen_ages)) >= 4, "a batch should hold puzzles of many ages"


class Solver(Scripted):
    """Right from the age that the puzzle says, and wrong before."""

    def step(self, inputs: Tensor, carry: Carry, step_index: Any, **options: Any) -> tuple[Carry, ReasonerOutput]:
        after, output = super().step(inputs, carry, step_index, **options)
        answers = torch.stack([TASK.solve(row) for row in inputs])
        answers = torch.where((step_index + 1 >= self.wanted(inputs))[:, None], answers, 0)
        logits = F.one_hot(answers, self.vocab_size).float()
        return after, dataclasses.replace(output, conditional_logits=logits)


def test_a_solved_puzzle_stays_for_one_step_more_and_a_hard_one_up_to_its_limit() -> None:
    config = dataclasses.replace(CONFIG, leaves="solved", extended_depth=11, extended_from=0.5, halt_weight=0.0)
    batching = Replacement(example_source(config), Solver())
    reasons, ages = set(), set()
    for batch in range(6):
        before = batching.slots
        for supervised in batching.steps(batch):
            age, wanted = before.age + 1, Solver.wanted(before.puzzles.inputs)
            is_solved, is_old = age == wanted + 1, age == before.limit
            assert supervised.finished.tolist() == age[is_solved | is_old].tolist()
            assert torch.equal(supervised.targets, before.puzzles.labels)  # the last of the path, at any age
            before = batching.slots
            assert before.age.tolist() == torch.where(is_solved | is_old, 0, age).tolist()
            reasons |= set(zip(is_solved.tolist(), is_old.tolist(), strict=True))
            ages |= set(supervised.finished.tolist())
    assert len(reasons) == 4
    assert ages == {1, 2, 3, 4, 5, 6, 7, 8}, "the slowest are right at 7, and beyond N_sup = 5 they go on"


def test_limits_grow_from_n_sup_to_the_extended_depth() -> None:
    config = dataclasses.replace(CONFIG, leaves="solved", extended_depth=11, extended_from=0.5, num_batches=8)
    assert [most_steps(config, 5, number) for number in (0, 10, 20, 30)] == [5, 8, 11, 11]  # of 40 steps
    limit = draw_slots(example_source(config), random_reasoner(), 4000, 10**6).limit
    counts = torch.bincount(limit, minlength=12) / 4000
    assert counts[0] == 0
    assert counts[1:].tolist() == pytest.approx([1 / 11] * 11, abs=0.02)
    with pytest.raises(InvalidValueError, match='leaves acts with batching "replacement" alone; got solved'):
        dataclasses.replace(config, batching="episodes", halt_exploration=0.1)


def test_a_slot_never_gets_the_same_puzzles_again() -> None:
    inputs = torch.cat([after.puzzles.inputs[after.age == 0] for _, _, after in scripted_run(12)])
    assert len(inputs) > 200
    assert len(inputs.unique(dim=0)) > 0.99 * len(inputs)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_minima_are_uniform_for_the_share_that_explores(share: float) -> None:
    config = dataclasses.replace(CONFIG, halt_exploration=share)
    minimum = draw_slots(example_source(config), random_reasoner(), 4000, 0).minimum
    counts = torch.bincount(minimum, minlength=7) / 4000
    assert counts[0] == 0
    expected = [1 - share, *[share / 5] * 5]
    assert counts[1:].tolist() == pytest.approx(expected, abs=0.03)
    assert (counts[1:] == 0).tolist() == [probability == 0 for probability in expected]


def test_fresh_puzzles_depend_on_seed_and_number_alone() -> None:
    reasoner = random_reasoner()
    one, same, later, other = (
        draw_slots(example_source(dataclasses.replace(CONFIG, seed=seed)), reasoner, 4, number).puzzles.inputs
        for seed, number in [(0, 3), (0, 3), (0, 4), (1, 3)]
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, later)
    assert not torch.equal(one, other)


def test_it_equals_a_loop_written_by_hand() -> None:
    """Each puzzle on its own, with the formulas of loss, halting and replacement restated."""
    config = dataclasses.replace(CONFIG, batch_size=5, num_batches=4, optimizer="adamw", targets="dis", lr=1e-2)

    def start() -> TRM:
        return undecided(random_reasoner(num_supervision_steps=4))

    state = TrainingState.begin(example_source(config), start())
    batching = state.batching
    assert isinstance(batching, Replacement)
    metrics = [train_batch(state, batching.steps(batch)) for batch in range(4)]

    by_hand = start()
    optimizer = torch.optim.AdamW(by_hand.parameters(), betas=(0.9, 0.95), weight_decay=config.weight_decay)

    def fresh(count: int, number: int) -> list[Slots]:
        drawn = draw_slots(example_source(config), by_hand, count, number)
        return [drawn.select(torch.tensor([row])) for row in range(count)]

    puzzles = fresh(5, 0)
    weights = STEP_WEIGHTS["linear"](4)
    for batch in range(4):
        losses, ages = [], []
        for step in range(4 * batch, 4 * batch + 4):
            loss, stays, gone = torch.zeros(()), {}, []
            for slot, puzzle in enumerate(puzzles):
                age = int(puzzle.age)
                carry, output = by_hand.step(puzzle.puzzles.inputs, puzzle.carry, age)
                logits, right = output.conditional_logits[0], float(carry.prediction.equal(puzzle.puzzles.labels))
                loss = loss + weights[age] * F.cross_entropy(logits, puzzle.path[0, age]) / 5
                sure = output.halt_logit.sigmoid()[0]
                loss = loss - 0.5 * (right * sure.log() + (1 - right) * (1 - sure).log()) / 5
                if age + 1 == 4 or (sure > 0.5 and age + 1 >= puzzle.minimum):
                    gone.append(slot)
                    ages.append(age + 1)
                else:
                    stays[slot] = dataclasses.replace(puzzle, carry=carry.map(Tensor.detach), age=puzzle.age + 1)
            arrivals = dict(zip(gone, fresh(len(gone), step + 1) if gone else [], strict=True))
            puzzles = [stays.get(slot) or arrivals[slot] for slot in range(5)]
            optimizer.zero_grad()
            loss.backward()
            optimizer.param_groups[0]["lr"] = config.lr * warmup_cosine(step, 16, config.warmup_steps)
            optimizer.step()
            losses.append(loss.item())
        assert metrics[batch]["train/loss"] == pytest.approx(sum(losses) / 4, rel=1e-4)
        assert metrics[batch]["train/mean_steps"] == pytest.approx(sum(ages) / len(ages))
        assert metrics[batch]["train/examples"] == len(ages)
    assert batching.slots.age.tolist() == [int(puzzle.age) for puzzle in puzzles]
    assert torch.equal(batching.slots.puzzles.inputs, torch.cat([puzzle.puzzles.inputs for puzzle in puzzles]))
    assert len({metric["train/mean_steps"] for metric in metrics}) > 1


def test_the_slots_survive_being_saved() -> None:
    batching, other = (Replacement(example_source(CONFIG), undecided(random_reasoner())) for _ in range(2))
    with torch.no_grad():
        for _ in batching.steps(0):
            pass
    other.load(batching.tensors())
    assert batching.tensors().keys() == other.tensors().keys()
    with torch.no_grad():
        for mine, theirs in zip(batching.steps(1), other.steps(1), strict=True):
            assert torch.equal(mine.output.conditional_logits, theirs.output.conditional_logits)
            assert torch.equal(mine.puzzles.labels, theirs.puzzles.labels)
            assert torch.equal(mine.finished, theirs.finished)


def test_rows_can_weigh_differently() -> None:
    """The loss of rows with weights of their own: each row's mean times its weight; a missing target counts nothing."""
    torch.manual_seed(0)
    reference, conditional = torch.randn(2, 3, 4, 5)
    labels = torch.randint(1, 5, (3, 4))
    output = ReasonerOutput(reference, conditional, torch.zeros(3), 3)
    weights, previous = torch.tensor([0.5, 1.0, 2.0]), labels.clone()
    previous[0] = NO_TARGET
    got = step_loss(output, labels, labels, weights, 0.0, previous=previous, dual_weight=0.3)

    def surprise(logits: Tensor, row: int) -> float:
        return -sum(logits[row, cell].softmax(-1)[labels[row, cell]].log().item() for cell in range(4)) / 4

    expected = 0.5 * surprise(conditional, 0)
    for row, weight in ((1, 1.0), (2, 2.0)):
        expected += weight * (surprise(conditional, row) + 0.3 * surprise(reference, row))
    assert got.item() == pytest.approx(expected / 3, rel=1e-5)
    same = step_loss(output, labels, labels, torch.full((3,), 1.5), 0.5)
    torch.testing.assert_close(same, step_loss(output, labels, labels, torch.tensor(1.5), 0.5))


@pytest.mark.parametrize(
    ("halt", "go_on", "plain", "compared"),
    [(0.1, 0.2, True, False), (-0.1, -0.2, False, True), (0.0, 0.0, False, False)],
)
def test_halting_is_decided_against_zero_or_against_going_on(
    halt: float, go_on: float, plain: bool, compared: bool
) -> None:
    logits = torch.zeros(1, 2, 3)
    output = ReasonerOutput(logits, logits, torch.tensor([halt]), 3, torch.tensor([go_on]))
    assert wants_halt(output, has_continue_value=False).tolist() == [plain]
    assert wants_halt(output, has_continue_value=True).tolist() == [compared]


def small_hrm() -> HRM:
    torch.manual_seed(0)
    shape = HRMConfig(vocab_size=TASK.vocab_size, seq_len=TASK.seq_len, width=16, num_supervision_steps=3)
    return undecided(HRM(shape, torch.float32))


def value_by_hand(reasoner: HRM, inputs: Tensor, carry: Carry, index: int, row: int, is_last: bool) -> float:
    _, following = reasoner.step(inputs, carry, index)
    halt, go_on = following.halt_logit[row].item(), following.continue_logit[row].item()
    return 1 / (1 + math.exp(-(halt if is_last else max(halt, go_on))))


@pytest.mark.parametrize("prefers_halt", [True, False])
def test_the_continue_target_is_the_value_of_the_next_step(prefers_halt: bool) -> None:
    """In a batch of mixed ages: sigmoid(max(q_halt, q_continue)) of the next step, sigmoid(q_halt) at the last."""
    reasoner, config = small_hrm(), dataclasses.replace(CONFIG, continue_target=True)
    if not prefers_halt:
        reasoner.halt_head.weight.data = reasoner.halt_head.weight.data.flip(0)
    slots = draw_slots(example_source(config), reasoner, 12, 0)
    slots = dataclasses.replace(slots, age=torch.arange(12) % 3)
    after, _, supervised = run_step(config, LabelObjective(config, TASK), reasoner, slots)
    assert not supervised.continue_target.requires_grad
    expected = [
        value_by_hand(reasoner, slots.puzzles.inputs, after.carry, int(age) + 1, row, is_last=bool(age == 2))
        for row, age in enumerate(slots.age)
    ]
    assert supervised.continue_target.tolist() == pytest.approx(expected, rel=1e-4)
    never_last = continue_target(reasoner, slots.puzzles.inputs, after.carry, after.age, False)
    assert torch.equal(never_last, supervised.continue_target) == prefers_halt


def test_episodes_train_the_continue_head_too() -> None:
    reasoner = small_hrm()
    config = TrainConfig(task="sudoku4x4", batch_size=4, continue_target=True, extended_fraction=0.0)
    plan = plan_batch(example_source(config), reasoner, 0)
    plan = dataclasses.replace(plan, midway=-1)
    carry = reasoner.initial_carry(4)
    for index, step in enumerate(supervise(reasoner, plan, config)):
        carry, output = reasoner.step(plan.puzzles.inputs, carry, index)
        expected = [value_by_hand(reasoner, plan.puzzles.inputs, carry, index + 1, row, index == 2) for row in range(4)]
        assert step.continue_target.tolist() == pytest.approx(expected, rel=1e-4)
        arguments = (step.output, step.targets, step.puzzles.labels, step.weight, 0.5)
        added = step_loss(*arguments, continue_target=step.continue_target) - step_loss(*arguments)
        value, target = output.continue_logit.sigmoid(), step.continue_target
        by_hand = -(target * value.log() + (1 - target) * (1 - value).log()).mean()
        assert added.item() == pytest.approx(0.5 * by_hand.item(), rel=1e-3)


def test_evaluation_runs_all_steps_whatever_the_halting_head_says() -> None:
    reasoner, puzzles = random_reasoner(), TASK.puzzles("test")[:20]
    before = evaluate_fixed(reasoner, TASK, puzzles, 6)
    reasoner.halt_head.bias.fill_(50.0)
    after = evaluate_fixed(reasoner, TASK, puzzles, 6)
    assert torch.equal(before.token_accuracy, after.token_accuracy)
    assert before.token_accuracy[0].ne(before.token_accuracy[5]).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batching": "replacment"}, "did you mean 'replacement'"),
        ({"batching": "episodes"}, 'halt_exploration acts with batching "replacement" alone'),
        ({"halt_exploration": 1.5}, r"halt_exploration must be a number in \[0, 1\]"),
        ({"halt_weight": 0.0}, 'halt_weight must be positive with batching "replacement"'),
    ],
)
def test_configs_that_make_no_sense_are_refused(changes: dict, message: str) -> None:
    with pytest.raises((InvalidValueError, UnknownNameError), match=message):
        dataclasses.replace(CONFIG, **changes)


def test_a_reasoner_must_suit_the_config_and_what_has_no_meaning_is_off() -> None:
    reasoner = random_reasoner()
    fitting = suited(CONFIG, reasoner)
    assert (fitting.extended_fraction, fitting.midway_fraction) == (0, 0)
    assert fitting == dataclasses.replace(CONFIG, extended_fraction=0.0, midway_fraction=0.0)
    assert suited(fitting, reasoner) == fitting
    episodes = TrainConfig(task="sudoku4x4")
    assert suited(episodes, reasoner) == episodes
    for changes, network, message in [
        ({"extended_fraction": 0.2}, reasoner, "extended_fraction must be 0.0 with batching"),
        ({"midway_fraction": 0.2}, reasoner, "midway_fraction must be 0.0 with batching"),
        ({"continue_target": True}, reasoner, "needs a reasoner whose config has continue_head"),
        ({}, random_reasoner(num_supervision_steps=1), "at least 2 supervision steps; got 1"),
    ]:
        with pytest.raises(InvalidValueError, match=message):
            suited(dataclasses.replace(CONFIG, **changes), network)
    with pytest.raises(InvalidValueError, match="continue head"):
        continue_target(reasoner, TRAIN.inputs[:1], reasoner.initial_carry(1), 1, False)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["trm", "hrm"])
def test_eight_puzzles_are_learned_and_then_halted_early(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "latent_rl.tasks.base.draw_symmetry",
        lambda task, count, generator: Symmetry.identity(count, task.seq_len, task.vocab_size),
    )
    shape: dict[str, Any] = {"vocab_size": TASK.vocab_size, "seq_len": TASK.seq_len, "width": 64, "mixer": "mlp"}
    torch.manual_seed(0)
    is_hrm = architecture == "hrm"
    reasoner = HRM(HRMConfig(**shape, num_supervision_steps=6)) if is_hrm else random_reasoner(width=64)
    reasoner.requires_grad_(True)
    config = dataclasses.replace(
        CONFIG, num_batches=100, halt_exploration=0.1, warmup_steps=20, continue_target=is_hrm, step_weights="uniform"
    )
    base = TRAIN[:8]
    state = TrainingState.begin(example_source(config, base), reasoner)
    mean_steps = [
        train_batch(state, state.batching.steps(batch))["train/mean_steps"] for batch in range(config.num_batches)
    ]
    assert mean_steps[0] > 5
    assert sum(mean_steps[-10:]) / 10 < 3
    assert evaluate_fixed(reasoner, TASK, base, 6).exact.all(1).any()
