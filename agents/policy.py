"""Who decides, and the one loop in which it does: observe, act, decode, step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from latent_rl.envs.actions import ActionMode, Decision
from latent_rl.envs.core import Core
from latent_rl.envs.state import State, Transition
from latent_rl.errors import InvalidValueError
from latent_rl.randomness import episode_keys
from latent_rl.types import Batched, Puzzles


class StepPolicy(Protocol):
    """Anything that decides about episodes, one supervision step at a time."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def submit(self) -> str | None:
        """Which snapshot it submits (a key of `SUBMIT`); None leaves that to the environment."""

    def act(self, observation: np.ndarray, state: State) -> np.ndarray:
        """Actions for B episodes, from their observation float32 [B, F]; only the oracle may use the state's label."""


def action_index(mode: ActionMode, name: str) -> int:
    """The place of an action in the mode's table.

    Raises:
        InvalidValueError: the table has no such action.
    """
    for index, action in enumerate(mode.actions):
        if action.name == name:
            return index
    known = ", ".join(action.name for action in mode.actions)
    raise InvalidValueError(
        f"this policy needs the action '{name}'; the environment has {known}. Choose others by actions= or --actions."
    )


@dataclass(frozen=True)
class Episodes(Batched):
    """Episodes under way.

    Attributes:
        places: int64 [B], which ones: their puzzles' places among all.
        state: of the decision process.
        returns: float64 [B], sum of rewards so far.
    """

    places: Tensor
    state: State
    returns: Tensor

    def __len__(self) -> int:
        return len(self.places)

    @staticmethod
    def begun(core: Core, puzzles: Puzzles, seed: int, first: int = 0) -> "Episodes":
        """One for each puzzle, the first at the place `first`; its randomness is that of the seed and its place."""
        places = torch.arange(first, first + len(puzzles))
        state = core.begin(puzzles, episode_keys(places, seed))
        return Episodes(places, state, torch.zeros(len(puzzles), dtype=torch.float64))


@dataclass(frozen=True)
class Turn:
    """One step of B episodes.

    Attributes:
        before: the episodes.
        actions: int64 or float32 [B, ...], what the policy chose.
        transition: what that led to.
        after: the same episodes, those that have ended too.
    """

    before: Episodes
    actions: Tensor
    transition: Transition
    after: Episodes


Admit = Callable[[int], Episodes | None]
"""Hands over the episodes that begin now, if so many are under way; None if none does."""


def play(core: Core, policy: StepPolicy, admit: Admit) -> Iterator[Turn]:
    """Let a policy decide every step of every episode; who has ended makes room for others at once.

    Args:
        core: the dynamics; they submit what the policy wants submitted.
        policy: who decides; by one call for the episodes that begin, and one for those that go on.
        admit: asked before every turn; that ends when nothing is under way and nobody is admitted.
    """
    core = core if policy.submit is None else core.submitting(policy.submit)
    decided: _Decided | None = None
    while True:
        fresh = admit(0 if decided is None else len(decided))
        if fresh is not None:
            begun = _decided(core, policy, fresh)
            decided = begun if decided is None else decided.concat(begun)
        if decided is None:
            return
        # Who halts leaves, and is replaced, before the others step: so the reasoner has a full batch, always of one
        # size. It is at its slowest on a size that it has not met, since kernels are made for each.
        halting = decided.decision.halt
        if bool(halting.any()):
            turn, staying = _step(core, decided.select(halting)), decided.select(~halting)
            yield turn
            decided = staying if len(staying) else None
        else:
            turn = _step(core, decided)
            yield turn
            ended = turn.transition.terminated
            going = turn.after.select(~ended) if bool(ended.any()) else turn.after
            decided = _decided(core, policy, going) if len(going) else None


def play_all(core: Core, policy: StepPolicy, episodes: Episodes) -> Iterator[Turn]:
    """The same for episodes that begin together; nobody takes the place of who has ended."""
    coming = iter([episodes])
    return play(core, policy, lambda count: next(coming, None))


@dataclass(frozen=True)
class _Decided(Batched):
    """Episodes and what is to be done next: actions [B, ...], and what they mean."""

    episodes: Episodes
    actions: Tensor
    decision: Decision

    def __len__(self) -> int:
        return len(self.episodes)


def _decided(core: Core, policy: StepPolicy, episodes: Episodes) -> _Decided:
    actions = torch.as_tensor(policy.act(core.observe(episodes.state).numpy(), episodes.state))
    return _Decided(episodes, actions, core.mode.decode(actions))


def _step(core: Core, decided: _Decided) -> Turn:
    before = decided.episodes
    transition = core.step(before.state, decided.decision)
    after = Episodes(before.places, transition.state, before.returns + transition.reward)
    return Turn(before, decided.actions, transition, after)
