"""A step policy that looks for answers: what it answers is right, and a row's own."""

import json
from pathlib import Path

import numpy as np
import torch
from helpers import TASK, Clockwork

from latent_rl.agents.rules import RulePolicy, aged, fixed_steps
from latent_rl.agents.search import PolicySearch, ValidHalt
from latent_rl.envs.core import Core
from latent_rl.reasoners.symbols import Symbols, SymbolsConfig
from latent_rl.training.trainer import TrainConfig, train
from latent_rl.types import Puzzles

BASE = TASK.puzzles("test")[:12]
NEEDED = [1, 2, 3, 5, 9, 2, 4, 1, 7, 3, 2, 6]
ASKED = Puzzles.unlabelled(BASE.inputs)


def clockwork() -> Clockwork:
    return Clockwork(TASK, {row.numpy().tobytes(): n for row, n in zip(BASE.inputs, NEEDED, strict=True)})


def process(**changes: object) -> Core:
    return Core(TASK, clockwork(), **{"horizon": 6, "reward": "constraints", **changes})  # type: ignore[arg-type]


def untrained() -> Symbols:
    """A small network whose states start at random, so that every puzzle is answered now and then."""
    torch.manual_seed(0)
    return Symbols(SymbolsConfig(**vars(TASK.shape), width=8, num_supervision_steps=3), torch.float32)


def restless(reasoner: Symbols) -> PolicySearch:
    """Eight steps of a policy that begins anew every two."""
    core = Core(TASK, reasoner, horizon=8, reward="constraints")
    return PolicySearch(RulePolicy("restless", core.mode, lambda state: state.step >= 8, aged(2)), core.config)


def test_what_the_verifier_accepts_is_answered_and_nothing_else() -> None:
    core = process()
    search = PolicySearch(fixed_steps(core.mode, 5), core.config)
    answers = search(clockwork(), TASK, ASKED, torch.arange(12))
    solved = torch.tensor(NEEDED) <= 5
    assert torch.equal(TASK.verify(BASE.inputs, answers), solved)
    assert torch.equal(answers[solved], BASE.labels[solved])
    assert not answers[~solved].any()


def test_an_episode_ends_as_soon_as_the_rules_hold() -> None:
    core = process()
    policy = ValidHalt(fixed_steps(core.mode, 5), core)
    state = core.begin(ASKED, torch.arange(12))
    for step in range(5):
        halts = policy.act(core.observe(state).numpy(), state) == 0
        assert np.array_equal(halts, (np.array(NEEDED) <= step))
        state = core.step(state, core.mode.decode(torch.ones(12, dtype=torch.int64))).state


def test_a_row_depends_on_its_own_key_alone() -> None:
    """Restarts draw views; whoever else is asked, and however many, a row's answer is the same."""
    reasoner, puzzles = untrained(), Puzzles.unlabelled(TASK.puzzles("train")[:300].inputs)
    search, keys = restless(reasoner), torch.arange(300) + 7
    answers = search(reasoner, TASK, puzzles, keys)
    assert 0 < TASK.verify(puzzles.inputs, answers).sum() < 300
    some = torch.tensor([280, 3, 299, 150])
    assert torch.equal(search(reasoner, TASK, puzzles.select(some), keys[some]), answers[some])


def test_a_reasoner_learns_what_a_step_policy_finds(tmp_path: Path) -> None:
    config = TrainConfig(
        task="sudoku4x4", objective="verified", num_batches=2, batch_size=8, search_puzzles=300, num_validation=8,
        validation_steps=2, extended_fraction=0.0,
    )  # fmt: skip
    train(config, untrained(), tmp_path, search=restless(untrained()))
    (searched,) = json.loads((tmp_path / "config.json").read_text())["rounds"]
    assert searched["gained"] > 0
