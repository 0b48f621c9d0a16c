"""The contract between reasoners and everything that runs them."""

from abc import ABC, abstractmethod
from typing import Any, Protocol, Self, runtime_checkable

from torch import Tensor, nn

from latent_rl.types import Carry, ReasonerOutput, TaskShape


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

    def initial_carry(self, batch_size: int, keys: Tensor | None = None) -> Carry:
        """The state before the first step.

        Args:
            batch_size: B.
            keys: int64 [B], what each row's state depends on alone where states start at random; by default 0..B-1.
                Reasoners that always start from the same state ignore them.
        """

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
            inputs: int64 [B, L]; where they are, the output will be.
            carry: the state, B rows; the new one stays on the reasoner's device.
            step_index: counted from 0; an int, or int64 [B].
            puzzle_ids: int64 [B], by default 0; reasoners without puzzle embeddings ignore it.
            num_latent_updates: n for this step, instead of the trained one.
        """


class ReasonerModule(nn.Module, ABC):
    """A reasoner with weights: what `latent_rl.train` trains, `save_reasoner` and `load_reasoner` keep.

    A subclass of your own needs an `__init__(config)`, an `initial_carry`, a `step`, and an entry in
    `checkpoint.ARCHITECTURES`. Muon moves the matrices of the submodules called `blocks`, AdamW the rest. Loading first
    makes it on torch's "meta" device, where it takes no memory, to see which weights it needs; an `__init__` that can't
    be run there is run as it is.

    Args:
        config: a frozen dataclass of plain values with at least `vocab_size`, `seq_len`, `width`, `num_latent_updates`
            and `num_supervision_steps`.
    """

    config: Any

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = config.vocab_size
        self.seq_len = config.seq_len
        self.num_latent_updates = config.num_latent_updates
        self.num_supervision_steps = config.num_supervision_steps

    @abstractmethod
    def initial_carry(self, batch_size: int, keys: Tensor | None = None) -> Carry:
        """The state before the first step, on the reasoner's device; see `Reasoner.initial_carry`."""

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


@runtime_checkable
class Resizable(Protocol):
    """A reasoner whose weights may fit other boards than the one it was made for."""

    def resized(self, shape: TaskShape) -> Self | None:
        """The same weights on another board; itself if it is its own, None if they don't fit it."""
