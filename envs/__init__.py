"""Latent recursion as environments; importing this registers them with Gymnasium.

``gym.make("latent_rl.envs:LatentReasoning-v0")`` imports it first.
"""

if __name__ != "latent_rl.envs":
    raise ImportError(f"import this package as latent_rl.envs, not as {__name__}: no module may load twice.")

import multiprocessing
from typing import Any

import gymnasium as gym

from latent_rl.envs.actions import ACTIONS, Action
from latent_rl.envs.config import EnvConfig
from latent_rl.envs.core import Core
from latent_rl.envs.observations import FEATURES, Feature
from latent_rl.envs.single import LatentReasoningEnv
from latent_rl.envs.vector import LatentReasoningVectorEnv

__all__ = [
    "ACTIONS",
    "FEATURES",
    "IDS",
    "Action",
    "Core",
    "EnvConfig",
    "Feature",
    "LatentReasoningEnv",
    "LatentReasoningVectorEnv",
    "register",
]

IDS: dict[str, str] = {
    "LatentReasoning-v0": str(EnvConfig.task),
    "LatentReasoning/Sudoku4x4-v0": "sudoku4x4",
    "LatentReasoning/Sudoku6x6-v0": "sudoku6x6",
    "LatentReasoning/Sudoku9x9-v0": "sudoku9x9",
    "LatentReasoning/Sudoku9x9Hard-v0": "sudoku9x9-hard",
    "LatentReasoning/Sudoku9x9Minimal-v0": "sudoku9x9-minimal",
    "LatentReasoning/Sudoku9x9Extreme-v0": "sudoku9x9-extreme",
    "LatentReasoning/Sudoku16x16-v0": "sudoku16x16",
    "LatentReasoning/NQueens8-v0": "nqueens8",
    "LatentReasoning/NQueens8Classes-v0": "nqueens8-classes",
    "LatentReasoning/Latin5-v0": "latin5",
    "LatentReasoning/Latin7-v0": "latin7",
    "LatentReasoning/Latin9-v0": "latin9",
    "LatentReasoning/Latin12-v0": "latin12",
    "LatentReasoning/Colouring3-v0": "colouring3",
    "LatentReasoning/Colouring3Open-v0": "colouring3-open",
    "LatentReasoning/Colouring4-v0": "colouring4",
    "LatentReasoning/Maze10-v0": "maze10",
    "LatentReasoning/Maze30-v0": "maze30",
    "LatentReasoning/Maze30Hard-v0": "maze30-hard",
    "LatentReasoning/Maze30Unique-v0": "maze30-unique",
    "LatentReasoning/Arc1Small-v0": "arc1-small",
    "LatentReasoning/Arc1-v0": "arc1",
    "LatentReasoning/Arc2-v0": "arc2",
}
"""The registered ids and their tasks, whose environments `EnvConfig.for_task` describes. Every argument of `Core` can
be given to `gym.make` too; "LatentReasoning-v0" is for any task."""


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


for _name, _task in IDS.items():
    if _name not in gym.registry:
        register(_name, task=_task)
if "forkserver" in multiprocessing.get_all_start_methods():
    # The workers of SB3's SubprocVecEnv get ids, not classes: in a notebook they would not know ours.
    multiprocessing.set_forkserver_preload(["__main__", "latent_rl.envs"])
