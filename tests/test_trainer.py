"""The trainer: plans, one step by hand, optimizers, resume after a kill at any moment, learning."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import TASK, random_reasoner
from safetensors.torch import load_file
from torch.nn import functional as F

from latent_rl.errors import CheckpointError, InvalidValueError, UnknownNameError
from latent_rl.evaluation import evaluate_fixed
from latent_rl.losses import step_loss
from latent_rl.optim import OPTIMIZERS, warmup_cosine
from latent_rl.reasoners.checkpoint import load_reasoner, reasoner_facts
from latent_rl.reasoners.trm import TRM
from latent_rl.trainer import DivergedError, Plan, TrainConfig, plan_batch, supervise, train
from latent_rl.types import ReasonerOutput

TINY = TrainConfig(
    task="sudoku4x4", num_batches=6, batch_size=8, num_validation=8, validate_every=2, validation_steps=3, save_every=1
)


TRAIN = TASK.puzzles("train")


def plan_of(config: TrainConfig, num_steps: int, batch: int) -> Plan:
    return plan_batch(config, TASK, TRAIN, num_steps, batch)


def fresh() -> TRM:
    return random_reasoner().requires_grad_(True).train()


def losses(folder: Path) -> dict[int, float]:
    """The losses that TensorBoard shows, by batch."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars("train/loss")}


def test_a_plan_depends_on_seed_and_number_alone() -> None:
    one, same, other, later = (
        plan_of(dataclasses.replace(TINY, seed=seed), 6, batch) for seed, batch in [(0, 3), (0, 3), (1, 3), (0, 4)]
    )
    assert torch.equal(one.puzzles.inputs, same.puzzles.inputs)
    assert torch.equal(one.revealed, same.revealed)
    assert not torch.equal(one.puzzles.inputs, other.puzzles.inputs)
    assert not torch.equal(one.puzzles.inputs, later.puzzles.inputs)


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
    reasoner = fresh()
    outputs = list(supervise(reasoner, plan))
    assert [s for s, _ in outputs] == [0, 1, 2]
    carry, inputs = reasoner.initial_carry(8), plan.puzzles.inputs
    for index in range(5):
        carry, output = reasoner.step(plan.puzzles.labels if index >= 3 else inputs, carry, index)
        if index >= 2:
            torch.testing.assert_close(outputs[index - 2][1].conditional_logits, output.conditional_logits)
    assert all(output.conditional_logits.requires_grad for _, output in outputs)


def test_the_loss_by_hand() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5)
    labels = logits.argmax(-1).clone()
    labels[1, 0] = (labels[1, 0] + 1) % 5
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


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("cut", [1, 5])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, optimizer: str, cut: int, monkeypatch) -> None:
    """Same losses, same weights, to the last bit, wherever it was cut."""
    config = dataclasses.replace(
        TINY, optimizer=optimizer, extended_from=0.0, extended_fraction=0.5, midway_fraction=0.5
    )
    train(config, fresh(), tmp_path / "whole")

    class Killed(Exception):
        pass

    def failing(*arguments: object) -> Plan:
        if arguments[-1] == cut:
            raise Killed
        return plan_batch(*arguments)

    monkeypatch.setattr("latent_rl.trainer.plan_batch", failing)
    with pytest.raises(Killed):
        train(config, fresh(), tmp_path / "cut")
    monkeypatch.undo()
    train(config, fresh(), tmp_path / "cut", resume=True)
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")
    whole, cut_run = (load_file(tmp_path / run / "training.safetensors") for run in ("whole", "cut"))
    assert whole.keys() == cut_run.keys()
    for name, value in whole.items():
        assert torch.equal(value, cut_run[name]), name


