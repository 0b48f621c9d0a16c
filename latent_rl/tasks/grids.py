"""What the tasks on token grids share: symmetries of the square, reading a line of symbols, a readout that respects the
puzzle."""

from collections.abc import Iterable, Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from latent_rl.errors import PuzzleError

MASKED = -1e4
"""Added to the logit of a token that can't be: its probability is exactly 0 in float32, and differences stay finite."""


@lru_cache
def dihedral_maps(size: int) -> np.ndarray:
    """Int64 [8, n*n]: for each symmetry of the square, the cell that every cell of the view shows."""
    cells = np.arange(size**2).reshape(size, size)
    return np.stack([np.rot90(side, turns).ravel() for side in (cells, cells.T) for turns in range(4)])


@lru_cache
def _penalties(vocab_size: int, answer_tokens: tuple[int, ...]) -> Tensor:
    """Float32 [V + 1, V]: row t for a cell that must hold token t, the last row for one that is open."""
    penalties = torch.full((vocab_size + 1, vocab_size), MASKED)
    penalties.fill_diagonal_(0.0)
    penalties[vocab_size, list(answer_tokens)] = 0.0
    return penalties


def constrain_logits(inputs: Tensor, given: Tensor, logits: Tensor, answer_tokens: Iterable[int]) -> Tensor:
    """Make givens certain, and elsewhere all tokens but `answer_tokens` impossible.

    Args:
        inputs: int64 [B, L].
        given: bool [B, L], the cells that the puzzle fixes.
        logits: float32 [B, L, V].
        answer_tokens: what an answer may hold in the other cells.

    Returns:
        float32 [B, L, V], lower by `MASKED` where a token can't be.
    """
    vocab_size = logits.shape[-1]
    rows = torch.where(given, inputs, vocab_size)
    return F.embedding(rows, _penalties(vocab_size, tuple(answer_tokens))) + logits


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
    try:
        return torch.tensor([alphabet[symbol] for symbol in line])
    except KeyError as error:
        symbol = str(error.args[0])
        position = line.index(symbol) + 1
        raise PuzzleError(f"a {task} puzzle must have {expected}; got {symbol!r} at position {position}.") from None
