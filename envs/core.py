"""The decision process: the only dynamics, batched on tensors. One step is one supervision step of the reasoner."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from latent_rl.envs.actions import Decision, make_action_mode
from latent_rl.envs.config import EnvConfig
from latent_rl.envs.observations import (
    FEATURES,
    KEPT_FEATURES,
    OBSERVATION_BOUND,
    OBSERVATIONS,
    STEP_FEATURES,
    StepView,
    cell_confidence,
    step_features,
)
from latent_rl.envs.randomness import derive, normal, uniform
from latent_rl.envs.rewards import POTENTIALS
from latent_rl.envs.state import Seen, State, Transition
from latent_rl.envs.submission import SUBMIT
from latent_rl.errors import InvalidValueError
from latent_rl.fit import fitted, matched
from latent_rl.improvement import guided_carry, guided_logits, log_softmax
from latent_rl.reasoners.base import Reasoner
from latent_rl.reasoners.checkpoint import default_reasoner, load_reasoner, shared_reasoner, shipped_reasoners
from latent_rl.tasks.base import Task
from latent_rl.tasks.registry import TASKS, make_task
from latent_rl.types import Puzzles, PuzzleSource, Symmetry

_LEAST = STEP_FEATURES.index("least_confidence")
_PUZZLE_STREAM, _VIEW_STREAM, _NOISE_STREAM = 0, 1, 2


class Core:
    """Latent recursion as a Markov decision process.

    Copies share the task, the reasoner and the puzzles, which nothing here changes. A pickle names what can be named
    (a registered task, a shipped reasoner) and holds the rest.

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
        task: str | Path | Task | EnvConfig = "sudoku9x9-hard",
        reasoner: str | Path | Reasoner | None = None,
        *,
        puzzles: PuzzleSource | None = None,
        **changes: Any,
    ) -> None:
        config = EnvConfig.for_task(task, reasoner=reasoner, **changes)
        self.task, self.reasoner = _task_and_reasoner(config)
        if self.task is not make_task(config.task):
            config = replace(config, task=self.task)
        self._adopt(config)
        self.mode = make_action_mode(self.config.actions)
        self._puzzles = puzzles
        self._draw_from(puzzles)
        example = self._base[:1]
        if example.inputs.shape != (1, self.task.seq_len):
            raise InvalidValueError(
                f"puzzles of {self.task.name} must have {self.task.seq_len} cells; got {example.inputs.shape[1]}."
            )
        self.observation_size = self.observe(Core.begin(self, example, torch.zeros(1, dtype=torch.int64))).shape[1]

    def _adopt(self, config: EnvConfig) -> None:
        """Take over what needs no other task, reasoner or actions."""
        self.config = config
        self.potential, self.score = POTENTIALS[config.reward], SUBMIT[config.submit]
        self.observation, self.horizon, self.cost_per_pass = config.observation, config.horizon, config.cost_per_pass
        self.solve_bonus, self.gamma = config.solve_bonus, config.gamma

    def _draw_from(self, puzzles: PuzzleSource | None) -> None:
        self._augment = self.config.split == "train" and puzzles is None
        self._base = self.task.puzzles(self.config.split) if puzzles is None else puzzles
        if not isinstance(self._base, PuzzleSource) or not len(self._base):
            raise InvalidValueError(f"puzzles must be at least one, as `Puzzles`; got {type(self._base).__name__}.")

    def _changed(self, **changes: Any) -> Self:
        core = copy.copy(self)
        core._adopt(replace(self.config, **changes))
        return core

    def submitting(self, submit: str) -> Self:
        """The same dynamics with another choice of the snapshot that is submitted.

        Raises:
            UnknownNameError: there is none of that name.
            InvalidValueError: it needs rules that are not known.
        """
        return self._changed(submit=submit)

    def lasting(self, horizon: int) -> Self:
        """The same dynamics with another horizon."""
        return self._changed(horizon=horizon)

    def __copy__(self) -> Self:
        core = object.__new__(type(self))
        vars(core).update(vars(self))
        return core

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return copy.copy(self)

    def __getstate__(self) -> dict[str, Any]:
        config, task, reasoner = self.config, self.config.task, self.config.reasoner
        if TASKS.get(self.task.name) is self.task:
            task = self.task.name
        if isinstance(task, str) and task not in TASKS and Path(task).is_dir():
            task = str(Path(task).resolve())
        if reasoner is not None and not _is_shipped(reasoner):
            reasoner = self.reasoner
        config = replace(config, task=task, reasoner=reasoner)
        left_out = ("task", "reasoner", "potential", "score", "_base")
        return {name: value for name, value in vars(self).items() if name not in left_out} | {"config": config}

    def __setstate__(self, state: dict[str, Any]) -> None:
        config: EnvConfig = state["config"]
        self.task, self.reasoner = _task_and_reasoner(config)
        self._adopt(config)
        vars(self).update(state)
        self._draw_from(self._puzzles)

    def start(self, keys: Tensor) -> State:
        """Start one episode for each key, int64 [B], on a puzzle that the key draws."""
        return self.begin(self.draw(keys), keys)

    def draw(self, keys: Tensor) -> Puzzles:
        """One puzzle for each key, int64 [B]."""
        draws = uniform(derive(keys, _PUZZLE_STREAM), 1 + self.task.num_symmetry_draws)
        rows = self._base.select((draws[:, 0] * len(self._base)).long())
        return rows.seen_in(self.task.symmetry(draws[:, 1:])) if self._augment else rows

    @torch.no_grad()
    def begin(self, puzzles: Puzzles, keys: Tensor) -> State:
        """Start one episode for each puzzle, in the puzzle's own view."""
        batch = len(puzzles)
        zeros, none = torch.zeros(batch), torch.zeros(batch, dtype=torch.int64)
        inputs = puzzles.inputs
        features = torch.zeros(batch, len(FEATURES))
        features[:, FEATURES.index("given_share")] = self.task.is_given(inputs).float().mean(1)
        return State(
            keys=keys,
            puzzles=puzzles,
            view=Symmetry.identity(batch, self.task.seq_len, self.task.vocab_size),
            inputs=inputs,
            carry=self.reasoner.initial_carry(batch),
            certainty=torch.zeros(inputs.shape),
            prediction=inputs,
            submission=inputs,
            score=zeros,
            confidence=zeros,
            potential=self.potential(self.task, puzzles, inputs, None),
            step=none,
            age=none,
            restarts=none,
            passes=none,
            features=features,
        )

    @torch.no_grad()
    def step(self, state: State, decision: Decision) -> Transition:
        """Obey one decision for each row."""
        after = state
        active = ~decision.halt
        for depth in decision.depth[active].unique().tolist():
            chosen = active & (decision.depth == depth)
            if bool(chosen.all()):
                after = self._refine(state, decision, depth)
            else:
                rows = chosen.nonzero().squeeze(1)
                after = after.put(rows, self._refine(state.select(rows), decision.select(rows), depth))
        terminated = decision.halt | (after.step >= self.horizon)
        solved = terminated & self.task.verify(after.puzzles.inputs, after.submission)
        reward = self.gamma * after.potential - state.potential
        reward = reward - self.cost_per_pass * (after.passes - state.passes) + self.solve_bonus * solved
        return Transition(after, reward, terminated, solved)

    def observe(self, state: State) -> Tensor:
        """The observation of every row, float32 [B, observation_size] within +-`OBSERVATION_BOUND`."""
        seen = OBSERVATIONS[self.observation](self.task, state)
        return seen.clamp(-OBSERVATION_BOUND, OBSERVATION_BOUND)

    def mask(self, state: State) -> np.ndarray:
        """Bool [B, A]: the actions that make sense now."""
        return self.mode.mask(state.step, state.age).numpy()

    def _refine(self, state: State, decision: Decision, depth: int) -> State:
        """Run one supervision step on every row, after what was decided to happen before it."""
        state = self._prepare(state, decision)
        return self._keep(state, self._see(state, decision, depth))

    def _prepare(self, state: State, decision: Decision) -> State:
        if bool(decision.commits.any()):
            state = self._commit(state, decision)
        if bool(decision.fresh.any()):
            state = self._start_afresh(state, decision)
        if bool((decision.noise > 0).any()):
            state = self._disturb(state, decision.noise)
        return state

    def _see(self, state: State, decision: Decision, depth: int) -> Seen:
        """Run the reasoner's step and read out the answer."""
        updates = depth * self.reasoner.num_latent_updates
        carry, output = self.reasoner.step(
            state.inputs, state.carry, state.age, puzzle_ids=state.puzzles.puzzle_ids, num_latent_updates=updates
        )
        logits = output.conditional_logits
        if bool((decision.guidance_scale != 1).any()):
            scale = decision.guidance_scale
            carry = guided_carry(state.carry, carry, scale)
            logits = guided_logits(output.reference_logits, logits, scale[:, None, None])
            carry = replace(carry, prediction=logits.argmax(-1).to(carry.prediction.device))
            output = replace(output, conditional_logits=logits)
        given = self.task.is_given(state.inputs)
        log_probs = log_softmax(self.task.constrain(state.inputs, logits))
        certainty = cell_confidence(log_probs, given)
        answers = state.view.invert(log_probs.max(-1).indices)  # argmax is slow where the tokens come first
        labels = state.view.apply(state.puzzles.labels)
        label_log_probs = log_probs.gather(-1, labels[:, :, None]).squeeze(-1)
        own_share = self.task.is_given(state.puzzles.inputs).float().mean(1)
        shown = step_features(StepView(given, log_probs, output, state.carry, carry), certainty)
        shown |= {"given_share": own_share, "committed_share": given.float().mean(1) - own_share}
        return Seen(
            carry=carry,
            certainty=certainty,
            answers=answers,
            potential=self.potential(self.task, state.puzzles, answers, label_log_probs),
            shown=torch.stack([shown[name] for name in STEP_FEATURES], dim=1),
            passes=output.passes,
        )

    def _keep(self, state: State, seen: Seen) -> State:
        """Keep the books: the best snapshot, counts, features."""
        step = state.step + 1
        least = seen.shown[:, _LEAST]
        score = self.score(self.task, state.puzzles, seen.answers, least, step)
        better = (score >= state.score) | (state.step == 0)
        after = replace(
            state,
            carry=seen.carry,
            certainty=seen.certainty,
            prediction=seen.answers,
            submission=torch.where(better[:, None], seen.answers, state.submission),
            score=torch.where(better, score, state.score),
            confidence=torch.where(better, least, state.confidence),
            potential=torch.where(better, seen.potential, state.potential),
            step=step,
            age=state.age + 1,
            passes=state.passes + seen.passes,
        )
        kept = {
            "step": after.step / self.horizon,
            "age": (after.age / 32).clamp(max=4),
            "restarts": (after.restarts / 8).clamp(max=4),
            "changed_share": (seen.answers != state.prediction).float().mean(1),
            "best_confidence": after.confidence,
            "agreement": (seen.answers == after.submission).float().mean(1),
        }
        return replace(after, features=torch.cat([torch.stack([kept[n] for n in KEPT_FEATURES], 1), seen.shown], 1))

    def _commit(self, state: State, decision: Decision) -> State:
        """Write the cells that are sure enough into the inputs, as if given."""
        answers = state.view.apply(state.prediction)
        open_cells = self.task.is_given(answers) & ~self.task.is_given(state.inputs)
        certainty = state.certainty.masked_fill(~open_cells, 0.0)
        sure = certainty > decision.commit[:, None]
        surest = certainty.argmax(1, keepdim=True)
        force = decision.forced & ~sure.any(1)
        forced = open_cells & force[:, None] & (torch.arange(sure.shape[1]) == surest)
        return replace(state, inputs=torch.where(sure | forced, answers, state.inputs))

    def _start_afresh(self, state: State, decision: Decision) -> State:
        """Give the marked rows an untouched carry; those that restart the puzzle's own givens, some a new view."""
        rows = decision.fresh.nonzero().squeeze(1)
        chosen, restarts = state.select(rows), decision.restarts[rows]
        # Counted by restarts: an episode's k-th view is the same whenever it is asked for, so policies are compared
        # on the same views.
        keys = derive(derive(chosen.keys, _VIEW_STREAM), chosen.restarts)
        drawn = self.task.symmetry(uniform(keys, self.task.num_symmetry_draws))
        view = chosen.view.put(decision.new_view[rows], drawn.select(decision.new_view[rows]))
        fresh = replace(
            chosen,
            view=view,
            inputs=torch.where(restarts[:, None], view.apply(chosen.puzzles.inputs), chosen.inputs),
            carry=self.reasoner.initial_carry(len(rows)),
            age=torch.zeros_like(chosen.age),
            restarts=chosen.restarts + restarts,
        )
        return state.put(rows, fresh)

    def _disturb(self, state: State, noise: Tensor) -> State:
        """Add normal noise of the given standard deviation, float32 [B], to the latent."""
        rows = (noise > 0).nonzero().squeeze(1)
        latent = state.carry.latent.clone()
        keys = derive(derive(state.keys[rows], _NOISE_STREAM), state.step[rows])
        draws = normal(keys, latent[0].numel()).view(-1, *latent.shape[1:])
        latent[rows] += (noise[rows, None, None] * draws).to(latent)
        return replace(state, carry=replace(state.carry, latent=latent))


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
