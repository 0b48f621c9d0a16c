"""Agents as files without code: the weights of the policy network, and JSON that says how to build it; never a pickle.

A zip of stable-baselines3 holds pickled objects, and to load one is to run whatever code it brings: such a file is
refused unless the user says that it is trusted.
"""

import importlib
import importlib.util
import inspect
import math
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor, NatureCNN
from stable_baselines3.common.vec_env import SubprocVecEnv
from torch import Tensor
from torch.overrides import TorchFunctionMode

import latent_rl
from latent_rl.agents.networks import ImprovementPolicy, ImprovementQPolicy
from latent_rl.agents.sb3.agents import AGENTS, LearnedPolicy
from latent_rl.agents.spaces import made_space, space_facts
from latent_rl.envs.core import Core
from latent_rl.envs.single import observation_space
from latent_rl.errors import CheckpointError, InvalidValueError, MissingExtraError, one_line
from latent_rl.storage.sealed import read_sealed, write_sealed

AGENT = "agent.safetensors"
"""The file in an agent's folder."""
ZIPS = ("agent.zip", "best_model.zip")
"""What a folder may hold in its place, for those who trust it."""
POLICIES: dict[str, type[BasePolicy]] = {
    "ImprovementPolicy": ImprovementPolicy,
    "ImprovementQPolicy": ImprovementQPolicy,
}
"""Policy networks that agents can be saved with, beside those that their algorithm knows by name. To add one of your
own, put it here; its `policy_kwargs` must be plain values, or of `CLASSES`."""
CLASSES: dict[str, type] = {
    f"{each.__module__}.{each.__name__}": each
    for each in (
        *(getattr(torch.nn.modules.activation, name) for name in torch.nn.modules.activation.__all__),
        *(FlattenExtractor, CombinedExtractor, NatureCNN),
    )
}
"""Classes that may be an argument of a policy network."""
_TRAINING_ONLY = ("optimizer_class", "optimizer_kwargs")
_WHAT = "an agent that a training saved"


def save_agent(
    model: BaseAlgorithm, path: str | Path, name: str | None = None, run: dict[str, Any] | None = None
) -> Path:
    """Save what an agent of stable-baselines3, sb3-contrib or this package has learned, without pickle.

    Kept are the policy network, which decides as before to the last bit, and as facts the algorithm, its plain
    arguments, versions, and the environment. Not kept are optimizer and schedules: an agent that is to go on learning
    is made anew and takes over the weights (docs/comparing.md).

    Args:
        model: the agent.
        path: a folder, which gets the file `AGENT`, or a file that ends in ".safetensors".
        name: what reports call it; default: its key in `AGENTS`, else its algorithm in lower case.
        run: more facts, as plain JSON values.

    Returns:
        The file.

    Raises:
        InvalidValueError: algorithm, policy network or an argument is of a kind that JSON can't name, the observations
            are normalized by a wrapper that would be lost, or weights are not finite.
        FileError: it can't be written.
    """
    algorithm, policy = type(model).__name__, cast(Any, model.policy)
    policy = getattr(policy, "_orig_mod", policy)
    if _algorithm(algorithm) is not type(model):
        raise InvalidValueError(
            f"the agent must be of stable-baselines3, sb3-contrib or AGENTS; got {algorithm}. Add it to AGENTS."
        )
    networks = _policies(type(model))
    network = next((each for each, made in networks.items() if made is type(policy)), None)
    if network is None:
        raise InvalidValueError(
            f"the policy network must be one of {', '.join(networks)}; got {type(policy).__name__}. Add it to POLICIES."
        )
    if model.get_vec_normalize_env() is not None:
        raise InvalidValueError(
            "the agent must see observations as they are; got one behind VecNormalize, whose statistics would be lost."
        )
    weights = policy.state_dict()
    if broken := _not_finite(weights):
        raise InvalidValueError(f"an agent's weights must be finite; {broken} is not. Its training has diverged.")
    arguments = {k: v for k, v in (model.policy_kwargs or {}).items() if k not in _TRAINING_ONLY}
    if model.use_sde and _takes(type(policy), "use_sde"):
        arguments["use_sde"] = True
    facts = {
        "name": name or next((key for key, spec in AGENTS.items() if spec.algorithm is type(model)), algorithm.lower()),
        "algorithm": algorithm,
        "policy": network,
        "policy_kwargs": _plain(arguments),
        "observation_space": space_facts(model.observation_space),
        "action_space": space_facts(model.action_space),
        "environment": _environment(model),
        "arguments": _arguments(model),
        "num_timesteps": model.num_timesteps,
        "versions": {m.__name__: str(m.__version__) for m in (latent_rl, stable_baselines3, torch)},
        "run": run,
    }
    file = Path(path)
    file = file if file.suffix == ".safetensors" else file / AGENT
    write_sealed(file, weights, facts)
    return file


