"""A folder of a user's puzzles as a task."""

from functools import lru_cache
from pathlib import Path

from latent_rl.errors import PuzzleError
from latent_rl.tasks.arc.files import arc_sets, load_arc
from latent_rl.tasks.arc.task import Arc
from latent_rl.tasks.base import Task
from latent_rl.tasks.files.arrays import array_task
from latent_rl.tasks.files.facts import FACTS
from latent_rl.tasks.files.tables import table_task


@lru_cache(maxsize=8)
def folder_task(folder: Path) -> Task:
    """The task of a folder, or of a file of ARC's tasks.

    It holds `train` and `test` as the public scripts write them (`dataset.json`, `all__inputs.npy`, ...), or
    `train.csv` and `test.csv`, or the same with `.gz`, tables with a column of puzzles and one of their answers: see
    `read_rows`. Validation puzzles are those in `val` or `val.csv`, or are kept back from the training ones. One part
    will do, as long as the others' puzzles are not asked for. Or it holds ARC's tasks; see `arc_sets`.

    Vocabulary and length tell the rules, if the labels keep them: Sudoku, maze or N-Queens. Arrays of anything else
    become a task whose answers are right if they equal the label; see `TokenTask`.

    Raises:
        PuzzleError: with file and reason: the folder holds neither, or what it holds is damaged.
    """
    task = array_task(folder) or table_task(folder)
    if task is not None:
        return task
    if arc_sets(folder):
        load_arc(folder)  # so that damage is told at once
        return Arc(folder.stem, folder)
    hint = f" Give the folder above it: {folder.parent}." if (folder / FACTS).is_file() else ""
    if any(folder.glob("*.csv")):
        hint = " Name your tables so; or give one by --puzzles to evaluate, by --file to solve."
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:6])
    raise PuzzleError(
        f"a folder of puzzles must hold train/{FACTS} and test/{FACTS} with their arrays, as the public scripts write"
        " them, or train.csv and test.csv, or training/*.json and evaluation/*.json of ARC;"
        f" {folder} holds {found or 'nothing'}.{hint}"
    )
