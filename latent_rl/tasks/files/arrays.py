"""Folders as the public dataset scripts of TRM, HRM, DIS and nano-trm write them, as tasks."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from latent_rl.errors import PuzzleError
from latent_rl.notes import note
from latent_rl.storage.identifiers import IDENTIFIERS, read_identifiers
from latent_rl.tasks.base import Split, Task
from latent_rl.tasks.files.facts import FACTS, read_facts
from latent_rl.tasks.files.rules import any_keeps, keeping, rules_of
from latent_rl.tasks.files.stored import StoredPuzzles, stored_split
from latent_rl.tasks.labelled import TokenTask


def array_task(folder: Path) -> Task | None:
    """The task of a folder with `train/dataset.json`, `train/all__inputs.npy`, ..., the same in `test` and perhaps in
    `val`; None if it has none of these.

    Raises:
        PuzzleError: with file and reason: what it holds is damaged.
    """
    parts = read_facts(folder)
    if not parts:
        return None
    read = partial(stored_split, folder, parts)
    stored = read("train" if "train" in parts else "test" if "test" in parts else "validation")
    seq_len = stored.inputs.shape[1]
    num_ids = max(facts.num_puzzle_identifiers for facts in parts.values())
    if num_ids == 1:  # puzzles with embeddings of their own have no symmetric views
        for make in rules_of(folder.name, seq_len):
            rules = make(None)
            lowered = stored.vocab_size - rules.vocab_size
            if lowered == 0 and any_keeps(rules, stored):
                keeping(rules, stored)  # so that damage is told at once
                return make(partial(_kept, rules, read))
            # nano-trm has an end token between padding and blank.
            if lowered == 1 and _any_renumbered_keeps(rules, stored):
                note(f"{folder}: its tokens begin at 2, as nano-trm's do; each is read as the one below it.")
                return make(partial(_kept_renumbered, rules, read))
    names = None
    if num_ids > 1 and (folder / IDENTIFIERS).is_file():
        names = read_identifiers(folder / IDENTIFIERS)
        if len(names) != num_ids:
            raise PuzzleError(
                f"{folder / IDENTIFIERS} must name the {num_ids} puzzle ids of {FACTS}; it names {len(names)}."
            )
    asked = num_ids if num_ids > 1 else 0
    return TokenTask(folder.name, stored.vocab_size, seq_len, read, num_puzzle_ids=asked, identifiers=names)


def _any_renumbered_keeps(rules: Task, stored: StoredPuzzles) -> bool:
    with suppress(PuzzleError):  # padding: no board of these rules
        return any_keeps(rules, stored.renumbered(1))
    return False


def _kept(rules: Task, read: Callable[[Split], StoredPuzzles], split: Split) -> StoredPuzzles:
    return keeping(rules, read(split))


def _kept_renumbered(rules: Task, read: Callable[[Split], StoredPuzzles], split: Split) -> StoredPuzzles:
    return keeping(rules, read(split).renumbered(1))
