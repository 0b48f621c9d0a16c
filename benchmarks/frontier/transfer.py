"""How do trained agents do where they were not trained? Return gained over the rule that is tuned there.

    python benchmarks/frontier/transfer.py --agents runs/compare/agents/ppo-0 runs/compare/agents/ppo-1 \
        --settings sudoku9x9-hard:sudoku9x9-hard sudoku9x9-minimal:sudoku9x9-hard
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from latent_rl.agents.baselines import make_baseline
from latent_rl.agents.commands.setting import Process, Setting, evaluation_core
from latent_rl.agents.evaluate import evaluate_policy
from latent_rl.agents.report.tables import markdown_table
from latent_rl.agents.saved import load_agent
from latent_rl.evaluation.intervals import bootstrap_interval

HEADINGS = ("agent", "task", "reasoner", "solved", "passes", "return", "gain over rule", "rule solved", "rule passes")


@dataclass(kw_only=True)
class Args:
    """What to evaluate."""

    agents: tuple[Path, ...]
    """Folders of saved agents; they must have the same observations and actions."""
    settings: tuple[str, ...]
    """TASK:REASONER, where to evaluate them."""
    num_test: int = 1000
    """Held-out puzzles."""


def main(args: Args) -> None:
    """Evaluate every agent in every setting and print a table."""
    rows = []
    for name in args.settings:
        task, reasoner = name.split(":")
        setting = Setting(process=Process(task=task, reasoner=reasoner), num_test=args.num_test)
        live, test = setting.make_core(), setting.test_puzzles()
        rule = make_baseline(live, "rule", setting.tune(live))
        core = evaluation_core(live, test)
        opponent = evaluate_policy(core, rule, test)
        for agent in args.agents:
            outcome = evaluate_policy(core, load_agent(agent, core), test)
            gain = outcome.returns - opponent.returns
            low, high = bootstrap_interval(gain)
            rows.append(
                [
                    *("/".join(agent.parts[-3:]), task, reasoner),
                    *(f"{outcome.solved.mean():.3f}", f"{outcome.passes.mean():.1f}", f"{outcome.returns.mean():.4f}"),
                    f"{gain.mean():+.4f} [{low:+.4f}, {high:+.4f}]",
                    *(f"{opponent.solved.mean():.3f}", f"{opponent.passes.mean():.1f}"),
                ]
            )
    print(markdown_table(HEADINGS, rows))


if __name__ == "__main__":
    main(tyro.cli(Args))
