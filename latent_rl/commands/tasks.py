"""`latent-rl tasks`: what there is to solve."""

from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from latent_rl.errors import MissingExtraError
from latent_rl.tasks.base import SPLITS
from latent_rl.tasks.registry import TASKS


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """List the tasks."""

    def run(self) -> None:
        """Print one line for each."""
        table = Table("task", "L", "V", *SPLITS, caption="base puzzles in each split; of ARC pairs, each in many views")
        for task in TASKS.values():
            try:
                counts = [f"{task.num_puzzles(split):,}" for split in SPLITS]
            except MissingExtraError as error:
                counts = [escape(str(error))]
            table.add_row(task.name, str(task.seq_len), str(task.vocab_size), *counts)
        Console().print(table)
