"""The decision process: the only dynamics, batched on tensors. One step is one supervision step of the reasoner."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from latent_rl.envs.actions import Decision, TableMode, make_action_mode
from latent_rl.envs.config import EnvConfig
from latent_rl.envs.live import LiveSteps, Steps
from latent_rl.envs.observations import make_features, measurements, observe
from latent_rl.envs.recorded import Record, RecordedSteps, is_recordable
from latent_rl.envs.rewards import NEED_LABELS, POTENTIALS
from latent_rl.envs.state import State, Transition
from latent_rl.envs.submission import SUBMIT
from latent_rl.errors import InvalidValueError
from latent_rl.fit import fitted, matched
from latent_rl.reasoners.base import Reasoner
from latent_rl.reasoners.checkpoint import default_reasoner, load_reasoner, shared_reasoner, shipped_reasoners
from latent_rl.tasks.base import Task
from latent_rl.tasks.registry import TASKS, make_task
from latent_rl.types import Puzzles, PuzzleSource

_LOOKED_AT = 256
"""Puzzles that are looked at for a label, if the first has none."""


class Core:
    """Latent recursion as a Markov decision process.

    A core is its description, the puzzles that it draws from, and what it has recorded; the rest follows. Copies share
    task, reasoner, puzzles and record. A pickle names what can be named (a registered task, a shipped reasoner) and
    holds the rest.

    Args:
        task: a task, its name, a folder of puzzles, or the whole description.
        reasoner: see `EnvConfig`.
        puzzles: draw from these instead of the split.
        changes: the other fields of `EnvConfig`: what is not given is as the task's own environment has it.

    Raises:
        UnknownNameError: a name is unknown.
        InvalidValueError: a number is out of range, or there is no reasoner that fits the task.
    """

    def __init__(
        self,
        task: str | Path | Task | EnvConfig = EnvConfig.task,
        reasoner: str | Path | Reasoner | None = EnvConfig.reasoner,
        *,
        puzzles: PuzzleSource | None = None,
        **changes: Any,
    ) -> None:
        self._make(EnvConfig.for_task(task, reasoner=reasoner, **changes), puzzles, None)

    def _make(self, config: EnvConfig, puzzles: PuzzleSource | None, record: Record | None) -> None:
        task, reasoner = _task_and_reasoner(config)
        self.task = task
        self.reasoner = reasoner
        self.config = config if self.task is make_task(config.task) else replace(config, task=self.task)
        self.mode = make_action_mode(config.actions)
        self.features = make_features(config.observation)
        self.potential = POTENTIALS[config.reward]
        self.score = SUBMIT[config.submit]
        self._puzzles = puzzles
        base = self.task.puzzles(config.split) if puzzles is None else puzzles
        example = _example(base, self.task)
        if config.reward in NEED_LABELS and not example.labels.any() and not base[:_LOOKED_AT].labels.any():
            raise InvalidValueError(
                f"reward={config.reward!r} needs labels, and puzzles of {self.task.name} have none. Choose"
                ' reward="constraints", or let the task say so: environment = {"reward": "constraints"}.'
            )
        self._live = LiveSteps(
            task=self.task,
            reasoner=self.reasoner,
            potential=self.potential,
            measured=measurements(self.features),
            puzzles=base,
            is_augmented=config.split == "train" and puzzles is None,
            horizon=config.horizon,
            remembers=any(action.guess for action in self.mode.actions),
        )
        self._record = record
        self.observation_size = self.observe(self._live.begin(example, torch.zeros(1, dtype=torch.int64))).shape[1]

    @property
    def steps(self) -> Steps:
        """Where episodes come from, and what their steps show."""
        return self._live if self._record is None else RecordedSteps(self._live, self._record)

    @property
    def observation(self) -> str | list[str]:
        """What agents see: the name of a selection, or those of the entries."""
        chosen = self.config.observation
        return chosen if isinstance(chosen, str) else [feature.name for feature in self.features]

    @property
    def horizon(self) -> int:
        """Supervision steps after which an episode ends."""
        return self.config.horizon

    @property
    def cost_per_pass(self) -> float:
        """Price of one forward pass."""
        return self.config.cost_per_pass

    @property
    def solve_bonus(self) -> float:
        """Paid at the end if the submission is right."""
        return self.config.solve_bonus

    @property
    def gamma(self) -> float:
        """Weighs the potential after a step."""
        return self.config.gamma

    def submitting(self, submit: str) -> Self:
        """The same dynamics with another choice of the snapshot that is submitted.

        Raises:
            UnknownNameError: there is none of that name.
            InvalidValueError: it needs rules that are not known.
        """
        core = copy.copy(self)
        core.config = replace(self.config, submit=submit)
        core.score = SUBMIT[submit]
        return core

    def lasting(self, horizon: int) -> Self:
        """The same dynamics with another horizon."""
        core = copy.copy(self)
        core.config = replace(self.config, horizon=horizon)
        core._live = replace(self._live, horizon=horizon)
        core._record = None if self._record is None else self._record.emptied(core._live)
        return core

    @property
    def is_recordable(self) -> bool:
        """Whether actions and observations leave the reasoner's own state alone, but for plain steps and restarts."""
        return not self._unrecordable()

    def _unrecordable(self) -> list[str]:
        is_table = isinstance(self.mode, TableMode)  # other modes choose guidance and depth as well
        actions = [action.name for action in self.mode.actions if not is_recordable(action)]
        actions = actions if is_table else [str(self.config.actions)]
        return actions + [feature.name for feature in self.features if feature.needs_carry]

    def recording(self, pool: Puzzles, *, num_views: int = 8, seed: int = 0) -> Self:
        """The same dynamics about a pool of puzzles, whose steps the reasoner runs only once; see `RecordedSteps`.

        Args:
            pool: the puzzles; no split is drawn from.
            num_views: views of a puzzle; its k-th restart shows view k modulo this number.
            seed: of the views; those of an evaluation with this seed.

        Raises:
            InvalidValueError: an action or an entry of the observation needs the live core, or the record would be too
                large.
        """
        _example(pool, self.task)
        if not isinstance(num_views, int) or num_views < 1:
            raise InvalidValueError(f"num_views must be a whole number of at least 1; got {num_views!r}.")
        if others := self._unrecordable():
            raise InvalidValueError(
                "recorded steps need a table of halt, refine and restart_view, and an observation without the"
                f" reasoner's own state; got {', '.join(others)}. Use the live core."
            )
        core = copy.copy(self)
        core._record = Record.of(self._live, pool, num_views, seed)
        return core

    def __copy__(self) -> Self:
        core = object.__new__(type(self))
        vars(core).update(vars(self))
        return core

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return copy.copy(self)

    def __getstate__(self) -> dict[str, Any]:
        task, reasoner = self.config.task, self.config.reasoner
        if TASKS.get(self.task.name) is self.task:
            task = self.task.name
        if isinstance(task, str) and task not in TASKS and Path(task).is_dir():
            task = str(Path(task).resolve())
        if reasoner is not None and not _is_shipped(reasoner):
            reasoner = self.reasoner
        config = replace(self.config, task=task, reasoner=reasoner)
        return {"config": config, "puzzles": self._puzzles, "record": self._record}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._make(**state)

    def start(self, keys: Tensor) -> State:
        """Start one episode for each key, int64 [B], on a puzzle that the key draws."""
        return self.begin(*self.steps.draw(keys))

    @torch.no_grad()
    def begin(self, puzzles: Puzzles, keys: Tensor) -> State:
        """Start one episode for each puzzle, in the puzzle's own view.

        Raises:
            InvalidValueError: steps are recorded, and a puzzle is not of the pool, or has another key there.
        """
        return self.steps.begin(puzzles, keys)

    @torch.no_grad()
    def step(self, state: State, decision: Decision) -> Transition:
        """Obey one decision for each row."""
        after = state
        active = ~decision.halt
        for depth in sorted(set(decision.depth[active].tolist())):
            chosen = active & (decision.depth == depth)
            if bool(chosen.all()):
                after = self._refine(state, decision, depth)
            else:
                rows = chosen.nonzero().squeeze(1)
                after = after.put(rows, self._refine(state.select(rows), decision.select(rows), depth))
        terminated = decision.halt | (after.step >= after.horizon)
        solved = terminated & self.task.verify(after.puzzles.inputs, after.submission)
        reward = self.gamma * after.potential - state.potential
        reward = reward - self.cost_per_pass * (after.passes - state.passes) + self.solve_bonus * solved
        return Transition(after, reward, terminated, solved)

    def observe(self, state: State) -> Tensor:
        """The observation of every row, float32 [B, observation_size]."""
        return observe(self.features, self.task, state)

    def mask(self, state: State) -> np.ndarray:
        """Bool [B, A]: the actions that make sense now."""
        return self.mode.mask(state.step, state.age).numpy()

    def _refine(self, state: State, decision: Decision, depth: int) -> State:
        """Take one supervision step on every row, and keep the books: the best snapshot, counts."""
        state, seen = self.steps.take(state, decision, depth)
        step, least = state.step + 1, seen.measured.of("least_confidence")[:, 0]
        score = self.score(self.task, state.puzzles, seen.answers, least, step)
        better = (score >= state.score) | (state.step == 0)
        age, guesses = state.age + 1, state.guesses
        if guesses.are_remembered:
            entropy = seen.measured.of("mean_entropy")[:, 0]
            guesses = guesses.seeing(seen.log_probs, entropy, age, state.is_own)
        return replace(
            state,
            carry=seen.carry,
            certainty=seen.certainty,
            prediction=seen.answers,
            changed=(seen.answers != state.prediction).float().mean(1),
            submission=torch.where(better[:, None], seen.answers, state.submission),
            score=torch.where(better, score, state.score),
            confidence=torch.where(better, least, state.confidence),
            potential=torch.where(better, seen.potential, state.potential),
            step=step,
            age=age,
            passes=state.passes + seen.passes,
            measured=seen.measured,
            guesses=guesses,
        )


