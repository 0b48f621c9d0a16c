"""The recursion that all networks share: embed the puzzle, update scratchpad and answer in cycles, read the answer."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from latent_rl.config import DEPTH, DERIVED, SIZE, Range, check_fields
from latent_rl.errors import InvalidValueError
from latent_rl.randomness import normal_states
from latent_rl.reasoners.base import ReasonerModule
from latent_rl.reasoners.engine import Engine, Recursion, Rows, best_compute_dtype
from latent_rl.reasoners.layers import rms_norm
from latent_rl.types import Carry, ReasonerOutput


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(ABC):
    """What describes every network."""

    vocab_size: Annotated[int, SIZE, DERIVED]
    """V."""
    seq_len: Annotated[int, SIZE, DERIVED]
    """L."""
    width: Annotated[int, SIZE] = 128
    """D."""

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_fields(self)
        if self.passes_per_step not in DEPTH:
            raise InvalidValueError(
                f"the forward passes of a {type(self).__name__}'s step must be {DEPTH}; got {self.passes_per_step}."
            )

    @property
    @abstractmethod
    def num_cycles(self) -> int:
        """T, recursions of a supervision step; all but the last run without gradient."""

    @property
    @abstractmethod
    def num_latent_updates(self) -> int:
        """n, latent updates before each answer update."""

    @property
    @abstractmethod
    def num_supervision_steps(self) -> int:
        """N_sup: how many steps it is trained for."""

    @property
    @abstractmethod
    def state_size(self) -> int:
        """Numbers of a puzzle's answer, or latent."""

    @abstractmethod
    def passes(self, num_latent_updates: int) -> int:
        """Forward passes of a supervision step with that many latent updates."""

    @property
    def passes_per_step(self) -> int:
        """Forward passes of a supervision step."""
        return self.passes(self.num_latent_updates)


@dataclass(frozen=True, kw_only=True)
class RecursionConfig(NetworkConfig, ABC):
    """What describes a network that recurses. Defaults: the DIS schedule (T=1, n=2, 6 steps)."""

    num_cycles: Annotated[int, DEPTH] = 1
    """T; all but the last run without gradient."""
    num_latent_updates: Annotated[int, DEPTH] = 2
    """n."""
    num_supervision_steps: Annotated[int, DEPTH] = 6
    """N_sup: how many steps it is trained for."""

    def passes(self, num_latent_updates: int) -> int:
        """T * (n + 1); see `NetworkConfig.passes`."""
        return self.num_cycles * (num_latent_updates + 1)


@dataclass(frozen=True, kw_only=True)
class VectorsConfig(RecursionConfig, ABC):
    """What describes a network that keeps small vectors, and updates latent and answer by the same blocks."""

    num_layers: Annotated[int, Range(1, 1024)] = 1
    """Blocks in the network."""

    @property
    def num_blocks(self) -> int:
        """Blocks with weights of their own."""
        return self.num_layers

    @property
    def blocks_per_step(self) -> int:
        """Blocks applied one after the other in one supervision step."""
        return self.passes_per_step * self.num_layers


def random_carry(config: VectorsConfig, initial: Tensor, dtype: torch.dtype, keys: Tensor) -> Carry:
    """Normal noise around one fixed vector per state, normed: a function of each row's key alone.

    Args:
        config: of the network.
        initial: float32 [2, d], the vectors of the answer and of the latent, on the network's device.
        dtype: of the states.
        keys: int64 [B].
    """
    count, device = len(keys), initial.device
    noise = normal_states(keys.cpu(), 2 * config.state_size).view(count, 2, -1, config.width)
    states = rms_norm((noise.to(device) + initial[:, None]).to(dtype))
    answer, latent = states.view(count, 2, config.seq_len, -1).unbind(1)
    return Carry(answer, latent, torch.zeros(count, config.seq_len, dtype=torch.int64, device=device))


class Network(ReasonerModule, ABC):
    """A reasoner that updates its scratchpad, then its answer, T times in a supervision step.

    (z_H, z_L) <- recurse(x, z_H, z_L), T times, of which only the last carries gradient; then the answer z_H is read.

    Args:
        config: the shape.
        compute_dtype: dtype of states and products; weights, norms' statistics and readouts stay float32.
            Default: bfloat16 where the machine has it.
        fixed_shapes: whether states of equal batches have equal shapes in the recursion, so that compiled code can be
            made for each.
    """

    config: NetworkConfig

    def __init__(self, config: NetworkConfig, compute_dtype: torch.dtype | None, *, fixed_shapes: bool = True) -> None:
        super().__init__(config)
        self.compute_dtype = compute_dtype or best_compute_dtype()
        self.engine = Engine(type(self).recurse, fixed_shapes=fixed_shapes)

    @abstractmethod
    def embed(self, rows: Rows) -> Any:
        """What the recursion knows of the puzzles: the input x of every update."""

    @abstractmethod
    def enter(self, states: Tensor, x: Any) -> Tensor:
        """States of a carry [B, P, D] in the layout in which the recursion works, contiguous: compiled code would be
        made anew for every layout that it meets."""

    @abstractmethod
    def leave(self, states: Tensor, x: Any) -> Tensor:
        """The inverse of `enter`."""

    @abstractmethod
    def recurse(self, x: Any, answer: Tensor, latent: Tensor, num_latent_updates: int) -> tuple[Tensor, Tensor]:
        """Update the latent n times, then the answer, all in the layout of the recursion: (answer, latent)."""

    @abstractmethod
    def read(self, answer: Tensor, x: Any) -> Tensor:
        """The logits of an answer in the layout of the recursion: float32 [B, L, V]."""

    @abstractmethod
    def judge(self, answer: Tensor) -> tuple[Tensor, Tensor | None]:
        """The halting head's view of an answer [B, P, D]: the halt logit, float32 [B], and, with a value of another
        step, the continue logit, float32 [B]."""

    def compile(self, **options: Any) -> None:
        """Compile the recursion with torch.compile, where shapes are fixed for each of them; its first steps then take
        longer, up to a minute. Without gradient a CPU then steps pieces of equal size, so that they all have one shape.
        """
        self.engine.compile(**options)

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

        def advance(rows: Rows, recurse: Recursion) -> tuple[Carry, ReasonerOutput]:
            return self.advance(rows, updates, recurse)

        device = next(self.parameters()).device
        return self.engine.run(advance, Rows(inputs, carry, step_index, puzzle_ids), device, self.config.state_size)

    def advance(self, rows: Rows, num_latent_updates: int, recurse: Recursion) -> tuple[Carry, ReasonerOutput]:
        """Run one supervision step of rows that are on the network's device, by `recurse`, compiled or not."""
        x = self.embed(rows)
        answer, latent = self.enter(rows.carry.answer, x), self.enter(rows.carry.latent, x)
        reference = self.read(answer, x)
        with torch.no_grad():
            for _ in range(self.config.num_cycles - 1):
                answer, latent = recurse(self, x, answer, latent, num_latent_updates)
        answer, latent = recurse(self, x, answer, latent, num_latent_updates)
        conditional = self.read(answer, x)
        answer, latent = self.leave(answer, x), self.leave(latent, x)
        halt_logit, continue_logit = self.judge(answer)
        passes = self.config.passes(num_latent_updates)
        after = Carry(answer, latent, prediction=conditional.detach().argmax(-1))
        return after, ReasonerOutput(reference, conditional, halt_logit, passes, continue_logit)
