"""Reasoner and step policy together: are they better if each learns from the other? No label is read.

    python benchmarks/frontier/alternation.py --reasoner runs/learn_without_labels/easy

From one reasoner, three arms spend the same number of forward passes on training:

- `alternation`: PPO practises on the reasoner's steps, the agent answers puzzles, the reasoner learns what the verifier
  accepts, and so on;
- `verified`: the same rounds without an agent; starts with a guess answer the puzzles (`GuessSearch`);
- `ppo`: PPO alone, on the reasoner as it is.

A pass is one evaluation of the network on one puzzle, whether it is run for practice, a record, a search or training;
in training it counts as three, as the backward pass costs about two. The policy network's own cost is not counted, nor
are evaluations. Finished arms are not run again.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from time import process_time
from typing import Any

import torch
import tyro
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor

from latent_rl.agents.report.tables import markdown_table
from latent_rl.agents.sb3.agents import LearnedPolicy, make_agent
from latent_rl.agents.sb3.vec_env import LatentVecEnv
from latent_rl.agents.search import PolicySearch
from latent_rl.envs.core import Core
from latent_rl.errors import InvalidValueError
from latent_rl.evaluation.fixed_steps import evaluate_fixed
from latent_rl.evaluation.intervals import bootstrap_interval
from latent_rl.fit import fitted
from latent_rl.reasoners.base import Reasoner, ReasonerModule
from latent_rl.reasoners.checkpoint import load_reasoner
from latent_rl.storage.atomic import write_json
from latent_rl.tasks.base import Task, first
from latent_rl.tasks.registry import make_task
from latent_rl.training.batches import ExampleSource, training_puzzles
from latent_rl.training.config import TrainConfig
from latent_rl.training.known import KnownAnswers
from latent_rl.training.objectives import VerifiedObjective
from latent_rl.training.replacement import Replacement
from latent_rl.training.search import GuessSearch, Search, search_round
from latent_rl.training.state import TrainingState
from latent_rl.training.updates import train_batch
from latent_rl.types import Carry, Puzzles, ReasonerOutput

BACKWARD = 2
"""Passes that the backward pass of one counts for."""
TRAINING = TrainConfig(
    objective="verified", batching="replacement", leaves="solved", batch_size=32, num_batches=10**6, lr=0.002,
    muon_lr=0.005, warmup_steps=50, ema=0.99, halt_weight=0.0, reveal_fraction=0.0, extended_from=0.0,
)  # fmt: skip
"""The learning rate stays at its peak, as the number of batches follows from the passes; the average settles."""


@dataclass(frozen=True)
class Arm:
    """What learns."""

    agent: bool
    reasoner: bool


ARMS = {"alternation": Arm(True, True), "verified": Arm(False, True), "ppo": Arm(True, False)}
HEADINGS = ("arm", "passes of training", "answers known", "plain", "by the search", "passes a puzzle")


@dataclass(frozen=True, kw_only=True)
class Args:
    """Three arms at equal passes."""

    reasoner: str
    """Folder of the reasoner they begin with."""
    task: str = "sudoku9x9-hard"
    """Name of the task; it must have rules."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Keys of `ARMS`."""
    budget: int = 900_000
    """Forward passes of training; an arm ends with the round that reaches it."""
    batches: int = 30
    """Training batches of a round."""
    search_puzzles: int = 192
    """Puzzles that a round's search tries."""
    steps: int = 32
    """Supervision steps of a plain start, and of training at the most."""
    guesses: int = 2
    """Starts with a guess that a search without an agent adds; agents have as many steps in all."""
    pool: int = 48
    """Puzzles of a round's practice."""
    views: int = 4
    """Starts of each that are recorded."""
    total_timesteps: int = 24_576
    """Environment steps of a round's practice."""
    cost_per_pass: float = 0.0003
    """Price of a forward pass for the agent."""
    num_validation: int = 96
    """Held-out puzzles after every round."""
    num_final: int = 384
    """And at the end."""
    seed: int = 0
    """Of everything."""
    compile: bool = True
    """Compile the recursion."""
    out: Path = Path("runs/alternation.json")
    """Where the results go."""


class Counted:
    """A reasoner that counts its forward passes on puzzles; see the module."""

    def __init__(self, reasoner: Reasoner) -> None:
        self.reasoner = reasoner
        self.vocab_size, self.seq_len = reasoner.vocab_size, reasoner.seq_len
        self.num_latent_updates = reasoner.num_latent_updates
        self.num_supervision_steps = reasoner.num_supervision_steps
        self.passes = 0

    def initial_carry(self, batch_size: int, keys: Tensor | None = None) -> Carry:
        """See `Reasoner.initial_carry`."""
        return self.reasoner.initial_carry(batch_size, keys)

    def step(
        self, inputs: Tensor, carry: Carry, step_index: int | Tensor, **options: Any
    ) -> tuple[Carry, ReasonerOutput]:
        """See `Reasoner.step`."""
        carry, output = self.reasoner.step(inputs, carry, step_index, **options)
        self.passes += len(inputs) * output.passes * (1 + BACKWARD * torch.is_grad_enabled())
        return carry, output


