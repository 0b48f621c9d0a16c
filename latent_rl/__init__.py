"""latent_rl: latent recursion of tiny reasoners as a decision process.

The names below load on first use, so that ``import latent_rl`` costs next to nothing.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from latent_rl.lazy import lazy_names

__version__ = "0.1.0"

# In a checkout `envs/` and `agents/` lie beside this folder; in a wheel they lie inside it.
if __name__ == "latent_rl" and not (Path(__file__).parent / "envs").is_dir():
    __path__.append(str(Path(__file__).parent.parent))

_EXPORTS = {
    "Carry": "latent_rl.types",
    "Puzzles": "latent_rl.types",
    "ReasonerOutput": "latent_rl.types",
    "LatentRLError": "latent_rl.errors",
    "Task": "latent_rl.tasks.base",
    "make_task": "latent_rl.tasks.registry",
    "task_names": "latent_rl.tasks.registry",
    "ReasonerModule": "latent_rl.reasoners.base",
    "load_reasoner": "latent_rl.reasoners.checkpoint",
    "save_reasoner": "latent_rl.reasoners.checkpoint",
    "shipped_reasoners": "latent_rl.reasoners.checkpoint",
    "load_public_checkpoint": "latent_rl.reasoners.public.checkpoints",
    "export_public_checkpoint": "latent_rl.reasoners.public.checkpoints",
    "FeedForward": "latent_rl.reasoners.feedforward",
    "FeedForwardConfig": "latent_rl.reasoners.feedforward",
    "HRM": "latent_rl.reasoners.hrm",
    "HRMConfig": "latent_rl.reasoners.hrm",
    "TRM": "latent_rl.reasoners.trm",
    "TRMConfig": "latent_rl.reasoners.trm",
    "TrainConfig": "latent_rl.training.trainer",
    "train": "latent_rl.training.trainer",
}
__all__ = ["__version__", *_EXPORTS]

if TYPE_CHECKING:  # what type checkers and editors see
    from latent_rl.errors import LatentRLError as LatentRLError
    from latent_rl.reasoners.base import ReasonerModule as ReasonerModule
    from latent_rl.reasoners.checkpoint import load_reasoner as load_reasoner
    from latent_rl.reasoners.checkpoint import save_reasoner as save_reasoner
    from latent_rl.reasoners.checkpoint import shipped_reasoners as shipped_reasoners
    from latent_rl.reasoners.feedforward import FeedForward as FeedForward
    from latent_rl.reasoners.feedforward import FeedForwardConfig as FeedForwardConfig
    from latent_rl.reasoners.hrm import HRM as HRM
    from latent_rl.reasoners.hrm import HRMConfig as HRMConfig
    from latent_rl.reasoners.public.checkpoints import export_public_checkpoint as export_public_checkpoint
    from latent_rl.reasoners.public.checkpoints import load_public_checkpoint as load_public_checkpoint
    from latent_rl.reasoners.trm import TRM as TRM
    from latent_rl.reasoners.trm import TRMConfig as TRMConfig
    from latent_rl.tasks.base import Task as Task
    from latent_rl.tasks.registry import make_task as make_task
    from latent_rl.tasks.registry import task_names as task_names
    from latent_rl.training.trainer import TrainConfig as TrainConfig
    from latent_rl.training.trainer import train as train
    from latent_rl.types import Carry as Carry
    from latent_rl.types import Puzzles as Puzzles
    from latent_rl.types import ReasonerOutput as ReasonerOutput

__getattr__, __dir__ = lazy_names(__name__, _EXPORTS, globals())
