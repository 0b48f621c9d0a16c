"""What to tell the user of `solve` about a puzzle that was not solved."""

from torch import Tensor

from latent_rl.errors import PuzzleError
from latent_rl.reasoners.checkpoint import default_reasoner
from latent_rl.tasks.base import NoSolverError, Task
from latent_rl.tasks.registry import TASKS
from latent_rl.tasks.sudoku.task import Sudoku


def better_task(task: Task, puzzle: Tensor) -> str | None:
    """The task with a reasoner of its own that was trained on Sudokus with as many blanks, if this one's was not.

    Args:
        task: whose reasoner failed.
        puzzle: int64 [L].
    """
    if not _is_beyond(task, puzzle):
        return None
    better = [
        other
        for other in TASKS.values()
        if isinstance(other, Sudoku)
        and other.seq_len == task.seq_len
        and default_reasoner(other.name) != default_reasoner(task.name)
        and not _is_beyond(other, puzzle)
    ]
    return min(better, key=lambda other: other.empties[1] - other.empties[0]).name if better else None


def why_not_solved(task: Task, puzzle: Tensor) -> str:
    """What can be said of a puzzle, int64 [L], that was not solved: that nobody could, or who may."""
    if task.has_rules:
        try:
            task.any_answer(puzzle)
        except PuzzleError as error:
            if not isinstance(error, NoSolverError):
                return str(error)
    if _is_beyond(task, puzzle) and isinstance(task, Sudoku):
        low, high = task.empties
        beyond = f"{_num_blanks(task, puzzle)} blanks, beyond the {low}-{high} that this task's reasoner was trained on"
        better = better_task(task, puzzle)
        return f"{beyond}: use --task {better}" if better else beyond
    return "more steps may solve it: try a larger --horizon, or --policy verifier-rule"


def _num_blanks(task: Task, puzzle: Tensor) -> int:
    return int((~task.is_given(puzzle[None])).sum())


def _is_beyond(task: Task, puzzle: Tensor) -> bool:
    """Whether a shipped Sudoku task has no puzzle with as many blanks."""
    if not isinstance(task, Sudoku) or TASKS.get(task.name) is not task:
        return False
    return not task.empties[0] <= _num_blanks(task, puzzle) <= task.empties[1]
