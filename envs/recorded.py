"""Supervision steps that are remembered: the second time a puzzle is refined in the same view, they are looked up."""

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from latent_rl.envs.actions import ACTIONS, Action, Decision
from latent_rl.envs.live import LiveSteps, begun_afresh
from latent_rl.envs.state import Measured, Seen, State
from latent_rl.errors import InvalidValueError
from latent_rl.randomness import derive, episode_keys, uniform
from latent_rl.types import Carry, Puzzles

PIECE = 16
"""Rows that the reasoner steps at once when steps are recorded."""
_TABLES = ("answers", "potential", "measured")
"""Of a record: [pool x views, horizon, ...]."""


def is_recordable(action: Action) -> bool:
    """Whether all that the action does to the reasoner's state is a plain step, or a plain start in a new view."""
    return any(replace(action, name=name) == ACTIONS[name] for name in ("halt", "refine", "restart_view"))


@dataclass(frozen=True, eq=False)
class Record:
    """What a reasoner has shown of P puzzles in W views each: row p W + w is puzzle p in its view w.

    Attributes:
        pool: the puzzles, in the order of their keys.
        keys: int64 [P], of their episodes; they decide the views.
        seed: of the keys: that of an evaluation whose episodes have the same.
        num_views: W; a puzzle's k-th restart shows its view k modulo W.
        length: int64 [P W], steps recorded so far.
        answers: uint8 [P W, S, L], in the puzzles' own view.
        potential: float32 [P W, S], Phi of them.
        measured: float32 [P W, S, M].
        carry: of P W rows, after the last step recorded.
        passes: int64, of a step. A tensor like the rest, so that all who share the record see it.
    """

    pool: Puzzles
    keys: Tensor
    seed: int
    num_views: int
    length: Tensor
    answers: Tensor
    potential: Tensor
    measured: Tensor
    carry: Carry
    passes: Tensor

    @classmethod
    def of(cls, live: LiveSteps, pool: Puzzles, num_views: int, seed: int) -> Self:
        """A record of nothing yet.

        Raises:
            InvalidValueError: it would not fit into memory.
        """
        keys, order = episode_keys(torch.arange(len(pool)), seed).sort()
        length = torch.zeros(len(pool) * num_views, dtype=torch.int64)
        tables = _tables(live, len(pool), num_views)
        passes = torch.zeros((), dtype=torch.int64)
        return cls(pool.select(order), keys, seed, num_views, length, **tables, passes=passes)

    def emptied(self, live: LiveSteps) -> Self:
        """The same of nothing yet: a record has room for its horizon alone."""
        tables = _tables(live, len(self.pool), self.num_views)
        return replace(self, length=torch.zeros_like(self.length), **tables)

    def places(self, keys: Tensor) -> Tensor:
        """Where in the pool the puzzles of the given keys, int64 [B], are: int64 [B].

        Raises:
            InvalidValueError: a key is not there.
        """
        places = torch.searchsorted(self.keys, keys).clamp_(max=len(self.keys) - 1)
        if not torch.equal(self.keys[places], keys):
            raise InvalidValueError(
                f"recorded episodes must have keys of the pool's {len(self.keys)} puzzles under seed {self.seed}; got"
                " others. Evaluate with that seed, or use the live core."
            )
        return places

    def __getstate__(self) -> dict[str, Any]:
        """What has been written, and how much room there is."""
        written, steps = (self.length > 0).nonzero().squeeze(1), int(self.length.max())
        tables = {name: getattr(self, name)[written, :steps].clone() for name in _TABLES}
        rest = {"carry": self.carry.select(written), "room": self.answers.shape[1]}
        return {name: value for name, value in vars(self).items() if name not in _TABLES} | tables | rest

    def __setstate__(self, state: dict[str, Any]) -> None:
        room, length = state.pop("room"), state["length"]
        written, steps = (length > 0).nonzero().squeeze(1), int(length.max())
        for name in _TABLES:
            stored: Tensor = state[name]
            table = torch.empty(len(length), room, *stored.shape[2:], dtype=stored.dtype)
            table[written, :steps] = stored
            state[name] = table
        carry: Carry = state["carry"]
        state["carry"] = carry.map(lambda tensor: tensor.new_empty(len(length), *tensor.shape[1:]))
        vars(self).update(state)
        _write(self.carry, written, carry)


