"""The report, docs/reproduction.md: every number in it comes from the results, and so does every verdict."""

from pathlib import Path

from arms import SEEDS, SETTINGS
from plot import draw
from summary import Arms, Estimate, ceiling_of_exact, difference, read_outcomes
from tables import (
    accuracy_table,
    comparisons,
    cost_table,
    examples_table,
    margin_table,
    questions_table,
    steps_table,
)

from latent_rl.storage.atomic import write_atomically

PAPER_NQUEENS = 0.69
INTRODUCTION = f"""\
# The paper, reproduced

*Latent Reasoning in TRMs is Secretly a Policy Improvement Operator* ([arXiv
2511.16886](https://arxiv.org/abs/2511.16886)) beside what this repository measures. `python
benchmarks/reproduction/reproduce_paper.py` trains and evaluates everything, goes on where it was stopped, and writes
this file from `benchmarks/results/reproduction`: no number and no verdict below is typed, but for the paper's own.

| what the paper says | its numbers |
|---|---|
| 8x8 N-Queens: DIS (T=1, n=2, 6 steps) is as good as TRM (T=3, n=6, 16 steps) | both {PAPER_NQUEENS}, 0.8M parameters |
| forward passes fall 18-fold at the same quality | 336 and 18 |
| ARC-1, pass@2, 0.8M parameters (not run here) | TRM 12.0, DIS 24.0 |
| ARC-1, pass@2, 7M parameters, T=1 and n=2 for both (not run here) | TRM 27.1, DIS 40.0 |
| a looped network stays behind one without recursion of the same depth: some loops are dead compute | a motivation |
"""
METHOD = """
## How to read it

- **The same network and recipe for all arms of a section**, which says them: Muon, a warm-up over a tenth of the
  optimizer steps and a moving average over a twelfth; none of the extras of the shipped reasoners. No arm was tuned.
  All arms but `trm-long` get about the same CPU time. The numbers of batches were fixed beforehand, only that of
  `trm-long` after the first `trm-small` had shown how many examples a batch with early replacement takes.
- **The small boards** have the paper's kind of network, an MLP mixer. **The hard 9x9 boards** have the symbol network:
  17,000 weights, equivariant to all symmetries of Sudoku, with random initial states and no step index.
- The paper's own recipe is another: AdamW, a longer training, larger networks.
- **valid**: the answer satisfies the rules; **exact**: it equals the label. Plain decoding after N_sup steps (6, 16; 1
  for one pass); nothing was chosen by it. *Passes* are T(n+1) for each step; one pass through 18 blocks counts as 18.
- **Intervals** are 95%, bootstrapped over puzzles: seeds are averaged first, the symmetric views of a board are one
  cluster. They do not cover the luck of a training: for that see the lowest and the highest seed. Differences are
  paired by puzzle and seed.
- **CPU min** is CPU time of the training on one thread of a busy machine, with its validations, without the C++
  compiler. **Examples** are puzzles that were trained on to their last step: with TRM's and HRM's early replacement, a
  halted puzzle makes room for another.
- **Equal passes**: the first arm runs on, beyond the steps it was trained for, until it has taken as many forward
  passes as the other.
- **Dead compute**: the step from which on the valid rate does not rise beyond noise (paired, 95% shared among steps).
  The **advantage margin** says it of the single step, in nats per unit of guidance: near 0 it changes nothing for the
  answer, below 0 it harms. Means over seeds, puzzles and open cells, among tokens that can be an answer: wrong cells of
  unsolved puzzles that grow surer weigh more than right ones that are sure already, so that the mean can fall below 0
  while more puzzles are solved.
"""


def write_report(results: Path, document: Path) -> None:
    """Write the report, and its plots in the folder `images` beside it, from the results that are there."""
    outcomes = read_outcomes(results)
    parts = [INTRODUCTION, "\n## In short\n\n", *map(in_short, outcomes, outcomes.values()), METHOD]
    for task, arms in outcomes.items():
        image = f"images/reproduction_{task}.png"
        write_atomically(document.parent / image, draw(task, arms))
        parts.append(section(task, arms, image))
    write_atomically(document, "".join(parts).encode())


def in_short(task: str, arms: Arms) -> str:
    """The answers to the paper's questions, in plain words."""
    lines = []
    for each in comparisons(arms):
        gain = difference(each.one, each.other, "valid")
        rates = f"{each.one.rate(each.seeds):.3f} against {each.other.rate(each.seeds):.3f} valid"
        lines.append(f"- {task}, {each.question}: {rates}, {in_words(gain, each.one.arm)}{caution(each.seeds)}.")
        if each.longer is not None and each.longer > each.one.num_steps:
            gain = difference(each.one, each.other, "valid", each.longer)
            lines[-1] += (
                f" Run on to as many passes, `{each.one.arm}` has {each.one.rate(each.seeds, each.longer):.3f}:"
                f" {in_words(gain, each.one.arm)}."
            )
        lines[-1] += "\n"
    steps = ", ".join(
        f"{arm.enough_steps()} of {arm.num_steps} (`{n}`)" for n, arm in arms.items() if arm.num_steps > 1
    )
    if steps:
        lines.append(f"- {task}, dead compute: the valid rate does not rise beyond noise after step {steps}.\n")
    return "".join(lines)


