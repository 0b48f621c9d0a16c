"""Contracts of the networks behind the protocol: batches, ages, HRM's two networks, what config files may lack."""

import dataclasses
import inspect
import json

import numpy as np
import pytest
import torch
from helpers import TASK, random_core, random_reasoner
from public_cases import BASE, PUZZLES, SHAPES, TRM_BASE, random_network, run, some_inputs

from latent_rl.agents.evaluate import evaluate_policy
from latent_rl.agents.rules import fixed_steps
from latent_rl.envs.actions import Decision, make_action
from latent_rl.errors import CheckpointError, InvalidValueError, UnknownNameError
from latent_rl.evaluation.fixed_steps import evaluate_fixed
from latent_rl.reasoners.base import Reasoner, ReasonerModule
from latent_rl.reasoners.checkpoint import CONFIG, load_reasoner, reasoner_facts, save_reasoner, seal
from latent_rl.reasoners.hrm import HRM, HRMConfig
from latent_rl.reasoners.network import NetworkConfig
from latent_rl.reasoners.trm import TRMConfig
from latent_rl.training.trainer import TrainConfig, train
from latent_rl.types import Carry

SHAPED = pytest.mark.parametrize("name", SHAPES)


@SHAPED
def test_shapes_are_as_documented(name: str) -> None:
    config, (inputs, ids) = SHAPES[name], some_inputs()
    reasoner = random_network(config)
    assert isinstance(reasoner, Reasoner)
    carry, output = reasoner.step(inputs, reasoner.initial_carry(5), 0, puzzle_ids=ids)
    states = (5, config.num_puzzle_positions + 16, config.width)
    assert (carry.answer.shape, carry.latent.shape, carry.prediction.shape) == (states, states, (5, 16))
    assert output.reference_logits.shape == output.conditional_logits.shape == (5, 16, 6)
    assert output.halt_logit.shape == output.continue_logit.shape == (5,)
    assert output.passes == config.num_cycles * (config.num_latent_updates + 1)


@SHAPED
def test_permuting_the_batch_permutes_the_outputs(name: str) -> None:
    reasoner, (inputs, ids), order = random_network(SHAPES[name]), some_inputs(), torch.tensor([3, 0, 4, 1, 2])
    plain, permuted = run(reasoner, inputs, ids, 3), run(reasoner, inputs[order], ids[order], 3)
    for one, other in zip(plain, permuted, strict=True):
        torch.testing.assert_close(one.conditional_logits[order], other.conditional_logits)
        torch.testing.assert_close(one.halt_logit[order], other.halt_logit)
        torch.testing.assert_close(one.continue_logit[order], other.continue_logit)


@SHAPED
def test_rows_of_different_ages_equal_rows_run_alone(name: str) -> None:
    """One batch holds a row before its first step, one after each of the next ones, and one beyond N_sup."""
    reasoner, (inputs, ids) = random_network(SHAPES[name]), some_inputs()
    ages = torch.tensor([0, 1, 2, 3, SHAPES[name].num_supervision_steps + 1])
    carry, alone = reasoner.initial_carry(5), []
    for row, age in enumerate(ages.tolist()):
        pick = torch.tensor([row])
        own = reasoner.initial_carry(1)
        for index in range(age):
            own, _ = reasoner.step(inputs[pick], own, index, puzzle_ids=ids[pick])
        carry = carry.put(pick, own)
        alone.append(reasoner.step(inputs[pick], own, age, puzzle_ids=ids[pick]))
    after, output = reasoner.step(inputs, carry, ages, puzzle_ids=ids)
    for row, (own, own_output) in enumerate(alone):
        torch.testing.assert_close(after.latent[row], own.latent[0])
        torch.testing.assert_close(output.conditional_logits[row], own_output.conditional_logits[0])
        torch.testing.assert_close(output.reference_logits[row], own_output.reference_logits[0])


