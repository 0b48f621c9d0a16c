"""`latent-rl make-bank`: base puzzles, generated."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from latent_rl.config import COUNT, SEED, check_fields
from latent_rl.errors import FileError, InvalidValueError
from latent_rl.storage.claims import claimed
from latent_rl.tasks.bank import FOLDER
from latent_rl.tasks.base import SPLITS
from latent_rl.tasks.colouring import Colouring
from latent_rl.tasks.latin import Latin
from latent_rl.tasks.maze.task import Maze
from latent_rl.tasks.registry import make_task
from latent_rl.tasks.sudoku.task import Sudoku


@dataclass(frozen=True, kw_only=True)
class MakeBank:
    """Generate a bank of base puzzles (needs the extra "generate", but for mazes)."""

    task: str
    """Name of a task of Sudoku, Latin squares, graph colouring or mazes."""
    out: Path | None = None
    """The file to write; default: the shipped bank itself."""
    num_train: Annotated[int, COUNT] = 10_000
    """Training puzzles."""
    num_validation: Annotated[int, COUNT] = 1_000
    """Validation puzzles."""
    num_test: Annotated[int, COUNT] = 3_000
    """Test puzzles."""
    seed: Annotated[int, SEED] = 0
    """The generator's seed."""
    walks: Path | None = None
    """A folder that keeps the walks to hard puzzles, so that a stopped command goes on from there."""

    def run(self) -> None:
        """Generate and print the bank's facts."""
        from latent_rl.tasks import constraint_bank
        from latent_rl.tasks.maze import bank as maze_bank
        from latent_rl.tasks.sudoku import make_bank as sudoku_bank

        check_fields(self)
        task = make_task(self.task)
        if not isinstance(task, Sudoku | Latin | Colouring | Maze):
            raise InvalidValueError(
                f"make-bank needs a task of Sudoku, Latin squares, graph colouring or mazes; got {task.name}."
            )
        counts = dict(zip(SPLITS, (self.num_train, self.num_validation, self.num_test), strict=True))
        out = self.out or FOLDER / f"{task.name}.npz"
        if out.is_dir():
            raise FileError(f"--out must be a file to write; {out} is a folder.")
        with claimed(out, is_file=True):
            if isinstance(task, Sudoku):
                facts = sudoku_bank.make_bank(task, counts, self.seed, out, self.walks)
            elif isinstance(task, Maze):
                facts = maze_bank.make_bank(task, counts, self.seed, out)
            else:
                facts = constraint_bank.make_bank(task, counts, self.seed, out)
        print(json.dumps(facts, indent=2))
