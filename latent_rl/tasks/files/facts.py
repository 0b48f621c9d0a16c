"""What `dataset.json` says, in the folders of the public dataset scripts."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

from latent_rl.config import SIZE, Range, check_fields, from_dict
from latent_rl.errors import InvalidValueError, LatentRLError, PuzzleError, one_line
from latent_rl.notes import note
from latent_rl.storage.atomic import read_json
from latent_rl.tasks.files.validation import VALIDATIONS

FACTS = "dataset.json"
_UNUSED = {
    "blank_identifier_id", "total_puzzles", "mean_puzzle_examples",
    "num_puzzles", "grid_size", "max_grid_size", "min_givens", "max_givens", "num_groups", "num_augmentations",
    "mean_puzzles_per_group", "mixed_size", "grid_sizes", "grid_size_counts",
}  # fmt: skip
"""Further keys of `dataset.json`: of the public TRM and HRM code, and of nano-trm."""


@dataclass(frozen=True)
class Facts:
    """What is used of a public `dataset.json`.

    Attributes:
        vocab_size: V.
        seq_len: L.
        sets: name of the one set, with which the names of the arrays' files begin.
        ignore_label_id: the token of labels that leaves a cell open; None for none.
        num_puzzle_identifiers: how many embeddings the puzzles ask for; 1 if they share one.
        pad_id: the token of padding.
        total_groups: how many groups there are; None if there is no telling, and each row is one.
    """

    vocab_size: Annotated[int, Range(1, 2**20)]
    seq_len: Annotated[int, SIZE]
    sets: list[str] = field(default_factory=lambda: ["all"])
    ignore_label_id: int | None = -100
    num_puzzle_identifiers: Annotated[int, Range(1, 10**8)] = 1
    pad_id: int = 0
    total_groups: int | None = None

    def __post_init__(self) -> None:
        """Check what the reader relies on.

        Raises:
            InvalidValueError: a value is out of range, or there are several sets.
        """
        check_fields(self)
        if self.pad_id != 0 or (self.ignore_label_id or 0) > 0:
            raise InvalidValueError(
                "pad_id must be 0 and ignore_label_id null, 0 or negative;"
                f" got {self.pad_id} and {self.ignore_label_id}. Renumber the tokens."
            )
        if not isinstance(self.sets, list) or len(self.sets) != 1 or not isinstance(self.sets[0], str):
            shown = one_line(repr(self.sets), 80)
            raise InvalidValueError(f"sets must name one set; got {shown}. Make a folder of each set.")


_USED = {each.name for each in fields(Facts)}


def read_facts(folder: Path) -> dict[str, Facts]:
    """Read and check the file of each part of a folder; keys that no known public script writes are noted.

    Returns:
        The facts by the part's name, as "train"; nothing if no part has the file.

    Raises:
        PuzzleError: one is unreadable, or not what the public scripts write.
    """
    parts, unknown = {}, set()
    for name in ("train", "test", *VALIDATIONS):
        path = folder / name / FACTS
        if path.is_file():
            try:
                content = read_json(path)
                parts[name] = from_dict(Facts, {key: value for key, value in content.items() if key in _USED})
            except LatentRLError as error:
                raise PuzzleError(f"{path} must be the one that a public dataset script wrote: {error}") from error
            unknown |= content.keys() - _USED - _UNUSED
    if unknown:
        note(f"{folder}: not used of {FACTS}: {one_line(', '.join(sorted(unknown)), 200)}.")
    return parts
