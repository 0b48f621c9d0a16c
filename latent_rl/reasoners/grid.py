"""A network of small vectors, one for each open cell of a square board, that hear their four neighbours.

Walls say nothing and are told nothing, so that only open cells are computed on: of a 30x30 maze's 900 some 400 to 600.
No weight depends on the board's size.
"""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self, final

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from latent_rl.config import SIZE, Range
from latent_rl.errors import InvalidValueError
from latent_rl.reasoners.engine import Rows
from latent_rl.reasoners.layers import Gated, PooledHalt, gated_product, rms_norm, truncated_normal
from latent_rl.reasoners.network import Network, VectorsConfig, random_carry
from latent_rl.types import Carry, TaskShape

CERTAIN = 1e4
"""By how much the logit of a closed cell's token is above the others."""
NUM_DIRECTIONS = 4
"""Above, left, right, below: the opposite of number k is number 3 - k."""


@final
@dataclass(frozen=True, kw_only=True)
class GridConfig(VectorsConfig):
    """Shape of a grid network, and the board it is for. Defaults: 10,000 parameters on mazes."""

    wall_token: Annotated[int, Range(0, 2**16)] = 1
    """Cells with this token are closed, as those with padding, 0, are; 1 is a maze's wall."""
    width: Annotated[int, SIZE] = 32
    """d, numbers for each cell."""
    expansion: Annotated[float, Range(1, 64)] = 2.0
    """Inner width of the SwiGLU on every cell, as a multiple of d."""

    @property
    def state_size(self) -> int:
        """L d; see `NetworkConfig.state_size`."""
        return self.seq_len * self.width


@dataclass(frozen=True)
class OpenCells:
    """The open cells of B boards, one after the other.

    Attributes:
        inputs: int64 [B, L], the boards.
        places: int64 [N], where the open cells are among the B L.
        neighbours: int64 [4, N], the open cells above, left, right and below; N where there is none.
        embedded: float [N, d], what every update is told of them.
    """

    inputs: Tensor
    places: Tensor
    neighbours: Tensor
    embedded: Tensor