def _tables(live: LiveSteps, num_puzzles: int, num_views: int) -> dict[str, Any]:
    """Of a record; memory that is never written takes no room."""
    count, steps, carry = num_puzzles * num_views, live.horizon, live.reasoner.initial_carry(1)
    try:
        return {
            "answers": torch.empty(count, steps, live.task.seq_len, dtype=torch.uint8),
            "potential": torch.empty(count, steps),
            "measured": torch.empty(count, steps, len(live.measured)),
            "carry": carry.map(lambda tensor: torch.empty(count, *tensor.shape[1:], dtype=tensor.dtype)),
        }
    except RuntimeError as error:
        raise InvalidValueError(
            f"the record of {num_puzzles} puzzles in {num_views} views over {steps} steps must fit into memory; it does"
            " not. Take fewer, or the live core."
        ) from error


def _write(table: Carry, rows: Tensor, carry: Carry) -> None:
    """Write a carry into the given rows of a table, in place."""
    for field in fields(Carry):
        getattr(table, field.name)[rows] = getattr(carry, field.name).cpu()


@dataclass(frozen=True, eq=False)
class RecordedSteps:
    """Steps of episodes about a pool of puzzles; the reasoner runs once for each step that they meet.

    What the reasoner shows is a function of puzzle, view and age, to the last bit. So once recorded, training runs at
    the speed of table look-ups, and is equal to the live steps. Actions that change the reasoner's state in other ways
    (guidance, depth, commits, noise) need those. States hold neither carry nor certainty: both have no cells.

    Attributes:
        live: takes the steps that are not recorded yet.
        record: of the others.
    """

    live: LiveSteps
    record: Record

    @property
    def num_recorded(self) -> int:
        """Steps that the reasoner has run."""
        return int(self.record.length.sum())

    def draw(self, keys: Tensor) -> tuple[Puzzles, Tensor]:
        """The puzzle of the pool that each key, int64 [B], draws, and the puzzle's own key, which decides its views."""
        chosen = (uniform(derive(keys, 0), 1)[:, 0] * len(self.record.pool)).long()
        return self.record.pool.select(chosen), self.record.keys[chosen]

    def begin(self, puzzles: Puzzles, keys: Tensor) -> State:
        """Episodes of puzzles of the pool before their first step.

        Raises:
            InvalidValueError: a puzzle is not in the pool, or its key is another than there.
        """
        if not torch.equal(self.record.pool.inputs[self.record.places(keys)], puzzles.inputs):
            raise InvalidValueError("a recorded episode must be about the pool's puzzle of its key; this is another.")
        state = self.live.begin(puzzles, keys)
        nothing = state.carry.map(lambda tensor: tensor[:, :0])
        return replace(state, carry=nothing, certainty=state.certainty[:, :0])

    def take(self, state: State, decision: Decision, depth: int) -> tuple[State, Seen]:
        """Look up one step of every row; the reasoner runs those that are missing."""
        age = state.age.masked_fill(decision.fresh, 0)
        state = replace(state, age=age, restarts=state.restarts + decision.fresh)
        record = self.record
        rows = record.places(state.keys) * record.num_views + state.restarts % record.num_views
        missing = age >= record.length[rows]
        if bool(missing.any()):
            for piece in rows[missing].unique().split(PIECE):
                self._run(torch.cat([piece, piece[:1].expand(PIECE - len(piece))]))
        seen = Seen(
            carry=state.carry,
            certainty=state.certainty,
            answers=record.answers[rows, age].long(),
            potential=record.potential[rows, age],
            measured=Measured(state.measured.names, record.measured[rows, age]),
            passes=int(record.passes),
            log_probs=state.guesses.log_probs,
        )
        return state, seen

    def _run(self, rows: Tensor) -> None:
        """Run the reasoner's next step on the given rows, int64 [PIECE], each a (puzzle, view).

        Always so many, if need be the same one again: kernels choose by the shape in which order they add up, so in one
        shape a row's floating-point results depend on nothing but the row, and a record not on its history.
        """
        record = self.record
        puzzles, views, age = rows // record.num_views, rows % record.num_views, record.length[rows]
        state = self.live.begin(record.pool.select(puzzles), record.keys[puzzles])
        later = views > 0
        if bool(later.any()):
            restart = Decision.of([ACTIONS["restart_view"]] * int(later.sum()))
            counted = replace(state.select(later), restarts=views[later] - 1)
            state = state.put(later, begun_afresh(self.live.task, self.live.reasoner, counted, restart))
        carry = record.carry.select(rows).put(age == 0, state.carry.select(age == 0))
        refine = Decision.of([ACTIONS["refine"]] * len(rows))
        _, seen = self.live.take(replace(state, age=age, carry=carry), refine, 1)
        record.answers[rows, age] = seen.answers.to(torch.uint8)
        record.potential[rows, age] = seen.potential
        record.measured[rows, age] = seen.measured.values
        _write(record.carry, rows, seen.carry)
        record.passes.fill_(seen.passes)
        record.length[rows] += 1