@SHAPED
def test_the_reference_is_the_readout_before_the_step(name: str) -> None:
    first, second = run(random_network(SHAPES[name]), *some_inputs(), 2)
    torch.testing.assert_close(second.reference_logits, first.conditional_logits)


@SHAPED
def test_saving_and_loading_is_exact(name: str, tmp_path) -> None:
    reasoner = random_network(SHAPES[name], torch.float32)
    save_reasoner(reasoner, tmp_path, {"seed": 3})
    loaded = load_reasoner(tmp_path, torch.float32)
    assert type(loaded) is type(reasoner)
    assert loaded.config == reasoner.config
    assert reasoner_facts(tmp_path)["seed"] == 3
    for one, other in zip(run(reasoner, *some_inputs(), 2), run(loaded, *some_inputs(), 2), strict=True):
        assert torch.equal(one.conditional_logits, other.conditional_logits)
        assert torch.equal(one.halt_logit, other.halt_logit)


def test_folders_of_before_the_new_fields_load(tmp_path) -> None:
    """The weights and config keys that a default TRM had when the first reasoners were trained."""
    reasoner = random_reasoner()
    assert list(reasoner.state_dict()) == [
        "embed_tokens", "embed_step", "head", "initial_answer", "initial_latent",
        "blocks.0.cells.gate_up", "blocks.0.cells.down", "blocks.0.channels.gate_up", "blocks.0.channels.down",
        "halt_head.weight", "halt_head.bias",
    ]  # fmt: skip
    save_reasoner(reasoner, tmp_path)
    facts = reasoner_facts(tmp_path)
    old = (
        "vocab_size", "seq_len", "width", "num_layers", "mixer", "num_heads", "expansion", "num_cycles",
        "num_latent_updates", "num_supervision_steps", "step_embedding", "feedback",
    )  # fmt: skip
    facts["reasoner"] = {name: facts["reasoner"][name] for name in old}
    (tmp_path / CONFIG).write_text(json.dumps(facts))
    seal(tmp_path)
    assert load_reasoner(tmp_path).config == reasoner.config


def subclasses(cls: type) -> list[type]:
    """Those of the package, of any depth."""
    found = [deeper for each in cls.__subclasses__() for deeper in (each, *subclasses(each))]
    return [each for each in found if each.__module__.startswith("latent_rl.")]


@pytest.mark.parametrize("base", [ReasonerModule, NetworkConfig])
def test_every_class_is_abstract_or_final(base: type) -> None:
    """And no method that works is replaced: what a network does is in one place."""
    assert len(subclasses(base)) >= 5
    for cls in subclasses(base):
        assert inspect.isabstract(cls) != getattr(cls, "__final__", False), cls
        for name, method in vars(cls).items():
            if inspect.isfunction(method) and not name.startswith("__"):
                for parent in cls.__mro__[1:]:
                    if parent.__module__.startswith("latent_rl.") and name in vars(parent):
                        assert getattr(vars(parent)[name], "__isabstractmethod__", False), (cls, name, parent)


def test_unknown_architectures_are_named(tmp_path) -> None:
    class Other(ReasonerModule):
        def initial_carry(self, batch_size):
            raise NotImplementedError

        step = initial_carry

    with pytest.raises(UnknownNameError, match="Other"):
        save_reasoner(Other(SHAPES["attention"]), tmp_path)
    save_reasoner(random_reasoner(), tmp_path)
    (tmp_path / CONFIG).write_text(json.dumps({**reasoner_facts(tmp_path), "architecture": "hmr"}))
    with pytest.raises(CheckpointError, match="did you mean 'hrm'"):
        load_reasoner(tmp_path)


