"""The example that shows Proposition 4.1 on a trained reasoner."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from latent_rl.improvement import advantage_margin

EXAMPLE = Path(__file__).parents[2] / "examples/improvement_demo.py"
pytestmark = pytest.mark.skipif(not EXAMPLE.is_file(), reason="needs the checkout, not the wheel alone")


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("improvement_demo", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_measured_slopes_are_minus_the_margin(example: ModuleType) -> None:
    torch.manual_seed(0)
    reference, conditional = 3 * torch.randn(2, 5, 7, 4, dtype=torch.float64)
    labels = torch.randint(4, (5, 7))
    by_autograd, by_differences = example.measured_slopes(reference, conditional, labels)
    margin = advantage_margin(reference, conditional, labels)
    assert margin.abs().max() > 1
    torch.testing.assert_close(by_autograd, -margin)
    torch.testing.assert_close(by_differences, -margin, rtol=1e-5, atol=1e-5)


def test_the_demo_on_a_tiny_budget(example: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = example.Args(num_batches=2, width=8, num_puzzles=20, steps=3, out=tmp_path)
    assert 0 < example.main(args) < 1e-5
    shown = capsys.readouterr().out
    assert "Advice: " in shown
    assert (tmp_path / "improvement_demo.png").read_bytes().startswith(b"\x89PNG")
