"""One puzzle being solved, step by step: in the terminal, as images, as a GIF."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from latent_rl.agents.baselines import StepPolicy
from latent_rl.agents.evaluate import Outcome
from latent_rl.envs.core import Core
from latent_rl.envs.observations import FEATURES
from latent_rl.envs.randomness import episode_keys
from latent_rl.envs.state import State
from latent_rl.files import write_atomically
from latent_rl.types import Puzzles, matches

_LEAST = FEATURES.index("least_confidence")


@dataclass(frozen=True)
class Frame:
    """The state of one episode after one action.

    Attributes:
        action: its name; "puzzle" for the start.
        state: of one row, after it.
        reward: of the step.
        changed: bool [L], cells whose answer the step changed.
        solved: the episode ended here with a right submission.
    """

    action: str
    state: State
    reward: float
    changed: Tensor
    solved: bool

    def marks(self, core: Core) -> list[tuple[str, str]]:
        """Each cell's symbol and kind: "given", "committed", "right", "wrong" or "blank"."""
        state = self.state
        given, labels = core.task.is_given(state.puzzles.inputs)[0], state.puzzles.labels[0]
        committed = core.task.is_given(state.view.invert(state.inputs))[0]
        symbols = core.task.format(state.prediction[0])
        right = matches(state.prediction[0], labels)
        started = int(state.step[0]) > 0
        kinds = (
            "given" if given[c] else "blank" if not started
            else "committed" if committed[c] and right[c] else "right" if right[c] else "wrong"
            for c in range(len(labels))
        )  # fmt: skip
        return list(zip(symbols, kinds, strict=True))


def frames(core: Core, policy: StepPolicy, puzzles: Puzzles, keys: Tensor) -> Iterator[Frame]:
    """Run one episode on one puzzle."""
    state = core.begin(puzzles, keys)
    yield Frame("puzzle", state, 0.0, torch.zeros(core.task.seq_len, dtype=torch.bool), False)
    ended = False
    while not ended:
        action = policy.act(core.observe(state).numpy(), state)
        before = state.prediction[0]
        transition = core.step(state, core.mode.decode(torch.as_tensor(action)))
        state, ended = transition.state, bool(transition.terminated[0])
        name = core.mode.actions[int(action[0])].name
        changed = state.prediction[0] != before
        yield Frame(name, state, float(transition.reward[0]), changed, bool(transition.solved[0]))


def telling_puzzle(outcome: Outcome, test: Puzzles, seed: int = 0) -> tuple[Puzzles, Tensor]:
    """A solved puzzle of middling length, one with a restart if there is any; with its episode's key."""
    wanted = outcome.solved & (outcome.restarts > 0)
    candidates = np.flatnonzero(wanted if wanted.any() else outcome.solved)
    order = candidates[np.argsort(outcome.steps[candidates], kind="stable")]
    row = int(order[len(order) // 2]) if len(order) else 0
    return test.map(lambda tensor: tensor[row : row + 1]), episode_keys(torch.tensor([row]), seed)


_STYLES = {"given": "bold", "committed": "bold cyan", "right": "green", "wrong": "red", "blank": ""}


def _terminal_board(core: Core, frame: Frame) -> Text:
    text, cell, marks = Text(), 0, frame.marks(core)
    for symbol in core.task.render(frame.state.prediction[0]):
        style = ""
        if cell < len(marks) and symbol == marks[cell][0]:
            style = _STYLES[marks[cell][1]] + (" underline" if frame.changed[cell] else "")
            cell += 1
        text.append(symbol, style)
    return text


def show_episode(console: Console, core: Core, name: str, episode: list[Frame]) -> None:
    """Print every decision, and as many of the boards (four at the most) as fit beside each other.

    Args:
        console: where to print.
        core: the dynamics.
        name: of the agent.
        episode: from `frames`.
    """
    width = max(map(len, core.task.render(episode[0].state.prediction[0]).splitlines())) + 2
    boards = min(4, max(2, console.width // width))
    console.print(f"[bold]One puzzle, step by step[/bold] (agent {name}; green right, red wrong, underlined changed)")
    # The last frame is the halt, which shows nothing new.
    shown = episode[:-1] if len(episode) > 2 else episode
    picks = sorted({round(i * (len(shown) - 1) / max(1, boards - 1)) for i in range(boards)})
    table = Table(box=None, padding=(0, 2, 0, 0))
    for i in picks:
        table.add_column("puzzle" if i == 0 else f"after step {int(shown[i].state.step[0])}", no_wrap=True)
    table.add_row(*(_terminal_board(core, shown[i]) for i in picks))
    console.print(table)
    lines = [
        f"step {int(frame.state.step[0]):3d}  {frame.action:<13}  reward {frame.reward:+.3f}  "
        f"least confidence {float(frame.state.features[0, _LEAST]):.3f}  changed {int(frame.changed.sum()):2d}"
        for frame in episode[1:]
    ]
    if len(lines) > 16:
        lines = [*lines[:8], f"... {len(lines) - 16} more ...", *lines[-8:]]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
    last = episode[-1]
    outcome = "[green]solved[/green]" if last.solved else "[red]not solved[/red]"
    console.print(f"{outcome} with {int(last.state.passes[0])} forward passes\n")


_COLORS = {"given": "#1a1a1a", "committed": "#0b7fab", "right": "#2a8a2a", "wrong": "#c22f2f", "blank": "#1a1a1a"}


def board_image(core: Core, frame: Frame, title: str) -> np.ndarray:
    """A picture of the board, uint8 [H, W, 3]: changed cells shaded, right answers green, wrong ones red."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    side = round(core.task.seq_len**0.5)
    figure, axes = plt.subplots(figsize=(3.2, 3.5), layout="constrained", dpi=100)
    for cell, (symbol, kind) in enumerate(frame.marks(core)):
        row, column = divmod(cell, side)
        shade = "#fff3c4" if frame.changed[cell] else "#eeeeee" if kind == "given" else "white"
        axes.add_patch(plt.Rectangle((column, row), 1, 1, facecolor=shade, edgecolor="#bbbbbb", linewidth=0.6))
        weight: Any = "bold" if kind in ("given", "committed") else "normal"
        axes.text(column + 0.5, row + 0.54, "" if kind == "blank" else symbol, ha="center", va="center",
                  color=_COLORS[kind], weight=weight, size=110 / side)  # fmt: skip
    # Only some tasks have boxes; on the others these are the border.
    for line in range(0, side + 1, getattr(core.task, "box_rows", side)):
        axes.plot((0, side), (line, line), color="#444444", linewidth=1.4)
    for line in range(0, side + 1, getattr(core.task, "box_columns", side)):
        axes.plot((line, line), (0, side), color="#444444", linewidth=1.4)
    axes.set(xlim=(-0.03, side + 0.03), ylim=(side + 0.03, -0.03), aspect="equal")
    axes.set_title(title, size=9)
    axes.axis("off")
    figure.canvas.draw()
    image = np.asarray(figure.canvas.buffer_rgba())[:, :, :3].copy()  # type: ignore[attr-defined]
    plt.close(figure)
    return image


def write_gif(path: Path, core: Core, name: str, episode: list[Frame]) -> None:
    """Write the episode as an animated GIF, half a second a step."""
    from PIL import Image

    images = [
        Image.fromarray(board_image(core, frame, f"{name}: step {int(frame.state.step[0])}, {frame.action}"))
        for frame in episode
    ]
    buffer = io.BytesIO()
    durations = [1200, *[500] * (len(images) - 2), 3000][: len(images)]
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    write_atomically(path, buffer.getvalue())