def _example(puzzles: object, task: Task) -> Puzzles:
    """The first of the puzzles.

    Raises:
        InvalidValueError: there is none, or no episode could be about it.
    """
    if not isinstance(puzzles, PuzzleSource) or not len(puzzles):
        got = "none" if isinstance(puzzles, PuzzleSource) else type(puzzles).__name__
        raise InvalidValueError(f"there must be at least one puzzle, in `Puzzles`; got {got}.")
    example = puzzles.select(torch.zeros(1, dtype=torch.int64))
    if example.inputs.shape[1] != task.seq_len:
        raise InvalidValueError(
            f"puzzles of {task.name} must have {task.seq_len} cells; got {example.inputs.shape[1]}."
        )
    return example


def _is_shipped(reasoner: str | Path | Reasoner) -> bool:
    return isinstance(reasoner, str | Path) and str(reasoner) in shipped_reasoners()


def _task_and_reasoner(config: EnvConfig) -> tuple[Task, Reasoner]:
    """The task, under the puzzle ids of a named reasoner, and the reasoner, which must fit it.

    Environments of a process share a shipped reasoner.
    """
    task, reasoner = make_task(config.task), config.reasoner
    if reasoner is None:
        reasoner = default_reasoner(task.name)
        if not _is_shipped(reasoner):
            raise InvalidValueError(
                f"no reasoner is shipped for the task {task.name}; give one by reasoner=..., such as the folder that"
                f" `latent-rl train --task {task.name} --out FOLDER` writes."
            )
    if isinstance(reasoner, str | Path):
        task = matched(task, reasoner)
        reasoner = shared_reasoner(reasoner) if _is_shipped(reasoner) else load_reasoner(reasoner)
    if not hasattr(reasoner, "initial_carry"):
        raise InvalidValueError(f"the reasoner must be one, a shipped one's name or a folder; got {reasoner!r}.")
    return task, fitted(reasoner, task)
