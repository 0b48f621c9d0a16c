"""Array files of the public dataset scripts, memory-mapped."""

import warnings
from pathlib import Path

import numpy as np

from latent_rl.errors import PuzzleError, one_line

ARRAYS = {"inputs": 2, "labels": 2, "puzzle_identifiers": 1, "puzzle_indices": 1, "group_indices": 1}
"""The arrays of a split, and how many axes each has."""


def read_array(place: Path, set_name: str, name: str, default: np.ndarray | None = None) -> np.ndarray:
    """Map an array of whole numbers into memory.

    Args:
        place: the folder of its split.
        set_name: with which its file's name begins, or might.
        name: one of `ARRAYS`.
        default: what to do with where there is no file.

    Raises:
        PuzzleError: the file is missing, truncated or damaged, or holds something else.
    """
    path = place / f"{set_name}__{name}.npy"
    if not path.is_file() and (place / f"{name}.npy").is_file():
        path = place / f"{name}.npy"
    if default is not None and not path.exists():
        return default
    try:
        with path.open("rb") as file:
            if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
                raise ValueError("it is another kind of file")
        with warnings.catch_warnings(), np.errstate(over="raise"):
            warnings.simplefilter("ignore")  # of what Python makes of a damaged header
            # Copy on write: torch wants memory that it may write to; nobody does.
            array = np.load(path, mmap_mode="c")
        if path.stat().st_size != array.offset + array.nbytes:
            raise ValueError("it is longer than its header says")
    except Exception as error:  # A damaged header can make Python's parser raise anything.
        raise PuzzleError(f"{path} must be a whole .npy file of numbers: {one_line(error, 120)}.") from error
    if array.dtype.kind not in "iu" or array.ndim != ARRAYS[name]:
        raise PuzzleError(
            f"{path} must hold whole numbers on {ARRAYS[name]} axes; got {array.dtype} {list(array.shape)}."
        )
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        if array.size and array.max() > np.iinfo(np.int64).max:
            raise PuzzleError(f"{path} must hold whole numbers below 2^63; got {array.max()}.")
        return array.astype(np.int32 if array.dtype.itemsize == 2 else np.int64)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
