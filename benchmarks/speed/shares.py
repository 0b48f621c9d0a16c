"""Where the time goes: shares of CPU time in training, in PPO and in the solver."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from race import Row, Settings
from solving import BATCH_SIZE
from torch.optim.swa_utils import AveragedModel
from training import trainer

from latent_rl.agents.commands.setting import Process, Setting
from latent_rl.agents.rules import RulePolicy, two_threshold_rule
from latent_rl.agents.sb3.agents import make_agent
from latent_rl.agents.solver import Solver
from latent_rl.envs.core import Core
from latent_rl.reasoners.trm import TRM
from latent_rl.tasks.base import first
from latent_rl.training import episodes, updates

Parts = dict[str, list[tuple[Any, str]]]
"""Methods, as (owner, name), by the name of the part they belong to; none of them calls another one."""


def shares(parts: Parts, run: Callable[[], object]) -> tuple[dict[str, float], float]:
    """The share of CPU time that each part takes of a run, and the seconds of the whole."""
    spent = dict.fromkeys(parts, 0.0)

    def timed(part: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        start = time.process_time()
        result = function(*arguments, **options)
        spent[part] += time.process_time() - start
        return result

    watched = [(part, *method, getattr(*method)) for part, methods in parts.items() for method in methods]
    for part, owner, name, function in watched:
        # A plain function, so that a class's method still gets its object.
        setattr(owner, name, (lambda p, f: lambda *a, **o: timed(p, f, *a, **o))(part, function))
    start = time.process_time()
    try:
        run()
    finally:
        whole = time.process_time() - start
        for _, owner, name, function in watched:
            setattr(owner, name, function)
    return {part: seconds / whole for part, seconds in spent.items()}, whole


def rows(what: str, parts: Parts, run: Callable[[], object], note: Callable[[float], str] = lambda _: "") -> list[Row]:
    """One row for each part, and one for what is left."""
    found, whole = shares(parts, run)
    found["everything else"] = 1 - sum(found.values())
    return [
        Row("profile", f"{what}: {part}", [100 * share], "%", [], "" if number else note(whole))
        for number, (part, share) in enumerate(found.items())
    ]


def profile(settings: Settings) -> list[Row]:
    """Training (9x9, compiled), PPO on live and on recorded steps (9x9), the solver under the rule (6x6)."""
    train = trainer(torch.bfloat16, compiled=not settings.quick)
    train(1)
    training: Parts = {
        "forward": [(TRM, "step")],
        "backward": [(torch.Tensor, "backward")],
        "optimizers": [(updates, "update_weights")],
        "moving average": [(AveragedModel, "update_parameters")],
        "drawing puzzles": [(episodes, "plan_batch")],
    }
    found = rows("training", training, partial(train, settings.pick(4, 1)))
    for kind in ("live", "recorded"):
        setting = Setting(process=Process(task="sudoku9x9", reasoner="sudoku9x9"), recorded=settings.pick(1000, 64))
        core = setting.make_core()
        model = make_agent("ppo", setting.training_core(core) if kind == "recorded" else core, seed=0)
        timesteps = settings.pick(65_536 if kind == "recorded" else 12_288, 4_096)
        found += rows(
            f"PPO, {kind} steps",
            {"reasoner": [(core.reasoner, "step")], "update": [(model, "train")]},
            partial(model.learn, timesteps),
            lambda whole, timesteps=timesteps: f"{timesteps / whole:,.0f} steps/s",  # type: ignore[misc]
        )
    core = Core("sudoku6x6", reasoner="sudoku6x6", horizon=16)
    solver = Solver(core, two_threshold_rule(core, 0.9, 8), BATCH_SIZE)
    puzzles = first(core.task, "test", settings.pick(2000, 128))
    parts: Parts = {"reasoner": [(TRM, "step")], "policy": [(RulePolicy, "act")]}
    return found + rows("solver", parts, lambda: solver.solve(puzzles))
