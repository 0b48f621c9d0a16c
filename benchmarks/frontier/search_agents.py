"""Random search for an agent's hyperparameters: trained on recorded steps, judged by mean return on validation puzzles.

    python benchmarks/frontier/search_agents.py --agent ppo --task sudoku9x9-hard --reasoner sudoku9x9-hard-weak

Trial 0 is the default of `AGENTS`. A run that was cut goes on where it was.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from latent_rl.agents.commands.setting import Flat, Setting, evaluation_core
from latent_rl.agents.evaluate import evaluate_policy
from latent_rl.agents.report.tables import markdown_table
from latent_rl.agents.sb3.agents import LearnedPolicy, agent_spec, linear_decay, make_agent
from latent_rl.evaluation.intervals import bootstrap_interval
from latent_rl.storage.atomic import write_json
from latent_rl.tasks.base import first

_ON_POLICY: dict[str, tuple[Any, ...]] = {
    "learning_rate": (5e-4, 1e-3, 2e-3, 4e-3),
    "n_steps": (16, 32, 64),
    "n_epochs": (4, 8, 12),
    "gae_lambda": (0.9, 0.95, 0.98),
    "net_arch": ([64, 64], [128, 128]),
}
SPACES: dict[str, dict[str, tuple[Any, ...]]] = {
    "ppo": {**_ON_POLICY, "ent_coef": (0.0, 0.001, 0.003, 0.01)},
    "operator": {**_ON_POLICY, "target_kl": (0.02, 0.05, 0.1), "max_scale": (5.0, 10.0, 20.0, 40.0)},
    "dqn": {
        "learning_rate": (5e-4, 1e-3, 2e-3),
        "batch_size": (128, 256, 512),
        "gradient_steps": (2, 4, 8),
        "target_update_interval": (256, 512, 1024),
        "exploration_initial_eps": (0.1, 0.15, 0.3),
        "exploration_fraction": (0.3, 0.6),
        "net_arch": ([64, 64], [128, 128]),
    },
}
"""What is drawn for each agent, every value with the same probability."""
READ: dict[str, Callable[[Any], dict[str, Any]]] = {
    "learning_rate": lambda peak: {"learning_rate": linear_decay(peak)},
    "net_arch": lambda sizes: {"policy_kwargs": {"net_arch": sizes}},
}
"""How a drawn value becomes arguments of the algorithm, where it is not one itself."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What to search."""

    setting: Flat[Setting] = Setting()
    """Environment and puzzles."""
    agent: str = "ppo"
    """A key of `SPACES`."""
    trials: int = 16
    """Trials in all."""
    out: Path = Path("runs/search.json")
    """Where the trials go."""


def drawn(agent: str, trial: int) -> dict[str, Any]:
    """The trial's hyperparameters; the default ones for trial 0."""
    random = np.random.default_rng(trial)
    return {name: values[random.integers(len(values))] for name, values in SPACES[agent].items()} if trial else {}


def main(args: Search) -> None:
    """Run what is missing; print all trials, the best first."""
    trials: dict[str, dict[str, Any]] = json.loads(args.out.read_text()) if args.out.exists() else {}
    setting, spec = args.setting, agent_spec(args.agent)
    live = setting.make_core()
    training, puzzles = setting.training_core(live), first(live.task, "validation", setting.num_validation)
    core = evaluation_core(live, puzzles)
    for trial in range(args.trials):
        if str(trial) in trials:
            continue
        chosen = drawn(args.agent, trial)
        arguments = spec.arguments
        for name, value in chosen.items():
            arguments = arguments | READ.get(name, lambda value, name=name: {name: value})(value)
        model = make_agent(args.agent, training, seed=trial, spec=replace(spec, arguments=arguments))
        model.learn(setting.total_timesteps or spec.total_timesteps)
        outcome = evaluate_policy(core, LearnedPolicy(args.agent, model), puzzles)
        low, high = bootstrap_interval(outcome.returns)
        trials[str(trial)] = chosen | {
            "return": float(outcome.returns.mean()),
            "low": low,
            "high": high,
            "solved": float(outcome.solved.mean()),
            "passes": float(outcome.passes.mean()),
        }
        write_json(args.out, trials)
    best_first = sorted(trials.items(), key=lambda entry: -entry[1]["return"])
    names = [*SPACES[args.agent], "solved", "passes", "return"]
    rows = [[trial, *(str(facts.get(name, "default")) for name in names)] for trial, facts in best_first]
    print(markdown_table(("trial", *names), rows))


if __name__ == "__main__":
    main(tyro.cli(Search))
