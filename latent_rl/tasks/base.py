"""The `Task` protocol and the one way from a task to a training batch."""

from collections.abc import Callable
from typing import Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError, UnknownNameError
from latent_rl.types import Puzzles, Symmetry

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Source = Callable[[Split], Puzzles]
"""Gives the base puzzles of a split; splits never share one."""
PuzzlesT = TypeVar("PuzzlesT", bound=Puzzles)


def check_split(split: str) -> None:
    """Refuse what is no split.

    Raises:
        UnknownNameError: there is no such split.
    """
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)


@runtime_checkable
class Task(Protocol):
    """A family of puzzles whose input and answer are token grids of the same length.

    Everything is batched: inputs, answers and labels are int64 [B, L] with values in 0..V-1.

    A task may say more: `has_rules = False` (see `has_rules`), `num_puzzle_ids` (see `num_puzzle_ids`), and
    `environment`, a mapping with what its environment has other than the default, as `{"horizon": 32}`.
    """

    name: str
    seq_len: int
    num_symmetry_draws: int

    @property
    def vocab_size(self) -> int:
        """V."""

    def puzzles(self, split: Split) -> Puzzles:
        """The base puzzles of a split; splits never share a base puzzle."""

    def symmetry(self, draws: Tensor) -> Symmetry:
        """Random symmetries as a pure function of uniform numbers.

        Args:
            draws: float64 [B, num_symmetry_draws] in [0, 1).
        """

    def is_given(self, inputs: Tensor) -> Tensor:
        """Bool [B, L]: the cells that the puzzle fixes."""

    def constrain(self, inputs: Tensor, logits: Tensor) -> Tensor:
        """Copy the given cells into logits [B, L, V] and mask the tokens that can't be an answer."""

    def verify(self, inputs: Tensor, answers: Tensor) -> Tensor:
        """Bool [B]: the answer solves the puzzle. Needs no label."""

    def satisfied_share(self, inputs: Tensor, answers: Tensor) -> Tensor:
        """Float32 [B] in [0, 1]: the share of the task's constraints that hold; 1 exactly if solved."""

    def edit_order(self, inputs: Tensor, labels: Tensor, draws: Tensor) -> Tensor:
        """In which order a solver would decide the cells.

        Args:
            inputs: int64 [B, L].
            labels: int64 [B, L].
            draws: float64 [B, L] in [0, 1), which break ties and order the cells that the solver does not reach.

        Returns:
            Ranks, int64 [B, L]: a permutation of 0..L-1 in each row, smaller for earlier.
        """

    def read_grid(self, text: str) -> Tensor:
        """Read tokens, int64 [L], from a line of text, whatever the rules; raise `PuzzleError` if it can't be."""

    def parse(self, text: str) -> Tensor:
        """Read one puzzle as `read_grid` does; raise `PuzzleError` if its givens contradict each other, too."""

    def format(self, tokens: Tensor) -> str:
        """The inverse of `parse`: one line for tokens int64 [L]."""

    def render(self, tokens: Tensor) -> str:
        """Draw tokens int64 [L] as a board of several lines."""

    def is_ambiguous(self, inputs: Tensor) -> Tensor:
        """Bool [B]: the puzzle has more answers than its label. Never, where puzzles must have only one."""

    def any_answer(self, inputs: Tensor) -> Tensor:
        """An answer of one puzzle, int64 [L], always the same; raise `PuzzleError` if it has none, or several
        although the task's puzzles must have only one."""

    def solve(self, inputs: Tensor) -> Tensor:
        """The only answer of one puzzle, int64 [L]; raise `PuzzleError` if there is none or more than one."""


def draw_symmetry(task: Task, batch_size: int, generator: torch.Generator) -> Symmetry:
    """One random symmetry per row, drawn from `generator`."""
    draws = torch.rand(batch_size, task.num_symmetry_draws, generator=generator, dtype=torch.float64)
    return task.symmetry(draws)


def sample(task: Task, base: PuzzlesT, batch_size: int, generator: torch.Generator) -> PuzzlesT:
    """Draw from the base puzzles with replacement and show each in a random symmetric view."""
    rows = base.select(torch.randint(len(base), (batch_size,), generator=generator))
    return rows.seen_in(draw_symmetry(task, batch_size, generator))


def has_rules(task: Task) -> bool:
    """Whether answers are verified by rules; where the attribute of that name is False, by looking up the label."""
    known: bool = getattr(task, "has_rules", True)
    return known


def num_puzzle_ids(task: Task) -> int:
    """How many embeddings the task's puzzles ask for: its attribute of that name; 0, for none, if it has none."""
    count: int = getattr(task, "num_puzzle_ids", 0)
    return count


def clashes(task: Task, answers: Tensor) -> Tensor:
    """Bool [B, L]: cells of the answers that break a rule together, as the task's method of that name tells; none if it
    has no such method."""
    find: Callable[[Tensor], Tensor] | None = getattr(task, "clashes", None)
    return torch.zeros_like(answers, dtype=torch.bool) if find is None else find(answers)


def first(task: Task, split: Split, num_puzzles: int) -> Puzzles:
    """The first `num_puzzles` base puzzles of a split as they are, all if it has fewer: the same for everyone.

    Raises:
        InvalidValueError: `num_puzzles` is below 1.
    """
    if num_puzzles < 1:
        raise InvalidValueError(f"the number of puzzles must be at least 1; got {num_puzzles}.")
    return task.puzzles(split)[:num_puzzles]
