"""Latent recursion as environments; importing this registers them with Gymnasium.

``gym.make("latent_rl.envs:LatentReasoning-v0")`` imports it first.
"""

if __name__ != "latent_rl.envs":
    raise ImportError(f"import this package as latent_rl.envs, not as {__name__}: no module may load twice.")

from typing import Any

import gymnasium as gym

from latent_rl.envs.actions import ACTIONS, Action
from latent_rl.envs.core import Core
from latent_rl.envs.observations import FEATURES
from latent_rl.envs.single import LatentReasoningEnv
from latent_rl.envs.vector import LatentReasoningVectorEnv

__all__ = ["ACTIONS", "FEATURES", "Action", "Core", "LatentReasoningEnv", "LatentReasoningVectorEnv", "register"]

_QUEENS: dict[str, Any] = {
    "horizon": 32,
    "reward": "constraints",
    "actions": ("halt", "refine", "restart_view", "commit", "commit_forced"),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "LatentReasoning-v0": {"task": "sudoku9x9-hard", "horizon": 128},
    "LatentReasoning/Sudoku4x4-v0": {"task": "sudoku4x4", "horizon": 16},
    "LatentReasoning/Sudoku6x6-v0": {"task": "sudoku6x6", "horizon": 16},
    "LatentReasoning/Sudoku9x9-v0": {"task": "sudoku9x9", "horizon": 16},
    "LatentReasoning/Sudoku9x9Hard-v0": {"task": "sudoku9x9-hard", "horizon": 128},
    "LatentReasoning/Sudoku9x9Minimal-v0": {"task": "sudoku9x9-minimal", "horizon": 128},
    "LatentReasoning/NQueens8-v0": {"task": "nqueens8", **_QUEENS},
    "LatentReasoning/NQueens8Classes-v0": {"task": "nqueens8-classes", **_QUEENS},
    "LatentReasoning/Maze10-v0": {"task": "maze10", "horizon": 32},
    "LatentReasoning/Maze30-v0": {"task": "maze30", "horizon": 128},
    "LatentReasoning/Arc1Small-v0": {"task": "arc1-small", "horizon": 16},
    "LatentReasoning/Arc1-v0": {"task": "arc1", "horizon": 16},
    "LatentReasoning/Arc2-v0": {"task": "arc2", "horizon": 16},
}
"""The registered ids and their arguments; every argument of `Core` can be given to `gym.make` too.

N-Queens is rewarded by constraints: many boards have several completions, and closeness to the one that is the label
would punish the others. Such boards are decided by commits. An ARC puzzle has no
other view: its id names the one it is in, and a restart begins in that again.
"""


def own_arguments(task: str) -> dict[str, Any]:
    """The arguments of `Core` in the task's own environment; for a task without one a horizon of 64."""
    own = next((arguments for arguments in VARIANTS.values() if arguments["task"] == task), {"horizon": 64})
    return {name: value for name, value in own.items() if name != "task"}


def register(env_id: str, **core: Any) -> None:
    """Register an environment with Gymnasium, single and natively batched.

    Args:
        env_id: for `gym.make` and `gym.make_vec`.
        core: default arguments of `Core`.
    """
    gym.register(
        env_id,
        entry_point="latent_rl.envs.single:LatentReasoningEnv",
        vector_entry_point="latent_rl.envs.vector:LatentReasoningVectorEnv",
        kwargs=core,
    )


for _name, _arguments in VARIANTS.items():
    if _name not in gym.registry:
        register(_name, **_arguments)
