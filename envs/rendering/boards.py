"""What people see of an episode: a board whose cells are told apart, with or without colour; here as text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from latent_rl.envs.core import Core
from latent_rl.envs.rendering.layout import BoardLayout
from latent_rl.envs.state import State
from latent_rl.tasks.base import Task
from latent_rl.types import Puzzles, matches

Kind = Literal["given", "committed", "answer", "blank"]
"""A cell is given by the puzzle, committed, answered, or as the puzzle left it."""
Outcome = Literal["", "solved", "not solved", "ended"]
"""How an episode ended; nothing while it runs; the last where nobody can tell."""
_STYLES: dict[Kind, str] = {"given": "1", "committed": "1;36", "answer": "36", "blank": "2"}
_WRONG, _CHANGED = "31;9", "4"
"""Codes of ANSI styles: bold, bold and cyan, cyan, dim; red and struck through; underlined."""
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def plain(text: str) -> str:
    """The text without ANSI styles."""
    return _ESCAPE.sub("", text)


def wrong_cells(task: Task, puzzles: Puzzles, answers: Tensor) -> Tensor:
    """Bool [B, L]: the answer differs from the puzzle's only label; without one, its cells break a rule together.

    Nothing is wrong in an answer that the task accepts. This is for people: it looks at the label.
    """
    known = (puzzles.labels != 0).any(1)
    if bool(known.any()):
        known = known & ~task.is_ambiguous(puzzles.inputs)
    wrong = torch.where(known[:, None], ~matches(answers, puzzles.labels), task.clashes(answers))
    wrong = wrong & ~task.is_given(puzzles.inputs)
    return wrong & ~task.verify(puzzles.inputs, answers)[:, None] if bool(wrong.any()) else wrong


@dataclass(frozen=True)
class Board:
    """One episode at one step, as it is drawn.

    Attributes:
        task: whose board it is.
        layout: of the task.
        puzzle: int64 [L], the inputs.
        answer: int64 [L], what is shown: the last answer; at the end what was submitted.
        kinds: of every cell.
        changed: bool [L], cells whose answer the step changed.
        wrong: bool [L], cells known to be wrong.
        step: supervision steps done.
        horizon: supervision steps there may be.
        age: steps since the last restart.
        passes: forward passes.
        restarts: how many so far.
        restarted: the step was a restart.
        action: the name of the step's action; empty at the start.
        confidence: the least confident cell's; None before any step.
        outcome: how the episode ended.
    """

    task: Task
    layout: BoardLayout
    puzzle: Tensor
    answer: Tensor
    kinds: tuple[Kind, ...]
    changed: np.ndarray
    wrong: np.ndarray
    step: int
    horizon: int
    age: int
    passes: int
    restarts: int
    restarted: bool
    action: str
    confidence: float | None
    outcome: Outcome

    @property
    def symbols(self) -> Sequence[str]:
        """The symbol of each cell: as it stands in the task's text, or else its line, or else the token's number."""
        places = self.layout.places
        if places is not None and len(text := self.task.render(self.answer)) > places.max():
            return [text[place] for place in places]
        line = self.task.format(self.answer)
        return line if len(line) == len(self.kinds) else [str(token) for token in self.answer.tolist()]

    @property
    def caption(self) -> str:
        """The action in a word or two."""
        return self.action or ("-" if self.step else "the puzzle")

    @property
    def counts(self) -> dict[str, int]:
        """How many cells are changed, committed, wrong."""
        committed = self.kinds.count("committed")
        return {"changed": int(self.changed.sum()), "committed": committed, "wrong": int(self.wrong.sum())}

    def mark(self, cell: int) -> str:
        """What stands behind a cell's symbol, where there is room: the plain text's own way to tell cells apart."""
        if self.wrong[cell]:
            return "X" if self.changed[cell] else "x"
        if self.changed[cell]:
            return "*"
        return {"given": " ", "committed": "+", "answer": "'", "blank": " "}[self.kinds[cell]]

    def text(self, *, styled: bool = True, head: bool = True, width: int | None = None) -> str:
        """The board in a terminal: as the task draws it, with marks and ANSI styles.

        Args:
            styled: with ANSI styles; without them marks alone tell cells apart.
            head: below three lines that say how the episode stands.
            width: where a puzzle and its answer beside it take more columns than that, one of them is drawn.
        """
        board = self._drawn(styled)
        if not self.layout.is_filled:
            puzzle = self.task.render(self.puzzle)
            both = beside([puzzle.split("\n"), board.split("\n")], gap=" -> ")
            fits = width is None or max(len(plain(line)) for line in both.split("\n")) <= width
            board = both if fits else board if self.step else puzzle
        return f"{self._head(styled)}\n{board}" if head else board

    def _head(self, styled: bool) -> str:
        """Three lines."""
        confidence = "-" if self.confidence is None else f"{self.confidence:.3f}"
        action = ": ".join(part for part in (self.caption, self.outcome) if part)
        marks = {"changed": "*", "committed": "+", "wrong": "x"}
        counts = [f"{count} {name} {marks[name]}" for name, count in self.counts.items() if count]
        first = f"step {self.step}/{self.horizon}  passes {self.passes}  restarts {self.restarts}"
        first = f"\x1b[1m{first}\x1b[0m" if styled else first
        return f"{first}\n{action}  least confidence {confidence}\n{', '.join(counts)}"

    def _drawn(self, styled: bool) -> str:
        """The answer as the task draws it, its cells marked and styled."""
        text, places = self.task.render(self.answer), self.layout.places
        if places is None or len(text) <= places.max():
            return text
        is_filled, symbols = self.layout.is_filled, list(text)
        for cell, place in enumerate(places.tolist()):
            kind, mark = self.kinds[cell], self.mark(cell)
            if not is_filled:  # what is no answer yet is the puzzle's, which stands beside it
                symbols[place] = " " if kind == "blank" else symbols[place]
                mark = " " if mark == "'" else mark
            if styled:
                style = (_WRONG if self.wrong[cell] else _STYLES[kind]) + f";{_CHANGED}" * bool(self.changed[cell])
                symbols[place] = f"\x1b[{style}m{symbols[place]}\x1b[0m"
                mark = mark if mark == " " else f"\x1b[2m{mark}\x1b[0m"
            follows = text[place + 1 : place + 2]
            if follows == " ":
                symbols[place + 1] = mark
            elif follows in ("", "\n") and mark != " ":
                symbols[place] += mark
        return "".join(symbols)


def beside(blocks: Sequence[Sequence[str]], gap: str) -> str:
    """Blocks of lines next to each other; the gap is drawn at half height."""
    height = max(map(len, blocks))
    lines = [""] * height
    for number, block in enumerate(blocks):
        width = max(len(plain(line)) for line in block)
        for i in range(height):
            between = (gap if i == height // 2 else " " * len(gap)) if number else ""
            line = block[i] if i < len(block) else ""
            lines[i] += between + line + " " * (width - len(plain(line)))
    return "\n".join(line.rstrip() for line in lines)


def boards_of(
    core: Core,
    layout: BoardLayout,
    state: State,
    before: State | None = None,
    actions: Sequence[str] = (),
    ended: Tensor | None = None,
) -> list[Board]:
    """One board for each episode of a state.

    Args:
        core: the dynamics.
        layout: of its task.
        state: of B episodes.
        before: the same a step earlier; None if there was no step. A row of an earlier episode counts as none.
        actions: the names of what was done; empty if nothing was.
        ended: bool [B], the rows whose episode has ended here; None for none.
    """
    task, step, inputs = core.task, state.step, state.puzzles.inputs
    over = torch.zeros(len(state), dtype=torch.bool) if ended is None else ended
    before = state if before is None else before
    began = (before.keys != state.keys) | (before.step > step) | ((step == 0) & ~over)
    answer = torch.where(over[:, None], state.submission, state.prediction)
    given, seen = task.is_given(inputs), state.view.invert(state.inputs)
    committed = task.is_given(seen) & (seen == answer)
    touched = (step > 0)[:, None] & ((answer != inputs) | (not layout.is_filled))
    kinds = np.select([given, committed, touched], ["given", "committed", "answer"], "blank")
    changed = (answer != before.prediction) & ~given & ~began[:, None]
    wrong = wrong_cells(task, state.puzzles, answer) & (step > 0)[:, None]
    restarted = (before.restarts < state.restarts) & ~began
    confidence = torch.where(over, state.confidence, state.measured.of("least_confidence")[:, 0])
    return [
        Board(
            task=task,
            layout=layout,
            puzzle=inputs[row],
            answer=answer[row],
            kinds=tuple(kinds[row].tolist()),
            changed=changed[row].numpy(),
            wrong=wrong[row].numpy(),
            step=int(step[row]),
            horizon=core.horizon,
            age=int(state.age[row]),
            passes=int(state.passes[row]),
            restarts=int(state.restarts[row]),
            restarted=bool(restarted[row]),
            action=actions[row] if actions and not began[row] else "",
            confidence=float(confidence[row]) if step[row] else None,
            outcome=_outcome(task, state.select(torch.tensor([row]))) if over[row] else "",
        )
        for row in range(len(state))
    ]


def _outcome(task: Task, state: State) -> Outcome:
    """How the one episode ended."""
    if not task.has_rules and not bool(state.puzzles.labels.any()):
        return "ended"
    return "solved" if bool(task.verify(state.puzzles.inputs, state.submission)) else "not solved"
