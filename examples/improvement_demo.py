"""Train a small reasoner for about a minute, then check on it what the theory says about a latent step.

A step turns the reference policy pi_u (w = 0) into pi_c (w = 1); the loss of a cell is L(w) = -log pi_w(right token).
Proposition 4.1 of the paper: its slope dL/dw is minus the advantage margin of the right token. So a step helps where
the margin is positive, and is dead compute where it is zero.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor

from latent_rl.evaluation.diagnose import Diagnosis, diagnose
from latent_rl.evaluation.fixed_steps import unroll
from latent_rl.improvement import advantage_margin, product_policy
from latent_rl.reasoners.trm import TRM, TRMConfig
from latent_rl.tasks.base import first
from latent_rl.tasks.registry import make_task
from latent_rl.training.trainer import TrainConfig, train


@dataclass(frozen=True, kw_only=True)
class Args:
    """Proposition 4.1 on a reasoner of your own."""

    num_batches: int = 200
    """Batches of training."""
    width: int = 32
    """Width of the network."""
    num_puzzles: int = 200
    """Test puzzles."""
    steps: int = 12
    """Supervision steps to look at; it is trained for 6."""
    out: Path = Path("runs/improvement_demo")
    """Folder of the training and the plot; a finished training is not repeated."""


def measured_slopes(reference: Tensor, conditional: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """dL/dw of every cell at w = 1, float64 [B, L]: by autograd, and by central differences of L."""

    def loss(w: Tensor) -> Tensor:
        policy = product_policy(reference.double(), conditional.double(), w[..., None])
        return -policy.gather(-1, labels[..., None]).squeeze(-1).log()

    ones, h = torch.ones(labels.shape, dtype=torch.float64), 1e-4
    w = ones.clone().requires_grad_()
    (by_autograd,) = torch.autograd.grad(loss(w).sum(), w)
    return by_autograd, (loss(ones + h) - loss(ones - h)) / (2 * h)


def draw(path: Path, margins: Tensor, slopes: Tensor, diagnosis: Diagnosis) -> None:
    """Draw the slope of every cell against minus its margin, and the margin and the solved rate by step."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    cells, *by_step = figure.subplots(1, 3)
    cells.scatter(-margins.flatten(), slopes.flatten(), s=4, alpha=0.3)
    cells.axline((0, 0), slope=1, color="0.5", linewidth=0.8)
    cells.set(xlabel="- advantage margin", ylabel="dL/dw, central differences", title="every open cell and step")
    for panel, name in zip(by_step, ("margin", "solved_rate"), strict=True):
        values = [getattr(row, name) for row in diagnosis.steps]
        panel.plot(range(1, len(values) + 1), values, marker=".")
        panel.axvspan(diagnosis.enough_steps + 0.5, len(values) + 0.5, color="0.9", zorder=0)
        panel.set(xlabel="supervision step", ylabel=name.replace("_", " "), title="shaded: dead compute")
    by_step[0].axhline(0, color="0.5", linewidth=0.8)
    figure.savefig(path, dpi=130)


def main(args: Args) -> float:
    """Train, measure, print and draw; returns the largest difference between a slope and minus its margin."""
    task = make_task("sudoku4x4")
    torch.manual_seed(0)
    shape = TRMConfig(vocab_size=task.vocab_size, seq_len=task.seq_len, width=args.width)
    reasoner = train(TrainConfig(task=task.name, num_batches=args.num_batches), TRM(shape), args.out, resume=True)
    puzzles = first(task, "test", args.num_puzzles)
    is_open = ~task.is_given(puzzles.inputs)
    diagnosis = diagnose(reasoner, task, puzzles, args.steps)
    table = Table("step", "solved", "margin", "dL/dw", "numeric", "largest gap", "margin > 0")
    margins, slopes, gaps = [], [], []
    for row, (_, _, output) in zip(diagnosis.steps, unroll(reasoner, puzzles, args.steps), strict=True):
        logits = output.reference_logits.double(), output.conditional_logits.double()
        margin = advantage_margin(*logits, puzzles.labels)[is_open]
        slope, difference = (values[is_open] for values in measured_slopes(*logits, puzzles.labels))
        gap = (torch.stack([slope, difference]) + margin).abs().max().item()
        means = [row.solved_rate, *(values.mean().item() for values in (margin, slope, difference))]
        table.add_row(str(row.step), *map("{:.3f}".format, means), f"{gap:.0e}", f"{row.improved_share:.2f}")
        margins, slopes, gaps = [*margins, margin], [*slopes, difference], [*gaps, gap]
    Console().print(table, f"Advice: {diagnosis.advice()}")
    draw(args.out / "improvement_demo.png", torch.stack(margins), torch.stack(slopes), diagnosis)
    return max(gaps)


if __name__ == "__main__":
    print(f"largest gap between dL/dw and minus the margin: {main(tyro.cli(Args, description=__doc__)):.1e}")
