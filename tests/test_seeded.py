"""Seeded results stay what they are, to the last bit: a refactor changes none of them.

`python tests/test_seeded.py` records them anew, after a change that is meant to change them. On another processor or
another torch, whose rounding differs, they are compared within a tolerance.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import TASK, random_core, random_reasoner
from torch import Tensor

from latent_rl.agents.baselines import Untuned, make_baseline
from latent_rl.agents.commands.solve_file import solve_file
from latent_rl.agents.sb3.agents import AGENTS, make_agent
from latent_rl.agents.solver import Solver
from latent_rl.envs.core import Core
from latent_rl.reasoners.checkpoint import load_reasoner
from latent_rl.training.trainer import TrainConfig, train

RECORD = Path(__file__).parent / "golden" / "seeded.json"
TRAININGS = {
    "episodes": {"batching": "episodes", "targets": "dis", "extended_from": 0.0, "extended_fraction": 0.5},
    "replacement": {"batching": "replacement", "targets": "final", "optimizer": "adamw"},
}


def machine() -> list[str]:
    """What rounding depends on."""
    return [torch.__version__, torch.backends.cpu.get_cpu_capability()]


def digest(tensors: Iterable[Tensor]) -> str:
    """SHA-256 of their bytes."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def training(name: str) -> dict[str, Any]:
    """The losses of a tiny training, and its weights."""
    config = TrainConfig(
        task="sudoku4x4", num_batches=6, batch_size=8, num_validation=8, validate_every=1, validation_steps=3,
        **TRAININGS[name],
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        reasoner = train(config, random_reasoner().requires_grad_(True), Path(folder))
        curve = json.loads((Path(folder) / "config.json").read_text())["curve"]
    return {"values": [row["train/loss"] for row in curve], "digest": digest(reasoner.state_dict().values())}


def agent(name: str) -> dict[str, Any]:
    """The weights of an agent after a short training on the live core."""
    model = make_agent(name, random_core(), seed=0)
    model.learn(8192)
    weights = model.policy.state_dict()
    return {"values": [float(w.double().norm()) for w in weights.values()], "digest": digest(weights.values())}


def solver(name: str) -> dict[str, Any]:
    """The file that a policy leaves."""
    core = Core(TASK, load_reasoner("sudoku4x4", torch.float32), horizon=12)
    policy = make_baseline(core, name, Untuned(4), 0)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "puzzles.txt", Path(folder) / "out.csv"
        source.write_text("".join(f"{TASK.format(row)}\n" for row in TASK.puzzles("test").inputs[:100]))
        solve_file(Solver(core, policy, 16), source, out)
        rows = [line.split(",")[:6] for line in out.read_text().splitlines()[1:]]
    return {"values": [float(row[5]) for row in rows], "digest": hashlib.sha256(repr(rows).encode()).hexdigest()}


RESULTS = {
    **{f"training {name}": (training, name) for name in TRAININGS},
    **{f"agent {name}": (agent, name) for name in AGENTS},
    **{f"solver {name}": (solver, name) for name in ("rule", "verifier-rule", "fixed-3", "random")},
}


@pytest.mark.parametrize("name", RESULTS)
def test_seeded_results_stay(name: str) -> None:
    record = json.loads(RECORD.read_text())
    function, argument = RESULTS[name]
    found = function(argument)
    expected = record["results"][name]
    if record["machine"] == machine():
        assert found == expected
    else:
        assert found["values"] == pytest.approx(expected["values"], rel=0.05, abs=0.05)


if __name__ == "__main__":
    torch.set_num_threads(1)
    results = {name: function(argument) for name, (function, argument) in RESULTS.items()}
    RECORD.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n")
