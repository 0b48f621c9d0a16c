"""Recorded steps: equal to the live environment, and run once."""

import pickle

import numpy as np
import pytest
import torch
from helpers import TASK, random_core, random_reasoner

from latent_rl.agents.evaluate import evaluate_policy
from latent_rl.agents.rules import RandomPolicy
from latent_rl.agents.sb3.vec_env import LatentVecEnv
from latent_rl.envs.actions import ACTIONS
from latent_rl.envs.core import Core
from latent_rl.errors import InvalidValueError
from latent_rl.randomness import episode_keys
from latent_rl.reasoners.checkpoint import load_reasoner
from latent_rl.reasoners.trm import TRM
from latent_rl.types import Puzzles

POOL = TASK.puzzles("test")[:5]


class Counting:
    """A reasoner that counts the rows it has run."""

    def __init__(self) -> None:
        self.inner, self.rows = random_reasoner(), 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def step(self, inputs: torch.Tensor, *args: object, **kwargs: object) -> object:
        self.rows += len(inputs)
        return self.inner.step(inputs, *args, **kwargs)


def recorded(pool: Puzzles = POOL, num_views: int = 8, seed: int = 0, **arguments: object) -> Core:
    return random_core(**arguments).recording(pool, num_views=num_views, seed=seed)


@pytest.mark.parametrize("reward", ["token_accuracy", "log_likelihood", "constraints"])
@pytest.mark.parametrize("observation", ["features", "verifier"])
def test_every_step_equals_the_live_core(reward: str, observation: str) -> None:
    """The same puzzles, keys and random actions: the same rewards, ends, observations, submissions."""
    arguments = {"reward": reward, "observation": observation, "cost_per_pass": 0.01}
    table, live = recorded(**arguments), random_core(**arguments)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        start = table.start(torch.randint(2**40, (16,), generator=generator))
        states = [start, live.begin(start.puzzles, start.keys)]
        for _ in range(8):
            decision = table.mode.decode(torch.randint(1, 3, (16,), generator=generator))
            transitions = [core.step(state, decision) for core, state in zip((table, live), states, strict=True)]
            states = [transition.state for transition in transitions]
            torch.testing.assert_close(transitions[0].reward, transitions[1].reward, atol=1e-4, rtol=1e-4)
            assert torch.equal(transitions[0].terminated, transitions[1].terminated)
            assert torch.equal(transitions[0].solved, transitions[1].solved)
            assert torch.equal(states[0].submission, states[1].submission)
            torch.testing.assert_close(table.observe(states[0]), live.observe(states[1]), atol=1e-4, rtol=1e-4)
            assert torch.equal(states[0].passes, states[1].passes)


def test_no_step_is_run_twice() -> None:
    reasoner = Counting()
    table = Core(TASK, reasoner, horizon=8).recording(POOL, num_views=2)
    env = LatentVecEnv(table, 16)
    for _ in range(2):
        before, recorded = reasoner.rows, table.steps.num_recorded
        random = np.random.default_rng(0)
        env.seed(0)
        env.reset()
        for _ in range(200):
            env.step(random.integers(1, 3, size=16))
    assert reasoner.rows == before
    assert table.steps.num_recorded == recorded <= 5 * 2 * 8


