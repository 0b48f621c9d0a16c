"""What users of Gymnasium, SB3 and torchrl type first, on every registered id and through every adapter.

Each library's own checker runs, and its most used calls. Reasoners are untrained ones, for speed; that the shipped ones
are found is tested apart. Warnings are errors.
"""

import copy
import functools
import importlib.util
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env as gymnasium_check
from gymnasium.utils.env_checker import data_equivalence
from helpers import TASK, every_task, random_core, random_reasoner
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_checker import check_env as sb3_check
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import SubprocVecEnv, VecCheckNan, VecFrameStack, VecMonitor, VecNormalize

from latent_rl.agents.commands.setting import Process, Setting
from latent_rl.agents.commands.solve import Solve
from latent_rl.agents.sb3.vec_env import LatentVecEnv
from latent_rl.envs import IDS, Core, EnvConfig, LatentReasoningEnv, register
from latent_rl.errors import InvalidValueError, PuzzleError, UnexpectedArgumentError, UnknownNameError
from latent_rl.reasoners.checkpoint import default_reasoner, shipped_reasoners
from latent_rl.tasks.registry import TASKS, make_task

ID = "LatentReasoning/Sudoku4x4-v0"
HAVE_REASONERS = [env_id for env_id, task in IDS.items() if default_reasoner(task) in shipped_reasoners()]
PUZZLE = "1..............."
FAMILIES = ("NQueens8", "Maze10", "Arc1Small")
every_id = pytest.mark.parametrize("env_id", every_task(IDS))


@functools.cache
def untrained(task: str) -> Any:
    return random_reasoner(make_task(task))


def small(env_id: str) -> dict[str, Any]:
    return {"reasoner": untrained(IDS[env_id]), "horizon": 3}


def agent(env: Any) -> PPO:
    return PPO("MlpPolicy", env, n_steps=4, batch_size=4, n_epochs=1, device="cpu", seed=0)


class TestEveryId:
    """The checkers of Gymnasium, SB3 and torchrl, and a few episodes through each adapter."""

    @every_id
    def test_single(self, env_id: str) -> None:
        env = gym.make(env_id, **small(env_id))
        gymnasium_check(env.unwrapped)
        sb3_check(env)
        env.action_space.seed(0)
        ends = 0
        env.reset(seed=0)
        for _ in range(7):
            action = env.action_space.sample(mask=env.unwrapped.action_masks())
            _, reward, terminated, truncated, info = env.step(action)
            assert type(reward) is float
            assert (type(terminated), truncated) == (bool, False)
            assert {type(value) for name, value in info.items() if name != "prediction"} == {bool, int}
            if terminated:
                assert info["is_success"] is info["solved"]
                ends += 1
                env.reset()
        assert ends >= 2
        env.close()
        env.close()

    @every_id
    def test_vector(self, env_id: str) -> None:
        env = gym.make_vec(env_id, num_envs=2, **small(env_id))
        observation, _ = env.reset(seed=0)
        for step in range(1, 7):
            assert observation in env.observation_space
            observation, reward, terminated, truncated, infos = env.step(np.ones(2, dtype=np.int64))
            assert (reward.dtype, terminated.dtype, truncated.dtype) == (np.float64, np.bool_, np.bool_)
            assert terminated.tolist() == [step % 3 == 0] * 2
            if terminated.any():
                assert infos["final_info"]["is_success"].dtype == bool
        env.close()
        env.close()

    @every_id
    def test_sb3(self, env_id: str) -> None:
        """By its own vector environments and by ours; a name alone is enough."""
        name = f"Contract{env_id.replace('/', '')}"
        register(name, task=IDS[env_id], **small(env_id))
        try:
            agent(name).learn(8)
            batch = LatentVecEnv(Core(IDS[env_id], **small(env_id)), 4)
            model = agent(batch)
            model.learn(32)
            assert model.ep_success_buffer
            evaluate_policy(model, batch, n_eval_episodes=4)
        finally:
            del gym.registry[name]

    @every_id
    @pytest.mark.skipif(importlib.util.find_spec("torchrl") is None, reason="needs torchrl: latent_rl[ecosystem]")
    @pytest.mark.filterwarnings("ignore")  # torchrl and tensordict warn about themselves
    def test_torchrl(self, env_id: str) -> None:
        from torchrl.envs.libs.gym import GymEnv
        from torchrl.envs.utils import check_env_specs

        check_env_specs(GymEnv(env_id, **small(env_id)))

    @pytest.mark.parametrize("env_id", every_task([ID, *(f"LatentReasoning/{n}-v0" for n in FAMILIES)]))
    @pytest.mark.parametrize("kind", ["single", "vector", "batch"])
    def test_copies_go_on_identically(self, env_id: str, kind: str) -> None:
        def steps(env: Any) -> list[Any]:
            actions = [1, 2, 1, 1] if kind == "single" else [np.array([1, 1]), np.array([2, 1])] * 2
            seen = []
            for action in actions:
                seen.append(list(env.step(action)))
                if kind == "single" and seen[-1][2]:
                    seen.append(list(env.reset()))
            return seen

        env: Any
        if kind == "single":
            env = gym.make(env_id, **small(env_id))
            env.reset(seed=3)
        elif kind == "vector":
            env = gym.make_vec(env_id, num_envs=2, **small(env_id))
            env.reset(seed=3)
        else:
            env = LatentVecEnv(Core(IDS[env_id], **small(env_id)), 2)
            env.seed(3)
            env.reset()
        env.step(1 if kind == "single" else np.array([1, 1]))
        copies = [pickle.loads(pickle.dumps(env)), copy.deepcopy(env), cloudpickle.loads(cloudpickle.dumps(env))]
        expected = without_time(steps(env))
        for each in copies:
            assert data_equivalence(without_time(steps(each)), expected)

    @pytest.mark.parametrize("env_id", HAVE_REASONERS)
    def test_the_shipped_reasoner_is_found(self, env_id: str) -> None:
        env = gym.make(env_id)
        env.reset(seed=0)
        assert env.step(1)[4]["steps"] == 1
        assert len(pickle.dumps(env)) < 2_000_000, "a shipped reasoner is pickled by its name"

    @pytest.mark.slow
    @pytest.mark.parametrize("env_id", HAVE_REASONERS)
    def test_ppo_learns_on_the_id(self, env_id: str) -> None:
        PPO("MlpPolicy", env_id, n_steps=256, device="cpu").learn(2_000)


