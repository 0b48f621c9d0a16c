"""The contract between reasoners and everything that runs them."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from latent_rl.types import Carry, ReasonerOutput


@runtime_checkable
class Reasoner(Protocol):
    """A network that refines a latent answer, one supervision step at a time.

    Attributes:
        vocab_size: V.
        seq_len: L.
        num_latent_updates: n, latent updates before each answer update.
        num_supervision_steps: the number of steps it was trained for.
    """

    vocab_size: int
    seq_len: int
    num_latent_updates: int
    num_supervision_steps: int

    def initial_carry(self, batch_size: int) -> Carry:
        """The state before the first step."""

    def step(
        self,
        inputs: Tensor,
        carry: Carry,
        step_index: int | Tensor,
        *,
        puzzle_ids: Tensor | None = None,
        num_latent_updates: int | None = None,
    ) -> tuple[Carry, ReasonerOutput]:
        """Run one supervision step.

        Args:
            inputs: int64 [B, L].
            carry: the state, B rows.
            step_index: counted from 0; an int, or int64 [B].
            puzzle_ids: int64 [B], by default 0; reasoners without puzzle embeddings ignore it.
            num_latent_updates: n for this step, instead of the trained one.
        """


def best_compute_dtype() -> torch.dtype:
    """bfloat16 where the machine multiplies it natively, float32 elsewhere."""
    native = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if native or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16
    return torch.float32
