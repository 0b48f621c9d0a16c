"""What commands are about: task, reasoner, environment, puzzles. Command lines are the fields of these classes."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from latent_rl.agents.baselines import RandomPolicy, StepPolicy
from latent_rl.agents.sb3 import AGENTS, EpisodeStatistics, LearnedPolicy, agent_spec, make_agent
from latent_rl.agents.tune import Tuned, tune
from latent_rl.config import COUNT
from latent_rl.envs.actions import make_action
from latent_rl.envs.config import EnvConfig
from latent_rl.envs.core import Core
from latent_rl.envs.recorded import RecordedCore, is_recordable
from latent_rl.reasoners.base import Reasoner
from latent_rl.tasks.base import first
from latent_rl.tasks.registry import make_task
from latent_rl.types import Puzzles


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
    horizon: Annotated[int | None, COUNT] = None
    """Supervision steps an episode may take; default: the task's own."""

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
        """The baselines' constants, chosen on the first puzzles of the validation split."""
        puzzles = first(core.task, "validation", num_puzzles)
        return tune(self.evaluation_core(core, puzzles), puzzles)

    def _recording(self, core: Core, pool: Puzzles, num_views: int) -> Core:
        if core.observation == "latent" or not all(map(is_recordable, core.mode.actions)):
            return core
        return RecordedCore(core.config, core.reasoner, pool=pool, num_views=num_views)

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
    cost_per_pass: float | None = None
    """Price of one forward pass, in units of reward; default: the task's own, mostly 0.001."""
    total_timesteps: int | None = None
    """Environment steps of training; default: the agent's own."""
    recorded: int = 1000
    """Train on the recorded steps of this many puzzles, which become look-ups once met; 0 trains live. The observation
    "latent", and tables with other actions than halt, refine and restart_view, are always live."""
    num_validation: int = 200
    """Puzzles on which the baselines' constants are chosen; at most the whole split."""
    num_test: int = 1000
    """Held-out puzzles for the report; at most the whole split."""

    def training_core(self, core: Core) -> Core:
        """What agents train on: one that records its reasoner's steps, or `core` itself."""
        return self._recording(core, first(core.task, "train", self.recorded), 8) if self.recorded else core

    def test_puzzles(self) -> Puzzles:
        """The first `num_test` puzzles of the test split."""
        return first(make_task(self.task), "test", self.num_test)

    def tune(self, core: Core) -> Tuned:
        """The baselines' constants, chosen on the first `num_validation` puzzles of the validation split."""
        return self.tuned_on(core, self.num_validation)

    def facts(self) -> dict[str, Any]:
        """The fields as plain JSON values, with the environment that follows from them."""
        values = asdict(self) | vars(self.env_config()) | {"task": self.task, "reasoner": self.reasoner}
        if not isinstance(values["actions"], str):
            values["actions"] = [make_action(entry).name for entry in values["actions"]]
        return {name: str(v) if isinstance(v, Path) else v for name, v in values.items()}


def is_learned(name: str) -> bool:
    """Whether the agent of that name is trained."""
    return name in AGENTS


def baseline_policy(name: str, core: Core, tuned: Tuned, seed: int) -> StepPolicy:
    """The baseline of that name; see `Tuned.baseline`.

    Raises:
        UnknownNameError: there is none.
    """
    return RandomPolicy(core.mode, seed) if name == "random" else tuned.baseline(core, name)


def trained_policy(
    name: str, core: Core, *, seed: int, timesteps: int | None, folder: Path, logs: Path, progress: bool
) -> LearnedPolicy:
    """Train an agent and save it, or load what an earlier run saved.

    Args:
        name: a key of `AGENTS`.
        core: the dynamics.
        seed: of agent and environments.
        timesteps: environment steps; None takes the agent's own.
        folder: gets `agent.zip`.
        logs: the folder of its TensorBoard run.
        progress: show a progress bar.

    Raises:
        UnknownNameError: no agent has that name.
    """
    spec, saved = agent_spec(name), folder / "agent.zip"
    if saved.exists():
        return LearnedPolicy(name, spec.algorithm.load(saved, device="cpu"))
    model = make_agent(name, core, seed=seed, logs=logs)
    model.learn(timesteps or spec.total_timesteps, callback=EpisodeStatistics(), progress_bar=progress)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "partial.zip"
    model.save(partial)
    partial.replace(saved)
    return LearnedPolicy(name, model)
