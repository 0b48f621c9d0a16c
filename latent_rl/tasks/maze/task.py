"""Mazes: rules, symmetries, text."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from latent_rl.errors import InvalidValueError, PuzzleError
from latent_rl.tasks.base import SPLITS, Split, Splits, Task, check_split
from latent_rl.tasks.grids import constrain_logits, dihedral_maps
from latent_rl.tasks.maze.boards import Plane, distances, draw_mazes, pack, path_lengths
from latent_rl.types import Puzzles, PuzzleSource, Symmetry

PAD, WALL, FREE, START, GOAL, PATH = range(6)
"""The tokens, as in the public datasets."""


class Maze(Task):
    """Mark a shortest path from the start to the goal; steps go up, down, left and right.

    In the base mazes it is the only one, and a long one, so that they are hard; in others `verify` accepts any shortest
    path. The base mazes are not shipped but drawn from the seed, in about a second: see `draw_mazes`.

    Args:
        name: the registered name.
        size: N, 5..32.
        counts: mazes in the training, validation and test split.
        min_steps: least number of steps from start to goal; by default 2 N, more than between the corners of a board
            without walls.
        seed: of the mazes.
        splits: gives the base mazes instead of a draw.
        environment: see `Task`; by default that of any task.

    Raises:
        InvalidValueError: a size out of range, a split without mazes, or a path of less than a step.
    """

    sizes = range(5, 33)
    """The N that there may be."""
    symbols = "?#.SGo"
    alphabet = MappingProxyType({"#": WALL, ".": FREE, " ": FREE, "S": START, "G": GOAL, "o": PATH})
    legend = "# for a wall, one of . and blank for a free cell, S, G, or o for the path"
    num_symmetry_draws = 2
    comment = "//"
    """A line that begins with # is a maze."""

    def __init__(
        self,
        name: str = "maze10",
        size: int = 10,
        *,
        counts: tuple[int, int, int] = (10_000, 1_000, 3_000),
        min_steps: int | None = None,
        seed: int = 0,
        splits: Splits | None = None,
        environment: Mapping[str, Any] | None = None,
    ) -> None:
        if size not in self.sizes:
            raise InvalidValueError(f"the size of a maze must be in 5..32; got {size}.")
        if min(counts) < 1:
            raise InvalidValueError(f"every split must have at least 1 maze; got {counts}.")
        self.name = name
        self.size = size
        self.seq_len = size**2
        self.counts = counts
        self.min_steps = 2 * size if min_steps is None else min_steps
        self.seed = seed
        self.environment = environment or {}
        self._splits = splits
        if self.min_steps < 1:
            raise InvalidValueError(f"a path must have at least 1 step; got {min_steps}.")

    def puzzles(self, split: Split) -> PuzzleSource:
        """The base mazes of a split."""
        check_split(split)
        return self._draw(split) if self._splits is None else self._splits(split)

    def num_puzzles(self, split: Split) -> int:
        """How many base mazes a split has; none is drawn for it."""
        check_split(split)
        return self.counts[SPLITS.index(split)] if self._splits is None else len(self._splits(split))

    def _draw(self, split: Split) -> Puzzles:
        end = sum(self.counts[: SPLITS.index(split) + 1])
        mazes = draw_mazes(self.size, self.min_steps, sum(self.counts), self.seed)
        mazes = mazes.select(slice(end - self.counts[SPLITS.index(split)], end))
        inputs = np.select([mazes.goal, mazes.start, mazes.passable], [GOAL, START, FREE], WALL)
        return Puzzles(torch.from_numpy(inputs), torch.from_numpy(np.where(mazes.path, PATH, inputs)))

    def symmetry(self, draws: Tensor) -> Symmetry:
        """One of the 8 symmetries of the square, and in half of the views start and goal exchanged."""
        cells = torch.from_numpy(dihedral_maps(self.size))[(draws[:, 0] * 8).long()]
        same = torch.arange(self.vocab_size)
        exchanged = same[[PAD, WALL, FREE, GOAL, START, PATH]]
        return Symmetry(cells, torch.where(draws[:, 1:] < 0.5, same, exchanged))

    def is_given(self, inputs: Tensor) -> Tensor:
        """Bool [B, L]: all but the free cells, which may still become part of the path."""
        return inputs != FREE

    def constrain(self, inputs: Tensor, logits: Tensor) -> Tensor:
        """Givens become certain; a free cell stays free or becomes part of the path."""
        return constrain_logits(inputs, self.is_given(inputs), logits, (FREE, PATH))

    def verify(self, inputs: Tensor, answers: Tensor) -> Tensor:
        """Bool [B]: the marked cells are a shortest path, and everything else is as it was."""
        return self._cells_hold(inputs, answers).all(1) & self._is_shortest(inputs, answers)

    def satisfied_share(self, inputs: Tensor, answers: Tensor) -> Tensor:
        """Float32 [B]: the share of these that hold: a cell is as it was, or becomes part of the path; a cell of the
        path has two neighbours on it, start and goal have one; the path is a shortest one."""
        walkable, linked = self._links(answers)
        held = self._cells_hold(inputs, answers).sum(1) + linked.sum(1) + self._is_shortest(inputs, answers)
        return held / (self.seq_len + walkable.sum(1) + 1)

    def _links(self, answers: Tensor) -> tuple[Tensor, Tensor]:
        """Bool [B, L] twice: the cell is on the path, or one of its ends; and it has as many neighbours there as it
        must."""
        walkable = (answers == PATH) | (answers == START) | (answers == GOAL)
        padded = F.pad(walkable.view(-1, self.size, self.size).long(), (1, 1, 1, 1))
        near = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
        return walkable, walkable & (near.flatten(1) == torch.where(answers == PATH, 2, 1))

    def clashes(self, answers: Tensor) -> Tensor:
        """Bool [B, L]: a cell of the path that does not have two neighbours on it."""
        return (answers == PATH) & ~self._links(answers)[1]

    def _cells_hold(self, inputs: Tensor, answers: Tensor) -> Tensor:
        """Bool [B, L]: the cell is as it was, or it was free and is part of the path."""
        return (answers == inputs) | (inputs == FREE) & (answers == PATH)

    def _is_shortest(self, inputs: Tensor, answers: Tensor) -> Tensor:
        """Bool [B]: as many marked cells as a shortest path has, and they lead from the start to the goal."""
        free, start, goal = _planes(inputs)
        marked = pack((answers == PATH).numpy()) | goal
        wanted, walked = path_lengths(free, start, goal)[0], path_lengths(marked, start, goal)[0]
        num_marked = (answers == PATH).sum(1).numpy()
        return torch.from_numpy((wanted > 0) & (walked == wanted) & (num_marked == wanted - 1))

    def edit_order(self, inputs: Tensor, labels: Tensor, draws: Tensor) -> Tensor:
        """Int64 [B, L]: by distance from the start, as a search meets the cells; walls and cells out of reach last."""
        passable, start, _ = _planes(inputs)
        return (torch.from_numpy(distances(passable, start)) + draws).argsort(1).argsort(1)

    def parse(self, text: str) -> Tensor:
        """Read a line of N rows of N symbols: # a wall, a point or a blank a free cell, S start, G goal, o path.

        Raises:
            PuzzleError: wrong length, an unknown symbol, or not one start and one goal.
        """
        maze = self.read_grid(text)
        for token, what in ((START, "start S"), (GOAL, "goal G")):
            if (count := int((maze == token).sum())) != 1:
                raise PuzzleError(f"a {self.name} puzzle must have one {what}; got {count}.")
        return maze

    def is_ambiguous(self, inputs: Tensor) -> Tensor:
        """Bool [B]: there are several shortest paths."""
        return torch.from_numpy(path_lengths(*_planes(inputs))[1])

    def any_answer(self, inputs: Tensor) -> Tensor:
        """A shortest path, int64 [L]: walked back from the goal, up where that is as good as left, right, down.

        Raises:
            PuzzleError: no path leads to the goal.
        """
        passable, start, _ = _planes(inputs[None])
        away = np.pad(distances(passable, start).reshape(self.size, self.size), 1, constant_values=self.seq_len)
        row, column = np.divmod(int((inputs == GOAL).long().argmax()), self.size) + np.array(1)
        if away[row, column] == self.seq_len:
            raise PuzzleError(f"a {self.name} puzzle must have a path from start to goal; this one has none.")
        answer = inputs.clone()
        while away[row, column] > 1:
            steps = ((row - 1, column), (row, column - 1), (row, column + 1), (row + 1, column))
            row, column = min(steps, key=lambda cell: away[cell])
            answer[(row - 1) * self.size + column - 1] = PATH
        return answer

    def solve(self, inputs: Tensor) -> Tensor:
        """The only shortest path, int64 [L].

        Raises:
            PuzzleError: no path leads to the goal, or several shortest ones.
        """
        answer = self.any_answer(inputs)
        if bool(self.is_ambiguous(inputs[None])):
            raise PuzzleError(
                f"a {self.name} puzzle must have one shortest path to be solved; this one has several."
                " Ask for any_answer."
            )
        return answer


def _planes(inputs: Tensor) -> tuple[Plane, Plane, Plane]:
    """Where one may walk, the start and the goal of mazes int64 [B, L]."""
    tokens = inputs.numpy()
    return pack((tokens != WALL) & (tokens != PAD)), pack(tokens == START), pack(tokens == GOAL)
