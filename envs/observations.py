"""Observations: what an agent sees of a step. Nothing here may depend on the label.

To add a feature, add its name to `STEP_FEATURES` and its value to `step_features`; one that needs the history goes into
`KEPT_FEATURES` and `Core._keep`. Other views of the state are entries of `OBSERVATIONS`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from latent_rl.envs.state import State
from latent_rl.improvement import kl_divergence, probabilities, relative_change
from latent_rl.tasks.base import Task
from latent_rl.types import Carry, ReasonerOutput

KEPT_FEATURES = (
    "step",  # supervision steps done / horizon
    "age",  # steps since the carry was fresh / 32, at most 4
    "restarts",  # restarts so far / 8, at most 4
    "changed_share",  # share of cells whose answer changed in the last step
    "best_confidence",  # least confidence of the best snapshot so far
    "agreement",  # share of cells on which answer and best snapshot agree
)
"""Features that need the episode's history; `core.py` keeps it."""
STEP_FEATURES = (
    "given_share",  # share of cells that the puzzle gives
    "committed_share",  # share of cells committed since the last restart
    "mean_confidence",  # mean top probability of the blank cells
    "least_confidence",  # the least top probability
    "doubt",  # -log10(1 - least_confidence) / 4: tells .9 from .99 from .999
    "low_confidence",  # 10%-quantile of the top probabilities
    "mean_entropy",  # of the blank cells' distributions, in units of log V
    "max_entropy",
    "sure_share",  # share of blank cells with a top probability above .99
    "log_kl",  # log10 of the mean KL(pi_c || pi_u) of the last step, scaled
    "answer_drift",  # relative norm of the last change of the answer state
    "latent_drift",  # relative norm of the last change of the latent state
    "halt_probability",  # the reasoner's halting head
)
"""Features of the last supervision step alone."""
FEATURES = (*KEPT_FEATURES, *STEP_FEATURES)
SURE = 0.99
OBSERVATION_BOUND = 10.0
"""Observations are clipped here; the features stay far below it."""


@dataclass(frozen=True)
class StepView:
    """What one supervision step shows of itself, label-free; every row is one episode.

    Attributes:
        given: bool [B, L], the cells that are given or committed.
        log_probs: float32 [B, L, V], of the constrained answer.
        output: of the step, in the same view.
        before: the carry before the step.
        after: the carry after it.
    """

    given: Tensor
    log_probs: Tensor
    output: ReasonerOutput
    before: Carry
    after: Carry


def cell_confidence(log_probs: Tensor, given: Tensor) -> Tensor:
    """Top probability of every cell, 1 where given: float32 [B, L]."""
    return log_probs.amax(-1).exp().masked_fill(given, 1.0)


def step_features(view: StepView, confidence: Tensor) -> dict[str, Tensor]:
    """The features that need the step's tensors, by name, each float32 [B]; the rest is the core's bookkeeping.

    Args:
        view: the step.
        confidence: float32 [B, L], from `cell_confidence`.
    """
    blank = ~view.given
    count = blank.sum(1).clamp(min=1)
    least = confidence.amin(1)
    lowest = confidence.topk(confidence.shape[1] // 10 + 1, largest=False).values
    low = lowest.gather(1, (count // 10)[:, None]).squeeze(1)
    entropy = -(probabilities(view.log_probs) * view.log_probs).sum(-1) / math.log(view.log_probs.shape[-1])
    entropy = entropy.masked_fill(view.given, 0.0)
    kl = kl_divergence(view.output.conditional_logits, view.output.reference_logits).mean(1)
    return {
        "mean_confidence": (confidence * blank).sum(1) / count,
        "least_confidence": least,
        "doubt": -(1 - least).clamp(min=1e-6).log10() / 4,
        "low_confidence": low,
        "mean_entropy": entropy.sum(1) / count,
        "max_entropy": entropy.amax(1),
        "sure_share": ((confidence > SURE) & blank).sum(1) / count,
        "log_kl": (kl.clamp(min=1e-6).log10() + 3) / 3,
        "answer_drift": relative_change(view.before.answer, view.after.answer),
        "latent_drift": relative_change(view.before.latent, view.after.latent),
        "halt_probability": view.output.halt_logit.sigmoid(),
    }


def pooled_states(carry: Carry) -> Tensor:
    """Mean- and max-pooled answer and latent vectors: float32 [B, 4D]."""
    answer, latent = carry.answer.float(), carry.latent.float()
    return torch.cat([answer.mean(1), answer.amax(1), latent.mean(1), latent.amax(1)], dim=1)


def features(task: Task, state: State) -> Tensor:
    """The named features of `FEATURES`."""
    return state.features


def latent(task: Task, state: State) -> Tensor:
    """The features, and mean- and max-pooled answer and latent vectors."""
    return torch.cat([state.features, pooled_states(state.carry).to(state.features.device)], dim=1)


def verifier(task: Task, state: State) -> Tensor:
    """The features, the share of the task's constraints that the answer satisfies, and whether all are."""
    share = task.satisfied_share(state.puzzles.inputs, state.prediction)
    return torch.cat([state.features, torch.stack([share, (share == 1).float()], dim=1)], dim=1)


OBSERVATIONS: dict[str, Callable[[Task, State], Tensor]] = {
    "features": features,
    "latent": latent,
    "verifier": verifier,
}
"""What agents see, float32 [B, F], by name."""
