"""Stable-baselines3 agents over the batched environment: defaults as data, logging, evaluation glue.

To add an agent of SB3 or sb3-contrib, add an entry to `AGENTS`.
"""

import copy
import inspect
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy

from latent_rl.agents.operator import ImprovementOperator
from latent_rl.agents.policy import action_index
from latent_rl.agents.sb3.curves import curve_logger
from latent_rl.agents.sb3.vec_env import LatentVecEnv
from latent_rl.envs.actions import ActionMode
from latent_rl.envs.core import Core
from latent_rl.envs.state import State
from latent_rl.errors import InvalidValueError, lookup, one_line

REFINE_BIAS = 3.0
"""Initial log-odds of refine against every other action: an agent that halts at random never sees a solution."""

MEMORIES = 2**16
"""Episodes whose memory a recurrent agent keeps at the most, those that it decided last."""


def linear_decay(peak: float) -> Callable[[float], float]:
    """A learning rate that falls linearly to 0 over the run."""
    return lambda remaining: peak * remaining


@dataclass(frozen=True)
class AgentSpec:
    """How one kind of agent is made.

    Attributes:
        algorithm: SB3's class.
        num_envs: environments in the batch.
        total_timesteps: environment steps of training by default.
        arguments: of the algorithm.
        bias_refine: makes a new agent prefer to refine.
        about: how it decides, in a few words.
    """

    algorithm: type[BaseAlgorithm]
    num_envs: int
    total_timesteps: int
    bias_refine: Callable[[Any, int], None]
    arguments: dict[str, Any] = field(default_factory=dict)
    about: str = ""


def _raise_bias(layer: Any, row: int, amount: float) -> None:
    with torch.no_grad():
        layer.bias[row] += amount


def _bias_logits(model: PPO | ImprovementOperator, refine: int) -> None:
    _raise_bias(model.policy.action_net, refine, REFINE_BIAS)


def _bias_dqn(model: DQN, refine: int) -> None:
    # Values are in units of reward: a small head start is enough.
    for network in (model.q_net, model.q_net_target):
        _raise_bias(cast(Any, network.q_net)[-1], refine, 0.1)


_ON_POLICY: dict[str, Any] = {
    "n_steps": 32,
    "batch_size": 512,
    "n_epochs": 8,
    "learning_rate": linear_decay(2e-3),
    "gamma": 1.0,
    "gae_lambda": 0.95,
    "policy_kwargs": {"net_arch": [64, 64]},
}
AGENTS: dict[str, AgentSpec] = {
    "ppo": AgentSpec(PPO, 128, 262_144, _bias_logits, {**_ON_POLICY, "ent_coef": 0.003}, "PPO of stable-baselines3"),
    "operator": AgentSpec(
        ImprovementOperator,
        128,
        131_072,
        _bias_logits,
        {**_ON_POLICY, "target_kl": 0.05},
        "regresses the advantage of every action, then improves its policy in one step",
    ),
    "dqn": AgentSpec(
        DQN,
        64,
        131_072,
        _bias_dqn,
        {
            "learning_rate": linear_decay(1e-3),
            "buffer_size": 65_536,
            "learning_starts": 2_048,
            "batch_size": 256,
            "train_freq": 1,
            "gradient_steps": 4,
            "target_update_interval": 512,
            "exploration_fraction": 0.3,
            "exploration_initial_eps": 0.15,
            "exploration_final_eps": 0.02,
            "gamma": 1.0,
            "policy_kwargs": {"net_arch": [64, 64]},
        },
        "DQN of stable-baselines3",
    ),
}


def agent_spec(name: str) -> AgentSpec:
    """The agent of that name.

    Raises:
        UnknownNameError: no agent has that name.
    """
    return lookup("agent", name, AGENTS)


