"""How many puzzles of a collection need how many guesses."""

from dataclasses import dataclass

import numpy as np

GUESSES_PER_RATING = 0.88
"""Guesses of the field's solver, tdoku, for one of ours: the ratio of the means over 800 puzzles that it has rated."""


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Shares of a collection by guesses.

    Attributes:
        edges: the greatest number of guesses in every bin but the last, which is open.
        shares: of the bins, one more than edges; they sum to 1.
    """

    edges: tuple[int, ...]
    shares: tuple[float, ...]

    def bins(self, guesses: np.ndarray) -> np.ndarray:
        """Int64 [N], the bin of every number of guesses."""
        return np.searchsorted(np.array(self.edges) + 0.5, guesses)

    def counts(self, total: int) -> np.ndarray:
        """Int64 [bins]: so many of `total` puzzles belong into every bin, by the largest remainders."""
        exact = np.array(self.shares) / sum(self.shares) * total
        whole = np.floor(exact).astype(np.int64)
        largest = np.argsort(whole - exact, kind="stable")[: total - whole.sum()]
        whole[largest] += 1
        return whole

    def tally(self, guesses: np.ndarray) -> dict[str, int]:
        """How many puzzles are in every bin, by its name."""
        counts = np.bincount(self.bins(guesses), minlength=len(self.shares))
        return dict(zip(self.names(), counts.tolist(), strict=True))

    def names(self) -> list[str]:
        """What to call the bins: ``0``, ``1-10``, ..., ``over 100``."""
        lows = [0, *(edge + 1 for edge in self.edges)]
        spans = [f"{low}-{high}" if low < high else f"{low}" for low, high in zip(lows, self.edges, strict=False)]
        return [*spans, f"over {self.edges[-1]}"]


EXTREME = Histogram(edges=(0, 10, 25, 50, 100), shares=(0.148, 0.252, 0.254, 0.245, 0.092, 0.009))
"""Of Sudoku-Extreme, by tdoku, in a sample of 8,192."""
