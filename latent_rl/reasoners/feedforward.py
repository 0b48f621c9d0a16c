"""A network without recursion: one pass through blocks that each have weights of their own."""

from dataclasses import dataclass, replace
from typing import Annotated, Any

from torch import Tensor

from latent_rl.config import DEPTH
from latent_rl.errors import InvalidValueError
from latent_rl.reasoners.trm import TRM, TRMConfig, run_blocks
from latent_rl.types import Carry, ReasonerOutput

SHARED = (
    "vocab_size", "seq_len", "width", "mixer", "num_heads", "expansion", "positions", "num_puzzle_ids", "puzzle_width",
    "num_puzzle_positions",
)  # fmt: skip
"""Fields that mean the same to a network with recursion and to one without."""


@dataclass(frozen=True, kw_only=True)
class FeedForwardConfig(TRMConfig):
    """Shape of a network without recursion; what only recursion needs is fixed."""

    num_passes: Annotated[int, DEPTH] = 1
    """Forward passes that the network counts as: those of the recursive reasoner that it is compared with."""
    num_latent_updates: int = 1
    """Fixed: there is no recursion."""
    num_supervision_steps: int = 1
    """Fixed: one step gives the answer."""
    step_embedding: bool = False
    """Fixed: all steps are the same."""

    def __post_init__(self) -> None:
        """Check the ranges, and that nothing asks for recursion."""
        super().__post_init__()
        fixed: dict[str, Any] = {
            "num_cycles": 1,
            "num_latent_updates": 1,
            "num_supervision_steps": 1,
            "step_embedding": False,
            "feedback": False,
            "input_feedback": False,
            "continue_head": False,
        }
        for name, only in fixed.items():
            if getattr(self, name) != only:
                raise InvalidValueError(
                    f"FeedForwardConfig.{name} must be {only}, as there is no recursion; got {getattr(self, name)}."
                )

    @property
    def passes_per_step(self) -> int:
        """Forward passes that a step counts as."""
        return self.num_passes


class FeedForward(TRM):
    """A TRM's embedding, readout and halting head around a plain stack of `num_layers` blocks.

    z_H <- f_m(... f_2(f_1(x))): the answer depends on the inputs alone, so that every step computes the same one anew
    and later steps add nothing. It is trained for one.

    Source: paper, "Claims with numbers": the non-recursive network that a looped one stays behind.

    Args:
        config: the shape.
        compute_dtype: see `TRM`.
    """

    config: FeedForwardConfig

    def step(
        self,
        inputs: Tensor,
        carry: Carry,
        step_index: int | Tensor,
        *,
        puzzle_ids: Tensor | None = None,
        num_latent_updates: int | None = None,
    ) -> tuple[Carry, ReasonerOutput]:
        """Run the network; see `Reasoner.step`. There are no latent updates whose number could be changed."""
        after, output = super().step(inputs, carry, step_index, puzzle_ids=puzzle_ids)
        return after, replace(output, passes=self.config.num_passes)

    def _recurse(self, x: Tensor, answer: Tensor, latent: Tensor, updates: int) -> tuple[Tensor, Tensor]:
        return run_blocks(self.blocks, x), latent


def match_depth(config: TRMConfig) -> FeedForwardConfig:
    """The network without recursion that applies as many blocks, one after the other, as the recursive one does in
    all its supervision steps, and counts as as many forward passes.
    """
    steps = config.num_supervision_steps
    return _like(config, steps * config.blocks_per_step, steps * config.passes_per_step)


def match_parameters(config: TRMConfig) -> FeedForwardConfig:
    """The network without recursion that has as many blocks, and so as many weights, as the recursive one.

    Only embeddings that no one-step network needs (of steps, of predictions) and a continue head are left out.
    """
    return _like(config, config.num_blocks, config.num_networks)


MATCHES = {"depth": match_depth, "parameters": match_parameters}
"""What a network without recursion can have in common with the recursive reasoner it is compared with."""


def _like(config: TRMConfig, num_layers: int, num_passes: int) -> FeedForwardConfig:
    shared = {name: getattr(config, name) for name in SHARED}
    return FeedForwardConfig(**shared, num_layers=num_layers, num_passes=num_passes)
