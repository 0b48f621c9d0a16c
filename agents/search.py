"""A step policy that looks for the answers of which a reasoner learns: the improvement operator of expert iteration."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from latent_rl.agents.policy import Episodes, StepPolicy, action_index, play_all
from latent_rl.agents.rules import is_valid
from latent_rl.envs.config import EnvConfig
from latent_rl.envs.core import Core
from latent_rl.envs.state import State
from latent_rl.reasoners.base import Reasoner
from latent_rl.tasks.base import Task
from latent_rl.types import Puzzles

_CHUNK = 256
"""Episodes that run together."""


@dataclass(frozen=True)
class ValidHalt:
    """A step policy, but that it halts as soon as what it would submit keeps the rules.

    Attributes:
        policy: decides otherwise.
        core: the dynamics.
    """

    policy: StepPolicy
    core: Core

    @property
    def name(self) -> str:
        """See `StepPolicy.name`."""
        return self.policy.name

    @property
    def submit(self) -> str:
        """See `StepPolicy.submit`."""
        return "verified"

    def act(self, observation: np.ndarray, state: State) -> np.ndarray:
        """See `StepPolicy.act`."""
        actions, valid = self.policy.act(observation, state), is_valid(self.core, state).bool().numpy()
        return np.where(valid, action_index(self.core.mode, "halt"), actions)


@dataclass(frozen=True)
class PolicySearch:
    """Answers of a step policy that the verifier accepts, which ends an episode: an argument `search` of
    `latent_rl.train`, see `latent_rl.training.search.Search`.

    Attributes:
        policy: decides every step of every episode.
        config: the decision process that it knows, `core.config` of the one in which it was trained.
    """

    policy: StepPolicy
    config: EnvConfig

    def __call__(self, reasoner: Reasoner, task: Task, puzzles: Puzzles, keys: Tensor) -> Tensor:
        """Answers int64 [B, L], 0 in rows without one."""
        core = Core(replace(self.config, task=task, reasoner=reasoner))
        policy = ValidHalt(self.policy, core)
        answers = torch.zeros_like(puzzles.inputs)
        for places in torch.arange(len(puzzles)).split(_CHUNK):
            state = core.begin(puzzles.select(places), keys[places])
            episodes = Episodes(places, state, torch.zeros(len(places), dtype=torch.float64))
            for turn in play_all(core, policy, episodes):
                solved = turn.transition.solved
                answers[turn.after.places[solved]] = turn.after.state.submission[solved]
        return answers
