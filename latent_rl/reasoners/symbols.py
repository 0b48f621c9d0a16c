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
from latent_rl.reasoners.candidates import CELL, FIRST_SYMBOL, Candidates, UnitTables, gathered_sum
from latent_rl.reasoners.engine import Rows
from latent_rl.reasoners.layers import Gated, PooledHalt, gated_product, rms_norm, truncated_normal
from latent_rl.reasoners.network import Network, VectorsConfig, random_carry
from latent_rl.types import Carry, TaskShape

IMPOSSIBLE = -1e4
"""Logit of a token that no answer holds, and of a closed candidate."""


@final
@dataclass(frozen=True, kw_only=True)
class SymbolsConfig(VectorsConfig):
    """Shape of a symbol network, and the board it is for. Defaults: 17,000 parameters on Sudoku."""

    units: Annotated[Mapping[str, tuple[tuple[int, ...], ...]], DERIVED] = field(default_factory=dict)
    """Sets of cells in which no symbol stands twice, under the names of the weights that they share."""
    has_background: Annotated[bool, DERIVED] = False
    """A cell may stay without a symbol."""
    width: Annotated[int, SIZE] = 32
    """d, numbers for each candidate, and of what it sends to its units and its cell."""
    expansion: Annotated[float, Range(1, 64)] = 2.0
    """Inner width of the SwiGLU on every candidate, as a multiple of d."""

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


class SymbolBlock(nn.Module):
    """One exchange of candidates through their units and cells, then SwiGLU on each, both with residual and post-norm.

    With h_i = silu(G x_i) * U x_i what open candidate i sends, every constraint node j (a symbol in a unit, or a cell)
    hears s_j = r + sum_{i in j} h_i and answers f_k(norm(s_j)), f_k a SwiGLU of the node's kind k:

        x_i <- norm(x_i + sum_{j with i in j} f_k(norm(s_j))),    x_i <- norm(x_i + g(x_i)).

    The constant r keeps in norm(s_j) how many candidates there are: without it one would sound like nine.
    """

    def __init__(self, config: SymbolsConfig) -> None:
        super().__init__()
        width = config.width
        self.rest = nn.Parameter(truncated_normal(width, std=1.0))
        self.send = nn.Parameter(truncated_normal(2 * width, width, std=width**-0.5))
        self.answer = nn.ModuleDict({name: Gated(width, width) for name in (*config.units, CELL)})
        self.channels = Gated(width, round(config.expansion * width))

    def forward(self, x: Tensor, candidates: Candidates) -> Tensor:
        """Map the states of open candidates, [N, d], to the same."""
        sent = gated_product(x, self.send)
        heard = rms_norm(self.rest.to(x.dtype) + gathered_sum(sent, candidates.members, candidates.nodes))
        parts = zip(self.answer.values(), heard.split(candidates.num_nodes), strict=True)
        answers = torch.cat([answer(part) for answer, part in parts])
        back = gathered_sum(answers, candidates.nodes, candidates.members)
        x = rms_norm(x + back)
        return rms_norm(x + self.channels(x))


@final
class Symbols(Network):
    """Symbol-equivariant constraint network; the recursion is a TRM's: z_L <- f(z_L + z_H + x) n times, then z_H <-
    f(z_H + z_L).

    Givens are known from the candidates that they close, see `Candidates`; x is one vector, which every open candidate
    gets. Given symbols are read as certain, closed candidates as impossible; of an open one the readout is linear in
    its part of z_H, and with a background "no symbol" has the logit 0. States start at random, in training and after,
    so that more steps and fresh starts help.

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
        super().__init__(config, compute_dtype, fixed_shapes=False)
        width = config.width
        self.open = nn.Parameter(truncated_normal(width, std=1.0))
        self.initial = nn.Buffer(truncated_normal(2, width, std=1.0))
        self.tables = UnitTables(config.seq_len, config.num_symbols, config.units)
        self.blocks = nn.ModuleList(SymbolBlock(config) for _ in range(config.num_layers))
        self.head = nn.Parameter(truncated_normal(width, std=width**-0.5))
        self.halt_head = PooledHalt(width)

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
        """Normal noise around one fixed vector per state; see `random_carry`."""
        keys = torch.arange(batch_size) if keys is None else keys
        return random_carry(self.config, self.initial, self.compute_dtype, keys)

    def embed(self, rows: Rows) -> Candidates:
        """What is open; see `Network.embed`."""
        return self.tables.candidates(rows.inputs)

    def enter(self, states: Tensor, x: Candidates) -> Tensor:
        """The states of open candidates, [N, d]; see `Network.enter`."""
        return states.reshape(-1, self.config.width).index_select(0, x.places)

    def leave(self, states: Tensor, x: Candidates) -> Tensor:
        """Back in [B, L, S d], 0 where a candidate is closed; see `Network.leave`."""
        config, num_boards = self.config, len(x.given)
        every = states.new_zeros(num_boards * config.seq_len * config.num_symbols, config.width)
        return every.index_copy(0, x.places, states).view(num_boards, config.seq_len, -1)

    def recurse(self, x: Candidates, answer: Tensor, latent: Tensor, num_latent_updates: int) -> tuple[Tensor, Tensor]:
        """Update the latent n times and then the answer, by the same network; see `Network.recurse`."""
        is_open = self.open.to(answer.dtype)
        for _ in range(num_latent_updates):
            latent = self._run_blocks(latent + answer + is_open, x)
        return self._run_blocks(answer + latent, x), latent

    def _run_blocks(self, states: Tensor, x: Candidates) -> Tensor:
        for block in self.blocks:
            states = block(states, x)
        return states

    def read(self, answer: Tensor, x: Candidates) -> Tensor:
        """A linear readout of every open candidate; see `Network.read`."""
        num_boards, num_cells = x.given.shape
        symbols = F.one_hot(x.given + 1, self.config.num_symbols + 1)[:, :, 1:]
        logits = torch.where(symbols.flatten() > 0, 0.0, IMPOSSIBLE).index_copy(0, x.places, answer.float() @ self.head)
        others = logits.new_full((num_boards, num_cells, FIRST_SYMBOL), IMPOSSIBLE)
        if self.config.has_background:
            others[..., 1] = torch.where(x.given < 0, 0.0, IMPOSSIBLE)
        return torch.cat([others, logits.view(num_boards, num_cells, -1)], dim=-1)

    def judge(self, answer: Tensor) -> tuple[Tensor, None]:
        """A linear readout of the candidates' mean and maximum; see `Network.judge`."""
        states = answer.unflatten(2, (self.config.num_symbols, -1)).flatten(1, 2).float()
        return self.halt_head(states), None
