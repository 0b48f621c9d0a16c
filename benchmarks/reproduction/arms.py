"""What is compared: every arm as options of `latent-rl train`, its budget, and the order of the queue."""

from dataclasses import dataclass
from pathlib import Path

COMMON = (
    "--width 128 --num-layers 1 --mixer mlp --batch-size 64 --extended-fraction 0 --reveal-fraction 0"
    " --midway-fraction 0 --num-validation 100"
)
"""The recipe of all arms: one network shape, one batch size, Muon, none of the shipped reasoners' extras."""


@dataclass(frozen=True)
class Arm:
    """What distinguishes an arm.

    Attributes:
        options: of `latent-rl train`.
        steps: optimizer steps in a batch.
    """

    options: str
    steps: int


_SIX = "--num-cycles 1 --num-latent-updates 2 --num-supervision-steps 6 --halt-weight 0"
_SIXTEEN = "--num-supervision-steps 16 --validation-steps 16 --batching replacement --step-weights uniform"
_TRM = Arm(f"--num-cycles 3 --num-latent-updates 6 {_SIXTEEN}", 16)
ARMS = {
    "dis": Arm(f"{_SIX} --validation-steps 6 --targets dis", 6),
    "final": Arm(f"{_SIX} --validation-steps 6 --targets final", 6),
    "trm-small": Arm(f"--num-cycles 1 --num-latent-updates 2 {_SIXTEEN}", 16),
    "trm": _TRM,
    "hrm": Arm(f"--architecture hrm --num-answer-layers 1 --num-cycles 2 --num-latent-updates 2 {_SIXTEEN}", 16),
    "one-pass-depth": Arm(f"--architecture feedforward --match depth {_SIX}", 1),
    "one-pass-parameters": Arm(f"--architecture feedforward --match parameters {_SIX}", 1),
    "trm-long": _TRM,
}
"""The arms. Those that leave their halting head unused do not train it; early replacement needs it."""
LONG = ("trm-long",)
"""Arms whose later seeds wait until everything else is done."""
BATCHES = {
    "nqueens8": {
        "dis": 360, "final": 360, "trm-small": 135, "hrm": 95, "one-pass-depth": 350, "one-pass-parameters": 5400,
        "trm": 30, "trm-long": 170,
    },
    "sudoku6x6": {
        "dis": 420, "final": 420, "trm-small": 158, "hrm": 110, "one-pass-depth": 410, "one-pass-parameters": 6300,
        "trm": 35, "trm-long": 200,
    },
}  # fmt: skip
"""Batches of each arm: all but those of `LONG` get about the same CPU time, as measured once on one busy core. There a
batch of N-Queens took 1.05 s of CPU time (dis, final, one-pass-depth), 2.7 (trm-small), 3.9 (hrm), .07
(one-pass-parameters) and 12.5 (trm). On 6x6 the same proportions are taken, at about .6 of the cost."""
SEEDS = (0, 1, 2)
QUICK_BATCHES = 2
QUICK_COMMON = COMMON.replace("--width 128", "--width 16")


@dataclass(frozen=True, order=True)
class Run:
    """One training: an arm on a task with a seed."""

    task: str
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """E.g. nqueens8-dis-0."""
        return f"{self.task}-{self.arm}-{self.seed}"

    def options(self, root: Path, *, is_quick: bool = False) -> list[str]:
        """The arguments of `latent-rl` that train it, into a folder below `root`."""
        batches = QUICK_BATCHES if is_quick else BATCHES[self.task][self.arm]
        arm, num_steps = ARMS[self.arm], batches * ARMS[self.arm].steps
        # Warm-up and the moving average's memory are the same share of every run, however few its optimizer steps are.
        warmup, ema = max(num_steps // 10, 1), round(max(1 - 12 / num_steps, 0), 4)
        text = (
            f"train --task {self.task} --seed {self.seed} --num-batches {batches}"
            f" {QUICK_COMMON if is_quick else COMMON} {arm.options} --warmup-steps {warmup} --ema {ema}"
            f" --validate-every {max(batches // 8, 1)} --save-every {max(batches // 40, 1)} --threads 1"
        )
        out = (root / self.task / f"{self.arm}-{self.seed}").as_posix()
        return [*text.split(), *([] if is_quick else ["--compile"]), "--out", out, "--resume"]


def queue(tasks: list[str], arms: list[str], seeds: list[int]) -> list[Run]:
    """The runs in the order in which they are worth most: seed by seed, long arms after the first seed and last."""
    runs = [Run(task, arm, seed) for task in tasks for seed in seeds for arm in arms]
    late = [run for run in runs if run.arm in LONG and run.seed != seeds[0]]
    return [run for run in runs if run not in late] + late
