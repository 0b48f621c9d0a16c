"""Action modes: how an agent's action becomes a `Decision` about the next supervision step.

To add an action, add an entry to `ACTIONS` (and, if it decides something new, a field to `Action` and `Decision`,
which `core.py` obeys).
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError, UnknownNameError, lookup
from latent_rl.types import Batched

MAX_GUIDANCE = 1.5
HALT_BELOW = 0.05
"""In mode "continuous" a guidance scale below this asks for no refinement, and halts."""


@dataclass(frozen=True)
class Action:
    """One entry of the action table: `Decision`'s fields, and a name for reports.

    Everything but a halt runs one supervision step, after what the other fields ask for.

    Attributes:
        name: what reports call it.
        halt: submit the answer and end the episode.
        guidance_scale: w of the step.
        depth: factor on the number of latent updates n.
        fresh: begin with an untouched carry; unless the action commits, with the puzzle's own givens.
        new_view: begin in a new random symmetric view of the puzzle; goes with `fresh`.
        guess: begin with one open cell, drawn from the last readout of the puzzle itself, written as if given; goes
            with `fresh`. The guess before is taken back.
        noise: standard deviation of normal noise on the latent.
        commit: blank cells whose top probability exceeds it are written into the inputs, as if given; inf for none.
        forced: if no cell does, commit the surest one.
    """

    name: str
    halt: bool = False
    guidance_scale: float = 1.0
    depth: int = 1
    fresh: bool = False
    new_view: bool = False
    guess: bool = False
    noise: float = 0.0
    commit: float = math.inf
    forced: bool = False

    def __post_init__(self) -> None:
        """Check what the dynamics rely on."""
        if self.new_view and (not self.fresh or self.commit < math.inf):
            raise InvalidValueError(f"action '{self.name}': a new view needs a fresh carry and can't commit.")
        if self.guess and (not self.fresh or self.commit < math.inf):
            raise InvalidValueError(f"action '{self.name}': a guess needs a fresh carry and can't commit.")
        if self.forced and self.commit == math.inf:
            raise InvalidValueError(f"action '{self.name}': only a commit can be forced; give it a threshold.")
        if self.depth < 1 or self.noise < 0:
            raise InvalidValueError(
                f"action '{self.name}' needs depth >= 1 and noise >= 0; got {self.depth} and {self.noise}."
            )


@dataclass(frozen=True)
class Decision(Batched):
    """What happens next, for each row; the fields mean what they mean in `Action`.

    Attributes:
        halt: bool [B].
        guidance_scale: float32 [B].
        depth: int64 [B].
        fresh: bool [B].
        new_view: bool [B].
        guess: bool [B].
        noise: float32 [B].
        commit: float32 [B].
        forced: bool [B].
    """

    halt: Tensor
    guidance_scale: Tensor
    depth: Tensor
    fresh: Tensor
    new_view: Tensor
    guess: Tensor
    noise: Tensor
    commit: Tensor
    forced: Tensor

    @staticmethod
    def of(actions: Sequence[Action]) -> "Decision":
        """One row for each action."""
        names = (field.name for field in fields(Decision))
        return Decision(**{name: torch.tensor([getattr(action, name) for action in actions]) for name in names})

    @property
    def commits(self) -> Tensor:
        """Bool [B]."""
        return self.commit < math.inf

    @property
    def restarts(self) -> Tensor:
        """Bool [B]: begins anew from the puzzle itself."""
        return self.fresh & ~self.commits


ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action("halt", halt=True),
        Action("refine"),
        Action("deep", depth=2),
        Action("restart_view", fresh=True, new_view=True),
        Action("restart_noise", fresh=True, noise=1.0),
        Action("restart_guess", fresh=True, guess=True),
        Action("perturb", noise=0.5),
        Action("commit", commit=0.99),
        Action("commit_reset", commit=0.99, fresh=True),
        Action("commit_forced", commit=0.9, fresh=True, forced=True),
    )
}
_GUIDED = re.compile(r"refine_w(\d+(?:\.\d+)?)")


def make_action(entry: str | Action) -> Action:
    """The action of that name; ``refine_w1.25`` refines at w=1.25; an `Action` is returned as it is.

    Raises:
        UnknownNameError: no action has that name.
    """
    if isinstance(entry, Action):
        return entry
    if isinstance(entry, str) and (guided := _GUIDED.fullmatch(entry)):
        return Action(entry, guidance_scale=float(guided[1]))
    if not isinstance(entry, str) or entry not in ACTIONS:
        raise UnknownNameError("action", entry, [*ACTIONS, "refine_w<number>"])
    return ACTIONS[entry]


class ActionMode(Protocol):
    """How actions look to an agent, and what they mean."""

    @property
    def space(self) -> gym.Space[Any]:
        """The action space of one environment."""

    @property
    def actions(self) -> tuple[Action, ...]:
        """The named actions, in the order of a table's indices."""

    def decode(self, actions: Tensor) -> Decision:
        """Turn a batch of actions, one row each, into decisions."""

    def names(self, actions: Tensor) -> list[str]:
        """What each action of a batch is called."""

    def mask(self, steps: Tensor, ages: Tensor) -> Tensor:
        """Bool [B, A]: which actions make sense after `steps` supervision steps, `ages` since a restart; int64 [B]."""


