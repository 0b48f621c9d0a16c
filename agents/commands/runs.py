"""The runs of a comparison: an agent with a seed each, trained or made, evaluated, and kept for the next time."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from latent_rl.agents.baselines import Tuned, make_baseline
from latent_rl.agents.commands.setting import Setting, evaluation_core
from latent_rl.agents.evaluate import Outcome, evaluate_policy
from latent_rl.agents.policy import StepPolicy
from latent_rl.agents.report.rows import report_row
from latent_rl.agents.report.tensorboard import log_evaluation
from latent_rl.agents.saved import AGENT, agent_facts, load_agent, save_agent
from latent_rl.agents.sb3.agents import AGENTS, EpisodeStatistics, agent_spec, make_agent
from latent_rl.envs.actions import make_action
from latent_rl.envs.config import EnvConfig
from latent_rl.envs.core import Core
from latent_rl.envs.observations import make_features
from latent_rl.errors import CheckpointError, FileError, InvalidValueError, one_line
from latent_rl.reasoners.base import Reasoner
from latent_rl.storage.atomic import checksum, read_json, write_json
from latent_rl.storage.sealed import read_sealed, write_sealed
from latent_rl.types import Puzzles

CONFIG, OUTCOME = "config.json", "outcome.safetensors"
_TYPES = {"solved": torch.bool, "passes": torch.int64, "steps": torch.int64, "restarts": torch.int64,
          "returns": torch.float64}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RunSetting:
    """What decides about the results of a run, beside agent and seed: a folder takes runs of one setting.

    Attributes:
        environment: as it is in full, with task and reasoner as they were named.
        total_timesteps: see `Setting`.
        recorded: see `Setting`.
        num_validation: see `Setting`.
        num_test: see `Setting`.
        reasoner_and_puzzles: a checksum of the weights and the test puzzles, which `environment` only names.
    """

    environment: EnvConfig
    total_timesteps: int | None
    recorded: int
    num_validation: int
    num_test: int
    reasoner_and_puzzles: str

    @staticmethod
    def of(setting: Setting, reasoner: Reasoner, test: Puzzles) -> "RunSetting":
        """A setting as it is with this reasoner and these test puzzles."""
        return RunSetting(
            environment=setting.env_config(),
            total_timesteps=setting.total_timesteps,
            recorded=setting.recorded,
            num_validation=setting.num_validation,
            num_test=setting.num_test,
            reasoner_and_puzzles=_digest(reasoner, test),
        )

    def facts(self) -> dict[str, Any]:
        """All of it as plain JSON values by name."""
        environment = dict(vars(self.environment))
        if not isinstance(self.environment.actions, str):
            environment["actions"] = [make_action(entry).name for entry in self.environment.actions]
        if not isinstance(self.environment.observation, str):
            environment["observation"] = [entry.name for entry in make_features(self.environment.observation)]
        found: dict[str, Any] = json.loads(json.dumps({**asdict(self), "environment": environment}, default=str))
        return found.pop("environment") | found


@dataclass(frozen=True)
class Run:
    """One agent with one seed: what its files say that they belong to."""

    agent: str
    seed: int
    setting: RunSetting

    def facts(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return {"agent": self.agent, "seed": self.seed, "setting": self.setting.facts()}

    def check(self, path: Path, facts: Any) -> None:
        """Make sure that the facts in a file are those of this run.

        Raises:
            CheckpointError: they are not.
        """
        if facts != self.facts():
            raise CheckpointError(f"{path} must be of this comparison, agent and seed; it is of another. Remove it.")


def save_outcome(path: Path, outcome: Outcome, run: Run) -> None:
    """Write an outcome and the facts of its run, atomically and with a checksum."""
    write_sealed(path, {name: torch.from_numpy(getattr(outcome, name)) for name in _TYPES}, run.facts())


def load_outcome(path: Path, agent: str, run: Run) -> Outcome:
    """The inverse of `save_outcome`.

    Args:
        path: the file.
        agent: the name in the outcome.
        run: it must be of this one.

    Raises:
        CheckpointError: the file is damaged, or of another run.
    """
    tensors, facts = read_sealed(path, "an outcome of this comparison")
    run.check(path, facts)
    shapes = {tensor.shape for tensor in tensors.values()}
    if {name: tensor.dtype for name, tensor in tensors.items()} != _TYPES or len(shapes) > 1:
        raise CheckpointError(f"{path} must hold {', '.join(_TYPES)}, one for each puzzle. Remove it.")
    return Outcome(agent, **{name: tensor.numpy() for name, tensor in tensors.items()})


def claim_setting(out: Path, setting: RunSetting) -> None:
    """Take a folder for one setting: what was done in it counts only if it is the same.

    Raises:
        InvalidValueError: it holds runs of another setting.
        CheckpointError: its config.json is damaged.
    """
    path, facts = out / CONFIG, setting.facts()
    if not path.exists():
        write_json(path, facts)
        return
    before = read_json(path)
    if differing := sorted(n for n in {*facts, *before} if before.get(n, path) != facts.get(n, path)):
        raise InvalidValueError(
            f"{out} must hold a comparison in the same setting; {one_line(', '.join(differing))} differ."
            " Choose another --out."
        )


def is_learned(name: str) -> bool:
    """Whether the agent of that name is trained."""
    return name in AGENTS


def training_steps(setting: Setting, agent: str) -> int:
    """Environment steps that an agent trains for; 0 for one that does not."""
    if not is_learned(agent):
        return 0
    return setting.total_timesteps or agent_spec(agent).total_timesteps


def train_agent(name: str, core: Core, *, seed: int, timesteps: int, logs: Path, progress: bool) -> BaseAlgorithm:
    """Train a new agent.

    Args:
        name: a key of `AGENTS`.
        core: the dynamics.
        seed: of agent and environments; together with the core it decides every weight.
        timesteps: environment steps.
        logs: the folder of its TensorBoard run; what a training that was cut left there is removed.
        progress: show a progress bar.

    Raises:
        UnknownNameError: no agent has that name.
        FileError: the logs can't be written.
    """
    shutil.rmtree(logs, ignore_errors=True)
    model = make_agent(name, core, seed=seed, logs=logs)
    model.learn(timesteps, callback=EpisodeStatistics(), progress_bar=progress)
    return model


@dataclass(frozen=True, kw_only=True)
class Runs:
    """All runs of a comparison: what they have in common, and where they are kept.

    Attributes:
        asked: the setting as it was asked for.
        setting: the same in full.
        core: what agents are evaluated on.
        training: what they train on.
        tuned: the baselines' constants.
        test: the puzzles.
        longest: environment steps of the longest training among them.
        out: the folder.
        progress: show progress bars.
    """

    asked: Setting
    setting: RunSetting
    core: Core
    training: Core
    tuned: Tuned
    test: Puzzles
    longest: int
    out: Path
    progress: bool

    @staticmethod
    def of(asked: Setting, live: Core, test: Puzzles, agents: tuple[str, ...], out: Path, progress: bool) -> "Runs":
        """Those of these agents on the live core's reasoner; the folder is taken for their setting.

        Raises:
            InvalidValueError: it holds runs of another setting.
            CheckpointError: its config.json is damaged.
        """
        setting = RunSetting.of(asked, live.reasoner, test)
        claim_setting(out, setting)
        return Runs(
            asked=asked,
            setting=setting,
            core=evaluation_core(live, test),
            training=asked.training_core(live),
            tuned=asked.tune(live),
            test=test,
            longest=max(1, *(training_steps(asked, agent) for agent in agents)),
            out=out,
            progress=progress,
        )

    def policy(self, agent: str, seed: int) -> StepPolicy:
        """A baseline; or a learned agent, as it is saved: now, or by an earlier comparison."""
        if not is_learned(agent):
            return make_baseline(self.core, agent, self.tuned, seed)
        file, run = self._folder(agent, seed) / AGENT, Run(agent, seed, self.setting)
        if not file.exists():
            model = train_agent(
                agent,
                self.training,
                seed=seed,
                timesteps=training_steps(self.asked, agent),
                logs=self._logs(agent, seed),
                progress=self.progress,
            )
            self.check_folder()
            save_agent(model, file, agent, run.facts())
        run.check(file, agent_facts(file)["run"])
        return load_agent(file, self.core)

    def outcome(self, agent: str, seed: int, policy: StepPolicy) -> Outcome:
        """How the agent's policy fared, now or in an earlier comparison."""
        file, run = self._folder(agent, seed) / OUTCOME, Run(agent, seed, self.setting)
        if file.exists():
            return load_outcome(file, policy.name, run)
        outcome = evaluate_policy(self.core, policy, self.test)
        self.check_folder()
        row, trained = report_row(outcome, seed=seed), training_steps(self.asked, agent)
        log_evaluation(self._logs(agent, seed), row, trained, self.longest)
        save_outcome(file, outcome, run)
        return outcome

    def check_folder(self) -> None:
        """Make sure that nobody has removed the folder: half a comparison must not rise again.

        Raises:
            FileError: it is gone.
        """
        if not (self.out / CONFIG).exists():
            raise FileError(f"{self.out} must stay while a comparison runs; it was removed. Begin anew.")

    def _folder(self, agent: str, seed: int) -> Path:
        return self.out / "agents" / f"{agent}-{seed}"

    def _logs(self, agent: str, seed: int) -> Path:
        return self.out / "tensorboard" / agent / f"seed{seed}"


def _digest(reasoner: Reasoner, test: Puzzles) -> str:
    weights = reasoner.state_dict() if isinstance(reasoner, torch.nn.Module) else {}
    tensors = [*(tensor for _, tensor in sorted(weights.items())), test.inputs, test.labels]
    return checksum(b"".join(t.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes() for t in tensors))
