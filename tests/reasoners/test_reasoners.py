"""TRM: the contract of a reasoner, the recursion by hand, checkpoints."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import TASK, random_reasoner
from torch import nn
from torch.nn import functional as F

from latent_rl.errors import InvalidValueError, UnknownNameError
from latent_rl.reasoners import engine
from latent_rl.reasoners.base import Reasoner
from latent_rl.reasoners.checkpoint import load_reasoner, save_reasoner, shipped_reasoners
from latent_rl.reasoners.layers import BLOCKS, Attention, SwiGLU, gated, rms_norm, swiglu_width
from latent_rl.reasoners.trm import TRM, TRMConfig
from latent_rl.tasks.registry import make_task
from latent_rl.types import TaskShape

BASE = TASK.puzzles("test")[:8]
VARIANTS = [
    {},
    {"mixer": "attention"},
    {"mixer": "convolution"},
    {"num_layers": 2, "num_cycles": 3, "num_latent_updates": 4},
    {"feedback": True},
    {"step_embedding": False},
]


def some_steps(reasoner: TRM, inputs: torch.Tensor = BASE.inputs, count: int = 3) -> list[torch.Tensor]:
    carry, logits = reasoner.initial_carry(len(inputs)), []
    for index in range(count):
        carry, output = reasoner.step(inputs, carry, index)
        logits.append(output.conditional_logits)
    return logits


@pytest.mark.parametrize("config", VARIANTS)
class TestContract:
    """What the environment and the trainer rely on."""

    def test_it_satisfies_the_protocol(self, config: dict) -> None:
        assert isinstance(random_reasoner(**config), Reasoner)

    def test_shapes_dtypes_and_passes(self, config: dict) -> None:
        reasoner = random_reasoner(**config)
        carry, output = reasoner.step(BASE.inputs, reasoner.initial_carry(8), 0)
        assert carry.answer.shape == carry.latent.shape == (8, 16, 16)
        assert output.reference_logits.shape == output.conditional_logits.shape == (8, 16, TASK.vocab_size)
        assert output.conditional_logits.dtype == output.halt_logit.dtype == torch.float32
        assert output.halt_logit.shape == (8,)
        assert output.passes == config.get("num_cycles", 1) * (config.get("num_latent_updates", 2) + 1)

    def test_the_reference_is_the_last_steps_conditional(self, config: dict) -> None:
        reasoner = random_reasoner(**config)
        carry, first = reasoner.step(BASE.inputs, reasoner.initial_carry(8), 0)
        _, second = reasoner.step(BASE.inputs, carry, 1)
        torch.testing.assert_close(second.reference_logits, first.conditional_logits)

    def test_rows_are_independent(self, config: dict) -> None:
        reasoner = random_reasoner(**config)
        order = torch.tensor([5, 2, 7])
        for together, alone in zip(some_steps(reasoner), some_steps(reasoner, BASE.inputs[order]), strict=True):
            torch.testing.assert_close(together[order], alone, atol=1e-5, rtol=1e-4)

    def test_a_step_index_per_row_equals_the_rows_on_their_own(self, config: dict) -> None:
        reasoner = random_reasoner(**config)
        carry = reasoner.step(BASE.inputs, reasoner.initial_carry(8), 0)[0]
        indices = torch.tensor([0, 1, 2, 3, 4, 5, 6, 40])
        together = reasoner.step(BASE.inputs, carry, indices)[1].conditional_logits
        for row in range(8):
            pick = torch.tensor([row])
            alone = reasoner.step(BASE.inputs[pick], carry.select(pick), int(indices[row]))[1].conditional_logits
            torch.testing.assert_close(together[pick], alone, atol=1e-5, rtol=1e-4)

    def test_save_and_load_change_nothing(self, config: dict, tmp_path: Path) -> None:
        reasoner = random_reasoner(**config)
        save_reasoner(reasoner, tmp_path, {"seed": 0})
        loaded = load_reasoner(tmp_path, torch.float32)
        assert loaded.config == reasoner.config
        for mine, theirs in zip(some_steps(reasoner), some_steps(loaded), strict=True):
            assert torch.equal(mine, theirs)

    def test_every_weight_learns(self, config: dict) -> None:
        """Only the last cycle carries gradient, and it reaches all weights in the second step."""
        reasoner = random_reasoner(**config).requires_grad_(True)
        carry = reasoner.step(BASE.inputs, reasoner.initial_carry(8), 0)[0].map(torch.Tensor.detach)
        output = reasoner.step(BASE.inputs, carry, 1)[1]
        # The halting head starts at zero weights; its bias and weight still get a gradient of their own.
        (output.conditional_logits.square().sum() + output.halt_logit.sum()).backward()
        silent = [name for name, p in reasoner.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert silent == []


def test_the_recursion_by_hand() -> None:
    """n=2, T=1: z_L <- f(z_L + z_H + x) twice, z_H <- f(z_H + z_L); x is scaled by sqrt(D)."""
    reasoner = random_reasoner(mixer="attention")
    block = reasoner.blocks[0]
    x = math.sqrt(16) * (reasoner.embed_tokens[BASE.inputs] + reasoner.embed_step[0])
    answer = reasoner.initial_answer.expand(8, 16, 16)
    latent = reasoner.initial_latent.expand(8, 16, 16)
    for _ in range(2):
        latent = block(latent + answer + x)
    answer = block(answer + latent)
    carry, output = reasoner.step(BASE.inputs, reasoner.initial_carry(8), 0)
    torch.testing.assert_close(carry.answer, answer)
    torch.testing.assert_close(carry.latent, latent)
    torch.testing.assert_close(output.conditional_logits, answer @ reasoner.head.T)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gate_is_the_same_with_and_without_gradient(dtype: torch.dtype) -> None:
    halves = torch.randn(5, 32, dtype=dtype)
    wanted = gated(*halves.chunk(2, dim=-1))
    assert torch.equal(wanted, F.silu(halves[:, :16]) * halves[:, 16:])
    with torch.no_grad():
        assert torch.equal(gated(*halves.clone().chunk(2, dim=-1)), wanted)


class TestConvolution:
    """A network whose weights know nothing of the board's size."""

    def test_it_filters_every_channel_of_the_board(self) -> None:
        (block,) = random_reasoner(mixer="convolution").blocks
        states = torch.randn(16, 3, 16)
        board = states.permute(1, 2, 0).reshape(3, 16, 4, 4)
        wanted = F.conv2d(board, block.kernel.permute(2, 0, 1)[:, None], padding=1, groups=16)
        after = rms_norm(states + wanted.flatten(2).permute(2, 0, 1))
        torch.testing.assert_close(block(states), rms_norm(after + block.channels(after)))

    def test_a_pass_carries_news_one_cell_far(self) -> None:
        reasoner = random_reasoner(make_task("sudoku9x9"), mixer="convolution")
        boards = torch.ones(2, 81, dtype=torch.int64)
        boards[1, 40] = 2  # the middle; of the six passes in two steps, two read only what the others have written
        first, second = (logits[1] != logits[0] for logits in some_steps(reasoner, boards, 2))
        rows, columns = torch.meshgrid(torch.arange(9), torch.arange(9), indexing="ij")
        distance = torch.maximum((rows - 4).abs(), (columns - 4).abs()).flatten()
        assert torch.equal(first.any(1), distance <= 3)
        assert second.any(1).all()

    def test_it_runs_on_boards_of_any_size(self) -> None:
        reasoner = random_reasoner(mixer="convolution")
        whole, corner = (
            reasoner.resized(TaskShape(TASK.vocab_size, 100)),
            reasoner.resized(TaskShape(TASK.vocab_size, 49)),
        )
        assert whole is not None
        assert corner is not None
        boards = torch.randint(1, TASK.vocab_size, (4, 10, 10))
        (wide,) = some_steps(whole, boards.flatten(1), 1)
        (narrow,) = some_steps(corner, boards[:, :7, :7].flatten(1), 1)
        # News from beyond these 7x7 cells have not reached the first 4x4 after one step of three passes.
        near = narrow.view(4, 7, 7, -1)[:, :4, :4]
        torch.testing.assert_close(wide.view(4, 10, 10, -1)[:, :4, :4], near)

    def test_others_are_tied_to_their_size(self) -> None:
        assert random_reasoner().resized(TaskShape(TASK.vocab_size, 100)) is None
        assert (
            random_reasoner(mixer="convolution", positions="learned").resized(TaskShape(TASK.vocab_size, 100)) is None
        )

    def test_a_board_must_be_square(self) -> None:
        with pytest.raises(InvalidValueError, match="needs a square board; got 12 positions"):
            random_reasoner(make_task("sudoku6x6"), mixer="convolution").resized(TaskShape(8, 12))


