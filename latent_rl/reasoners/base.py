"""The contract between reasoners and everything that runs them."""

from abc import ABC, abstractmethod
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from latent_rl.errors import InvalidValueError
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


class ReasonerModule(nn.Module, ABC):
    """A reasoner with weights: what `latent_rl.train` trains, `save_reasoner` and `load_reasoner` keep.

    A subclass of your own needs an `__init__(config)`, a `step`, and an entry in `checkpoint.ARCHITECTURES`. Muon moves
    the matrices of the submodules called `blocks`, AdamW the rest.

    Args:
        config: a frozen dataclass of plain values with at least `vocab_size`, `seq_len`, `width`, `num_latent_updates`
            and `num_supervision_steps`.
    """

    config: Any

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.vocab_size, self.seq_len = config.vocab_size, config.seq_len
        self.num_latent_updates = config.num_latent_updates
        self.num_supervision_steps = config.num_supervision_steps

    def initial_carry(self, batch_size: int) -> Carry:
        """Zeros, float32 [B, L, D]; see `Reasoner.initial_carry`."""
        states = torch.zeros(batch_size, self.seq_len, self.config.width)
        return Carry(states, states, torch.zeros(batch_size, self.seq_len, dtype=torch.int64))

    def resized(self, seq_len: int) -> Self | None:
        """The same weights on boards of another number of cells; None, as here, if they are tied to one number."""
        del seq_len
        return None

    @abstractmethod
    def step(
        self,
        inputs: Tensor,
        carry: Carry,
        step_index: int | Tensor,
        *,
        puzzle_ids: Tensor | None = None,
        num_latent_updates: int | None = None,
    ) -> tuple[Carry, ReasonerOutput]:
        """Run one supervision step; see `Reasoner.step`."""


def device_of(reasoner: Reasoner) -> torch.device:
    """Where it computes, and takes and gives tensors: where its weights are; on the CPU, if it has none."""
    weights = reasoner.parameters() if isinstance(reasoner, nn.Module) else iter(())
    return next((weight.device for weight in weights), torch.device("cpu"))


def moved_to(reasoner: ReasonerModule, device: str) -> None:
    """Move a reasoner, in place.

    Raises:
        InvalidValueError: torch has no such device here.
    """
    try:
        reasoner.to(device)
    except (RuntimeError, AssertionError) as error:
        raise InvalidValueError(f"the device must be one that torch has here, such as cpu: {error}") from error


def best_compute_dtype() -> torch.dtype:
    """bfloat16 where the machine multiplies it natively, float32 elsewhere."""
    native = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if native or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16
    return torch.float32
