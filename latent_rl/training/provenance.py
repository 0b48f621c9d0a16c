"""Where a run comes from: its config, the versions of what it stands on, the commit of this code."""

import dataclasses
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from latent_rl.training.config import TrainConfig


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
