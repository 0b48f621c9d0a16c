"""What an episode remembers of the puzzle itself, so as to guess from it and to compare runs, and of its guesses."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from latent_rl.guess import drawn_guess
from latent_rl.randomness import derive
from latent_rl.tasks.base import Task
from latent_rl.types import Batched

_GUESS_STREAM = 4  # of an episode's key; the steps draw from 0 to 3


@dataclass(frozen=True)
class Guesses(Batched):
    """The memory of a batch of episodes; L and S are 0 where no action guesses.

    Attributes:
        count: int64 [B], guesses so far.
        probability: float32 [B], of the guess that stands, in the readout that it was drawn from; 0 where none does.
        log_probs: float32 [B, L, V], the last readout of the puzzle itself, in the puzzles' own view.
        entropies: float32 [B, S], mean entropy of the blank cells after each step of the last run on the puzzle itself;
            from its end on the last one.
    """

    count: Tensor
    probability: Tensor
    log_probs: Tensor
    entropies: Tensor

    @staticmethod
    def none(batch_size: int, num_cells: int, vocab_size: int, horizon: int) -> "Guesses":
        """Of episodes before their first step."""
        return Guesses(
            count=torch.zeros(batch_size, dtype=torch.int64),
            probability=torch.zeros(batch_size),
            log_probs=torch.zeros(batch_size, num_cells, vocab_size),
            entropies=torch.zeros(batch_size, horizon),
        )

    @property
    def are_remembered(self) -> bool:
        """Whether an action guesses."""
        return self.log_probs.shape[1] > 0

    def seeing(self, log_probs: Tensor, entropy: Tensor, age: Tensor, is_own: Tensor) -> Self:
        """What is remembered after another step.

        Args:
            log_probs: float32 [B, L, V], its readout, in the puzzles' own view.
            entropy: float32 [B], the mean one of the readout's blank cells.
            age: int64 [B], of the run, this step included.
            is_own: bool [B], the step was shown the puzzle itself: nothing is guessed or committed.
        """
        places = torch.arange(1, self.entropies.shape[1] + 1)
        later = is_own[:, None] & (places >= age[:, None])
        return replace(
            self,
            log_probs=torch.where(is_own[:, None, None], log_probs, self.log_probs),
            entropies=torch.where(later, entropy[:, None], self.entropies),
        )

    def begun_anew(self, task: Task, inputs: Tensor, keys: Tensor, is_guess: Tensor) -> tuple[Tensor, Self]:
        """Take back the guesses that stand, and make new ones.

        Args:
            task: whose puzzles they are.
            inputs: int64 [B, L], the puzzles in their own view.
            keys: int64 [B], of the episodes; an episode's k-th guess draws the same whenever it is made.
            is_guess: bool [B], where to guess; the episode must have had a step.

        Returns:
            The inputs, with the new guesses as if they were given; and the memory.
        """
        if not bool(is_guess.any()):
            return inputs, replace(self, probability=torch.zeros_like(self.probability))
        guess = drawn_guess(task, inputs, self.log_probs, derive(derive(keys, _GUESS_STREAM), self.count))
        shown = torch.where(is_guess[:, None], guess.written_into(inputs), inputs)
        return shown, replace(self, count=self.count + is_guess, probability=guess.probability * is_guess)
