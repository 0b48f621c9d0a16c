"""What TensorBoard shows, written as it comes.

TensorBoard's own writer works in a thread, where a full disk or a deleted folder ends in a traceback and in silence.
"""

import io
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from latent_rl.errors import FileError


class EventLog:
    """A new event file in a folder, which is made if need be.

    Args:
        folder: of a TensorBoard run; files that are there stay.
        first_step: what they say of this step and later ones is void, as a run that was cut does those again. Default:
            nothing is.
        suffix: of the file's name, to tell it from others of the run.

    Raises:
        FileError: it can't be written.
    """

    def __init__(self, folder: Path, first_step: int | None = None, suffix: str = "") -> None:
        # Named as TensorBoard orders them: by time.
        name = f"events.out.tfevents.{time.time_ns():020d}.{socket.gethostname()}.{os.getpid()}{suffix}"
        self._path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"{folder} could not be made: {error.strerror}.") from error
        begin = [Event(step=first_step, session_log=SessionLog(status=SessionLog.START))] if first_step else []
        self._append(Event(file_version="brain.Event:2"), *begin)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Append one value for each tag.

        Raises:
            FileError: the disk is full, or the folder is gone.
        """
        self.add(Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]), step)

    def add(self, summary: Summary, step: int = 0) -> None:
        """Append what functions of `torch.utils.tensorboard.summary` make, such as an image.

        Raises:
            FileError: as in `scalars`.
        """
        self._append(Event(step=step, summary=summary))

    def _append(self, *events: Event) -> None:
        records = io.BytesIO()
        for event in events:
            event.wall_time = time.time()
            RecordWriter(records).write(event.SerializeToString())
        try:
            with self._path.open("ab") as file:
                file.write(records.getvalue())
        except OSError as error:
            raise FileError(f"{self._path} could not be written: {error.strerror}.") from error