def test_an_hrm_whose_networks_are_equal_is_a_trm() -> None:
    trm = random_network(SHAPES["attention"])
    hrm = random_network(HRMConfig(**BASE, **PUZZLES, num_layers=2, num_answer_layers=2))
    hrm.load_state_dict(trm.state_dict(), strict=False)
    hrm.answer_blocks.load_state_dict(trm.blocks.state_dict())
    for one, other in zip(run(hrm, *some_inputs(), 3), run(trm, *some_inputs(), 3), strict=True):
        assert torch.equal(one.conditional_logits, other.conditional_logits)
        assert one.passes == other.passes


def test_hrm_has_the_gradient_of_its_last_two_updates() -> None:
    """A step's gradient is that of one latent and one answer update from where the updates before them led."""
    whole = random_network(SHAPES["hrm"])  # T=2, n=2
    single = random_network(dataclasses.replace(whole.config, num_cycles=1))
    inputs, _ = some_inputs()
    with torch.no_grad():
        first, _ = single.step(inputs, single.initial_carry(5), 0)
        updated, _ = single.step(inputs, first, 0, num_latent_updates=1)
    last = dataclasses.replace(first, latent=updated.latent)

    def gradients(reasoner: HRM, carry: Carry, updates: int) -> dict[str, torch.Tensor]:
        reasoner.requires_grad_(True)
        _, output = reasoner.step(inputs, carry, 0, num_latent_updates=updates)
        output.conditional_logits.square().sum().backward()
        return {name: p.grad for name, p in reasoner.named_parameters() if p.grad is not None}

    got, expected = gradients(whole, whole.initial_carry(5), 2), gradients(single, last, 1)
    assert got.keys() == expected.keys()
    assert {"blocks.0.cells.qkv", "answer_blocks.0.cells.qkv", "embed_tokens"} <= got.keys()
    for name, gradient in got.items():
        torch.testing.assert_close(gradient, expected[name])


def test_an_hrm_trains_and_its_folder_loads(tmp_path) -> None:
    torch.manual_seed(0)
    shape = HRMConfig(vocab_size=TASK.vocab_size, seq_len=TASK.seq_len, width=16, num_supervision_steps=2)
    start = HRM(shape, torch.float32)
    before = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    config = TrainConfig(task=TASK.name, num_batches=3, batch_size=4, num_validation=8, validation_steps=2, ema=0.0)
    trained = train(config, start, tmp_path)
    loaded = load_reasoner(tmp_path, torch.float32)
    assert isinstance(loaded, HRM)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[name])
        moved = not torch.equal(tensor, before[name])
        assert moved == (name not in ("initial_answer", "initial_latent")), name


@SHAPED
def test_the_decision_process_equals_fixed_decoding(name: str) -> None:
    core = random_core(reasoner=random_network(SHAPES[name], torch.float32), submit="last")
    puzzles = TASK.puzzles("test")[:20]
    plain = evaluate_fixed(core.reasoner, TASK, puzzles, 3)
    outcome = evaluate_policy(core, fixed_steps(core.mode, 3), puzzles, batch_size=7)
    np.testing.assert_array_equal(outcome.solved, plain.solved[2].numpy())
    assert outcome.passes.tolist() == [3 * plain.passes_per_step] * 20


@SHAPED
def test_every_network_runs_in_the_decision_process(name: str) -> None:
    """Rows that restart share a batch with rows that go on, and each does as it would alone."""
    core = random_core(reasoner=random_network(SHAPES[name], torch.float32))
    puzzles = TASK.puzzles("test")[:4]
    first = ("refine", "deep", "refine", "refine")
    start = core.step(core.begin(puzzles, torch.arange(4)), Decision.of(list(map(make_action, first)))).state
    choice = Decision.of(list(map(make_action, ("restart_view", "deep", "refine_w0.5", "restart_view"))))
    together = core.step(start, choice).state
    assert together.age.tolist() == [1, 2, 2, 1]
    for row in range(4):
        pick = torch.tensor([row])
        alone = core.step(start.select(pick), choice.select(pick)).state
        torch.testing.assert_close(alone.carry.latent, together.carry.latent[pick], atol=1e-3, rtol=1e-3)
        assert torch.equal(alone.prediction, together.prediction[pick])


