"""Folders of puzzles as users have them, written by tests."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latent_rl.tasks.base import Task, first
from latent_rl.tasks.maze.task import Maze
from latent_rl.tasks.registry import make_task
from latent_rl.types import Puzzles

FOUR, MAZES = make_task("sudoku4x4"), Maze("maze6", 6, counts=(30, 10, 20), min_steps=6)


def write_part(
    place: Path, puzzles: Puzzles, vocab_size: int, *, copies: int = 1, ids: list[int] | None = None, **facts: Any
) -> None:
    """One of train and test, as the public scripts lay them out: a group for each puzzle and its `copies`."""
    place.mkdir(parents=True)
    count = len(puzzles) * copies
    arrays = {
        "inputs": puzzles.inputs.repeat_interleave(copies, 0).numpy().astype(np.uint8),
        "labels": puzzles.labels.repeat_interleave(copies, 0).numpy().astype(np.uint8),
        "puzzle_identifiers": np.array(ids or [0] * count, dtype=np.int32),
        "puzzle_indices": np.arange(count + 1, dtype=np.int32),
        "group_indices": np.arange(0, count + 1, copies, dtype=np.int32),
    }
    for name, array in arrays.items():
        np.save(place / f"all__{name}.npy", array)
    described = {
        "pad_id": 0, "ignore_label_id": 0, "blank_identifier_id": 0, "vocab_size": vocab_size,
        "seq_len": puzzles.inputs.shape[1], "num_puzzle_identifiers": max(ids or [0]) + 1,
        "total_groups": len(puzzles), "mean_puzzle_examples": 1.0, "sets": ["all"],
    }  # fmt: skip
    (place / "dataset.json").write_text(json.dumps(described | facts))


def write_folder(folder: Path, task: Task, **options: Any) -> Path:
    """The first puzzles of a task as a public folder: 30 for training, 10 for the test."""
    write_part(folder / "train", first(task, "train", 30), task.vocab_size, copies=3, **options)
    write_part(folder / "test", first(task, "test", 10), task.vocab_size, **options)
    return folder


def random_puzzles(count: int, vocab_size: int = 12, seq_len: int = 20) -> Puzzles:
    generator = torch.Generator().manual_seed(count)
    inputs, labels = (torch.randint(1, vocab_size, (count, seq_len), generator=generator) for _ in range(2))
    labels[:, -5:] = 0
    return Puzzles(inputs, labels)


def edit_facts(place: Path, change: Any) -> None:
    facts = json.loads((place / "dataset.json").read_text())
    change(facts)
    (place / "dataset.json").write_text(json.dumps(facts))
