"""Trainings that are killed, and what they leave."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from latent_rl.training.losses import step_loss

STATE = "training.safetensors"


@contextmanager
def killed_after(num_steps: int) -> Iterator[None]:
    """Let a training make so many optimizer steps, and die in the next one."""

    class Killed(Exception):
        pass

    countdown = iter(range(num_steps))

    def failing(*arguments: Any, **options: Any) -> Tensor:
        if next(countdown, None) is None:
            raise Killed
        return step_loss(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("latent_rl.training.objectives.step_loss", failing)
        with pytest.raises(Killed):
            yield


def assert_same_state(one: Path, other: Path) -> dict[str, Tensor]:
    mine, theirs = load_file(one / STATE), load_file(other / STATE)
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert torch.equal(value, theirs[name]), name
    return mine
