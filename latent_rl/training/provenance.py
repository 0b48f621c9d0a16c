"""Where a run comes from: its config, the versions of what it stands on, the commit of this code, recorded paths."""

import dataclasses
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from latent_rl.training.config import TrainConfig
from latent_rl.training.targets import monotonicity
from latent_rl.training.trajectories import RecordedPuzzles
from latent_rl.types import PuzzleSource


def provenance(config: TrainConfig) -> dict[str, Any]:
    """What a run folder records besides the architecture: config, versions, git revision."""
    return {
        "train": dataclasses.asdict(config),
        "versions": {name: version(name) for name in ("torch", "numpy")},
        "revision": revision(),
    }


def revision() -> str | None:
    """The commit that this code is checked out from; None without git, or outside a repository."""
    try:
        git = subprocess.run(
            ["git", "rev-parse", "--verify", "HEAD"], cwd=Path(__file__).parent, capture_output=True, timeout=10,
            check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    found = git.stdout.decode(errors="replace").strip()
    return found if re.fullmatch("[0-9a-f]{40,64}", found) else None


def path_facts(base: PuzzleSource) -> dict[str, Any]:
    """How monotone the recorded paths of the puzzles are; nothing without paths."""
    if not isinstance(base, RecordedPuzzles):
        return {}
    return {"paths": monotonicity(base.path.transpose(0, 1), base.labels).summary()}


def paths_line(facts: dict[str, Any]) -> str | None:
    """The same in words; None without paths."""
    if "paths" not in facts:
        return None
    summary = facts["paths"]
    return (
        f"{summary['num_paths']} recorded paths, {summary['monotone_share']:.1%} of them monotone; a path moves"
        f" away from the answer by {summary['mean_backward']:.2f} cells on average."
    )
