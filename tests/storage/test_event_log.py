"""What TensorBoard reads of an event log."""

from pathlib import Path

import pytest
from helpers import logged

from latent_rl.errors import FileError
from latent_rl.storage.event_log import EventLog


def test_what_a_cut_run_did_twice_counts_once(tmp_path: Path) -> None:
    first = EventLog(tmp_path / "tensorboard", 1)
    for step in (1, 2, 3):
        first.scalars({"loss": 0.5 / step, "other": 1}, step)
    EventLog(tmp_path / "tensorboard", 3).scalars({"loss": float("nan")}, 4)
    found = logged(tmp_path, "loss")
    assert found.keys() == {1, 2, 4}
    assert (found[1], found[2]) == (0.5, 0.25)


def test_what_can_not_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="could not be made"):
        EventLog(tmp_path / "file" / "tensorboard")
    log = EventLog(tmp_path / "tensorboard")
    for path in (tmp_path / "tensorboard").iterdir():
        path.unlink()
    (tmp_path / "tensorboard").rmdir()
    with pytest.raises(FileError, match="could not be written: No such file or directory"):
        log.scalars({"loss": 1.0}, 1)
