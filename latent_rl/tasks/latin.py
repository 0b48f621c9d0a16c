"""Latin squares with holes (quasigroup completion): every symbol once in every row and column."""

from types import MappingProxyType

import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError
from latent_rl.tasks.base import Splits
from latent_rl.tasks.constraints import Constraints, ConstraintTask, renamed, rows_and_columns
from latent_rl.types import Symmetry


class Latin(ConstraintTask):
    """Fill the holes so that every row and column holds every symbol once.

    Args:
        name: the registered name; a shipped bank has the same.
        size: n, 5..12.
        open_share: least and greatest share of holes in the bank's puzzles.
        splits: gives the base puzzles; by default the shipped bank of that name.

    Raises:
        InvalidValueError: a size out of range.
    """

    sizes = range(5, 13)
    """The n that there may be."""
    environment = MappingProxyType({"horizon": 32})

    def __init__(
        self, name: str, size: int, open_share: tuple[float, float] = (0.4, 0.6), splits: Splits | None = None
    ) -> None:
        if size not in self.sizes:
            raise InvalidValueError(f"the size of a Latin square must be in 5..12; got {size}.")
        self.size, self.open_share = size, open_share
        super().__init__(name, Constraints(size**2, size, rows_and_columns(size)), splits)
        self.num_symmetry_draws = 3 * size + 1

    def symmetry(self, draws: Tensor) -> Symmetry:
        """Permute rows, columns and symbols; transpose."""
        rows, columns, symbols, flip = draws.split([self.size, self.size, self.size, 1], dim=1)
        cells = rows.argsort(1)[:, :, None] * self.size + columns.argsort(1)[:, None, :]
        cells = torch.where(flip[:, :, None] < 0.5, cells, cells.transpose(1, 2))
        return Symmetry(cells.flatten(1), renamed(symbols))