def test_cycles_repeat_the_recursion() -> None:
    three, one = random_reasoner(num_cycles=3), random_reasoner(num_cycles=1)
    carry = one.initial_carry(8)
    for _ in range(3):
        carry = one.step(BASE.inputs, carry, 0)[0]
    torch.testing.assert_close(three.step(BASE.inputs, three.initial_carry(8), 0)[0].answer, carry.answer)


def test_the_norm_and_the_inner_width() -> None:
    x = torch.randn(3, 5, 64) * 7
    normed = rms_norm(x)
    torch.testing.assert_close(normed, nn.RMSNorm(64, eps=1e-5, elementwise_affine=False)(x))
    # 2/3 * 4 * D, up to the next multiple of 256.
    assert [swiglu_width(width, 4.0) for width in (81, 128, 256, 512)] == [256, 512, 768, 1536]


def test_swiglu_on_either_axis() -> None:
    torch.manual_seed(0)
    layer = SwiGLU(6, 4.0)
    x = torch.randn(6, 3, 5)
    gate, up = layer.gate_up.chunk(2)
    columns = x.movedim(0, -1)
    by_hand = (F.silu(columns @ gate.T) * (columns @ up.T)) @ layer.down.T
    torch.testing.assert_close(layer(columns), by_hand)
    torch.testing.assert_close(layer.mix_leading(x), by_hand.movedim(-1, 0))


