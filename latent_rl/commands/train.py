"""`latent-rl train`: which network, from which start, trained how."""

import argparse
from dataclasses import asdict, dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, final, get_args, get_type_hints

import torch
import tyro

from latent_rl.config import DERIVED, SIZE, Range, check_fields, one_of
from latent_rl.errors import InvalidValueError, lookup
from latent_rl.fit import fitted
from latent_rl.reasoners.base import ReasonerModule
from latent_rl.reasoners.cells import CellConfig
from latent_rl.reasoners.checkpoint import ARCHITECTURES, load_reasoner, make_reasoner
from latent_rl.reasoners.engine import chosen_device
from latent_rl.reasoners.feedforward import MATCHES, FeedForwardConfig
from latent_rl.reasoners.network import NetworkConfig, RecursionConfig
from latent_rl.reasoners.trm import TRMConfig
from latent_rl.storage.stops import resumable
from latent_rl.tasks.base import Task
from latent_rl.tasks.files.overlap import note_repeated
from latent_rl.tasks.registry import make_task
from latent_rl.training import parallel
from latent_rl.training.memory import check_weights
from latent_rl.training.trainer import TrainConfig, train


@final
@dataclass(frozen=True, kw_only=True)
class Counterpart(RecursionConfig, CellConfig):
    """The TRM that a network without recursion is compared with, as far as that matters to it."""

    match: Literal["depth", "parameters"] = "depth"
    """What the network has in common with the trm that the options describe: its depth over all steps, or its number of
    weights."""

    def matched(self) -> FeedForwardConfig:
        """The network without recursion."""
        shape = {name: value for name, value in asdict(self).items() if name != "match"}
        return MATCHES[self.match](TRMConfig(**shape))


OPTIONS: dict[str, type[Any]] = {name: config for name, (_, config) in ARCHITECTURES.items()}
OPTIONS["feedforward"] = Counterpart
"""What the command line asks for of each architecture: the fields of its config that are not derived."""


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
    architecture: Annotated[str, one_of(OPTIONS)] = "trm"
    """The network: "trm" (one that recurses), "hrm" (two, one for the latent and one for the answer), "feedforward"
    (one pass without recursion, to compare with a trm), "symbols" (a trm's recursion over candidates, for tasks that
    are given by units of cells), "grid" (the same over open cells, for mazes) or "colours" (over cells and colours, all
    colours alike, for ARC). Some options depend on it: --architecture hrm --help."""
    network: NetworkConfig
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
        reasoner = self.new_reasoner(task, device)
        if self.compile:
            reasoner.compile()
        out = self.out or Path("runs") / task.name
        with parallel.workers(), resumable(f"{out} keeps all batches up to its last save", "--resume"):
            if parallel.rank() == 0:
                note_repeated(task)
            train(self.train, reasoner, out, resume=self.resume)
            if parallel.rank() == 0:
                print(f"reasoner saved in {out}; try: latent-rl evaluate --task {self.train.task} --reasoner {out}")

    def new_reasoner(self, task: Task, device: torch.device) -> ReasonerModule:
        """The network that was asked for, with random weights or those of `init`.

        Raises:
            InvalidValueError: its options contradict each other, the task or `init`.
        """
        config = self.config_for(task)
        check_weights(config, device)
        torch.manual_seed(self.train.seed)
        reasoner = make_reasoner(config)
        if self.init is not None:
            start = fitted(load_reasoner(self.init), task)
            if not isinstance(start, ReasonerModule) or start.config != config:
                raise InvalidValueError(f"--init must have the shape asked for, {config}; got another.")
            reasoner.load_state_dict(start.state_dict())
        return reasoner.to(device)

    def config_for(self, task: Task) -> NetworkConfig:
        """What was asked for, with what follows from the task and the training.

        Raises:
            InvalidValueError: options contradict each other or the task.
        """
        network = self.network
        if isinstance(network, CellConfig) and network.mixer != "attention" and has_changed(network, "num_heads"):
            raise InvalidValueError("--num-heads has no meaning without --mixer attention. Leave it out.")
        known = {each.name for each in fields(network)}
        if self.train.continue_target and "continue_head" not in known:
            raise InvalidValueError("--continue-target needs a network that recurses: --architecture trm or hrm.")
        derived: dict[str, Any] = {**vars(task.shape), **self.puzzle_shape(task)}
        derived["units"] = derived["units"] or {}
        derived["continue_head"] = self.train.continue_target
        network = replace(network, **{name: value for name, value in derived.items() if name in known})
        return network.matched() if isinstance(network, Counterpart) else network

    def puzzle_shape(self, task: Task) -> dict[str, int]:
        """The shape of the puzzle embeddings; all 0 if there are none.

        Raises:
            InvalidValueError: they were asked for, and the puzzles have no ids.
        """
        count, positions = task.num_puzzle_ids, self.num_puzzle_positions
        if count == 0 and (positions or self.puzzle_width):
            raise InvalidValueError(
                f"--num-puzzle-positions and --puzzle-width need puzzles with ids; those of {task.name} have none."
                " Leave them out."
            )
        if count == 0 or positions == 0:
            return {"num_puzzle_ids": 0, "num_puzzle_positions": 0, "puzzle_width": 0}
        width = self.puzzle_width or self.network.width
        return {"num_puzzle_ids": count, "num_puzzle_positions": positions or 1, "puzzle_width": width}


def train_command(arguments: list[str]) -> type[Train]:
    """The command with the options of the architecture that the arguments name.

    Raises:
        UnknownNameError: there is no such architecture.
        InvalidValueError: an argument is an option of other architectures alone.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--architecture", nargs="?", default="trm", const="trm")
    name = parser.parse_known_args(arguments)[0].architecture
    options = lookup("architecture", name, OPTIONS)
    given = {argument.partition("=")[0].replace("_", "-") for argument in arguments}
    for flag in sorted(given):
        owners = [other for other, theirs in OPTIONS.items() if flag in flags(theirs)]
        if owners and name not in owners:
            raise InvalidValueError(
                f"{flag} has no meaning with --architecture {name}; it is an option of {', '.join(owners)}. Leave it"
                " out."
            )
    # The task, which is not known yet, has its own V and L; see `Train.config_for`.
    network = ("network", Annotated[options, tyro.conf.arg(name="")], field(default=options(vocab_size=1, seq_len=1)))
    return make_dataclass(
        "Train", [network], bases=(Train,), namespace={"__doc__": Train.__doc__}, frozen=True, kw_only=True
    )


def flags(options: type[Any]) -> set[str]:
    """How the fields that are not derived are typed on the command line."""
    hints = get_type_hints(options, include_extras=True)
    names = [each.name.replace("_", "-") for each in fields(options) if DERIVED not in get_args(hints[each.name])]
    return {f"--{prefix}{name}" for name in names for prefix in ("", "no-")}


def has_changed(config: Any, name: str) -> bool:
    """Whether a field has another value than its default."""
    return getattr(config, name) != next(each.default for each in fields(config) if each.name == name)
