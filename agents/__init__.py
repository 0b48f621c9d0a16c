"""Who decides: standard RL agents and the baselines every learned step policy is compared with."""

if __name__ != "latent_rl.agents":
    raise ImportError(f"import this package as latent_rl.agents, not as {__name__}: no module may load twice.")

import importlib
from typing import TYPE_CHECKING, Any

# They load on first use: stable-baselines3 takes seconds.
_EXPORTS = {
    "AGENTS": "latent_rl.agents.sb3.agents",
    "AgentSpec": "latent_rl.agents.sb3.agents",
    "ImprovementOperator": "latent_rl.agents.operator",
    "ImprovementPolicy": "latent_rl.agents.networks",
    "ImprovementQPolicy": "latent_rl.agents.networks",
    "LatentVecEnv": "latent_rl.agents.sb3.vec_env",
    "LearnedPolicy": "latent_rl.agents.sb3.agents",
    "Solver": "latent_rl.agents.solver",
    "evaluate_policy": "latent_rl.agents.evaluate",
    "load_agent": "latent_rl.agents.saved",
    "make_agent": "latent_rl.agents.sb3.agents",
    "save_agent": "latent_rl.agents.saved",
}
__all__ = list(_EXPORTS)

if TYPE_CHECKING:  # what type checkers and editors see
    from latent_rl.agents.evaluate import evaluate_policy as evaluate_policy
    from latent_rl.agents.networks import ImprovementPolicy as ImprovementPolicy
    from latent_rl.agents.networks import ImprovementQPolicy as ImprovementQPolicy
    from latent_rl.agents.operator import ImprovementOperator as ImprovementOperator
    from latent_rl.agents.saved import load_agent as load_agent
    from latent_rl.agents.saved import save_agent as save_agent
    from latent_rl.agents.sb3.agents import AGENTS as AGENTS
    from latent_rl.agents.sb3.agents import AgentSpec as AgentSpec
    from latent_rl.agents.sb3.agents import LearnedPolicy as LearnedPolicy
    from latent_rl.agents.sb3.agents import make_agent as make_agent
    from latent_rl.agents.sb3.vec_env import LatentVecEnv as LatentVecEnv
    from latent_rl.agents.solver import Solver as Solver


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'latent_rl.agents' has no attribute '{name}'; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
