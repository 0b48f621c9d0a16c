"""An action, an observation, a reward of a user's own: a few lines each, through every adapter."""

import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from helpers import TASK, random_core, random_reasoner
from torch import Tensor

from latent_rl.agents.sb3.vec_env import LatentVecEnv
from latent_rl.envs import FEATURES, Action, Core, Feature
from latent_rl.envs.observations import OBSERVATIONS, StepView, make_feature, make_features
from latent_rl.envs.rewards import POTENTIALS
from latent_rl.envs.state import State
from latent_rl.errors import InvalidValueError, UnknownNameError
from latent_rl.tasks.base import Task
from latent_rl.types import Puzzles


def shares(task: Task, state: State) -> Tensor:
    """How often each token stands in the last answer."""
    return torch.nn.functional.one_hot(state.prediction, task.vocab_size).float().mean(1)


def largest_logit(view: StepView) -> Tensor:
    """The largest logit of the step."""
    return view.output.conditional_logits.amax((1, 2))


def ones(task: Task, puzzles: Puzzles, answers: Tensor, label_log_probs: Tensor | None) -> Tensor:
    """The share of cells whose answer is 1."""
    return (answers == 2).float().mean(1)


LEAP = Action("leap", depth=3)
SHARES = Feature("shares", of_state=shares)
LARGEST = Feature("largest_logit", of_step=largest_logit)
FLAT = Feature("flat", of_state=lambda task, state: state.confidence.sum())
OWN: dict[str, Any] = {
    "actions": ("halt", "refine", LEAP),
    "observation": ("age", SHARES, "least_confidence", LARGEST),
    "reward": "ones",
}


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POTENTIALS, "ones", ones)


