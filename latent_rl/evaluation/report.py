"""What people see of a diagnosis: tables, a plot, JSON, TensorBoard."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from latent_rl.evaluation.diagnose import Diagnosis
from latent_rl.figures import new_figure, pixels, png
from latent_rl.storage.atomic import write_atomically, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MEASURES = (
    ("solved_rate", "solved"), ("exact_accuracy", "exact"), ("margin", "margin"),
    ("margin_answer_tokens", "answer tokens"), ("improved_share", "margin > 0"), ("kl", "KL"),
    ("answer_drift", "answer drift"), ("latent_drift", "latent drift"),
)  # fmt: skip
"""What people see of a `StepRow`, and its headings."""


def print_diagnosis(console: Console, title: str, diagnosis: Diagnosis) -> None:
    """Print the steps, the guidance sweep, the summary, and the advice."""
    headings = (heading for _, heading in _MEASURES)
    table = Table("step", "passes", *headings, title=title, title_justify="left")
    for row in diagnosis.steps:
        numbers = (f"{getattr(row, name):.3f}" for name, _ in _MEASURES)
        trained = " *" if row.step == diagnosis.trained_steps else ""
        table.add_row(f"{row.step}{trained}", str(row.passes), *numbers)
    console.print(table)
    console.print("margin: advantage margin in nats, over open cells; * the last step it was trained for", style="dim")
    sweep = Table("w", "solved, last readout", "solved, fed back", title="guidance", title_justify="left")
    for tried in diagnosis.sweep:
        rates = (tried.readout_solved_rate, tried.fed_back_solved_rate)
        sweep.add_row(f"{tried.guidance_scale:.2f}", *(f"{rate:.3f}" for rate in rates))
    console.print(sweep)
    facts = diagnosis.summary()
    console.print(
        f"best: {facts['best_solved_rate']:.3f} at step {facts['best_step']};"
        f" {facts['enough_steps']} steps are as good within noise; dead compute: {facts['dead_share']:.0%} of"
        f" {facts['num_steps']} steps for all puzzles, {facts['dead_share_per_puzzle']:.0%} puzzle by puzzle;"
        f" an oracle solves {facts['oracle_solved_rate']:.3f} with {facts['oracle_passes']:.1f} passes"
    )
    console.print(f"[bold]Advice:[/bold] {diagnosis.advice()}")


def write_diagnosis(folder: Path, title: str, diagnosis: Diagnosis) -> None:
    """Write `diagnosis.json`, `diagnosis.png` and a TensorBoard run into a folder."""
    from torch.utils.tensorboard import summary

    from latent_rl.storage.event_log import EventLog

    write_json(folder / "diagnosis.json", diagnosis.facts() | {"advice": diagnosis.advice()})
    figure = draw_diagnosis(title, diagnosis)
    write_atomically(folder / "diagnosis.png", png(figure, dpi=130))
    log = EventLog(folder / "tensorboard")
    for row in diagnosis.steps:
        log.scalars({f"diagnose/{name}": getattr(row, name) for name, _ in _MEASURES}, row.step)
    log.add(summary.image("diagnose", pixels(figure), dataformats="HWC"))
    log.add(summary.text("advice", diagnosis.advice()))


def draw_diagnosis(title: str, diagnosis: Diagnosis) -> "Figure":
    """A figure of three panels by step: solved rate, advantage margin, drift; dead steps are shaded."""
    steps = [row.step for row in diagnosis.steps]
    figure = new_figure(12, 3.6)
    axes = figure.subplots(1, 3)
    panels = (
        ("solved rate", ("solved_rate", "token_accuracy")),
        ("advantage margin (nats)", ("margin", "margin_answer_tokens")),
        ("relative change", ("answer_drift", "latent_drift")),
    )
    for panel, (label, names) in zip(axes, panels, strict=True):
        for name in names:
            panel.plot(steps, [getattr(row, name) for row in diagnosis.steps], marker=".", label=name.replace("_", " "))
        panel.axvspan(diagnosis.enough_steps + 0.5, steps[-1] + 0.5, color="0.9", zorder=0)
        panel.set(xlabel="supervision step", ylabel=label)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    figure.suptitle(f"{title} (shaded: dead compute)", fontsize=10)
    return figure
