"""What is compared: settings (a task, its network and recipe) and arms, as options of `latent-rl train`; the order."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Arm:
    """What distinguishes an arm.

    Attributes:
        options: of `latent-rl train`; {path} stands for the setting's.
        steps: optimizer steps in a batch.
    """

    options: str
    steps: int


_SIX = "--num-cycles 1 --num-latent-updates 2 --num-supervision-steps 6 --halt-weight 0"
_SIXTEEN = "--num-supervision-steps 16 --validation-steps 16 --batching replacement --step-weights uniform"
_TRM = Arm(f"--num-cycles 3 --num-latent-updates 6 {_SIXTEEN}", 16)
ARMS = {
    "dis": Arm(f"{_SIX} --validation-steps 6 --targets {{path}}", 6),
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
"""Arms that do not keep to the others' CPU time; their later seeds wait until everything else is done."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A task, and what all arms share on it: the network, the recipe, the evaluation.

    Attributes:
        width: of the network.
        recipe: options of `latent-rl train`.
        path: the targets of the arm `dis`.
        batches: of each arm that is run.
        num_puzzles: of the test split.
        num_views: of every puzzle; the 8 symmetric ones of a board tighten the interval, clustered by board.
        num_passes: forward passes that the evaluation takes, if they are more than those of 16 supervision steps.
        num_validations: in the course of a training.
    """

    width: int
    recipe: str
    path: str = "dis"
    batches: dict[str, int]
    num_puzzles: int
    num_views: int = 1
    num_passes: int = 0
    num_validations: int = 8

    def common(self, *, is_quick: bool = False) -> str:
        """The options of all arms."""
        return f"--width {QUICK_WIDTH if is_quick else self.width} {self.recipe} {_PLAIN}"


QUICK_BATCHES = 2
QUICK_WIDTH = 16
_PLAIN = "--extended-fraction 0 --reveal-fraction 0 --midway-fraction 0 --num-validation 100"
"""None of the shipped reasoners' extras."""
_MIXER = "--num-layers 1 --mixer mlp --batch-size 64"
_SYMBOLS = "--architecture symbols --batch-size 32 --muon-lr 0.005"
SETTINGS = {
    "nqueens8": Setting(
        width=128,
        recipe=_MIXER,
        batches={
            "dis": 360, "final": 360, "trm-small": 135, "hrm": 95, "one-pass-depth": 350, "one-pass-parameters": 5400,
            "trm": 30, "trm-long": 170,
        },
        num_puzzles=200,
        num_views=8,
    ),
    "sudoku6x6": Setting(
        width=128,
        recipe=_MIXER,
        batches={
            "dis": 420, "final": 420, "trm-small": 158, "hrm": 110, "one-pass-depth": 410, "one-pass-parameters": 6300,
            "trm": 35, "trm-long": 200,
        },
        num_puzzles=2000,
    ),
    "sudoku9x9-hard": Setting(
        width=32,
        recipe=_SYMBOLS,
        path="replace",
        batches={"dis": 375, "final": 375, "trm-small": 115, "trm": 36, "trm-long": 375},
        num_puzzles=300,
        num_passes=336,
        num_validations=4,
    ),
    "sudoku9x9-extreme": Setting(
        width=32,
        recipe=_SYMBOLS,
        path="replace",
        batches={"dis": 500, "final": 500, "trm-small": 153, "trm": 48, "trm-long": 500},
        num_puzzles=300,
        num_passes=336,
        num_validations=4,
    ),
}  # fmt: skip
"""The settings by their tasks, the most important first.

All arms but those of `LONG` get about the same CPU time, as measured once on one busy core. On N-Queens a batch took
1.05 s of CPU time (dis, final, one-pass-depth), 2.7 (trm-small), 3.9 (hrm), .07 (one-pass-parameters) and 12.5 (trm);
on 6x6 the same proportions are taken, at about .6 of the cost. The symbol network took .29 s on
hard 9x9 (dis, final), 1.0 (trm-small) and 2.9 (trm).
"""
SEEDS = (0, 1, 2)


@dataclass(frozen=True, order=True)
class Run:
    """One training: an arm in a setting with a seed."""

    task: str
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """E.g. nqueens8-dis-0."""
        return f"{self.task}-{self.arm}-{self.seed}"

    def options(self, root: Path, *, is_quick: bool = False) -> list[str]:
        """The arguments of `latent-rl` that train it, into a folder below `root`."""
        setting, arm = SETTINGS[self.task], ARMS[self.arm]
        batches = QUICK_BATCHES if is_quick else setting.batches[self.arm]
        num_steps = batches * arm.steps
        # Warm-up and the moving average's memory are the same share of every run, however few its optimizer steps are.
        warmup, ema = max(num_steps // 10, 1), round(max(1 - 12 / num_steps, 0), 4)
        text = (
            f"train --task {self.task} --seed {self.seed} --num-batches {batches}"
            f" {setting.common(is_quick=is_quick)} {arm.options.format(path=setting.path)}"
            f" --warmup-steps {warmup} --ema {ema}"
            f" --validate-every {max(batches // setting.num_validations, 1)} --save-every {max(batches // 40, 1)}"
            " --threads 1"
        )
        out = (root / self.task / f"{self.arm}-{self.seed}").as_posix()
        return [*text.split(), *([] if is_quick else ["--compile"]), "--out", out, "--resume"]


def queue(tasks: list[str], arms: list[str], seeds: list[int]) -> list[Run]:
    """The runs in the order in which they are worth most: task by task and seed by seed, long arms after the first seed
    and last."""
    runs = [Run(task, arm, seed) for task in tasks for seed in seeds for arm in arms if arm in SETTINGS[task].batches]
    late = [run for run in runs if run.arm in LONG and run.seed != seeds[0]]
    return [run for run in runs if run not in late] + late
