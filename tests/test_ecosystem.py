"""Other libraries train on these environments as they are; each test is skipped where its library is not installed."""

import importlib.util
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from helpers import TASK, random_core, random_reasoner
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

from latent_rl.agents.sb3.vec_env import LatentVecEnv
from latent_rl.envs import IDS, LatentReasoningEnv
from latent_rl.errors import UnknownNameError

EXAMPLES = Path(__file__).parent.parent / "examples"
ID = "LatentReasoning/Sudoku4x4-v0"
SMALL: dict[str, Any] = {"task": TASK, "reasoner": random_reasoner(), "horizon": 6}
has_checkout = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="needs the checkout, not the wheel alone")


def needs(module: str, install: str = "latent_rl[ecosystem]") -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"needs {module}: pip install {install}")


def python(*arguments: str, cwd: Path) -> str:
    run = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=cwd)
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


@needs("sb3_contrib")
class TestMaskablePPO:
    """Never an action that makes no sense: no halt at step 0, no commit on an empty board."""

    actions = ("halt", "refine", "commit_reset", "restart_view")

    def make(self, kind: str) -> Any:
        if kind == "batched":
            return LatentVecEnv(random_core(actions=self.actions), 8)
        arguments = {**SMALL, "actions": self.actions}
        return make_vec_env(LatentReasoningEnv, n_envs=2, env_kwargs=arguments)

    @pytest.mark.parametrize("kind", ["batched", "single"])
    def test_it_learns_and_never_takes_a_masked_action(self, kind: str) -> None:
        from sb3_contrib import MaskablePPO
        from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported

        env = self.make(kind)
        assert is_masking_supported(env)
        agent = MaskablePPO("MlpPolicy", env, n_steps=16, batch_size=16, gamma=1.0, seed=0, device="cpu")
        agent.learn(64)
        assert agent.num_timesteps >= 64
        # What was rolled out: at step 0 (the first feature) only refine makes sense.
        buffer = agent.rollout_buffer
        first = np.asarray(buffer.observations)[..., 0].reshape(-1) == 0
        chosen = np.asarray(buffer.actions).reshape(-1)
        assert first.any()
        assert (chosen[first] == 1).all()
        observation = env.reset()
        masks = get_action_masks(env)
        assert masks.shape == (env.num_envs, len(self.actions))
        assert masks.tolist() == [[False, True, False, False]] * env.num_envs
        actions, _ = agent.predict(observation, action_masks=masks, deterministic=False)
        assert (actions == 1).all()


@needs("sb3_contrib")
@pytest.mark.parametrize("name", ["RecurrentPPO", "QRDQN"])
def test_other_agents_of_sb3_contrib_learn(name: str) -> None:
    import sb3_contrib

    env = LatentVecEnv(random_core(), 4)
    policy, arguments = {
        "RecurrentPPO": ("MlpLstmPolicy", {"n_steps": 8, "batch_size": 32}),
        "QRDQN": ("MlpPolicy", {"learning_starts": 16, "buffer_size": 500, "train_freq": 4}),
    }[name]
    agent = getattr(sb3_contrib, name)(policy, env, gamma=1.0, seed=0, device="cpu", **arguments)
    before = [parameter.detach().clone() for parameter in agent.policy.parameters()]
    agent.learn(64)
    assert any((old != new).any() for old, new in zip(before, agent.policy.parameters(), strict=True))
    actions, _ = agent.predict(env.reset(), deterministic=True)
    assert env.action_space.contains(actions[0])


def test_sb3_wrappers_fit_the_batched_environment() -> None:
    env = VecNormalize(VecMonitor(LatentVecEnv(random_core(), 4)), gamma=1.0)
    env.reset()
    ends = 0
    for _ in range(8):
        _, _, dones, infos = env.step(np.ones(4, dtype=np.int64))
        ends += int(dones.sum())
        assert all("episode" in info for info, done in zip(infos, dones, strict=True) if done)
    assert ends > 0


def test_gymnasium_vector_wrappers_fit() -> None:
    """Those of observations ask for the autoreset mode NextStep; statistics count exactly the episodes that end."""
    env = gym.make_vec("LatentReasoning-v0", num_envs=3, autoreset_mode="NextStep", **SMALL)
    env = gym.wrappers.vector.NormalizeObservation(gym.wrappers.vector.RecordEpisodeStatistics(env))
    observation, _ = env.reset(seed=0)
    for step in range(1, 15):
        observation, _, terminated, _, infos = env.step(np.ones(3, dtype=np.int64))
        assert np.isfinite(observation).all()
        assert terminated.tolist() == [step % 7 == 6] * 3
        if terminated.any():
            assert infos["episode"]["l"].tolist() == [6, 6, 6]
            assert infos["steps"].tolist() == [6, 6, 6]


@needs("array_api_compat")
def test_torch_users_get_tensors() -> None:
    env = gym.wrappers.NumpyToTorch(gym.make(ID))
    env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(torch.tensor(1))
    assert (type(reward), type(terminated), type(truncated)) == (float, bool, bool)
    assert observation.shape == (19,)
    assert info["prediction"].shape == (16,)
    envs = gym.wrappers.vector.NumpyToTorch(gym.make_vec(ID, num_envs=2, autoreset_mode="NextStep"))
    envs.reset(seed=0)
    envs.step(torch.tensor([1, 1]))
    assert envs.step(torch.tensor([0, 1]))[2].tolist() == [True, False]


