"""The contract between reasoners and everything that runs them."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from latent_rl.errors import CompilationError, InvalidValueError, one_line
from latent_rl.types import Board, Carry, ReasonerOutput

Result = TypeVar("Result")


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

    A subclass of your own needs an `__init__(config)`, a `step`, and an entry in `checkpoint.ARCHITECTURES`. Muon moves
    the matrices of the submodules called `blocks`, AdamW the rest. Loading first makes it on torch's "meta" device,
    where it takes no memory, to see which weights it needs; an `__init__` that can't be run there is run as it is.

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

    def initial_carry(self, batch_size: int, keys: Tensor | None = None) -> Carry:
        """Zeros, float32 [B, L, D]; see `Reasoner.initial_carry`."""
        del keys
        device = next((parameter.device for parameter in self.parameters()), None)
        states = torch.zeros(batch_size, self.seq_len, self.config.width, device=device)
        return Carry(states, states, torch.zeros(batch_size, self.seq_len, dtype=torch.int64, device=device))

    def is_made_for(self, board: Board) -> bool:
        """Whether the reasoner is one for this very board."""
        return (self.vocab_size, self.seq_len) == (board.vocab_size, board.seq_len)

    def fitted_to(self, board: Board) -> Self | None:
        """The same weights on another board; None, as here, if they are tied to one."""
        del board
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
    """Where the reasoner keeps its states."""
    return reasoner.initial_carry(1).answer.device


def chosen_device(name: str | None = None) -> torch.device:
    """The device of that name; without one a GPU if there is any, under torchrun each worker of a machine its own.

    Raises:
        InvalidValueError: this machine has no such device.
    """
    if name is None:
        gpu = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        name = gpu if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()  # "meta" would pass for a device, but has no numbers
    except (RuntimeError, AssertionError, ImportError, ValueError) as error:
        reason = one_line(str(error).partition("\n")[0])
        raise InvalidValueError(f"the device must be one of this machine, such as cpu; got {name}: {reason}") from error
    return torch.device(name)


def best_compute_dtype() -> torch.dtype:
    """bfloat16 where the machine multiplies it natively, float32 elsewhere."""
    native = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if native or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16
    return torch.float32


def compiled_function(function: Callable[..., Result], **options: Any) -> Callable[..., Result]:
    """What `torch.compile` makes of a function, which it does at the first call.

    Raises:
        CompilationError: by that call, if it can't be compiled here.
    """
    inner = torch.compile(function, **options)

    def run(*arguments: Any) -> Result:
        try:
            return inner(*arguments)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = one_line(str(error).partition("\n\nSet TORCHDYNAMO_VERBOSE")[0])
            raise CompilationError(
                f"compiling needs a C++ compiler that works, such as g++: {reason} Install one, or leave out --compile."
            ) from error

    return run
