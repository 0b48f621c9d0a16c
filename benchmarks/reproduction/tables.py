"""The tables of the report, in Markdown."""

from dataclasses import dataclass

import numpy as np
from summary import Arms, Estimate, Outcome, at_examples, difference

WHAT = {
    "dis": "DIS: targets that approach the answer, T=1, n=2",
    "final": "the same schedule, the answer as the target of every step",
    "trm-small": "TRM's training on the small schedule, T=1, n=2",
    "hrm": "HRM's two networks, T=2, n=2; halting as in TRM",
    "one-pass-depth": "no recursion: as many blocks as DIS applies",
    "one-pass-parameters": "no recursion: one block, as DIS has",
    "trm": "TRM: T=3, n=6",
    "trm-long": "TRM, trained on at least as many examples as DIS",
}
QUESTIONS = {
    ("dis", "trm"): "18 passes against 336, equal CPU time",
    ("dis", "trm-long"): "18 passes against 336, which saw as many examples or more",
    ("dis", "trm-small"): "DIS against TRM's training of the small schedule, equal CPU time",
    ("dis", "hrm"): "DIS against HRM, equal CPU time",
    ("dis", "final"): "DIS targets against final targets",
    ("dis", "one-pass-depth"): "recursion against one pass of equal depth",
    ("dis", "one-pass-parameters"): "recursion against one pass of equal parameters",
    ("final", "trm"): "18 passes with final targets against 336, equal CPU time",
    ("final", "trm-long"): "18 passes with final targets against 336, which saw as many examples or more",
    ("final", "trm-small"): "final targets against TRM's training of the small schedule, equal CPU time",
}
"""What one arm against another answers."""
STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 112)
"""Steps that are shown, as far as they were evaluated."""


def table(headings: list[str], rows: list[list[str]], num_left: int = 1) -> str:
    """All but the first columns are right-aligned."""
    rule = ["---"] * num_left + ["---:"] * (len(headings) - num_left)
    return "".join(f"| {' | '.join(row)} |\n" for row in (headings, rule, *rows))


def accuracy_table(arms: Arms) -> str:
    """What each arm solves: on the boards as they are, and in all views if there are several."""
    all_views = [False, True] if next(iter(arms.values())).valid.shape[2] > 1 else [False]
    rows = []
    for name, arm in arms.items():
        rates = [str(arm.estimate(kind, all_views=views)) for views in all_views for kind in ("valid", "exact")]
        seeds = arm.by_seed()
        spread = f"{min(seeds):.3f} - {max(seeds):.3f}" if len(seeds) > 1 else "one seed"
        rows.append([f"`{name}`", WHAT[name], *rates, spread, str(len(seeds))])
    headings = ["valid", "exact", "valid, all views", "exact, all views"][: 2 * len(all_views)]
    return table(["arm", "what", *headings, "valid: lowest - highest seed", "seeds"], rows, 2)


def cost_table(arms: Arms) -> str:
    """What each arm costs."""
    rows = []
    for name, arm in arms.items():
        solved = arm.estimate("valid", all_views=True).mean
        cells = [
            f"{arm.facts['parameters']:,}",
            str(arm.num_steps),
            str(arm.passes),
            f"{arm.passes / solved:.1f}" if solved else "none solved",
            f"{arm.average('batch'):,.0f}",
            f"{arm.average('examples'):,.0f}",
            f"{arm.average('cpu_seconds') / 60:.1f}",
        ]
        rows.append([f"`{name}`", *cells])
    headings = ["parameters", "steps", "passes", "passes per solved puzzle", "batches", "examples", "CPU min"]
    return table(["arm", *headings], rows)


@dataclass(frozen=True)
class Comparison:
    """What two arms with common seeds say to a question.

    Attributes:
        question: in words.
        one: an arm.
        other: another.
        seeds: that both have.
        longer: the number of steps in which the one takes as many passes as the other; None if it was not evaluated.
    """

    question: str
    one: Outcome
    other: Outcome
    seeds: list[int]
    longer: int | None


def comparisons(arms: Arms) -> list[Comparison]:
    """Those that the results allow."""
    return [
        Comparison(question, arms[one], arms[other], seeds, arms[one].steps_within(arms[other].passes))
        for (one, other), question in QUESTIONS.items()
        if one in arms and other in arms and (seeds := arms[one].common_seeds(arms[other]))
    ]


def questions_table(arms: Arms) -> str:
    """One arm minus another."""
    rows = []
    for each in comparisons(arms):
        gains = [signed(difference(each.one, each.other, kind)) for kind in ("valid", "exact")]
        longer = "" if each.longer is None else signed(difference(each.one, each.other, "valid", each.longer))
        names = f"`{each.one.arm}` - `{each.other.arm}`"
        rows.append([each.question, names, *gains, longer, ", ".join(map(str, each.seeds))])
    return table(["question", "arms", "valid", "exact", "valid, equal passes", "seeds"], rows, 2)


def signed(gain: Estimate) -> str:
    """A difference with its interval."""
    return f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def examples_table(arms: Arms) -> str:
    """Every arm at its end beside those of 18 passes when they had seen as many examples."""
    rows, short = [], [arms[name] for name in ("dis", "final") if name in arms]
    for name, arm in arms.items():
        pairs = [at_examples(arm, np.inf), *(at_examples(each, arm.average("examples")) for each in short)]
        cells = [cell for pair in pairs for cell in (f"{pair[0]:,.0f}", f"{pair[1]:.3f}")]
        rows.append([f"`{name}`", *("-" if cell == "nan" else cell for cell in cells)])
    beside = [f"{what} of `{each.arm}`" for each in short for what in ("examples", "valid")]
    return table(["arm", "examples", "valid", *beside], rows)


def steps_table(arms: Arms) -> str:
    """The valid rate by step, and where it stops rising."""
    rows, steps = [], shown_steps(arms)
    for name, arm in arms.items():
        enough, cells = arm.enough_steps(), at_steps(arm.per_step().mean(0), steps)
        rows.append([f"`{name}`", str(arm.num_steps), str(enough), f"{1 - enough / arm.num_steps:.0%}", *cells])
    return table(["arm", "trained for", "enough", "dead", *map(str, steps)], rows)


def margin_table(arms: Arms) -> str:
    """The advantage margin by step; empty if it was not measured."""
    steps, margins = shown_steps(arms), {name: arm.margin() for name, arm in arms.items()}
    rows = [[f"`{name}`", *at_steps(each, steps, "+.3f")] for name, each in margins.items() if each is not None]
    return table(["arm", *map(str, steps)], rows) if rows else ""


def shown_steps(arms: Arms) -> list[int]:
    """The columns of the tables by step."""
    return [step for step in STEPS if step <= max(arm.valid.shape[1] for arm in arms.values())]


def at_steps(values: np.ndarray, steps: list[int], style: str = ".3f") -> list[str]:
    """Values by step, [S], at the steps that are shown; empty beyond S."""
    return [format(values[step - 1], style) if step <= len(values) else "" for step in steps]
