"""The tasks by name. To add one, put it into `TASKS`."""

import importlib
from functools import partial
from pathlib import Path

from latent_rl.errors import PuzzleError, UnknownNameError, lookup
from latent_rl.tasks.arc.task import Arc
from latent_rl.tasks.bank import load_bank
from latent_rl.tasks.base import Task
from latent_rl.tasks.colouring import Colouring, random_edges
from latent_rl.tasks.files.folder import folder_task
from latent_rl.tasks.latin import Latin
from latent_rl.tasks.maze.families import perfect, scattered
from latent_rl.tasks.maze.task import FREE, Maze
from latent_rl.tasks.nqueens.task import NQueens
from latent_rl.tasks.sudoku.histogram import EXTREME
from latent_rl.tasks.sudoku.task import Sudoku

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Sudoku("sudoku4x4", 2, 2, (6, 12), environment={"horizon": 16}),
        Sudoku("sudoku6x6", 2, 3, (14, 24), environment={"horizon": 16}),
        Sudoku("sudoku9x9", 3, 3, (30, 40), environment={"horizon": 16}),
        Sudoku("sudoku9x9-hard", 3, 3, (46, 56), environment={"horizon": 128}),
        Sudoku("sudoku9x9-minimal", 3, 3, (0, 81), environment={"horizon": 128}),
        Sudoku("sudoku9x9-extreme", 3, 3, (45, 64), difficulty=EXTREME, environment={"horizon": 64}),
        Sudoku("sudoku16x16", 4, 4, (102, 150)),
        NQueens("nqueens6", 6, counts=(70, 10, 20)),
        NQueens("nqueens8", 8),
        NQueens("nqueens8-classes", 8, hold_out="solutions"),
        NQueens("nqueens10", 10, counts=(8000, 1000, 1000)),
        NQueens("nqueens12", 12, counts=(8000, 1000, 1000)),
        Latin("latin5", 5),
        Latin("latin7", 7, (0.45, 0.65)),
        Latin("latin9", 9, (0.45, 0.6)),
        Latin("latin12", 12, (0.4, 0.55)),
        Colouring("colouring3", 50, 3, random_edges(50, 3, seed=0)),
        Colouring("colouring3-open", 50, 3, random_edges(50, 3, seed=0), (0.8, 0.96), has_one_answer=False),
        Colouring("colouring4", 40, 4, random_edges(40, 4, seed=13)),
        Maze("maze10", 10, environment={"horizon": 32}),
        Maze("maze14", 14, counts=(4000, 500, 1000)),
        Maze("maze20", 20, counts=(2000, 500, 1000)),
        Maze("maze14-scattered", 14, counts=(4000, 500, 1000), min_steps=20, family=scattered),
        Maze("maze30", 30, counts=(1000, 200, 1000), environment={"horizon": 128}),
        Maze(
            "maze30-hard",
            30,
            counts=(1000, 200, 1000),
            min_steps=111,
            family=scattered,
            splits=partial(load_bank, "maze30-hard", blank=FREE),
            environment={"horizon": 128},
        ),
        Maze(
            "maze30-unique",
            30,
            counts=(1000, 200, 1000),
            min_steps=100,
            max_steps=140,
            family=perfect,
            environment={"horizon": 128},
        ),
        Arc("arc1", "arcagi", environment={"horizon": 16}),
        Arc("arc2", "arcagi2", environment={"horizon": 16}),
        Arc("arc1-small", "arcagi", size=8, num_augmentations=31, environment={"horizon": 16}),
        Arc("arc1-small-turned", "arcagi", size=8, num_augmentations=None, environment={"horizon": 16}),
    )
}


def task_names() -> tuple[str, ...]:
    """The names that `make_task` knows."""
    return tuple(TASKS)


def make_task(task: "str | Task") -> Task:
    """The task of that name, or of a folder of puzzles or a JSON file of ARC's; a task is returned as it is.

    As with `gym.make`, "module:name" imports the module first, so that it can put its task into `TASKS`.

    Raises:
        UnknownNameError: no task has that name, it is no folder, or there is no such module.
        PuzzleError: folder or file hold no puzzles; see `folder_task`.
    """
    if not isinstance(task, str):
        return task
    if task not in TASKS and (Path(task).is_dir() or (task.endswith(".json") and Path(task).is_file())):
        return folder_task(Path(task).resolve())
    if task not in TASKS and Path(task).is_file():
        raise PuzzleError(
            f"a task must be a name, a folder or a .json of ARC; {task} is a file. Put it into a folder as train.csv or"
            " test.csv; or give it by --puzzles to evaluate, by --file to solve."
        )
    module, _, name = task.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise UnknownNameError(f"task ({error})", task, TASKS) from error
    return lookup("task or folder" if "/" in name else "task", name, TASKS)
