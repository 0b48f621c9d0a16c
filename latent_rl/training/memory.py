"""Whether a training can fit into memory, before memory is taken: beyond it the machine hangs, or kills the process."""

import copy
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latent_rl.errors import InvalidValueError
from latent_rl.reasoners.base import ReasonerModule
from latent_rl.reasoners.checkpoint import weights_of
from latent_rl.reasoners.engine import device_of
from latent_rl.training import parallel
from latent_rl.training.config import TrainConfig

COPIES = 4
"""Of the weights: themselves, their average, their gradients, and a moment at least."""
_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
"""What a container may take, in either version of Linux's control groups."""


def memory_of(device: torch.device) -> int:
    """Bytes that the device has, or that this process may take of the machine's; 2^62 where that is not known."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    known = [2**62]
    if device.type == "cpu":
        with suppress(AttributeError, ValueError, OSError):  # not on every system
            known.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        with suppress(ImportError):  # nor this
            import resource

            limit, _ = resource.getrlimit(resource.RLIMIT_AS)
            known += [limit] if limit != resource.RLIM_INFINITY else []
        for name in _LIMITS:
            with suppress(ValueError, OSError):  # "max", or no such file
                known.append(int(Path("/sys/fs/cgroup", name).read_text()))
    return min(known)


def check_weights(config: Any, device: torch.device) -> None:
    """Refuse to train a network whose weights don't fit.

    Raises:
        InvalidValueError: they don't.
    """
    needed = COPIES * sum(tensor.nbytes for tensor in weights_of(config).values())
    _check(needed, device, "the network's weights, their average, gradients and moments", "a smaller network")


def check_batch(config: TrainConfig, reasoner: ReasonerModule) -> None:
    """Refuse a batch whose puzzles, targets and states don't fit, as far as they can be foreseen.

    Raises:
        InvalidValueError: they don't.
    """
    boards = (reasoner.num_supervision_steps + 4) * reasoner.seq_len * 8  # the targets, inputs, labels, a view
    needed = config.batch_size * (boards + _kept_bytes(reasoner) // parallel.num_workers())
    _check(needed, device_of(reasoner), f"a batch of {config.batch_size} puzzles", "a smaller --batch-size")


def _check(needed: int, device: torch.device, what: str, remedy: str) -> None:
    if needed > (room := memory_of(device)):
        raise InvalidValueError(
            f"{what} must fit into memory: they take {needed / 2**30:,.0f} GiB at least; {device} has"
            f" {room / 2**30:,.0f}. Choose {remedy}."
        )


def _kept_bytes(reasoner: ReasonerModule) -> int:
    """What a supervised step keeps of a puzzle for its gradient, tried where tensors take no memory; 0 where a network
    of the user's can't be tried there."""
    twin = copy.deepcopy(reasoner).to("meta").requires_grad_(True)
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    def total(batch_size: int) -> int:
        kept.clear()
        inputs = torch.zeros(batch_size, reasoner.seq_len, dtype=torch.int64, device="meta")
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            carry_and_output = twin.step(inputs, twin.initial_carry(batch_size), 0)
        del carry_and_output
        return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())

    try:
        with torch.enable_grad(), torch.compiler.set_stance("force_eager"):
            return total(2) - total(1)
    except (RuntimeError, TypeError):
        return 0
