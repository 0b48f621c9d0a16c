"""What the givens of a constraint task leave open: candidates (cell, symbol), and the nodes in which they meet.

A given leaves no other symbol in its cell, and its own symbol in no other cell of its units. What is closed this way
says nothing more, so that only open candidates are computed on: of 9x9 Sudoku's 729 some 200, of 16x16's 4,096 some
300.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

FIRST_SYMBOL = 2
"""Symbol s is token s + 2; 0 is padding, and 1 an open cell, or one without a symbol."""
CELL = "cell"
"""Kind of the nodes that hold the symbols of one cell; the other kinds are named by the units."""


@dataclass(frozen=True)
class Candidates:
    """The open candidates of B boards, one after the other, and their nodes: a symbol in a unit, or a cell.

    Attributes:
        given: int64 [B, L], the symbols given, counted from 0; -1 where none is.
        places: int64 [N], where the candidates are among the B L S of all cells and symbols.
        members: int32 [M, Z], candidates of each node that has any, those of a kind one after the other; filled up with
            N.
        nodes: int32 [N, K], the nodes of each candidate; filled up with M.
        num_nodes: how many nodes there are of each kind, in the order of the units; cells come last.
    """

    given: Tensor
    places: Tensor
    members: Tensor
    nodes: Tensor
    num_nodes: list[int]


class UnitTables(nn.Module):
    """The units of a board as tables, which move to a device with their network.

    Args:
        num_cells: L.
        num_symbols: S.
        units: cells of each unit, by kind.
    """

    def __init__(self, num_cells: int, num_symbols: int, units: Mapping[str, tuple[tuple[int, ...], ...]]) -> None:
        super().__init__()
        self.num_symbols = num_symbols
        self.num_units = [len(of_kind) for of_kind in units.values()]
        every = [unit for of_kind in units.values() for unit in of_kind]
        of_cell: list[list[int]] = [[] for _ in range(num_cells)]
        for number, unit in enumerate(every):
            for cell in unit:
                of_cell[cell].append(number)
        self.cells = nn.Buffer(_table(every, num_cells), persistent=False)
        """Int64 [U, Z]: cells of each unit, filled up with L."""
        self.units = nn.Buffer(_table(of_cell, len(every)), persistent=False)
        """Int64 [L, K - 1]: units of each cell, filled up with U."""

    def candidates(self, inputs: Tensor) -> Candidates:
        """What is open on boards, int64 [B, L]."""
        given = inputs - FIRST_SYMBOL
        stands = given[:, :, None] == torch.arange(self.num_symbols, device=inputs.device)
        in_unit = _padded(stands, False)[:, self.cells].any(2)
        is_open = (given < 0)[:, :, None] & ~_padded(in_unit, False)[:, self.units].any(2)
        places = is_open.flatten().nonzero().squeeze(1)
        count = len(places)
        number = torch.full((is_open.numel(),), count, device=inputs.device)
        number[places] = torch.arange(count, device=inputs.device)
        number = number.view(is_open.shape)
        # [B, U_k, S, Z], and [B, L, 1, S] of cells: the candidates of every node, also of those that have none.
        parts = [
            *_padded(number, count)[:, self.cells].transpose(2, 3).split(self.num_units, dim=1),
            number[:, :, None],
        ]
        width = max(part.shape[3] for part in parts)
        members, numbers = [], []
        num_nodes: list[int] = []
        for part in parts:
            has_any = (part < count).any(3)
            numbers.append(has_any.flatten().cumsum(0).view(has_any.shape) - 1 + sum(num_nodes))
            members.append(F.pad(part[has_any], (0, width - part.shape[3]), value=count))
            num_nodes.append(len(members[-1]))
        *in_units, in_cell = numbers
        in_unit_nodes = _padded(torch.cat(in_units, dim=1), sum(num_nodes))[:, self.units].transpose(2, 3)
        nodes = torch.cat([in_unit_nodes, in_cell[:, :, :, None].expand(-1, -1, self.num_symbols, 1)], dim=3)
        nodes = nodes.flatten(0, 2)[places]
        return Candidates(given, places, torch.cat(members).int(), nodes.int(), num_nodes)


class _GatheredSum(Function):
    """Sums of rows; a gradient is gathered in the same way, as every row knows the sums that it is in."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, members: Tensor, sums: Tensor) -> Tensor:
        ctx.save_for_backward(sums)
        return _sum_rows(rows, members)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (sums,) = ctx.saved_tensors
        return _sum_rows(gradients[0], sums), None, None


def gathered_sum(rows: Tensor, members: Tensor, sums: Tensor) -> Tensor:
    """Sums over sets of rows.

    Args:
        rows: float [N, d].
        members: int32 [M, Z], rows of each set; N for none.
        sums: int32 [N, K], the inverse: sets of each row; M for none.

    Returns:
        float [M, d].
    """
    return _GatheredSum.apply(rows, members, sums)


def _sum_rows(rows: Tensor, members: Tensor) -> Tensor:
    # Ten times as fast on a CPU as `rows[members].sum(1)`, compiled or not.
    return F.embedding_bag(members, F.pad(rows, (0, 0, 0, 1)), mode="sum")


def _table(rows: list[Any], fill: int) -> Tensor:
    """Int64 [len(rows), Z] of rows of different lengths, filled up."""
    longest = max(map(len, rows), default=0)
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows], dtype=torch.int64)


def _padded(x: Tensor, value: int) -> Tensor:
    """One more entry along the second axis."""
    return torch.cat([x, torch.full_like(x[:, :1], value)], dim=1)
