"""A network without recursion: one pass through blocks that each have weights of their own."""

from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor

from latent_rl.config import DEPTH
from latent_rl.reasoners.cells import CellConfig, CellNetwork, run_blocks
from latent_rl.reasoners.engine import Rows
from latent_rl.reasoners.hrm import HRMConfig
from latent_rl.reasoners.trm import TRMConfig

SHARED = (
    "vocab_size", "seq_len", "width", "mixer", "num_heads", "expansion", "positions", "num_puzzle_ids", "puzzle_width",
    "num_puzzle_positions",
)  # fmt: skip
"""Fields that mean the same to a network with recursion and to one without."""


@final
@dataclass(frozen=True, kw_only=True)
class FeedForwardConfig(CellConfig):
    """Shape of a network without recursion."""

    num_passes: Annotated[int, DEPTH] = 1
    """Forward passes that the network counts as: those of the recursive reasoner that it is compared with."""

    @property
    def num_cycles(self) -> int:
        """1: there is no recursion."""
        return 1

    @property
    def num_latent_updates(self) -> int:
        """1: there is no recursion."""
        return 1

    @property
    def num_supervision_steps(self) -> int:
        """1: one step gives the answer."""
        return 1

    def passes(self, num_latent_updates: int) -> int:
        """Those of the reasoner that it is compared with, whatever is asked for; see `NetworkConfig.passes`."""
        return self.num_passes


@final
class FeedForward(CellNetwork):
    """A TRM's embedding, readout and halting head around a plain stack of `num_layers` blocks.

    z_H <- f_m(... f_2(f_1(x))): the answer depends on the inputs alone, so that every step computes the same one anew
    and later steps add nothing. It is trained for one. There are no latent updates whose number could be changed.

    Source: paper, "Claims with numbers": the non-recursive network that a looped one stays behind.

    Args:
        config: the shape.
        compute_dtype: see `Network`.
    """

    config: FeedForwardConfig

    def __init__(self, config: FeedForwardConfig, compute_dtype: torch.dtype | None = None) -> None:
        super().__init__(config, compute_dtype)

    def embed(self, rows: Rows) -> Tensor:
        """Inputs alone; see `Network.embed`."""
        return self.embedded(rows.inputs, rows.puzzle_ids)

    def recurse(self, x: Tensor, answer: Tensor, latent: Tensor, num_latent_updates: int) -> tuple[Tensor, Tensor]:
        """The whole network, once; see `Network.recurse`."""
        return run_blocks(self.blocks, x), latent


def match_depth(config: TRMConfig | HRMConfig) -> FeedForwardConfig:
    """The network without recursion that applies as many blocks, one after the other, as the recursive one does in
    all its supervision steps, and counts as as many forward passes.
    """
    steps = config.num_supervision_steps
    return _like(config, steps * config.blocks_per_step, steps * config.passes_per_step)


def match_parameters(config: TRMConfig | HRMConfig) -> FeedForwardConfig:
    """The network without recursion that has as many blocks, and so as many weights, as the recursive one.

    Only embeddings that no one-step network needs (of steps, of predictions) and a continue head are left out.
    """
    return _like(config, config.num_blocks, config.num_networks)


MATCHES = {"depth": match_depth, "parameters": match_parameters}
"""What a network without recursion can have in common with the recursive reasoner it is compared with."""


def _like(config: TRMConfig | HRMConfig, num_layers: int, num_passes: int) -> FeedForwardConfig:
    shared = {name: getattr(config, name) for name in SHARED}
    return FeedForwardConfig(**shared, num_layers=num_layers, num_passes=num_passes)
