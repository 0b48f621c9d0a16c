"""Mazes: rules, symmetries, text."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from latent_rl.errors import InvalidValueError, PuzzleError
from latent_rl.tasks.base import SPLITS, Split, Splits, Task, check_split
from latent_rl.tasks.grids import constrain_logits, dihedral_maps
from latent_rl.tasks.maze.boards import Plane, distances, have_several, pack, steps_between
from latent_rl.tasks.maze.drawing import draw_mazes
from latent_rl.tasks.maze.families import Family, looped
from latent_rl.types import Puzzles, PuzzleSource, Symmetry

PAD, WALL, FREE, START, GOAL, PATH = range(6)
"""The tokens, as in the public datasets."""


class Maze(Task):
    """Mark a shortest path from the start to the goal; steps go up, down, left and right.

    Base mazes have a long one, so that they are hard, and it is the only one, but in the family `scattered`. `verify`
    accepts any shortest path; a label is the one that `any_answer` finds. Base mazes are drawn from the seed, in about
    a second (see `draw_mazes`), or come from `splits`.

    Args:
        name: the registered name.
        size: N, 5..32.
        counts: mazes in the training, validation and test split.
        min_steps: least number of steps from start to goal; by default 2 N, more than between the corners of a board
            without walls.
        max_steps: greatest number of steps; by default any.
        family: how the mazes are drawn; see `latent_rl.tasks.maze.families`.
        seed: of the mazes.
        splits: gives the base mazes instead of a draw.
        environment: see `Task`; by default that of any task.

    Raises:
        InvalidValueError: a size out of range, a split without mazes, or no number of steps from 1 on that a path may
            have.
    """

    sizes = range(5, 33)
    """The N that there may be."""
    symbols = "?#.SGo"
    alphabet = MappingProxyType({"#": WALL, ".": FREE, " ": FREE, "S": START, "G": GOAL, "o": PATH})
    legend = "# for a wall, one of . and blank for a free cell, S, G, or o for the path"
    num_symmetry_draws = 2
    is_unique = False
    """There may be several shortest paths; see `latent_rl.training.answers.Searches`."""
    comment = "//"
    """A line that begins with # is a maze."""

    def __init__(
        self,
        name: str = "maze10",
        size: int = 10,
        *,
        counts: tuple[int, int, int] = (10_000, 1_000, 3_000),
        min_steps: int | None = None,
        max_steps: int | None = None,
        family: Family = looped,
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
        self.max_steps = self.seq_len if max_steps is None else max_steps
        self.family = family
        self.seed = seed
        self.environment = environment or {}
        self._splits = splits
        if not 1 <= self.min_steps <= self.max_steps:
            raise InvalidValueError(
                f"a path must have at least 1 step, and min_steps up to max_steps; got {self.min_steps} and"
                f" {self.max_steps}."
            )

    def puzzles(self, split: Split) -> PuzzleSource:
        """The base mazes of a split."""
        check_split(split)
        if self._splits is not None:
            return self._splits(split)
        end = sum(self.counts[: SPLITS.index(split) + 1])
        return self.draw(sum(self.counts), self.seed)[end - self.counts[SPLITS.index(split)] : end]

    def num_puzzles(self, split: Split) -> int:
        """How many base mazes a split has; none is drawn for it."""
        check_split(split)
        return self.counts[SPLITS.index(split)] if self._splits is None else len(self._splits(split))

    def draw(self, count: int, seed: int, report: Callable[[int], object] | None = None) -> Puzzles:
        """Mazes of the task's family, no two of them symmetric to each other; see `draw_mazes`.

        Raises:
            InvalidValueError: there are not so many.
        """
        steps = range(self.min_steps, self.max_steps + 1)
        mazes = draw_mazes(self.family, self.size, steps, count, seed, report)
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
        wanted, walked = steps_between(free, start, goal), steps_between(marked, start, goal)
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
        return torch.from_numpy(have_several(*_planes(inputs)))

    def likely_answers(self, inputs: Tensor, log_probs: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest of each maze's shortest paths; see `latent_rl.training.answers.Searches`."""
        from latent_rl.tasks.maze.likely import best_shortest_paths

        passable = ((inputs != WALL) & (inputs != PAD)).view(-1, self.size, self.size)
        # A cell that is shown as part of the path must stay that.
        scores = (log_probs[..., PATH] - log_probs[..., FREE]).masked_fill(inputs == PATH, 1e4).float()
        start, goal = ((inputs == token).long().argmax(1).numpy() for token in (START, GOAL))
        path, has_path = best_shortest_paths(passable.numpy(), start, goal, scores.numpy())
        return torch.where(torch.from_numpy(path), PATH, inputs), torch.from_numpy(has_path)

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
