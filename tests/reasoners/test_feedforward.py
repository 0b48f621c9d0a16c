"""Networks without recursion: what they compute, and that they match what they are compared with."""

import dataclasses
from pathlib import Path

import pytest
import torch
from helpers import TASK, example_source, random_core
from torch import nn

from latent_rl.agents.evaluate import evaluate_policy
from latent_rl.agents.rules import fixed_steps
from latent_rl.config import from_dict
from latent_rl.errors import InvalidValueError, UnknownNameError
from latent_rl.evaluation.fixed_steps import evaluate_fixed
from latent_rl.reasoners.base import Reasoner
from latent_rl.reasoners.cells import CellConfig, CellNetwork
from latent_rl.reasoners.checkpoint import load_reasoner, make_reasoner, reasoner_facts
from latent_rl.reasoners.feedforward import FeedForward, FeedForwardConfig, match_depth, match_parameters
from latent_rl.reasoners.hrm import HRMConfig
from latent_rl.reasoners.trm import TRMConfig
from latent_rl.training.config import TrainConfig, suited
from latent_rl.training.episodes import plan_batch, supervise
from latent_rl.training.state import TrainingState
from latent_rl.training.trainer import train
from latent_rl.training.updates import train_batch

SIZE = {"vocab_size": TASK.vocab_size, "seq_len": TASK.seq_len, "width": 16}
INPUTS = TASK.puzzles("test").inputs[:8]
RECURSIVE = {
    "dis": TRMConfig(**SIZE),
    "trm": TRMConfig(**SIZE, num_layers=2, num_cycles=3, num_latent_updates=4, num_supervision_steps=2),
    "attention": TRMConfig(**SIZE, mixer="attention", positions="learned", feedback=True, num_supervision_steps=2),
    "hrm": HRMConfig(**SIZE, num_layers=2, num_answer_layers=3, num_supervision_steps=2),
}
EACH = pytest.mark.parametrize("name", RECURSIVE)


def network(config: CellConfig) -> CellNetwork:
    torch.manual_seed(0)
    return make_reasoner(config, torch.float32)


def applications(reasoner: CellNetwork, num_steps: int) -> tuple[int, int]:
    """How many blocks are applied in so many steps, and how many different ones they are."""
    applied: list[int] = []
    for name, module in reasoner.named_modules():
        if name.rpartition(".")[0] in ("blocks", "answer_blocks"):
            module.register_forward_hook(lambda module, inputs, output: applied.append(id(module)))
    carry = reasoner.initial_carry(2)
    for index in range(num_steps):
        carry, _ = reasoner.step(INPUTS[:2], carry, index)
    return len(applied), len(set(applied))


def num_parameters(reasoner: nn.Module) -> int:
    return sum(parameter.numel() for parameter in reasoner.parameters())


@EACH
def test_depth_is_that_of_the_recursive_reasoner_with_weights_of_their_own(name: str) -> None:
    recursive = RECURSIVE[name]
    depth, _ = applications(network(recursive), recursive.num_supervision_steps)
    assert applications(network(match_depth(recursive)), 1) == (depth, depth)


@EACH
def test_passes_are_those_of_the_recursive_reasoner(name: str) -> None:
    recursive, matched = RECURSIVE[name], network(match_depth(RECURSIVE[name]))
    _, output = matched.step(INPUTS, matched.initial_carry(8), 0)
    expected = recursive.num_supervision_steps * recursive.num_cycles * (recursive.num_latent_updates + 1)
    assert output.passes == matched.config.passes_per_step == expected


@EACH
def test_parameters_are_those_of_the_recursive_reasoner(name: str) -> None:
    """All but the embeddings of steps and predictions and the second halting logit, for which it has no use."""
    recursive, matched = network(RECURSIVE[name]), network(match_parameters(RECURSIVE[name]))
    extra = sum(p.numel() for key, p in recursive.named_parameters() if key in ("embed_step", "embed_prediction"))
    if recursive.config.continue_head:
        extra += RECURSIVE[name].width + 1
    assert num_parameters(matched) == num_parameters(recursive) - extra
    assert extra < 0.05 * num_parameters(recursive)
    blocks = len(recursive.blocks) + len(getattr(recursive, "answer_blocks", ()))
    assert applications(matched, 1) == (blocks, blocks)


def test_it_is_a_plain_stack() -> None:
    """f_3(f_2(f_1(x))), restated."""
    reasoner = network(FeedForwardConfig(**SIZE, mixer="attention", num_layers=3))
    states = 16**0.5 * reasoner.embed_tokens[INPUTS]
    for block in reasoner.blocks:
        states = block(states)
    carry, output = reasoner.step(INPUTS, reasoner.initial_carry(8), 0)
    torch.testing.assert_close(output.conditional_logits, states @ reasoner.head.T)
    torch.testing.assert_close(output.halt_logit, reasoner.halt_head(states[:, 0])[:, 0])
    assert torch.equal(carry.prediction, output.conditional_logits.argmax(-1))


