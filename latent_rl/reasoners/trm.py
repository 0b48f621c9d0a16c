"""TRM: one tiny network that updates its scratchpad n times, then its answer, T times per supervision step."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latent_rl.config import DEPTH, SIZE, Range, check_fields
from latent_rl.errors import InvalidValueError, UnknownNameError
from latent_rl.reasoners.engine import Recursion
from latent_rl.reasoners.layers import BLOCKS, truncated_normal
from latent_rl.types import Board, Carry

LAYERS = Range(1, 1024)
"""Blocks of a network."""
POSITIONS = ("rotary", "learned", "none")
STEP_INDICES = ("integer", "continuous")


@dataclass(frozen=True, kw_only=True)
class TRMConfig:
    """Shape of a TRM. Defaults: the DIS schedule (T=1, n=2, 6 steps) on the small mixer."""

    vocab_size: Annotated[int, SIZE]
    """V."""
    seq_len: Annotated[int, SIZE]
    """L."""
    width: Annotated[int, SIZE] = 128
    """D."""
    num_layers: Annotated[int, LAYERS] = 1
    """Blocks in the network."""
    mixer: str = "mlp"
    """How cells see each other: "mlp" (best on small fixed grids), "attention", "convolution" (with the eight around
    them on a square board: best on mazes) or "mlp_cell_norm" (the public TRM's)."""
    num_heads: Annotated[int, SIZE] = 4
    """Heads, with attention."""
    expansion: Annotated[float, Range(1, 64)] = 4.0
    """SwiGLU inner width is about 2/3 of expansion * width."""
    num_cycles: Annotated[int, DEPTH] = 1
    """T; all but the last run without gradient."""
    num_latent_updates: Annotated[int, DEPTH] = 2
    """n."""
    num_supervision_steps: Annotated[int, DEPTH] = 6
    """N_sup: how many steps it is trained for; later steps share the last step's index."""
    step_embedding: bool = True
    """Embed the step index and add it to the input embedding."""
    step_index: str = "integer"
    """"integer" (a vector of its own for every step) or "continuous" (time from 0 to 1, times one vector)."""
    feedback: bool = False
    """Embed the previous step's prediction and add it to the input embedding."""
    input_feedback: bool = False
    """From the second step on, read the previous step's prediction in place of the inputs."""
    positions: str = "rotary"
    """How cells know where they are: "rotary" (in attention), "learned" (an embedding of their own) or "none"."""
    num_puzzle_ids: Annotated[int, Range(0, 10**8)] = 0
    """Puzzles that have an embedding of their own; 0 for none."""
    puzzle_width: Annotated[int, Range(0, 2**16)] = 0
    """Width of a puzzle's embedding: cut into puzzle positions, the rest of which stays zero."""
    num_puzzle_positions: Annotated[int, Range(0, 2**16)] = 0
    """P, positions in front of the cells for the puzzle's embedding; the halting head reads the first."""
    continue_head: bool = False
    """Give the halting head a second logit, the value of another step (Q-halting)."""
    injection_first: bool = False
    """Add up z_L + (z_H + x), as the public code does, instead of (z_L + z_H) + x: the same but for rounding."""

    def __post_init__(self) -> None:
        """Check types, ranges and names."""
        check_fields(self)
        for kind, name, known in (
            ("mixer", self.mixer, BLOCKS),
            ("positions", self.positions, POSITIONS),
            ("step_index", self.step_index, STEP_INDICES),
        ):
            if name not in known:
                raise UnknownNameError(kind, name, known)
        if self.mixer == "attention" and self.width % (2 * self.num_heads):
            raise InvalidValueError(
                f"TRMConfig.width must be a multiple of 2 * num_heads; got {self.width} and {self.num_heads}."
            )
        if self.passes_per_step not in DEPTH:
            raise InvalidValueError(
                f"the forward passes of a {type(self).__name__}'s step, T * (n + 1), must be {DEPTH}; got"
                f" {self.passes_per_step}."
            )
        puzzle = (self.num_puzzle_ids, self.puzzle_width, self.num_puzzle_positions)
        if any(puzzle) and not (min(puzzle) > 0 and self.puzzle_width <= self.num_puzzle_positions * self.width):
            raise InvalidValueError(
                "num_puzzle_ids, puzzle_width and num_puzzle_positions must be all 0, or all positive with puzzle_width"
                f" at most num_puzzle_positions * width; got {puzzle} and a width of {self.width}."
            )

    @property
    def num_positions(self) -> int:
        """P + L, the positions of a state."""
        return self.num_puzzle_positions + self.seq_len

    @property
    def passes_per_step(self) -> int:
        """Forward passes of one supervision step, T * (n + 1)."""
        return self.num_cycles * (self.num_latent_updates + 1)

    @property
    def num_networks(self) -> int:
        """Networks with weights of their own."""
        return 1

    @property
    def num_blocks(self) -> int:
        """Blocks with weights of their own."""
        return self.num_layers

    @property
    def blocks_per_step(self) -> int:
        """Blocks applied one after the other in one supervision step."""
        return self.passes_per_step * self.num_layers


def make_blocks(config: TRMConfig, num_blocks: int) -> nn.ModuleList:
    """A network of the config's shape with random weights."""
    block, rotary = BLOCKS[config.mixer], config.positions == "rotary"
    return nn.ModuleList(
        block(config.width, config.num_heads, config.num_positions, config.expansion, rotary) for _ in range(num_blocks)
    )


def run_blocks(blocks: nn.ModuleList, states: Tensor) -> Tensor:
    """One forward pass of a network."""
    for block in blocks:
        states = block(states)
    return states


class TRM(Recursion):
    """Tiny recursive model with an MLP-mixer or attention, an integer step index and a halting head.

    z_L <- f(z_L + z_H + x) n times, then z_H <- f(z_H + z_L): one recursion; T recursions: one supervision step,
    of which only the last carries gradient. The readout is linear in z_H.

    Source: paper, "Objects" and "TRM as the baseline".
    Differs: without puzzle positions, which are off by default, the halting head reads cell 0.

    Args:
        config: the shape.
        compute_dtype: dtype of states and products; weights, norms' statistics and readouts stay float32.
            Default: bfloat16 where the machine has it.
    """

    config: TRMConfig

    def __init__(self, config: TRMConfig, compute_dtype: torch.dtype | None = None) -> None:
        super().__init__(config, compute_dtype)
        width, std = config.width, config.width**-0.5
        self.embed_tokens = nn.Parameter(truncated_normal(config.vocab_size, width, std=std))
        if config.step_embedding:
            rows = config.num_supervision_steps if config.step_index == "integer" else 1
            self.embed_step = nn.Parameter(truncated_normal(rows, width, std=std))
        if config.feedback:
            self.embed_prediction = nn.Parameter(truncated_normal(config.vocab_size, width, std=std))
        if config.positions == "learned":
            self.embed_positions = nn.Parameter(truncated_normal(config.num_positions, width, std=std))
        if config.num_puzzle_ids:
            self.embed_puzzles = nn.Parameter(torch.zeros(config.num_puzzle_ids, config.puzzle_width))
        self.initial_answer = nn.Buffer(truncated_normal(width, std=1.0))
        self.initial_latent = nn.Buffer(truncated_normal(width, std=1.0))
        self.cells_first = BLOCKS[config.mixer].cells_first
        self.blocks = make_blocks(config, config.num_layers)
        self.head = nn.Parameter(truncated_normal(config.vocab_size, width, std=std))
        self.halt_head = nn.Linear(width, 2 if config.continue_head else 1)
        nn.init.zeros_(self.halt_head.weight)
        nn.init.constant_(self.halt_head.bias, -5.0)

    @property
    def state_size(self) -> int:
        """(P + L) D."""
        return self.config.num_positions * self.config.width

    def fitted_to(self, board: Board) -> Self | None:
        """With mixer "convolution", whose weights don't depend on the board's size; see `ReasonerModule.fitted_to`.

        Raises:
            InvalidValueError: it is no square.
        """
        config = self.config
        if config.mixer != "convolution" or config.positions == "learned" or config.vocab_size != board.vocab_size:
            return None
        twin = type(self)(replace(config, seq_len=board.seq_len), self.compute_dtype)
        twin.load_state_dict(self.state_dict())
        return twin.requires_grad_(False).eval()

    def initial_carry(self, batch_size: int, keys: Tensor | None = None) -> Carry:
        """One fixed random vector per state, at every cell."""
        del keys
        shape = (batch_size, self.config.num_positions, self.config.width)
        answer = self.initial_answer.to(self.compute_dtype).expand(shape)
        latent = self.initial_latent.to(self.compute_dtype).expand(shape)
        prediction = torch.zeros(batch_size, self.seq_len, dtype=torch.int64, device=answer.device)
        return Carry(answer, latent, prediction)

    def _read(self, answer: Tensor) -> Tensor:
        return F.linear(answer[:, self.config.num_puzzle_positions :].float(), self.head)

    def _read_halting(self, answer: Tensor) -> tuple[Tensor, ...]:
        return self.halt_head(answer[:, 0].float()).unbind(-1)

    def _arrange(self, states: Tensor) -> Tensor:
        return states.transpose(0, 1) if self.cells_first else states

    def _embed(self, inputs: Tensor, carry: Carry, step_index: int | Tensor, puzzle_ids: Tensor | None) -> Tensor:
        index = torch.as_tensor(step_index).to(inputs.device)
        if self.config.input_feedback:
            inputs = torch.where((index > 0)[..., None], carry.prediction, inputs)
        parts = [self._embed_cells(inputs, self.embed_tokens)]
        if self.config.num_puzzle_positions:
            parts.insert(0, self._embed_puzzle(puzzle_ids, len(inputs)))
        if self.config.step_embedding:
            step = self._embed_index(index.clamp(max=self.num_supervision_steps - 1))
            step = step[:, None] if step.ndim == 2 and not self.cells_first else step
            parts = [part + step for part in parts]
        if self.config.feedback:
            parts[-1] = parts[-1] + self._embed_cells(carry.prediction, self.embed_prediction)
        x = torch.cat(parts, dim=0 if self.cells_first else 1) if len(parts) > 1 else parts[0]
        if self.config.positions == "learned":
            positions = self.embed_positions[:, None] if self.cells_first else self.embed_positions
            x = (x + positions) * math.sqrt(1 / 2)
        return (x * math.sqrt(self.config.width)).to(self.compute_dtype)

    def _embed_cells(self, tokens: Tensor, table: Tensor) -> Tensor:
        # F.embedding: indexing a parameter with a tensor breaks a compiled graph.
        return F.embedding(tokens.T if self.cells_first else tokens, table)

    def _embed_puzzle(self, puzzle_ids: Tensor | None, batch_size: int) -> Tensor:
        config = self.config
        if puzzle_ids is None:
            puzzle_ids = torch.zeros(batch_size, dtype=torch.int64, device=self.embed_puzzles.device)
        elif puzzle_ids.dtype != torch.int64 or puzzle_ids.shape != (batch_size,):
            raise InvalidValueError(
                f"puzzle_ids must be int64 [{batch_size}]; got {puzzle_ids.dtype} {list(puzzle_ids.shape)}."
            )
        elif not bool(((puzzle_ids >= 0) & (puzzle_ids < config.num_puzzle_ids)).all()):
            raise InvalidValueError(
                f"puzzle_ids must be in 0..{config.num_puzzle_ids - 1}; got {puzzle_ids.tolist()}."
                " Puzzles that the reasoner was not trained on have no embedding."
            )
        # Sparse: there can be a million rows, of which the batch looks up a few.
        flat = F.embedding(puzzle_ids, self.embed_puzzles, sparse=True)
        flat = F.pad(flat, (0, config.num_puzzle_positions * config.width - config.puzzle_width))
        return self._arrange(flat.view(batch_size, config.num_puzzle_positions, config.width))

    def _embed_index(self, index: Tensor) -> Tensor:
        if self.config.step_index == "integer":
            return F.embedding(index, self.embed_step)
        return index[..., None] / max(self.num_supervision_steps - 1, 1) * self.embed_step[0]

    def _recurse(self, x: Tensor, answer: Tensor, latent: Tensor, updates: int) -> tuple[Tensor, Tensor]:
        for _ in range(updates):
            latent = self._update_latent(x, answer, latent)
        return self._update_answer(answer + latent), latent

    def _update_latent(self, x: Tensor, answer: Tensor, latent: Tensor) -> Tensor:
        total = latent + (answer + x) if self.config.injection_first else latent + answer + x
        return run_blocks(self.blocks, total)

    def _update_answer(self, states: Tensor) -> Tensor:
        return run_blocks(self.blocks, states)