def stepped(env: Any, actions: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Observations [S + 1, F] and rewards [S] of the first stream of any of the three, seeded with 3."""
    if isinstance(env, gym.Env):
        seen = [(env.reset(seed=3)[0], 0.0), *(env.step(action)[:2] for action in actions)]
        return np.stack([observation for observation, _ in seen]), np.array([reward for _, reward in seen[1:]])
    if isinstance(env, LatentVecEnv):
        env.seed(3)
        first = env.reset()
    else:
        first = env.reset(seed=3)[0]
    steps = [env.step(np.full(env.num_envs, action))[:2] for action in actions]
    return np.stack([first[0], *(each[0] for each, _ in steps)]), np.array([reward[0] for _, reward in steps])


def test_all_three_work_through_every_adapter() -> None:
    arguments = {"task": TASK, "reasoner": random_reasoner(), "horizon": 8, "submit": "last", **OWN}
    single = gym.make("LatentReasoning-v0", **arguments)
    observations, rewards = stepped(single, [1, 2, 1])
    for env in (gym.make_vec("LatentReasoning-v0", num_envs=2, **arguments), LatentVecEnv(Core(**arguments), 2)):
        others = stepped(env, [1, 2, 1])
        np.testing.assert_allclose(others[0], observations, atol=1e-5)
        np.testing.assert_allclose(others[1], rewards, atol=1e-5)
    assert single.observation_space.shape == observations.shape[1:] == (1 + TASK.vocab_size + 1 + 1,)
    np.testing.assert_array_equal(observations[:, 0] * 32, [0, 1, 2, 3])
    last = single.step(0)[4]["prediction"]
    np.testing.assert_allclose(observations[3, 1:-2], np.bincount(last, minlength=TASK.vocab_size) / TASK.seq_len)
    share = observations[:, 1 + 2]  # of the token 2, which is the symbol 1
    passes = np.array([3, 7, 3])  # n + 1; the second step has three times the latent updates, n = 2
    np.testing.assert_allclose(rewards, np.diff(share) - 0.001 * passes, atol=1e-6)


def test_a_step_is_measured_as_the_reasoner_takes_it() -> None:
    core, base = random_core(observation=("features", LARGEST)), TASK.puzzles("test")[:3]
    state = core.begin(base, torch.arange(3))
    assert core.observe(state)[:, -1].tolist() == [0.0] * 3
    after = core.step(state, core.mode.decode(torch.ones(3, dtype=torch.int64))).state
    _, output = core.reasoner.step(base.inputs, state.carry, 0)
    torch.testing.assert_close(core.observe(after)[:, -1], output.conditional_logits.amax((1, 2)))
    plain = random_core()
    expected = plain.step(plain.begin(base, torch.arange(3)), plain.mode.decode(torch.ones(3, dtype=torch.int64)))
    assert torch.equal(core.observe(after)[:, :-1], plain.observe(expected.state))


def test_a_registered_selection_names_its_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBSERVATIONS, "short", (make_feature("age"), LARGEST))
    core = random_core(observation="short")
    assert (core.observation, core.observation_size) == ("short", 2)
    assert make_features(("step", "short", "agreement")) == tuple(
        make_feature(name) for name in ("step", "age", "largest_logit", "agreement")
    )
    assert random_core(observation=["largest_logit", "age"]).observation == ["largest_logit", "age"]


def test_own_entries_are_recorded_and_pickled() -> None:
    live = random_core(observation=(SHARES, LARGEST, "age"))
    pool = TASK.puzzles("test")[:4]
    recorded = pickle.loads(pickle.dumps(live.recording(pool)))
    start = recorded.start(torch.arange(6))
    states = [start, live.begin(start.puzzles, start.keys)]
    for action in (1, 1, 2, 1):
        decision = live.mode.decode(torch.full((6,), action))
        states = [core.step(state, decision).state for core, state in zip((recorded, live), states, strict=True)]
        torch.testing.assert_close(recorded.observe(states[0]), live.observe(states[1]), atol=1e-4, rtol=1e-4)


def test_what_looks_at_the_carry_is_not_recorded() -> None:
    """A record does not hold it: an entry that does not say so fails, and is not silently another."""
    own = Feature("norm", of_state=lambda task, state: state.carry.answer.norm(dim=(1, 2)), needs_carry=True)
    core, pool = random_core(observation=(own,)), TASK.puzzles("test")[:4]
    assert not core.is_recordable
    with pytest.raises(InvalidValueError, match=r"got norm\. Use the live core"):
        core.recording(pool)
    silent = Feature("surest", of_state=lambda task, state: state.certainty.amax(1))
    table = random_core(observation=(silent,)).recording(pool)
    with pytest.raises(IndexError):
        table.observe(table.start(torch.arange(2)))


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_every_entry_says_what_it_shows(feature: Feature) -> None:
    assert feature.about.endswith(".")


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        ("feature", "unknown observation 'feature'; did you mean 'features'"),
        (("age", "lest_confidence"), "did you mean 'least_confidence'"),
        (("age", 5), "unknown observation '5'"),
        ((), "must have entries, each with a name of its own; got none"),
        (("features", "age"), "got age twice"),
        ((Feature("age", of_step=largest_logit),), "got age twice"),
        (
            (Feature("flat", of_state=lambda task, state: state.confidence.sum()),),
            "'flat' must give one or more numbers",
        ),
        (5, "must be text or several values"),
    ],
)
def test_observations_that_make_no_sense_are_refused(observation: Any, message: str) -> None:
    with pytest.raises((InvalidValueError, UnknownNameError), match=message):
        random_core(observation=observation)


def test_an_entry_has_one_function_and_a_measurement_is_one_number() -> None:
    for functions in ({}, {"of_state": shares, "of_step": largest_logit}):
        with pytest.raises(InvalidValueError, match="either of_state or of_step"):
            Feature("mine", **functions)
    core = random_core(observation=(Feature("logits", of_step=lambda view: view.output.conditional_logits[:, 0]),))
    state = core.begin(TASK.puzzles("test")[:2], torch.arange(2))
    with pytest.raises(InvalidValueError, match="'logits' must measure one number for each of 2 episodes"):
        core.step(state, core.mode.decode(torch.ones(2, dtype=torch.int64)))
