"""Run a step policy on a stream of puzzles: who halts leaves the batch at once, and the next puzzle takes the place."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from latent_rl.agents.policy import Episodes, StepPolicy, Turn, play
from latent_rl.envs.core import Core
from latent_rl.errors import InvalidValueError
from latent_rl.types import Batched, Puzzles

WINDOW_BATCHES = 16
"""Default size of the window, in batches: an episode this many times longer than the mean holds nobody up."""
Take = Callable[[int], Puzzles]
"""Hands out the next puzzles, at most as many as asked for; fewer only at the end of the stream."""


@dataclass(frozen=True)
class Solutions(Batched):
    """What became of P puzzles, in their order.

    Attributes:
        inputs: int64 [P, L], the puzzles.
        answers: int64 [P, L], what was submitted, right or wrong.
        solved: bool [P], the answer passes the task's verifier.
        steps: int64 [P], supervision steps.
        passes: int64 [P], forward passes.
        restarts: int64 [P].
        confidence: float32 [P], the answer's least certain cell's probability; 0 without any step.
        returns: float64 [P], sum of rewards; void if the reward needs the labels and there are none. Nothing else here
            depends on labels.
    """

    inputs: Tensor
    answers: Tensor
    solved: Tensor
    steps: Tensor
    passes: Tensor
    restarts: Tensor
    confidence: Tensor
    returns: Tensor

    def __len__(self) -> int:
        return len(self.solved)


@dataclass(frozen=True)
class Solver:
    """A step policy at work, by continuous batching: time follows the mean number of passes, not the slowest puzzle.

    Results do not depend on `batch_size` and `window`, but for rounding: a puzzle draws by the seed and its place.

    Attributes:
        core: task, reasoner, actions; which snapshot is submitted, if the policy leaves that open.
        policy: decides every step of every episode.
        batch_size: episodes that run at the same time, at most; the more, the less the bookkeeping costs.
        seed: of the episodes' randomness.
        window: from the oldest unfinished puzzle on, so many may have been taken from the stream; what waits for its
            turn is held in memory. Default: `WINDOW_BATCHES` batches.

    Raises:
        InvalidValueError: a number is out of range.
    """

    core: Core
    policy: StepPolicy
    batch_size: int = 256
    seed: int = 0
    window: int | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.batch_size < 1:
            raise InvalidValueError(f"batch_size must be at least 1; got {self.batch_size}.")
        if self.window is not None and self.window < self.batch_size:
            raise InvalidValueError(f"window must be at least batch_size, {self.batch_size}; got {self.window}.")

    def solve(self, puzzles: Puzzles) -> Solutions:
        """Solve all puzzles; one without a known answer comes from `Puzzles.unlabelled`.

        Raises:
            InvalidValueError: there is no puzzle, or it does not fit the task.
        """
        if len(puzzles) < 1:
            raise InvalidValueError("there must be at least one puzzle to solve; got none.")
        taken = 0

        def take(count: int) -> Puzzles:
            nonlocal taken
            start, taken = taken, taken + count
            return puzzles[start:taken]

        first, *others = self._run(take, 0)
        return first.concat(*others)

    def stream(self, inputs: Iterable[Tensor], first: int = 0) -> Iterator[Solutions]:
        """Solve puzzles as they come, one each int64 [L], in bounded memory.

        No puzzle is taken before there is room for it. Results come in the order of the puzzles, in blocks, as soon as
        they are known.

        Args:
            inputs: the puzzles; no answers are needed.
            first: the place of the first one, if the stream goes on where another ended.

        Raises:
            InvalidValueError: a puzzle does not fit the task.
        """
        rest, nothing = iter(inputs), torch.zeros(0, self.core.task.seq_len, dtype=torch.int64)

        def take(count: int) -> Puzzles:
            rows = list(islice(rest, count))
            return Puzzles.unlabelled(torch.stack(rows) if rows else nothing)

        return self._run(take, first)

    def _run(self, take: Take, first: int) -> Iterator[Solutions]:
        window = _Window(self.window or WINDOW_BATCHES * self.batch_size, first)

        def admit(count: int) -> Episodes | None:
            puzzles = take(min(self.batch_size - count, window.room))
            if not len(puzzles):
                return None
            self._check(puzzles)
            return Episodes.begun(self.core, puzzles, self.seed, window.extend(len(puzzles)))

        for turn in play(self.core, self.policy, admit):
            ended = turn.transition.terminated
            if bool(ended.any()):
                ready = window.reorder(turn.after.places[ended], submitted(turn).select(ended))
                if len(ready):
                    yield ready

    def _check(self, puzzles: Puzzles) -> None:
        shape, task = puzzles.inputs.shape[1:], self.core.task
        if shape != (task.seq_len,) or puzzles.inputs.dtype != torch.int64:
            raise InvalidValueError(
                f"a {task.name} puzzle must be int64 [{task.seq_len}]; got {puzzles.inputs.dtype} {list(shape)}."
            )


def submitted(turn: Turn) -> Solutions:
    """What a halt submits after the turn."""
    state = turn.after.state
    return Solutions(
        inputs=state.puzzles.inputs,
        answers=state.submission,
        solved=turn.transition.solved,
        steps=state.step,
        passes=state.passes,
        restarts=state.restarts,
        confidence=state.confidence,
        returns=turn.after.returns,
    )


class _Window:
    """Brings results back into order: a ring from the oldest unfinished puzzle to the newest that was taken."""

    def __init__(self, size: int, first: int) -> None:
        self.oldest = first
        self.newest = first
        self._is_finished = torch.zeros(size, dtype=torch.bool)
        self._ring: Solutions | None = None

    @property
    def room(self) -> int:
        """How many more puzzles may be taken."""
        return len(self._is_finished) - (self.newest - self.oldest)

    def extend(self, count: int) -> int:
        """Take in so many more puzzles; returns the place of the first."""
        first = self.newest
        self.newest += count
        return first

    def reorder(self, places: Tensor, solutions: Solutions) -> Solutions:
        """Keep the results of the puzzles at the given places; hand out those before the oldest unfinished one."""
        size = len(self._is_finished)
        if self._ring is None:
            self._ring = solutions.map(lambda tensor: tensor.new_zeros(size, *tensor.shape[1:]))
        self._ring = self._ring.put(places % size, solutions)
        self._is_finished[places % size] = True
        slots = (torch.arange(size) + self.oldest) % size
        ready = slots[: int(self._is_finished[slots].cumprod(0).sum())]
        self._is_finished[ready] = False
        self.oldest += len(ready)
        return self._ring.select(ready)
