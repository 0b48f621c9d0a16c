"""The tables of the report, in Markdown."""

import numpy as np
from summary import Arms, Estimate, at_examples, difference

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
    "trm": "18 passes against 336, equal CPU time",
    "trm-long": "18 passes against 336, which saw as many examples or more",
    "trm-small": "DIS against TRM's training of the small schedule, equal CPU time",
    "hrm": "DIS against HRM, equal CPU time",
    "final": "DIS targets against final targets",
    "one-pass-depth": "recursion against one pass of equal depth",
    "one-pass-parameters": "recursion against one pass of equal parameters",
}
"""What DIS against another arm answers."""
STEPS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Steps that are shown."""


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


def questions_table(arms: Arms) -> str:
    """DIS minus every other arm."""
    rows = []
    for name, question in QUESTIONS.items():
        if name in arms and (seeds := arms["dis"].common_seeds(arms[name])):
            gains = [signed(difference(arms["dis"], arms[name], kind)) for kind in ("valid", "exact")]
            rows.append([question, f"`{name}`", *gains, ", ".join(map(str, seeds))])
    return table(["question", "other arm", "valid", "exact", "seeds"], rows, 2)


def signed(gain: Estimate) -> str:
    """A difference with its interval."""
    return f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def examples_table(arms: Arms) -> str:
    """Every arm at its end beside DIS when it had seen as many examples."""
    rows = []
    for name, arm in arms.items():
        if name != "dis":
            pairs = at_examples(arm, np.inf), at_examples(arms["dis"], arm.average("examples"))
            cells = [cell for pair in pairs for cell in (f"{pair[0]:,.0f}", f"{pair[1]:.3f}")]
            rows.append([f"`{name}`", *("-" if cell == "nan" else cell for cell in cells)])
    return table(["arm", "examples", "valid", "examples of `dis`", "valid of `dis`"], rows)


def steps_table(arms: Arms) -> str:
    """The valid rate by step, and where it stops rising."""
    rows = []
    for name, arm in arms.items():
        rates, enough = arm.per_step().mean(0), arm.enough_steps()
        cells = [f"{rates[step - 1]:.3f}" if step <= len(rates) else "" for step in STEPS]
        rows.append([f"`{name}`", str(arm.num_steps), str(enough), f"{1 - enough / arm.num_steps:.0%}", *cells])
    return table(["arm", "trained for", "enough", "dead", *map(str, STEPS)], rows)
