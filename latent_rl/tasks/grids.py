"""What the tasks on token grids share: reading a line of symbols, and a readout that respects the puzzle."""

from collections.abc import Iterable, Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from latent_rl.errors import PuzzleError

MASKED = -1e4
"""Logit of a token that can't be: its probability is exactly 0 in float32, and differences stay finite."""


@lru_cache
def dihedral_maps(size: int) -> np.ndarray:
    """Int64 [8, n*n]: for each symmetry of the square, the cell that every cell of the view shows."""
    cells = np.arange(size**2).reshape(size, size)
    return np.stack([np.rot90(side, turns).ravel() for side in (cells, cells.T) for turns in range(4)])


def constrain_logits(inputs: Tensor, given: Tensor, logits: Tensor, answer_tokens: Iterable[int]) -> Tensor:
    """Make givens certain, and elsewhere all tokens but `answer_tokens` impossible.

    Args:
        inputs: int64 [B, L].
        given: bool [B, L], the cells that the puzzle fixes.
        logits: float32 [B, L, V].
        answer_tokens: what an answer may hold in the other cells.

    Returns:
        float32 [B, L, V], `MASKED` where a token can't be.
    """
    tokens = torch.arange(logits.shape[-1])
    other = inputs[:, :, None] != tokens
    refused = ~torch.isin(tokens, torch.tensor(tuple(answer_tokens)))
    return logits.masked_fill(torch.where(given[:, :, None], other, refused), MASKED)


def read_symbols(text: str, alphabet: Mapping[str, int], num_cells: int, task: str, expected: str) -> Tensor:
    """Read a line of one symbol per cell.

    Args:
        text: the line; what ends it is dropped, and blanks around it unless a blank is a symbol.
        alphabet: the token of every symbol.
        num_cells: L.
        task: the task's name, for the message.
        expected: the alphabet in words, for the message.

    Returns:
        Tokens, int64 [L].

    Raises:
        PuzzleError: wrong length, or a symbol outside the alphabet.
    """
    line = text.strip("\r\n" if " " in alphabet else None)
    if len(line) != num_cells:
        raise PuzzleError(f"a {task} puzzle must have {num_cells} symbols; got {len(line)}.")
    for position, symbol in enumerate(line, 1):
        if symbol not in alphabet:
            raise PuzzleError(f"a {task} puzzle must have {expected}; got {symbol!r} at position {position}.")
    return torch.tensor([alphabet[symbol] for symbol in line])