def load_agent(path: str | Path, core: Core | None = None, *, trust: bool = False) -> LearnedPolicy:
    """Load a saved agent as a step policy.

    Args:
        path: a file that `save_agent` wrote, or its folder; a zip of stable-baselines3 if it is trusted.
        core: what it is to decide; None if that is none of this package's environments.
        trust: load a zip of stable-baselines3, which runs the code in it.

    Raises:
        CheckpointError: it is no such agent, is damaged, would run code, or was trained on other observations or
            actions.
        MissingExtraError: its library is not installed.
    """
    file = _found(Path(path))
    if _is_zip(file):
        if not trust:
            raise CheckpointError(
                f"{file} must be loaded by those only who trust it: a zip of stable-baselines3 holds pickled objects,"
                " which run code. If you made it yourself, say --trust (in Python trust=True)."
            )
        agent, environment = _from_zip(file), None
    else:
        tensors, facts = read_sealed(file, _WHAT)
        agent, environment = _from_facts(file, tensors, facts), facts["environment"]
    if core is None:
        return agent
    model = cast(BasePolicy, agent.model)
    trained, wanted = (model.observation_space, model.action_space), (observation_space(core), core.mode.space)
    if trained != wanted:
        raise CheckpointError(
            f"the agent in {file} must fit the observation and the actions, {wanted}; it was trained on {trained}."
            " Give those it was trained with."
        )
    own = {"actions": [action.name for action in core.mode.actions], "observation": core.observation}
    for kind, value in own.items():
        if environment is not None and environment[kind] != value:
            raise CheckpointError(
                f"the agent in {file} must fit the {kind}, {value}; it was trained on"
                f" {one_line(str(environment[kind]))}. Give those it was trained with."
            )
    return LearnedPolicy(agent.name, model, mode=core.mode)


def agent_facts(path: str | Path) -> dict[str, Any]:
    """What a file of `save_agent` says about the agent.

    Raises:
        CheckpointError: it is no such file, or is damaged.
    """
    return read_sealed(_found(Path(path)), _WHAT)[1]


def _plain(value: Any) -> Any:
    """Arguments as JSON values; a class of `CLASSES` as its name.

    Raises:
        InvalidValueError: something in it is neither.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(each) for key, each in value.items()}
    name = next((name for name, known in CLASSES.items() if known is value), None)
    if name is None:
        raise InvalidValueError(f"a policy network's arguments must be plain values; got {one_line(repr(value), 80)}.")
    return {"class": name}


def _unplain(value: Any) -> Any:
    if isinstance(value, list):
        return [_unplain(each) for each in value]
    if isinstance(value, dict):
        return CLASSES[value["class"]] if list(value) == ["class"] else {k: _unplain(v) for k, v in value.items()}
    return value


def _arguments(model: BaseAlgorithm) -> dict[str, Any]:
    """The algorithm's arguments that are plain values."""
    found = {}
    for name in inspect.signature(type(model)).parameters:
        value = getattr(model, name, None)
        if isinstance(value, bool | int | float | str) and name not in ("device", "tensorboard_log"):
            found[name] = value
    return found


def _environment(model: BaseAlgorithm) -> dict[str, Any] | None:
    """Facts of the environment of this package that the agent has, if it has one."""
    env = model.get_env()
    # Another process would have to send it here.
    is_near = env is not None and not isinstance(env.unwrapped, SubprocVecEnv)
    core = env.get_attr("core", [0])[0] if env is not None and is_near and env.has_attr("core") else None
    if not isinstance(core, Core):
        return None
    names = ("observation", "horizon", "cost_per_pass", "solve_bonus", "gamma")
    own = {"task": core.task.name, "actions": [action.name for action in core.mode.actions]}
    return own | {name: getattr(core, name) for name in names}


def _algorithm(name: str) -> type[BaseAlgorithm] | None:
    """The algorithm of that name in `AGENTS`, stable-baselines3 or sb3-contrib; None if there is none.

    Raises:
        MissingExtraError: there is none, and sb3-contrib is not installed.
    """
    for spec in AGENTS.values():
        if spec.algorithm.__name__ == name:
            return spec.algorithm
    for library in ("stable_baselines3", "sb3_contrib"):
        if importlib.util.find_spec(library) is None:
            raise MissingExtraError(f"the algorithm {name} may be of sb3-contrib: pip install sb3-contrib.")
        found = getattr(importlib.import_module(library), name, None)
        if inspect.isclass(found) and issubclass(found, BaseAlgorithm):
            return found
    return None


def _policies(algorithm: type[BaseAlgorithm]) -> dict[str, type[BasePolicy]]:
    return algorithm.policy_aliases | POLICIES


def _found(path: Path) -> Path:
    """The file that is meant by a folder."""
    if not path.is_dir():
        return path
    zips = [path / name for name in ZIPS if (path / name).is_file()]
    return path / AGENT if (path / AGENT).exists() or not zips else zips[0]


