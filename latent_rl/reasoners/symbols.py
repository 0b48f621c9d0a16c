"""A network of small vectors, one for each candidate (cell, symbol), that meet in the units of a constraint task.

It is equivariant to every renaming of symbols and every permutation of cells that maps units to units: what it learns
of one view of a puzzle holds in all. Its weights depend neither on the number of cells nor on that of symbols.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Self, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latent_rl.config import DERIVED, SIZE, Range
from latent_rl.errors import InvalidValueError
from latent_rl.randomness import normal_states
from latent_rl.reasoners.engine import Rows
from latent_rl.reasoners.layers import gated, rms_norm, truncated_normal
from latent_rl.reasoners.network import Network, RecursionConfig
from latent_rl.types import Carry, TaskShape

FIRST_SYMBOL = 2
"""Symbol s is token s + 2; 0 is padding, and 1 an open cell, or one without a symbol."""
IMPOSSIBLE = -1e4
"""Logit of a token that no answer holds."""
CELL = "cell"
"""Name of the weights for the symbols of one cell; the others are named by the units."""


@final
@dataclass(frozen=True, kw_only=True)
class SymbolsConfig(RecursionConfig):
    """Shape of a symbol network, and the board it is for. Defaults: 17,000 parameters on Sudoku."""

    units: Annotated[Mapping[str, tuple[tuple[int, ...], ...]], DERIVED] = field(default_factory=dict)
    """Sets of cells in which no symbol stands twice, under the names of the weights that they share."""
    has_background: Annotated[bool, DERIVED] = False
    """A cell may stay without a symbol."""
    width: Annotated[int, SIZE] = 32
    """d, numbers for each candidate, and of what it sends to its units and its cell."""
    expansion: Annotated[float, Range(1, 64)] = 2.0
    """Inner width of the SwiGLU on every candidate, as a multiple of d."""
    num_layers: Annotated[int, Range(1, 1024)] = 1
    """Blocks in the network."""

    def __post_init__(self) -> None:
        """Check types and ranges, and that the units are of this board."""
        super().__post_init__()
        cells = range(self.seq_len)
        named = isinstance(self.units, Mapping) and all(
            isinstance(name, str) and name.isidentifier() and name != CELL for name in self.units
        )
        if not named or not all(
            isinstance(unit, tuple | list) and unit and all(type(cell) is int and cell in cells for cell in unit)
            for units in self.units.values()
            for unit in (units if isinstance(units, tuple | list) and units else [None])
        ):  # fmt: skip
            raise InvalidValueError(
                f"SymbolsConfig.units must be lists of cells in 0..{self.seq_len - 1} under names other than {CELL!r}."
            )
        # Tuples, as lists would not be equal to what a task gives: a config comes from JSON, too.
        units = {name: tuple(tuple(unit) for unit in units) for name, units in sorted(self.units.items())}
        object.__setattr__(self, "units", units)

    @property
    def num_symbols(self) -> int:
        """S."""
        return max(0, self.vocab_size - FIRST_SYMBOL)

    @property
    def state_size(self) -> int:
        """L S d; see `NetworkConfig.state_size`."""
        return self.seq_len * self.num_symbols * self.width

    @property
    def num_blocks(self) -> int:
        """Blocks with weights of their own."""
        return self.num_layers

    @property
    def blocks_per_step(self) -> int:
        """Blocks applied one after the other in one supervision step."""
        return self.passes_per_step * self.num_layers


class Gated(nn.Module):
    """y = W_down (silu(W_gate x) * W_up x), without biases, of any inner width."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_up = nn.Parameter(truncated_normal(2 * inner, width, std=width**-0.5))
        self.down = nn.Parameter(truncated_normal(width, inner, std=inner**-0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., width] to [..., width]."""
        gate, up = F.linear(x, self.gate_up.to(x.dtype)).chunk(2, dim=-1)
        return F.linear(gated(gate, up), self.down.to(x.dtype))


class SymbolBlock(nn.Module):
    """One exchange of candidates through their units and cells, then SwiGLU on each, both with residual and post-norm.

    With h_i = silu(G x_i) * U x_i what candidate i sends, every constraint node j (a symbol in a unit, or a cell) hears
    s_j = sum_{i in j} h_i and answers f_k(norm(s_j)), f_k a SwiGLU of the node's kind k:

        x_i <- norm(x_i + sum_{j with i in j} f_k(norm(s_j))),    x_i <- norm(x_i + g(x_i)).
    """

    def __init__(self, config: SymbolsConfig) -> None:
        super().__init__()
        width = config.width
        self.send = nn.Parameter(truncated_normal(2 * width, width, std=width**-0.5))
        self.answer = nn.ModuleDict({name: Gated(width, width) for name in (*config.units, CELL)})
        self.channels = Gated(width, round(config.expansion * width))

    def forward(self, x: Tensor, members: Tensor, sizes: Mapping[str, int]) -> Tensor:
        """Map [B, L, S, d] to the same; `members` [U, L] says which cells the units hold, `sizes` how many there are of
        each name, one after the other."""
        gate, up = F.linear(x, self.send.to(x.dtype)).chunk(2, dim=-1)
        sent = gated(gate, up)
        # One product of matrices each way: sparse sums take twice as long on a CPU.
        heard = rms_norm((members @ sent.flatten(2)).unflatten(2, (x.shape[2], -1)))
        parts = heard.split(list(sizes.values()), dim=1)
        answers = [self.answer[name](part) for name, part in zip(sizes, parts, strict=True)]
        back = (members.T @ torch.cat(answers, dim=1).flatten(2)).view_as(x)
        cells = self.answer[CELL](rms_norm(sent.sum(2)))
        x = rms_norm(x + back + cells[:, :, None])
        return rms_norm(x + self.channels(x))


@final
class Symbols(Network):
    """Symbol-equivariant constraint network; the recursion is a TRM's: z_L <- f(z_L + z_H + x) n times, then z_H <-
    f(z_H + z_L).

    The inputs say of every candidate whether it is open, given true or given false (another symbol stands in its cell).
    The readout is linear in a candidate's part of z_H; with a background, "no symbol" has the logit 0. States start at
    random, in training and after, so that more steps and fresh starts help.

    Source: design, "Constraints and symbols"; symbol equivariance as in SE-RRM (arXiv 2603.02193), here with sums over
    units in place of attention.

    Args:
        config: the shape and the board.
        compute_dtype: see `Network`.

    Raises:
        InvalidValueError: the board has no units, or no symbols.
    """

    config: SymbolsConfig

    def __init__(self, config: SymbolsConfig, compute_dtype: torch.dtype | None = None) -> None:
        if not config.units or not config.num_symbols:
            raise InvalidValueError(
                "a symbol network needs a task that is given by units of cells, such as Sudoku or N-Queens; this one is"
                " not. Take a trm."
            )
        super().__init__(config, compute_dtype, cells_first=False)
        width = config.width
        self.status = nn.Parameter(truncated_normal(3, width, std=1.0))
        self.initial = nn.Buffer(truncated_normal(2, width, std=1.0))
        self.members = nn.Buffer(_members(config), persistent=False)
        self.blocks = nn.ModuleList(SymbolBlock(config) for _ in range(config.num_layers))
        self.head = nn.Parameter(truncated_normal(width, std=width**-0.5))
        self.halt_head = nn.Linear(2 * width, 1)
        nn.init.zeros_(self.halt_head.weight)
        nn.init.constant_(self.halt_head.bias, -5.0)
        self._sizes = {name: len(units) for name, units in config.units.items()}

    def resized(self, shape: TaskShape) -> Self | None:
        """The same weights on another board, if its units have no other names; see `Resizable`."""
        if shape.units is None or set(shape.units) != set(self.config.units):
            return None
        config = replace(self.config, **vars(shape))
        if config == self.config:
            return self
        twin = type(self)(config, self.compute_dtype)
        twin.load_state_dict(self.state_dict())
        return twin.requires_grad_(False).eval().to(self.head.device)

    def initial_carry(self, batch_size: int, keys: Tensor | None = None) -> Carry:
        """Normal noise around one fixed vector per state, normed: a function of each row's key alone."""
        config, device = self.config, self.head.device
        keys = torch.arange(batch_size) if keys is None else keys
        noise = normal_states(keys.cpu(), 2 * config.state_size).view(batch_size, 2, -1, config.width)
        states = rms_norm((noise.to(device) + self.initial[:, None]).to(self.compute_dtype))
        answer, latent = states.view(batch_size, 2, self.seq_len, -1).unbind(1)
        return Carry(answer, latent, torch.zeros(batch_size, self.seq_len, dtype=torch.int64, device=device))

    def embed(self, rows: Rows) -> Tensor:
        """Of every candidate: open, given true or given false; [B, L, S d]. See `Network.embed`."""
        tokens = rows.inputs[:, :, None]
        symbols = torch.arange(FIRST_SYMBOL, self.vocab_size, device=tokens.device)
        status = torch.where(tokens < FIRST_SYMBOL, 0, torch.where(tokens == symbols, 1, 2))
        return F.embedding(status, self.status).flatten(2).to(self.compute_dtype)

    def recurse(self, x: Tensor, answer: Tensor, latent: Tensor, num_latent_updates: int) -> tuple[Tensor, Tensor]:
        """Update the latent n times and then the answer, by the same network; see `Network.recurse`."""
        x, answer, latent = (self._candidates(states) for states in (x, answer, latent))
        for _ in range(num_latent_updates):
            latent = self._run_blocks(latent + answer + x)
        return self._run_blocks(answer + latent).flatten(2), latent.flatten(2)

    def _candidates(self, states: Tensor) -> Tensor:
        """States [B, L, S d] as those of candidates, [B, L, S, d]."""
        return states.unflatten(2, (self.config.num_symbols, -1))

    def _run_blocks(self, states: Tensor) -> Tensor:
        members = self.members.to(states.dtype)
        for block in self.blocks:
            states = block(states, members, self._sizes)
        return states

    def read(self, answer: Tensor) -> Tensor:
        """A linear readout of every candidate; see `Network.read`."""
        candidates = self._candidates(answer).float() @ self.head
        others = candidates.new_full((*candidates.shape[:2], FIRST_SYMBOL), IMPOSSIBLE)
        if self.config.has_background:
            others[..., 1] = 0
        return torch.cat([others, candidates], dim=-1)

    def judge(self, answer: Tensor) -> tuple[Tensor, None]:
        """A linear readout of the candidates' mean and maximum; see `Network.judge`."""
        states = self._candidates(answer).flatten(1, 2).float()
        return self.halt_head(torch.cat([states.mean(1), states.amax(1)], dim=-1)).squeeze(-1), None


def _members(config: SymbolsConfig) -> Tensor:
    """Float32 [U, L]: 1 where the cell is in the unit; the units of each name one after the other."""
    units = [unit for each in config.units.values() for unit in each]
    rows = torch.tensor([row for row, unit in enumerate(units) for _ in unit])
    cells = torch.tensor([cell for unit in units for cell in unit])
    return torch.zeros(len(units), config.seq_len).index_put((rows, cells), torch.ones(len(rows)))
