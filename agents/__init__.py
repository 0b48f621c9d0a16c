"""Who decides: standard RL agents and the baselines every learned step policy is compared with."""

if __name__ != "latent_rl.agents":
    raise ImportError(f"import this package as latent_rl.agents, not as {__name__}: no module may load twice.")

from typing import TYPE_CHECKING

from latent_rl.lazy import lazy_names

# They load on first use: stable-baselines3 takes seconds.
_EXPORTS = {
    "AGENTS": "latent_rl.agents.sb3.agents",
    "AgentSpec": "latent_rl.agents.sb3.agents",
    "BASELINES": "latent_rl.agents.baselines",
    "Baseline": "latent_rl.agents.baselines",
    "ImprovementOperator": "latent_rl.agents.operator",
    "ImprovementPolicy": "latent_rl.agents.networks",
    "ImprovementQPolicy": "latent_rl.agents.networks",
    "LatentVecEnv": "latent_rl.agents.sb3.vec_env",
    "LearnedPolicy": "latent_rl.agents.sb3.agents",
    "PolicySearch": "latent_rl.agents.search",
    "RulePolicy": "latent_rl.agents.rules",
    "Solver": "latent_rl.agents.solver",
    "StepPolicy": "latent_rl.agents.policy",
    "evaluate_policy": "latent_rl.agents.evaluate",
    "fixed_steps": "latent_rl.agents.rules",
    "load_agent": "latent_rl.agents.saved",
    "make_agent": "latent_rl.agents.sb3.agents",
    "make_baseline": "latent_rl.agents.baselines",
    "save_agent": "latent_rl.agents.saved",
}
__all__ = list(_EXPORTS)

if TYPE_CHECKING:  # what type checkers and editors see
    from latent_rl.agents.baselines import BASELINES as BASELINES
    from latent_rl.agents.baselines import Baseline as Baseline
    from latent_rl.agents.baselines import make_baseline as make_baseline
    from latent_rl.agents.evaluate import evaluate_policy as evaluate_policy
    from latent_rl.agents.networks import ImprovementPolicy as ImprovementPolicy
    from latent_rl.agents.networks import ImprovementQPolicy as ImprovementQPolicy
    from latent_rl.agents.operator import ImprovementOperator as ImprovementOperator
    from latent_rl.agents.policy import StepPolicy as StepPolicy
    from latent_rl.agents.rules import RulePolicy as RulePolicy
    from latent_rl.agents.rules import fixed_steps as fixed_steps
    from latent_rl.agents.saved import load_agent as load_agent
    from latent_rl.agents.saved import save_agent as save_agent
    from latent_rl.agents.sb3.agents import AGENTS as AGENTS
    from latent_rl.agents.sb3.agents import AgentSpec as AgentSpec
    from latent_rl.agents.sb3.agents import LearnedPolicy as LearnedPolicy
    from latent_rl.agents.sb3.agents import make_agent as make_agent
    from latent_rl.agents.sb3.vec_env import LatentVecEnv as LatentVecEnv
    from latent_rl.agents.search import PolicySearch as PolicySearch
    from latent_rl.agents.solver import Solver as Solver

__getattr__, __dir__ = lazy_names(__name__, _EXPORTS, globals())
