"""What networks with one state per cell share: embeddings, blocks of cells and channels, readout, halting head."""

import math
from abc import ABC
from dataclasses import dataclass, replace
from typing import Annotated, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latent_rl.config import DERIVED, SIZE, Range, one_of
from latent_rl.errors import InvalidValueError, UnknownNameError
from latent_rl.reasoners.layers import BLOCKS, truncated_normal
from latent_rl.reasoners.network import Network, NetworkConfig
from latent_rl.types import Carry, TaskShape

LAYERS = Range(1, 1024)
"""Blocks of a network."""
POSITIONS = ("rotary", "learned", "none")


@dataclass(frozen=True, kw_only=True)
class CellConfig(NetworkConfig, ABC):
    """What describes a network with one state per cell."""

    num_layers: Annotated[int, LAYERS] = 1
    """Blocks in the network."""
    mixer: Annotated[str, one_of(BLOCKS)] = "mlp"
    """How cells see each other: "mlp" (best on small fixed grids), "attention", "convolution" (with the eight around
    them on a square board: best on mazes) or "mlp_cell_norm" (the public TRM's)."""
    num_heads: Annotated[int, SIZE] = 4
    """Heads, with attention."""
    expansion: Annotated[float, Range(1, 64)] = 4.0
    """SwiGLU inner width is about 2/3 of expansion * width."""
    positions: Annotated[str, one_of(POSITIONS)] = "rotary"
    """How cells know where they are: "rotary" (in attention), "learned" (an embedding of their own) or "none"."""
    num_puzzle_ids: Annotated[int, Range(0, 10**8), DERIVED] = 0
    """Puzzles that have an embedding of their own; 0 for none."""
    puzzle_width: Annotated[int, Range(0, 2**16), DERIVED] = 0
    """Width of a puzzle's embedding: cut into puzzle positions, the rest of which stays zero."""
    num_puzzle_positions: Annotated[int, Range(0, 2**16), DERIVED] = 0
    """P, positions in front of the cells for the puzzle's embedding; the halting head reads the first."""

    def __post_init__(self) -> None:
        """Check types, ranges, names, and what goes together."""
        super().__post_init__()
        for kind, name, known in (("mixer", self.mixer, BLOCKS), ("positions", self.positions, POSITIONS)):
            if name not in known:
                raise UnknownNameError(kind, name, known)
        if self.mixer == "attention" and self.width % (2 * self.num_heads):
            raise InvalidValueError(
                f"{type(self).__name__}.width must be a multiple of 2 * num_heads; got {self.width} and"
                f" {self.num_heads}."
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
    def state_size(self) -> int:
        """Numbers of a puzzle's answer, or latent: (P + L) * D."""
        return self.num_positions * self.width


def make_blocks(config: CellConfig, num_blocks: int) -> nn.ModuleList:
    """A stack of blocks of the config's shape with random weights."""
    block, rotary = BLOCKS[config.mixer], config.positions == "rotary"
    return nn.ModuleList(
        block(config.width, config.num_heads, config.num_positions, config.expansion, rotary) for _ in range(num_blocks)
    )


def run_blocks(blocks: nn.ModuleList, states: Tensor) -> Tensor:
    """One forward pass of a stack of blocks."""
    for block in blocks:
        states = block(states)
    return states


class CellNetwork(Network, ABC):
    """A network with one state per cell, read linearly.

    Differs: without puzzle positions, which are off by default, the halting head reads cell 0.

    Args:
        config: the shape.
        compute_dtype: see `Network`.
        num_step_vectors: rows of an embedding of steps; 0 for none.
        feedback: whether there is an embedding of predictions.
        continue_head: whether the halting head has a second logit, the value of another step.
    """

    config: CellConfig

    def __init__(
        self,
        config: CellConfig,
        compute_dtype: torch.dtype | None,
        *,
        num_step_vectors: int = 0,
        feedback: bool = False,
        continue_head: bool = False,
    ) -> None:
        super().__init__(config, compute_dtype)
        self.cells_first = BLOCKS[config.mixer].cells_first
        width, std = config.width, config.width**-0.5
        self.embed_tokens = nn.Parameter(truncated_normal(config.vocab_size, width, std=std))
        if num_step_vectors:
            self.embed_step = nn.Parameter(truncated_normal(num_step_vectors, width, std=std))
        if feedback:
            self.embed_prediction = nn.Parameter(truncated_normal(config.vocab_size, width, std=std))
        if config.positions == "learned":
            self.embed_positions = nn.Parameter(truncated_normal(config.num_positions, width, std=std))
        if config.num_puzzle_ids:
            self.embed_puzzles = nn.Parameter(torch.zeros(config.num_puzzle_ids, config.puzzle_width))
        self.initial_answer = nn.Buffer(truncated_normal(width, std=1.0))
        self.initial_latent = nn.Buffer(truncated_normal(width, std=1.0))
        self.blocks = make_blocks(config, config.num_layers)
        self.head = nn.Parameter(truncated_normal(config.vocab_size, width, std=std))
        self.halt_head = nn.Linear(width, 2 if continue_head else 1)
        nn.init.zeros_(self.halt_head.weight)
        nn.init.constant_(self.halt_head.bias, -5.0)

    def resized(self, shape: TaskShape) -> Self | None:
        """With mixer "convolution", whose weights don't depend on the board's size; see `Resizable`.

        Raises:
            InvalidValueError: it is no square.
        """
        config = self.config
        if config.seq_len == shape.seq_len:
            return self
        if config.mixer != "convolution" or config.positions == "learned" or config.vocab_size != shape.vocab_size:
            return None
        twin = type(self)(replace(config, seq_len=shape.seq_len), self.compute_dtype)
        twin.load_state_dict(self.state_dict())
        return twin.requires_grad_(False).eval()

    def initial_carry(self, batch_size: int, keys: Tensor | None = None) -> Carry:
        """One fixed random vector per state, at every cell."""
        shape = (batch_size, self.config.num_positions, self.config.width)
        answer = self.initial_answer.to(self.compute_dtype).expand(shape)
        latent = self.initial_latent.to(self.compute_dtype).expand(shape)
        prediction = torch.zeros(batch_size, self.seq_len, dtype=torch.int64, device=answer.device)
        return Carry(answer, latent, prediction)

    def enter(self, states: Tensor, x: Tensor) -> Tensor:
        """The cells' axis first, or second, as the blocks like it; see `Network.enter`."""
        return self._arranged(states).contiguous()

    def leave(self, states: Tensor, x: Tensor) -> Tensor:
        """See `Network.leave`."""
        return self._arranged(states)

    def _arranged(self, states: Tensor) -> Tensor:
        """Swap between [B, P, D] and the layout of the blocks."""
        return states.transpose(0, 1) if self.cells_first else states

    def read(self, answer: Tensor, x: Tensor) -> Tensor:
        """A linear readout of every cell; see `Network.read`."""
        return F.linear(self._arranged(answer)[:, self.config.num_puzzle_positions :].float(), self.head)

    def judge(self, answer: Tensor) -> tuple[Tensor, Tensor | None]:
        """A linear readout of the first position; see `Network.judge`."""
        halt_logit, *others = self.halt_head(answer[:, 0].float()).unbind(-1)
        return halt_logit, others[0] if others else None

    def embedded(
        self,
        tokens: Tensor,
        puzzle_ids: Tensor | None,
        *,
        step: Tensor | None = None,
        prediction: Tensor | None = None,
    ) -> Tensor:
        """The input of the recursion, in its layout and dtype: tokens behind the puzzle's own positions, plus what else
        the network is told.

        Args:
            tokens: int64 [B, L].
            puzzle_ids: int64 [B], by default 0; ignored without puzzle embeddings.
            step: float [D], or [B, D], added at every position.
            prediction: int64 [B, L], whose embedding is added at the cells.

        Raises:
            InvalidValueError: puzzle_ids are not int64 [B] of known puzzles.
        """
        parts = [self._embed_cells(tokens, self.embed_tokens)]
        if self.config.num_puzzle_positions:
            parts.insert(0, self._embed_puzzle(puzzle_ids, len(tokens)))
        if step is not None:
            step = step[:, None] if step.ndim == 2 and not self.cells_first else step
            parts = [part + step for part in parts]
        if prediction is not None:
            parts[-1] = parts[-1] + self._embed_cells(prediction, self.embed_prediction)
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
        flat = look_up_puzzles(self.embed_puzzles, puzzle_ids, batch_size)
        flat = F.pad(flat, (0, config.num_puzzle_positions * config.width - config.puzzle_width))
        return self._arranged(flat.view(batch_size, config.num_puzzle_positions, config.width))


def look_up_puzzles(table: Tensor, puzzle_ids: Tensor | None, batch_size: int) -> Tensor:
    """The embeddings of puzzles, [B, width], with a gradient that is sparse in the table's rows.

    Args:
        table: [N, width].
        puzzle_ids: int64 [B], by default 0.
        batch_size: B.

    Raises:
        InvalidValueError: puzzle_ids are not int64 [B] of known puzzles.
    """
    if puzzle_ids is None:
        puzzle_ids = torch.zeros(batch_size, dtype=torch.int64, device=table.device)
    elif puzzle_ids.dtype != torch.int64 or puzzle_ids.shape != (batch_size,):
        raise InvalidValueError(
            f"puzzle_ids must be int64 [{batch_size}]; got {puzzle_ids.dtype} {list(puzzle_ids.shape)}."
        )
    elif not bool(((puzzle_ids >= 0) & (puzzle_ids < len(table))).all()):
        raise InvalidValueError(
            f"puzzle_ids must be in 0..{len(table) - 1}; got {puzzle_ids.tolist()}."
            " Puzzles that the reasoner was not trained on have no embedding."
        )
    # Sparse: there can be a million rows, of which the batch looks up a few.
    return F.embedding(puzzle_ids, table, sparse=True)


def update_latent(
    blocks: nn.ModuleList, x: Tensor, answer: Tensor, latent: Tensor, *, injection_first: bool = False
) -> Tensor:
    """z_L <- f(z_L + z_H + x).

    Args:
        blocks: f.
        x: of the same shape as the states, in the layout of the blocks.
        answer: z_H.
        latent: z_L.
        injection_first: add up z_L + (z_H + x), as the public code does: the same but for rounding.
    """
    return run_blocks(blocks, latent + (answer + x) if injection_first else latent + answer + x)
