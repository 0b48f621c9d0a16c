"""A core that remembers: the second time a puzzle is refined in the same view, its steps are looked up."""

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from latent_rl.envs.actions import ACTIONS, Action, Decision
from latent_rl.envs.core import Core
from latent_rl.envs.observations import STEP_FEATURES
from latent_rl.envs.randomness import derive, episode_keys, uniform
from latent_rl.envs.state import Seen, State
from latent_rl.errors import InvalidValueError
from latent_rl.types import Carry, Puzzles

PIECE = 16
"""Rows that the reasoner steps at once when steps are recorded."""


def is_recordable(action: Action) -> bool:
    """Whether all that the action does to the reasoner's state is a plain step, or a plain start in a new view."""
    return any(replace(action, name=name) == ACTIONS[name] for name in ("halt", "refine", "restart_view"))


class RecordedCore(Core):
    """A core whose episodes come from a pool of puzzles, and whose reasoner runs once for each step that it meets.

    What the reasoner shows is a function of puzzle, view and age, to the last bit; the books (best snapshot, counts)
    are kept live. So once recorded, training runs at the speed of table look-ups, and is equal to the live core.
    Actions that change the reasoner's state in other ways (guidance, depth, commits, noise) need the live core.

    Args:
        pool: the puzzles.
        num_views: views of a puzzle; its k-th restart shows view k modulo this number.
        seed: of the views; those of an evaluation with this seed.
        args: of `Core`.
        core: of `Core`.

    Raises:
        InvalidValueError: the action table or the observation needs the live core.
    """

    def __init__(self, *args: Any, pool: Puzzles, num_views: int = 8, seed: int = 0, **core: Any) -> None:
        super().__init__(*args, **core)
        others = [action.name for action in self.mode.actions if not is_recordable(action)]
        if others or self.observation == "latent":
            raise InvalidValueError(
                "recorded steps need a table of halt, refine and restart_view, and no latent observation;"
                f" got {', '.join(others) or 'the latent observation'}. Use the live core."
            )
        if num_views < 1:
            raise InvalidValueError(f"num_views must be at least 1; got {num_views}.")
        self.keys, order = episode_keys(torch.arange(len(pool)), seed).sort()
        self.pool, self.num_views = pool.select(order), num_views
        count = len(pool) * num_views
        self._length = torch.zeros(count, dtype=torch.int64)
        # Memory that is never written takes no room.
        self._answers = torch.empty(count, self.horizon, self.task.seq_len, dtype=torch.uint8)
        self._potential = torch.empty(count, self.horizon)
        self._shown = torch.empty(count, self.horizon, len(STEP_FEATURES))
        example = self.reasoner.initial_carry(1)
        self._carry = example.map(lambda tensor: torch.empty(count, *tensor.shape[1:], dtype=tensor.dtype))
        # A tensor, as the rest of the record: copies of this core (`submitting`) share it.
        self._passes = torch.zeros((), dtype=torch.int64)

    @property
    def num_recorded(self) -> int:
        """Steps that the reasoner has run."""
        return int(self._length.sum())

    def start(self, keys: Tensor) -> State:
        """Start an episode on a puzzle of the pool for each key; its views are the puzzle's own."""
        chosen = (uniform(derive(keys, 0), 1)[:, 0] * len(self.pool)).long()
        return self.begin(self.pool.select(chosen), self.keys[chosen])

    def _prepare(self, state: State, decision: Decision) -> State:
        """Keep the counts; the view itself is drawn when a step has to be recorded."""
        age = state.age.masked_fill(decision.fresh, 0)
        return replace(state, age=age, restarts=state.restarts + decision.fresh)

    def _see(self, state: State, decision: Decision, depth: int) -> Seen:
        puzzles = torch.searchsorted(self.keys, state.keys)
        rows = puzzles * self.num_views + state.restarts % self.num_views
        missing = state.age >= self._length[rows]
        if bool(missing.any()):
            for piece in rows[missing].unique().split(PIECE):
                self._record(torch.cat([piece, piece[:1].expand(PIECE - len(piece))]))
        return Seen(
            carry=state.carry,
            certainty=state.certainty,
            answers=self._answers[rows, state.age].long(),
            potential=self._potential[rows, state.age],
            shown=self._shown[rows, state.age],
            passes=int(self._passes),
        )

    def _record(self, rows: Tensor) -> None:
        """Run the reasoner's next step on the given rows, int64 [PIECE], each a (puzzle, view).

        Always so many, if need be the same one again: kernels choose by the shape in which order they add up, so in one
        shape a row's floating-point results depend on nothing but the row, and a record not on its history.
        """
        puzzles, views, age = rows // self.num_views, rows % self.num_views, self._length[rows]
        state = self.begin(self.pool.select(puzzles), self.keys[puzzles])
        later = views > 0
        if bool(later.any()):
            restart = Decision.of([ACTIONS["restart_view"]] * int(later.sum()))
            counted = replace(state.select(later), restarts=views[later] - 1)
            state = state.put(later, self._start_afresh(counted, restart))
        state = replace(state, age=age, carry=self._carry.select(rows).put(age == 0, state.carry.select(age == 0)))
        seen = super()._see(state, Decision.of([ACTIONS["refine"]] * len(rows)), 1)
        self._answers[rows, age] = seen.answers.to(torch.uint8)
        self._potential[rows, age] = seen.potential
        self._shown[rows, age] = seen.shown
        for field in fields(Carry):
            getattr(self._carry, field.name)[rows] = getattr(seen.carry, field.name).cpu()
        self._passes.fill_(seen.passes)
        self._length[rows] += 1
