"""Agents as files: no pickle, the same decisions, one clear error for whatever is damaged or foreign."""

import copy
import functools
import random
import shutil
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from attacks import attacks, damaged, poison, resealed
from helpers import TASK, random_core, random_reasoner
from sb3_contrib import ARS, QRDQN, TRPO, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from latent_rl import __main__ as cli
from latent_rl.agents import LearnedPolicy, Solver, evaluate_policy, load_agent, make_agent, save_agent
from latent_rl.agents.networks import ImprovementPolicy, ImprovementQPolicy
from latent_rl.agents.operator import ImprovementOperator
from latent_rl.agents.saved import AGENT, agent_facts
from latent_rl.agents.sb3.agents import AGENTS, AgentSpec
from latent_rl.agents.sb3.vec_env import LatentVecEnv
from latent_rl.agents.spaces import made_space, space_facts
from latent_rl.envs.core import Core
from latent_rl.errors import CheckpointError, InvalidValueError
from latent_rl.randomness import episode_keys
from latent_rl.reasoners.checkpoint import save_reasoner

BASE = TASK.puzzles("test")[:20]
SMALL: dict[str, Any] = {"policy_kwargs": {"net_arch": [8]}}
ON_POLICY = {"n_steps": 8, "batch_size": 16, **SMALL}
OFF_POLICY = {"learning_starts": 8, "buffer_size": 200, **SMALL}
KINDS: dict[str, tuple[type[BaseAlgorithm], Any, str, dict[str, Any]]] = {
    "ppo": (PPO, "MlpPolicy", "refine", {**ON_POLICY, "policy_kwargs": {"activation_fn": torch.nn.ReLU}}),
    "a2c": (A2C, "MlpPolicy", "refine", {"policy_kwargs": {"net_arch": {"pi": [8], "vf": [16]}}}),
    "dqn": (DQN, "MlpPolicy", "refine", OFF_POLICY),
    "maskableppo": (MaskablePPO, "MlpPolicy", "refine", ON_POLICY),
    "trpo": (TRPO, "MlpPolicy", "refine", ON_POLICY),
    "qrdqn": (QRDQN, "MlpPolicy", "refine", OFF_POLICY),
    "ars": (ARS, "MlpPolicy", "refine", SMALL),
    "recurrentppo": (RecurrentPPO, "MlpLstmPolicy", "refine", {**ON_POLICY, "policy_kwargs": {"lstm_hidden_size": 8}}),
    "operator": (ImprovementOperator, "MlpPolicy", "refine", {"n_steps": 8, **SMALL}),
    "ppo that recurses": (PPO, ImprovementPolicy, "refine", {**ON_POLICY, "policy_kwargs": {"width": 8}}),
    "dqn that recurses": (DQN, ImprovementQPolicy, "refine", {**OFF_POLICY, "policy_kwargs": {"width": 8}}),
    "joint": (PPO, "MlpPolicy", "joint", ON_POLICY),
    "continuous": (PPO, "MlpPolicy", "continuous", {**ON_POLICY, "use_sde": True}),
    "sac": (SAC, "MlpPolicy", "continuous", OFF_POLICY),
}


def shaken(model: BaseAlgorithm) -> BaseAlgorithm:
    """The same agent with weights far from where they began, so that its decisions vary."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weights in model.policy.parameters():
            weights += torch.randn_like(weights)
    return model


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small PPO agent."""
    folder = tmp_path_factory.mktemp("agents") / "ppo"
    save_agent(
        shaken(PPO("MlpPolicy", LatentVecEnv(random_core(), 2), seed=0, device="cpu", **copy.deepcopy(ON_POLICY))),
        folder,
    )
    return folder


