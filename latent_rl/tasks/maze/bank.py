"""Banks of base mazes, for families of which a draw yields few."""

from pathlib import Path
from typing import Any

from tqdm import tqdm

from latent_rl.tasks.bank import check_counts, save_bank
from latent_rl.tasks.base import Split
from latent_rl.tasks.maze.task import Maze
from latent_rl.types import Puzzles


def make_bank(task: Maze, counts: dict[Split, int], seed: int, out: Path) -> dict[str, Any]:
    """Draw base mazes, no two of which are symmetric to each other, and write them as a bank.

    Args:
        task: whose family, size and lengths of paths they have.
        counts: how many mazes each split should have.
        seed: the generator's seed.
        out: the `.npz` file to write.

    Returns:
        The facts written into the bank.

    Raises:
        InvalidValueError: a split would have no maze, or there are not so many.
    """
    check_counts(counts, "maze")
    with tqdm(total=sum(counts.values()), desc=task.name, unit="maze") as bar:
        drawn = task.draw(sum(counts.values()), seed, bar.update)
    splits: dict[Split, Puzzles] = {}
    start = 0
    for split, count in counts.items():
        splits[split] = drawn[start : start + count]
        start += count
    return save_bank(out, splits, {"task": task.name, "generator": __name__, "seed": seed, "asked": counts})