@pytest.mark.slow
def test_a_killed_process_loses_at_most_the_steps_since_the_last_save(tmp_path: Path) -> None:
    """SIGKILL at a random moment, several times; every resume goes on, and the end is that of a whole run."""
    command = [
        sys.executable, "-m", "latent_rl", "train", "--task", "sudoku4x4", "--num-batches", "60", "--batch-size", "8",
        "--width", "16", "--num-validation", "8", "--validate-every", "20", "--validation-steps", "3",
        "--save-every", "3", "--threads", "1",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def whole_run(folder: str) -> None:
        run = [*command, "--out", str(tmp_path / folder), "--resume"]
        subprocess.run(run, check=True, capture_output=True, env=environment)

    whole_run("whole")
    state = tmp_path / "cut" / "training.safetensors"
    for _ in range(3):
        run = subprocess.Popen(
            [*command, "--out", str(tmp_path / "cut"), "--resume"], stderr=subprocess.DEVNULL, env=environment
        )
        before, deadline = state.stat().st_mtime_ns if state.exists() else 0, time.monotonic() + 60
        while time.monotonic() < deadline and run.poll() is None:
            if state.exists() and state.stat().st_mtime_ns > before:
                break
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        run.wait()
    subprocess.run(
        [*command, "--out", str(tmp_path / "cut"), "--resume"], check=True, capture_output=True, env=environment
    )
    whole, cut = (load_file(tmp_path / run / "training.safetensors") for run in ("whole", "cut"))
    for name, value in whole.items():
        assert torch.equal(value, cut[name]), name


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    train(TINY, fresh(), tmp_path)
    with pytest.raises(InvalidValueError, match="--resume"):
        train(TINY, fresh(), tmp_path)
    with pytest.raises(CheckpointError, match="batch_size differ"):
        train(dataclasses.replace(TINY, batch_size=4), fresh(), tmp_path, resume=True)


def test_a_damaged_training_state_is_refused(tmp_path: Path) -> None:
    train(TINY, fresh(), tmp_path)
    state = tmp_path / "training.safetensors"
    state.write_bytes(state.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match="whole training state"):
        train(TINY, fresh(), tmp_path, resume=True)


def test_divergence_is_reported_and_not_saved(tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, optimizer="adamw", lr=1e30, warmup_steps=1)
    with pytest.raises(DivergedError, match="Lower lr"):
        train(config, fresh(), tmp_path)


def test_wrong_configs_are_refused() -> None:
    for change, message in [
        ({"targets": "fnal"}, "did you mean 'final'"),
        ({"optimizer": "sgd"}, "unknown optimizer"),
        ({"num_batches": 0}, "num_batches must be at least 1"),
        ({"reveal_fraction": 1.5}, r"reveal_fraction must be in \[0, 1\]"),
    ]:
        with pytest.raises((InvalidValueError, UnknownNameError), match=message):
            dataclasses.replace(TINY, **change)
    with pytest.raises(InvalidValueError, match="must fit the task"):
        train(dataclasses.replace(TINY, task="sudoku6x6"), fresh(), Path("never"))


@pytest.mark.slow
@pytest.mark.parametrize("targets", ["final", "dis"])
def test_eight_puzzles_can_be_learned_by_heart(targets: str) -> None:
    """Both kinds of targets bring the answer of a small set to certainty."""
    from torch.optim.swa_utils import AveragedModel

    from latent_rl.trainer import make_optimizers, train_batch

    config = TrainConfig(task="sudoku4x4", num_batches=120, targets=targets, warmup_steps=20, extended_fraction=0.0)
    reasoner = random_reasoner(width=64).requires_grad_(True)
    optimizers, average = make_optimizers(config, reasoner), AveragedModel(reasoner)
    plan = plan_of(dataclasses.replace(config, batch_size=8, midway_fraction=0.0), 6, 0)
    first = train_batch(reasoner, average, optimizers, config, plan, 0)
    for batch in range(1, 120):
        metrics = train_batch(reasoner, average, optimizers, config, plan, batch * 6)
    assert metrics["train/exact_accuracy"] == 1
    assert metrics["train/loss"] < first["train/loss"] / 2


def test_the_evaluation_judges_every_step() -> None:
    reasoner = random_reasoner()
    puzzles = TASK.puzzles("test").map(lambda tensor: tensor[:20])
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
