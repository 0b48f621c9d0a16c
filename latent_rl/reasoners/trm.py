"""TRM: one tiny network that updates its scratchpad n times, then its answer, T times per supervision step."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latent_rl.errors import InvalidValueError, UnknownNameError
from latent_rl.reasoners.base import best_compute_dtype
from latent_rl.reasoners.layers import BLOCKS, truncated_normal
from latent_rl.types import Carry, ReasonerOutput

STEP_INDICES = ("integer", "continuous")


@dataclass(frozen=True, kw_only=True)
class TRMConfig:
    """Shape of a TRM. Defaults: the DIS schedule (T=1, n=2, 6 steps) on the small mixer."""

    vocab_size: int
    """V."""
    seq_len: int
    """L."""
    width: int = 128
    """D."""
    num_layers: int = 1
    """Blocks in the network."""
    mixer: str = "mlp"
    """How cells see each other: "mlp" (best on small fixed grids) or "attention"."""
    num_heads: int = 4
    """Heads, with attention."""
    expansion: float = 4.0
    """SwiGLU inner width is about 2/3 of expansion * width."""
    num_cycles: int = 1
    """T; all but the last run without gradient."""
    num_latent_updates: int = 2
    """n."""
    num_supervision_steps: int = 6
    """N_sup: how many steps it is trained for; later steps share the last step's index."""
    step_embedding: bool = True
    """Embed the step index and add it to the input embedding."""
    step_index: str = "integer"
    """"integer" (a vector of its own for every step) or "continuous" (time from 0 to 1, times one vector)."""
    feedback: bool = False
    """Embed the previous step's prediction and add it to the input embedding."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        positive = (
            "vocab_size", "seq_len", "width", "num_layers", "num_heads", "num_cycles", "num_latent_updates",
            "num_supervision_steps",
        )  # fmt: skip
        for name in positive:
            if getattr(self, name) < 1:
                raise InvalidValueError(f"TRMConfig.{name} must be at least 1; got {getattr(self, name)}.")
        if self.mixer not in BLOCKS:
            raise UnknownNameError("mixer", self.mixer, BLOCKS)
        if self.step_index not in STEP_INDICES:
            raise UnknownNameError("step_index", self.step_index, STEP_INDICES)
        if self.mixer == "attention" and self.width % (2 * self.num_heads):
            raise InvalidValueError(
                f"TRMConfig.width must be a multiple of 2 * num_heads; got {self.width} and {self.num_heads}."
            )

    @property
    def passes_per_step(self) -> int:
        """Forward passes of one supervision step, T * (n + 1)."""
        return self.num_cycles * (self.num_latent_updates + 1)


class TRM(nn.Module):
    """Tiny recursive model with an MLP-mixer or attention, an integer step index and a halting head.

    z_L <- f(z_L + z_H + x) n times, then z_H <- f(z_H + z_L): one recursion; T recursions: one supervision step,
    of which only the last carries gradient. The readout is linear in z_H.

    Source: paper, "Objects" and "TRM as the baseline".
    Differs: without puzzle positions the halting head reads cell 0.

    Args:
        config: the shape.
        compute_dtype: dtype of states and products; weights, norms' statistics and readouts stay float32.
            Default: bfloat16 where the machine has it.
    """

    def __init__(self, config: TRMConfig, compute_dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = compute_dtype or best_compute_dtype()
        self.vocab_size, self.seq_len = config.vocab_size, config.seq_len
        self.num_latent_updates = config.num_latent_updates
        self.num_supervision_steps = config.num_supervision_steps
        width, std = config.width, config.width**-0.5
        self.embed_tokens = nn.Parameter(truncated_normal(config.vocab_size, width, std=std))
        if config.step_embedding:
            rows = config.num_supervision_steps if config.step_index == "integer" else 1
            self.embed_step = nn.Parameter(truncated_normal(rows, width, std=std))
        if config.feedback:
            self.embed_prediction = nn.Parameter(truncated_normal(config.vocab_size, width, std=std))
        self.initial_answer = nn.Buffer(truncated_normal(width, std=1.0))
        self.initial_latent = nn.Buffer(truncated_normal(width, std=1.0))
        block = BLOCKS[config.mixer]
        self.cells_first = block.cells_first
        self.blocks = nn.ModuleList(
            block(width, config.num_heads, config.seq_len, config.expansion) for _ in range(config.num_layers)
        )
        self.head = nn.Parameter(truncated_normal(config.vocab_size, width, std=std))
        self.halt_head = nn.Linear(width, 1)
        nn.init.zeros_(self.halt_head.weight)
        nn.init.constant_(self.halt_head.bias, -5.0)
        self._recursion: Callable[..., tuple[Tensor, Tensor]] = self._recurse

    def compile(self, **options: Any) -> None:
        """Compile the recursion with torch.compile; the first steps then take some seconds."""
        self._recursion = torch.compile(self._recurse, **options)

    def initial_carry(self, batch_size: int) -> Carry:
        """One fixed random vector per state, at every cell."""
        shape = (batch_size, self.seq_len, self.config.width)
        answer = self.initial_answer.to(self.compute_dtype).expand(shape)
        latent = self.initial_latent.to(self.compute_dtype).expand(shape)
        return Carry(answer, latent, torch.zeros(shape[:2], dtype=torch.int64, device=answer.device))

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
            InvalidValueError: inputs are not int64 [B, L].
        """
        if inputs.dtype != torch.int64 or inputs.ndim != 2 or inputs.shape[1] != self.seq_len:
            raise InvalidValueError(
                f"inputs must be int64 [B, {self.seq_len}]; got {inputs.dtype} {list(inputs.shape)}."
            )
        updates = num_latent_updates or self.num_latent_updates
        x = self._embed(inputs, carry, step_index)
        answer, latent = self._arrange(carry.answer), self._arrange(carry.latent)
        reference = F.linear(carry.answer.float(), self.head)
        with torch.no_grad():
            for _ in range(self.config.num_cycles - 1):
                answer, latent = self._recursion(x, answer, latent, updates)
        answer, latent = self._recursion(x, answer, latent, updates)
        after = Carry(self._arrange(answer), self._arrange(latent), carry.prediction)
        conditional = F.linear(after.answer.float(), self.head)
        halt = self.halt_head(after.answer[:, 0].float()).squeeze(-1)
        after = replace(after, prediction=conditional.detach().argmax(-1))
        passes = self.config.num_cycles * (updates + 1)
        return after, ReasonerOutput(reference, conditional, halt, passes)

    def _arrange(self, states: Tensor) -> Tensor:
        """Swap between the public [B, L, D] and the layout in which the blocks compute."""
        return states.transpose(0, 1) if self.cells_first else states

    def _embed(self, inputs: Tensor, carry: Carry, step_index: int | Tensor) -> Tensor:
        # F.embedding: indexing a parameter with a tensor breaks a compiled graph.
        cells = inputs.T if self.cells_first else inputs
        x = F.embedding(cells, self.embed_tokens)
        if self.config.step_embedding:
            index = torch.as_tensor(step_index, device=inputs.device)
            step = self._embed_index(index.clamp(max=self.num_supervision_steps - 1))
            x = x + (step[:, None] if step.ndim == 2 and not self.cells_first else step)
        if self.config.feedback:
            previous = carry.prediction.T if self.cells_first else carry.prediction
            x = x + F.embedding(previous, self.embed_prediction)
        return (x * math.sqrt(self.config.width)).to(self.compute_dtype)

    def _embed_index(self, index: Tensor) -> Tensor:
        if self.config.step_index == "integer":
            return F.embedding(index, self.embed_step)
        return index[..., None] / max(self.num_supervision_steps - 1, 1) * self.embed_step[0]

    def _recurse(self, x: Tensor, answer: Tensor, latent: Tensor, updates: int) -> tuple[Tensor, Tensor]:
        for _ in range(updates):
            latent = self._network(latent + answer + x)
        return self._network(answer + latent), latent

    def _network(self, states: Tensor) -> Tensor:
        for block in self.blocks:
            states = block(states)
        return states
