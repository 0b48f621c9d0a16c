"""What an environment's `render` gives: boards as text, as pictures, or live in the terminal."""

from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

from latent_rl.envs.rendering.boards import Board, boards_of
from latent_rl.envs.rendering.layout import BoardLayout, layout_of
from latent_rl.envs.rendering.pictures import picture
from latent_rl.envs.rendering.terminal import RENDER_FPS, Terminal
from latent_rl.envs.state import State
from latent_rl.envs.streams import Streams
from latent_rl.errors import InvalidValueError, UnknownNameError

RenderMode = Literal["ansi", "human", "rgb_array"]
RENDER_MODES: tuple[RenderMode, ...] = ("ansi", "human", "rgb_array")
METADATA: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": RENDER_FPS}
"""What every environment declares to Gymnasium."""


class Screen:
    """Follows episodes, and draws them when it is asked to; without a mode it does nothing.

    Args:
        streams: what is drawn.
        mode: "ansi", text with marks and ANSI styles; "rgb_array", pictures uint8 [H, W, 3]; "human", in the terminal
            at every step; None for nothing.

    Raises:
        UnknownNameError: there is no such mode.
    """

    def __init__(self, streams: Streams, mode: str | None) -> None:
        if mode is not None and mode not in RENDER_MODES:
            raise UnknownNameError("render mode", mode, RENDER_MODES)
        self.streams = streams
        self.mode = mode
        self._terminal = Terminal()
        self._boards: list[Board] | None = None
        self._before: State | None = None
        self._state: State | None = None
        self._actions: np.ndarray | None = None
        self._ended: np.ndarray | None = None

    def show(self, actions: Any = None, ended: np.ndarray | None = None) -> None:
        """Take in that the episodes have been stepped, or reset.

        Args:
            actions: what was done, one row each; None after a reset.
            ended: bool [B], the episodes that have ended and still show their end; None for none.
        """
        if self.mode is None:
            return
        self._before = self._state
        self._state = self.streams.state
        self._boards = None
        self._actions = None if actions is None else np.array(actions)  # who gave them may change them
        self._ended = None if ended is None else ended.copy()
        if self.mode == "human":
            self.render()

    @cached_property
    def layout(self) -> BoardLayout:
        """Of the task."""
        return layout_of(self.streams.core.task)

    def boards(self) -> list[Board]:
        """The boards of all episodes.

        Raises:
            InvalidValueError: there is no episode yet.
        """
        if self._state is None:
            raise InvalidValueError("there is nothing to draw before the first episode; call reset() first.")
        if self._boards is None:
            core, actions, ended = self.streams.core, self._actions, self._ended
            names = () if actions is None else core.mode.names(torch.as_tensor(actions))
            over = None if ended is None else torch.as_tensor(ended)
            self._boards = boards_of(core, self.layout, self._state, self._before, names, over)
        return self._boards

    def render(self) -> tuple[Any, ...] | None:
        """One text or picture for each episode; None in mode "human", which draws what is not drawn yet, and without a
        mode."""
        if self.mode is None:
            return None
        if self.mode == "human":
            if self._boards is None:
                self._terminal.draw(self.boards())
            return None
        if self.mode == "ansi":
            return tuple(board.text() for board in self.boards())
        return tuple(picture(board) for board in self.boards())
