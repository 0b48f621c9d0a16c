"""The command `latent-rl solve`: a puzzle on the screen, or a file of them into a CSV."""

import hashlib
import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from torch import Tensor, nn

from latent_rl.agents.baselines import (
    BASELINES,
    Untuned,
    baseline_names,
    describe_baselines,
    is_baseline,
    knows_labels,
    make_baseline,
)
from latent_rl.agents.commands.setting import Flat, Process, tuned_on
from latent_rl.agents.commands.solve_file import solve_file
from latent_rl.agents.policy import StepPolicy
from latent_rl.agents.saved import load_agent
from latent_rl.agents.sb3.agents import LearnedPolicy
from latent_rl.agents.solver import Solver
from latent_rl.config import SEED, SIZE, Range, check_fields
from latent_rl.envs.actions import TableMode, make_action_mode
from latent_rl.envs.config import EnvConfig
from latent_rl.envs.core import Core
from latent_rl.errors import InvalidValueError, PuzzleError, UnknownNameError
from latent_rl.fit import loaded, reasoner_of
from latent_rl.reasoners.base import ReasonerModule
from latent_rl.reasoners.checkpoint import chosen_steps
from latent_rl.tasks.base import NoSolverError, Task
from latent_rl.tasks.files.puzzle_io import read_board
from latent_rl.tasks.files.text import STANDARD_STREAM
from latent_rl.tasks.registry import make_task
from latent_rl.types import Puzzles

_NO_MATTER = ("process", "puzzle", "file", "out", "columns", "batch_size", "device", "compile", "trust")
"""Options that change no result, but for rounding; and those of the process, which do."""


