"""What commands are about: task, reasoner, environment, puzzles. Command lines are made of the fields of these classes.

A command has them as fields of its own; `Flat` leaves their names out of its options.
"""

from dataclasses import dataclass, fields
from typing import Annotated, Any, TypeVar

import tyro

from latent_rl.agents.baselines import Tuned
from latent_rl.config import NOT_NEGATIVE, Range, check_fields
from latent_rl.envs.config import EnvConfig
from latent_rl.envs.core import Core
from latent_rl.reasoners.base import Reasoner
from latent_rl.tasks.base import first
from latent_rl.tasks.registry import make_task
from latent_rl.types import Puzzles

Options = TypeVar("Options")
Flat = Annotated[Options, tyro.conf.arg(name="")]
"""A group of options within a command, each by its own name alone."""
STEPS = Range(1, 100_000)
"""Of an episode."""
PUZZLES = Range(1, 10**7)
"""In a set of puzzles."""
TIMESTEPS = Range(1, 10**12)
"""Of a training."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """The decision process: whose steps, which actions, what is seen and submitted."""

    task: str = "sudoku9x9-hard"
    """Name of the task, or a folder of puzzles."""
    reasoner: str | None = None
    """Name or folder of the reasoner; default: the shipped one of the task."""
    actions: tuple[str, ...] | None = None
    """The action table; default: the task's own."""
    observation: tuple[str, ...] | None = None
    """What agents see: "features", "search", "latent", "verifier", or several entries or selections, such as "search
    satisfied"; default: the task's own, mostly the features."""
    submit: str | None = None
    """Which snapshot is submitted: "best_confidence", "last" or "verified"; default: the task's own, mostly the
    first."""
    horizon: Annotated[int | None, STEPS] = None
    """Supervision steps an episode may take; default: the task's own."""

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_fields(self)

    def env_config(self, **more: Any) -> EnvConfig:
        """The task's own environment, but for what is chosen here, and for other fields of `EnvConfig`."""
        chosen = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "task"}
        if self.observation and len(self.observation) == 1:
            chosen["observation"] = self.observation[0]
        return EnvConfig.for_task(self.task, **chosen, **more)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The environment, and the puzzles on which its agents are compared."""

    process: Flat[Process] = Process()
    """Whose steps, which actions."""
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

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_fields(self)

    def env_config(self) -> EnvConfig:
        """The task's own environment, but for what is chosen here."""
        return self.process.env_config(reward=self.reward, cost_per_pass=self.cost_per_pass)

    def make_core(self, reasoner: Reasoner | None = None) -> Core:
        """The environment's dynamics; a reasoner given here takes the place of the named one."""
        return Core(self.env_config(), reasoner)

    def training_core(self, core: Core) -> Core:
        """What agents train on: one that records its reasoner's steps, or `core` itself."""
        return _recording(core, first(core.task, "train", self.recorded), 8) if self.recorded else core

    def test_puzzles(self) -> Puzzles:
        """The first `num_test` puzzles of the test split."""
        return first(make_task(self.process.task), "test", self.num_test)

    def tune(self, core: Core) -> Tuned:
        """The baselines' constants, to be chosen on the first `num_validation` puzzles of the validation split."""
        return tuned_on(core, self.num_validation)


def evaluation_core(core: Core, puzzles: Puzzles) -> Core:
    """What policies are evaluated on, with seed 0: the puzzles' steps are recorded once for all policies."""
    return _recording(core, puzzles, 32)


def tuned_on(core: Core, num_puzzles: int) -> Tuned:
    """The baselines' constants, to be chosen on the first puzzles of the validation split when they are needed."""
    puzzles = first(core.task, "validation", num_puzzles)
    return Tuned(evaluation_core(core, puzzles), puzzles)


def _recording(core: Core, pool: Puzzles, num_views: int) -> Core:
    return core.recording(pool, num_views=num_views) if core.is_recordable else core
