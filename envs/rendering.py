"""What an environment's `render` gives: boards as text, as pictures, or live in the terminal."""

import os
import shutil
import sys
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

from latent_rl.envs.boards import Board, Layout, beside, boards_of, layout_of, plain
from latent_rl.envs.state import State
from latent_rl.envs.streams import Streams
from latent_rl.errors import InvalidValueError, UnknownNameError

RenderMode = Literal["ansi", "human", "rgb_array"]
RENDER_MODES: tuple[RenderMode, ...] = ("ansi", "human", "rgb_array")
RENDER_FPS = 4
METADATA: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": RENDER_FPS}
"""What every environment declares to Gymnasium."""
_FINAL_FRAMES = 4
"""An episode's end stays in the terminal for so many frames."""


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
        self.streams, self.mode = streams, mode
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
        self._before, self._state, self._boards = self._state, self.streams.state, None
        self._actions = None if actions is None else np.array(actions)  # who gave them may change them
        self._ended = None if ended is None else ended.copy()
        if self.mode == "human":
            self.render()

    @cached_property
    def layout(self) -> Layout:
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
        from latent_rl.envs.pictures import picture

        return tuple(picture(board) for board in self.boards())


class Terminal:
    """Draws boards in place, `RENDER_FPS` times a second; where standard output is no terminal, one after the other.

    An episode's puzzle stays, its steps are drawn over each other below, and its end stays again.
    """

    def __init__(self) -> None:
        self._height = 0
        self._due = 0.0

    def draw(self, boards: Sequence[Board]) -> None:
        """Draw the boards over the last ones, if these were a step of the same episodes."""
        output, room = sys.stdout, shutil.get_terminal_size()
        if not output.isatty() or os.environ.get("TERM") == "dumb":
            texts = [board.text(styled=False) for board in boards]
            output.write("\n".join(page(texts, room.columns)) + "\n\n")
            output.flush()
            return
        time.sleep(min(max(0.0, self._due - time.monotonic()), _FINAL_FRAMES / RENDER_FPS))
        is_styled = not os.environ.get("NO_COLOR")
        texts = [board.text(styled=is_styled, width=room.columns) for board in boards]
        lines = page(texts, room.columns, room.lines - 1)
        is_start = all(board.action == "" for board in boards)
        back = f"\x1b[{self._height}F" if self._height and not is_start else "\n"
        drawn = "".join(f"{line}\x1b[K\n" for line in lines)
        # In one piece, without wrapping; terminals that know how to, show it at once.
        output.write(f"\x1b[?2026h\x1b[?7l{back}{drawn}\x1b[J\x1b[?7h\x1b[?2026l")
        output.flush()
        self._height = 0 if is_start else len(lines)
        num_frames = _FINAL_FRAMES if any(board.outcome for board in boards) else 1
        self._due = time.monotonic() + num_frames / RENDER_FPS


def page(texts: Sequence[str], width: int, height: int | None = None) -> list[str]:
    """Lay boards out beside and below each other.

    Args:
        texts: of the boards.
        width: of the page.
        height: of the page, in lines; None for as many as it takes.
    """
    gap = "   "
    blocks = [text.split("\n") for text in texts]
    widest = max(len(plain(line)) for block in blocks for line in block)
    columns = max(1, (width + len(gap)) // (widest + len(gap)))
    lines: list[str] = []
    for start in range(0, len(blocks), columns):
        row = beside(blocks[start : start + columns], gap).split("\n")
        if height is not None and lines and len(lines) + len(row) + 2 > height:
            lines += ["", f"and {len(blocks) - start} more"]
            break
        lines += ["", *row] if lines else row
    return lines[:height]
