"""Intervals."""

import numpy as np


def bootstrap_interval(
    values: np.ndarray, *, level: float = 0.95, seed: int = 0, resamples: int = 2000
) -> tuple[float, float]:
    """The percentile interval of the mean of `values` [P]; the same seed resamples the same puzzles."""
    random = np.random.default_rng(seed)
    picks = random.integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(values[picks].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
