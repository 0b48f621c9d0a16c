"""The environment's contracts: Gymnasium's and SB3's checkers, equivalence, determinism, no leakage."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env as gymnasium_check
from helpers import TASK, random_core, random_reasoner
from stable_baselines3.common.env_checker import check_env as sb3_check

from latent_rl.agents.sb3.vec_env import LatentVecEnv
from latent_rl.envs import ACTIONS, EnvConfig
from latent_rl.envs.actions import ACTION_MODES
from latent_rl.envs.core import Core
from latent_rl.envs.observations import OBSERVATIONS
from latent_rl.errors import InvalidValueError, UnknownNameError
from latent_rl.tasks.registry import make_task
from latent_rl.types import Puzzles

SMALL = {"task": TASK, "reasoner": random_reasoner(), "horizon": 8}
MODES = [*ACTION_MODES, (*ACTIONS, "refine_w0.5")]


@pytest.mark.parametrize("actions", MODES)
def test_every_action_mode_passes_both_checkers(actions: object) -> None:
    env = gym.make("LatentReasoning-v0", actions=actions, **SMALL)
    gymnasium_check(env.unwrapped)
    sb3_check(env.unwrapped)


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_observations_lie_in_their_space(observation: str) -> None:
    actions = "search" if observation == "search" else "refine"
    env = gym.make("LatentReasoning-v0", observation=observation, actions=actions, **SMALL)
    env.action_space.seed(0)
    seen, _ = env.reset(seed=0)
    for _ in range(20):
        assert env.observation_space.contains(seen)
        seen, _, terminated, _, _ = env.step(env.action_space.sample())
        if terminated:
            seen, _ = env.reset()


@pytest.mark.parametrize("actions", MODES)
def test_single_env_vector_env_and_sb3_adapter_are_equal(actions: object) -> None:
    """Stream i of a batch, seeded with s + i, does what a single environment with that seed does."""
    arguments = {**SMALL, "actions": actions}
    vector = gym.make_vec("LatentReasoning-v0", num_envs=3, **arguments)
    adapter = LatentVecEnv(Core(**arguments), 3)
    singles = [gym.make("LatentReasoning-v0", **arguments).unwrapped for _ in range(3)]
    adapter.seed(7)
    batch, _ = vector.reset(seed=7)
    rows = [env.reset(seed=7 + i)[0] for i, env in enumerate(singles)]
    np.testing.assert_allclose(adapter.reset(), batch, atol=1e-6)
    np.testing.assert_allclose(np.stack(rows), batch, atol=1e-6)
    vector.action_space.seed(1)
    ends = 0
    for _ in range(12):
        chosen = vector.action_space.sample()
        batch, reward, terminated, truncated, infos = vector.step(chosen)
        other, other_reward, dones, other_infos = adapter.step(chosen)
        np.testing.assert_allclose(other, batch, atol=1e-5)
        np.testing.assert_allclose(other_reward, reward, atol=1e-5)
        np.testing.assert_array_equal(dones, terminated)
        assert not truncated.any()
        for i, env in enumerate(singles):
            row, single_reward, single_end, _, info = env.step(chosen[i])
            assert single_reward == pytest.approx(reward[i], abs=1e-5)
            assert single_end == terminated[i]
            if single_end:
                ends += 1
                np.testing.assert_allclose(infos["final_obs"][i], row, atol=1e-4)
                np.testing.assert_allclose(other_infos[i]["terminal_observation"], row, atol=1e-4)
                assert other_infos[i]["TimeLimit.truncated"] is False
                assert infos["final_info"]["passes"][i] == info["passes"] == other_infos[i]["passes"]
                row, _ = env.reset()
            np.testing.assert_allclose(row, batch[i], atol=1e-4)
    assert ends > 0


def test_make_vec_passes_the_horizon_and_declares_same_step_autoreset() -> None:
    env = gym.make_vec("LatentReasoning-v0", num_envs=2, max_episode_steps=3, task=TASK, reasoner=SMALL["reasoner"])
    assert env.metadata["autoreset_mode"] == gym.vector.AutoresetMode.SAME_STEP
    env.reset(seed=0)
    ends = [env.step(np.array([1, 1]))[2].tolist() for _ in range(6)]
    assert ends == [[False, False], [False, False], [True, True]] * 2


def test_the_module_prefix_registers_without_an_import() -> None:
    env = gym.make("latent_rl.envs:LatentReasoning/Sudoku4x4-v0", reasoner=random_reasoner())
    assert env.unwrapped.core.horizon == EnvConfig.for_task("sudoku4x4").horizon


def test_the_same_seed_gives_the_same_episodes_and_another_one_others() -> None:
    def trace(seed: int) -> np.ndarray:
        env = gym.make_vec("LatentReasoning-v0", num_envs=4, **SMALL)
        seen = [env.reset(seed=seed)[0]]
        random = np.random.default_rng(0)
        for _ in range(12):
            observation, reward, *_ = env.step(random.integers(3, size=4))
            seen += [observation, reward[:, None]]
        return np.concatenate(seen, axis=1)

    np.testing.assert_array_equal(trace(3), trace(3))
    assert not np.array_equal(trace(3), trace(4))


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_no_observation_depends_on_the_label(observation: str) -> None:
    actions = "search" if observation == "search" else "refine"
    core = random_core(observation=observation, actions=actions, reward="token_accuracy")
    base = TASK.puzzles("test")[:16]
    wrong = Puzzles(base.inputs, base.labels.flip(0))
    keys = torch.arange(16)
    states = [core.begin(base, keys), core.begin(wrong, keys)]
    rewards_differ = False
    generator = torch.Generator().manual_seed(0)
    for _ in range(8):
        decision = core.mode.decode(torch.randint(1, 3, (16,), generator=generator))
        transitions = [core.step(state, decision) for state in states]
        states = [transition.state for transition in transitions]
        assert torch.equal(core.observe(states[0]), core.observe(states[1]))
        assert torch.equal(states[0].submission, states[1].submission)
        rewards_differ |= not torch.equal(transitions[0].reward, transitions[1].reward)
    assert rewards_differ, "the test must be able to see labels where they do count: in the reward"


def test_a_step_before_reset_or_after_the_end_is_refused() -> None:
    env = gym.make("LatentReasoning-v0", **SMALL).unwrapped
    with pytest.raises(InvalidValueError, match="reset"):
        env.step(1)
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(InvalidValueError, match="reset"):
        env.step(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"horizon": 0}, r"horizon must be a whole number in \[1, 1e\+09\]"),
        ({"cost_per_pass": -1.0}, "cost_per_pass must be a number of at least 0"),
        ({"gamma": 0.0}, "gamma"),
        ({"reward": "token_acuracy"}, "did you mean 'token_accuracy'"),
        ({"observation": "label"}, "unknown observation"),
        ({"submit": "first"}, "unknown submit"),
        ({"actions": "refin"}, "did you mean 'refine'"),
        ({"actions": ("halt", "refien")}, "did you mean 'refine'"),
        ({"actions": ("refine", "deep")}, "needs 'halt'"),
        ({"task": "sudoku6x6"}, "must fit the task"),
        ({"task": "sudoku5x5"}, "unknown task"),
        ({"split": "tset"}, "did you mean 'test'"),
        ({"puzzles": make_task("sudoku6x6").puzzles("test")}, "must have 16 cells; got 36"),
        ({"puzzles": TASK.puzzles("test").select(torch.arange(0))}, "at least one"),
        ({"puzzles": 5}, "at least one"),
        ({"reasoner": 5}, "the reasoner must be one"),
        ({"task": 5}, "the task must be a task"),
        ({"actions": 5}, "must be text or several values"),
        ({"actions": ("halt", 5)}, "unknown action '5'"),
        ({"horizon": 2.0}, "must be a whole number"),
        ({"solve_bonus": float("inf")}, "must be a finite number"),
        ({"cost_per_pass": float("nan")}, "must be a finite number"),
    ],
)
def test_wrong_arguments_get_a_clear_error(arguments: dict, message: str) -> None:
    with pytest.raises((InvalidValueError, UnknownNameError), match=message):
        Core(**{**SMALL, **arguments})


def test_masks_forbid_what_makes_no_sense_yet() -> None:
    env = gym.make("LatentReasoning-v0", **SMALL).unwrapped
    env.reset(seed=0)
    assert env.action_masks().tolist() == [False, True, False]
    env.step(1)
    assert env.action_masks().tolist() == [True, True, True]
    env = gym.make("LatentReasoning-v0", actions=tuple(ACTIONS), **SMALL).unwrapped
    env.reset(seed=0)
    allowed = {name for name, fits in zip(ACTIONS, env.action_masks(), strict=True) if fits}
    assert allowed == {"refine", "deep"}
    env.step(1)
    assert env.action_masks().all()


def test_states_survive_a_merge_of_rows() -> None:
    """`put` and `select` are inverse on the chosen rows and leave the others alone."""
    core = random_core()
    base = TASK.puzzles("test")[:5]
    state = core.step(core.begin(base, torch.arange(5)), core.mode.decode(torch.ones(5, dtype=torch.int64))).state
    rows = torch.tensor([3, 1])
    changed = replace(state.select(rows), age=torch.tensor([9, 8]))
    merged = state.put(rows, changed)
    assert merged.age.tolist() == [1, 8, 1, 9, 1]
    assert torch.equal(merged.carry.answer, state.carry.answer)
