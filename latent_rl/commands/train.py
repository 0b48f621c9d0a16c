"""`latent-rl train`: which network, from which start, trained how."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from latent_rl.config import DEPTH, SIZE, Range, check_fields
from latent_rl.errors import InvalidValueError
from latent_rl.reasoners.base import ReasonerModule, Resizable
from latent_rl.reasoners.cells import LAYERS, CellConfig
from latent_rl.reasoners.checkpoint import ARCHITECTURES, load_reasoner, make_reasoner
from latent_rl.reasoners.engine import chosen_device
from latent_rl.reasoners.feedforward import MATCHES
from latent_rl.reasoners.trm import TRMConfig
from latent_rl.storage.stops import resumable
from latent_rl.tasks.base import Task
from latent_rl.tasks.files.overlap import note_repeated
from latent_rl.tasks.registry import make_task
from latent_rl.training import parallel
from latent_rl.training.memory import check_weights
from latent_rl.training.trainer import TrainConfig, train

SHAPE = (
    "width", "num_layers", "num_answer_layers", "mixer", "num_heads", "num_cycles", "num_latent_updates",
    "num_supervision_steps", "step_index", "feedback",
)  # fmt: skip
"""Options of `Train` that describe the network, under the names of the config's fields."""
MEANINGLESS = {
    "trm": ("match", "num_answer_layers"),
    "hrm": ("match", "step_index"),
    "feedforward": ("num_answer_layers", "step_index", "feedback"),
}
"""Options of `Train` that an architecture has no use for."""


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a reasoner.

    torchrun --nproc_per_node 2 -m latent_rl train ... shares every batch among processes; the result is that of one.
    """

    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    out: Path | None = None
    """The run's folder; default runs/<task>."""
    resume: bool = False
    """Go on from the last save in --out."""
    compile: bool = False
    """Compile the recursion: faster steps after up to a minute."""
    device: str | None = None
    """Such as cpu or cuda:1; default: a GPU if there is one (under torchrun each worker takes its own)."""
    threads: Annotated[int, Range(1, 1024)] | None = None
    """CPU threads; default: all."""
    init: str | None = None
    """Start from the weights of this reasoner (a name or a folder) instead of random ones."""
    architecture: Literal["trm", "hrm", "feedforward"] = "trm"
    """The network: "trm" (one that recurses), "hrm" (two, one for the latent and one for the answer) or "feedforward"
    (one pass without recursion, to compare with the trm that the options below describe)."""
    match: Literal["depth", "parameters"] | None = None
    """With feedforward: what it has in common with that trm, its depth over all steps or its number of weights.
    Default: depth."""
    width: Annotated[int, SIZE] | None = None
    """Width D of the network; default 128."""
    num_layers: Annotated[int, LAYERS] | None = None
    """Blocks in the network; default 1."""
    num_answer_layers: Annotated[int, LAYERS] | None = None
    """With hrm: blocks in the answer's network; default 1."""
    mixer: Literal["mlp", "attention", "convolution"] | None = None
    """How cells see each other (convolution: the 8 neighbours on a square board); default mlp, with hrm attention."""
    num_heads: Annotated[int, SIZE] | None = None
    """Heads, with attention; default 4."""
    num_cycles: Annotated[int, DEPTH] | None = None
    """T, all but the last without gradient; default 1, with hrm 2."""
    num_latent_updates: Annotated[int, DEPTH] | None = None
    """n; default 2."""
    num_supervision_steps: Annotated[int, DEPTH] | None = None
    """N_sup; default 6, with hrm 16."""
    step_index: Literal["integer", "continuous"] | None = None
    """How the network is told the step: an embedding of its number (default), or time in [0, 1] along one direction."""
    feedback: bool = False
    """Feed the previous prediction back."""
    num_puzzle_positions: Annotated[int, Range(0, 2**16)] | None = None
    """P, positions for the puzzles' embeddings, if they have ids; default 1, 0 for no embeddings."""
    puzzle_width: Annotated[int, SIZE] | None = None
    """Width of an embedding; default the network's."""

    def run(self) -> None:
        """Train, then say where the reasoner is."""
        check_fields(self)
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        task, device = make_task(self.train.task), chosen_device(self.device)
        reasoner = self._new_reasoner(task, device)
        if self.compile:
            reasoner.compile()
        out = self.out or Path("runs") / task.name
        with parallel.workers(), resumable(f"{out} keeps all batches up to its last save", "--resume"):
            if parallel.rank() == 0:
                note_repeated(task)
            train(self.train, reasoner, out, resume=self.resume)
            if parallel.rank() == 0:
                print(f"reasoner saved in {out}; try: latent-rl evaluate --task {self.train.task} --reasoner {out}")

    def _new_reasoner(self, task: Task, device: torch.device) -> ReasonerModule:
        config = self._shape(task)
        check_weights(config, device)
        torch.manual_seed(self.train.seed)
        reasoner = make_reasoner(config)
        if self.init is not None:
            start = load_reasoner(self.init)
            if isinstance(start, Resizable) and start.seq_len != task.seq_len:
                start = start.resized(task.seq_len) or start
            if start.config != config:
                raise InvalidValueError(f"--init must have the shape asked for, {config}; got {start.config}.")
            reasoner.load_state_dict(start.state_dict())
        return reasoner.to(device)

    def _shape(self, task: Task) -> CellConfig:
        """What was asked for; the architecture's own defaults elsewhere."""
        for name in MEANINGLESS[self.architecture]:
            if getattr(self, name):
                raise InvalidValueError(
                    f"--{name.replace('_', '-')} has no meaning with --architecture {self.architecture}. Leave it out."
                )
        if self.num_heads and (self.mixer or ARCHITECTURES[self.architecture][1].mixer) != "attention":
            raise InvalidValueError("--num-heads has no meaning without --mixer attention. Leave it out.")
        if self.train.continue_target and self.architecture == "feedforward":
            raise InvalidValueError("--continue-target needs a network that recurses: --architecture trm or hrm.")
        asked = {name: getattr(self, name) for name in SHAPE}
        shape: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        shape |= self._puzzle_shape(task)
        shape |= {"vocab_size": task.vocab_size, "seq_len": task.seq_len, "continue_head": self.train.continue_target}
        if self.architecture == "feedforward":
            return MATCHES[self.match or "depth"](TRMConfig(**shape))
        _, config_class = ARCHITECTURES[self.architecture]
        return config_class(**shape)

    def _puzzle_shape(self, task: Task) -> dict[str, int]:
        """The shape of the puzzle embeddings; nothing if there are none."""
        count, positions = task.num_puzzle_ids, self.num_puzzle_positions
        if count == 0 and (positions or self.puzzle_width):
            raise InvalidValueError(
                f"--num-puzzle-positions and --puzzle-width need puzzles with ids; those of {task.name} have none."
                " Leave them out."
            )
        if count == 0 or positions == 0:
            return {"num_puzzle_ids": 0, "num_puzzle_positions": 0, "puzzle_width": 0}
        width = self.puzzle_width or self.width or TRMConfig.width
        return {"num_puzzle_ids": count, "num_puzzle_positions": positions or 1, "puzzle_width": width}
