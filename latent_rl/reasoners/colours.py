"""A network of small vectors, one for each cell and colour of a square board, with the same weights for every colour.

It is equivariant to every renaming of colours: what it learns of a rule in some colours holds in all, also in those
that no example has shown. Which colours mean something of their own in a puzzle, only the puzzle's embedding can say,
which has a part for each.
"""

import math
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latent_rl.config import DERIVED, SIZE, Range
from latent_rl.errors import InvalidValueError
from latent_rl.reasoners.cells import look_up_puzzles, run_blocks, update_latent
from latent_rl.reasoners.engine import Rows
from latent_rl.reasoners.layers import PooledHalt, gated, rms_norm, truncated_normal
from latent_rl.reasoners.network import Network, VectorsConfig
from latent_rl.reasoners.symbols import IMPOSSIBLE, gated_product
from latent_rl.types import Carry

PADDING = 0
"""The token that no answer holds; all others have a channel."""
LONGEST_WAVE = 30.0
"""Base of the rotary positions' wavelengths, 2 pi to nearly 2 pi times this many cells: boards are small."""


@final
@dataclass(frozen=True, kw_only=True)
class ColoursConfig(VectorsConfig):
    """Shape of a colour network. Defaults: 20,000 weights beside the puzzle embeddings."""

    width: Annotated[int, SIZE] = 32
    """d, numbers for each cell and colour."""
    num_heads: Annotated[int, SIZE] = 4
    """Ways in which a cell looks at the others."""
    head_width: Annotated[int, SIZE] = 16
    """Numbers of a query, or key, of each."""
    expansion: Annotated[float, Range(1, 64)] = 2.0
    """Inner width of the SwiGLU, as a multiple of d."""
    num_special: Annotated[int, Range(1, 2**16)] = 3
    """The first so many tokens mean something of their own (in ARC: padding, end of a grid, background); all others are
    colours."""
    num_puzzle_ids: Annotated[int, Range(0, 10**8), DERIVED] = 0
    """Puzzles that have an embedding of their own; 0 for none."""
    puzzle_width: Annotated[int, Range(0, 2**16), DERIVED] = 0
    """Numbers that a puzzle's embedding has for all channels together, and for each."""

    def __post_init__(self) -> None:
        """Check types and ranges, and what goes together."""
        super().__post_init__()
        if math.isqrt(self.seq_len) ** 2 != self.seq_len:
            raise InvalidValueError(f"a colour network needs a square board; got {self.seq_len} cells.")
        for name, divisor in (("width", self.num_heads), ("head_width", 4)):
            if getattr(self, name) % divisor:
                raise InvalidValueError(
                    f"ColoursConfig.{name} must be a multiple of {divisor}; got {getattr(self, name)}."
                )
        if bool(self.num_puzzle_ids) != bool(self.puzzle_width):
            raise InvalidValueError(
                "num_puzzle_ids and puzzle_width must be both 0 or both positive; got"
                f" {self.num_puzzle_ids} and {self.puzzle_width}."
            )

    @property
    def num_channels(self) -> int:
        """C = V - 1, one for every token but the padding."""
        return self.vocab_size - 1

    @property
    def state_size(self) -> int:
        """L C d; see `NetworkConfig.state_size`."""
        return self.seq_len * self.num_channels * self.width