@pytest.mark.parametrize(("positions", "equivariant"), [("none", True), ("learned", False), ("rotary", False)])
def test_attention_without_positions_sees_a_set_of_cells(positions: str, equivariant: bool) -> None:
    """Permuted cells give permuted logits exactly where nothing says which cell is which."""
    reasoner = random_network(TRMConfig(**TRM_BASE, mixer="attention", positions=positions))
    (inputs, ids), order = some_inputs(), torch.arange(15, -1, -1)
    plain, permuted = run(reasoner, inputs, ids, 1), run(reasoner, inputs[:, order], ids, 1)
    same = torch.allclose(plain[0].conditional_logits[:, order], permuted[0].conditional_logits, atol=1e-5)
    assert same == equivariant


def test_feedback_as_input_reads_the_prediction_from_the_second_step_on() -> None:
    reasoner, (inputs, ids) = random_network(SHAPES["dis"]), some_inputs()
    carry, _ = reasoner.step(inputs, reasoner.initial_carry(5), 0, puzzle_ids=ids)
    other = (inputs + 1) % 6
    _, output = reasoner.step(inputs, carry, 1, puzzle_ids=ids)
    _, blind = reasoner.step(other, carry, 1, puzzle_ids=ids)
    assert torch.equal(output.conditional_logits, blind.conditional_logits)
    _, first = reasoner.step(other, reasoner.initial_carry(5), 0, puzzle_ids=ids)
    assert not torch.equal(first.conditional_logits.argmax(-1), carry.prediction)


def test_puzzles_differ_by_their_embedding_alone() -> None:
    reasoner = random_network(SHAPES["attention"])
    inputs = some_inputs(1)[0].expand(3, -1)
    output = run(reasoner, inputs, torch.arange(3), 1)[0].conditional_logits
    assert not torch.allclose(output[0], output[1], atol=1e-2)
    reasoner.embed_puzzles[1] = reasoner.embed_puzzles[0]
    output = run(reasoner, inputs, torch.arange(3), 1)[0].conditional_logits
    torch.testing.assert_close(output[0], output[1])
    _, default = reasoner.step(inputs, reasoner.initial_carry(3), 0)
    torch.testing.assert_close(default.conditional_logits, output[:1].expand(3, -1, -1))


def test_unsuitable_puzzle_ids_are_refused() -> None:
    reasoner, (inputs, ids) = random_network(SHAPES["attention"]), some_inputs()
    for wrong in (ids + 3, ids - 3, ids.int(), ids[:2]):
        with pytest.raises(InvalidValueError, match="puzzle_ids must be"):
            reasoner.step(inputs, reasoner.initial_carry(5), 0, puzzle_ids=wrong)
    plain = random_network(SHAPES["learned"])
    plain.step(inputs, plain.initial_carry(5), 0, puzzle_ids=ids + 100)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_puzzle_positions": 0}, "must be all 0, or all positive"),
        ({"puzzle_width": 33}, "at most num_puzzle_positions \\* width"),
        ({"num_puzzle_ids": -1}, "num_puzzle_ids must be a whole number in"),
        ({"num_puzzle_ids": 0}, "must be all 0"),
        ({"positions": "rotray"}, "did you mean 'rotary'"),
        ({"mixer": "mlp_cel_norm"}, "did you mean 'mlp_cell_norm'"),
    ],
)
def test_impossible_shapes_are_refused(changes: dict, message: str) -> None:
    with pytest.raises((InvalidValueError, UnknownNameError), match=message):
        TRMConfig(**{**TRM_BASE, **PUZZLES, **changes})
    with pytest.raises(InvalidValueError, match=r"num_answer_layers must be a whole number in \[1, 1024\]"):
        HRMConfig(**BASE, num_answer_layers=0)