@dataclass(frozen=True, kw_only=True)
class Solve:
    """Solve a puzzle, or a file of puzzles; exit status 0 if all are solved, 1 if some are not."""

    process: Flat[Process] = Process()
    """Whose steps, which actions."""
    puzzle: str | None = None
    """A puzzle in one line, such as "53..7....6..195...", or drawn in several; prints the board."""
    file: Path | None = None
    """A file of puzzles, in lines, tables or boards, or - for standard input."""
    columns: tuple[str, ...] = ()
    """Names, or numbers from 1, of the columns of --file that hold the puzzles and, if need be, their answers."""
    out: Path = STANDARD_STREAM
    """Results of --file as a CSV, - for standard output; rows that an earlier run left in the file stay as they are."""
    policy: Annotated[
        str,
        tyro.conf.arg(
            help="Who decides: the folder (or file) of an agent that a training or a comparison saved, or one of these."
            f" {describe_baselines(with_bounds=False)}."
        ),
    ] = "rule"
    """Who decides."""
    trust: bool = False
    """Load a zip of stable-baselines3 as --policy, which runs the code in it; agents saved here need no trust."""
    tune: Annotated[int, Range(0, 10**6)] = 0
    """Choose the baselines' constants on this many validation puzzles first; 0 takes default ones."""
    batch_size: Annotated[int, SIZE] = Solver.batch_size
    """Puzzles that are solved at the same time."""
    device: str | None = None
    """Such as cpu or cuda:1; default: a GPU if there is one."""
    compile: bool = False
    """Compile the reasoner: faster steps after up to a minute; pays off from some ten thousand puzzles on."""
    seed: Annotated[int, SEED] = 0
    """Of the random views."""

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_fields(self)

    def run(self) -> int:
        """Solve; returns the exit status.

        Raises:
            LatentRLError: an argument, a puzzle or a file is wrong.
        """
        if self.columns and self.file is None:
            raise InvalidValueError("--columns names columns of --file; there is none. Leave it out.")
        if self.puzzle is not None and self.file is None and self.out == STANDARD_STREAM:
            if os.path.isfile(self.puzzle):
                raise InvalidValueError(f"--puzzle must be a puzzle; {self.puzzle} is a file: give it by --file.")
            return show_solution(self.make_solver(), self.puzzle)
        if self.file is not None and self.puzzle is None:
            solver = self.make_solver()
            return solve_file(solver, self.file, self.out, self.columns, self.made_by(solver))
        raise InvalidValueError("solve needs either --puzzle, or --file and if need be --out; got none or a mixture.")

    def make_solver(self) -> Solver:
        """The policy that was asked for, ready to work."""
        name = self.reasoner_name()
        task, reasoner = loaded(make_task(self.process.task), name, self.device)
        core = Core(replace(self.env_config(), task=task), reasoner)
        if self.compile and isinstance(core.reasoner, ReasonerModule):
            core.reasoner.compile()
        return Solver(core, self.make_policy(core), self.batch_size, self.seed)

    def env_config(self) -> EnvConfig:
        """The task's own environment, but for what is chosen here, and a reward that needs no labels; if no actions are
        chosen, with the one by which the policy begins anew."""
        config = self.process.env_config(reward="sparse")
        baseline, mode = BASELINES.get(self.policy), make_action_mode(config.actions)
        action = baseline.action if baseline and isinstance(mode, TableMode) else None
        if self.process.actions or action is None or action in [known.name for known in mode.actions]:
            return config
        return replace(config, actions=(*mode.actions, action))

    def reasoner_name(self) -> str:
        """The reasoner that was asked for, or the task's own.

        Raises:
            LatentRLError: there is no such task, or it has no reasoner.
        """
        task = make_task(self.process.task)
        return self.process.reasoner or reasoner_of(task, self.process.task)

    def made_by(self, solver: Solver) -> str:
        """Everything that decides about the results beside the puzzles: options and weights."""
        own = {name: value for name, value in asdict(self).items() if name not in _NO_MATTER}
        options = asdict(self.process) | own
        weights = hashlib.sha256()
        policy = solver.policy.model if isinstance(solver.policy, LearnedPolicy) else None
        for module in (solver.core.reasoner, policy):
            if isinstance(module, nn.Module):
                for name, tensor in module.state_dict().items():
                    weights.update(f"{name}{list(tensor.shape)}".encode() + tensor.cpu().double().numpy().tobytes())
        named = {"task": solver.core.task.name, "reasoner": weights.hexdigest()}
        if policy:
            named["policy"] = solver.policy.name
        return json.dumps(options | named, sort_keys=True, default=str)

    def make_policy(self, core: Core) -> StepPolicy:
        """A baseline or a saved agent.

        Raises:
            LatentRLError: there is none of that name, it does not fit, or it needs labels.
        """
        if knows_labels(self.policy):
            raise InvalidValueError(f"the policy must do without the answers; {self.policy} can't. Choose another.")
        if is_baseline(self.policy):
            constants = tuned_on(core, self.tune) if self.tune else Untuned(chosen_steps(self.reasoner_name()))
            return make_baseline(core, self.policy, constants, self.seed)
        path = Path(self.policy)
        if not path.exists() and not path.suffix and path.name == self.policy:
            raise UnknownNameError("policy (neither a baseline nor a saved agent)", self.policy, baseline_names())
        return load_agent(path, core, trust=self.trust)


def show_solution(solver: Solver, text: str) -> int:
    """Print the board of one puzzle and what it took; returns 0 if it is solved or nobody can tell, else 1."""
    task = solver.core.task
    puzzle = task.parse(read_board(task, text))
    solution = solver.solve(Puzzles.unlabelled(puzzle[None]))
    is_known, solved = task.has_rules, bool(solution.solved[0])
    verdict = "solved" if solved else "NOT solved, the board breaks the rules"
    print(task.render(solution.answers[0]))
    print(
        f"{verdict if is_known else 'no rules known, so not judged'}; {int(solution.steps[0])} steps,"
        f" {int(solution.passes[0])} passes, confidence {float(solution.confidence[0]):.4f}"
    )
    if is_known and not solved:
        print(f"hint: {why_not_solved(task, puzzle)}", file=sys.stderr)
    return 0 if solved or not is_known else 1


def why_not_solved(task: Task, puzzle: Tensor) -> str:
    """What can be said of a puzzle, int64 [L], that was not solved: that nobody could, or what to try."""
    if task.has_rules:
        try:
            task.any_answer(puzzle)
        except PuzzleError as error:
            if not isinstance(error, NoSolverError):
                return str(error)
    return "more steps may solve it: try a larger --horizon, or --policy verifier-rule"
