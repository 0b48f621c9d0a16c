"""How episodes begin: what a caller says of seeds, of a puzzle of its own, of the streams that begin anew."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latent_rl.envs.actions import as_array
from latent_rl.errors import InvalidValueError, PuzzleError, UnknownNameError
from latent_rl.tasks.base import Task
from latent_rl.tasks.files.puzzle_io import read_board
from latent_rl.types import Puzzles

MAX_SEED = 2**62


def checked_seed(seed: Any) -> int:
    """A seed as a plain int.

    Raises:
        InvalidValueError: it is none.
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or not 0 <= seed <= MAX_SEED:
        raise InvalidValueError(f"a seed must be a whole number from 0 to 2^62; got {seed!r}.")
    return int(seed)


def check_options(options: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse what is no option of a reset.

    Raises:
        UnknownNameError: there is no such option.
    """
    if not isinstance(options, Mapping):
        raise InvalidValueError(f"the options of a reset must be a mapping of names to values; got {options!r}.")
    for name in options:
        if name not in known:
            raise UnknownNameError("reset option", name, known)


def checked_mask(mask: Any, num_envs: int) -> Tensor:
    """The option `reset_mask`: bool [B].

    Raises:
        InvalidValueError: it is no mask.
    """
    array = as_array(mask)
    if array.shape != (num_envs,) or array.dtype != np.bool_ or not array.any():
        raise InvalidValueError(
            f"reset_mask must be a bool array of shape ({num_envs},) with at least one True; got {array.tolist()}."
        )
    return torch.from_numpy(array.copy())


def own_puzzles(task: Task, puzzle: Any, num_envs: int) -> Puzzles:
    """The option `puzzle`, for B streams: one puzzle, or B of them, each as text (a line, or a drawn board) or its
    tokens, int [L]; one also as a grid of tokens, such as int [9, 9].

    The label is the answer that the task finds. Where it finds none nothing is compared with the label.

    Raises:
        PuzzleError: a puzzle can't be read.
    """
    if not isinstance(puzzle, str) and (grid := as_array(puzzle)).ndim == 2 and grid.size == task.seq_len:
        puzzle = grid.reshape(-1)
    if not _are_several(puzzle):
        return _read(task, puzzle).map(lambda tensor: tensor.expand(num_envs, -1))
    if len(puzzle) != num_envs:
        raise PuzzleError(f"the option puzzle must be one puzzle, or one for each of {num_envs}; got {len(puzzle)}.")
    first, *others = [_read(task, each) for each in puzzle]
    return first.concat(*others)


def _are_several(puzzle: Any) -> bool:
    """Whether these are puzzles one after the other, and not one as text or tokens."""
    if isinstance(puzzle, np.ndarray | Tensor):
        return puzzle.ndim > 1
    if isinstance(puzzle, str) or not isinstance(puzzle, Sequence):
        return False
    return not puzzle or isinstance(puzzle[0], str) or as_array(puzzle[0]).ndim > 0


def _read(task: Task, puzzle: Any) -> Puzzles:
    inputs = task.parse(read_board(task, puzzle) if isinstance(puzzle, str) else _text(task, puzzle))[None]
    try:
        return Puzzles(inputs, task.any_answer(inputs[0])[None])
    except PuzzleError:
        return Puzzles.unlabelled(inputs)


def _text(task: Task, tokens: Any) -> str:
    array = as_array(tokens)
    fits = array.shape == (task.seq_len,) and array.dtype.kind in "iu"
    if not fits or not ((array >= 0) & (array < task.vocab_size)).all():
        raise PuzzleError(
            f"a {task.name} puzzle must be a line of text, or {task.seq_len} tokens from 0 to {task.vocab_size - 1};"
            f" got {array.dtype} of shape {array.shape}."
        )
    text = task.format(torch.from_numpy(array.astype(np.int64)))
    if not np.array_equal(task.parse(text).numpy(), array):
        raise PuzzleError(f"the tokens of a {task.name} puzzle must be those that it reads: not padding; got {text}.")
    return text