def in_words(gain: Estimate, arm: str) -> str:
    """What a difference, an arm minus another, says."""
    points = f"{100 * abs(gain.mean):.1f} points"
    if gain.low > 0:
        return f"`{arm}` is ahead by {points}"
    if gain.high < 0:
        return f"`{arm}` is behind by {points}"
    return f"no difference beyond noise (`{arm}` is at most {100 * max(-gain.low, 0):.1f} points behind)"


def caution(seeds: list[int]) -> str:
    """A warning if not all seeds are there."""
    return "" if len(seeds) == len(SEEDS) else f" (only {len(seeds)} of {len(SEEDS)} seeds so far)"


def missing(task: str, arms: Arms) -> str:
    """A warning about runs that are not done, empty if all are."""
    absent = {
        arm: [seed for seed in SEEDS if arm not in arms or seed not in arms[arm].runs] for arm in SETTINGS[task].batches
    }
    names = [f"{arm} ({', '.join(map(str, seeds))})" for arm, seeds in absent.items() if seeds]
    return f"**Incomplete**: these arms (seeds) have not been run yet: {'; '.join(names)}.\n\n" if names else ""


def section(task: str, arms: Arms, image: str) -> str:
    """All there is to say of a task."""
    num_views, num_puzzles = next(iter(arms.values())).valid.shape[2:]
    ceiling = ceiling_of_exact(task, num_puzzles)
    parts = [f"\n## {task}\n\n", missing(task, arms), f"{num_puzzles:,} test puzzles"]
    parts.append(f", each also in its {num_views} symmetric views.\n" if num_views > 1 else ".\n")
    parts.append(shared(task))
    if ceiling < 1:
        parts.append(
            "A board can have several completions: a reasoner that knows all of them and guesses which one is the label"
            f" has an *exact* accuracy of {ceiling:.3f} on these boards; only luck goes beyond.\n"
        )
    parts += ["\n### Accuracy and cost\n\n", accuracy_table(arms), "\n", cost_table(arms), f"\n![{task}]({image})\n"]
    if "dis" in arms:
        parts += [
            "\n### The paper's questions\n\nOne arm minus another, over all views and common seeds:\n\n",
            questions_table(arms),
            of_paper(arms, ceiling) if task == "nqueens8" else "",
            "\n### Equal examples\n\nValid on 100 validation puzzles, so within 0.1 at best: every arm at its end, and"
            " the two arms of 18 passes at the last validation before they had seen more examples than that, or at"
            " their end. In the middle of their runs they have not yet lowered their learning rate.\n\n",
            examples_table(arms),
        ]
    parts += [
        "\n### Dead compute\n\nValid by step, over all views. No arm was trained on a step beyond its own. DIS asks for"
        " the whole answer at its last step only, so that its early steps are of use but not yet to be read out.\n\n",
        steps_table(arms),
        f"\nThe advantage margin by step:\n\n{margins}" if (margins := margin_table(arms)) else "",
        "\n### Commands\n\n",
        commands(task, arms),
    ]
    return "".join(parts)


def shared(task: str) -> str:
    """What all arms share, and what `dis` learns there if that is not the paper's path."""
    setting = SETTINGS[task]
    text = f"All arms have `{setting.common()}`.\n"
    if setting.path != "dis":
        text += (
            "A symbol network's answer leaves no cell open, so the targets of `dis` can't begin with open cells. Here"
            f" their unfinished cells hold a wrong symbol (`--targets {setting.path}`, the paper's corruption by"
            " replacement): a cell is right at step s of 6 with probability s/6, and from then on; while a given"
            " excludes its wrong symbol, it is not trained. Nor has the network a step index: how far it is, it must"
            " tell from its state.\n"
        )
    return text


def of_paper(arms: Arms, ceiling: float) -> str:
    """Whether the paper's own number is reached."""
    dis = arms["dis"]
    exact, valid = (dis.estimate(kind, all_views=False) for kind in ("exact", "valid"))
    within = " (it lies within the interval)" if exact.mean < PAPER_NQUEENS <= exact.high else ""
    reached = "reached" if exact.mean >= PAPER_NQUEENS else "not reached"
    size, minutes = dis.facts["parameters"] / 1e6, dis.average("cpu_seconds") / 60
    return (
        f"\nThe paper's {PAPER_NQUEENS} with 0.8M parameters is {reached}{within} by `dis`: {exact} exact, {valid}"
        f" valid, with {size:.2f}M parameters, in {minutes:.0f} CPU minutes. Knowing everything and guessing is"
        f" {ceiling:.3f} exact.\n"
    )


def commands(task: str, arms: Arms) -> str:
    """What made every number."""
    lines = [
        "Trainings (`--seed` and the folder's number differ for the other seeds), each followed by an evaluation whose"
        " last line has the numbers of the boards as they are:\n\n```bash\n"
    ]
    for arm in arms.values():
        folder = arm.facts["command"].split("--out ")[1].split()[0]
        lines.append(
            f"{arm.facts['command']}\nlatent-rl evaluate --task {task} --reasoner {folder}"
            f" --num-puzzles {arm.valid.shape[-1]} --steps {arm.num_steps}\n"
        )
    return "".join(lines) + f"```\n\ntorch {next(iter(arms.values())).facts['versions']['torch']}.\n"