class EpisodeStatistics(BaseCallback):
    """Log what SB3 does not know: solved rate, passes and restarts of the last episodes."""

    def __init__(self, window: int = 500) -> None:
        super().__init__()
        self.recent: dict[str, deque[float]] = {name: deque(maxlen=window) for name in ("solved", "passes", "restarts")}

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if info:
                for name, values in self.recent.items():
                    values.append(float(info[name]))
        if self.recent["solved"]:
            for tag, name in (
                ("solved_rate", "solved"),
                ("mean_passes", "passes"),
                ("mean_restarts", "restarts"),
            ):
                self.logger.record(f"rollout/{tag}", float(np.mean(self.recent[name])))
        return True


def make_agent(
    name: str, core: Core, *, seed: int, logs: Path | None = None, spec: AgentSpec | None = None
) -> BaseAlgorithm:
    """A new agent over a batch of environments.

    Args:
        name: a key of `AGENTS`.
        core: the environment's dynamics.
        seed: of the agent and the environments.
        logs: the folder of its TensorBoard run; None logs nothing.
        spec: how it is made; default: `AGENTS` says.

    Raises:
        UnknownNameError: no agent has that name.
        InvalidValueError: it can't take the environment's actions.
        FileError: the logs can't be written.
    """
    spec, refine = spec or agent_spec(name), action_index(core.mode, "refine")
    env = LatentVecEnv(core, spec.num_envs)
    try:
        # A copy, since some algorithms add to their policy_kwargs.
        model = spec.algorithm("MlpPolicy", env, seed=seed, device="cpu", **copy.deepcopy(spec.arguments))
        spec.bias_refine(model, refine)
    except (AssertionError, IndexError) as error:
        raise InvalidValueError(
            f"the agent {name} can't take the actions {core.mode.space}: {one_line(error)}"
        ) from error
    model.set_logger(curve_logger(logs))
    return model


@dataclass(frozen=True)
class LearnedPolicy:
    """A trained SB3 agent, or its policy network, as a step policy.

    Attributes:
        name: what reports call it.
        model: the agent, or its network; one with an LSTM keeps its memory of each episode.
        submit: which snapshot it submits; None leaves that to the environment.
        mode: whose masks an agent needs that was trained with them (MaskablePPO).
    """

    name: str
    model: BaseAlgorithm | BasePolicy
    submit: str | None = None
    mode: ActionMode | None = None
    _memory: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, repr=False, compare=False)

    def act(self, observation: np.ndarray, state: State) -> np.ndarray:
        """The agent's deterministic actions.

        Raises:
            InvalidValueError: the agent needs masks, and there is no mode.
        """
        model: Any = self.model
        if "action_masks" in self._options:
            if self.mode is None:
                raise InvalidValueError("an agent trained with masks needs them: give mode=core.mode.")
            masks = self.mode.mask(state.step, state.age).numpy()
            return model.predict(observation, deterministic=True, action_masks=masks)[0]
        if self._lstm is not None:
            return self._remember(observation, state, self._lstm)
        return model.predict(observation, deterministic=True)[0]

    @cached_property
    def _options(self) -> Mapping[str, Any]:
        return inspect.signature(self.model.predict).parameters

    @cached_property
    def _lstm(self) -> torch.nn.LSTM | None:
        return getattr(getattr(self.model, "policy", self.model), "lstm_actor", None)

    def _remember(self, observation: np.ndarray, state: State, lstm: torch.nn.LSTM) -> np.ndarray:
        """Actions that follow from each episode's own memory, by its key: the solver's batch changes all the time."""
        nothing = (np.zeros((lstm.num_layers, lstm.hidden_size), np.float32),) * 2
        keys, begins = state.keys.tolist(), (state.step == 0).numpy()
        before = [self._memory.pop(key, nothing) for key in keys]
        stacked = tuple(np.stack(each, axis=1) for each in zip(*before, strict=True))
        actions, after = self.model.predict(observation, state=stacked, episode_start=begins, deterministic=True)
        for row, key in enumerate(keys):
            self._memory[key] = (after[0][:, row], after[1][:, row])  # type: ignore[index]
        for old in list(islice(self._memory, max(0, len(self._memory) - MEMORIES))):  # those that ended long ago
            del self._memory[old]
        return actions
