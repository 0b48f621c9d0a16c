"""Optimizers and schedules of the trainer: torch's own, grouped by what kind of weight they move, and sign-SGD."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

BETAS = (0.9, 0.95)
PUZZLES = "embed_puzzles"
"""Name of the puzzle embeddings, which have an optimizer of their own."""


class SignSGD(Optimizer):
    """Sign-SGD with decoupled weight decay on the rows that a batch has looked up; all others stay as they are.

    row <- (1 - lr weight_decay) row - lr sign(gradient). A row is in the batch rarely: Adam would move it by what it
    remembers of gradients long ago, and a plain gradient would shrink with the size of the batch.

    Source: paper, "TRM as the baseline".

    Args:
        tables: parameters [N, D] whose gradients are sparse in their rows.
        lr: how far every entry of a row moves.
        weight_decay: of the rows in the batch.
    """

    def __init__(self, tables: list[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(tables, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move the rows; the closure is not called."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    gradient: Tensor = table.grad.coalesce()
                    rows = gradient.indices()[0]
                    kept = table[rows] * (1 - group["lr"] * group["weight_decay"])
                    table[rows] = kept - group["lr"] * gradient.values().sign()


def _dense(reasoner: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """All weights but the puzzle embeddings, with their names."""
    return [(name, parameter) for name, parameter in reasoner.named_parameters() if name != PUZZLES]


def puzzle_optimizers(reasoner: nn.Module, lr: float, weight_decay: float) -> list[Optimizer]:
    """Sign-SGD on the puzzle embeddings; nothing without any."""
    tables = [parameter for name, parameter in reasoner.named_parameters() if name == PUZZLES]
    return [SignSGD(tables, lr, weight_decay)] if tables else []


def adamw(reasoner: nn.Module, lr: float, muon_lr: float, weight_decay: float) -> list[Optimizer]:
    """Fused AdamW on every weight."""
    weights = [parameter for _, parameter in _dense(reasoner)]
    return [AdamW(weights, lr=lr, betas=BETAS, weight_decay=weight_decay, fused=True)]


def muon(reasoner: nn.Module, lr: float, muon_lr: float, weight_decay: float) -> list[Optimizer]:
    """Muon on the matrices inside the blocks, fused AdamW on the rest; AdamW alone if there are no blocks."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in _dense(reasoner):
        (matrices if "blocks." in name and parameter.ndim == 2 else rest).append(parameter)
    if not matrices:
        return adamw(reasoner, lr, muon_lr, weight_decay)
    return [
        torch.optim.Muon(matrices, lr=muon_lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
        AdamW(rest, lr=lr, betas=BETAS, weight_decay=weight_decay, fused=True),
    ]


OPTIMIZERS: dict[str, Callable[[nn.Module, float, float, float], list[Optimizer]]] = {
    "muon": muon,
    "adamw": adamw,
}
"""What moves every weight but the puzzle embeddings."""


def warmup_cosine(step: int, total_steps: int, warmup_steps: int) -> float:
    """Learning-rate factor: linear from 0 to 1 over the warm-up, then half a cosine down to 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def scheduled(optimizers: list[Optimizer], factor: Callable[[int], float], first_step: int) -> list[LRScheduler]:
    """Schedules that scale every group's present, peak, learning rate by a factor of the step.

    Args:
        optimizers: what they act on, from now on.
        factor: of the step's number, counted from 0; see `warmup_cosine`.
        first_step: the number of the step that comes next, in a run that goes on.
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]  # where torch looks for the peak if a schedule does not begin at step 0
    return [LambdaLR(optimizer, factor, last_epoch=first_step - 1) for optimizer in optimizers]


def update_weights(optimizers: list[Optimizer], schedules: list[LRScheduler]) -> None:
    """One step along the gradients, at the learning rates of this step; then those of the next one are set."""
    for optimizer in optimizers:
        optimizer.step()
    for schedule in schedules:
        schedule.step()
