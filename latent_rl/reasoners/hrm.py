"""HRM: a TRM with two networks, one for the scratchpad and one for the answer, trained by a one-step gradient."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from latent_rl.config import DEPTH
from latent_rl.reasoners.trm import LAYERS, TRM, TRMConfig, make_blocks, run_blocks


@dataclass(frozen=True, kw_only=True)
class HRMConfig(TRMConfig):
    """Shape of an HRM. Defaults: its schedule (T=2, n=2, 16 steps) and its Q-halting."""

    num_answer_layers: Annotated[int, LAYERS] = 1
    """Blocks in the answer's network; `num_layers` counts those of the latent's."""
    mixer: str = "attention"
    """How cells see each other."""
    num_cycles: Annotated[int, DEPTH] = 2
    """T; all but the last run without gradient."""
    num_supervision_steps: Annotated[int, DEPTH] = 16
    """N_sup: how many steps it is trained for."""
    step_embedding: bool = False
    """Embed the integer step index and add it to the input embedding."""
    continue_head: bool = True
    """Give the halting head a second logit, the value of another step (Q-halting)."""

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


class HRM(TRM):
    """Hierarchical reasoning model.

    z_L <- f_L(z_L + z_H + x) n times, then z_H <- f_H(z_H + z_L); T such recursions are one supervision step, of
    which only the very last update of z_L and of z_H carry gradient.

    Source: paper, "Objects" and the HRM paragraph of "TRM as the baseline".

    Args:
        config: the shape.
        compute_dtype: see `TRM`.
    """

    def __init__(self, config: HRMConfig, compute_dtype: torch.dtype | None = None) -> None:
        super().__init__(config, compute_dtype)
        self.answer_blocks = make_blocks(config, config.num_answer_layers)

    def _recurse(self, x: Tensor, answer: Tensor, latent: Tensor, updates: int) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            for _ in range(updates - 1):
                latent = self._update_latent(x, answer, latent)
        return super()._recurse(x, answer, latent, 1)

    def _update_answer(self, states: Tensor) -> Tensor:
        return run_blocks(self.answer_blocks, states)
