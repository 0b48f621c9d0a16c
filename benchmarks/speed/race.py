"""Contestants run in turn, several times; what counts is the ratio of their speeds in the same round."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import torch

Contestant = Callable[[], float]
"""Does some work and returns how much, in the unit of its entry."""


@dataclass(frozen=True)
class Settings:
    """How the benchmarks run."""

    quick: bool
    threads: int

    @property
    def rounds(self) -> int:
        """Runs of every contestant, of which the median counts."""
        return 2 if self.quick else 3

    def pick(self, full: int, quick: int) -> int:
        """An amount of work."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        entry: the benchmark.
        what: the contestant.
        values: of every run.
        unit: of the values.
        ratios: round by round, how many times as fast the entry's first contestant is; empty where none is faster.
        note: what else there is to say.
        curve: points (quantity, seconds) behind the value, for the plot.
    """

    entry: str
    what: str
    values: list[float]
    unit: str
    ratios: list[float]
    note: str = ""
    curve: list[tuple[int, float]] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """As plain JSON values, with medians."""
        middle = median(self.ratios) if self.ratios else None
        return asdict(self) | {"median": median(self.values), "median_ratio": middle}

    def markdown(self) -> str:
        """As a line of the table: the ratio first, median and range."""
        ratio = f"**{median(self.ratios):.3g}** ({min(self.ratios):.3g}-{max(self.ratios):.3g})" if self.ratios else ""
        values = f"{number(median(self.values))} ({number(min(self.values))}-{number(max(self.values))})"
        return f"| {self.entry} | {self.what} | {ratio} | {values} {self.unit} | {self.note} |"


TABLE_HEAD = "| entry | contestant | the first is so many times as fast | median (range) | |\n|---|---|---:|---:|---|"


def number(value: float) -> str:
    """Three digits that count, no exponents."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def seconds(settings: Settings) -> float:
    """CPU time of this process, which a busy machine disturbs least; with several threads the time on the clock."""
    return time.process_time() if settings.threads == 1 else time.perf_counter()


def race(
    settings: Settings, entry: str, unit: str, contestants: dict[str, Contestant], notes: dict[str, str] | None = None
) -> list[Row]:
    """Run all in turn, after one round to warm up; the first one is what the others are compared with."""
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for number_of_round in range(1 + settings.rounds):
        for name, run in contestants.items():
            start = seconds(settings)
            work = run()
            if number_of_round:
                rates[name].append(work / (seconds(settings) - start))
    first = next(iter(rates.values()))
    return [
        Row(entry, name, values, unit, [a / b for a, b in zip(first, values, strict=True)], (notes or {}).get(name, ""))
        for name, values in rates.items()
    ]


def repeated(function: Callable[[], object], work: float, times: int) -> Contestant:
    """A contestant that calls a function several times, without gradients; each call does so much work."""

    def run() -> float:
        with torch.no_grad():
            for _ in range(times):
                function()
        return work * times

    return run
