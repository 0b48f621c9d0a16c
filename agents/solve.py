"""The command `latent-rl solve`: a puzzle on the screen, or a file of them into a CSV."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latent_rl.agents.baselines import StepPolicy
from latent_rl.agents.saved import load_agent
from latent_rl.agents.setting import Process
from latent_rl.agents.solve_file import solve_file
from latent_rl.agents.solver import Solver
from latent_rl.agents.tune import BASELINES, Untuned, is_baseline, make_baseline
from latent_rl.envs.core import Core
from latent_rl.errors import InvalidValueError, UnknownNameError
from latent_rl.reasoners.base import ReasonerModule, chosen_device
from latent_rl.reasoners.checkpoint import chosen_steps, default_reasoner, load_reasoner
from latent_rl.tasks.puzzle_io import STANDARD_STREAM
from latent_rl.types import Puzzles


@dataclass(kw_only=True)
class Solve(Process):
    """Solve a puzzle, or a file of puzzles; exit status 0 if all are solved, 1 if some are not."""

    puzzle: str | None = None
    """A puzzle in one line, such as "53..7....6..195..."; prints the board."""
    file: Path | None = None
    """A text file with a puzzle a line, a CSV with the column question, or - for standard input."""
    out: Path = STANDARD_STREAM
    """Results of --file as a CSV, - for standard output; rows that an earlier run left in the file stay as they are."""
    policy: str = "rule"
    """Who decides: rule, verifier-rule (quicker, where the rules are known), fixed, fixed-K, best-of, best-of-K,
    threshold, entropy, unchanged, drift, act, verifier, random; or the folder (or file) of an agent that a training or
    a comparison saved."""
    trust: bool = False
    """Load a zip of stable-baselines3 as --policy, which runs the code in it; agents saved here need no trust."""
    tune: int = 0
    """Choose the baselines' constants on this many validation puzzles first; 0 takes default ones."""
    batch_size: int = Solver.batch_size
    """Puzzles that are solved at the same time."""
    device: str | None = None
    """Such as cpu or cuda:1; default: a GPU if there is one."""
    compile: bool = False
    """Compile the reasoner: faster steps after up to a minute; pays off from some ten thousand puzzles on."""
    seed: int = 0
    """Of the random views."""

    def run(self) -> int:
        """Solve; returns the exit status.

        Raises:
            LatentRLError: an argument, a puzzle or a file is wrong.
        """
        if self.puzzle is not None and self.file is None and self.out == STANDARD_STREAM:
            return show_solution(self.make_solver(), self.puzzle)
        if self.file is not None and self.puzzle is None:
            return solve_file(self.make_solver(), self.file, self.out)
        raise InvalidValueError("solve needs either --puzzle, or --file and if need be --out; got none or a mixture.")

    def make_solver(self) -> Solver:
        """The policy that was asked for, ready to work."""
        reasoner = load_reasoner(self.reasoner or default_reasoner(self.task))
        core = self.make_core(reasoner.to(chosen_device(self.device)))
        if self.compile and isinstance(core.reasoner, ReasonerModule):
            core.reasoner.compile()
        return Solver(core, self.make_policy(core), self.batch_size, self.seed)

    def make_policy(self, core: Core) -> StepPolicy:
        """A baseline or a saved agent.

        Raises:
            LatentRLError: there is none of that name, it does not fit, or it needs labels.
        """
        if self.policy == "oracle":
            raise InvalidValueError("the policy must do without the answers; the oracle can't. Choose another.")
        if is_baseline(self.policy):
            reasoner = self.reasoner or default_reasoner(self.task)
            constants = self.tuned_on(core, self.tune) if self.tune else Untuned(chosen_steps(reasoner))
            return make_baseline(core, self.policy, constants, self.seed)
        path = Path(self.policy)
        if not path.exists() and not path.suffix and path.name == self.policy:
            raise UnknownNameError("policy (neither a baseline nor a saved agent)", self.policy, BASELINES)
        return load_agent(path, core, trust=self.trust)

    def _dynamics(self) -> dict[str, Any]:
        # The potential that needs no labels.
        return super()._dynamics() | {"reward": "sparse"}


def show_solution(solver: Solver, text: str) -> int:
    """Print the board of one puzzle and what it took; returns 0 if it is solved, else 1."""
    task = solver.core.task
    solution = solver.solve(Puzzles.unlabelled(task.parse(text)[None]))
    solved = bool(solution.solved[0])
    print(task.render(solution.answers[0]))
    print(
        f"{'solved' if solved else 'NOT solved, the board breaks the rules'}; {int(solution.steps[0])} steps,"
        f" {int(solution.passes[0])} passes, confidence {float(solution.confidence[0]):.4f}"
    )
    return 0 if solved else 1
