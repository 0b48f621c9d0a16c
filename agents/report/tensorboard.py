"""A comparison in TensorBoard: the same tags for every agent, a table of final numbers, an overview."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latent_rl.agents.report.replay import Frame
from latent_rl.agents.report.rows import ReportRow
from latent_rl.agents.report.tables import report_markdown
from latent_rl.envs.rendering.pictures import picture
from latent_rl.figures import pixels
from latent_rl.storage.event_log import EventLog

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_EVALUATION = ".evaluation"
_CHARTS = (
    ("solved rate", "solved_rate", "solved_rate"),
    ("forward passes", "mean_passes", "mean_passes"),
    ("return", "mean_return", "ep_rew_mean"),
)
"""Title, tag of the evaluation and of training."""


def log_evaluation(folder: Path, row: ReportRow, trained: int, longest: int) -> None:
    """Write one agent's evaluation into its TensorBoard run, with a line of the HParams table.

    Args:
        folder: the run.
        row: of the report.
        trained: environment steps of its training, where its values are drawn; 0 for none.
        longest: of the trainings that it is compared with: what does not train is a line up to there.

    Raises:
        FileError: it can't be written.
    """
    from torch.utils.tensorboard.summary import hparams

    metrics = {
        "eval/solved_rate": row.solved_rate,
        "eval/mean_passes": row.mean_passes,
        "eval/mean_steps": row.mean_steps,
        "eval/mean_return": row.mean_return,
    }
    for earlier in folder.glob(f"*{_EVALUATION}"):  # of a run that was cut here
        earlier.unlink()
    log = EventLog(folder, suffix=_EVALUATION)
    for step in [trained] if trained else [0, longest]:
        log.scalars(metrics, step)
    columns = {"agent": row.agent, "seed": row.seed, "training steps": trained}
    for summary in hparams(columns, metrics):
        log.add(summary)


def log_overview(
    folder: Path, title: str, rows: Sequence[ReportRow], figure: "Figure", episode: Sequence[Frame]
) -> None:
    """Write the overview run: a layout that puts the agents side by side, the figure, the table, the boards.

    Args:
        folder: the run; an earlier report's is removed.
        title: of the comparison.
        rows: one for each agent.
        figure: see `figure.draw`.
        episode: one puzzle being solved.

    Raises:
        FileError: it can't be written.
    """
    from torch.utils.tensorboard import summary

    shutil.rmtree(folder, ignore_errors=True)
    log = EventLog(folder)
    charts = {name: ["Multiline", [f"eval/{tag}", f"rollout/{curve}"]] for name, tag, curve in _CHARTS}
    log.add(summary.custom_scalars({"held-out puzzles (lines and dots) and training (curves)": charts}))
    log.add(summary.image("solved rate against passes", pixels(figure), dataformats="HWC"))
    log.add(summary.text("comparison", f"# {title}\n\n{report_markdown(rows)}"))
    for frame in episode[:-1]:
        log.add(summary.image("a puzzle being solved", picture(frame.board), dataformats="HWC"), frame.board.step)