def test_attention_is_softmax_attention_with_relative_positions() -> None:
    torch.manual_seed(0)
    layer = Attention(16, 2, 9, rotary=True)
    # The same content everywhere: every score depends on the distance alone, so scores form a Toeplitz matrix.
    query = layer._rotate(torch.randn(8).expand(1, 2, 9, 8))
    key = layer._rotate(torch.randn(8).expand(1, 2, 9, 8))
    scores = (query @ key.transpose(-1, -2))[0, 0]
    for offset in range(-8, 9):
        diagonal = scores.diagonal(offset)
        torch.testing.assert_close(diagonal, diagonal[0].expand_as(diagonal), atol=1e-5, rtol=1e-4)
    # With rotation switched off it is torch's own attention.
    x = torch.randn(2, 9, 16)
    layer.cosine, layer.sine = torch.ones_like(layer.cosine), torch.zeros_like(layer.sine)
    query, key, value = (F.linear(x, w).view(2, 9, 2, 8).transpose(1, 2) for w in layer.qkv.chunk(3))
    expected = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(2, 9, 16) @ layer.out.T
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)


def test_blocks_keep_unit_scale() -> None:
    """Post-norm: whatever goes in, root mean square 1 comes out."""
    torch.manual_seed(0)
    for block in BLOCKS.values():
        x = 50 * torch.randn((9, 3, 16) if block.cells_first else (3, 9, 16))
        rms = block(16, 2, 9, 4.0, True)(x).square().mean(-1).sqrt()
        torch.testing.assert_close(rms, torch.ones_like(rms), atol=1e-3, rtol=0)


def test_bf16_is_close_to_float32() -> None:
    exact = random_reasoner()
    rough = TRM(exact.config, compute_dtype=torch.bfloat16).requires_grad_(False)
    rough.load_state_dict(exact.state_dict())
    for a, b in zip(some_steps(exact), some_steps(rough), strict=True):
        assert (a - b).abs().mean() < 0.03 * a.abs().mean()