def _is_zip(file: Path) -> bool:
    if not file.is_file():
        return False
    try:
        with file.open("rb") as opened:
            return opened.read(4) == b"PK\x03\x04"
    except OSError:
        return False  # whoever reads it says why it can't be read


def _from_facts(file: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> LearnedPolicy:
    try:
        name, algorithm = str(facts["name"]), _algorithm(str(facts["algorithm"]))
        if algorithm is None:
            raise ValueError(f"its algorithm {one_line(facts['algorithm'], 40)} is unknown here; add it to AGENTS")
        networks = _policies(algorithm)
        if facts["policy"] not in networks:
            raise ValueError(f"its network {one_line(facts['policy'], 40)} is unknown here; add it to POLICIES")
        both = [made_space(facts[kind]) for kind in ("observation_space", "action_space")]
        policy = _built(networks[facts["policy"]], both, _unplain(facts["policy_kwargs"]), tensors)
        environment = facts["environment"]
        if environment is not None:
            _ = [environment[kind] for kind in ("actions", "observation")]
        return LearnedPolicy(name, policy, mode=None)
    except MissingExtraError:
        raise
    except Exception as error:  # Facts that somebody else wrote can make Gymnasium, SB3 and torch raise anything.
        reason = f"it lacks {error}" if isinstance(error, KeyError) else one_line(error)
        raise CheckpointError(f"{file} must be {_WHAT}: {reason.rstrip('.')}.") from error


def _from_zip(file: Path) -> LearnedPolicy:
    """Load a zip of stable-baselines3, which runs the code in it; only the policy network is taken."""
    try:
        with warnings.catch_warnings(action="ignore"):  # what is missing in the end is said in one line
            data, parameters, _ = load_from_zip_file(file, device="cpu")
        if data is None or "policy" not in parameters:
            raise ValueError("it has no policy")
        arguments = {k: v for k, v in data.get("policy_kwargs", {}).items() if k not in _TRAINING_ONLY}
        if data.get("use_sde") and _takes(data["policy_class"], "use_sde"):
            arguments["use_sde"] = True
        both = [data["observation_space"], data["action_space"]]
        policy = _built(data["policy_class"], both, arguments, cast(dict[str, Tensor], parameters["policy"]))
        return LearnedPolicy(file.stem, policy)
    except Exception as error:  # Unpickling can raise anything.
        reason = f"it lacks {error}" if isinstance(error, KeyError) else one_line(error)
        raise CheckpointError(f"{file} must be an agent of stable-baselines3: {reason.rstrip('.')}.") from error


def _takes(network: type[BasePolicy], argument: str) -> bool:
    """Whether the network, or a class below it that it hands its arguments to, has an argument of that name."""
    return any(argument in inspect.signature(each).parameters for each in network.__mro__[:-1])


def _built(
    network: type[BasePolicy], both: list[spaces.Space[Any]], arguments: dict[str, Any], weights: dict[str, Tensor]
) -> BasePolicy:
    """The policy network with its weights, ready for prediction.

    Raises:
        ValueError: the weights are not those of such a network.
    """
    schedule: dict[str, Any] = {"lr_schedule": lambda _: 0.0} if _takes(network, "lr_schedule") else {}
    with torch.random.fork_rng([]), _NoMoreThan(sum(tensor.numel() for tensor in weights.values())):
        policy = network(*both, **schedule, **arguments)
    expected = policy.state_dict()
    if differing := sorted(expected.keys() ^ weights.keys()):
        raise ValueError(f"its network must have the weights {', '.join(expected)}; {', '.join(differing)} differ")
    for name, tensor in weights.items():
        own = expected[name]
        if (tensor.shape, tensor.dtype) != (own.shape, own.dtype):
            raise ValueError(f"{name} must be {own.dtype} {list(own.shape)}; got {tensor.dtype} {list(tensor.shape)}")
    if broken := _not_finite(weights):
        raise ValueError(f"its weights must be finite; {broken} is not")
    policy.load_state_dict(weights)
    policy.set_training_mode(False)
    return policy


def _not_finite(weights: dict[str, Tensor]) -> str | None:
    return next((n for n, t in weights.items() if t.is_floating_point() and not bool(t.isfinite().all())), None)


class _NoMoreThan(TorchFunctionMode):
    """Refuse to make tensors that the stored weights could not fill, before memory is taken for them.

    Args:
        stored: elements of the weights.
    """

    def __init__(self, stored: int) -> None:
        super().__init__()
        self.left = 4 * stored + 2**14  # initializers take some, too

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn):
            size = (kwargs or {}).get("size", args[0] if args and isinstance(args[0], tuple | list) else args)
            self.left -= 8 + math.prod(size)  # a tensor costs time, too, however small it is
            if self.left < 0:
                raise ValueError("its network is larger than its weights")
        return func(*args, **(kwargs or {}))
