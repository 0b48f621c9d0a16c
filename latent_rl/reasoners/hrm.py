"""HRM: two networks, one for the scratchpad and one for the answer, trained by a one-step gradient."""

from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor

from latent_rl.config import DEPTH, DERIVED, one_of
from latent_rl.reasoners.cells import LAYERS, CellConfig, CellNetwork, make_blocks, run_blocks, update_latent
from latent_rl.reasoners.engine import Rows
from latent_rl.reasoners.layers import BLOCKS
from latent_rl.reasoners.network import RecursionConfig


@final
@dataclass(frozen=True, kw_only=True)
class HRMConfig(RecursionConfig, CellConfig):
    """Shape of an HRM. Defaults: its schedule (T=2, n=2, 16 steps) and its Q-halting."""

    num_answer_layers: Annotated[int, LAYERS] = 1
    """Blocks in the answer's network; `num_layers` counts those of the latent's."""
    mixer: Annotated[str, one_of(BLOCKS)] = "attention"
    """How cells see each other: "attention", "mlp" or "convolution"; see `CellConfig`."""
    num_cycles: Annotated[int, DEPTH] = 2
    """T; all but the last run without gradient."""
    num_supervision_steps: Annotated[int, DEPTH] = 16
    """N_sup: how many steps it is trained for."""
    feedback: bool = False
    """Embed the previous step's prediction and add it to the input embedding."""
    continue_head: Annotated[bool, DERIVED] = True
    """Give the halting head a second logit, the value of another step (Q-halting)."""
    injection_first: bool = False
    """Add up z_L + (z_H + x), as the public code does, instead of (z_L + z_H) + x: the same but for rounding."""

    @property
    def num_networks(self) -> int:
        """Networks with weights of their own: the latent's and the answer's."""
        return 2

    @property
    def num_blocks(self) -> int:
        """Blocks with weights of their own, in both networks."""
        return self.num_layers + self.num_answer_layers

    @property
    def blocks_per_step(self) -> int:
        """Blocks applied one after the other in one supervision step."""
        return self.num_cycles * (self.num_latent_updates * self.num_layers + self.num_answer_layers)


@final
class HRM(CellNetwork):
    """Hierarchical reasoning model.

    z_L <- f_L(z_L + z_H + x) n times, then z_H <- f_H(z_H + z_L); T such recursions are one supervision step, of
    which only the very last update of z_L and of z_H carry gradient.

    Source: paper, "Objects" and the HRM paragraph of "TRM as the baseline".

    Args:
        config: the shape.
        compute_dtype: see `Network`.
    """

    config: HRMConfig

    def __init__(self, config: HRMConfig, compute_dtype: torch.dtype | None = None) -> None:
        super().__init__(config, compute_dtype, feedback=config.feedback, continue_head=config.continue_head)
        self.answer_blocks = make_blocks(config, config.num_answer_layers)

    def embed(self, rows: Rows) -> Tensor:
        """Inputs, plus the last prediction with feedback; see `Network.embed`."""
        prediction = rows.carry.prediction if self.config.feedback else None
        return self.embedded(rows.inputs, rows.puzzle_ids, prediction=prediction)

    def recurse(self, x: Tensor, answer: Tensor, latent: Tensor, num_latent_updates: int) -> tuple[Tensor, Tensor]:
        """Update the latent n times and then the answer, each by its own network; see `Network.recurse`."""
        injection_first = self.config.injection_first
        with torch.no_grad():
            for _ in range(num_latent_updates - 1):
                latent = update_latent(self.blocks, x, answer, latent, injection_first=injection_first)
        latent = update_latent(self.blocks, x, answer, latent, injection_first=injection_first)
        return run_blocks(self.answer_blocks, answer + latent), latent
