"""The example that learns from the verifier alone, on small boards."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from latent_rl.reasoners.checkpoint import reasoner_facts

EXAMPLE = Path(__file__).parents[2] / "examples/learn_without_labels.py"
pytestmark = pytest.mark.skipif(not EXAMPLE.is_file(), reason="needs the checkout, not the wheel alone")


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """With an easy stage by the reward and a hard one by searches, minutes made seconds."""
    spec = importlib.util.spec_from_file_location("learn_without_labels", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    small = {"task": "sudoku4x4", "num_validation": 16, "validate_every": 4, "validation_steps": 4}
    stages = {
        "easy": replace(module.EASY, num_batches=12, **small),
        "hard": replace(module.HARD, num_batches=8, search_every=4, search_puzzles=32, search_steps=4, **small),
    }
    monkeypatch.setattr(module, "STAGES", stages)
    return module


def test_stages_learn_from_each_other_and_are_shown(
    example: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = example.Args(num_latent_updates=3, width=16, compile=False, out=tmp_path)
    taught = example.learn(args)
    again = example.learn(args)  # nothing is trained twice
    assert all(a.equal(b) for a, b in zip(taught.state_dict().values(), again.state_dict().values(), strict=True))
    assert all(stage.objective != "labels" for stage in example.STAGES.values())
    rounds = reasoner_facts(tmp_path / "hard")["rounds"]
    assert rounds[0]["gained"] > 0
    example.show(tmp_path)
    shown = capsys.readouterr().out
    assert f"{rounds[0]['solved_rate']:.3f}" in shown
    assert (tmp_path / "solved.png").read_bytes().startswith(b"\x89PNG")
