"""Supervision steps as the reasoner takes them, on puzzles drawn from a split."""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from latent_rl.envs.actions import Decision
from latent_rl.envs.guesses import Guesses
from latent_rl.envs.observations import Feature, StepView, measure
from latent_rl.envs.rewards import Potential
from latent_rl.envs.state import Measured, Seen, State
from latent_rl.improvement import guided_carry, guided_logits, log_softmax
from latent_rl.randomness import derive, normal, uniform
from latent_rl.reasoners.base import Reasoner
from latent_rl.tasks.base import Task
from latent_rl.types import Puzzles, PuzzleSource, Symmetry

_PUZZLE_STREAM, _VIEW_STREAM, _NOISE_STREAM, _STATE_STREAM = 0, 1, 2, 3


class Steps(Protocol):
    """Where episodes come from, and what their supervision steps show; the books are kept elsewhere."""

    def draw(self, keys: Tensor) -> tuple[Puzzles, Tensor]:
        """The puzzle that each key, int64 [B], draws, and the key of the episode that is to be about it."""

    def begin(self, puzzles: Puzzles, keys: Tensor) -> State:
        """Episodes of the puzzles before their first step, in the puzzles' own view."""

    def take(self, state: State, decision: Decision, depth: int) -> tuple[State, Seen]:
        """One step of every row, none of which halts and all of which have the depth.

        Returns:
            The state as the step finds it, after what was decided to happen before it; and what the step shows.
        """


@dataclass(frozen=True, eq=False)
class LiveSteps:
    """The reasoner's own steps.

    Attributes:
        task: whose puzzles.
        reasoner: fits the task.
        potential: rates the steps' answers.
        measured: what is measured of every step; all of it has `of_step`.
        puzzles: what episodes draw from.
        is_augmented: each is shown in a random view.
        horizon: supervision steps after which an episode ends.
        remembers: episodes remember what a guess needs.
    """

    task: Task
    reasoner: Reasoner
    potential: Potential
    measured: tuple[Feature, ...]
    puzzles: PuzzleSource
    is_augmented: bool
    horizon: int
    remembers: bool = False

    def draw(self, keys: Tensor) -> tuple[Puzzles, Tensor]:
        """The puzzle that each key, int64 [B], draws; the key is also that of its episode."""
        draws = uniform(derive(keys, _PUZZLE_STREAM), 1 + self.task.num_symmetry_draws)
        rows = self.puzzles.select((draws[:, 0] * len(self.puzzles)).long())
        return rows.seen_in(self.task.symmetry(draws[:, 1:])) if self.is_augmented else rows, keys

    def begin(self, puzzles: Puzzles, keys: Tensor) -> State:
        """Episodes of the puzzles before their first step, in the puzzles' own view."""
        batch, inputs = len(puzzles), puzzles.inputs
        cells, steps = (self.task.seq_len, self.horizon) if self.remembers else (0, 0)
        zeros, none = torch.zeros(batch), torch.zeros(batch, dtype=torch.int64)
        names = tuple(feature.name for feature in self.measured)
        return State(
            keys=keys,
            puzzles=puzzles,
            view=Symmetry.identity(batch, self.task.seq_len, self.task.vocab_size),
            inputs=inputs,
            carry=self.reasoner.initial_carry(batch, derive(derive(keys, _STATE_STREAM), 0)),
            certainty=torch.zeros(inputs.shape),
            prediction=inputs,
            changed=zeros,
            submission=inputs,
            score=zeros,
            confidence=zeros,
            potential=self.potential(self.task, puzzles, inputs, None),
            step=none,
            horizon=torch.full_like(none, self.horizon),
            age=none,
            restarts=none,
            passes=none,
            measured=Measured(names, torch.zeros(batch, len(names))),
            guesses=Guesses.none(batch, cells, self.task.vocab_size, steps),
        )

    def take(self, state: State, decision: Decision, depth: int) -> tuple[State, Seen]:
        """Do what is decided, run the reasoner's step, and read out the answer."""
        if bool(decision.commits.any()):
            state = committed(self.task, state, decision)
        if bool(decision.fresh.any()):
            state = begun_afresh(self.task, self.reasoner, state, decision)
        if bool((decision.noise > 0).any()):
            state = disturbed(state, decision.noise)
        return state, self._see(state, decision.guidance_scale, depth)

    def _see(self, state: State, guidance_scale: Tensor, depth: int) -> Seen:
        updates = depth * self.reasoner.num_latent_updates
        carry, output = self.reasoner.step(
            state.inputs, state.carry, state.age, puzzle_ids=state.puzzles.puzzle_ids, num_latent_updates=updates
        )
        logits = output.conditional_logits
        if bool((guidance_scale != 1).any()):
            carry = guided_carry(state.carry, carry, guidance_scale)
            logits = guided_logits(output.reference_logits, logits, guidance_scale[:, None, None])
            carry = replace(carry, prediction=logits.argmax(-1).to(carry.prediction.device))
            output = replace(output, conditional_logits=logits)
        log_probs = log_softmax(self.task.constrain(state.inputs, logits))
        view = StepView(self.task.is_given(state.inputs), log_probs, output, state.carry, carry)
        answers = state.view.invert(log_probs.max(-1).indices)  # argmax is slow where the tokens come first
        labels = state.view.apply(state.puzzles.labels)
        label_log_probs = log_probs.gather(-1, labels[:, :, None]).squeeze(-1)
        return Seen(
            carry=carry,
            certainty=view.confidence,
            answers=answers,
            potential=self.potential(self.task, state.puzzles, answers, label_log_probs),
            measured=measure(self.measured, view),
            passes=output.passes,
            log_probs=state.view.invert_logits(log_probs) if self.remembers else log_probs[:, :0],
        )