class Learner:
    """A reasoner that learns the answers that are found of its training puzzles.

    Attributes:
        trained: the reasoner whose weights are moved.
        averaged: the moving average of them, which searches, is practised on and judged.
        known: the training puzzles, and which of their answers are known.
    """

    def __init__(self, args: Args, task: Task) -> None:
        config = replace(
            TRAINING, task=args.task, seed=args.seed, search_puzzles=args.search_puzzles, extended_depth=args.steps
        )
        reasoner = fitted(load_reasoner(args.reasoner), task)
        assert isinstance(reasoner, ReasonerModule)
        if args.compile:
            reasoner.compile()
        objective = VerifiedObjective(config, task)
        known = training_puzzles(config, task, reasoner.num_supervision_steps, objective)
        assert isinstance(known, KnownAnswers)
        self.known, self.trained = known, Counted(reasoner.requires_grad_(True).train())
        state = TrainingState.begin(ExampleSource(config, task, known, objective), reasoner)
        self.averaged = Counted(state.average.module)
        self._state = replace(state, batching=Replacement(state.source, self.trained))
        self._batch = 0

    @property
    def passes(self) -> int:
        """Spent up to now."""
        return self.trained.passes + self.averaged.passes

    def round(self, search: Search, batches: int) -> None:
        """Search for answers, and train on all that are known by now."""
        if not self.known.is_known.all():
            state = self._state
            search_round(search, state.config, state.source.task, self.known, self.averaged, self._batch)
        for number in range(self._batch, self._batch + batches):
            train_batch(self._state, self._state.batching.steps(number))
        self._batch += batches


def practised(agent: BaseAlgorithm | None, live: Core, pool: Puzzles, args: Args, number: int) -> BaseAlgorithm:
    """PPO after more episodes about a pool of puzzles, whose steps the reasoner runs once."""
    core = live.recording(pool, num_views=args.views, seed=args.seed)
    agent = agent or make_agent("ppo", core, seed=args.seed)
    env = LatentVecEnv(core, agent.n_envs)
    env.seed(args.seed + 1000 * number)
    agent.set_env(env)
    return agent.learn(args.total_timesteps)


def judged(reasoner: Reasoner, task: Task, search: Search, steps: int, num_puzzles: int) -> dict[str, Any]:
    """Rates on held-out puzzles: after so many plain steps, and of the search, with its mean passes."""
    puzzles, counted = first(task, "validation", num_puzzles), Counted(reasoner)
    plain = evaluate_fixed(reasoner, task, puzzles, steps).solved[-1].float().numpy()
    answers = search(counted, task, Puzzles.unlabelled(puzzles.inputs), torch.arange(len(puzzles)))
    found = task.verify(puzzles.inputs, answers).float().numpy()
    rates = {
        name: [float(rows.mean()), *bootstrap_interval(rows)] for name, rows in (("plain", plain), ("search", found))
    }
    return rates | {"mean_passes": counted.passes / len(puzzles)}


def learn(arm: Arm, args: Args) -> Iterator[dict[str, Any]]:
    """Spend the budget; one row after every round, and one at the end."""
    task, learner = make_task(args.task), Learner(args, make_task(args.task))
    agent: BaseAlgorithm | None = None
    search: Search = GuessSearch(args.steps, args.guesses)
    live = Core(
        task, learner.averaged, reward="constraints", observation="verifier", submit="verified",
        horizon=args.steps * (1 + args.guesses), cost_per_pass=args.cost_per_pass,
    )  # fmt: skip
    judge = partial(judged, learner.averaged.reasoner, task)
    for number in count():
        if arm.agent:
            places = torch.randperm(
                len(learner.known.base), generator=torch.Generator().manual_seed(number + args.seed)
            )
            agent = practised(agent, live, learner.known.unlabelled(places[: args.pool]), args, number)
            search = PolicySearch(LearnedPolicy("ppo", agent), live.config)
        if arm.reasoner:
            learner.round(search, args.batches)
        facts = {
            "passes": learner.passes,
            "known": int(learner.known.is_known.sum()),
            "cpu_seconds": round(process_time()),
        }
        if learner.passes >= args.budget:
            yield facts | judge(search, args.steps, args.num_final)
            return
        yield facts | judge(search, args.steps, args.num_validation)


def cells(arm: str, row: dict[str, Any]) -> list[str]:
    """A row of the table under `HEADINGS`."""
    rates = ["{:.3f} [{:.3f}, {:.3f}]".format(*row[name]) for name in ("plain", "search")]
    return [arm, f"{row['passes']:,}", str(row["known"]), *rates, f"{row['mean_passes']:.0f}"]


def main(args: Args) -> None:
    """Run what is missing, print the table."""
    torch.set_num_threads(1)
    settings = {key: str(value) for key, value in vars(args).items() if key not in ("arms", "out")}
    done: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {"settings": settings, "arms": {}}
    if done["settings"] != settings:
        raise InvalidValueError(f"{args.out} must be of these settings; it is of {done['settings']}. Choose another.")
    task = make_task(args.task)
    if "start" not in done:
        nobody = GuessSearch(args.steps, args.guesses)
        found = judged(fitted(load_reasoner(args.reasoner), task), task, nobody, args.steps, args.num_validation)
        done["start"] = found | {"passes": 0, "known": 0}
    for name in args.arms:
        if name not in done["arms"]:
            done["arms"][name] = []
            for row in learn(ARMS[name], args):
                print(name, row, flush=True)
                done["arms"][name].append(row)
            write_json(args.out, done)
    rows = [cells("start", done["start"])] + [cells(name, row) for name in args.arms for row in done["arms"][name]]
    print(markdown_table(HEADINGS, rows))


if __name__ == "__main__":
    main(tyro.cli(Args))
