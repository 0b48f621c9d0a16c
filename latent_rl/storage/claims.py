"""One writer at a time: folders and files that a process claims."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latent_rl.errors import FileError, one_line


@contextmanager
def claimed(path: Path, is_file: bool | None = None) -> Iterator[None]:
    """Keep others from writing into a run's folder, or to a results file, as long as this block runs.

    The lock is the kernel's, so a killed process leaves none behind; its file is `.lock` in the folder, or
    `.<name>.lock` beside the file.

    Args:
        path: a folder, made if need be, or a file.
        is_file: which of the two; by default a file if there is one, or if the name has a suffix.

    Raises:
        FileError: another process holds it, or the folder can't be made.
    """
    import filelock

    if is_file is None:
        is_file = path.is_file() or bool(path.suffix)
    lock = path.with_name(f".{path.name}.lock") if is_file else path / ".lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = filelock.FileLock(lock)
        held.acquire(blocking=False)
    except filelock.Timeout as error:
        if not lock.exists():  # filelock takes a place where none can be made, such as /proc, for a held lock
            raise FileError(f"{path} could not be claimed: no file can be made there.") from error
        raise FileError(
            f"{path} must have one writer; another process uses it. Wait, or choose another --out."
        ) from error
    except OSError as error:
        raise FileError(f"{path} could not be claimed: {error.strerror or one_line(error)}.") from error
    try:
        yield
    finally:
        held.release()
