"""A core that remembers: the second time a puzzle is refined in the same view, its steps are looked up."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from latent_rl.envs.actions import ACTIONS, Action, Decision
from latent_rl.envs.config import EnvConfig
from latent_rl.envs.core import Core
from latent_rl.envs.observations import STEP_FEATURES
from latent_rl.envs.state import Seen, State
from latent_rl.errors import InvalidValueError
from latent_rl.randomness import derive, episode_keys, uniform
from latent_rl.reasoners.base import Reasoner
from latent_rl.tasks.base import Task
from latent_rl.types import Carry, Puzzles

_TABLES = ("_answers", "_potential", "_shown")
"""Of the record: [pool x views, horizon, ...]."""
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
        task: see `Core`.
        reasoner: see `Core`.
        pool: the puzzles; no split is drawn from.
        num_views: views of a puzzle; its k-th restart shows view k modulo this number.
        seed: of the views; those of an evaluation with this seed.
        changes: see `Core`.

    Raises:
        InvalidValueError: the action table or the observation needs the live core, or the record would be too large.
    """

    def __init__(
        self,
        task: str | Path | Task | EnvConfig,
        reasoner: str | Path | Reasoner | None = None,
        *,
        pool: Puzzles,
        num_views: int = 8,
        seed: int = 0,
        **changes: Any,
    ) -> None:
        if given := sorted(changes.keys() & {"split", "puzzles"}):
            raise InvalidValueError(f"recorded episodes come from the pool alone; got {' and '.join(given)}, too.")
        if not len(pool):
            raise InvalidValueError("the pool must hold at least one puzzle; it is empty.")
        if not isinstance(num_views, int) or num_views < 1:
            raise InvalidValueError(f"num_views must be a whole number of at least 1; got {num_views!r}.")
        super().__init__(task, reasoner, puzzles=pool, **changes)
        others = [action.name for action in self.mode.actions if not is_recordable(action)]
        if others or self.observation == "latent":
            raise InvalidValueError(
                "recorded steps need a table of halt, refine and restart_view, and no latent observation;"
                f" got {', '.join(others) or 'the latent observation'}. Use the live core."
            )
        self.keys, order = episode_keys(torch.arange(len(pool)), seed).sort()
        self.pool, self.num_views, self.seed = pool.select(order), num_views, seed
        self._length = torch.zeros(len(pool) * num_views, dtype=torch.int64)
        # A tensor, as the rest of the record: copies of this core (`submitting`) share it.
        self._passes = torch.zeros((), dtype=torch.int64)
        self._make_tables()

    def _make_tables(self) -> None:
        count, example = len(self._length), self.reasoner.initial_carry(1)
        try:  # Memory that is never written takes no room.
            self._answers = torch.empty(count, self.horizon, self.task.seq_len, dtype=torch.uint8)
            self._potential = torch.empty(count, self.horizon)
            self._shown = torch.empty(count, self.horizon, len(STEP_FEATURES))
            self._carry = example.map(lambda tensor: torch.empty(count, *tensor.shape[1:], dtype=tensor.dtype))
        except RuntimeError as error:
            raise InvalidValueError(
                f"the record of {len(self.pool)} puzzles in {self.num_views} views over {self.horizon} steps must fit"
                " into memory; it does not. Take fewer, or the live core."
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        written, steps = (self._length > 0).nonzero().squeeze(1), int(self._length.max())
        tables = {name: getattr(self, name)[written, :steps].clone() for name in _TABLES}
        return super().__getstate__() | tables | {"_carry": self._carry.select(written)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._make_tables()
        written, steps = (self._length > 0).nonzero().squeeze(1), int(self._length.max())
        for name in _TABLES:
            getattr(self, name)[written, :steps] = state[name]
        for field in fields(Carry):
            getattr(self._carry, field.name)[written] = getattr(state["_carry"], field.name)

    def lasting(self, horizon: int) -> Self:
        """The same dynamics with another horizon, and an empty record: a record has room for its horizon alone."""
        core = super().lasting(horizon)
        core._length = torch.zeros_like(self._length)
        core._make_tables()
        return core

    @property
    def num_recorded(self) -> int:
        """Steps that the reasoner has run."""
        return int(self._length.sum())

    def start(self, keys: Tensor) -> State:
        """Start an episode on a puzzle of the pool for each key; its views are the puzzle's own."""
        chosen = (uniform(derive(keys, 0), 1)[:, 0] * len(self.pool)).long()
        return super().begin(self.pool.select(chosen), self.keys[chosen])

    def begin(self, puzzles: Puzzles, keys: Tensor) -> State:
        """Start one episode for each puzzle, all of the pool.

        Raises:
            InvalidValueError: a puzzle is not in the pool, or its key is another than there.
        """
        if not torch.equal(self.pool.inputs[self._places(keys)], puzzles.inputs):
            raise InvalidValueError("a recorded episode must be about the pool's puzzle of its key; this is another.")
        return super().begin(puzzles, keys)

    def _places(self, keys: Tensor) -> Tensor:
        """Where in the pool the puzzles of the given keys, int64 [B], are: int64 [B]."""
        places = torch.searchsorted(self.keys, keys).clamp_(max=len(self.keys) - 1)
        if not torch.equal(self.keys[places], keys):
            raise InvalidValueError(
                f"recorded episodes must have keys of the pool's {len(self.keys)} puzzles under seed {self.seed}; got"
                " others. Evaluate with that seed, or use the live core."
            )
        return places

    def _prepare(self, state: State, decision: Decision) -> State:
        """Keep the counts; the view itself is drawn when a step has to be recorded."""
        age = state.age.masked_fill(decision.fresh, 0)
        return replace(state, age=age, restarts=state.restarts + decision.fresh)

    def _see(self, state: State, decision: Decision, depth: int) -> Seen:
        rows = self._places(state.keys) * self.num_views + state.restarts % self.num_views
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
        state = super().begin(self.pool.select(puzzles), self.keys[puzzles])
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
