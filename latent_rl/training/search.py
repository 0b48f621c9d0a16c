"""Answers without labels: a step policy searches, the verifier accepts. The policy improvement of expert iteration."""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError
from latent_rl.guess import drawn_guess
from latent_rl.improvement import log_softmax
from latent_rl.randomness import derive, uniform
from latent_rl.reasoners.base import Reasoner
from latent_rl.tasks.base import Task
from latent_rl.training import parallel
from latent_rl.training.config import TrainConfig
from latent_rl.training.known import KnownAnswers
from latent_rl.training.progress import Progress
from latent_rl.types import Puzzles

_CHUNK = 256
"""Puzzles that are tried together."""


class Search(Protocol):
    """A step policy that answers puzzles with a reasoner: the improvement operator of expert iteration."""

    def __call__(self, reasoner: Reasoner, task: Task, puzzles: Puzzles, keys: Tensor) -> Tensor:
        """Answers int64 [B, L] of puzzles that nobody knows the labels of; 0 in rows without one. What is random about
        a row depends on its key, int64 [B], alone. The verifier has the last word."""


@dataclass(frozen=True)
class GuessSearch:
    """Fixed steps from a fresh start; then fresh starts with one guess each, as long as the verifier refuses.

    Attributes:
        num_steps: of every start; an answer counts after each of them.
        num_guesses: starts with a guess.
    """

    num_steps: int
    num_guesses: int

    @torch.no_grad()
    def __call__(self, reasoner: Reasoner, task: Task, puzzles: Puzzles, keys: Tensor) -> Tensor:
        """See `Search`."""
        answers = torch.zeros_like(puzzles.inputs)
        for start in range(0, len(puzzles), _CHUNK):
            rows = slice(start, start + _CHUNK)
            answers[rows] = self._answers(reasoner, task, puzzles[rows], keys[rows])
        return answers

    def _answers(self, reasoner: Reasoner, task: Task, puzzles: Puzzles, keys: Tensor) -> Tensor:
        answers, left, log_probs = attempt(reasoner, task, puzzles, puzzles.inputs, keys, self.num_steps)
        for number in range(1, self.num_guesses + 1):
            if not len(left):
                break
            mine, fresh = puzzles.select(left), derive(keys[left], number)
            shown = drawn_guess(task, mine.inputs, log_probs, fresh).written_into(mine.inputs)
            answers[left], still, _ = attempt(reasoner, task, mine, shown, fresh, self.num_steps)
            left, log_probs = left[still], log_probs[still]
        return answers


@torch.no_grad()
def attempt(
    reasoner: Reasoner, task: Task, puzzles: Puzzles, shown: Tensor, keys: Tensor, num_steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Refine from a fresh start until the verifier accepts.

    Args:
        reasoner: who answers.
        task: whose puzzles they are.
        puzzles: B of them; their labels are not read.
        shown: int64 [B, L], what the reasoner is shown: the puzzles, perhaps with guesses.
        keys: int64 [B], of the states it begins in.
        num_steps: at the most.

    Returns:
        Answers int64 [B, L], 0 where none was accepted; the rows of those, int64 [R]; their last readouts'
        log-probabilities, float32 [R, L, V].
    """
    answers, left = torch.zeros_like(puzzles.inputs), torch.arange(len(puzzles))
    carry = reasoner.initial_carry(len(puzzles), keys)
    log_probs = torch.zeros(0, reasoner.seq_len, reasoner.vocab_size)
    for index in range(num_steps):
        ids = None if puzzles.puzzle_ids is None else puzzles.puzzle_ids[left]
        carry, output = reasoner.step(shown[left], carry, index, puzzle_ids=ids)
        logits = task.constrain(shown[left], output.conditional_logits)
        said = logits.argmax(-1)
        accepted = task.verify(puzzles.inputs[left], said)
        answers[left[accepted]] = said[accepted]
        left, carry = left[~accepted], carry.select(~accepted)
        log_probs = log_softmax(logits[~accepted])
        if not len(left):
            break
    return answers, left, log_probs


def is_search_due(config: TrainConfig, known: KnownAnswers, progress: Progress) -> bool:
    """Whether the next batch begins with a search: every `search_every` batches, until one has found nothing new."""
    may_gain = not known.is_known.all() and (not progress.rounds or progress.rounds[-1]["gained"] > 0)
    return may_gain and progress.batch % config.search_every == 0


def search_round(
    search: Search, config: TrainConfig, task: Task, known: KnownAnswers, reasoner: Reasoner, batch: int
) -> dict[str, float]:
    """Search for answers of training puzzles that are not known, and learn those that the verifier accepts.

    Workers share the puzzles.

    Args:
        search: who answers.
        config: how many puzzles are tried.
        task: whose puzzles they are.
        known: the training puzzles.
        reasoner: with which they are answered.
        batch: the batch's number, for other random numbers in every round.

    Returns:
        How many puzzles were `searched` and `gained`, and the `known_share` of all.

    Raises:
        InvalidValueError: still no answer is known.
    """
    unknown = (~known.is_known).nonzero().squeeze(1)
    keys = derive(derive(unknown, config.seed), batch + 1)
    tried = uniform(keys, 1).squeeze(1).argsort()[: config.search_puzzles]
    mine = tried.tensor_split(parallel.num_workers())[parallel.rank()]
    puzzles = known.unlabelled(unknown[mine])
    answers = search(reasoner, task, puzzles, keys[mine])
    accepted = task.verify(puzzles.inputs, answers)
    places = parallel.gather(unknown[mine][accepted])
    known.learn(places, parallel.gather(answers[accepted]))
    if not known.is_known.any():
        raise InvalidValueError(
            f"a search must answer a training puzzle to begin with; of {len(tried)} it answered none. Begin with --init"
            " of a reasoner that was trained on easier ones, or by --objective reward; or give a --label-fraction."
        )
    return {
        "searched": len(tried),
        "gained": len(places),
        "known_share": known.is_known.float().mean().item(),
    }


def search_rates(
    search: Search, config: TrainConfig, task: Task, reasoner: Reasoner, held_out: Puzzles
) -> dict[str, float]:
    """What the search improves, on puzzles that nothing is learned from: `plain_rate`, the share of them that is solved
    within `search_steps` plain steps, and `solved_rate`, the share that the search solves."""
    asked = replace(held_out, labels=torch.zeros_like(held_out.labels))
    keys = torch.arange(len(asked))
    return {
        name: task.verify(asked.inputs, who(reasoner, task, asked, keys)).float().mean().item()
        for name, who in (("plain_rate", GuessSearch(config.search_steps, 0)), ("solved_rate", search))
    }
