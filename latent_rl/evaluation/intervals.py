"""Intervals, and what is beyond noise."""

import math
from statistics import NormalDist

import numpy as np

_PICKS = 2**22
"""Puzzles that are picked at once, whose indices take 32 MiB: of some hundred thousand puzzles all picks would take
gigabytes."""


def wilson_interval(solved: np.ndarray, *, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a share, of bool [P]. Unlike the bootstrap's it has a width where all or none is solved.

    Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    count, rate = len(solved), float(solved.mean())
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre, spread = rate + z * z / (2 * count), z * math.sqrt(rate * (1 - rate) / count + (z / (2 * count)) ** 2)
    scale = 1 + z * z / count
    return max((centre - spread) / scale, 0.0), min((centre + spread) / scale, 1.0)


def bootstrap_interval(
    values: np.ndarray, *, level: float = 0.95, seed: int = 0, resamples: int = 2000
) -> tuple[float, float]:
    """The percentile interval of the mean of `values` [P]; the same seed resamples the same puzzles."""
    random = np.random.default_rng(seed)
    at_once = max(_PICKS // len(values), 1)
    sizes = [min(at_once, resamples - done) for done in range(0, resamples, at_once)]
    means = [values[random.integers(len(values), size=(size, len(values)))].mean(1) for size in sizes]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def enough_steps(solved: np.ndarray) -> int:
    """The smallest number of steps whose solved rate is not below the best beyond noise.

    Puzzles are paired, and the 95% are shared among the steps, since the best of many is partly luck.

    Args:
        solved: bool or float [S, P], whether the puzzle is solved after step s; or the mean over several trials.
    """
    rates = solved.mean(1)
    best, level = int(rates.argmax()), 1 - 0.05 / len(solved)
    for step in range(best):
        if bootstrap_interval(solved[best].astype(float) - solved[step], level=level)[0] <= 0:
            return step + 1
    return best + 1
