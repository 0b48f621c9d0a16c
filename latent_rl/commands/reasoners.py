"""`latent-rl reasoners`: what is shipped."""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Column, Table

from latent_rl.reasoners.checkpoint import (
    default_reasoner,
    load_reasoner,
    reasoner_facts,
    shipped_reasoners,
)
from latent_rl.tasks.registry import TASKS


@dataclass(frozen=True, kw_only=True)
class Reasoners:
    """List the shipped reasoners."""

    def run(self) -> None:
        """Print one line for each."""
        headings = ("parameters", "T", "n", "N_sup", "trained on", "validation solved (steps)", "default of the tasks")
        table = Table(Column("reasoner", no_wrap=True), *headings)
        for name in shipped_reasoners():
            reasoner, facts = load_reasoner(name), reasoner_facts(name)
            config, chosen = reasoner.config, facts["decoding"]
            table.add_row(
                name,
                f"{sum(parameter.numel() for parameter in reasoner.parameters()):,}",
                str(config.num_cycles),
                str(config.num_latent_updates),
                str(config.num_supervision_steps),
                facts["train"]["task"],
                f"{chosen['solved_rate']:.3f} ({chosen['num_steps']})",
                ", ".join(task for task in TASKS if default_reasoner(task) == name),
            )
        Console().print(table)
