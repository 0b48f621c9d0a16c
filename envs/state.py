"""The state of a batch of episodes, and what a step makes of it."""

from dataclasses import dataclass

from torch import Tensor

from latent_rl.envs.guesses import Guesses
from latent_rl.errors import UnknownNameError
from latent_rl.types import Batched, Carry, Puzzles, Symmetry


@dataclass(frozen=True)
class Measured(Batched):
    """What the last supervision step showed of itself, in numbers; zeros before any step.

    Attributes:
        names: of the M measurements.
        values: float32 [B, M].
    """

    names: tuple[str, ...]
    values: Tensor

    def of(self, *names: str) -> Tensor:
        """The measurements of these names, float32 [B, len(names)].

        Raises:
            UnknownNameError: there is none of a name.
        """
        if names == self.names:
            return self.values
        for name in names:
            if name not in self.names:
                raise UnknownNameError("measurement", name, self.names)
        return self.values[:, [self.names.index(name) for name in names]]


@dataclass(frozen=True)
class State(Batched):
    """The state of a batch of episodes.

    Attributes:
        keys: int64 [B], the episodes' randomness.
        puzzles: the puzzles in their own view.
        view: the symmetry in which the reasoner sees them now.
        inputs: int64 [B, L], the puzzles' inputs in that view, and what has been committed or guessed.
        carry: the reasoner's state.
        certainty: float32 [B, L], top probability of the last answer's cells, in the reasoner's view.
        prediction: int64 [B, L], the last answer, in the puzzles' own view.
        changed: float32 [B], the share of its cells that the last step changed.
        submission: int64 [B, L], the best snapshot so far: what a halt would submit.
        score: float32 [B], the submission's score.
        confidence: float32 [B], the submission's least confidence.
        potential: float32 [B], Phi of the submission.
        step: int64 [B], supervision steps done.
        horizon: int64 [B], supervision steps after which the episode ends.
        age: int64 [B], steps since the carry was fresh.
        restarts: int64 [B].
        passes: int64 [B], forward passes spent.
        measured: what the last step showed of itself.
        guesses: what is remembered to guess from, and of guesses.
    """

    keys: Tensor
    puzzles: Puzzles
    view: Symmetry
    inputs: Tensor
    carry: Carry
    certainty: Tensor
    prediction: Tensor
    changed: Tensor
    submission: Tensor
    score: Tensor
    confidence: Tensor
    potential: Tensor
    step: Tensor
    horizon: Tensor
    age: Tensor
    restarts: Tensor
    passes: Tensor
    measured: Measured
    guesses: Guesses

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def is_own(self) -> Tensor:
        """Bool [B]: the reasoner is shown the puzzle itself; nothing is committed or guessed."""
        return (self.inputs == self.view.apply(self.puzzles.inputs)).all(1)


@dataclass(frozen=True)
class Seen(Batched):
    """What one supervision step of the reasoner shows.

    Attributes:
        carry: after it.
        certainty: float32 [B, L], as in `State`.
        answers: int64 [B, L], in the puzzles' own view.
        potential: float32 [B], Phi of them.
        measured: its measurements.
        passes: forward passes of each row.
        log_probs: float32 [B, L, V], of the constrained answer, in the puzzles' own view; L is 0 where no action
            guesses.
    """

    carry: Carry
    certainty: Tensor
    answers: Tensor
    potential: Tensor
    measured: Measured
    passes: int
    log_probs: Tensor


@dataclass(frozen=True)
class Transition:
    """What a step led to.

    Attributes:
        state: after the step; halted rows keep theirs.
        reward: float32 [B], gamma Phi(after) - Phi(before) - cost_per_pass * passes, and the bonus at the end.
        terminated: bool [B], halted or at the horizon.
        solved: bool [B], terminated with a submission that passes the verifier.
    """

    state: State
    reward: Tensor
    terminated: Tensor
    solved: Tensor
