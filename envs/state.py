"""The state of a batch of episodes, and what a step makes of it."""

from dataclasses import dataclass

from torch import Tensor

from latent_rl.types import Batched, Carry, Puzzles, Symmetry


@dataclass(frozen=True)
class State(Batched):
    """The state of a batch of episodes.

    Attributes:
        keys: int64 [B], the episodes' randomness.
        puzzles: the puzzles in their own view.
        view: the symmetry in which the reasoner sees them now.
        inputs: int64 [B, L], the puzzles' inputs in that view, and what has been committed.
        carry: the reasoner's state.
        certainty: float32 [B, L], top probability of the last answer's cells, in the reasoner's view.
        prediction: int64 [B, L], the last answer, in the puzzles' own view.
        submission: int64 [B, L], the best snapshot so far: what a halt would submit.
        score: float32 [B], the submission's score.
        confidence: float32 [B], the submission's least confidence.
        potential: float32 [B], Phi of the submission.
        step: int64 [B], supervision steps done.
        age: int64 [B], steps since the carry was fresh.
        restarts: int64 [B].
        passes: int64 [B], forward passes spent.
        features: float32 [B, F], the features of the last step.
    """

    keys: Tensor
    puzzles: Puzzles
    view: Symmetry
    inputs: Tensor
    carry: Carry
    certainty: Tensor
    prediction: Tensor
    submission: Tensor
    score: Tensor
    confidence: Tensor
    potential: Tensor
    step: Tensor
    age: Tensor
    restarts: Tensor
    passes: Tensor
    features: Tensor

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class Seen(Batched):
    """What one supervision step of the reasoner shows.

    Attributes:
        carry: after it.
        certainty: float32 [B, L], as in `State`.
        answers: int64 [B, L], in the puzzles' own view.
        potential: float32 [B], Phi of them.
        shown: float32 [B, len(STEP_FEATURES)].
        passes: forward passes of each row.
    """

    carry: Carry
    certainty: Tensor
    answers: Tensor
    potential: Tensor
    shown: Tensor
    passes: int


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
