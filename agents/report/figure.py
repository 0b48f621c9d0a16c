"""A comparison as one figure: what each agent solves, and what it spends."""

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

from latent_rl.agents.baselines import knows_labels
from latent_rl.agents.report.rows import ReportRow
from latent_rl.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(title: str, rows: Sequence[ReportRow], learned: Container[str]) -> "Figure":
    """A matplotlib figure: solved rate, with its interval, against mean forward passes; stars are learned.

    Args:
        title: of the figure.
        rows: one for each agent.
        learned: names of those that were trained.
    """
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    for i, row in enumerate(rows):
        is_learned = row.agent in learned
        center = row.solved_rate
        axes.errorbar(
            row.mean_passes,
            center,
            yerr=[[max(0.0, center - row.solved_low)], [max(0.0, row.solved_high - center)]],
            fmt="*" if is_learned else "x" if knows_labels(row.agent) else "o",
            color=f"C{i % 10}",
            markersize=15 if is_learned else 7,
            zorder=3 if is_learned else 2,
            capsize=3,
            label=f"{row.agent}: {center:.3f} with {row.mean_passes:.1f} passes",
        )
    # An agent that solves hardly anything must not press the others together.
    worth_seeing = [row.solved_low for row in rows if row.solved_rate > 0.3] or [0.0]
    axes.set(xscale="log", xlabel="mean forward passes per puzzle", ylabel="solved rate", title=title)
    axes.set_ylim(max(-0.02, min(worth_seeing) - 0.04), 1.02)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:g}"[0] in "235" else "")
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8)
    return figure
