"""Solving speed: step policies on 6x6 Sudoku against fixed schedules, continuous batching on hard 9x9, inference."""

from functools import cache, partial
from unittest.mock import patch

import numpy as np
import torch
from race import Contestant, Row, Settings, race, repeated

from latent_rl.agents.baselines import make_baseline
from latent_rl.agents.commands.setting import Process, Setting
from latent_rl.agents.policy import StepPolicy, action_index
from latent_rl.agents.rules import fixed_steps, two_threshold_rule
from latent_rl.agents.sb3.agents import LearnedPolicy, make_agent
from latent_rl.agents.solver import Solver
from latent_rl.envs.core import Core
from latent_rl.envs.state import State
from latent_rl.reasoners import trm
from latent_rl.reasoners.checkpoint import load_reasoner
from latent_rl.reasoners.trm import TRM, TRMConfig
from latent_rl.tasks.base import first, sample
from latent_rl.tasks.registry import make_task
from latent_rl.types import Puzzles

BATCH_SIZE = Solver.batch_size


@cache
def learned(settings: Settings, observation: str, submit: str) -> tuple[Setting, LearnedPolicy]:
    """PPO on recorded steps of training puzzles of 6x6, seed 0."""
    setting = Setting(
        process=Process(task="sudoku6x6", reasoner="sudoku6x6", horizon=16, observation=(observation,), submit=submit),
        cost_per_pass=0.003, recorded=settings.pick(1000, 64), num_validation=settings.pick(200, 32),
    )  # fmt: skip
    model = make_agent("ppo", setting.training_core(setting.make_core()), seed=0)
    model.learn(settings.pick(262_144, 4_096))
    return setting, LearnedPolicy("ppo", model)


def schedule_of_336_passes(setting: Setting, compiled: bool) -> tuple[Core, StepPolicy]:
    """TRM's T=3, n=6, 16 steps at the width of the shipped reasoner; its speed does not depend on its weights."""
    task, width = make_task(setting.process.task), load_reasoner(setting.process.task).config.width
    torch.manual_seed(0)
    shape = TRMConfig(
        vocab_size=task.vocab_size, seq_len=task.seq_len, width=width, num_cycles=3, num_latent_updates=6,
        num_supervision_steps=16,
    )  # fmt: skip
    reasoner = TRM(shape).requires_grad_(False).eval()
    if compiled:
        reasoner.compile()
    core = setting.make_core(reasoner)
    return core, fixed_steps(core.mode, 16)


def solver(settings: Settings, compiled: bool = False) -> list[Row]:
    """Learned policies and the rule, which halt puzzle by puzzle, against schedules that are the same for all."""
    checking, checking_ppo = learned(settings, "verifier", "verified")
    setting, ppo = learned(settings, "features", "best_confidence")
    task, generator = make_task(setting.process.task), torch.Generator().manual_seed(0)
    # A stream in random views: long enough for its end, when the batch runs empty, not to count.
    puzzles = sample(task, task.puzzles("test"), settings.pick(16_000, BATCH_SIZE), generator)
    fewer, few = puzzles.select(torch.arange(settings.pick(2048, 32))), puzzles.select(torch.arange(BATCH_SIZE))
    reasoner = load_reasoner(setting.process.task)
    if compiled:
        reasoner.compile()
    core = setting.make_core(reasoner)
    contestants: dict[str, tuple[Core, StepPolicy, Puzzles]] = {
        "ppo that sees the verifier": (checking.make_core(reasoner), checking_ppo, puzzles),
        "ppo": (core, ppo, puzzles),
        "rule": (core, make_baseline(core, "rule", setting.tune(core)), puzzles),
        "fixed-6, same reasoner": (core, fixed_steps(core.mode, 6), fewer),
        "336 passes (T=3, n=6, 16 steps), same width": (*schedule_of_336_passes(setting, compiled), few),
    }
    notes: dict[str, str] = {}

    def contestant(name: str, core: Core, policy: StepPolicy, puzzles: Puzzles) -> Contestant:
        def run() -> float:
            solutions = Solver(core, policy, BATCH_SIZE).solve(puzzles)
            solved, passes = solutions.solved.float().mean(), solutions.passes.float().mean()
            rate = "random weights" if core.reasoner is not reasoner else f"{solved:.4f} solved"
            notes[name] = f"{rate}, {passes:.1f} passes, {len(puzzles)} puzzles"
            return len(puzzles)

        return run

    runs = {name: contestant(name, *what) for name, what in contestants.items()}
    return race(settings, "solver, compiled" if compiled else "solver", "puzzles/s", runs, notes)


class WaitForTheSlowest:
    """A policy under which every puzzle of a batch keeps stepping until the last one would have halted."""

    def __init__(self, core: Core, policy: StepPolicy) -> None:
        self.name = policy.name
        self.submit = policy.submit
        self.policy = policy
        self.halt = action_index(core.mode, "halt")
        self.refine = action_index(core.mode, "refine")
        self.ready: set[int] = set()

    def act(self, observation: np.ndarray, state: State) -> np.ndarray:
        """The policy's own actions, but for halts before all are ready."""
        actions = self.policy.act(observation, state)
        self.ready |= set(state.keys[torch.as_tensor(actions) == self.halt].tolist())
        if self.ready.issuperset(state.keys.tolist()):
            return np.full_like(actions, self.halt)
        return np.where(actions == self.halt, self.refine, actions)


def batching(settings: Settings) -> list[Row]:
    """The two-threshold rule on hard 9x9: continuous batching, batches that shrink, batches that wait."""
    core = Core("sudoku9x9-hard", reasoner="sudoku9x9-hard")
    size = 32
    rule = two_threshold_rule(core, 0.9, 16)
    puzzles = first(core.task, "test", settings.pick(128, 64))
    parts = [puzzles.select(rows) for rows in torch.arange(len(puzzles)).split(size)]

    def run(continuous: bool, waiting: bool) -> float:
        if continuous:
            Solver(core, rule, size).solve(puzzles)
        for part in [] if continuous else parts:
            Solver(core, WaitForTheSlowest(core, rule) if waiting else rule, size).solve(part)
        return len(puzzles)

    contestants: dict[str, Contestant] = {
        "who halts is replaced at once": partial(run, True, False),
        "who halts leaves, the batch shrinks": partial(run, False, False),
        "the batch waits for its slowest": partial(run, False, True),
    }
    return race(Settings(True, settings.threads), "batching, hard 9x9", "puzzles/s", contestants)


def inference(settings: Settings) -> list[Row]:
    """One supervision step of 256 puzzles without gradients, engine by engine."""
    rows = []
    for name in ("sudoku6x6", "sudoku9x9"):
        puzzles = first(make_task(name), "validation", 256)
        steps = {}
        for engine, dtype in (("bf16 compiled", None), ("bf16 in pieces of 64", None), ("fp32", torch.float32)):
            reasoner = load_reasoner(name, dtype)
            if engine == "bf16 compiled":
                reasoner.compile()
            carry = reasoner.initial_carry(256).map(torch.Tensor.contiguous)
            steps[engine] = partial(reasoner.step, puzzles.inputs, carry, 0)
            if engine.endswith("64"):
                steps["bf16 in one go"] = patch.object(trm, "PIECE", 256)(steps[engine])
        times = settings.pick(2, 1)
        runs = {engine: repeated(step, 256, times) for engine, step in steps.items()}
        rows += race(settings, f"inference, {name.removeprefix('sudoku')}", "steps/s", runs)
    return rows