def test_later_steps_and_more_updates_change_nothing() -> None:
    reasoner = network(FeedForwardConfig(**SIZE, num_layers=3, num_passes=3))
    assert isinstance(reasoner, Reasoner)
    carry, first = reasoner.step(INPUTS, reasoner.initial_carry(8), 0)
    for index in (1, torch.arange(8)):
        carry, later = reasoner.step(INPUTS, carry, index, num_latent_updates=5)
        assert torch.equal(later.conditional_logits, first.conditional_logits)
        torch.testing.assert_close(later.reference_logits, first.conditional_logits)
        assert later.passes == first.passes == 3


def test_every_weight_learns() -> None:
    reasoner = network(FeedForwardConfig(**SIZE, num_layers=4))
    _, output = reasoner.step(INPUTS, reasoner.initial_carry(8), 0)
    (output.conditional_logits.square().sum() + output.halt_logit.sum()).backward()
    assert [name for name, p in reasoner.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"num_cycles": 2},
        {"num_latent_updates": 2},
        {"num_supervision_steps": 6},
        {"step_embedding": True},
        {"feedback": True},
        {"input_feedback": True},
        {"continue_head": True},
    ],
)
def test_recursion_can_not_be_asked_for(changes: dict) -> None:
    (name,) = changes
    with pytest.raises(UnknownNameError, match=f"unknown FeedForwardConfig field '{name}'"):
        from_dict(FeedForwardConfig, SIZE | changes)


def test_it_counts_as_a_pass_at_least() -> None:
    with pytest.raises(InvalidValueError, match=r"FeedForwardConfig\.num_passes must be"):
        FeedForwardConfig(**SIZE, num_passes=0)


def test_what_only_recursion_can_use_is_off_or_refused() -> None:
    reasoner, config = network(FeedForwardConfig(**SIZE)), TrainConfig(task="sudoku4x4")
    expected = dataclasses.replace(config, extended_fraction=0.0, validation_steps=1)
    assert suited(config, reasoner) == expected
    for changes, message in [
        ({"extended_fraction": 0.5}, "extended_fraction must be 0.0 with a reasoner without recursion"),
        ({"validation_steps": 8}, "validation_steps must be 1 with a reasoner without recursion"),
        ({"batching": "replacement"}, "at least 2 supervision steps"),
        ({"continue_target": True}, "continue_head"),
    ]:
        with pytest.raises(InvalidValueError, match=message):
            suited(dataclasses.replace(config, **changes), reasoner)


def test_the_trainer_trains_it_and_its_folder_loads(tmp_path: Path) -> None:
    start = network(match_depth(TRMConfig(**SIZE, num_supervision_steps=2)))
    before = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    config = TrainConfig(task=TASK.name, num_batches=3, batch_size=4, num_validation=8, ema=0.0)
    trained = train(config, start, tmp_path)
    loaded = load_reasoner(tmp_path, torch.float32)
    assert isinstance(loaded, FeedForward)
    assert loaded.config == start.config
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[name])
        moved = not torch.equal(tensor, before[name])
        assert moved == (name not in ("initial_answer", "initial_latent")), name
    facts = reasoner_facts(tmp_path)
    assert facts["decoding"]["num_steps"] == 1
    assert facts["train"]["extended_fraction"] == 0


def test_the_decision_process_equals_fixed_decoding() -> None:
    reasoner = network(match_depth(TRMConfig(**SIZE, num_supervision_steps=2))).requires_grad_(False)
    core = random_core(reasoner=reasoner, submit="last")
    puzzles = TASK.puzzles("test")[:20]
    plain = evaluate_fixed(reasoner, TASK, puzzles, 2)
    outcome = evaluate_policy(core, fixed_steps(core.mode, 2), puzzles)
    assert outcome.solved.tolist() == plain.solved[0].tolist() == plain.solved[1].tolist()
    assert outcome.passes.tolist() == [2 * 6] * 20


@pytest.mark.slow
def test_eight_puzzles_can_be_learned_by_heart() -> None:
    config = TrainConfig(task="sudoku4x4", num_batches=300, batch_size=8, warmup_steps=20, extended_fraction=0.0)
    reasoner = network(match_depth(TRMConfig(**SIZE | {"width": 64}, num_supervision_steps=2)))
    source = example_source(config)
    state, plan = TrainingState.begin(source, reasoner), plan_batch(source, reasoner, 0)
    for _ in range(300):
        metrics = train_batch(state, supervise(reasoner, plan, config))
    assert metrics["train/exact_accuracy"] == 1
