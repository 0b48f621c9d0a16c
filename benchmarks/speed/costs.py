"""What things cost: the machine's peak, scaling, memory, start-up."""

import os
import resource
import subprocess
import sys
from functools import partial

import numpy as np
import torch
from race import Row, Settings, race, repeated, seconds

from latent_rl.reasoners.trm import TRM, TRMConfig

BASE = {"batch size": 64, "width": 128, "length": 81, "steps": 1}
SWEEPS = {
    "batch size": (8, 16, 32, 64, 128, 256),
    "width": (64, 128, 256, 512),
    "length": (16, 36, 64, 81, 144, 225),
    "steps": (1, 2, 4, 8, 16),
}
PROGRAMS = {
    "import torch": "import torch",
    "load a reasoner, step 64 boards of 9x9": (
        "import torch, latent_rl; r = latent_rl.load_reasoner('sudoku9x9');"
        "x = latent_rl.make_task('sudoku9x9').puzzles('test').inputs[:64];"
        "torch.set_grad_enabled(False); r.step(x, r.initial_carry(64), 0)"
    ),
    "train a 9x9 reasoner, batches of 64": (
        "import pathlib, tempfile, latent_rl; t = latent_rl.make_task('sudoku9x9');"
        "r = latent_rl.TRM(latent_rl.TRMConfig(vocab_size=t.vocab_size, seq_len=t.seq_len));"
        "c = latent_rl.TrainConfig(task=t.name, num_batches=1, num_validation=8, validation_steps=1);"
        "f = tempfile.TemporaryDirectory(); latent_rl.train(c, r, pathlib.Path(f.name))"
    ),
    "ppo on 1000 recorded 9x9 puzzles": (
        "from latent_rl.agents.commands.setting import Process, Setting;"
        "from latent_rl.agents.sb3.agents import make_agent;"
        "s = Setting(process=Process(task='sudoku9x9', reasoner='sudoku9x9'));"
        " make_agent('ppo', s.training_core(s.make_core()), seed=0).learn(4096)"
    ),
}
STARTS = {
    "import latent_rl": [sys.executable, "-c", "import latent_rl"],
    "latent-rl --help": [sys.executable, "-m", "latent_rl", "--help"],
    "latent-rl solve --help": [sys.executable, "-m", "latent_rl", "solve", "--help"],
    "import torch": [sys.executable, "-c", "import torch"],
}


def roofline(settings: Settings) -> list[Row]:
    """The fastest product of two square matrices."""
    size = 2048
    matrix = torch.randn(size, size)
    runs = {
        name: repeated(partial(torch.matmul, m, m), 2 * size**3 / 1e9, settings.pick(5, 1))
        for name, m in (("bf16 product of 2048 x 2048", matrix.bfloat16()), ("fp32 product", matrix))
    }
    return race(settings, "roofline", "GFLOPS", runs)


def sweep(settings: Settings) -> dict[str, list[tuple[int, float]]]:
    """Seconds of one call against each quantity, the others as in `BASE`."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for quantity, values in SWEEPS.items():
        for value in values[: settings.pick(len(values), 3)]:
            b, d, length, steps = (BASE | {quantity: value}).values()
            reasoner = TRM(TRMConfig(vocab_size=11, seq_len=length, width=d)).requires_grad_(False)
            inputs, fastest = torch.ones(b, length, dtype=torch.int64), float("inf")
            for _ in range(1 + settings.rounds):
                start, carry = seconds(settings), reasoner.initial_carry(b)
                with torch.no_grad():
                    for index in range(steps):
                        carry, _ = reasoner.step(inputs, carry, index)
                fastest = min(fastest, seconds(settings) - start)
            curves.setdefault(quantity, []).append((value, fastest))
    return curves


def exponent(curve: list[tuple[int, float]]) -> float:
    """The slope of the cost in double logarithms."""
    x, y = np.log(np.array(curve)).T
    return float(np.polyfit(x, y, 1)[0])


def scaling(settings: Settings) -> list[Row]:
    """Fitted exponents of the cost of inference."""
    return [
        Row("scaling", f"cost against {quantity}", [exponent(curve)], "exponent", [], curve=curve)
        for quantity, curve in sweep(settings).items()
    ]


def memory(settings: Settings) -> list[Row]:
    """Peak resident memory of whole programs (Linux; the operating system's other count begins with the parent's)."""
    rows = []
    for name, code in PROGRAMS.items():
        report = "; print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
        done = subprocess.run(
            [sys.executable, "-c", code + report], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=os.environ | {"OMP_NUM_THREADS": str(settings.threads)},
        )  # fmt: skip
        rows.append(Row("memory", name, [int(done.stdout.split()[-1]) / 1024], "MiB", []))
    return rows


def start_up(settings: Settings) -> list[Row]:
    """CPU seconds until a program could begin."""
    rows = []
    for name, command in STARTS.items():
        times = []
        for _ in range(1 + settings.rounds):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        rows.append(Row("start-up", name, times[1:], "CPU s", []))
    return rows