@pytest.fixture
def copied(agent: Path, tmp_path: Path) -> Path:
    """A copy of it to be damaged."""
    (tmp_path / AGENT).write_bytes((agent / AGENT).read_bytes())
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_an_agent_of_any_kind_decides_as_it_did(kind: str, tmp_path: Path) -> None:
    """To the last bit, in every state of its episodes, whatever the solver's batch; its kind need not be told."""
    algorithm, policy, actions, arguments = copy.deepcopy(KINDS[kind])  # some algorithms add to policy_kwargs
    core = random_core(actions=actions)
    model = shaken(algorithm(policy, LatentVecEnv(core, 2), seed=0, device="cpu", **arguments).learn(32))
    file = save_agent(model, tmp_path)
    assert file == tmp_path / AGENT
    expected = Solver(core, LearnedPolicy("mine", model, mode=core.mode), 20).solve(BASE)
    for path in (tmp_path, file, str(file)):
        loaded = load_agent(path, core)
        assert loaded.name == kind.split()[0].replace("joint", "ppo").replace("continuous", "ppo")
        solved = Solver(core, loaded, 7).solve(BASE)
        for name in ("answers", "steps", "restarts", "passes"):
            assert torch.equal(getattr(solved, name), getattr(expected, name)), name
    observation = np.random.default_rng(0).random((50, core.observation_size), dtype=np.float32)
    options = {"state": None, "episode_start": np.ones(50, dtype=bool)} if kind == "recurrentppo" else {}
    np.testing.assert_array_equal(
        model.predict(observation, deterministic=True, **options)[0],
        load_agent(tmp_path).model.predict(observation, deterministic=True, **options)[0],
    )


def test_an_lstm_remembers_each_episode_in_whatever_batch_it_is() -> None:
    """As one loop over all episodes at once remembers them."""
    core = random_core()
    env = LatentVecEnv(core, 2)
    kwargs = {"policy_kwargs": {"lstm_hidden_size": 8, "n_lstm_layers": 2}}
    model = shaken(RecurrentPPO("MlpLstmPolicy", env, seed=0, device="cpu", n_steps=8, batch_size=16, **kwargs))
    with torch.no_grad():
        model.policy.action_net.bias[0] -= 3
    state, memory, steps = core.begin(BASE, episode_keys(torch.arange(20), 0)), None, torch.zeros(20, dtype=torch.int64)
    running = torch.ones(20, dtype=torch.bool)
    for _ in range(core.horizon):
        begins = (state.step == 0).numpy()
        actions, memory = model.predict(core.observe(state).numpy(), memory, begins, deterministic=True)
        transition = core.step(state, core.mode.decode(torch.as_tensor(actions)))
        steps = torch.where(running, transition.state.step, steps)
        running, state = running & ~transition.terminated, transition.state
    assert len(steps.unique()) > 1
    assert torch.equal(Solver(core, LearnedPolicy("lstm", model), 3).solve(BASE).steps, steps)


def test_an_agent_trained_with_masks_gets_them(tmp_path: Path) -> None:
    """Its network never learned about what was masked; here it would love to halt before the first step."""
    core = random_core()
    model = MaskablePPO("MlpPolicy", LatentVecEnv(core, 2), seed=0, device="cpu", **copy.deepcopy(ON_POLICY))
    with torch.no_grad():
        model.policy.action_net.bias[0] += 100
    save_agent(model, tmp_path)
    assert Solver(core, load_agent(tmp_path, core)).solve(BASE).steps.tolist() == [1] * 20
    with pytest.raises(InvalidValueError, match=r"give mode=core\.mode"):
        evaluate_policy(core, LearnedPolicy("mine", model), BASE)


def test_what_an_agent_file_says(agent: Path) -> None:
    facts = agent_facts(agent)
    assert (facts["name"], facts["algorithm"], facts["policy"]) == ("ppo", "PPO", "MlpPolicy")
    assert facts["policy_kwargs"] == {"net_arch": [8]}
    assert facts["environment"]["actions"] == ["halt", "refine", "restart_view"]
    assert (facts["environment"]["task"], facts["environment"]["horizon"]) == ("sudoku4x4", 8)
    assert facts["arguments"]["n_steps"] == 8
    assert set(facts["versions"]) == {"latent_rl", "stable_baselines3", "torch"}
    assert b"pickle" not in (agent / AGENT).read_bytes()


