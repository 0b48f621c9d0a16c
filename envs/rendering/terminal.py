"""Boards in the terminal, drawn over each other as an episode goes on."""

import os
import shutil
import sys
import time
from collections.abc import Sequence

from latent_rl.envs.rendering.boards import Board, beside, plain

RENDER_FPS = 4
_FINAL_FRAMES = 4
"""An episode's end stays for so many frames."""


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
