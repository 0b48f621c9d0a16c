"""Folders of a user's tables of puzzles and answers, as tasks."""

import re
from contextlib import suppress
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latent_rl.errors import PuzzleError
from latent_rl.tasks.base import Split, Task
from latent_rl.tasks.files.json_text import as_lines
from latent_rl.tasks.files.reading import read_text
from latent_rl.tasks.files.recognition import NoPuzzleError
from latent_rl.tasks.files.rules import Rules, keeping, rules_of
from latent_rl.tasks.files.stored import StoredPuzzles
from latent_rl.tasks.files.text import at_line, text_lines
from latent_rl.tasks.files.validation import VALIDATIONS, num_validation

_NO_TOKEN = 255
_HEAD = 20
"""Lines of a table of which one must be a whole puzzle."""


def table_task(folder: Path) -> Task | None:
    """The task of a folder with `train.csv` and `test.csv`, perhaps `val.csv`, packed or not; None if it has none.

    Raises:
        PuzzleError: its tables are of no puzzles whose rules are known.
    """
    known = next((path for part in ("train", "test", *VALIDATIONS) if (path := _table(folder, part))), None)
    if known is None:
        return None
    head = list(islice(text_lines(known), _HEAD))
    lengths = {len(field): None for _, line in head for field in re.split(r'[,;\t|"]', line)}
    for make in (make for length in lengths for make in rules_of(folder.name, length)):
        rules = make(None)
        with suppress(PuzzleError):
            row = next(read_text(rules, as_lines(iter(head), rules.seq_len)).rows)
            if bool(rules.verify(*(rules.read_grid(board or "")[None] for board in (row.question, row.answer)))):
                return make(partial(_split, folder, rules))
    raise PuzzleError(
        f"{known} must hold questions and answers of Sudoku, mazes or N-Queens, a symbol for each cell; it begins with"
        f" {' / '.join(line for _, line in head)[:80]!r}."
    )


def _table(folder: Path, part: str) -> Path | None:
    """The table of a part, compressed or not."""
    return next((path for end in ("csv", "csv.gz") if (path := folder / f"{part}.{end}").is_file()), None)


def _split(folder: Path, rules: Rules, split: Split) -> StoredPuzzles:
    """The puzzles of a split. Rows that are held out for validation are drawn: files are often sorted by source."""
    validation = next((path for name in VALIDATIONS if (path := _table(folder, name))), None)
    part = "test" if split == "test" else "train"
    path = validation if split == "validation" and validation else _table(folder, part)
    if path is None:
        raise PuzzleError(f"{folder} must have {part}.csv to give {split} puzzles; it has not.")
    stored = _read_table(path, rules)
    if split == "test" or validation:
        return stored
    order = torch.randperm(len(stored), generator=torch.Generator().manual_seed(0))
    num_held_out = num_validation(len(stored), path)
    rows = order[:num_held_out] if split == "validation" else order[num_held_out:]
    return stored.part(rows)


@lru_cache(maxsize=2)
def _read_table(path: Path, rules: Rules) -> StoredPuzzles:
    try:
        reading = read_text(rules, as_lines(text_lines(path), rules.seq_len))
    except NoPuzzleError as error:
        raise PuzzleError(f"{path} {error}") from error
    numbers, questions, answers = [], [], []
    for row in reading.rows:
        if row.error:
            with at_line(path, row.line):
                raise PuzzleError(row.error)
        numbers.append(row.line)
        questions.append(row.question)
        answers.append(row.answer or "")
    inputs, labels = (_encode(path, numbers, column, rules) for column in (questions, answers))
    stored = StoredPuzzles(inputs, labels, vocab_size=rules.vocab_size, least_label=1, origin=str(path))
    return keeping(rules, stored)


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