class TableMode:
    """A flat Discrete choice from a table of actions."""

    def __init__(self, entries: Sequence[str | Action]) -> None:
        self.actions: tuple[Action, ...] = tuple(make_action(entry) for entry in entries)
        if len(self.actions) < 2 or not any(action.halt for action in self.actions):
            raise InvalidValueError(
                "an action table needs 'halt' and at least one more action;"
                f" got {[action.name for action in self.actions]}."
            )
        self.space: gym.Space[Any] = gym.spaces.Discrete(len(self.actions))
        self._columns = Decision.of(self.actions)

    def decode(self, actions: Tensor) -> Decision:
        """Look the actions, int64 [B], up in the table."""
        return self._columns.select(actions)

    def names(self, actions: Tensor) -> list[str]:
        """The table's names."""
        return [self.actions[index].name for index in actions.tolist()]

    def mask(self, steps: Tensor, ages: Tensor) -> Tensor:
        """Neither halt nor restart before the first step; no commit or noise where there is nothing yet."""
        table = self._columns
        needs_step = table.halt | table.restarts
        needs_age = table.commits | ((table.noise > 0) & ~table.fresh)
        return ~((needs_step & (steps == 0)[:, None]) | (needs_age & (ages == 0)[:, None]))


def _refine(count: int) -> Decision:
    """`count` rows that refine."""
    return Decision.of([ACTIONS["refine"]]).map(lambda column: column.expand(count))


def _spelled(decision: Decision) -> list[str]:
    """Names for rows that halt or refine: "halt", "refine", "refine_w0.75", "refine_w1.25 x2"."""
    rows = zip(decision.halt.tolist(), decision.guidance_scale.tolist(), decision.depth.tolist(), strict=True)
    return [
        "halt" if halt else f"refine{f'_w{scale:.3g}' * (scale != 1)}{f' x{depth}' * (depth != 1)}"
        for halt, scale, depth in rows
    ]


class JointMode:
    """MultiDiscrete(halt, w, n): halt or refine, at which guidance scale, with how many times n updates."""

    guidance_scales = (0.75, 1.0, 1.25)
    depths = (1, 2)

    def __init__(self) -> None:
        self.actions = (ACTIONS["halt"], ACTIONS["refine"])
        self.space = gym.spaces.MultiDiscrete([2, len(self.guidance_scales), len(self.depths)])

    def decode(self, actions: Tensor) -> Decision:
        """Decode int64 [B, 3]; the first column is 0 for halt, 1 for refine."""
        halt, scale, depth = actions.unbind(1)
        scales, depths = torch.tensor(self.guidance_scales), torch.tensor(self.depths)
        return replace(_refine(len(halt)), halt=halt == 0, guidance_scale=scales[scale], depth=depths[depth])

    def names(self, actions: Tensor) -> list[str]:
        """Scale and depth, where they are not those of a plain step."""
        return _spelled(self.decode(actions))

    def mask(self, steps: Tensor, ages: Tensor) -> Tensor:
        """No halt before the first step; bool [B, 2 + 3 + 2], the choices one after the other."""
        mask = torch.ones(len(steps), int(self.space.nvec.sum()), dtype=torch.bool)
        mask[:, 0] = steps > 0
        return mask


