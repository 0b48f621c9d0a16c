"""Recorded solution paths, e.g. as a language model writes them: a JSONL file becomes puzzles with paths."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latent_rl.errors import PuzzleError, one_line
from latent_rl.tasks.base import Task
from latent_rl.types import Puzzles


@dataclass(frozen=True)
class RecordedPuzzles(Puzzles):
    """Puzzles with a recorded path to their answer.

    Attributes:
        path: int64 [B, S, L], the boards of the path, with the puzzle's givens in place; the last is the answer.
    """

    path: Tensor


def read_trajectories(file: Path, task: Task, num_steps: int) -> RecordedPuzzles:
    """Read a JSONL file of paths.

    One object a line, ``{"input": "53..7...", "steps": ["534.7...", "534678912..."]}``, in the task's own text format;
    white space in a board (line breaks between its rows) and empty lines are skipped. Steps are projected to the
    puzzle: its givens are put back where a step leaves or changes them. They may break the rules otherwise, as long as
    the last one solves the puzzle: it becomes the label. A path is resampled to S steps: step s shows the recorded
    step ceil(s/S * R) of R.

    Args:
        file: the file.
        task: whose boards they are.
        num_steps: S.

    Raises:
        PuzzleError: with file, line and reason: unreadable file, no path in it, a line that is no such object, a
            board that is none of the task's, a last step that does not solve the puzzle.
    """
    try:
        if file.is_char_device():
            raise ValueError("it is a device")  # which may never end
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise PuzzleError(f"{file} must be a readable text file: {one_line(error)}.") from error
    inputs, paths = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            puzzle, steps = _read_line(line, task)
        except PuzzleError as error:
            raise PuzzleError(f"{file}, line {number}: {error}") from error
        inputs.append(puzzle)
        paths.append(steps[_resampled(len(steps), num_steps)])
    if not inputs:
        raise PuzzleError(f"{file} must hold at least one path; it has {len(lines)} lines and none.")
    path = torch.stack(paths)
    return RecordedPuzzles(torch.stack(inputs), path[:, -1], path)


def _resampled(num_recorded: int, num_steps: int) -> Tensor:
    """Int64 [S]: which of the R recorded steps, counted from 0, each step shows."""
    # In whole numbers: ceil(s R / S) - 1.
    return (torch.arange(1, num_steps + 1) * num_recorded - 1) // num_steps


def _read_line(line: str, task: Task) -> tuple[Tensor, Tensor]:
    """One puzzle, int64 [L], and its projected steps, int64 [R, L]."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise PuzzleError(f"a line must be a JSON object: {one_line(error)}.") from error
    if not isinstance(record, dict) or set(record) != {"input", "steps"}:
        got = ", ".join(sorted(record)) if isinstance(record, dict) else type(record).__name__
        raise PuzzleError(f"a line must be a JSON object with the keys input and steps; got {got or 'no key'}.")
    puzzle = task.parse(_board_text(record["input"], "input"))
    written = record["steps"]
    if not isinstance(written, list) or not written:
        raise PuzzleError("steps must be a list of at least one board.")
    steps = []
    for number, text in enumerate(written, 1):
        try:
            steps.append(task.read_grid(_board_text(text, "a step")))
        except PuzzleError as error:
            raise PuzzleError(f"step {number}: {error}") from error
    path = torch.where(task.is_given(puzzle[None]), puzzle, torch.stack(steps))
    if not bool(task.verify(puzzle[None], path[-1:])):
        raise PuzzleError(f"the last step must solve the puzzle; step {len(steps)} does not.")
    return puzzle, path


def _board_text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise PuzzleError(f"{name} must be a string, one symbol for each cell; got {type(value).__name__}.")
    return "".join(value.split())
