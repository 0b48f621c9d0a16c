"""Training speed: our trainer's batches in three engines; PyPI's TRMs; processes that share batches.

As a command it is one worker: `torchrun --nproc_per_node 2 benchmarks/speed/training.py 1` prints puzzles per second
with one thread each; `python benchmarks/speed/training.py 2` those of one process with two.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import peers
import torch
from race import Contestant, Row, Settings, race

from latent_rl.reasoners.trm import TRM, TRMConfig
from latent_rl.tasks.registry import make_task
from latent_rl.training import parallel
from latent_rl.training.batches import ExampleSource
from latent_rl.training.config import TrainConfig
from latent_rl.training.objectives import LabelObjective
from latent_rl.training.state import TrainingState
from latent_rl.training.updates import train_batch

TASK = make_task("sudoku9x9")
SHAPE = TRMConfig(vocab_size=TASK.vocab_size, seq_len=TASK.seq_len)
BATCH_SIZE, MANY = 64, 1_000_000
CONFIG = TrainConfig(
    task=TASK.name, num_batches=MANY, batch_size=BATCH_SIZE, extended_fraction=0.0, midway_fraction=0.0
)


def trainer(compute_dtype: torch.dtype, compiled: bool) -> Callable[[int], None]:
    """A function that trains some batches: data, six supervised steps each, loss, Muon and AdamW, moving average."""
    torch.manual_seed(0)
    reasoner = TRM(SHAPE, compute_dtype)
    if compiled:
        reasoner.compile()
    parallel.same_weights(reasoner)
    source = ExampleSource(CONFIG, TASK, TASK.puzzles("train"), LabelObjective(CONFIG, TASK))
    state, numbers = TrainingState.begin(source, reasoner), iter(range(MANY))

    def run(num_batches: int) -> None:
        for _ in range(num_batches):
            train_batch(state, state.batching.steps(next(numbers)))

    return run


def training_flops(config: TRMConfig) -> float:
    """Products of the mixer's matrices for one puzzle: forward, and backward to states and to weights."""
    block = TRM(config).blocks[0]
    cells, channels = (sum(p.numel() for p in part.parameters()) for part in (block.cells, block.channels))
    forward = 2 * (cells * config.width + channels * config.seq_len) * config.blocks_per_step
    return 3.0 * forward * config.num_supervision_steps


def engines(settings: Settings) -> list[Row]:
    """Our trainer in three engines, and the packages at equal work."""
    count = 1

    def contestant(dtype: torch.dtype, compiled: bool = False) -> Contestant:
        run = trainer(dtype, compiled)
        return lambda: run(count) or count * BATCH_SIZE

    flops = training_flops(SHAPE)
    rows = race(
        settings,
        "training",
        "puzzles/s",
        {
            "latent_rl, bf16 compiled (train --compile)": contestant(torch.bfloat16, compiled=True),
            "latent_rl, bf16": contestant(torch.bfloat16),
            "latent_rl, fp32": contestant(torch.float32),
        },
    )
    ours = rows[0].values
    for name, rates in peers.measure(settings, SHAPE, BATCH_SIZE, count).items():
        # Not in the same rounds, as they are other processes: the ratio is of the medians' order only.
        ratios = [a / b for a, b in zip(sorted(ours), sorted(rates), strict=True)]
        rows.append(Row("training", name, rates, "puzzles/s", ratios))
    gflops = [rate * flops / 1e9 for rate in ours]
    return [*rows, Row("training", "arithmetic of the compiled step", gflops, "GFLOPS", [])]


def workers(settings: Settings) -> list[Row]:
    """Two workers with one thread each against one process with two; time on the clock, compiled."""
    alone = [sys.executable]
    team = [*alone, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    commands = {"two workers, a thread each (torchrun)": (team, "1"), "one process, two threads": (alone, "2")}
    rates: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(settings.pick(2, 1)):
        for name, (command, threads) in commands.items():
            full = [*command, str(Path(__file__)), threads, str(settings.pick(4, 1))]
            done = subprocess.run(
                full, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": threads}
            )
            rates[name].append(float(json.loads(done.stdout)))
    first = next(iter(rates.values()))
    return [
        Row("workers", name, values, "puzzles/s", [a / b for a, b in zip(first, values, strict=True)])
        for name, values in rates.items()
    ]


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    with parallel.workers():
        train, batches = trainer(torch.bfloat16, compiled=True), int(sys.argv[2])
        train(1)
        begun = time.perf_counter()
        train(batches)
        if parallel.rank() == 0:
            print(json.dumps(batches * BATCH_SIZE / (time.perf_counter() - begun)))
