"""Take actions in some environments, and put the pictures of their boards side by side into one file."""

import sys
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
import tyro
from PIL import Image

from latent_rl.agents.policy import action_index
from latent_rl.errors import LatentRLError


@dataclass(frozen=True, kw_only=True)
class Args:
    """Pictures of boards."""

    play: tuple[str, ...] = (
        "LatentReasoning/Sudoku9x9Hard-v0:refine,refine,restart_view",
        "LatentReasoning/NQueens8-v0:refine,commit_forced,refine",
        "LatentReasoning/Maze10-v0:refine,refine",
    )
    """Environments, each with the names of the actions to take before the picture."""
    seed: int = 0
    """Chooses the puzzles."""
    out: Path = Path("runs/boards.png")
    """The file."""


def picture(env_id: str, actions: list[str], seed: int) -> np.ndarray:
    """The board after the actions, uint8 [H, W, 3]."""
    env = gym.make(env_id, render_mode="rgb_array")
    mode = env.unwrapped.core.mode  # type: ignore[attr-defined]
    env.reset(seed=seed)
    for name in actions:
        env.step(action_index(mode, name))
    return np.asarray(env.render())


def main(args: Args) -> int:
    """Draw; 0 if it went well, 2 after a user's mistake."""
    try:
        pictures = []
        for played in args.play:
            env_id, _, names = played.partition(":")
            pictures.append(picture(env_id, names.split(",") if names else [], args.seed))
    except (LatentRLError, gym.error.Error) as error:
        print(f"pictures: {error}", file=sys.stderr)
        return 2
    height = max(len(pixels) for pixels in pictures)
    padded = [np.pad(p, ((0, height - len(p)), (0, 0), (0, 0)), constant_values=255) for p in pictures]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(padded, axis=1)).quantize(128).save(args.out, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Args, description=__doc__)))
