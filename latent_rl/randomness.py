"""Random numbers as a pure function of keys, so that row i of a batch draws what a single environment would."""

import math

import torch
from torch import Tensor


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


_STEP, _FIRST, _SECOND = (_signed(value) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _shifted(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def mix(x: Tensor) -> Tensor:
    """Scramble int64 values; the finalizer of splitmix64 (Steele, Lea, Flood 2014)."""
    x = (x ^ _shifted(x, 30)) * _FIRST
    x = (x ^ _shifted(x, 27)) * _SECOND
    return x ^ _shifted(x, 31)


def derive(keys: Tensor, value: Tensor | int) -> Tensor:
    """New keys, int64 [B], from keys [B] and a value (a number or [B]): a branch of the same stream."""
    return mix(mix(keys + _STEP) ^ torch.as_tensor(value, dtype=torch.int64))


def episode_keys(places: Tensor, seed: int) -> Tensor:
    """The randomness of every puzzle's episode, int64 [P]: of the seed and the puzzle's place, int64 [P], alone."""
    return derive(mix(torch.full_like(places, seed + 1)), places)


def uniform(keys: Tensor, count: int) -> Tensor:
    """`count` numbers in [0, 1) for each key: float64 [B, count]."""
    counters = keys[:, None] + _STEP * torch.arange(1, count + 1)
    return _shifted(mix(counters), 11).double() * 2.0**-53


def drawn_answers(log_probs: Tensor, keys: Tensor, count: int) -> Tensor:
    """Draw every cell's token from its own probabilities, `count` times: int64 [B, count, L] of log-probabilities
    [B, L, V], a pure function of them and the keys, int64 [B]."""
    batch_size, num_cells, _ = log_probs.shape
    levels = log_probs.double().exp().cumsum(-1)
    draws = uniform(keys, num_cells * count).view(batch_size, num_cells, count)
    return torch.searchsorted(levels, draws * levels[..., -1:], right=True).transpose(1, 2)


def normal(keys: Tensor, count: int) -> Tensor:
    """`count` standard normal numbers for each key, by Box and Muller's transform: float64 [B, count]."""
    half = -(-count // 2)
    radius, angle = uniform(keys, 2 * half).split(half, dim=1)
    radius, angle = (-2 * torch.log1p(-radius)).sqrt(), 2 * math.pi * angle
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count]


def normal_states(keys: Tensor, count: int) -> Tensor:
    """`count` standard normal numbers for each key as torch's own generator gives them: float32 [B, count].

    For states, of which `normal` would take fifty times as long to draw.
    """
    drawn = torch.empty(len(keys), count)
    for row, key in zip(drawn, keys.tolist(), strict=True):
        row.normal_(generator=torch.Generator().manual_seed(key))
    return drawn