@pytest.mark.slow
def test_compiled_steps_equal_eager_ones() -> None:
    eager, compiled = random_reasoner(), random_reasoner()
    compiled.compile()
    for a, b in zip(some_steps(eager), some_steps(compiled), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("count", [1, 40, 64, 65, 100, 130])
@pytest.mark.parametrize("compiled", [False, True])
def test_pieces_equal_the_whole_batch(count: int, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU steps in pieces; without gradient, compiled ones are all of one size."""
    reasoner, rows = random_reasoner(), torch.arange(count) % len(BASE)
    sizes: list[int] = []
    if compiled:
        reasoner.compile(backend=lambda graph, _: lambda *tensors: sizes.append(1) or graph(*tensors))
    inputs, carry, index = BASE.inputs[rows], reasoner.initial_carry(count), torch.arange(count) % 6
    with torch.no_grad():
        pieces = reasoner.step(inputs, carry, index)
    monkeypatch.setattr(engine, "PIECE", 1000)
    whole = random_reasoner().step(inputs, carry, index)
    for one, other in zip(whole, pieces, strict=True):
        for name, tensor in vars(one).items():
            if isinstance(tensor, torch.Tensor):
                torch.testing.assert_close(getattr(other, name), tensor, atol=1e-5, rtol=1e-4)
    # Full pieces and those that are at least half full run compiled.
    assert len(sizes) == (count + 32) // 64 * compiled


@pytest.mark.parametrize(("count", "sizes"), [(20, [20]), (64, [32, 32]), (65, [22, 22, 21])])
def test_gradients_of_pieces_add_up(count: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """With gradient pieces are smaller, and as equal as can be."""
    monkeypatch.setattr(engine, "SMALL_STATE", 0)
    reasoner, rows, met = random_reasoner().requires_grad_(True), torch.arange(count) % len(BASE), []
    monkeypatch.setattr(
        reasoner, "embed", lambda rows, embed=reasoner.embed: met.append(len(rows.inputs)) or embed(rows)
    )

    def gradients() -> list[torch.Tensor]:
        reasoner.zero_grad()
        _, output = reasoner.step(BASE.inputs[rows], reasoner.initial_carry(count), 2)
        F.cross_entropy(output.conditional_logits.transpose(1, 2), BASE.labels[rows]).backward()
        return [parameter.grad for parameter in reasoner.parameters() if parameter.grad is not None]

    pieces = gradients()
    assert met == sizes
    monkeypatch.setattr(engine, "PIECE", 1000)
    for one, other in zip(pieces, gradients(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_a_copy_of_a_compiled_reasoner_has_weights_of_its_own() -> None:
    """Such as the moving average that a training validates."""
    reasoner = random_reasoner()
    reasoner.compile(backend="eager")
    copied = copy.deepcopy(reasoner)
    for block in copied.blocks:
        for parameter in block.parameters():
            parameter.zero_()
    plain = random_reasoner()
    plain.load_state_dict(copied.state_dict())
    for one, other in zip(some_steps(copied), some_steps(plain), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "width must be a whole number in"),
        ({"mixer": "atention"}, "did you mean 'attention'"),
        ({"mixer": "attention", "width": 20, "num_heads": 4}, "multiple of 2 \\* num_heads"),
    ],
)
def test_wrong_shapes_are_refused(change: dict, message: str) -> None:
    with pytest.raises((InvalidValueError, UnknownNameError), match=message):
        TRMConfig(vocab_size=6, seq_len=16, **change)


def test_wrong_inputs_are_refused() -> None:
    reasoner = random_reasoner()
    for bad in (BASE.inputs[:, :9], BASE.inputs.float(), BASE.inputs[0]):
        with pytest.raises(InvalidValueError, match=r"int64 \[B, 16\]"):
            reasoner.step(bad, reasoner.initial_carry(8), 0)


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(UnknownNameError, match="neither shipped nor a folder"):
        load_reasoner("sudoku5x5")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in ("sudoku4x4", "sudoku6x6", "sudoku9x9") else pytest.mark.slow)
     for n in shipped_reasoners()],
)  # fmt: skip
def test_shipped_reasoners_solve_test_puzzles(name: str) -> None:
    """What the package promises, on 200 puzzles; RESULTS.md has the full numbers."""
    from latent_rl import make_task
    from latent_rl.evaluation.fixed_steps import evaluate_fixed
    from latent_rl.reasoners.checkpoint import reasoner_facts
    from latent_rl.tasks.base import first

    facts = reasoner_facts(name)
    task, best = make_task(facts["train"]["task"]), facts["decoding"]["num_steps"]
    result = evaluate_fixed(load_reasoner(name), task, first(task, "test", 200), best)
    promised = {
        "sudoku4x4": 0.99,
        "sudoku6x6": 0.985,
        "sudoku9x9": 0.96,
        "sudoku9x9-hard": 0.8,
        "nqueens8": 0.98,
        "latin12": 0.8,
        "colouring3": 0.9,
        "colouring3-open": 0.75,
        "colouring4": 0.9,
        "maze10": 0.95,
        "maze20": 0.8,
        "maze14-scattered": 0.8,
        "maze30-unique": 0.92,
    }
    assert result.solved_rate[-1] >= promised.get(name, 0.5)


def test_no_reasoner_state_is_shared_between_batches() -> None:
    reasoner = random_reasoner()
    carry = reasoner.initial_carry(8)
    first = reasoner.step(BASE.inputs, carry, 0)[1].conditional_logits
    again = reasoner.step(BASE.inputs, replace(carry), 0)[1].conditional_logits
    assert torch.equal(first, again)
