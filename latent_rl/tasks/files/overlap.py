"""Test puzzles that also stand in training, in a folder of the user's: a score on them says little."""

import torch
from torch import Tensor

from latent_rl.errors import PuzzleError
from latent_rl.notes import note
from latent_rl.tasks.base import Task
from latent_rl.tasks.files.stored import StoredPuzzles
from latent_rl.tasks.registry import TASKS

MAX_CELLS = 2**31
"""Cells of training puzzles that are looked through at the most."""
_CHUNK = 2**16


def num_repeated(train: StoredPuzzles, test: StoredPuzzles) -> int:
    """How many test puzzles have an input that is also one of training, cell for cell."""
    keys = _keys(test)
    return int(torch.isin(keys, _keys(train)).sum())


def _keys(stored: StoredPuzzles) -> Tensor:
    """Int64 [N]: a sum of the cells with random weights, modulo 2^64, which tells inputs apart."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randint(-(2**62), 2**62, (stored.inputs.shape[1],), generator=generator)
    chunks = (stored.inputs[start : start + _CHUNK] for start in range(0, len(stored), _CHUNK))
    return torch.cat([(chunk.long() - stored.lowered) @ weights for chunk in chunks])


def note_repeated(task: Task) -> None:
    """Say how many test puzzles of a folder also stand in training, if any do."""
    if TASKS.get(task.name) is task:
        return  # the library's own tasks keep them apart
    try:
        test = task.puzzles("test")
        train = task.puzzles("train") if isinstance(test, StoredPuzzles) else None
    except PuzzleError:  # a folder may have one part only
        return
    if not isinstance(train, StoredPuzzles) or not isinstance(test, StoredPuzzles):
        return
    if train.inputs.numel() > MAX_CELLS:
        note(f"{task.name}: whether test puzzles also stand in training was not looked up; they are too many.")
    elif repeated := num_repeated(train, test):
        note(f"{repeated} of {len(test)} test puzzles of {task.name} also stand in training.")
