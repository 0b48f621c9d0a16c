"""Intervals."""

import numpy as np


def bootstrap_interval(values: np.ndarray, *, seed: int = 0, resamples: int = 2000) -> tuple[float, float]:
    """The 95% percentile interval of the mean of `values` [P]; the same seed resamples the same puzzles."""
    random = np.random.default_rng(seed)
    picks = random.integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(values[picks].mean(1), [0.025, 0.975])
    return float(low), float(high)
