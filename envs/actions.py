"""Action modes: how an agent's action becomes a `Decision` about the next supervision step.

To add an action, add an entry to `ACTIONS` (and, if it decides something new, a field to `Action` and `Decision`,
which `core.py` obeys).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError, UnknownNameError
from latent_rl.types import Batched

MAX_GUIDANCE = 1.5
HALT_BELOW = 0.05
"""In mode "continuous" a guidance scale below this asks for no refinement, and halts."""


@dataclass(frozen=True)
class Action:
    """One entry of the action table.

    Attributes:
        name: what reports call it.
        halt: submit the answer and end the episode; everything else runs one supervision step.
        guidance_scale: w of that step.
        depth: factor on the number of latent updates n.
        restart: begin anew in a random symmetric view of the puzzle, with a fresh carry.
    """

    name: str
    halt: bool = False
    guidance_scale: float = 1.0
    depth: int = 1
    restart: bool = False


@dataclass(frozen=True)
class Decision(Batched):
    """What happens next, for each row.

    Attributes:
        halt: bool [B].
        guidance_scale: float32 [B].
        depth: int64 [B].
        restart: bool [B].
    """

    halt: Tensor
    guidance_scale: Tensor
    depth: Tensor
    restart: Tensor


ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action("halt", halt=True),
        Action("refine"),
        Action("deep", depth=2),
        Action("restart_view", restart=True),
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
    if guided := _GUIDED.fullmatch(entry):
        return Action(entry, guidance_scale=float(guided[1]))
    if entry not in ACTIONS:
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

    def mask(self, steps: Tensor) -> Tensor:
        """Bool [B, A]: which actions make sense after `steps` supervision steps, int64 [B]."""


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
        self._columns = Decision(
            torch.tensor([action.halt for action in self.actions]),
            torch.tensor([action.guidance_scale for action in self.actions]),
            torch.tensor([action.depth for action in self.actions]),
            torch.tensor([action.restart for action in self.actions]),
        )

    def decode(self, actions: Tensor) -> Decision:
        """Look the actions, int64 [B], up in the table."""
        return self._columns.select(actions)

    def mask(self, steps: Tensor) -> Tensor:
        """Neither halt nor restart before the first step."""
        early = self._columns.halt | self._columns.restart
        return ~(early[None, :] & (steps == 0)[:, None])


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
        return Decision(halt == 0, scales[scale], depths[depth], torch.zeros_like(halt, dtype=torch.bool))

    def mask(self, steps: Tensor) -> Tensor:
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
        return Decision(
            scale < HALT_BELOW,
            scale,
            torch.ones(len(scale), dtype=torch.int64),
            torch.zeros(len(scale), dtype=torch.bool),
        )

    def mask(self, steps: Tensor) -> Tensor:
        """Every w makes sense; bool [B, 1]."""
        return torch.ones(len(steps), 1, dtype=torch.bool)


DEFAULT_TABLE = ("halt", "refine", "restart_view")
ACTION_MODES: dict[str, Callable[[], ActionMode]] = {
    "halt": lambda: TableMode(("halt", "refine")),
    "refine": lambda: TableMode(DEFAULT_TABLE),
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
    if actions not in ACTION_MODES:
        raise UnknownNameError("action mode", actions, ACTION_MODES)
    return ACTION_MODES[actions]()