class ContinuousMode:
    """Box(-1, 1), scaled to the guidance scale w in [0, 1.5] of the next step; w below `HALT_BELOW` halts.

    The unscaled box is what Gaussian policies start from; both libraries' checkers ask for it.
    """

    def __init__(self) -> None:
        self.actions = (ACTIONS["halt"], ACTIONS["refine"])
        self.space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def decode(self, actions: Tensor) -> Decision:
        """Decode float32 [B, 1]."""
        scale = MAX_GUIDANCE * (actions[:, 0].float() + 1) / 2
        return replace(_refine(len(scale)), halt=scale < HALT_BELOW, guidance_scale=scale)

    def names(self, actions: Tensor) -> list[str]:
        """The scale."""
        return _spelled(self.decode(actions))

    def mask(self, steps: Tensor, ages: Tensor) -> Tensor:
        """Every w makes sense; bool [B, 1]."""
        return torch.ones(len(steps), 1, dtype=torch.bool)


DEFAULT_TABLE = ("halt", "refine", "restart_view")
ACTION_MODES: dict[str, Callable[[], ActionMode]] = {
    "halt": lambda: TableMode(("halt", "refine")),
    "refine": lambda: TableMode(DEFAULT_TABLE),
    "search": lambda: TableMode(("halt", "refine", "restart_guess")),
    "joint": JointMode,
    "continuous": ContinuousMode,
}


def make_action_mode(actions: str | Sequence[str | Action]) -> ActionMode:
    """A named mode, or a table of the given actions.

    Raises:
        UnknownNameError: no mode, or no action, has that name.
    """
    if not isinstance(actions, str):
        return TableMode(actions)
    return lookup("action mode", actions, ACTION_MODES)()


def as_array(values: Any) -> np.ndarray:
    """Whatever was given as an array; one of objects if it is ragged."""
    try:
        return np.asarray(values)
    except ValueError:
        return np.asarray(values, dtype=object)


def checked_actions(mode: ActionMode, actions: Any, count: int) -> Tensor:
    """Actions of `count` episodes as the mode decodes them, int64 [B, ...] or float32 [B, ...].

    Those of a box are clipped to it, as Gymnasium's own environments do it.

    Raises:
        InvalidValueError: their number, shape or type is wrong, or one is not in the action space.
    """
    space, shape = mode.space, (count, *(mode.space.shape or ()))
    array = as_array(actions)
    if array.shape != shape:
        several = f"{count} actions" if count > 1 else "one action"
        raise InvalidValueError(
            f"there must be {several} of the space {space}, an array of shape {shape}; got shape {array.shape}."
        )
    if isinstance(space, gym.spaces.Box):
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise InvalidValueError(f"an action must be a finite number of the space {space}; got {_shown(array)}.")
        return torch.from_numpy(np.clip(array.astype(np.float32), space.low, space.high))
    if array.dtype.kind not in "iu":
        raise InvalidValueError(
            f"an action must be a whole number of the space {space}; got {_shown(array)} of type {array.dtype}."
        )
    sizes = np.asarray(space.nvec if isinstance(space, gym.spaces.MultiDiscrete) else len(mode.actions))
    wrong = ((array < 0) | (array >= sizes)).reshape(count, -1).any(1)
    if wrong.any():
        names = ", ".join(f"{index} {action.name}" for index, action in enumerate(mode.actions))
        meaning = f" ({names})" if isinstance(space, gym.spaces.Discrete) else ""
        row = int(wrong.argmax())
        place = f" for environment {row}" if count > 1 else ""
        raise InvalidValueError(f"an action must be in the space {space}{meaning}; got {array[row]}{place}.")
    return torch.from_numpy(array.astype(np.int64))


def _shown(array: np.ndarray) -> str:
    text = " ".join(str(array.tolist()).split())
    return text if len(text) <= 80 else text[:77] + "..."