def test_next_step_autoreset_only_delays() -> None:
    """The same episodes as with SameStep, with one step more at each end."""
    now = gym.make_vec("LatentReasoning-v0", num_envs=2, **SMALL)
    later = gym.make_vec("LatentReasoning-v0", num_envs=2, autoreset_mode="NextStep", **SMALL)
    np.testing.assert_array_equal(now.reset(seed=1)[0], later.reset(seed=1)[0])
    halts = [np.array([1, 1]), np.array([0, 1])]
    for actions in halts:
        one, other = now.step(actions), later.step(actions)
        np.testing.assert_array_equal(one[1], other[1])
        np.testing.assert_array_equal(one[2], other[2])
    assert one[2].tolist() == [True, False]
    np.testing.assert_array_equal(one[4]["final_obs"][0], other[0][0])
    # Stream 1 takes a step; stream 0 begins anew, whatever its action, for no reward.
    waiting = later.step(np.array([1, 1]))
    np.testing.assert_array_equal(waiting[0][0], one[0][0])
    assert waiting[1][0] == 0
    assert not waiting[2].any()
    with pytest.raises(UnknownNameError, match="did you mean 'NextStep'"):
        gym.make_vec("LatentReasoning-v0", num_envs=2, autoreset_mode="NexStep", **SMALL)


def test_gymnasium_can_also_batch_single_environments() -> None:
    """`vectorization_mode="sync"` runs the single environment B times; stream i does what the native batch does."""
    single = gym.make_vec("LatentReasoning-v0", num_envs=2, vectorization_mode="sync", **SMALL)
    native = gym.make_vec("LatentReasoning-v0", num_envs=2, **SMALL)
    np.testing.assert_allclose(single.reset(seed=5)[0], native.reset(seed=5)[0], atol=1e-5)
    for _ in range(3):
        actions = np.array([1, 2])
        one, other = single.step(actions), native.step(actions)
        np.testing.assert_allclose(one[0], other[0], atol=1e-4)
        np.testing.assert_allclose(one[1], other[1], atol=1e-4)


@needs("torchrl")
@pytest.mark.filterwarnings("ignore")  # torchrl and tensordict warn about themselves
def test_torchrl_rolls_out() -> None:
    """Its GymEnv passes the library's own check of specs, and a rollout holds whole episodes."""
    from torchrl.envs.libs.gym import GymEnv, GymWrapper
    from torchrl.envs.utils import check_env_specs

    env = GymEnv("LatentReasoning-v0", **SMALL)
    check_env_specs(env)
    rollout = env.rollout(6, break_when_any_done=False)
    assert rollout["observation"].shape == (6, 19)
    assert rollout["next", "reward"].shape == (6, 1)
    wrapped = GymWrapper(LatentReasoningEnv(**SMALL))
    refine = wrapped.action_spec.zero()
    refine[..., 1] = True
    data, ends = wrapped.reset(), []
    for _ in range(6):
        data = wrapped.step(data.set("action", refine))["next"]
        ends.append(bool(data["terminated"]))
    assert ends == [False] * 5 + [True]


@has_checkout
@pytest.mark.slow
def test_the_cleanrl_style_file_learns_to_solve(tmp_path: Path) -> None:
    small = ("--env-id", "LatentReasoning/Sudoku4x4-v0", "--total-timesteps", "8192", "--num-envs", "32")
    output = python(str(EXAMPLES / "cleanrl_ppo.py"), *small, "--out", str(tmp_path / "run"), cwd=tmp_path)
    last = output.splitlines()[-1].split()
    assert float(last[last.index("solved") + 1]) > 0.95
    assert float(last[last.index("passes") + 1]) < 8
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))


@has_checkout
def test_the_cleanrl_style_file_refuses_what_it_cannot_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cleanrl_ppo.py", "--num-minibatches", "7"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(EXAMPLES / "cleanrl_ppo.py"), run_name="__main__")
    assert end.value.code == 2
    assert "divisor" in capsys.readouterr().err


@has_checkout
@needs("rl_zoo3", "latent_rl[zoo]")
@pytest.mark.slow
def test_rl_zoo3_trains_with_our_file_and_plays(tmp_path: Path) -> None:
    which = ("--algo", "ppo", "--env", ID, "--gym-packages", "latent_rl.envs", "-f", "logs", "--device", "cpu")
    small = ("--n-timesteps", "256", "--eval-freq", "500", "--eval-episodes", "2", "--num-threads", "1")
    output = python("-m", "rl_zoo3.train", *which, "--conf-file", str(EXAMPLES / "rl_zoo3.yml"), *small, cwd=tmp_path)
    assert "Success rate" in output
    assert (tmp_path / "logs/ppo/LatentReasoning-Sudoku4x4-v0_1/LatentReasoning-Sudoku4x4-v0.zip").is_file()
    output = python("-m", "rl_zoo3.enjoy", *which, "-n", "20", "--stochastic", cwd=tmp_path)
    assert "Success rate" in output
    assert "step" in output, "the boards are shown"


@has_checkout
def test_our_file_for_rl_zoo3_knows_every_id() -> None:
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load((EXAMPLES / "rl_zoo3.yml").read_text()).keys() == IDS.keys()


@has_checkout
@needs("ray", "-r examples/rllib-requirements.txt, in an environment of its own")
@pytest.mark.slow
def test_rllib_trains_with_two_workers(tmp_path: Path) -> None:
    """Runs in the environment of rllib-requirements.txt alone."""
    small = ("--task", "sudoku4x4", "--iterations", "2", "--batch-size", "512", "--num-envs-per-worker", "4")
    output = python(str(EXAMPLES / "rllib_cluster.py"), *small, cwd=tmp_path)
    assert output.count("iteration") == 2
