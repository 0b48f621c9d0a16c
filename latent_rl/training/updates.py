"""A batch becomes updates of the weights: an optimizer step after each supervised step, and the moving average."""

import math
from collections.abc import Iterator

import torch

from latent_rl.errors import LatentRLError
from latent_rl.training import parallel
from latent_rl.training.objectives import Supervised
from latent_rl.training.optim import update_weights
from latent_rl.training.state import TrainingState


class DivergedError(LatentRLError, ArithmeticError):
    """The loss, or a weight, is not finite."""


def train_batch(state: TrainingState, steps: Iterator[Supervised]) -> dict[str, float]:
    """Follow the loss of every supervised step by one optimizer step.

    Returns:
        Metrics, mostly of the last step.

    Raises:
        DivergedError: a loss is not finite.
    """
    losses, finished = [], []
    for step in steps:
        loss = state.source.objective.loss(step)
        for optimizer in state.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parallel.average_gradients(state.reasoner)
        update_weights(state.optimizers, state.schedules)
        state.average.update_parameters(state.reasoner)
        losses.append(loss.detach())
        finished.append(step.finished)
    losses = parallel.mean(torch.stack(losses)).tolist()
    if not all(map(math.isfinite, losses)):
        raise DivergedError(f"the loss must stay finite; got {losses}.")
    with torch.no_grad():
        metrics = state.source.objective.metrics(step)
    means = parallel.mean(torch.stack(list(metrics.values()))).tolist()
    ages = parallel.gather(torch.cat(finished))
    return {
        "train/loss": sum(losses) / len(losses),
        **dict(zip(metrics, means, strict=True)),
        "train/mean_steps": ages.float().mean().item(),
        "train/examples": len(ages),
    }
