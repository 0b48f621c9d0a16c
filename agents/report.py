"""What people see of a comparison: a table, a plot, TensorBoard, and one puzzle solved step by step."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from latent_rl.agents.baselines import StepPolicy
from latent_rl.config import write_atomically
from latent_rl.envs.core import Core, State
from latent_rl.envs.observations import FEATURES
from latent_rl.types import Puzzles

Row = Mapping[str, Any]


def print_table(console: Console, title: str, rows: Sequence[Row]) -> None:
    """Print one line for each agent."""
    table = Table(title=title, title_justify="left")
    table.add_column("agent")
    for heading in ("solved", "95% interval", "forward passes", "steps", "return"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row["agent"],
            f"{row['solved_rate']:.3f}",
            f"{row['solved_low']:.3f} - {row['solved_high']:.3f}",
            f"{row['mean_passes']:.1f}",
            f"{row['mean_steps']:.1f}",
            f"{row['mean_return']:.3f}",
        )
    console.print(table)


def plot(path: Path, title: str, rows: Sequence[Row], learned: Sequence[str]) -> None:
    """Write a PNG: solved rate, with its interval, against mean forward passes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for row in rows:
        is_learned = row["agent"] in learned
        center, passes = row["solved_rate"], row["mean_passes"]
        axes.errorbar(
            passes,
            center,
            yerr=[[max(0.0, center - row["solved_low"])], [max(0.0, row["solved_high"] - center)]],
            fmt="*" if is_learned else "o",
            color="tab:red" if is_learned else "tab:gray" if row["agent"] in ("random", "oracle") else "tab:blue",
            markersize=14 if is_learned else 7,
            capsize=3,
        )
        axes.annotate(row["agent"], (passes, center), xytext=(8, 6), textcoords="offset points")
    axes.set(xlabel="mean forward passes per puzzle", ylabel="solved rate", title=title)
    axes.margins(x=0.12, y=0.12)
    axes.set_ylim(top=min(1.04, axes.get_ylim()[1]))
    axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    plt.close(figure)
    write_atomically(path, buffer.getvalue())


def log_to_tensorboard(folder: Path, rows: Sequence[Row], steps: Mapping[str, int]) -> None:
    """Write every agent's evaluation as a run of its own, under the same tags.

    Args:
        folder: holds one run for each agent.
        rows: the report.
        steps: an agent's training steps, the place of its point; 0 for those that do not train.
    """
    from torch.utils.tensorboard import SummaryWriter

    for row in rows:
        with SummaryWriter(str(folder / str(row["agent"]))) as writer:
            for tag in ("solved_rate", "mean_passes", "mean_steps", "mean_return"):
                writer.add_scalar(f"eval/{tag}", row[tag], steps.get(row["agent"], 0))


def board(core: Core, state: State, before: torch.Tensor | None) -> Text:
    """The current answer: givens bold, wrong cells red, cells that just changed underlined."""
    inputs, answer, labels = state.puzzles.inputs[0], state.prediction[0], state.puzzles.labels[0]
    given = core.task.is_given(state.puzzles.inputs)[0]
    text = Text()
    cell = 0
    for symbol in core.task.render(answer):
        style = ""
        if symbol.isdigit() or symbol == ".":
            wrong = not given[cell] and answer[cell] != labels[cell]
            changed = before is not None and answer[cell] != before[cell]
            style = "bold" if given[cell] else "red" if wrong and answer[cell] != inputs[cell] else "green"
            style += " underline" if changed else ""
            cell += 1
        text.append(symbol, style)
    return text


def show_episode(
    console: Console, core: Core, policy: StepPolicy, puzzles: Puzzles, keys: torch.Tensor, *, boards: int = 4
) -> None:
    """Run one episode on the first puzzle and print every decision and some of the boards.

    Args:
        console: where to print.
        core: the dynamics.
        policy: who decides.
        puzzles: one puzzle.
        keys: int64 [1], the episode's randomness.
        boards: about how many boards to draw.
    """
    state = core.begin(puzzles, keys)
    lines, drawn = [], [("puzzle", board(core, state, None))]
    least = FEATURES.index("least_confidence")
    before = state.prediction[0]
    while True:
        action = policy.act(core.observe(state).numpy(), state)
        transition = core.step(state, core.mode.decode(torch.as_tensor(action)))
        state = transition.state
        name = core.mode.actions[int(action[0])].name
        changed = int((state.prediction[0] != before).sum())
        lines.append(
            f"step {int(state.step[0]):3d}  {name:<12}  reward {float(transition.reward[0]):+.3f}  "
            f"least confidence {float(state.features[0, least]):.3f}  changed {changed:2d}"
        )
        drawn.append((f"after step {int(state.step[0])}", board(core, state, before)))
        before = state.prediction[0]
        if transition.terminated[0]:
            break
    console.print(f"[bold]One puzzle, step by step[/bold] (agent {policy.name}; green right, red wrong)")
    # The last entry is the halt, which shows nothing new.
    shown = drawn[:-1] if len(drawn) > 2 else drawn
    picks = sorted({round(i * (len(shown) - 1) / max(1, boards - 1)) for i in range(boards)})
    table = Table(box=None, padding=(0, 2, 0, 0))
    for i in picks:
        table.add_column(shown[i][0], no_wrap=True)
    table.add_row(*(shown[i][1] for i in picks))
    console.print(table)
    if len(lines) > 16:
        lines = [*lines[:8], f"... {len(lines) - 16} more ...", *lines[-8:]]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
    outcome = "[green]solved[/green]" if transition.solved[0] else "[red]not solved[/red]"
    console.print(f"{outcome} with {int(state.passes[0])} forward passes\n")