def test_a_loaded_agent_can_go_on_learning(tmp_path: Path) -> None:
    """A new agent takes over the weights; optimizer and schedule begin anew."""
    core = random_core()
    model, again = (
        PPO("MlpPolicy", LatentVecEnv(core, 2), seed=seed, device="cpu", **copy.deepcopy(ON_POLICY)) for seed in (0, 1)
    )
    save_agent(shaken(model), tmp_path)
    again.policy.load_state_dict(load_agent(tmp_path, core).model.state_dict())
    observation = np.random.default_rng(0).random((50, core.observation_size), dtype=np.float32)
    np.testing.assert_array_equal(*(m.predict(observation, deterministic=True)[0] for m in (model, again)))
    before = again.policy.state_dict()["action_net.weight"].clone()
    again.learn(32)
    assert not torch.equal(again.policy.state_dict()["action_net.weight"], before)


@pytest.mark.parametrize(("name", "algorithm"), [("a2c", A2C), ("trpo", TRPO)])
def test_one_entry_adds_an_agent(name: str, algorithm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A2C and PPO share their policy class, and are told apart."""

    def no_bias(model: Any, refine: int) -> None:
        """Leave it as it is."""

    spec = AgentSpec(algorithm, 16, 128, no_bias, {"n_steps": 8, **SMALL})
    monkeypatch.setitem(AGENTS, name, spec)
    core = random_core()
    model = make_agent(name, core, seed=0).learn(spec.total_timesteps)
    save_agent(model, tmp_path / "agent")
    loaded = load_agent(tmp_path / "agent", core)
    assert loaded.name == name
    expected = evaluate_policy(core, LearnedPolicy(name, model), BASE)
    np.testing.assert_array_equal(evaluate_policy(core, loaded, BASE).steps, expected.steps)
    save_reasoner(random_reasoner(), tmp_path / "reasoner")
    arguments = ["--task", "sudoku4x4", "--reasoner", str(tmp_path / "reasoner"), "--horizon", "8"]
    puzzle = TASK.format(BASE.inputs[0])
    assert cli.run(["solve", *arguments, "--policy", str(tmp_path / "agent"), "--puzzle", puzzle]) in (0, 1)


class Foreign(PPO):
    """An algorithm that nobody can find by its name."""


def test_what_cannot_be_saved_is_refused(tmp_path: Path) -> None:
    env = LatentVecEnv(random_core(), 2)

    class Mine(torch.nn.ReLU):
        pass

    class Policy(ImprovementPolicy):
        pass

    broken = PPO("MlpPolicy", env, device="cpu", **copy.deepcopy(ON_POLICY))
    with torch.no_grad():
        broken.policy.action_net.bias[0] = torch.nan
    normalized = VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")]))
    for model, message in (
        (Foreign("MlpPolicy", env, device="cpu"), "Add it to AGENTS"),
        (PPO(Policy, env, device="cpu"), "Add it to POLICIES"),
        (PPO("MlpPolicy", env, device="cpu", policy_kwargs={"activation_fn": Mine}), "must be plain values"),
        (broken, "action_net.bias is not"),
        (PPO("MlpPolicy", normalized, device="cpu"), "VecNormalize"),
    ):
        with pytest.raises(InvalidValueError, match=message):
            save_agent(model, tmp_path)
    assert not list(tmp_path.iterdir())


def assert_one_clear_error(path: Path, core: Core | None, **options: Any) -> str:
    started = time.monotonic()
    with pytest.raises(CheckpointError) as error:
        load_agent(path, core, **options)
    assert time.monotonic() - started < 5
    text = str(error.value)
    assert str(path) in text
    assert "\n" not in text
    assert len(text) < 600
    return text


def test_any_damage_is_noticed(copied: Path) -> None:
    core = random_core()
    for file, damage, chance in attacks(copied, AGENT, 150):
        with damaged(file, damage, chance) as changed:
            if changed:
                assert_one_clear_error(copied, core)
    load_agent(copied, core)


def test_what_is_no_agent_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no zip")
    (tmp_path / "folder.safetensors").mkdir()
    save_reasoner(random_reasoner(), tmp_path / "reasoner")
    for path in (
        *(tmp_path, tmp_path / "gone.zip", tmp_path / "gone" / AGENT, tmp_path / "text.zip", Path("/dev/null")),
        *(tmp_path / "folder.safetensors", tmp_path / "reasoner" / "reasoner.safetensors"),
    ):
        assert "must be an agent" in assert_one_clear_error(path, random_core())


def put(*path: str, value: Any) -> Any:
    """A change of an agent's facts."""

    def change(tensors: dict[str, Any], facts: dict[str, Any]) -> None:
        for key in path[:-1]:
            facts = facts[key]
        facts[path[-1]] = value

    return change


def weights(name: str, change: Any) -> Any:
    """A change of an agent's tensors."""
    return lambda tensors, facts: tensors.update({name: change(tensors[name])})


LARGE = {"kind": "Box", "shape": [2**20], "dtype": "float32", "low": 0, "high": 1}
CRAFTED = {
    "NaN weights": weights("action_net.bias", lambda t: t * torch.nan),
    "infinite weights": weights("action_net.bias", lambda t: t + torch.inf),
    "int8 weights": weights("action_net.bias", lambda t: t.to(torch.int8)),
    "float64 weights": weights("action_net.bias", lambda t: t.double()),
    "another shape": weights("action_net.bias", lambda t: t[:2]),
    "a missing tensor": lambda tensors, facts: tensors.pop("action_net.bias"),
    "one tensor too many": lambda tensors, facts: tensors.update(more=torch.zeros(2)),
    "no tensor": lambda tensors, facts: tensors.clear(),
    "no facts": lambda tensors, facts: facts.clear(),
    "a network of 10^18": put("policy_kwargs", "net_arch", value=[10**9, 10**9]),
    "a network of 16 GiB": put("policy_kwargs", "net_arch", value=[65_536, 65_536]),
    "a million layers": put("policy_kwargs", "net_arch", value=[1] * 10**6),
    "a negative network": put("policy_kwargs", "net_arch", value=[-1]),
    "a network of fractions": put("policy_kwargs", "net_arch", value=[1.5]),
    "a network of texts": put("policy_kwargs", "net_arch", value="64"),
    "an unknown argument": put("policy_kwargs", value={"no_such": 1}),
    "arguments of another kind": put("policy_kwargs", value=[1]),
    "a class of code": put("policy_kwargs", "activation_fn", value={"class": "os.system"}),
    "an algorithm of code": put("algorithm", value="os.system"),
    "what is no algorithm": put("algorithm", value="get_system_info"),
    "an algorithm of another kind": put("algorithm", value=["PPO"]),
    "an unknown network": put("policy", value="NoPolicy"),
    "a network of another kind": put("policy", value=["MlpPolicy"]),
    "observations of 10^9": put("observation_space", "shape", value=[10**9]),
    "observations of 10^18": put("observation_space", "shape", value=[10**6, 10**6, 10**6]),
    "observations of text": put("observation_space", "dtype", value="U8"),
    "observations of objects": put("observation_space", "dtype", value="object"),
    "other bounds": put("observation_space", "low", value=[1, 2]),
    "no number": put("observation_space", "low", value="x"),
    "an unknown space": put("observation_space", "kind", value="Text"),
    "a thousand large spaces": put(
        "observation_space",
        value={"kind": "Dict", "spaces": {str(i): LARGE for i in range(1000)}},
    ),
    "nested spaces": put(
        "observation_space",
        value=functools.reduce(
            lambda inner, _: {"kind": "Dict", "spaces": {"a": inner}},
            range(400),
            {"kind": "Discrete", "n": 2, "start": 0},
        ),
    ),
    "no space": put("action_space", value=None),
    "10^9 actions": put("action_space", "n", value=10**9),
    "no actions": put("action_space", "n", value=0),
    "actions of another kind": put("action_space", "n", value=True),
    "other actions": put("action_space", value={"kind": "Discrete", "n": 4, "start": 0}),
    "an environment of another kind": put("environment", value=[1]),
    "an empty environment": put("environment", value={}),
}


@pytest.mark.parametrize("change", CRAFTED.values(), ids=CRAFTED)
def test_what_an_attacker_writes_is_one_clear_error(change: Any, copied: Path) -> None:
    """The checksum fits; no memory is taken and no time lost, whatever the file says."""
    resealed(copied / AGENT, change)
    assert_one_clear_error(copied, random_core())


def test_an_endless_recursion_is_refused(tmp_path: Path) -> None:
    model = PPO(ImprovementPolicy, LatentVecEnv(random_core(), 2), device="cpu", n_steps=8, batch_size=16)
    file = save_agent(model, tmp_path)
    resealed(file, put("policy_kwargs", value={"num_supervision_steps": 10**9}))
    assert "num_supervision_steps must be in" in assert_one_clear_error(file, random_core())


def test_an_agent_must_fit_the_environment(agent: Path) -> None:
    """The same number of actions is not enough: they must be the same ones."""
    for changes in (
        *({"observation": "verifier"}, {"actions": "halt"}, {"actions": "joint"}),
        *({"actions": ("halt", "refine", "commit")}, {"actions": ("refine", "halt", "restart_view")}),
    ):
        assert "trained with" in assert_one_clear_error(agent, random_core(**changes))
    load_agent(agent, random_core(horizon=5, cost_per_pass=0.1, reward="sparse"))


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A zip of stable-baselines3 that runs code, and then decides well."""
    path = tmp_path / "best_model.zip"
    shaken(PPO("MlpPolicy", LatentVecEnv(random_core(), 2), seed=0, device="cpu", **copy.deepcopy(ON_POLICY))).save(
        path
    )
    poison(path, tmp_path / "mark")
    return path


def test_a_zip_runs_no_code_unless_it_is_trusted(foreign: Path, agent: Path) -> None:
    core, mark = random_core(), foreign.with_name("mark")
    shutil.copy(foreign, foreign.with_name("agent"))
    for path in (foreign, foreign.parent, foreign.with_name("agent")):
        with pytest.raises(CheckpointError, match=r"run code.*--trust") as error:
            load_agent(path, core)
        assert "\n" not in str(error.value)
    assert not mark.exists()
    loaded = load_agent(foreign.with_name("agent"), core, trust=True)
    assert mark.exists()
    expected = evaluate_policy(core, load_agent(agent, core), BASE)
    np.testing.assert_array_equal(evaluate_policy(core, loaded, BASE).steps, expected.steps)
    with pytest.raises(CheckpointError, match="trained with"):
        load_agent(foreign.with_name("agent"), random_core(actions="halt"), trust=True)


def test_solve_refuses_a_zip_in_one_line(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["solve", "--task", "sudoku4x4", "--puzzle", TASK.format(BASE.inputs[0]), "--policy", str(foreign)]
    assert cli.run(arguments) == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    assert "--trust" in captured.err
    assert captured.out == ""
    assert not foreign.with_name("mark").exists()
    assert cli.run([*arguments, "--trust"]) in (0, 1)
    assert foreign.with_name("mark").exists()


def test_a_zip_that_is_none_is_one_clear_error_when_trusted(foreign: Path) -> None:
    chance = random.Random(0)
    for damage in ("cut", "empty", "text", "all noise"):
        with damaged(foreign, damage, chance):
            assert_one_clear_error(foreign, random_core(), trust=True)
    torch.save({"policy": torch.zeros(2)}, foreign)
    assert_one_clear_error(foreign, random_core(), trust=True)


def test_spaces_there_and_back() -> None:
    spaces = gym.spaces
    for space in (
        spaces.Box(-10, 10, (19,), np.float32),
        spaces.Box(np.array([0, -np.inf], np.float32), np.array([np.inf, 3.3], np.float32)),
        spaces.Box(0, 255, (3, 4, 1), np.uint8),
        spaces.Discrete(3),
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([2, 3, 2]),
        spaces.MultiBinary([2, 2]),
        spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Box(-1, 1, (2,))}),
    ):
        assert made_space(space_facts(space)) == space
    with pytest.raises(InvalidValueError, match="must be Box"):
        space_facts(spaces.Text(3))
