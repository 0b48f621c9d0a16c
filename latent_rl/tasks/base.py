"""What a task is: the one base of all tasks, and the one way from a task to a training batch."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, Self

import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError, PuzzleError, UnknownNameError
from latent_rl.tasks.grids import constrain_logits, read_symbols
from latent_rl.types import Puzzles, PuzzleSource, Symmetry, TaskShape

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Splits = Callable[[Split], PuzzleSource]
"""Gives the base puzzles of each split; splits never share one."""
_LONGEST_LINE = 40
"""Cells of a line of a board that is no square."""


def check_split(split: str) -> None:
    """Refuse what is no split.

    Raises:
        UnknownNameError: there is no such split.
    """
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)


class NoSolverError(PuzzleError):
    """A task can't find the answers of its puzzles."""


class Task(ABC):
    """A family of puzzles whose input and answer are token grids of the same length.

    Everything is batched: inputs, answers and labels are int64 [B, L] with values in 0..V-1; token 0 is padding, which
    no answer holds.

    A task of one's own sets the first three attributes and says, by three methods, which puzzles there are, which cells
    they fix, and when an answer is right. Everything else has a plain default, which it overrides with what it can do
    better: `symmetry` (training then shows each puzzle in many views, and restarts in a new view become useful),
    `satisfied_share` (a reward without labels), `solve` (for files of puzzles without answers).

    Attributes:
        name: what reports and folders call it.
        seq_len: L, the number of cells.
        symbols: how each token is written, in order: V symbols.
        first_answer_token: the smallest token that an answer may hold.
        num_symmetry_draws: random numbers that `symmetry` takes.
        has_rules: whether `verify` knows the rules, and does not look labels up.
        environment: the fields of `EnvConfig` that its environment has other than the default, as `{"horizon": 32}`.
        comment: what begins a comment in a text of its puzzles, where that is no symbol.
    """

    name: str
    seq_len: int
    symbols: str
    first_answer_token: int = 1
    num_symmetry_draws: int = 0
    has_rules: bool = True
    environment: Mapping[str, Any] = MappingProxyType({})
    comment: str = "#"

    @property
    def vocab_size(self) -> int:
        """V, one token for each symbol."""
        return len(self.symbols)

    @property
    def alphabet(self) -> Mapping[str, int]:
        """The token as which each symbol is read: as it is written, but for padding."""
        return {symbol: token for token, symbol in enumerate(self.symbols) if token}

    @property
    def legend(self) -> str:
        """The alphabet in words, for messages."""
        return f"the symbols {' '.join(self.alphabet)}"

    @property
    def num_puzzle_ids(self) -> int:
        """How many embeddings the puzzles ask for; 0 if they have no ids."""
        return 0

    @property
    def identifiers(self) -> list[str] | None:
        """What the puzzle ids mean, a name for each; None if there are none, or that is not known."""
        return None

    @property
    def shape(self) -> TaskShape:
        """What a network must know of the task to be made for it."""
        return TaskShape(self.vocab_size, self.seq_len)

    @abstractmethod
    def puzzles(self, split: Split) -> PuzzleSource:
        """The base puzzles of a split; splits never share a base puzzle.

        Raises:
            UnknownNameError: there is no such split.
        """

    @abstractmethod
    def is_given(self, inputs: Tensor) -> Tensor:
        """Bool [B, L]: the cells that the puzzle fixes."""

    @abstractmethod
    def verify(self, inputs: Tensor, answers: Tensor) -> Tensor:
        """Bool [B]: the answer solves the puzzle. Needs no label, if there are rules."""

    def num_puzzles(self, split: Split) -> int:
        """How many base puzzles a split has, views that are made of them aside; where it can, without drawing them."""
        return len(self.puzzles(split))

    def guesses(self, split: Split) -> Tensor | None:
        """How hard the base puzzles of a split are, float32 [N]: the guesses that a search needs for each; None if they
        are not rated, as by default."""
        return None

    def symmetry(self, draws: Tensor) -> Symmetry:
        """Random symmetries as a pure function of uniform numbers; by default the identity.

        Args:
            draws: float64 [B, num_symmetry_draws] in [0, 1).
        """
        return Symmetry.identity(len(draws), self.seq_len, self.vocab_size)

    def constrain(self, inputs: Tensor, logits: Tensor) -> Tensor:
        """Copy the given cells into logits [B, L, V] and mask the tokens that can't be an answer: by default those
        before `first_answer_token`."""
        return constrain_logits(inputs, self.is_given(inputs), logits, range(self.first_answer_token, self.vocab_size))

    def satisfied_share(self, inputs: Tensor, answers: Tensor) -> Tensor:
        """Float32 [B] in [0, 1]: the share of the task's constraints that hold; 1 exactly if solved. By default 1 or
        0."""
        return self.verify(inputs, answers).float()

    def clashes(self, answers: Tensor) -> Tensor:
        """Bool [B, L]: cells of the answers that break a rule together; by default none."""
        return torch.zeros_like(answers, dtype=torch.bool)

    def edit_order(self, inputs: Tensor, labels: Tensor, draws: Tensor) -> Tensor:
        """In which order a solver would decide the cells; by default a random one.

        Args:
            inputs: int64 [B, L].
            labels: int64 [B, L].
            draws: float64 [B, L] in [0, 1), which break ties and order the cells that the solver does not reach.

        Returns:
            Ranks, int64 [B, L]: a permutation of 0..L-1 in each row, smaller for earlier.
        """
        return draws.argsort(1).argsort(1)

    def read_grid(self, text: str) -> Tensor:
        """Read tokens, int64 [L], from a line of text, whatever the rules.

        Raises:
            PuzzleError: a wrong length, or a symbol outside the alphabet.
        """
        return read_symbols(text, self.alphabet, self.seq_len, self.name, self.legend)

    def parse(self, text: str) -> Tensor:
        """Read one puzzle as `read_grid` does.

        Raises:
            PuzzleError: as `read_grid`; or its givens contradict each other, where the task can tell.
        """
        return self.read_grid(text)

    def format(self, tokens: Tensor) -> str:
        """The inverse of `parse`: one line for tokens int64 [L]."""
        return "".join(self.symbols[token] for token in tokens.tolist())

    def render(self, tokens: Tensor) -> str:
        """Draw tokens int64 [L] as a board of several lines."""
        line, side = self.format(tokens), math.isqrt(self.seq_len)
        width = side if side**2 == self.seq_len else _LONGEST_LINE
        return "\n".join(" ".join(line[start : start + width]) for start in range(0, self.seq_len, width))

    def is_ambiguous(self, inputs: Tensor) -> Tensor:
        """Bool [B]: the puzzle has more answers than its label. By default never: puzzles must have only one."""
        return torch.zeros(len(inputs), dtype=torch.bool)

    def any_answer(self, inputs: Tensor) -> Tensor:
        """An answer of one puzzle, int64 [L], always the same; by default the only one.

        Raises:
            PuzzleError: it has none, or several although the task's puzzles must have only one.
            NoSolverError: see `solve`.
        """
        return self.solve(inputs)

    def solve(self, inputs: Tensor) -> Tensor:
        """The only answer of one puzzle, int64 [L].

        Raises:
            PuzzleError: there is none, or more than one.
            NoSolverError: the task can't find it, as by default.
        """
        raise NoSolverError(
            f"a {self.name} puzzle must come with its answer, as the task has no solver; give a CSV with the columns"
            " question and answer, or define solve."
        )

    def on_canvas(self, seq_len: int) -> "Task":
        """The task as a reasoner for boards of L cells can be asked it; by default itself, whatever L is."""
        return self

    def known_as(self, identifiers: list[str]) -> Self | None:
        """The task as a reasoner knows it that was trained under other puzzle ids, a name for each; None where it has
        its own ids or none, as by default.

        Raises:
            InvalidValueError: no name is that of a puzzle which can be asked.
        """
        return None


def draw_symmetry(task: Task, batch_size: int, generator: torch.Generator) -> Symmetry:
    """One random symmetry per row, drawn from `generator`."""
    draws = torch.rand(batch_size, task.num_symmetry_draws, generator=generator, dtype=torch.float64)
    return task.symmetry(draws)


def sample(task: Task, base: PuzzleSource, batch_size: int, generator: torch.Generator) -> Puzzles:
    """Draw from the base puzzles with replacement and show each in a random symmetric view."""
    rows = base.select(torch.randint(len(base), (batch_size,), generator=generator))
    return rows.seen_in(draw_symmetry(task, batch_size, generator))


def first(task: Task, split: Split, num_puzzles: int) -> Puzzles:
    """The first `num_puzzles` base puzzles of a split as they are, all if it has fewer: the same for everyone.

    Raises:
        InvalidValueError: `num_puzzles` is below 1.
    """
    if num_puzzles < 1:
        raise InvalidValueError(f"the number of puzzles must be at least 1; got {num_puzzles}.")
    return task.puzzles(split)[:num_puzzles]
