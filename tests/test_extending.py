"""`docs/extending.md`, walked: file and registry of each row exist, its example adds to it, and what it adds works."""

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch
from helpers import random_core, random_reasoner
from pages import ROOT, blocks, links, sections, table
from test_layout import LAYERS

from latent_rl.__main__ import run
from latent_rl.agents.baselines import Untuned, make_baseline
from latent_rl.agents.sb3.agents import LearnedPolicy, make_agent
from latent_rl.agents.solver import Solver
from latent_rl.envs.core import Core
from latent_rl.reasoners.checkpoint import ARCHITECTURES, load_reasoner, save_reasoner
from latent_rl.tasks.registry import make_task
from latent_rl.training.trainer import TrainConfig, train

PAGE = ROOT / "docs" / "extending.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="needs the checkout, not the wheel alone")


def module_of(file: str) -> str:
    """The name under which a file of the checkout is imported."""
    for layer, folder in reversed(LAYERS.items()):
        if (ROOT / file).is_relative_to(folder):
            return ".".join((layer, *(ROOT / file).relative_to(folder).with_suffix("").parts))
    raise AssertionError(f"{file} is no file of the product")


def uses_task(folder: Path, name: str) -> None:
    task = make_task(name)
    puzzles = task.puzzles("validation")[:8]
    assert task.verify(puzzles.inputs, puzzles.labels).all()
    core = Core(task, random_reasoner(task))
    assert len(core.observe(core.start(torch.arange(3)))) == 3


def uses_reasoner(folder: Path, name: str) -> None:
    module, config = ARCHITECTURES[name]
    made = module(config(vocab_size=6, seq_len=16)).requires_grad_(False).eval()
    save_reasoner(made, folder / name)
    inputs = make_task("sudoku4x4").puzzles("test").inputs[:4]
    (_, one), (_, other) = (
        each.step(inputs, each.initial_carry(4), 0) for each in (made, load_reasoner(folder / name))
    )
    assert torch.equal(one.conditional_logits, other.conditional_logits)


def plays(*chosen: int, **arguments: Any) -> tuple[Any, list[float]]:
    """The last observation of an environment that is made by its name, and the rewards of the chosen actions."""
    env = gym.make("LatentReasoning/Sudoku4x4-v0", reasoner=random_reasoner(), **arguments)
    observation, _ = env.reset(seed=0)
    rewards = []
    for action in chosen:
        observation, reward, *_ = env.step(action)
        rewards.append(float(reward))
    return observation, rewards


def uses_action(folder: Path, name: str) -> None:
    costs = [plays(action, actions=("halt", "refine", name), reward="sparse", cost_per_pass=1.0) for action in (1, 2)]
    (_, (refined,)), (_, (leapt,)) = costs
    assert leapt < refined < 0, "the example thinks deeper: it costs more passes"


def uses_observation(folder: Path, name: str) -> None:
    plain, _ = plays(1)
    seen, _ = plays(1, observation=name)
    assert len(seen) > len(plain)


def uses_reward(folder: Path, name: str) -> None:
    (_, rewards), (_, others) = plays(1, reward=name), plays(1)
    assert rewards != others


def uses_objective(folder: Path, name: str) -> None:
    config = TrainConfig(task="sudoku4x4", num_batches=1, batch_size=8, num_validation=8, validation_steps=2)
    one, other = (
        train(replace(config, objective=each), random_reasoner().requires_grad_(True), folder / each)
        for each in (name, "reward")
    )
    assert not all(map(torch.equal, one.parameters(), other.parameters()))


def uses_agent(folder: Path, name: str) -> None:
    core = random_core()
    agent = make_agent(name, core, seed=0).learn(16)
    solved = Solver(core, LearnedPolicy(name, agent)).solve(core.task.puzzles("test")[:4])
    assert len(solved.passes) == 4


def uses_baseline(folder: Path, name: str) -> None:
    core = random_core()
    policy = make_baseline(core, name, Untuned(2))
    assert policy.name == name
    assert len(Solver(core, policy).solve(core.task.puzzles("test")[:4]).passes) == 4


def uses_command(folder: Path, name: str) -> None:
    with pytest.raises(SystemExit, match="0"):
        run(["--help"])
    assert run([name]) == 0


USES: dict[str, Callable[[Path, str], None]] = {
    "a task": uses_task,
    "a reasoner": uses_reasoner,
    "an action": uses_action,
    "an observation": uses_observation,
    "a reward": uses_reward,
    "an objective": uses_objective,
    "an agent": uses_agent,
    "a baseline": uses_baseline,
    "a command": uses_command,
}
ROWS = table(PAGE.read_text(), "to add") if PAGE.is_file() else []


def examples(link: str) -> Iterator[Any]:
    """The Python blocks that a row's example links to, in order."""
    (target,) = links(link)
    file, _, anchor = target.partition("#")
    text = (PAGE.parent / file if file else PAGE).read_text()
    return (block for block in blocks(sections(text)[anchor] if anchor else text) if block.language == "python")


def test_the_page_tells_of_all_of_them() -> None:
    assert [row[0] for row in ROWS] == list(USES)


@pytest.mark.filterwarnings("ignore:.*already in registry:UserWarning")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].split()[-1])
def test_one_file_one_registry_one_example(
    row: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    what, file, name, link = (cell.strip("`") for cell in row)
    registry = getattr(importlib.import_module(module_of(file)), name)
    before = dict(registry)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(gym.envs.registration, "registry", dict(gym.registry))
    try:
        for block in examples(link):
            if block.file:
                (tmp_path / block.file).write_text(block.code)
            exec(compile(block.code, str(PAGE), "exec"), {"__name__": "example"})
        added = [each for each in registry if each not in before]
        assert len(added) == 1, f"the example of {what} must add one entry to {name}"
        USES[what](tmp_path, added[0])
        if what == "a command":
            assert added[0] in capsys.readouterr().out
    finally:
        registry.clear()
        registry.update(before)
