"""A task given by its units: sets of cells in which every symbol stands exactly once, or at most once.

Everything follows from the units: the verifier, the share of constraints that hold, the expected number of violations
under a readout's probabilities, clashes, exact search, and what a symbol network has to know of the board. Tokens are
those of all boards here: 0 is padding, 1 an open cell, and symbol s of 0..S-1 is token s + 2. With a background (as "no
queen") token 1 is an answer, too: a cell may stay without a symbol.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError, PuzzleError
from latent_rl.tasks.bank import bank_size, load_bank
from latent_rl.tasks.base import Split, Splits, Task
from latent_rl.types import PuzzleSource, Symmetry, TaskShape

OPEN = 1
"""Token of a cell that the puzzle leaves open, and of one without a symbol where there is a background."""
FIRST_SYMBOL = 2
SYMBOLS = "123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
BLANK_CHARACTERS = ".0_*-?·"


@dataclass(frozen=True)
class Kind:
    """Units that mean the same.

    Attributes:
        name: in messages, "row".
        units: the cells of each.
        exact: every symbol stands exactly once in each; else at most once.
        weights: a symbol network has weights for each of these names; kinds that mean the same share one.
    """

    name: str
    units: tuple[tuple[int, ...], ...]
    exact: bool = True
    weights: str = ""

    @staticmethod
    def of(name: str, units: Iterable[Iterable[int]], *, exact: bool = True, weights: str = "") -> "Kind":
        """The same from any iterables, such as arrays of numpy."""
        cells = tuple(tuple(int(cell) for cell in unit) for unit in units)
        return Kind(name, cells, exact, weights or name)


@dataclass(frozen=True)
class Constraints:
    """The rules of a board.

    Attributes:
        num_cells: L.
        num_symbols: S.
        kinds: of units.
        has_background: a cell may stay without a symbol.

    Raises:
        InvalidValueError: a unit's cells are not different cells of the board, or it can't hold every symbol once.
    """

    num_cells: int
    num_symbols: int
    kinds: tuple[Kind, ...]
    has_background: bool = False

    def __post_init__(self) -> None:
        for kind in self.kinds:
            for unit in kind.units:
                if not unit or len(set(unit)) < len(unit) or not set(unit) <= set(range(self.num_cells)):
                    raise InvalidValueError(
                        f"a {kind.name} must have different cells in 0..{self.num_cells - 1}; got {unit}."
                    )
                if not self.has_background and len(unit) > self.num_symbols:
                    raise InvalidValueError(
                        f"a {kind.name} without a background must have at most {self.num_symbols} cells, the symbols"
                        f" there are; got {len(unit)}."
                    )
                if kind.exact and len(unit) < self.num_symbols:
                    raise InvalidValueError(
                        f"a {kind.name} that holds every symbol must have at least {self.num_symbols} cells; got"
                        f" {len(unit)}."
                    )

    @property
    def units(self) -> list[tuple[int, ...]]:
        """The cells of all units, kind after kind."""
        return [unit for kind in self.kinds for unit in kind.units]

    @cached_property
    def members(self) -> Tensor:
        """Float32 [U, L]: 1 where the cell is in the unit."""
        members = torch.zeros(len(self.units), self.num_cells)
        for row, unit in zip(members, self.units, strict=True):
            row[list(unit)] = 1
        return members

    @cached_property
    def is_exact(self) -> Tensor:
        """Bool [U]: every symbol stands exactly once in the unit."""
        return torch.tensor([kind.exact for kind in self.kinds for _ in kind.units], dtype=torch.bool)

    @cached_property
    def table(self) -> np.ndarray:
        """Int64 [U, K]: the cells of every unit, filled up with -1."""
        width = max(map(len, self.units), default=0)
        return np.array([unit + (-1,) * (width - len(unit)) for unit in self.units], dtype=np.int64).reshape(-1, width)

    def by_weights(self) -> dict[str, tuple[tuple[int, ...], ...]]:
        """The units under the names of the weights that they share."""
        found: dict[str, tuple[tuple[int, ...], ...]] = {}
        for kind in self.kinds:
            found[kind.weights] = found.get(kind.weights, ()) + kind.units
        return found


def presence(constraints: Constraints, tokens: Tensor) -> Tensor:
    """Which symbol stands in which cell: float32 [B, L, S] of tokens int64 [B, L]."""
    symbols = torch.arange(FIRST_SYMBOL, FIRST_SYMBOL + constraints.num_symbols)
    return (tokens[..., None] == symbols).float()


def counts(constraints: Constraints, present: Tensor) -> Tensor:
    """How often each symbol stands in each unit: [B, U, S], of `present` [B, L, S]; its mean, of probabilities."""
    return constraints.members.to(present) @ present


def held(constraints: Constraints, answers: Tensor) -> Tensor:
    """Bool [B, U, S]: the symbol stands in the unit as often as it should.

    Where an exact unit has a cell for each symbol, one that stands twice crowds out another: only the absent one
    counts, so that each mistake does once.
    """
    found = counts(constraints, presence(constraints, answers))
    crowded = found <= 1
    full = constraints.is_exact & (constraints.members.sum(1) == constraints.num_symbols)
    return (crowded | full[:, None]) & ((found >= 1) | ~constraints.is_exact[:, None])


def expected_violations(constraints: Constraints, probabilities: Tensor) -> Tensor:
    """The mean number of violations if every cell drew its token from its own probabilities, independently.

    Violations are pairs of cells in a unit that hold the same symbol: for unit u and symbol s, with p_c the
    probability of s in cell c,

        sum_{c < c' in u} p_c p_c' = ((sum_c p_c)^2 - sum_c p_c^2) / 2,

    and, with a background, symbols that an exact unit lacks: prod_c (1 - p_c). Without one a symbol can only be absent
    where another stands twice. Differentiable: a loss whose gradient is the exact policy gradient of minus the number
    of violations.

    Args:
        constraints: the rules.
        probabilities: float [B, L, V], as of `Task.constrain` and a softmax.

    Returns:
        float [B].
    """
    p = probabilities[..., FIRST_SYMBOL : FIRST_SYMBOL + constraints.num_symbols]
    pairs = (counts(constraints, p) ** 2 - counts(constraints, p**2)) / 2
    violations = pairs.sum((1, 2))
    if constraints.has_background:
        absent = counts(constraints, torch.log1p(-p.clamp(max=1 - 1e-6))).exp()
        violations = violations + absent[:, constraints.is_exact.to(p.device)].sum((1, 2))
    return violations


def satisfaction(constraints: Constraints, probabilities: Tensor) -> Tensor:
    """The probability that a symbol stands in a unit as often as it should if every cell drew its token from its own
    probabilities, independently.

    With p_c the probability of symbol s in cell c of unit u, n = prod_c (1 - p_c) that it stands nowhere and
    n sum_c p_c / (1 - p_c) that it stands once: the second in exact units, their sum in others. Differentiable.

    Args:
        constraints: the rules.
        probabilities: float [B, L, V], as of `Task.constrain` and a softmax.

    Returns:
        float [B, U, S] in [0, 1].
    """
    p = probabilities[..., FIRST_SYMBOL : FIRST_SYMBOL + constraints.num_symbols].clamp(max=1 - 1e-6)
    nowhere = counts(constraints, torch.log1p(-p)).exp()
    once = nowhere * counts(constraints, p / (1 - p))
    return torch.where(constraints.is_exact.to(p.device)[:, None], once, once + nowhere)


class ConstraintTask(Task):
    """A `Task` by its rules; see the module.

    Args:
        name: what reports and folders call it.
        constraints: the rules.
        splits: gives the base puzzles; by default the shipped bank of that name.
        environment: see `Task`; by default that of the class.

    Attributes:
        constraints: the rules.
        is_unique: a puzzle must have one answer alone; else every answer that keeps the rules is right.
    """

    is_unique = True

    def __init__(
        self,
        name: str,
        constraints: Constraints,
        splits: Splits | None = None,
        environment: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.constraints, self.splits = name, constraints, splits
        if environment is not None:
            self.environment = environment
        self.seq_len = constraints.num_cells
        self.symbols = ".." + SYMBOLS[: constraints.num_symbols]
        self.first_answer_token = OPEN if constraints.has_background else FIRST_SYMBOL
        self.num_symmetry_draws = constraints.num_symbols

    @property
    def shape(self) -> TaskShape:
        """See `Task.shape`."""
        rules = self.constraints
        return TaskShape(self.vocab_size, self.seq_len, rules.by_weights(), has_background=rules.has_background)

    def puzzles(self, split: Split) -> PuzzleSource:
        """The base puzzles of a split."""
        return load_bank(self.name, split) if self.splits is None else self.splits(split)

    def num_puzzles(self, split: Split) -> int:
        """How many base puzzles a split has; a bank is not read for it."""
        return bank_size(self.name, split) if self.splits is None else len(self.splits(split))

    @property
    def alphabet(self) -> Mapping[str, int]:
        """The symbols, and any of ``.0_*-?·`` for an open cell."""
        known = {symbol: FIRST_SYMBOL + s for s, symbol in enumerate(self.symbols[FIRST_SYMBOL:])}
        return dict.fromkeys(BLANK_CHARACTERS, OPEN) | known

    @property
    def legend(self) -> str:
        """See `Task.legend`."""
        return f"the symbols {' '.join(self.symbols[FIRST_SYMBOL:])}, or one of {BLANK_CHARACTERS} for an open cell"

    def symmetry(self, draws: Tensor) -> Symmetry:
        """Other names for the symbols; cells stay."""
        count = self.constraints.num_symbols
        cells = torch.arange(self.seq_len).expand(len(draws), -1)
        return Symmetry(cells, renamed(draws[:, :count]))

    def is_given(self, inputs: Tensor) -> Tensor:
        """Bool [B, L]: the cells with a symbol."""
        return inputs >= FIRST_SYMBOL

    def _kept(self, inputs: Tensor, answers: Tensor) -> Tensor:
        """Bool [B, L]: the cell holds what an answer may hold, its given if it has one."""
        is_answer = answers >= self.first_answer_token
        return is_answer & ((answers == inputs) | ~self.is_given(inputs))

    def verify(self, inputs: Tensor, answers: Tensor) -> Tensor:
        """Bool [B]: every unit holds its symbols as it should, and the givens are kept."""
        rules_hold = held(self.constraints, answers).flatten(1).all(1)
        return rules_hold & self._kept(inputs, answers).all(1)

    def satisfied_share(self, inputs: Tensor, answers: Tensor) -> Tensor:
        """Float32 [B]: the share of (unit, symbol) pairs that hold and of cells with their given, or any answer."""
        parts = [held(self.constraints, answers).flatten(1), self._kept(inputs, answers)]
        return torch.cat(parts, dim=1).float().mean(1)

    def expected_reward(self, probabilities: Tensor) -> Tensor:
        """Float [B], at most 0: minus the expected number of violations for each cell of the board, if every cell drew
        its token from its own probabilities, float [B, L, V]; see `expected_violations`."""
        return -expected_violations(self.constraints, probabilities) / self.seq_len

    def log_reward(self, probabilities: Tensor) -> Tensor:
        """Float [B], about 0 at the most: the sum of the log-probabilities in nats that each rule holds, for each cell
        of the board; see `satisfaction`. Those below 1e-6 count as that."""
        return (satisfaction(self.constraints, probabilities) + 1e-6).log().sum((1, 2)) / self.seq_len

    def clashes(self, answers: Tensor) -> Tensor:
        """Bool [B, L]: the cell's symbol stands more than once in a unit."""
        present = presence(self.constraints, answers)
        crowded = (counts(self.constraints, present) > 1).float()
        return ((self.constraints.members.T @ crowded) * present).sum(2) > 0

    def parse(self, text: str) -> Tensor:
        """Read a puzzle as `read_grid` does; raise `PuzzleError` if its givens clash, too."""
        puzzle = self.read_grid(text)
        crowded = (counts(self.constraints, presence(self.constraints, puzzle[None])) > 1)[0].nonzero().tolist()
        if crowded:
            number, symbol = crowded[0]
            for kind in self.constraints.kinds:
                if number < len(kind.units):
                    break
                number -= len(kind.units)
            raise PuzzleError(
                f"the givens contradict each other: {self.symbols[FIRST_SYMBOL + symbol]} stands more than once in"
                f" {kind.name} {number + 1}."
            )
        return puzzle

    def completions(self, inputs: Tensor, limit: int) -> Tensor:
        """Up to `limit` answers of one puzzle, int64 [K, L], in the order in which an exact search comes to them.

        Raises:
            PuzzleError: the search takes too long.
        """
        from latent_rl.tasks.constraint_search import PATIENCE, UNDECIDED

        found = np.empty((limit, self.seq_len), dtype=np.int64)
        count = self._search(inputs.numpy(), PATIENCE, found)
        if count == UNDECIDED:
            raise PuzzleError(f"{PATIENCE:,} guesses did not tell what completes this {self.name} puzzle.")
        return torch.from_numpy(self._tokens(found[:count]))

    def likely_answers(self, inputs: Tensor, log_probs: Tensor) -> tuple[Tensor, Tensor]:
        """Of each puzzle an answer near a readout: the one that search comes to first when it tries likely symbols
        first, in the cells first of which the readout is surest.

        A readout that is an answer is its own. Else it is a member of the set that is near, not always the nearest:
        where answers are many, none can go through all of them.

        Args:
            inputs: int64 [B, L].
            log_probs: float32 [B, L, V].

        Returns:
            int64 [B, L] the answers, and bool [B] where there is one: not where `HURRY` guesses found none.
        """
        from latent_rl.tasks.constraint_search import HURRY

        tokens = [*range(FIRST_SYMBOL, self.vocab_size), OPEN]
        values = log_probs[..., tokens].argsort(-1, descending=True).numpy()
        cells = log_probs.amax(-1).argsort(-1, descending=True).numpy()
        found = np.zeros((len(inputs), 1, self.seq_len), dtype=np.int64)
        pairs = zip(inputs.numpy(), found, cells, values, strict=True)
        count = [self._search(board, HURRY, one, *orders) for board, one, *orders in pairs]
        return torch.from_numpy(self._tokens(found[:, 0])), torch.tensor(count) == 1

    def _search(self, board: np.ndarray, patience: int, found: np.ndarray, *orders: np.ndarray) -> int:
        """`constraint_search.complete` from a board's tokens, int64 [L]."""
        from latent_rl.tasks.constraint_search import complete

        rules = self.constraints
        symbols = np.where(board >= FIRST_SYMBOL, board - FIRST_SYMBOL, -1)
        exact = rules.is_exact.numpy()
        return complete(symbols, rules.table, exact, rules.num_symbols, rules.has_background, patience, found, *orders)

    def _tokens(self, found: np.ndarray) -> np.ndarray:
        """Boards of the search as tokens."""
        return np.where(found < self.constraints.num_symbols, found + FIRST_SYMBOL, OPEN)

    def is_ambiguous(self, inputs: Tensor) -> Tensor:
        """Bool [B]: the puzzle has several answers; none has, where they must have one."""
        if self.is_unique:
            return torch.zeros(len(inputs), dtype=torch.bool)
        return torch.tensor([len(self.completions(row, 2)) > 1 for row in inputs], dtype=torch.bool)

    def any_answer(self, inputs: Tensor) -> Tensor:
        """The first answer of one puzzle, int64 [L]; raise `PuzzleError` if it has none, or several where it must have
        one."""
        if self.is_unique:
            return self.solve(inputs)
        found = self.completions(inputs, 1)
        if not len(found):
            raise PuzzleError(f"a {self.name} puzzle must have an answer; this one has none.")
        return found[0]

    def solve(self, inputs: Tensor) -> Tensor:
        """The only answer of one puzzle, int64 [L]; raise `PuzzleError` if there is none or more than one."""
        found = self.completions(inputs, 2)
        if len(found) != 1:
            raise PuzzleError(
                f"a {self.name} puzzle must have exactly one answer to be solved; this one has"
                f" {'several' if len(found) else 'none'}."
            )
        return found[0]


def renamed(draws: Tensor) -> Tensor:
    """New names of all tokens, int64 [B, S + 2], from uniform draws [B, S]: symbols are permuted, the rest stays."""
    special = torch.arange(FIRST_SYMBOL).expand(len(draws), -1)
    return torch.cat([special, draws.argsort(1) + FIRST_SYMBOL], dim=1)


def rows_and_columns(size: int) -> tuple[Kind, Kind]:
    """The rows and columns of a square board, which share a network's weights."""
    cells = np.arange(size**2).reshape(size, size)
    return Kind.of("row", cells, weights="line"), Kind.of("column", cells.T, weights="line")
