"""A guess: one open cell that a readout is not sure of, its token drawn from the readout, written as if given."""

from dataclasses import dataclass

import torch
from torch import Tensor

from latent_rl.randomness import derive, drawn_answers, uniform
from latent_rl.tasks.base import Task
from latent_rl.types import Batched

SURE = 0.95
"""A cell whose token has this probability is no place for a guess."""


@dataclass(frozen=True)
class Guess(Batched):
    """One cell of every puzzle, and what is written there.

    Attributes:
        cell: int64 [B].
        token: int64 [B]; what the cell holds anyway, if there is nothing to guess.
        probability: float32 [B], of the token in the readout that it was drawn from; 0 if there is nothing to guess.
    """

    cell: Tensor
    token: Tensor
    probability: Tensor

    def written_into(self, inputs: Tensor) -> Tensor:
        """The puzzles, int64 [B, L], with the guess as if it was given."""
        return inputs.scatter(1, self.cell[:, None], self.token[:, None])


def drawn_guess(task: Task, inputs: Tensor, log_probs: Tensor, keys: Tensor) -> Guess:
    """Draw a token for every open cell, and of the cells whose token can be written as given one at random: if there is
    any, one that the readout is not sure of.

    Args:
        task: says which cells are open, and which tokens count as given.
        inputs: int64 [B, L].
        log_probs: float [B, L, V], of the readout.
        keys: int64 [B], of what is drawn.
    """
    drawn = drawn_answers(log_probs, derive(keys, 2), 1)[:, 0]
    possible = ~task.is_given(inputs) & task.is_given(drawn)
    unsure = possible & (log_probs.amax(-1).exp() < SURE)
    score = uniform(derive(keys, 1), inputs.shape[1]) + unsure + possible
    cell = score.argmax(1, keepdim=True)
    is_guess = possible.gather(1, cell)
    token = torch.where(is_guess, drawn.gather(1, cell), inputs.gather(1, cell))
    probability = log_probs[torch.arange(len(inputs)), cell[:, 0], token[:, 0]].exp()
    return Guess(cell[:, 0], token[:, 0], probability * is_guess[:, 0])


def can_guess(task: Task) -> bool:
    """Whether an answer has tokens that can be written as given."""
    tokens = torch.arange(task.first_answer_token, task.vocab_size)
    return bool(task.is_given(tokens[:, None].expand(-1, task.seq_len)).any())
