"""Training curves of stable-baselines3 agents, written into TensorBoard as they come."""

from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.logger import KVWriter, Logger

from latent_rl.storage.event_log import EventLog


class CurveWriter(KVWriter):
    """Writes what an agent records, numbers alone, into an event log.

    SB3's own writer works in a thread, where a full disk ends in a traceback and in silence.

    Args:
        log: where to.
    """

    def __init__(self, log: EventLog) -> None:
        self.log = log

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Append the values that are not excluded from TensorBoard.

        Raises:
            FileError: the disk is full, or the folder is gone.
        """
        kept = {key: value for key, value in key_values.items() if "tensorboard" not in (key_excluded[key] or ())}
        self.log.scalars({key: float(value) for key, value in kept.items() if _is_number(value)}, step)

    def close(self) -> None:
        """Nothing is left to write."""


def curve_logger(folder: Path | None) -> Logger:
    """A logger of SB3 that writes a TensorBoard run into the folder; None logs nothing.

    Raises:
        FileError: the folder can't be made.
    """
    return Logger(None, []) if folder is None else Logger(str(folder), [CurveWriter(EventLog(folder))])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
