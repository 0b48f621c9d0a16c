"""The colour network: equivariance, its formula, checkpoints, what it learns."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from latent_rl.errors import InvalidValueError
from latent_rl.reasoners.checkpoint import load_reasoner, save_reasoner
from latent_rl.reasoners.colours import ColourBlock, Colours, ColoursConfig
from latent_rl.training.optim import muon
from latent_rl.types import ReasonerOutput

SHAPE = {"vocab_size": 8, "seq_len": 9, "num_special": 3, "num_puzzle_ids": 5, "puzzle_width": 4}
SMALL = {"width": 8, "num_heads": 2, "head_width": 4}


def network(**shape: int) -> Colours:
    """An untrained float32 network whose embeddings say something; the same one each time."""
    torch.manual_seed(0)
    reasoner = Colours(ColoursConfig(**{**SHAPE, **SMALL, **shape}), torch.float32)
    if reasoner.config.num_puzzle_ids:
        torch.nn.init.normal_(reasoner.embed_puzzles)
    return reasoner.requires_grad_(False).eval()


def run(reasoner: Colours, inputs: Tensor, ids: Tensor | None, num_steps: int = 3) -> list[ReasonerOutput]:
    carry, outputs = reasoner.initial_carry(len(inputs)), []
    for step in range(num_steps):
        carry, output = reasoner.step(inputs, carry, step, puzzle_ids=ids)
        outputs.append(output)
    return outputs


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), num_layers=st.integers(1, 2))
def test_permuting_colours_of_boards_and_embeddings_permutes_the_logits(seed: int, num_layers: int) -> None:
    """And nothing else changes; special tokens keep their names."""
    generator = torch.Generator().manual_seed(seed)
    inputs, ids = torch.randint(0, 8, (4, 9), generator=generator), torch.randint(0, 5, (4,), generator=generator)
    names = torch.cat([torch.arange(3), 3 + torch.randperm(5, generator=generator)])
    plain, renamed = network(num_layers=num_layers), network(num_layers=num_layers)
    parts = plain.embed_puzzles.view(5, 8, 4)  # the part of all channels, in the padding's place, then one for each
    renamed.embed_puzzles.view(5, 8, 4)[:, names] = parts
    close = {"atol": 1e-4, "rtol": 1e-4}  # sums over colours are in another order
    for one, other in zip(run(plain, inputs, ids), run(renamed, names[inputs], ids), strict=True):
        torch.testing.assert_close(other.conditional_logits[..., names], one.conditional_logits, **close)
        torch.testing.assert_close(other.reference_logits[..., names], one.reference_logits, **close)
        torch.testing.assert_close(other.halt_logit, one.halt_logit, **close)


def test_special_tokens_are_not_renamed() -> None:
    """Without embeddings colours are alike, but the background is not one of them."""
    reasoner = network(num_puzzle_ids=0, puzzle_width=0)
    inputs = torch.tensor([[2, 3, 4, 3, 3, 2, 1, 0, 0]])
    logits = run(reasoner, inputs, None)[-1].conditional_logits
    torch.testing.assert_close(logits[..., 5], logits[..., 6])
    names = torch.tensor([0, 1, 3, 2, 4, 5, 6, 7])
    other = run(reasoner, names[inputs], None)[-1].conditional_logits
    assert not torch.allclose(other[..., names], logits, atol=1e-2)


def test_a_puzzle_is_told_by_its_embedding() -> None:
    reasoner, inputs = network(), torch.tensor([[2, 3, 4, 3, 3, 2, 1, 0, 0]] * 2)
    first, second = run(reasoner, inputs, torch.tensor([1, 2]))[-1].conditional_logits
    assert not torch.allclose(first, second, atol=1e-2)
    default, zero = run(reasoner, inputs, None), run(reasoner, inputs, torch.zeros(2, dtype=torch.int64))
    assert torch.equal(default[-1].conditional_logits, zero[-1].conditional_logits)
    with pytest.raises(InvalidValueError, match=r"puzzle_ids must be in 0\.\.4"):
        run(reasoner, inputs, torch.tensor([1, 5]))


def test_a_block_is_its_formula() -> None:
    """Cell by cell and colour by colour, in plain loops."""
    torch.manual_seed(1)
    config = ColoursConfig(vocab_size=4, seq_len=4, num_special=2, width=6, num_heads=2, head_width=4)
    block = ColourBlock(config)
    x = torch.randn(1, 4, 3, 6)

    def norm(v: Tensor) -> Tensor:
        return v / (v.square().mean(-1, keepdim=True) + 1e-5).sqrt()

    def gate(v: Tensor) -> Tensor:
        g, u = v.chunk(2)
        return g * g.sigmoid() * u

    def placed(v: Tensor, cell: int) -> Tensor:
        """Numbers 0 and 2 turned by the cell's row, 1 and 3 by its column: one wave each, of frequency 1."""
        turned = v.clone()
        for i, angle in enumerate(torch.tensor([cell // 2, cell % 2])):
            turned[i] = v[i] * angle.cos() - v[i + 2] * angle.sin()
            turned[i + 2] = v[i + 2] * angle.cos() + v[i] * angle.sin()
        return turned

    shown = [norm(sum(gate(block.show @ x[0, cell, c]) for c in range(3)) / 3) for cell in range(4)]
    queries, keys = block.query_key.view(2, 2, 4, 6)
    expected = torch.empty_like(x)
    for cell in range(4):
        for c in range(3):
            heads = []
            for h in range(2):
                query = placed(queries[h] @ shown[cell], cell)
                scores = torch.stack([query @ placed(keys[h] @ shown[other], other) / 2 for other in range(4)])
                values = torch.stack([block.value[3 * h : 3 * h + 3] @ x[0, other, c] for other in range(4)])
                heads.append(scores.softmax(0) @ values)
            state = norm(x[0, cell, c] + block.out @ torch.cat(heads))
            told = gate(block.gate_up @ state + block.others @ shown[cell])
            expected[0, cell, c] = norm(state + block.down @ told)
    torch.testing.assert_close(block(x), expected)


def test_padding_is_never_the_answer() -> None:
    logits = run(network(), torch.zeros(2, 9, dtype=torch.int64), None)[-1].conditional_logits
    assert logits.shape == (2, 9, 8)
    assert (logits[..., 1:] > logits[..., :1] + 100).all()


def test_saving_and_loading_is_exact(tmp_path: Path) -> None:
    reasoner, inputs = network(), torch.tensor([[2, 3, 4, 3, 3, 2, 1, 0, 0]])
    save_reasoner(reasoner, tmp_path)
    loaded = load_reasoner(tmp_path, torch.float32)
    assert loaded.config == reasoner.config
    for one, other in zip(run(reasoner, inputs, None), run(loaded, inputs, None), strict=True):
        assert torch.equal(one.conditional_logits, other.conditional_logits)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"seq_len": 8}, "needs a square board; got 8 cells"),
        ({"num_heads": 3}, "width must be a multiple of 3; got 8"),
        ({"head_width": 6}, "head_width must be a multiple of 4; got 6"),
        ({"num_special": 8}, "num_special must leave a colour of the 8 tokens; got 8"),
        ({"num_puzzle_ids": 0}, "must be both 0 or both positive; got 0 and 4"),
    ],
)
def test_impossible_shapes_are_refused(shape: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        network(**shape)


def test_what_it_learns_in_some_colours_it_does_in_others() -> None:
    """Boards of two colours, mirrored; asked in five that were not in training."""
    torch.manual_seed(0)
    reasoner = Colours(ColoursConfig(vocab_size=10, seq_len=9, width=16, head_width=8), torch.float32)
    optimizers = muon(reasoner, lr=1e-2, muon_lr=1e-2, weight_decay=0.0)

    def boards(lowest: int, highest: int) -> tuple[Tensor, Tensor]:
        inputs = torch.randint(lowest, highest + 1, (64, 3, 3))
        return inputs.flatten(1), inputs.flip(2).flatten(1)

    def answer(inputs: Tensor) -> Tensor:
        return reasoner.step(inputs, reasoner.initial_carry(64), 0)[1].conditional_logits

    for _ in range(150):
        inputs, labels = boards(3, 4)
        torch.nn.functional.cross_entropy(answer(inputs).flatten(0, 1), labels.flatten()).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    inputs, labels = boards(5, 9)
    with torch.no_grad():
        right = answer(inputs).argmax(-1) == labels
    assert right.float().mean() > 0.95
