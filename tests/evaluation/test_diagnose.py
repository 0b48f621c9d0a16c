"""The diagnosis: by hand on a reasoner whose every answer is known, and against the evaluation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TASK, Clockwork, random_reasoner
from rich.console import Console

from latent_rl.errors import InvalidValueError
from latent_rl.evaluation.diagnose import Diagnosis, diagnose
from latent_rl.evaluation.fixed_steps import evaluate_fixed, unroll
from latent_rl.evaluation.report import print_diagnosis, write_diagnosis
from latent_rl.improvement import advantage_margin
from latent_rl.reasoners.checkpoint import load_reasoner
from latent_rl.tasks.base import first

BASE = TASK.puzzles("test")[:20]


def clockwork() -> Clockwork:
    """Test puzzle i is solved from step i % 4 + 1 on."""
    return Clockwork(TASK, {row.numpy().tobytes(): i % 4 + 1 for i, row in enumerate(TASK.puzzles("test").inputs)})


def made(solved: np.ndarray) -> Diagnosis:
    return Diagnosis([], solved, [], 6, 3)


def test_dead_compute_by_hand() -> None:
    """All are solved at step 4 of 8: half of the steps are dead; puzzle by puzzle 8 - (1+2+3+4)/4 of 8."""
    diagnosis = diagnose(clockwork(), TASK, BASE, 8)
    facts = diagnosis.summary()
    assert [row.solved_rate for row in diagnosis.steps] == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert facts["best_step"] == facts["enough_steps"] == 4
    assert facts["dead_share"] == 0.5
    assert facts["dead_share_per_puzzle"] == pytest.approx(1 - 2.5 / 8)
    assert (facts["oracle_solved_rate"], facts["oracle_passes"]) == (1.0, 2.5 * 3)
    assert "steps 5-8 are dead compute on this task: run 4" in diagnosis.advice()


def test_steps_agree_with_the_evaluation_and_the_operator() -> None:
    reasoner = random_reasoner()
    diagnosis = diagnose(reasoner, TASK, BASE, 3, batch_size=7)
    plain = evaluate_fixed(reasoner, TASK, BASE, 3)
    np.testing.assert_array_equal(diagnosis.solved, plain.solved.numpy())
    is_open = BASE.inputs == 1
    for row, (_, _, output) in zip(diagnosis.steps, unroll(reasoner, BASE, 3), strict=True):
        margin = advantage_margin(output.reference_logits, output.conditional_logits, BASE.labels)
        expected = torch.stack([m[o].mean() for m, o in zip(margin, is_open, strict=True)]).mean()
        assert row.margin == pytest.approx(expected.item(), abs=1e-4)
        # Among answer tokens only: the same after blank and pad are cut out of both policies.
        cut = advantage_margin(output.reference_logits[..., 2:], output.conditional_logits[..., 2:], BASE.labels - 2)
        expected = torch.stack([m[o].mean() for m, o in zip(cut, is_open, strict=True)]).mean()
        assert row.margin_answer_tokens == pytest.approx(expected.item(), abs=1e-3)
    assert [row.guidance_scale for row in diagnosis.sweep] == [0.5, 0.75, 1.0, 1.25, 1.5, 2.0]
    at_six = evaluate_fixed(reasoner, TASK, BASE, 6).solved_rate[-1].item()
    plain_row = diagnosis.sweep[2]
    assert plain_row.readout_solved_rate == plain_row.fed_back_solved_rate == pytest.approx(at_six)


def test_a_reasoner_of_another_size_is_made_to_fit() -> None:
    reasoner = load_reasoner("sudoku9x9-extreme")
    puzzles = first(TASK, "validation", 16)
    found = diagnose(reasoner, TASK, puzzles, 4)
    assert found.steps[-1].solved_rate == pytest.approx(
        float(evaluate_fixed(reasoner, TASK, puzzles, 4).solved_rate[-1])
    )
    assert found.steps[-1].solved_rate > 0.9
    assert all(row.readout_solved_rate > 0.9 for row in found.sweep)


def test_noise_is_not_called_progress_and_harm_is_called_harm() -> None:
    random = np.random.default_rng(0)
    # The same puzzles are solved at every step, but for a few that come and go.
    flat = [made((random.random(400) < 0.7) ^ (random.random((10, 400)) < 0.02)).enough_steps for _ in range(40)]
    assert flat.count(1) >= 36
    falling = np.stack([random.random(400) < rate for rate in (0.2, 0.9, 0.5, 0.2)])
    assert made(falling).is_harmful_beyond
    assert "steps 3-4 harm" in made(falling).advice()
    rising = np.stack([random.random(400) < rate for rate in (0.1, 0.4, 0.9)])
    assert "look further with --steps 6" in made(rising).advice()


def test_what_people_see(tmp_path: Path) -> None:
    diagnosis = diagnose(clockwork(), TASK, BASE, 6)
    write_diagnosis(tmp_path, "clockwork", diagnosis)
    facts = json.loads((tmp_path / "diagnosis.json").read_text())
    assert facts["enough_steps"] == 4
    assert len(facts["steps"]) == 6
    assert (tmp_path / "diagnosis.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "tensorboard").iterdir())
    console = Console(record=True, width=160)
    print_diagnosis(console, "clockwork", diagnosis)
    assert "Advice: steps 5-6 are dead compute" in console.export_text()


def test_wrong_arguments() -> None:
    with pytest.raises(InvalidValueError, match="at least 1"):
        diagnose(random_reasoner(), TASK, BASE, 0)
