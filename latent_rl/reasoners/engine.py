"""How a recursion runs: devices, pieces of a batch, compiled code. Which networks recurse is for its subclasses."""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from latent_rl.errors import InvalidValueError
from latent_rl.reasoners.base import ReasonerModule, best_compute_dtype, compiled_function
from latent_rl.types import Batched, Carry, ReasonerOutput

PIECE = 64
"""Rows that a CPU steps at once: few enough for the products to stay in its cache. With gradient it is half as many,
unless the states of a row are small."""
SMALL_STATE = 2048
"""Numbers in the answer's state of a row up to which it is small."""


@dataclass(frozen=True)
class _Rows(Batched):
    """What a step takes, with the same meanings."""

    inputs: Tensor
    carry: Carry
    step_index: int | Tensor
    puzzle_ids: Tensor | None


class Recursion(ReasonerModule):
    """A network, or several, that update a latent n times, then the answer, T times in every supervision step; only the
    last time carries gradient.

    A subclass says how the inputs are embedded, how a recursion runs, and what is read from the answer. Its config has
    `num_cycles`, T, besides what every config has.

    Args:
        config: the shape.
        compute_dtype: dtype of states and products; weights, norms' statistics and readouts stay float32.
            Default: bfloat16 where the machine has it.
    """

    head: nn.Parameter

    def __init__(self, config: Any, compute_dtype: torch.dtype | None = None) -> None:
        super().__init__(config)
        self.compute_dtype = compute_dtype or best_compute_dtype()
        self._compiled: Callable[..., tuple[Tensor, Tensor]] | None = None

    @property
    @abstractmethod
    def state_size(self) -> int:
        """Numbers in the answer's state of one row."""

    @abstractmethod
    def _embed(self, inputs: Tensor, carry: Carry, step_index: int | Tensor, puzzle_ids: Tensor | None) -> Tensor:
        """What every update sees of the puzzle, in the layout and dtype in which the recursion computes."""

    @abstractmethod
    def _recurse(self, x: Tensor, answer: Tensor, latent: Tensor, updates: int) -> tuple[Tensor, Tensor]:
        """One recursion: the answer and the latent after it. It may be compiled."""

    @abstractmethod
    def _read(self, answer: Tensor) -> Tensor:
        """Logits, float32 [B, L, V], of an answer as the carry holds it."""

    @abstractmethod
    def _read_halting(self, answer: Tensor) -> tuple[Tensor, ...]:
        """The halting head's logits, float32 [B] each: that the answer is right, and of another step if it has one."""

    def _arrange(self, states: Tensor) -> Tensor:
        """Swap between a carry's layout and the one in which the recursion computes."""
        return states

    def compile(self, **options: Any) -> None:
        """Compile the recursion with torch.compile, by default for fixed shapes; its first steps then take longer, up
        to a minute. Without gradient a CPU then steps pieces of `PIECE` rows, so that they all have one shape.
        """
        # The class's function: a bound method would take the weights of this module along into every copy of it.
        self._compiled = compiled_function(type(self)._recurse, **{"dynamic": False, **options})

    def step(
        self,
        inputs: Tensor,
        carry: Carry,
        step_index: int | Tensor,
        *,
        puzzle_ids: Tensor | None = None,
        num_latent_updates: int | None = None,
    ) -> tuple[Carry, ReasonerOutput]:
        """Run one supervision step; see `Reasoner.step`.

        Raises:
            InvalidValueError: inputs are not int64 [B, L], or puzzle_ids not int64 [B] of known puzzles.
        """
        if inputs.dtype != torch.int64 or inputs.ndim != 2 or inputs.shape[1] != self.seq_len:
            raise InvalidValueError(
                f"inputs must be int64 [B, {self.seq_len}]; got {inputs.dtype} {list(inputs.shape)}."
            )
        updates = num_latent_updates or self.num_latent_updates
        rows, home = _Rows(inputs, carry, step_index, puzzle_ids), inputs.device
        if self.head.device.type != "cpu":
            after, output = self._step(rows.to(self.head.device), updates)
            return after, output.to(home)
        rows = replace(rows, step_index=torch.as_tensor(step_index).expand(len(inputs)))
        size = self._piece_size(len(inputs))
        pieces = [
            self._step_piece(rows.map(lambda tensor, i=i: tensor[i : i + size]), updates)  # type: ignore[misc]
            for i in range(0, max(len(inputs), 1), size)
        ]
        if len(pieces) == 1:
            return pieces[0]
        carries, outputs = zip(*pieces, strict=True)
        return carries[0].concat(*carries[1:]), outputs[0].concat(*outputs[1:])

    def _piece_size(self, batch_size: int) -> int:
        """Rows of a piece; with gradient all pieces are as equal as can be, so that few sizes are compiled."""
        if not torch.is_grad_enabled():
            return PIECE
        is_small = self.state_size <= SMALL_STATE
        count = math.ceil(batch_size / (PIECE if is_small else PIECE // 2))
        return math.ceil(batch_size / max(count, 1)) or 1

    def _step_piece(self, rows: _Rows, updates: int) -> tuple[Carry, ReasonerOutput]:
        """Step a piece. Without gradient only `PIECE` rows are compiled; one at least half full is filled up."""
        count = len(rows.inputs)
        if self._compiled is None or count == PIECE or torch.is_grad_enabled():
            return self._step(rows, updates)
        if count < PIECE // 2:
            return self._step(rows, updates, compiled=False)
        after, output = self._step(rows.select(torch.arange(PIECE).clamp(max=count - 1)), updates)
        return after.map(lambda tensor: tensor[:count]), output.map(lambda tensor: tensor[:count])

    def _step(self, rows: _Rows, updates: int, *, compiled: bool = True) -> tuple[Carry, ReasonerOutput]:
        inputs, carry = rows.inputs, rows.carry
        recurse = self._compiled if self._compiled is not None and compiled else type(self)._recurse
        x = self._embed(inputs, carry, rows.step_index, rows.puzzle_ids)
        # Contiguous: compiled code would be made anew for every layout that it meets.
        answer, latent = self._arrange(carry.answer).contiguous(), self._arrange(carry.latent).contiguous()
        reference = self._read(carry.answer)
        with torch.no_grad():
            for _ in range(self.config.num_cycles - 1):
                answer, latent = recurse(self, x, answer, latent, updates)
        answer, latent = recurse(self, x, answer, latent, updates)
        after = Carry(self._arrange(answer), self._arrange(latent), carry.prediction)
        conditional = self._read(after.answer)
        halting = self._read_halting(after.answer)
        after = replace(after, prediction=conditional.detach().argmax(-1))
        passes = self.config.num_cycles * (updates + 1)
        return after, ReasonerOutput(reference, conditional, halting[0], passes, *halting[1:])