class _NeighbourSum(Function):
    """Weighted sums over neighbours. A gradient goes back the way the sum came: from the left to the right."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, kernel: Tensor, neighbours: Tensor) -> Tensor:
        padded = F.pad(rows, (0, 0, 0, 1))
        ctx.save_for_backward(padded, kernel, neighbours)
        return _weighted(padded, kernel, neighbours)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        padded, kernel, neighbours = ctx.saved_tensors
        (gradient,) = gradients
        # Whoever hears a cell from the left is heard by it from the right: the opposite of k is 3 - k.
        back = _weighted(F.pad(gradient, (0, 0, 0, 1)), kernel.flip(0), neighbours)
        of_kernel = torch.stack([(gradient * padded[cells]).sum(0) for cells in neighbours.unbind(0)])
        return back, of_kernel, None


def _weighted(padded: Tensor, kernel: Tensor, neighbours: Tensor) -> Tensor:
    above, left, right, below = (padded[cells] * weight for cells, weight in zip(neighbours, kernel, strict=True))
    return above + left + right + below


def neighbour_sum(rows: Tensor, kernel: Tensor, neighbours: Tensor) -> Tensor:
    """sum_k w_k * x_(k-th neighbour), a product per channel.

    Args:
        rows: float [N, d].
        kernel: float [4, d].
        neighbours: int64 [4, N]; N for none.

    Returns:
        float [N, d].
    """
    return _NeighbourSum.apply(rows, kernel, neighbours)


class GridBlock(nn.Module):
    """Every cell hears its neighbours, then SwiGLU on each, both with residual and post-norm.

    With s_i = silu(G x_i) * U x_i what open cell i sends, and a weight w_k for each direction and channel:

        x_i <- norm(x_i + sum_k w_k * s_(k-th neighbour of i)),    x_i <- norm(x_i + g(x_i)).
    """

    def __init__(self, config: GridConfig) -> None:
        super().__init__()
        width = config.width
        self.send = nn.Parameter(truncated_normal(2 * width, width, std=width**-0.5))
        self.kernel = nn.Parameter(truncated_normal(NUM_DIRECTIONS, width, std=NUM_DIRECTIONS**-0.5))
        self.channels = Gated(width, round(config.expansion * width))

    def forward(self, x: Tensor, neighbours: Tensor) -> Tensor:
        """Map the states of open cells, [N, d], to the same."""
        sent = gated_product(x, self.send)
        x = rms_norm(x + neighbour_sum(sent, self.kernel.to(x.dtype), neighbours))
        return rms_norm(x + self.channels(x))


@final
class Grid(Network):
    """Grid network; the recursion is a TRM's: z_L <- f(z_L + z_H + x) n times, then z_H <- f(z_H + z_L).

    x embeds the token of each open cell. Closed cells have no state and keep their token, which is read as certain; of
    an open cell the readout is linear in z_H. News travel one cell per pass. States start at random, in training and
    after, so that a fresh start is another try.

    Args:
        config: the shape.
        compute_dtype: see `Network`.

    Raises:
        InvalidValueError: the board is no square.
    """

    config: GridConfig

    def __init__(self, config: GridConfig, compute_dtype: torch.dtype | None = None) -> None:
        self.size = math.isqrt(config.seq_len)
        if self.size**2 != config.seq_len:
            raise InvalidValueError(f"a grid network needs a square board; got {config.seq_len} cells.")
        super().__init__(config, compute_dtype, fixed_shapes=False)
        width = config.width
        self.embed_tokens = nn.Parameter(truncated_normal(config.vocab_size, width, std=1.0))
        self.initial = nn.Buffer(truncated_normal(2, width, std=1.0))
        self.blocks = nn.ModuleList(GridBlock(config) for _ in range(config.num_layers))
        self.head = nn.Parameter(truncated_normal(config.vocab_size, width, std=width**-0.5))
        self.halt_head = PooledHalt(width)

    def resized(self, shape: TaskShape) -> Self | None:
        """The same weights on another square board with the same tokens; see `Resizable`."""
        config = self.config
        if config.seq_len == shape.seq_len:
            return self
        if shape.vocab_size != config.vocab_size or math.isqrt(shape.seq_len) ** 2 != shape.seq_len:
            return None
        twin = type(self)(replace(config, seq_len=shape.seq_len), self.compute_dtype)
        twin.load_state_dict(self.state_dict())
        return twin.requires_grad_(False).eval().to(self.head.device)

    def initial_carry(self, batch_size: int, keys: Tensor | None = None) -> Carry:
        """Normal noise around one fixed vector per state; see `random_carry`."""
        keys = torch.arange(batch_size) if keys is None else keys
        return random_carry(self.config, self.initial, self.compute_dtype, keys)

    def embed(self, rows: Rows) -> OpenCells:
        """What is open, with its tokens; see `Network.embed`."""
        inputs = rows.inputs
        is_open = (inputs != 0) & (inputs != self.config.wall_token)
        places = is_open.flatten().nonzero().squeeze(1)
        count = len(places)
        number = torch.full((inputs.numel(),), count, device=inputs.device)
        number[places] = torch.arange(count, device=inputs.device)
        board = F.pad(number.view(-1, self.size, self.size), (1, 1, 1, 1), value=count)
        near = (board[:, :-2, 1:-1], board[:, 1:-1, :-2], board[:, 1:-1, 2:], board[:, 2:, 1:-1])
        neighbours = torch.stack([part.flatten()[places] for part in near])
        embedded = F.embedding(inputs.flatten()[places], self.embed_tokens).to(self.compute_dtype)
        return OpenCells(inputs, places, neighbours, embedded)

    def enter(self, states: Tensor, x: OpenCells) -> Tensor:
        """The states of open cells, [N, d]; see `Network.enter`."""
        return states.reshape(-1, self.config.width).index_select(0, x.places)

    def leave(self, states: Tensor, x: OpenCells) -> Tensor:
        """Back in [B, L, d], 0 where a cell is closed; see `Network.leave`."""
        every = states.new_zeros(x.inputs.numel(), self.config.width)
        return every.index_copy(0, x.places, states).view(*x.inputs.shape, -1)

    def recurse(self, x: OpenCells, answer: Tensor, latent: Tensor, num_latent_updates: int) -> tuple[Tensor, Tensor]:
        """Update the latent n times and then the answer, by the same network; see `Network.recurse`."""
        for _ in range(num_latent_updates):
            latent = self._run_blocks(latent + answer + x.embedded, x)
        return self._run_blocks(answer + latent, x), latent

    def _run_blocks(self, states: Tensor, x: OpenCells) -> Tensor:
        for block in self.blocks:
            states = block(states, x.neighbours)
        return states

    def read(self, answer: Tensor, x: OpenCells) -> Tensor:
        """A linear readout of every open cell; see `Network.read`."""
        closed = F.one_hot(x.inputs.flatten(), self.config.vocab_size) * CERTAIN
        logits = F.linear(answer.float(), self.head)
        return closed.float().index_copy(0, x.places, logits).view(*x.inputs.shape, -1)

    def judge(self, answer: Tensor) -> tuple[Tensor, None]:
        """A linear readout of the cells' mean and maximum; see `Network.judge`."""
        states = answer.float()
        return self.halt_head(states), None
