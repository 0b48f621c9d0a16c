"""Puzzles with several answers: which one an example learns."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import random_reasoner

from latent_rl.errors import InvalidValueError
from latent_rl.evaluation.fixed_steps import evaluate_fixed
from latent_rl.reasoners.symbols import Symbols, SymbolsConfig
from latent_rl.tasks.base import draw_symmetry
from latent_rl.tasks.registry import make_task
from latent_rl.training.answers import nearest
from latent_rl.training.batches import ExampleSource
from latent_rl.training.episodes import EpisodeBatches
from latent_rl.training.objectives import LabelObjective, answers_now
from latent_rl.training.replacement import Replacement
from latent_rl.training.trainer import TrainConfig, train

QUEENS = make_task("nqueens8")  # 92 solutions in all
CONFIG = TrainConfig(task="nqueens8", answers="nearest", batch_size=16, num_batches=4, reveal_fraction=0.0)


def test_the_answers_are_all_that_verify() -> None:
    inputs = QUEENS.puzzles("train").inputs
    candidates, is_right = QUEENS.answers(inputs)  # type: ignore[attr-defined]
    assert len(candidates) == 92
    for answer, right in zip(candidates, is_right.T, strict=True):
        assert torch.equal(QUEENS.verify(inputs, answer.expand_as(inputs)), right)
    assert torch.equal(is_right.sum(1) > 1, QUEENS.is_ambiguous(inputs))


def test_the_nearest_answer_is_the_likeliest_of_the_right_ones() -> None:
    """One by one, over boards of which some leave several."""
    inputs = QUEENS.puzzles("train").inputs
    labels = torch.zeros_like(inputs)
    logits = torch.randn(*inputs.shape, 3, generator=torch.Generator().manual_seed(0))
    candidates, is_right = QUEENS.answers(inputs)  # type: ignore[attr-defined]
    found = nearest(QUEENS, inputs, labels, logits)  # type: ignore[arg-type]
    assert QUEENS.verify(inputs, found).all()
    seen = set()
    for row, (answer, right) in enumerate(zip(found, is_right, strict=True)):
        log_probs = logits[row].log_softmax(-1)
        scores = [log_probs.gather(1, c[:, None]).sum().item() for c in candidates[right]]
        best = candidates[right][max(range(len(scores)), key=scores.__getitem__)]
        assert torch.equal(answer, best)
        seen.add(int(right.sum()))
    assert max(seen) > 1


def test_search_comes_to_the_likeliest_answer_or_near_it() -> None:
    """Colourings of which there are too many to know them all, where noise has hidden one of them, against all of one
    puzzle at a time."""
    task, generator = make_task("colouring3-open"), torch.Generator().manual_seed(0)
    puzzles = task.puzzles("test")[:30]
    logits = torch.randn(*puzzles.inputs.shape, task.vocab_size, generator=generator)
    logits += 2 * torch.nn.functional.one_hot(puzzles.labels, task.vocab_size)
    found = nearest(task, puzzles.inputs, torch.zeros_like(puzzles.labels), logits)  # type: ignore[arg-type]
    assert task.verify(puzzles.inputs, found).all()
    shares = []
    for puzzle, answer, scores in zip(puzzles.inputs, found, logits, strict=True):
        every = task.completions(puzzle, 2000)  # type: ignore[attr-defined]
        if len(every) < 2000:
            likely = scores.gather(1, torch.cat([every, answer[None]]).T).sum(0)
            shares.append((likely[:-1] <= likely[-1]).float().mean().item())
    assert len(shares) > 10
    assert sum(shares) / len(shares) > 0.99


def test_a_readout_that_is_an_answer_is_its_own() -> None:
    task = make_task("colouring3-open")
    puzzles = task.puzzles("test")[:50]
    logits = torch.nn.functional.one_hot(puzzles.labels, task.vocab_size).float()
    labels = torch.zeros_like(puzzles.labels)
    assert torch.equal(nearest(task, puzzles.inputs, labels, logits), puzzles.labels)  # type: ignore[arg-type]


def test_a_board_without_an_answer_keeps_its_label() -> None:
    impossible = QUEENS.read_grid("QQ" + "." * 62)[None]
    label = torch.full_like(impossible, 2)
    assert torch.equal(nearest(QUEENS, impossible, label, torch.zeros(1, 64, 3)), label)  # type: ignore[arg-type]
    graph = make_task("colouring3")
    a, b = graph.edges[0]  # type: ignore[attr-defined]
    impossible = torch.ones(1, 50, dtype=torch.int64)
    impossible[0, [a, b]] = 2
    label = torch.full_like(impossible, 3)
    assert torch.equal(nearest(graph, impossible, label, torch.zeros(1, 50, 5)), label)  # type: ignore[arg-type]


@pytest.mark.parametrize("batching", [EpisodeBatches, Replacement])
def test_steps_learn_the_answer_that_is_nearest_now(batching: type) -> None:
    """The loss is that of right answers, which are now and then others than the labels."""
    reasoner, objective = random_reasoner(QUEENS), LabelObjective(CONFIG, QUEENS)
    step = next(batching(ExampleSource(CONFIG, QUEENS, QUEENS.puzzles("train"), objective), reasoner).steps(0))
    answers = answers_now(CONFIG, QUEENS, step.puzzles, step.output)
    assert QUEENS.verify(step.puzzles.inputs, answers).all()
    differs = (answers != step.puzzles.labels).any(1)
    assert 0 < differs.sum() < len(differs)
    expected = LabelObjective(replace(CONFIG, answers="label"), QUEENS).loss(
        replace(step, targets=answers, puzzles=replace(step.puzzles, labels=answers))
    )
    assert objective.loss(step) == expected


def test_views_of_a_board_have_views_of_its_answers() -> None:
    puzzles = QUEENS.puzzles("train")[:20]
    view = draw_symmetry(QUEENS, 20, torch.Generator().manual_seed(0))
    logits = torch.randn(20, 64, 3)
    straight = nearest(QUEENS, puzzles.inputs, puzzles.labels, view.invert_logits(logits))  # type: ignore[arg-type]
    seen = puzzles.seen_in(view)
    assert torch.equal(view.invert(nearest(QUEENS, seen.inputs, seen.labels, logits)), straight)  # type: ignore[arg-type]


def test_who_can_not_is_told() -> None:
    with pytest.raises(InvalidValueError, match="by a method answers or likely_answers; sudoku4x4"):
        LabelObjective(CONFIG, make_task("sudoku4x4"))
    with pytest.raises(InvalidValueError, match='needs targets "final"'):
        replace(CONFIG, targets="dis")


@pytest.mark.slow
def test_it_learns_queens(tmp_path: Path) -> None:
    """A minute: a set of answers is learned where one label of many is not."""
    task = QUEENS
    solved = {}
    for answers in ("nearest", "label"):
        torch.manual_seed(0)
        network = Symbols(SymbolsConfig(**vars(task.shape), width=16), torch.float32)
        config = replace(CONFIG, answers=answers, num_batches=150, batch_size=32, muon_lr=5e-3, ema=0.95)
        trained = train(config, network, tmp_path / answers)
        solved[answers] = evaluate_fixed(trained, task, task.puzzles("test"), 16).solved_rate[-1].item()
    assert solved["nearest"] > 0.7
    assert solved["nearest"] > solved["label"] + 0.05