def committed(task: Task, state: State, decision: Decision) -> State:
    """Write the cells that are sure enough into the inputs, as if given."""
    answers = state.view.apply(state.prediction)
    open_cells = task.is_given(answers) & ~task.is_given(state.inputs)
    certainty = state.certainty.masked_fill(~open_cells, 0.0)
    sure = certainty > decision.commit[:, None]
    surest = certainty.argmax(1, keepdim=True)
    force = decision.forced & ~sure.any(1)
    forced = open_cells & force[:, None] & (torch.arange(sure.shape[1]) == surest)
    return replace(state, inputs=torch.where(sure | forced, answers, state.inputs))


def begun_afresh(task: Task, reasoner: Reasoner, state: State, decision: Decision) -> State:
    """Give the marked rows an untouched carry; those that restart the puzzle's own givens, some a new view or a
    guess. Before the first step there is nothing to guess from, and none is made."""
    rows = decision.fresh.nonzero().squeeze(1)
    chosen, restarts = state.select(rows), decision.restarts[rows]
    # Counted by restarts: an episode's k-th view is the same whenever it is asked for, so policies are compared
    # on the same views.
    keys = derive(derive(chosen.keys, _VIEW_STREAM), chosen.restarts)
    drawn = task.symmetry(uniform(keys, task.num_symmetry_draws))
    view = chosen.view.put(decision.new_view[rows], drawn.select(decision.new_view[rows]))
    guess = decision.guess[rows] & (chosen.step > 0)
    asked, guesses = chosen.guesses.begun_anew(task, chosen.puzzles.inputs, chosen.keys, guess)
    fresh = replace(
        chosen,
        view=view,
        inputs=torch.where(restarts[:, None], view.apply(asked), chosen.inputs),
        carry=reasoner.initial_carry(len(rows), derive(derive(chosen.keys, _STATE_STREAM), chosen.restarts + 1)),
        age=torch.zeros_like(chosen.age),
        restarts=chosen.restarts + restarts,
        guesses=chosen.guesses.put(restarts, guesses.select(restarts)),
    )
    return state.put(rows, fresh)


def disturbed(state: State, noise: Tensor) -> State:
    """Add normal noise of the given standard deviation, float32 [B], to the latent."""
    rows = (noise > 0).nonzero().squeeze(1)
    latent = state.carry.latent.clone()
    keys = derive(derive(state.keys[rows], _NOISE_STREAM), state.step[rows])
    draws = normal(keys, latent[0].numel()).view(-1, *latent.shape[1:])
    latent[rows] += (noise[rows, None, None] * draws).to(latent)
    return replace(state, carry=replace(state.carry, latent=latent))
