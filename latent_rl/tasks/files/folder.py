"""A folder of a user's puzzles as a task: which rules it goes by, and where its puzzles come from."""

import math
import re
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latent_rl.errors import PuzzleError, one_line
from latent_rl.notes import note
from latent_rl.storage.identifiers import IDENTIFIERS, read_identifiers
from latent_rl.tasks.arc.data import arc_sets, load_arc
from latent_rl.tasks.arc.task import Arc
from latent_rl.tasks.base import Split, Splits, Task
from latent_rl.tasks.files.puzzle_io import at_line, read_rows, text_lines
from latent_rl.tasks.files.stored import (
    FACTS,
    VALIDATIONS,
    Facts,
    StoredPuzzles,
    num_validation,
    read_arrays,
    unknown_facts,
)
from latent_rl.tasks.labelled import TokenTask
from latent_rl.tasks.maze.task import Maze
from latent_rl.tasks.nqueens.task import NQueens
from latent_rl.tasks.sudoku.task import Sudoku
from latent_rl.types import Puzzles

_BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3)}
_SAMPLE = 64
"""Puzzles at the beginning of a split whose labels are checked against the rules."""
_NO_TOKEN = 255
_CSV_HEAD = 20
"""Lines of a CSV of which one must be a whole puzzle."""
Rules = Sudoku | Maze | NQueens


@lru_cache(maxsize=8)
def folder_task(folder: Path) -> Task:
    """The task of a folder, or of a file of ARC's tasks.

    It holds `train` and `test` as the public scripts write them (`dataset.json`, `all__inputs.npy`, ...), or
    `train.csv` and `test.csv`, or the same with `.gz`, tables with a column of puzzles and one of their answers: see
    `read_rows`. Validation puzzles are those in `val` or `val.csv`, or are kept back from the training ones. One part
    will do, as long as the others' puzzles are not asked for. Or it holds ARC's tasks; see `arc_sets`.

    Vocabulary and length tell the rules, if the labels keep them: Sudoku, maze or N-Queens. Arrays of anything else
    become a task whose answers are right if they equal the label; see `TokenTask`.

    Raises:
        PuzzleError: with file and reason: the folder holds neither, or what it holds is damaged.
    """
    parts = [name for name in ("train", "test", *VALIDATIONS) if (folder / name / FACTS).is_file()]
    if parts:
        return _of_arrays(folder, parts)
    if csvs := [path for part in ("train", "test", *VALIDATIONS) if (path := _csv(folder, part))]:
        return _of_csvs(folder, csvs[0])
    if arc_sets(folder):
        load_arc(folder)  # so that damage is told at once
        return Arc(folder.stem, folder)
    hint = f" Give the folder above it: {folder.parent}." if (folder / FACTS).is_file() else ""
    if any(folder.glob("*.csv")):
        hint = " Name your tables so; or give one by --puzzles to evaluate, by --file to solve."
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:6])
    raise PuzzleError(
        f"a folder of puzzles must hold train/{FACTS} and test/{FACTS} with their arrays, as the public scripts write"
        " them, or train.csv and test.csv, or training/*.json and evaluation/*.json of ARC;"
        f" {folder} holds {found or 'nothing'}.{hint}"
    )


def rules_of(name: str, seq_len: int) -> list[Callable[[Splits | None], Rules]]:
    """The rules that boards of L cells may go by: each makes a task from where its puzzles come from."""
    side = math.isqrt(seq_len)
    rules: list[Callable[[Splits | None], Rules]] = []
    if side**2 == seq_len:
        if side in _BOXES:
            rules.append(lambda splits: Sudoku(name, *_BOXES[side], (0, seq_len), splits))
        rules.extend(partial(_of_size, kind, name, side) for kind in (Maze, NQueens) if side in kind.sizes)
    return rules


def _of_size(kind: type[Maze] | type[NQueens], name: str, side: int, splits: Splits | None) -> Rules:
    return kind(name, side, splits=splits)


def _of_arrays(folder: Path, parts: list[str]) -> Task:
    known: Split = "train" if "train" in parts else "test" if "test" in parts else "validation"
    facts, stored = read_arrays(folder, known)
    num_ids = max(Facts.read(folder / part / FACTS).num_puzzle_identifiers for part in parts)
    if unknown := sorted({key for part in parts for key in unknown_facts(folder / part / FACTS)}):
        note(f"{folder}: not used of {FACTS}: {one_line(', '.join(unknown), 200)}.")
    # Puzzles with embeddings of their own have no symmetric views.
    for make in rules_of(folder.name, facts.seq_len) if num_ids == 1 else ():
        rules = make(None)
        lowered = facts.vocab_size - rules.vocab_size
        if lowered == 0 and _any_keeps(rules, stored):
            return make(partial(_checked_arrays, folder, rules, lowered))
        # nano-trm has an end token between padding and blank.
        if lowered == 1 and _any_keeps(rules, stored.renumbered(lowered)):
            note(f"{folder}: its tokens begin at 2, as nano-trm's do; each is read as the one below it.")
            return make(partial(_checked_arrays, folder, rules, lowered))
    return TokenTask(
        folder.name,
        facts.vocab_size,
        facts.seq_len,
        partial(_arrays, folder),
        num_puzzle_ids=num_ids if num_ids > 1 else 0,
        identifiers=_identifiers(folder, num_ids),
    )


