"""Data-parallel training under torchrun: every worker takes a share of each batch, and all make the same update.

Without torchrun there is one worker, and everything here does nothing.
"""

import importlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from latent_rl.errors import FileError, InvalidValueError
from latent_rl.storage.claims import claimed


@contextmanager
def workers() -> Iterator[None]:
    """Meet the other workers that torchrun has started, if it has; part when the block ends."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield
        return
    # Optimizers import it, and its functions keep the group of that time as their default. Imported later, it would
    # keep the group and its threads alive until the interpreter's end, where they can abort.
    importlib.import_module("torch.distributed.nn")
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group()  # gloo for tensors on a CPU, nccl for those on GPUs
    try:
        yield
        # The first worker has more to do at the end; one that leaves before it can abort in gloo's threads.
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


def num_workers() -> int:
    """How many there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """The number of this worker; 0 is the one that validates, writes and speaks."""
    return distributed.get_rank() if distributed.is_initialized() else 0


@contextmanager
def claimed_by_first(folder: Path) -> Iterator[None]:
    """Let the first worker claim a run's folder for all, as long as this block runs; see `claims.claimed`.

    Raises:
        FileError: it can't be claimed; all workers raise what the first one met.
    """
    met: list[FileError | None] = [None]
    with ExitStack() as held:
        if rank() == 0:
            try:
                held.enter_context(claimed(folder, is_file=False))
            except FileError as error:
                met = [error]
        if num_workers() > 1:
            distributed.broadcast_object_list(met, 0)
        if met[0] is not None:
            raise met[0]
        yield


def share(count: int) -> slice:
    """This worker's rows of a batch of `count`.

    Raises:
        InvalidValueError: the batch can't be shared out equally.
    """
    if count % num_workers():
        raise InvalidValueError(
            f"the batch size must be a multiple of the number of workers; got {count} and {num_workers()}."
            " Choose another --batch-size or --nproc_per_node."
        )
    size = count // num_workers()
    return slice(rank() * size, (rank() + 1) * size)


def mean(values: Tensor) -> Tensor:
    """The values' mean over all workers."""
    if num_workers() == 1:
        return values
    total = values.clone()
    distributed.all_reduce(total)
    return total / num_workers()


def gather(rows: Tensor) -> Tensor:
    """The rows of all workers, in their order; each may have a number of its own."""
    if num_workers() == 1:
        return rows
    counts = [torch.zeros(1, dtype=torch.int64) for _ in range(num_workers())]
    distributed.all_gather(counts, torch.tensor([len(rows)]))
    longest = int(torch.cat(counts).max())
    padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
    everyone = [torch.empty_like(padded) for _ in counts]
    distributed.all_gather(everyone, padded)
    return torch.cat([theirs[: int(count)] for theirs, count in zip(everyone, counts, strict=True)])


def average_gradients(module: nn.Module) -> None:
    """Give every worker the mean of all workers' gradients: that of the whole batch, as shares are of one size."""
    if num_workers() == 1:
        return
    gradients = []
    for parameter in module.parameters():
        if parameter.grad is None:
            continue
        if parameter.grad.is_sparse:
            parameter.grad = _average_rows(parameter.grad)
        else:
            gradients.append(parameter.grad)
    flat = mean(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, averaged in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(averaged.view_as(gradient))


def _average_rows(gradient: Tensor) -> Tensor:
    """The mean of all workers' gradients that are sparse in their rows."""
    mine = gradient.coalesce()
    rows, values = gather(mine.indices()[0]), gather(mine.values()) / num_workers()
    return torch.sparse_coo_tensor(rows[None], values, gradient.shape, check_invariants=False)


def same_weights(module: nn.Module) -> None:
    """Start all workers from the weights of the first one."""
    if num_workers() > 1:
        for tensor in module.state_dict().values():
            distributed.broadcast(tensor, 0)
