"""What commands are about: task, reasoner, environment, puzzles. Command lines are the fields of these classes."""

import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from stable_baselines3.common.base_class import BaseAlgorithm

from latent_rl.agents.report.comparison import logging_to
from latent_rl.agents.sb3.agents import AGENTS, EpisodeStatistics, agent_spec, make_agent
from latent_rl.agents.tune import BASELINES, Tuned, is_baseline
from latent_rl.config import NOT_NEGATIVE, Range, check_fields
from latent_rl.envs.actions import make_action
from latent_rl.envs.config import EnvConfig
from latent_rl.envs.core import Core
from latent_rl.envs.observations import make_features
from latent_rl.errors import UnknownNameError
from latent_rl.reasoners.base import Reasoner
from latent_rl.tasks.base import first
from latent_rl.tasks.registry import make_task
from latent_rl.types import Puzzles

STEPS = Range(1, 100_000)
"""Of an episode."""
PUZZLES = Range(1, 10**7)
"""In a set of puzzles."""
TIMESTEPS = Range(1, 10**12)
"""Of a training."""


@dataclass(kw_only=True)
class Process:
    """The decision process: whose steps, which actions, what is seen and submitted."""

    task: str = "sudoku9x9-hard"
    """Name of the task, or a folder of puzzles."""
    reasoner: str | None = None
    """Name or folder of the reasoner; default: the shipped one of the task."""
    actions: tuple[str, ...] | None = None
    """The action table; default: the task's own."""
    observation: str | None = None
    """What agents see: "features", "latent" or "verifier"; default: the task's own, mostly the features."""
    submit: str | None = None
    """Which snapshot is submitted: "best_confidence", "last" or "verified"; default: the task's own, mostly the
    first."""
    horizon: Annotated[int | None, STEPS] = None
    """Supervision steps an episode may take; default: the task's own."""

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_fields(self)

    def make_core(self, reasoner: Reasoner | None = None) -> Core:
        """The environment's dynamics; a reasoner given here takes the place of the named one."""
        return Core(self.env_config(), reasoner)

    def env_config(self) -> EnvConfig:
        """The task's own environment, but for what is chosen here."""
        return EnvConfig.for_task(self.task, **self._dynamics())

    def evaluation_core(self, core: Core, puzzles: Puzzles) -> Core:
        """What policies are evaluated on, with seed 0: the puzzles' steps are recorded once for all policies."""
        return self._recording(core, puzzles, 32)

    def tuned_on(self, core: Core, num_puzzles: int) -> Tuned:
        """The baselines' constants, to be chosen on the first puzzles of the validation split when they are needed."""
        puzzles = first(core.task, "validation", num_puzzles)
        return Tuned(self.evaluation_core(core, puzzles), puzzles)

    def _recording(self, core: Core, pool: Puzzles, num_views: int) -> Core:
        return core.recording(pool, num_views=num_views) if core.is_recordable else core

    def _dynamics(self) -> dict[str, Any]:
        """The fields of `EnvConfig` that are chosen here; None leaves one as the task has it."""
        names = {field.name for field in fields(EnvConfig)} - {"task"}
        return {name: value for name, value in vars(self).items() if name in names}


@dataclass(kw_only=True)
class Setting(Process):
    """The environment, and the puzzles on which its agents are compared."""

    reward: str | None = None
    """The potential whose improvement is rewarded: "token_accuracy", "log_likelihood", "constraints" or "sparse" (these
    two need no labels); default: the task's own."""
    cost_per_pass: Annotated[float | None, NOT_NEGATIVE] = None
    """Price of one forward pass, in units of reward; default: the task's own, mostly 0.001."""
    total_timesteps: Annotated[int | None, TIMESTEPS] = None
    """Environment steps of training; default: the agent's own."""
    recorded: Annotated[int, Range(0, PUZZLES.high)] = 1000
    """Train on the recorded steps of this many puzzles, which become look-ups once met; 0 trains live. The observation
    "latent", and tables with other actions than halt, refine and restart_view, are always live."""
    num_validation: Annotated[int, PUZZLES] = 200
    """Puzzles on which the baselines' constants are chosen; at most the whole split."""
    num_test: Annotated[int, PUZZLES] = 1000
    """Held-out puzzles for the report; at most the whole split."""

    def training_core(self, core: Core) -> Core:
        """What agents train on: one that records its reasoner's steps, or `core` itself."""
        return self._recording(core, first(core.task, "train", self.recorded), 8) if self.recorded else core

    def test_puzzles(self) -> Puzzles:
        """The first `num_test` puzzles of the test split."""
        return first(make_task(self.task), "test", self.num_test)

    def tune(self, core: Core) -> Tuned:
        """The baselines' constants, to be chosen on the first `num_validation` puzzles of the validation split."""
        return self.tuned_on(core, self.num_validation)

    def facts(self) -> dict[str, Any]:
        """The fields as plain JSON values, with the environment that follows from them."""
        values = asdict(self) | vars(self.env_config()) | {"task": self.task, "reasoner": self.reasoner}
        if not isinstance(values["actions"], str):
            values["actions"] = [make_action(entry).name for entry in values["actions"]]
        if not isinstance(values["observation"], str):
            values["observation"] = [feature.name for feature in make_features(values["observation"])]
        return {name: str(v) if isinstance(v, Path) else v for name, v in values.items()}


def is_learned(name: str) -> bool:
    """Whether the agent of that name is trained."""
    return name in AGENTS


def check_agents(names: Iterable[str]) -> None:
    """Make sure that there are learned agents or baselines of these names.

    Raises:
        UnknownNameError: one is none.
    """
    for name in names:
        if not is_learned(name) and not is_baseline(name):
            raise UnknownNameError("agent", name, [*AGENTS, *BASELINES])


def train_agent(
    name: str, core: Core, *, seed: int, timesteps: int | None, logs: Path, progress: bool
) -> BaseAlgorithm:
    """Train a new agent.

    Args:
        name: a key of `AGENTS`.
        core: the dynamics.
        seed: of agent and environments; together with the core it decides every weight.
        timesteps: environment steps; None takes the agent's own.
        logs: the folder of its TensorBoard run; what a training that was cut left there is removed.
        progress: show a progress bar.

    Raises:
        UnknownNameError: no agent has that name.
        FileError: the logs can't be written.
    """
    spec = agent_spec(name)
    shutil.rmtree(logs, ignore_errors=True)
    with logging_to(logs):
        model = make_agent(name, core, seed=seed, logs=logs)
        model.learn(timesteps or spec.total_timesteps, callback=EpisodeStatistics(), progress_bar=progress)
        model.logger.close()
    return model
