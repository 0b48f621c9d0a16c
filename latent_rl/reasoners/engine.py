"""Where and how a step is run: on which device, in pieces that a CPU's cache can hold, compiled if asked for."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from latent_rl.errors import CompilationError, InvalidValueError, one_line
from latent_rl.reasoners.base import Reasoner
from latent_rl.types import Batched, Carry, ReasonerOutput

Result = TypeVar("Result")
Recursion = Callable[..., tuple[Tensor, Tensor]]
"""What is compiled of a step, (network, x, answer, latent, num_latent_updates) -> (answer, latent)."""

PIECE = 64
"""Rows that a CPU steps at once: few enough for the products to stay in its cache. With gradient it is half as many,
unless the states of a row are small."""
SMALL_STATE = 2048
"""Numbers of a row's answer, or latent, up to which its states are small."""


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


@dataclass(frozen=True)
class Rows(Batched):
    """What a step takes of some rows of a batch, with the meanings of `Reasoner.step`."""

    inputs: Tensor
    carry: Carry
    step_index: int | Tensor
    puzzle_ids: Tensor | None


Step = Callable[[Rows, Recursion], tuple[Carry, ReasonerOutput]]
"""One supervision step of some rows, which are where the network is, by a recursion, compiled or not."""


class Engine:
    """Runs a network's steps.

    Args:
        recurse: the function of the network's class. A bound method would take the weights of that network along into
            every copy of it.
        fixed_shapes: whether pieces of equal size have equal shapes.
    """

    def __init__(self, recurse: Recursion, *, fixed_shapes: bool) -> None:
        self._plain = recurse
        self._fixed_shapes = fixed_shapes
        self._compiled: Recursion | None = None

    def compile(self, **options: Any) -> None:
        """Compile the recursion with torch.compile, by default for each shape if they are fixed."""
        self._compiled = compiled_function(self._plain, **{"dynamic": not self._fixed_shapes, **options})

    def run(self, step: Step, rows: Rows, device: torch.device, state_size: int) -> tuple[Carry, ReasonerOutput]:
        """Run a step.

        Args:
            step: what to run.
            rows: the whole batch.
            device: of the network; the carry stays there, the output goes where the inputs are.
            state_size: numbers of a row's answer, or latent.
        """
        if device.type != "cpu":
            home = rows.inputs.device
            after, output = step(rows.to(device), self._compiled or self._plain)
            return after, output.to(home)
        count = len(rows.inputs)
        rows = replace(rows, step_index=torch.as_tensor(rows.step_index).expand(count))
        size = piece_size(count, state_size)
        pieces = [self._step_piece(step, rows[i : i + size]) for i in range(0, max(count, 1), size)]
        if len(pieces) == 1:
            return pieces[0]
        carries, outputs = zip(*pieces, strict=True)
        return carries[0].concat(*carries[1:]), outputs[0].concat(*outputs[1:])

    def _step_piece(self, step: Step, rows: Rows) -> tuple[Carry, ReasonerOutput]:
        """Step a piece. Where shapes are fixed, only `PIECE` rows are compiled without gradient; a piece at least half
        full is filled up."""
        count = len(rows.inputs)
        if self._compiled is None:
            return step(rows, self._plain)
        if count == PIECE or torch.is_grad_enabled() or not self._fixed_shapes:
            return step(rows, self._compiled)
        if count < PIECE // 2:
            return step(rows, self._plain)
        after, output = step(rows.select(torch.arange(PIECE).clamp(max=count - 1)), self._compiled)
        return after[:count], output[:count]


def piece_size(batch_size: int, state_size: int) -> int:
    """Rows of a piece; with gradient all pieces are as equal as can be, so that few sizes are compiled."""
    if not torch.is_grad_enabled():
        return PIECE
    count = math.ceil(batch_size / (PIECE if state_size <= SMALL_STATE else PIECE // 2))
    return math.ceil(batch_size / max(count, 1)) or 1