@pytest.mark.parametrize("reasoner", [random_reasoner(), load_reasoner("sudoku4x4")], ids=["float32", "shipped"])
def test_a_record_does_not_depend_on_what_was_asked_for_before(reasoner: TRM) -> None:
    """To the last bit: a comparison that was killed must end as one that was not."""
    pool = TASK.puzzles("test")[:30]
    tables = [Core(TASK, reasoner, horizon=8).recording(pool, num_views=3) for _ in range(2)]
    for table, size, seed in zip(tables, (30, 7), (0, 1), strict=True):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(400 // size):
            state = table.start(torch.randint(2**40, (size,), generator=generator))
            for _ in range(8):
                decision = table.mode.decode(torch.randint(1, 3, (size,), generator=generator))
                state = table.step(state, decision).state
    records = [table.steps.record for table in tables]
    steps = torch.minimum(records[0].length, records[1].length)
    both = torch.arange(8) < steps[:, None]
    assert both.sum() > 200
    for name in ("answers", "potential", "measured"):
        one, other = (getattr(record, name)[both] for record in records)
        assert torch.equal(one, other), name


def test_steps_that_a_copy_has_recorded_cost_their_passes() -> None:
    """Policies that submit the last snapshot work on a copy; the core itself then looks their steps up."""
    table = recorded()
    start, refine = table.start(torch.arange(6)), table.mode.decode(torch.ones(6, dtype=torch.int64))
    copied = table.submitting("last").step(start, refine).state
    looked_up = table.step(start, refine).state
    assert looked_up.passes.tolist() == copied.passes.tolist() == [3] * 6


def test_episodes_come_from_the_whole_pool() -> None:
    table = recorded()
    start = table.start(torch.arange(1, 200))
    assert len(start.puzzles.inputs.unique(dim=0)) == 5


def test_views_repeat_after_their_number() -> None:
    table, live = recorded(num_views=2), random_core()
    start = table.start(torch.arange(6))
    restart = table.mode.decode(torch.full((6,), 2))
    state = table.step(start, table.mode.decode(torch.ones(6, dtype=torch.int64))).state
    seen = [state := table.step(state, restart).state for _ in range(3)]
    assert torch.equal(seen[0].prediction, seen[2].prediction)
    plain = live.step(live.begin(start.puzzles, start.keys), table.mode.decode(torch.ones(6, dtype=torch.int64))).state
    assert torch.equal(seen[1].prediction, plain.prediction)


@pytest.mark.parametrize(
    "arguments",
    [{"actions": ("halt", "refine", name)} for name in ACTIONS if name not in ("halt", "refine", "restart_view")]
    + [{"actions": mode} for mode in ("joint", "continuous")]
    + [{"observation": "latent"}, {"num_views": 0}, {"num_views": 2.5}],
)
def test_what_needs_the_live_core_is_refused(arguments: dict) -> None:
    with pytest.raises(InvalidValueError, match=r"live core|num_views"):
        recorded(**arguments)


def test_steps_recorded_by_a_copy_cost_what_they_cost() -> None:
    """Baselines that submit another snapshot run on a copy, which shares the tables."""
    table, keys = recorded(), torch.arange(5)
    copy, refine = table.submitting("last"), table.mode.decode(torch.ones(5, dtype=torch.int64))
    start = table.start(keys)
    first = copy.step(start, refine).state
    assert torch.equal(table.step(start, refine).state.passes, first.passes)
    assert first.passes.tolist() == [3] * 5


@pytest.mark.parametrize("horizon", [4, 11])
def test_another_horizon_equals_the_live_core(horizon: int) -> None:
    recorded_before, live = recorded(), random_core(horizon=horizon)
    keys, decision = torch.arange(4), live.mode.decode(torch.ones(4, dtype=torch.int64))
    recorded_before.step(recorded_before.start(keys), decision)
    table = pickle.loads(pickle.dumps(recorded_before.lasting(horizon)))
    states = [(start := table.start(keys)), live.begin(start.puzzles, start.keys)]
    for step in range(1, horizon + 1):
        transitions = [core.step(state, decision) for core, state in zip((table, live), states, strict=True)]
        states = [transition.state for transition in transitions]
        torch.testing.assert_close(table.observe(states[0]), live.observe(states[1]), atol=1e-4, rtol=1e-4)
        assert transitions[0].terminated.tolist() == [step == horizon] * 4
    assert recorded_before.steps.num_recorded > 0


def test_other_puzzles_and_other_seeds_are_refused() -> None:
    """Their answers are not in the record; those of others must not stand in for them."""
    table, refine = recorded(), recorded().mode.decode(torch.ones(5, dtype=torch.int64))
    keys = episode_keys(torch.arange(5), 0)
    assert table.step(table.begin(POOL, keys), refine).state.step.tolist() == [1] * 5
    others = TASK.puzzles("test")[5:10]
    with pytest.raises(InvalidValueError, match="pool's puzzle of its key"):
        table.begin(others, keys)
    with pytest.raises(InvalidValueError, match="5 puzzles under seed 0; got others"):
        table.begin(POOL, episode_keys(torch.arange(5), 1))
    with pytest.raises(InvalidValueError, match="under seed 0"):
        table.step(random_core().begin(POOL, episode_keys(torch.arange(5), 1)), refine)
    with pytest.raises(InvalidValueError, match="under seed 0"):
        evaluate_policy(table, RandomPolicy(table.mode), POOL, seed=1)
    outcomes = [
        evaluate_policy(core, RandomPolicy(table.mode), POOL, seed=1) for core in (recorded(seed=1), random_core())
    ]
    assert outcomes[0].steps.tolist() == outcomes[1].steps.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"horizon": 10**9}, "must fit into memory"),
        ({"pool": POOL.select(torch.arange(0))}, "at least one puzzle"),
    ],
)
def test_what_a_record_cannot_be_made_of(arguments: dict, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        recorded(**arguments)
