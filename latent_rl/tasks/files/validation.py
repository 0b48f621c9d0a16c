"""Which puzzles of a user's folder are for validation."""

from pathlib import Path

from latent_rl.errors import PuzzleError

VALIDATIONS = ("val", "valid", "validation")
"""What a folder, or a table, of validation puzzles may be called."""
VALIDATION_SHARE, MAX_VALIDATION = 10, 1000
"""Without one, one of so many groups of the training puzzles is kept for validation, at most so many."""


def num_validation(num_groups: int, place: Path) -> int:
    """How many groups are kept for validation.

    Raises:
        PuzzleError: there are too few to have both.
    """
    if num_groups < 2:
        raise PuzzleError(f"{place} must hold at least 2 different puzzles, for training and validation; got 1.")
    return min(max(1, num_groups // VALIDATION_SHARE), MAX_VALIDATION)