def _any_keeps(rules: Rules, stored: StoredPuzzles) -> bool:
    """Whether labels keep the rules: one will do, as one that does not is damage."""
    if stored.lowered:
        with suppress(PuzzleError):  # padding: no board of these rules
            sample = _sample(stored)
            return bool(rules.verify(sample.inputs, sample.labels).any())
        return False
    sample = _sample(stored)
    if not bool(rules.verify(sample.inputs, sample.labels).any()):
        return False
    _check(rules, stored)
    return True


def _identifiers(folder: Path, num_ids: int) -> list[str] | None:
    """What the puzzle ids mean; None if they have no file."""
    if num_ids == 1 or not (folder / IDENTIFIERS).is_file():
        return None
    names = read_identifiers(folder / IDENTIFIERS)
    if len(names) != num_ids:
        raise PuzzleError(
            f"{folder / IDENTIFIERS} must name the {num_ids} puzzle ids of {FACTS}; it names {len(names)}."
        )
    return names


def _arrays(folder: Path, split: Split) -> StoredPuzzles:
    return read_arrays(folder, split)[1]


def _checked_arrays(folder: Path, rules: Task, lowered: int, split: Split) -> StoredPuzzles:
    _, stored = read_arrays(folder, split)
    return _check(rules, stored.renumbered(lowered) if lowered else stored)


def _sample(stored: StoredPuzzles) -> Puzzles:
    return stored[:_SAMPLE]


def _check(rules: Task, stored: StoredPuzzles) -> StoredPuzzles:
    """The puzzles, if the first labels keep the rules."""
    sample = _sample(stored)
    broken = (~rules.verify(sample.inputs, sample.labels)).nonzero().flatten().tolist()
    if broken:
        raise PuzzleError(f"{stored.source} must hold labels that solve their inputs; those of row {broken[0]} do not.")
    return stored


def _csv(folder: Path, part: str) -> Path | None:
    """The table of a part, compressed or not."""
    return next((path for end in ("csv", "csv.gz") if (path := folder / f"{part}.{end}").is_file()), None)


def _of_csvs(folder: Path, known: Path) -> Task:
    head = [line for _, line in islice(text_lines(known), _CSV_HEAD)]
    lengths = {len(field): None for line in head for field in re.split(r'[,;\t|"]', line)}
    for make in (make for length in lengths for make in rules_of(folder.name, length)):
        rules = make(None)
        with suppress(PuzzleError):
            row = next(read_rows(known, rules).rows)
            if bool(rules.verify(*(rules.read_grid(board or "")[None] for board in (row.question, row.answer)))):
                return make(partial(_read_csv, folder, rules))
    raise PuzzleError(
        f"{known} must hold questions and answers of Sudoku, mazes or N-Queens, a symbol for each cell; it begins with"
        f" {' / '.join(head)[:80]!r}."
    )


def _read_csv(folder: Path, rules: Rules, split: Split) -> StoredPuzzles:
    """The puzzles of a split. Rows that are held out for validation are drawn: files are often sorted by source."""
    validation = next((path for name in VALIDATIONS if (path := _csv(folder, name))), None)
    part = "test" if split == "test" else "train"
    path = validation if split == "validation" and validation else _csv(folder, part)
    if path is None:
        raise PuzzleError(f"{folder} must have {part}.csv to give {split} puzzles; it has not.")
    stored = _read_rows(path, rules)
    if split == "test" or validation:
        return stored
    order = torch.randperm(len(stored), generator=torch.Generator().manual_seed(0))
    num_held_out = num_validation(len(stored), path)
    rows = order[:num_held_out] if split == "validation" else order[num_held_out:]
    return stored.part(rows)


@lru_cache(maxsize=2)
def _read_rows(path: Path, rules: Rules) -> StoredPuzzles:
    numbers, questions, answers = [], [], []
    for row in read_rows(path, rules).rows:
        if row.error:
            with at_line(path, row.line):
                raise PuzzleError(row.error)
        numbers.append(row.line)
        questions.append(row.question)
        answers.append(row.answer or "")
    inputs, labels = (_encode(path, numbers, column, rules) for column in (questions, answers))
    stored = StoredPuzzles(inputs, labels, vocab_size=rules.vocab_size, least_label=1, source=str(path))
    _check(rules, stored)
    return stored


def _encode(path: Path, numbers: list[int], lines: list[str], rules: Task) -> Tensor:
    """Tokens of many boards, uint8 [N, L], as `read_grid` reads each."""
    table = np.full(256, _NO_TOKEN, dtype=np.uint8)
    for code in range(32, 127):
        with suppress(PuzzleError):
            table[code] = rules.read_grid(chr(code) * rules.seq_len)[0]
    tokens = np.full((len(lines), rules.seq_len), _NO_TOKEN, dtype=np.uint8)
    whole = np.array([len(line) == rules.seq_len and line.isascii() for line in lines])
    text = "".join(line for line, fits in zip(lines, whole, strict=True) if fits)
    tokens[whole] = table[np.frombuffer(text.encode(), dtype=np.uint8)].reshape(-1, rules.seq_len)
    for row in np.flatnonzero((tokens == _NO_TOKEN).any(1)):
        with at_line(path, numbers[row]):  # which says why, or reads it
            tokens[row] = rules.read_grid(lines[row]).numpy()
    return torch.from_numpy(tokens)