def without_time(value: Any) -> Any:
    """The same without the seconds that SB3 counts."""
    if isinstance(value, dict):
        return {name: without_time(each) for name, each in value.items() if name != "t"}
    return [without_time(each) for each in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("task", sorted(set(IDS.values()) - {IDS[env_id] for env_id in HAVE_REASONERS}))
def test_without_a_shipped_reasoner_one_is_asked_for(task: str) -> None:
    with pytest.raises(InvalidValueError, match=rf"no reasoner is shipped for the task {task}; give one by reasoner="):
        gym.make("LatentReasoning-v0", task=task)


class TestOneDescription:
    """A task's name is the same problem from every door."""

    @pytest.mark.parametrize("task", every_task(TASKS))
    def test_every_door(self, task: str) -> None:
        reasoner = untrained(task)
        expected = EnvConfig.for_task(task, reasoner=reasoner)
        cores = {
            "Core": Core(task, reasoner),
            "LatentVecEnv": LatentVecEnv(Core(task, reasoner), 1).core,
            "gym.make": gym.make("LatentReasoning-v0", task=task, reasoner=reasoner).unwrapped.core,
            "gym.make_vec": gym.make_vec("LatentReasoning-v0", task=task, reasoner=reasoner).core,
            "command line": Core(Process(task=task).env_config(), reasoner),
            "comparison": Setting(process=Process(task=task)).make_core(reasoner),
        }
        for env_id in (env_id for env_id, known in IDS.items() if known == task):
            cores[env_id] = gym.make(env_id, reasoner=reasoner).unwrapped.core
        for door, core in cores.items():
            assert replace(core.config, reasoner=reasoner) == expected, door
            assert (core.horizon, core.cost_per_pass) == (expected.horizon, expected.cost_per_pass), door
        solving = Solve(process=Process(task=task)).env_config()
        assert replace(solving, reasoner=reasoner) == replace(expected, reward="sparse")

    def test_what_is_known_of_some_tasks(self) -> None:
        assert {name: EnvConfig.for_task(name).horizon for name in ("sudoku4x4", "sudoku9x9-hard", "maze20")} == {
            "sudoku4x4": 16, "sudoku9x9-hard": 128, "maze20": 64,
        }  # fmt: skip
        queens = EnvConfig.for_task("nqueens10")
        assert (queens.reward, queens.horizon, queens.actions[-1]) == ("constraints", 32, "commit_forced")

    def test_a_task_of_a_users_brings_its_own(self) -> None:
        task = copy.copy(TASK)
        task.environment = {"horizon": 5, "actions": ["halt", "refine"], "cost_per_pass": 0}
        for core in (
            Core(task, random_reasoner()),
            gym.make("LatentReasoning-v0", task=task, reasoner=random_reasoner()).unwrapped.core,
        ):
            assert (core.horizon, core.config.actions, core.cost_per_pass) == (5, ("halt", "refine"), 0)
        assert Core(task, random_reasoner(), horizon=7).horizon == 7
        task.environment = {"horizn": 5}
        with pytest.raises(UnknownNameError, match="did you mean 'horizon'"):
            Core(task, random_reasoner())

    def test_values_as_other_libraries_give_them(self) -> None:
        config = EnvConfig.for_task("sudoku4x4", horizon=np.int64(4), gamma=np.float32(0.5), actions=["halt", "refine"])
        assert (config.horizon, config.gamma, config.actions) == (4, 0.5, ("halt", "refine"))
        assert EnvConfig.for_task(config, horizon=None, gamma=1.0) == replace(config, gamma=1.0)
        with pytest.raises(UnexpectedArgumentError, match="argument 'horizn'; did you mean 'horizon'"):
            gym.make(ID, horizn=3)


class TestTimeLimit:
    """`max_episode_steps` is the horizon: the submission is judged, the bonus paid."""

    @staticmethod
    def trace(env: Any, steps: int) -> list[Any]:
        seen: list[Any] = [env.reset(seed=3)[0]]
        for _ in range(steps):
            seen.append(list(env.step(1)))
            if seen[-1][2]:
                seen.append(env.reset()[0])
        return seen

    @pytest.mark.parametrize("limit", [1, 3, 20])
    def test_single_and_vector_mean_the_same(self, limit: int) -> None:
        expected = self.trace(gym.make(ID, horizon=limit), 2 * limit)
        env = gym.make(ID, max_episode_steps=limit)
        assert data_equivalence(self.trace(env, 2 * limit), expected)
        assert (env.spec.max_episode_steps, env.unwrapped.core.horizon) == (limit, limit)
        assert data_equivalence(self.trace(gym.make(env.spec), 2 * limit), expected)
        assert data_equivalence(self.trace(pickle.loads(pickle.dumps(env)), 2 * limit), expected)
        direct = LatentReasoningEnv(task="sudoku4x4", max_episode_steps=limit)
        assert data_equivalence(self.trace(direct, 2 * limit), expected)
        for mode in ("sync", "vector_entry_point"):
            batch = gym.make_vec(ID, num_envs=2, vectorization_mode=mode, max_episode_steps=limit)
            batch.reset(seed=3)
            for step in range(1, limit + 1):
                _, reward, terminated, truncated, _ = batch.step(np.array([1, 1]))
                assert reward[0] == pytest.approx(expected[step][1], abs=1e-5)
                assert (terminated[0], truncated[0]) == (step == limit, False)

    def test_by_registration_by_a_wrapper_and_beside_a_horizon(self) -> None:
        gym.register("Limited-v0", entry_point=LatentReasoningEnv, max_episode_steps=4, kwargs={"task": "sudoku4x4"})
        try:
            made = {
                4: gym.make("Limited-v0"),
                2: gym.make("Limited-v0", max_episode_steps=2),
                3: gym.wrappers.TimeLimit(gym.make(ID, max_episode_steps=5), 3),
                5: Monitor(gym.make(ID, horizon=9, max_episode_steps=5)),
                6: gym.make(ID, horizon=6, max_episode_steps=9),
                16: gym.make(ID, max_episode_steps=-1),
            }
        finally:
            del gym.registry["Limited-v0"]
        for limit, env in made.items():
            for _ in range(2):
                env.reset(seed=0)
                ends = [env.step(1)[2:4] for _ in range(limit)]
                assert ends == [(False, False)] * (limit - 1) + [(True, False)], limit
        assert gym.make_vec(ID, horizon=6, max_episode_steps=9).core.horizon == 6
        assert gym.make_vec(ID, max_episode_steps=-1).core.horizon == 16
        for wrong in (0, 2.5, "3"):
            with pytest.raises(InvalidValueError):
                gym.make_vec(ID, max_episode_steps=wrong)


class TestReset:
    """Options, masks and seeds."""

    def test_a_mask_begins_only_some_streams_anew(self) -> None:
        env = gym.make_vec(ID, num_envs=2)
        env.reset(seed=0)
        for _ in range(2):
            before = env.step(np.array([1, 1]))[0]
        after, _ = env.reset(options={"reset_mask": np.array([True, False])})
        assert after[0, 0] == 0
        np.testing.assert_array_equal(after[1], before[1])
        again, _ = gym.make_vec(ID, num_envs=2).reset(seed=[0, 5])
        seeded, _ = env.reset(seed=[0, None], options={"reset_mask": np.array([True, False])})
        np.testing.assert_array_equal(seeded[0], again[0])
        np.testing.assert_array_equal(seeded[1], before[1])

    def test_disabled_autoreset_leaves_it_to_the_caller(self) -> None:
        env = gym.make_vec(ID, num_envs=2, autoreset_mode="Disabled")
        env.reset(seed=0)
        env.step(np.array([1, 1]))
        ended = env.step(np.array([0, 1]))[2]
        with pytest.raises(InvalidValueError, match=r"streams \[0\] have ended"):
            env.step(np.array([1, 1]))
        env.reset(options={"reset_mask": ended})
        assert env.step(np.array([1, 1]))[4] == {}

    @pytest.mark.parametrize("mask", [np.array([True]), np.array([False, False]), np.array([1, 0]), None, "ab"])
    def test_what_is_no_mask(self, mask: Any) -> None:
        env = gym.make_vec(ID, num_envs=2)
        env.reset()
        with pytest.raises(InvalidValueError, match="reset_mask must be a bool array of shape"):
            env.reset(options={"reset_mask": mask})

    def test_a_puzzle_of_ones_own(self) -> None:
        """As text or tokens; its label is its answer, or nobody knows it; the stream then goes on."""
        one, other = TASK.puzzles("test").inputs[:2]
        env = gym.make(ID).unwrapped
        grid = one.view(4, 4)
        for puzzle in (TASK.format(one), one, one.numpy(), one.tolist(), grid, grid.numpy(), grid.tolist()):
            env.reset(seed=1, options={"puzzle": puzzle})
            assert torch.equal(env._streams.state.puzzles.inputs[0], one)
            assert torch.equal(env._streams.state.puzzles.labels[0], TASK.puzzles("test").labels[0])
        drawn = "1 . | . .\n. . | . .\n----+----\n. . | . .\n. . | . ."
        for puzzle in (PUZZLE, drawn):
            env.reset(options={"puzzle": puzzle})
            assert TASK.format(env._streams.state.puzzles.inputs[0]) == PUZZLE
        assert not env._streams.state.puzzles.labels.any()
        env.step(1)
        env.reset()
        assert TASK.format(env._streams.state.puzzles.inputs[0]) != PUZZLE
        vector = gym.make_vec(ID, num_envs=2)
        given = TASK.parse(PUZZLE)
        for puzzle, expected in (
            (one, [one, one]),
            (grid, [one, one]),
            ([one, other], [one, other]),
            (torch.stack([one, other]).numpy(), [one, other]),
            (PUZZLE, [given, given]),
        ):
            vector.reset(seed=1, options={"puzzle": puzzle})
            assert torch.equal(vector._streams.state.puzzles.inputs, torch.stack(expected))
        batch = LatentVecEnv("sudoku4x4", 2)
        batch.set_options({"puzzle": PUZZLE})
        batch.reset()
        assert [TASK.format(row) for row in batch._streams.state.puzzles.inputs] == [PUZZLE] * 2
        batch.reset()
        assert TASK.format(batch._streams.state.puzzles.inputs[0]) != PUZZLE

    @pytest.mark.parametrize(
        ("puzzle", "message"),
        [
            ("11..............", "contradict"),
            ("1", "16 symbols"),
            (np.zeros(16, dtype=np.int64), "not padding"),
            (np.full(16, 9), "tokens from 0 to 5"),
            (np.ones(16), "tokens from 0 to 5"),
            (np.ones(4, dtype=np.int64), "16 tokens"),
            (5, "16 tokens"),
            (None, "16 tokens"),
            ([], "one for each of 1"),
            ([PUZZLE, PUZZLE], "one for each of 1"),
        ],
    )
    def test_what_is_no_puzzle(self, puzzle: Any, message: str) -> None:
        with pytest.raises(PuzzleError, match=message):
            gym.make(ID).reset(options={"puzzle": puzzle})

    def test_unknown_options_are_refused(self) -> None:
        with pytest.raises(UnknownNameError, match=r"did you mean 'puzzle'\? Known: puzzle"):
            gym.make(ID).reset(options={"puzle": PUZZLE})
        with pytest.raises(UnknownNameError, match="Known: puzzle, reset_mask"):
            gym.make_vec(ID).reset(options={"x": 1})
        with pytest.raises(InvalidValueError, match="must be a mapping"):
            gym.make(ID).reset(options=5)

    def test_seeds_of_every_kind(self) -> None:
        env, vector = gym.make(ID), gym.make_vec(ID, num_envs=2)
        np.testing.assert_array_equal(env.reset(seed=np.int64(5))[0], env.reset(seed=5)[0])
        np.testing.assert_array_equal(vector.reset(seed=np.int32(5))[0], vector.reset(seed=[5, 6])[0])
        env.reset(seed=2**62)
        for seed in (-1, 2**70, 1.5, True, "1"):
            with pytest.raises(InvalidValueError, match=r"a seed must be a whole number from 0 to 2\^62"):
                env.reset(seed=seed)
        for seed in (-1, [0, -1], 2.0):
            with pytest.raises(InvalidValueError, match="a seed must be"):
                vector.reset(seed=seed)
        with pytest.raises(InvalidValueError, match="2 ints; got 1"):
            vector.reset(seed=[1])


class TestWrongActions:
    """The message names the action, the space, the count."""

    @pytest.mark.parametrize(
        ("actions", "action", "message"),
        [
            ("refine", 3, r"must be in the space Discrete\(3\) \(0 halt, 1 refine, 2 restart_view\); got 3"),
            ("refine", -1, "got -1"),
            ("refine", 1.0, r"whole number of the space Discrete\(3\); got \[1.0\] of type float64"),
            ("refine", True, "whole number"),
            ("refine", None, "whole number"),
            ("refine", "refine", "whole number"),
            ("refine", [[1], [1, 2]], r"got shape \(2,\)"),
            ("refine", [1], r"shape \(\) of the space Discrete\(3\); got shape \(1,\)"),
            ("joint", [1, 5, 1], r"in the space MultiDiscrete\(\[2 3 2\]\); got \[1 5 1\]"),
            ("joint", 1, r"shape \(3,\)"),
            ("continuous", [np.nan], r"finite number of the space Box\(-1.0, 1.0, \(1,\), float32\); got \[\[nan\]\]"),
            ("continuous", [np.inf], "finite number"),
            ("continuous", 0.5, r"shape \(1,\)"),
        ],
    )
    def test_single(self, actions: str, action: Any, message: str) -> None:
        env = LatentReasoningEnv(task=TASK, reasoner=random_reasoner(), actions=actions)
        env.reset(seed=0)
        with pytest.raises(InvalidValueError, match=message):
            env.step(action)
        env.step(env.action_space.sample())  # nothing was lost

    @pytest.mark.parametrize(
        ("action", "message"),
        [
            (np.array([3, 1]), r"Discrete\(3\) .*got 3 for environment 0"),
            (
                np.array([1]),
                r"2 actions of the space Discrete\(3\), an array of shape \(2,\); got shape \(1,\)",
            ),
            (np.ones((2, 1), dtype=np.int64), r"got shape \(2, 1\)"),
            (np.array([1.0, 1.0]), "of type float64"),
            ([[1], [1, 2]], "whole number"),
            (None, r"got shape \(\)"),
        ],
    )
    def test_batched(self, action: Any, message: str) -> None:
        vector, batch = gym.make_vec(ID, num_envs=2), LatentVecEnv("sudoku4x4", 2)
        vector.reset(seed=0)
        batch.reset()
        for env in (vector, batch):
            with pytest.raises(InvalidValueError, match=message):
                env.step(action)

    def test_a_box_is_clipped_to(self) -> None:
        """As Gymnasium's own environments do it."""
        ends = []
        for action in (1.0, 7.0):
            env = LatentReasoningEnv(task=TASK, reasoner=random_reasoner(), actions="continuous")
            env.reset(seed=0)
            ends.append(env.step(np.array([action], dtype=np.float32)))
        assert data_equivalence(ends[0], ends[1])

    @pytest.mark.parametrize("count", [0, -1, 2.5, True, None, "2"])
    def test_the_number_of_environments(self, count: Any) -> None:
        for make in (lambda: LatentVecEnv("sudoku4x4", count), lambda: gym.make_vec(ID, num_envs=count)):
            with pytest.raises(InvalidValueError, match="num_envs, must be a whole number of at least 1; got"):
                make()

    def test_each_stream_is_asked(self) -> None:
        env = gym.make_vec(ID, num_envs=2)
        env.reset()
        assert [mask.tolist() for mask in env.call("action_masks")] == [[0, 1, 0]] * 2
        assert env.get_attr("core") == (env.core, env.core)
        with pytest.raises(UnknownNameError, match="Known: action_masks, render"):
            env.call("step", 1)
        for values in (3, [3, 3], (3, 3)):
            env.set_attr("mark", values)
            assert env.get_attr("mark") == (3, 3)
        for values in ([3, 4], [3]):
            with pytest.raises(InvalidValueError, match="2 streams share the attribute mark"):
                env.set_attr("mark", values)

    def test_before_the_reset_and_after_the_close(self) -> None:
        single, vector, batch = gym.make(ID).unwrapped, gym.make_vec(ID, num_envs=2), LatentVecEnv("sudoku4x4", 2)
        for env, action in ((single, 1), (vector, np.array([1, 1])), (batch, np.array([1, 1]))):
            with pytest.raises(InvalidValueError, match=r"call reset\(\)"):
                env.step(action)
            env.reset()
            env.step(action)
            for _ in range(2):
                env.close()
            with pytest.raises(InvalidValueError, match=r"call reset\(\)|closed; make a new one"):
                env.step(action)
        for env in (vector, batch):
            with pytest.raises(InvalidValueError, match="closed; make a new one"):
                env.reset()

    def test_a_single_environment_may_be_reset_after_its_close(self) -> None:
        """SB3's checker goes on after it, once it has rendered."""
        for mode in (None, "ansi", "rgb_array"):
            sb3_check(gym.make(ID, render_mode=mode), skip_render_check=False)


class TestSB3:
    """Statistics, its wrappers, its questions."""

    def test_success_rates(self, tmp_path: Path) -> None:
        env = Monitor(gym.make(ID, max_episode_steps=2), str(tmp_path / "log"), info_keywords=("is_success",))
        env.reset(seed=0)
        env.step(1)
        assert env.step(1)[4]["episode"]["is_success"] in (True, False)
        env.close()
        batch = LatentVecEnv("sudoku4x4", 2, filename=tmp_path / "batch", info_keywords=("is_success",))
        model = agent(batch)
        callback = EvalCallback(LatentVecEnv("sudoku4x4", 2), eval_freq=8, log_path=str(tmp_path), verbose=0)
        model.learn(64, callback=callback)
        assert np.load(tmp_path / "evaluations.npz")["successes"].dtype == bool
        assert "rollout/success_rate" in model.logger.name_to_value or model.ep_success_buffer
        batch.close()
        assert "is_success" in (tmp_path / "batch.monitor.csv").read_text()

    @pytest.mark.parametrize("vec_env_cls", [None, SubprocVecEnv])
    def test_make_vec_env(self, vec_env_cls: Any) -> None:
        """In a worker nobody has imported our package; it asks for pictures, too."""
        env = make_vec_env(ID, n_envs=2, seed=0, vec_env_cls=vec_env_cls)
        try:
            env.reset()
            for _ in range(16):
                *_, dones, infos = env.step(np.array([1, 1]))
            assert dones.all()
            assert all({"is_success", "episode", "terminal_observation"} <= info.keys() for info in infos)
            assert np.stack(env.env_method("action_masks")).shape == (2, 3)
            assert [spec.id for spec in env.get_attr("spec")] == [ID] * 2
        finally:
            env.close()

    @pytest.mark.parametrize(
        "wrap",
        [
            VecMonitor,
            VecNormalize,
            VecCheckNan,
            lambda env: VecFrameStack(env, 2),
            lambda e: VecNormalize(VecMonitor(e)),
        ],
    )
    def test_its_wrappers(self, wrap: Callable[[Any], Any]) -> None:
        env = wrap(LatentVecEnv(random_core(), 2))
        agent(env).learn(16)
        evaluate_policy(agent(env), env, n_eval_episodes=2)

    def test_attributes_and_methods(self) -> None:
        env = LatentVecEnv("sudoku4x4", 2)
        env.reset()
        assert env.get_attr("spec") == [None, None]
        assert env.get_attr("render_mode", indices=0) == [None]
        assert np.stack(env.env_method("action_masks")).tolist() == [[False, True, False]] * 2
        assert env.has_attr("core")
        assert not env.has_attr("nothing")
        env.set_attr("mark", 3)
        assert env.get_attr("mark") == [3, 3]
        with pytest.raises(InvalidValueError, match="all 2 environments"):
            env.set_attr("mark", 3, indices=[0])
        with pytest.raises(UnknownNameError, match="action_masks"):
            env.env_method("action_mask")

    def test_a_recorded_core_pickles_what_it_recorded(self) -> None:
        pool = TASK.puzzles("test")[:5]
        env = LatentVecEnv(random_core().recording(pool, num_views=2), 3)
        env.seed(0)
        env.reset()
        for _ in range(6):
            env.step(np.array([1, 2, 1]))
        other = pickle.loads(pickle.dumps(env))
        assert other.core.steps.num_recorded == env.core.steps.num_recorded > 0
        for _ in range(9):
            one, two = env.step(np.array([1, 1, 2])), other.step(np.array([1, 1, 2]))
            assert data_equivalence(without_time(list(one)), without_time(list(two)))


@pytest.mark.parametrize("render_mode", [None, "ansi", "human", "rgb_array"])
def test_render_modes_are_taken_everywhere(render_mode: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    single = gym.make(ID, render_mode=render_mode)
    vector = gym.make_vec(ID, num_envs=2, render_mode=render_mode)
    batch = LatentVecEnv("sudoku4x4", 2, render_mode)
    for env, action in ((single, 1), (vector, np.array([1, 1])), (batch, np.array([1, 1]))):
        assert env.render_mode == render_mode
        env.reset()
        env.step(action)
        other = pickle.loads(pickle.dumps(env))
        other.step(action)
    if render_mode is None:
        with pytest.raises(InvalidValueError, match="render_mode"):
            batch.env_method("render")
        assert vector.call("render") == (None, None)
    else:
        kind = {"ansi": str, "human": type(None), "rgb_array": np.ndarray}[render_mode]
        frames = [single.render(), *vector.call("render"), *batch.env_method("render")]
        assert {type(frame) for frame in frames} == {kind}


def test_gymnasiums_wrappers_fit() -> None:
    wrappers, continuous = gym.wrappers, {"task": "sudoku4x4", "actions": "continuous"}
    envs = [
        wrappers.RecordEpisodeStatistics(gym.make(ID)),
        wrappers.DtypeObservation(gym.make(ID), np.float32),
        wrappers.FlattenObservation(gym.make(ID)),
        wrappers.NormalizeObservation(gym.make(ID)),
        wrappers.FrameStackObservation(gym.make(ID), 3),
        wrappers.TimeAwareObservation(gym.make(ID, max_episode_steps=6)),
        wrappers.RescaleAction(gym.make("LatentReasoning-v0", **continuous), np.float32(-2), np.float32(2)),
        wrappers.ClipAction(gym.make("LatentReasoning-v0", **continuous)),
    ]
    for env in envs:
        env.reset(seed=0)
        env.action_space.seed(0)
        for _ in range(6):
            observation, _, terminated, _, _ = env.step(env.action_space.sample())
            assert observation in env.observation_space
            if terminated:
                env.reset()
    assert envs[0].get_wrapper_attr("core") is envs[0].unwrapped.core


@pytest.mark.parametrize("task", every_task(TASKS))
def test_every_task_pickles(task: str) -> None:
    """A worker gets a task that was made for the occasion as an object."""
    one = copy.copy(TASKS[task])
    other = pickle.loads(pickle.dumps(one))
    assert (type(other), other.name, other.vocab_size, other.seq_len) == (type(one), task, one.vocab_size, one.seq_len)


def test_workers_send_our_errors() -> None:
    """An error of a worker reaches the process that started it as itself."""
    for error in (UnknownNameError("task", "sudoku", TASKS), InvalidValueError("x")):
        other = pickle.loads(pickle.dumps(error))
        assert (type(other), str(other)) == (type(error), str(error))
