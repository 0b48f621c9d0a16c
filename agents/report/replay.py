"""One puzzle being solved, step by step: in the terminal, as images, as a GIF."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from latent_rl.agents.evaluate import Outcome
from latent_rl.agents.policy import Episodes, StepPolicy, play_all
from latent_rl.envs.core import Core
from latent_rl.envs.rendering.boards import Board, boards_of
from latent_rl.envs.rendering.layout import layout_of
from latent_rl.envs.rendering.pictures import picture
from latent_rl.envs.state import State
from latent_rl.randomness import episode_keys
from latent_rl.storage.atomic import write_atomically
from latent_rl.types import Puzzles


@dataclass(frozen=True)
class Frame:
    """The state of one episode after one action.

    Attributes:
        action: its name; "puzzle" for the start.
        state: of one row, after it.
        reward: of the step.
        board: what people see of it.
    """

    action: str
    state: State
    reward: float
    board: Board

    @property
    def solved(self) -> bool:
        """The episode ended here with a right submission."""
        return self.board.outcome == "solved"


def frames(core: Core, policy: StepPolicy, puzzles: Puzzles, keys: Tensor) -> Iterator[Frame]:
    """Run one episode on one puzzle, as `Solver` and `evaluate_policy` do."""
    layout, state = layout_of(core.task), core.begin(puzzles, keys)
    yield Frame("puzzle", state, 0.0, *boards_of(core, layout, state))
    for turn in play_all(core, policy, Episodes(torch.zeros(1, dtype=torch.int64), state, torch.zeros(1))):
        before, after, names = turn.before.state, turn.after.state, core.mode.names(turn.actions)
        boards = boards_of(core, layout, after, before, names, turn.transition.terminated)
        yield Frame(names[0], after, float(turn.transition.reward[0]), *boards)


def telling_puzzle(outcome: Outcome, test: Puzzles, seed: int = 0) -> tuple[Puzzles, Tensor]:
    """A solved puzzle of middling length, one with a restart if there is any; with its episode's key."""
    wanted = outcome.solved & (outcome.restarts > 0)
    candidates = np.flatnonzero(wanted if wanted.any() else outcome.solved)
    order = candidates[np.argsort(outcome.steps[candidates], kind="stable")]
    row = int(order[len(order) // 2]) if len(order) else 0
    return test[row : row + 1], episode_keys(torch.tensor([row]), seed)


def show_episode(console: Console, name: str, episode: list[Frame]) -> None:
    """Print every decision, and as many of the boards (four at the most) as fit beside each other.

    Args:
        console: where to print.
        name: of the agent.
        episode: from `frames`.
    """
    drawn = [Text.from_ansi(frame.board.text(head=False)) for frame in episode]
    width = max(len(line) for text in drawn for line in text.plain.split("\n")) + 2
    boards = min(4, max(2, console.width // width))
    console.print(f"[bold]One puzzle, step by step[/bold] (agent {name}; * changed, + committed, x wrong)")
    # A halt shows nothing new, unless it submits an earlier answer.
    shown = drawn if len(drawn) < 3 or episode[-1].board.counts["changed"] else drawn[:-1]
    picks = sorted({round(i * (len(shown) - 1) / max(1, boards - 1)) for i in range(boards)})
    table = Table(box=None, padding=(0, 2, 0, 0))
    for i in picks:
        table.add_column("puzzle" if i == 0 else f"after step {episode[i].board.step}", no_wrap=True)
    table.add_row(*(shown[i] for i in picks))
    console.print(table)
    lines = [
        f"step {frame.board.step:3d}  {frame.action:<13}  reward {frame.reward:+.3f}  "
        f"least confidence {frame.board.confidence or 0.0:.3f}  changed {frame.board.counts['changed']:2d}"
        for frame in episode[1:]
    ]
    if len(lines) > 16:
        lines = [*lines[:8], f"... {len(lines) - 16} more ...", *lines[-8:]]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
    last = episode[-1]
    style = {"solved": "green", "not solved": "red"}.get(last.board.outcome, "bold")
    console.print(f"[{style}]{last.board.outcome}[/{style}] with {last.board.passes} forward passes\n")


def write_gif(path: Path, name: str, episode: list[Frame]) -> None:
    """Write the episode of the agent of that name as an animated GIF, half a second a step."""
    from PIL import Image

    images = [Image.fromarray(picture(frame.board, title=name)) for frame in episode]
    buffer = io.BytesIO()
    durations = [1200, *[500] * (len(images) - 2), 3000][: len(images)]
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    write_atomically(path, buffer.getvalue())