def square_rotations(size: int, head_width: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the rotary positions on a square board, each float32 [size^2, 1, 1, head_width].

    Half of the waves run down the rows, half along the columns.
    """
    quarter = head_width // 4
    waves = torch.arange(size)[:, None] * LONGEST_WAVE ** (-torch.arange(quarter) / quarter)
    down, along = waves[:, None].expand(-1, size, -1), waves[None].expand(size, -1, -1)
    angles = torch.cat([down, along, down, along], dim=-1).flatten(0, 1)[:, None, None]
    return angles.cos(), angles.sin()


class ColourBlock(nn.Module):
    """Cells look at cells, then SwiGLU on each cell and colour, both with a residual and a post-norm.

    What cell l shows of all its colours, u_l = norm(mean_c silu(G x_lc) * U x_lc), decides where it looks, with weights
    a_h(l, k) of head h, the same for every colour; and every colour there hears of the others through it:

        x_lc <- norm(x_lc + O concat_h sum_k a_h(l, k) V_h x_kc),    a_h = softmax_k of (Q_h u_l) . (K_h u_k),
        x_lc <- norm(x_lc + D (silu(G' x_lc + G" u_l) * (U' x_lc + U" u_l))),

    queries and keys in rotary positions of row and column.
    """

    cosine: Tensor
    sine: Tensor

    def __init__(self, config: ColoursConfig) -> None:
        super().__init__()
        width, self.num_heads, inner = config.width, config.num_heads, round(config.expansion * config.width)
        std = width**-0.5
        self.show = nn.Parameter(truncated_normal(2 * width, width, std=std))
        self.query_key = nn.Parameter(truncated_normal(2 * config.num_heads * config.head_width, width, std=std))
        self.value = nn.Parameter(truncated_normal(width, width, std=std))
        self.out = nn.Parameter(truncated_normal(width, width, std=std))
        self.gate_up = nn.Parameter(truncated_normal(2 * inner, width, std=std))
        self.others = nn.Parameter(truncated_normal(2 * inner, width, std=std))
        self.down = nn.Parameter(truncated_normal(width, inner, std=inner**-0.5))
        cosine, sine = square_rotations(math.isqrt(config.seq_len), config.head_width)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, C, d] to the same."""
        shown = rms_norm(gated_product(x, self.show).mean(2))
        x = rms_norm(x + self._seen(x, self._weights(shown)))
        gate_up = F.linear(x, self.gate_up.to(x.dtype)) + F.linear(shown, self.others.to(x.dtype))[:, :, None]
        gate, up = gate_up.chunk(2, dim=-1)
        return rms_norm(x + F.linear(gated(gate, up), self.down.to(x.dtype)))

    def _weights(self, shown: Tensor) -> Tensor:
        """How much each cell looks at each, [B, heads, L, L], from what they show, [B, L, d]."""
        query_key = F.linear(shown, self.query_key.to(shown.dtype)).unflatten(-1, (2, self.num_heads, -1))
        first, second = query_key.chunk(2, dim=-1)
        turned = torch.cat([-second, first], dim=-1)
        query_key = query_key * self.cosine.to(shown.dtype) + turned * self.sine.to(shown.dtype)
        query, key = query_key.permute(2, 0, 3, 1, 4)
        return (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).softmax(-1)

    def _seen(self, x: Tensor, weights: Tensor) -> Tensor:
        """What each cell gets of the others, [B, L, C, d], colour by colour."""
        value = F.linear(x, self.value.to(x.dtype)).unflatten(-1, (self.num_heads, -1))
        value = value.permute(0, 3, 1, 2, 4)  # [B, heads, L, C, d / heads]
        seen = (weights @ value.flatten(3)).view(value.shape).permute(0, 2, 3, 1, 4)
        return F.linear(seen.flatten(3), self.out.to(x.dtype))


@final
class Colours(Network):
    """Colour-equivariant network for grids; the recursion is a TRM's: z_L <- f(z_L + z_H + x) n times, then z_H <-
    f(z_H + z_L).

    The input x of a cell and colour says whether the cell holds that colour, where the cell is, whether it is padding,
    and of which kind the colour is: a special token, or any colour. A puzzle's embedding adds a vector at all of its
    channels, and one at each. Permuting the colours of the board and the embedding's parts with them permutes the
    logits. The readout of a channel is linear.

    Source: symbol equivariance as in SE-RRM (arXiv 2603.02193).
    Differs: cells look at each other once for all colours, not anew for each; colours meet in a mean, not in attention.

    Args:
        config: the shape.
        compute_dtype: see `Network`.

    Raises:
        InvalidValueError: all tokens are special.
    """

    config: ColoursConfig

    def __init__(self, config: ColoursConfig, compute_dtype: torch.dtype | None = None) -> None:
        if config.num_special > config.num_channels:
            raise InvalidValueError(
                f"ColoursConfig.num_special must leave a colour of the {config.vocab_size} tokens; got"
                f" {config.num_special}."
            )
        super().__init__(config, compute_dtype)
        size, width = math.isqrt(config.seq_len), config.width
        self.holds = nn.Parameter(truncated_normal(2, width, std=1.0))
        self.padding = nn.Parameter(truncated_normal(width, std=1.0))
        self.kinds = nn.Parameter(truncated_normal(config.num_special, width, std=1.0))
        self.rows = nn.Parameter(truncated_normal(size, width, std=1.0))
        self.columns = nn.Parameter(truncated_normal(size, width, std=1.0))
        if config.num_puzzle_ids:
            num_parts, part = 1 + config.num_channels, config.puzzle_width
            self.embed_puzzles = nn.Parameter(torch.zeros(config.num_puzzle_ids, num_parts * part))
            self.tell = nn.Parameter(truncated_normal(width, part, std=part**-0.5))
        self.initial = nn.Buffer(truncated_normal(2, width, std=1.0))
        self.blocks = nn.ModuleList(ColourBlock(config) for _ in range(config.num_layers))
        self.head = nn.Parameter(truncated_normal(width, std=width**-0.5))
        self.halt_head = PooledHalt(width)

    def initial_carry(self, batch_size: int, keys: Tensor | None = None) -> Carry:
        """One fixed random vector per state, at every cell and colour."""
        shape = (batch_size, self.seq_len, self.config.num_channels, self.config.width)
        answer, latent = (state.expand(shape).flatten(2) for state in self.initial.to(self.compute_dtype))
        return Carry(answer, latent, torch.zeros(shape[:2], dtype=torch.int64, device=answer.device))

    def embed(self, rows: Rows) -> Tensor:
        """The input of every cell and colour, [B, L, C, d]; see `Network.embed`."""
        config, tokens = self.config, rows.inputs
        kinds = torch.arange(config.num_channels, device=tokens.device).clamp(max=config.num_special - 1)
        places = (self.rows[:, None] + self.columns).flatten(0, 1) + (tokens == PADDING)[..., None] * self.padding
        channels = F.embedding(kinds, self.kinds)[None]
        if config.num_puzzle_ids:
            row = look_up_puzzles(self.embed_puzzles, rows.puzzle_ids, len(tokens))
            parts = row.view(len(tokens), -1, config.puzzle_width)
            channels = channels + F.linear(parts[:, :1] + parts[:, 1:], self.tell)
        holds = tokens[..., None] == torch.arange(PADDING + 1, config.vocab_size, device=tokens.device)
        return (F.embedding(holds.long(), self.holds) + places[:, :, None] + channels[:, None]).to(self.compute_dtype)

    def enter(self, states: Tensor, x: Tensor) -> Tensor:
        """The states as [B, L, C, d]; see `Network.enter`."""
        return states.unflatten(2, (self.config.num_channels, -1)).contiguous()

    def leave(self, states: Tensor, x: Tensor) -> Tensor:
        """Back as [B, L, C d]; see `Network.leave`."""
        return states.flatten(2)

    def recurse(self, x: Tensor, answer: Tensor, latent: Tensor, num_latent_updates: int) -> tuple[Tensor, Tensor]:
        """Update the latent n times and then the answer, by the same network; see `Network.recurse`."""
        for _ in range(num_latent_updates):
            latent = update_latent(self.blocks, x, answer, latent)
        return run_blocks(self.blocks, answer + latent), latent

    def read(self, answer: Tensor, x: Tensor) -> Tensor:
        """A linear readout of every channel; see `Network.read`."""
        return F.pad(answer.float() @ self.head, (PADDING + 1, 0), value=IMPOSSIBLE)

    def judge(self, answer: Tensor) -> tuple[Tensor, None]:
        """A linear readout of the mean and maximum over all cells and colours; see `Network.judge`."""
        states = answer.unflatten(2, (self.config.num_channels, -1)).flatten(1, 2).float()
        return self.halt_head(states), None
