"""Reasoners away from the CPU: shapes and devices alone, on a machine without a GPU."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import TASK, example_source, random_core, random_reasoner
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from latent_rl.envs.observations import FEATURES, StepView, make_feature, measure, measurements
from latent_rl.envs.state import State
from latent_rl.errors import InvalidValueError
from latent_rl.improvement import guided_carry
from latent_rl.reasoners.engine import chosen_device, device_of
from latent_rl.reasoners.trm import TRM
from latent_rl.training.config import TrainConfig
from latent_rl.training.episodes import plan_batch, supervise
from latent_rl.training.objectives import LabelObjective
from latent_rl.training.replacement import draw_slots, run_step

AWAY = torch.device("meta")
"""Stands in for a GPU: torch without CUDA knows no fakes on one."""


@pytest.fixture(autouse=True)
def _weights_without_contents(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut normal distribution is drawn by looking at numbers, which fakes don't have."""
    monkeypatch.setattr(torch.nn.init, "trunc_normal_", lambda tensor, **_: tensor)


@pytest.fixture
def fakes() -> Iterator[FakeTensorMode]:
    """Tensors without contents; an operation on two devices is an error."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode


def away(**config: Any) -> TRM:
    reasoner = random_reasoner(**config)
    for module in reasoner.modules():  # `to` would move them in place, which fakes don't allow
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(parameter.to(AWAY), requires_grad=False))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(AWAY))
    return reasoner


def test_the_fakes_tell_devices_apart(fakes: FakeTensorMode) -> None:
    with pytest.raises(RuntimeError, match="device"):
        torch.ones(2) + torch.ones(2, device=AWAY)


@pytest.mark.parametrize("mixer", ["mlp", "attention", "convolution"])
def test_the_carry_stays_and_the_output_comes_home(fakes: FakeTensorMode, mixer: str) -> None:
    reasoner, inputs = away(mixer=mixer, feedback=True), torch.ones(3, TASK.seq_len, dtype=torch.int64)
    carry = reasoner.initial_carry(3)
    for index in (0, torch.ones(3, dtype=torch.int64)):
        carry, output = reasoner.step(inputs, carry, index)
        assert {tensor.device for tensor in vars(carry).values()} == {AWAY}
        assert output.conditional_logits.device == output.halt_logit.device == inputs.device
    assert device_of(reasoner) == AWAY


def test_an_episode_trains_there() -> None:
    config = TrainConfig(task=TASK.name, batch_size=4, midway_fraction=1.0, dual_weight=0.1)
    plan = plan_batch(example_source(config), random_reasoner(), 0)
    with FakeTensorMode(allow_non_fake_inputs=True):
        reasoner = away().requires_grad_()
        count = 0
        for step in supervise(reasoner, plan.to(AWAY), config):
            loss = example_source(config).objective.loss(step)
            loss.backward()
            count += 1
        assert count == 6
        assert loss.device == AWAY
        assert {parameter.grad.device for parameter in reasoner.parameters() if parameter.grad is not None} == {AWAY}


def test_halted_puzzles_make_room_there() -> None:
    """Up to the choice of who leaves, which depends on contents."""
    config = TrainConfig(task=TASK.name, batch_size=4, batching="replacement")
    slots = draw_slots(example_source(config), random_reasoner(), 4, 0)
    with FakeTensorMode(allow_non_fake_inputs=True, shape_env=torch.fx.experimental.symbolic_shapes.ShapeEnv()):
        after, leaves, supervised = run_step(config, LabelObjective(config, TASK), away(), slots.to(AWAY))
        assert leaves.device == after.age.device == supervised.weight.device == supervised.targets.device == AWAY
        assert supervised.finished.device.type == "cpu"


@pytest.fixture
def begun() -> State:
    return random_core().begin(TASK.puzzles("test")[:3], torch.arange(3))


def test_the_environment_sees_it_from_home(begun: State, fakes: FakeTensorMode) -> None:
    reasoner, inputs = away(), torch.ones(3, TASK.seq_len, dtype=torch.int64)
    before = reasoner.initial_carry(3)
    after, output = reasoner.step(inputs, before, 0)
    guided = guided_carry(before, after, torch.full((3,), 1.5))
    assert guided.answer.device == AWAY
    given, log_probs = inputs > 0, output.conditional_logits.log_softmax(-1)
    view = StepView(given, log_probs, output, before, guided)
    assert measure(measurements(FEATURES), view).values.device == inputs.device
    pooled = make_feature("pooled_states").of(TASK, replace(begun, carry=after))
    assert (pooled.device, pooled.shape) == (inputs.device, (3, 64))
    kept = before.to(torch.device("cpu")).put(torch.arange(2), after.select(torch.arange(2)))
    assert kept.answer.device.type == "cpu"


def test_a_device_that_is_not_there_is_refused() -> None:
    assert chosen_device("cpu") == torch.device("cpu")
    with pytest.raises(InvalidValueError, match="must be one of this machine, such as cpu; got abacus"):
        chosen_device("abacus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_without_a_gpu_it_is_the_cpu() -> None:
    assert chosen_device() == torch.device("cpu")
    with pytest.raises(InvalidValueError, match="got cuda"):
        chosen_device("cuda")
