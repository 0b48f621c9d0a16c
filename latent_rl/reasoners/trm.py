"""TRM: one tiny network that updates its scratchpad n times, then its answer, T times per supervision step."""

from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor
from torch.nn import functional as F

from latent_rl.config import DERIVED, one_of
from latent_rl.errors import UnknownNameError
from latent_rl.reasoners.cells import CellConfig, CellNetwork, run_blocks, update_latent
from latent_rl.reasoners.engine import Rows
from latent_rl.reasoners.network import RecursionConfig

STEP_INDICES = ("integer", "continuous")


@final
@dataclass(frozen=True, kw_only=True)
class TRMConfig(RecursionConfig, CellConfig):
    """Shape of a TRM. Defaults: the DIS schedule (T=1, n=2, 6 steps) on the small mixer."""

    step_embedding: bool = True
    """Embed the step index and add it to the input embedding; steps beyond N_sup share the last one's."""
    step_index: Annotated[str, one_of(STEP_INDICES)] = "integer"
    """"integer" (a vector of its own for every step) or "continuous" (time from 0 to 1, times one vector)."""
    feedback: bool = False
    """Embed the previous step's prediction and add it to the input embedding."""
    input_feedback: bool = False
    """From the second step on, read the previous step's prediction in place of the inputs."""
    continue_head: Annotated[bool, DERIVED] = False
    """Give the halting head a second logit, the value of another step (Q-halting)."""
    injection_first: bool = False
    """Add up z_L + (z_H + x), as the public code does, instead of (z_L + z_H) + x: the same but for rounding."""

    def __post_init__(self) -> None:
        """Check types, ranges and names."""
        super().__post_init__()
        if self.step_index not in STEP_INDICES:
            raise UnknownNameError("step_index", self.step_index, STEP_INDICES)

    @property
    def num_networks(self) -> int:
        """Networks with weights of their own."""
        return 1

    @property
    def num_blocks(self) -> int:
        """Blocks with weights of their own."""
        return self.num_layers

    @property
    def blocks_per_step(self) -> int:
        """Blocks applied one after the other in one supervision step."""
        return self.passes_per_step * self.num_layers


@final
class TRM(CellNetwork):
    """Tiny recursive model with an MLP-mixer or attention, an integer step index and a halting head.

    z_L <- f(z_L + z_H + x) n times, then z_H <- f(z_H + z_L): one recursion; T recursions: one supervision step,
    of which only the last carries gradient.

    Source: paper, "Objects" and "TRM as the baseline".

    Args:
        config: the shape.
        compute_dtype: see `Network`.
    """

    config: TRMConfig

    def __init__(self, config: TRMConfig, compute_dtype: torch.dtype | None = None) -> None:
        num_step_vectors = config.num_supervision_steps if config.step_index == "integer" else 1
        super().__init__(
            config,
            compute_dtype,
            num_step_vectors=num_step_vectors if config.step_embedding else 0,
            feedback=config.feedback,
            continue_head=config.continue_head,
        )

    def embed(self, rows: Rows) -> Tensor:
        """Inputs, or the last prediction in their place; plus step and last prediction. See `Network.embed`."""
        tokens, prediction = rows.inputs, rows.carry.prediction
        index = torch.as_tensor(rows.step_index).to(tokens.device)
        if self.config.input_feedback:
            tokens = torch.where((index > 0)[..., None], prediction, tokens)
        return self.embedded(
            tokens,
            rows.puzzle_ids,
            step=self._embed_index(index) if self.config.step_embedding else None,
            prediction=prediction if self.config.feedback else None,
        )

    def _embed_index(self, index: Tensor) -> Tensor:
        last = self.num_supervision_steps - 1
        index = index.clamp(max=last)
        if self.config.step_index == "integer":
            return F.embedding(index, self.embed_step)
        return index[..., None] / max(last, 1) * self.embed_step[0]

    def recurse(self, x: Tensor, answer: Tensor, latent: Tensor, num_latent_updates: int) -> tuple[Tensor, Tensor]:
        """Update the latent n times and then the answer, by the same network; see `Network.recurse`."""
        for _ in range(num_latent_updates):
            latent = update_latent(self.blocks, x, answer, latent, injection_first=self.config.injection_first)
        return run_blocks(self.blocks, answer + latent), latent
