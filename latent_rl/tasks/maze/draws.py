"""Random numbers from a bit generator's raw stream, which numpy promises to keep as it is."""

import numpy as np

from latent_rl.tasks.maze.boards import Plane


class Draws:
    """A stream of random numbers that mazes are pure functions of."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def plane(self, size: int, count: int) -> Plane:
        """A plane of fair coins."""
        words = self._bits.random_raw(-(-size * count // 2)).astype("<u8").view("<u4")
        return words[: size * count].reshape(size, count).astype(np.uint32)

    def uniform(self, count: int) -> np.ndarray:
        """Float64 [count] in [0, 1)."""
        draws: np.ndarray = (self._bits.random_raw(count) >> np.uint64(11)) * 2.0**-53
        return draws

    def one_of(self, cells: np.ndarray) -> np.ndarray:
        """One of the marked cells of every row, bool [B, L] to bool [B, L]; nothing where none is marked."""
        rank = cells.cumsum(1, dtype=np.int16)
        return cells & (rank == 1 + (self.uniform(len(cells)) * rank[:, -1]).astype(np.int16)[:, None])
