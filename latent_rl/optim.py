"""Optimizers and schedule of the trainer: torch's own, grouped by what kind of weight they move."""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

BETAS = (0.9, 0.95)


def adamw(reasoner: nn.Module, lr: float, muon_lr: float, weight_decay: float) -> list[Optimizer]:
    """Fused AdamW on every weight."""
    return [AdamW(reasoner.parameters(), lr=lr, betas=BETAS, weight_decay=weight_decay, fused=True)]


def muon(reasoner: nn.Module, lr: float, muon_lr: float, weight_decay: float) -> list[Optimizer]:
    """Muon on the matrices inside the blocks, fused AdamW on the rest; AdamW alone if there are no blocks."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in reasoner.named_parameters():
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


def warmup_cosine(step: int, total_steps: int, warmup_steps: int) -> float:
    """Learning-rate factor: linear from 0 to 1 over the warm-up, then half a cosine down to 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
