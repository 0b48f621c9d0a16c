"""Teach a reasoner the hardest 9x9 Sudokus from random weights without one label: only the verifier judges.

1. Easy boards by the environment's own reward (objective "reward").
2. Hard ones, then extreme ones, by expert iteration (objective "verified"): a search with the reasoner answers puzzles,
   the verifier accepts or refuses, and the reasoner learns to be there in fewer steps. The search is the policy
   improvement, the training its projection; rounds go on until a search finds nothing new.

See docs/without_labels.md. A run that was cut goes on where it was.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from rich.console import Console
from rich.table import Table

from latent_rl.figures import new_figure, png
from latent_rl.program import concluded, parsed, stop_on_sigterm
from latent_rl.reasoners.checkpoint import reasoner_facts
from latent_rl.reasoners.symbols import Symbols, SymbolsConfig
from latent_rl.storage.atomic import write_atomically
from latent_rl.storage.stops import resumable
from latent_rl.tasks.registry import make_task
from latent_rl.training.trainer import TrainConfig, train

SHARED = TrainConfig(
    batching="replacement", leaves="solved", batch_size=32, lr=0.002, muon_lr=0.005, halt_weight=0.0,
    reveal_fraction=0.0, ema=0.99, warmup_steps=100, num_validation=128,
)  # fmt: skip
EASY = replace(SHARED, task="sudoku9x9", objective="reward", num_batches=160, validate_every=20, validation_steps=24)
VERIFIED = replace(SHARED, objective="verified", validation_steps=32, search_steps=32, search_guesses=2)
HARD = replace(VERIFIED, task="sudoku9x9-hard", num_batches=100, validate_every=50, search_every=50, search_puzzles=256)
EXTREME = replace(
    VERIFIED, task="sudoku9x9-extreme", num_batches=1000, ema=0.998, validate_every=100, validation_steps=64,
    search_every=100, search_puzzles=512,
)  # fmt: skip
STAGES = {"easy": EASY, "hard": HARD, "extreme": EXTREME}


@dataclass(frozen=True, kw_only=True)
class Args:
    """From scratch to extreme Sudoku, verifier only."""

    scale: float = 1.0
    """Multiplies the batches of every stage."""
    num_latent_updates: int = 11
    """n; every step is n + 1 passes, all with gradient."""
    width: int = 32
    """d, numbers of each candidate."""
    seed: int = 0
    """Of weights, puzzles and searches."""
    compile: bool = True
    """Compile the recursion; pays off within minutes."""
    out: Path = Path("runs/learn_without_labels")
    """Folder of the stages, the table and the plot."""


def learn(args: Args) -> Symbols:
    """Train stage after stage, each from the weights of the one before; returns the last one's reasoner."""
    reasoner: Symbols | None = None
    for name, stage in STAGES.items():
        config = replace(stage, seed=args.seed, num_batches=max(1, round(stage.num_batches * args.scale)))
        torch.manual_seed(args.seed)
        shape = make_task(config.task).shape
        fresh = Symbols(SymbolsConfig(**vars(shape), width=args.width, num_latent_updates=args.num_latent_updates))
        if reasoner is not None:
            fresh.load_state_dict(reasoner.state_dict())
        if args.compile:
            fresh.compile()
        reasoner = train(config, fresh, args.out / name, resume=True)
    assert reasoner is not None
    return reasoner


def histories(out: Path) -> dict[str, tuple[list[dict[str, float]], list[dict[str, float]]]]:
    """What each stage keeps in its `config.json`: rows of its validations and searches, with `minutes` of CPU time
    since the first stage began."""
    found, before = {}, 0.0
    for name in STAGES:
        facts = reasoner_facts(out / name)
        rows = [
            [row | {"minutes": before + row["cpu_seconds"] / 60} for row in facts[key]] for key in ("curve", "rounds")
        ]
        found[name] = rows[0], rows[1]
        before += facts["cpu_seconds"] / 60
    return found


def show(out: Path) -> None:
    """Print and draw the solved rate of every stage's own validation puzzles: plain steps, and by the search."""
    table = Table("stage", "CPU minutes", "plain steps", "search", "answers known", title="validation puzzles solved")
    figure = new_figure(9, 4.5)
    panel = figure.subplots()
    for number, (name, (curve, rounds)) in enumerate(histories(out).items()):
        colour = f"C{number}"
        times, rates = ([row[key] for row in curve] for key in ("minutes", "eval/solved_rate"))
        panel.plot(times, rates, ".-", color=colour, label=f"{name}: plain steps")
        if rounds:
            times, low, high = ([row[key] for row in rounds] for key in ("minutes", "plain_rate", "solved_rate"))
            panel.vlines(times, low, high, color=colour, linestyle=":")
            panel.plot(times, high, "^", color=colour, label=f"{name}: the search, what it adds dotted")
        for row in sorted(curve + rounds, key=lambda row: row["minutes"]):
            plain = row.get("eval/solved_rate", row.get("plain_rate", 0.0))
            searched = (f"{row['solved_rate']:.3f}", f"{row['known_share']:.3f}") if "solved_rate" in row else ("", "")
            table.add_row(name, f"{row['minutes']:.1f}", f"{plain:.3f}", *searched)
    panel.set(xlabel="CPU minutes", ylabel="validation puzzles solved", ylim=(0, 1.02), title="no label was read")
    panel.legend(fontsize=8)
    write_atomically(out / "solved.png", png(figure, 130))
    Console().print(table)


def work() -> None:
    """Learn, print and draw."""
    args = parsed(lambda: tyro.cli(Args, description=__doc__))
    with resumable(f"{args.out} keeps what is done, and the same command goes on"):
        learn(args)
    show(args.out)
    last = list(STAGES)[-1]
    print(f"Plot in {args.out / 'solved.png'}; curves: tensorboard --logdir {args.out}")
    print(f"Test it: latent-rl evaluate --task {STAGES[last].task} --reasoner {args.out / last} --steps 64")


if __name__ == "__main__":
    stop_on_sigterm()
    sys.exit(concluded(Path(sys.argv[0]).stem, work))
