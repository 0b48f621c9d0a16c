"""Subcommands of `latent-rl`. Each is a dataclass that tyro reads; heavy imports happen inside."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from latent_rl.errors import InvalidValueError, LatentRLError
from latent_rl.trainer import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a reasoner."""

    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    out: Path | None = None
    """The run's folder; default runs/<task>."""
    resume: bool = False
    """Go on from the last save in --out."""
    compile: bool = False
    """Compile the recursion (faster steps after up to a minute)."""
    threads: int | None = None
    """CPU threads; default: all."""
    width: int = 128
    """Width D of the network."""
    num_layers: int = 1
    """Blocks in the network."""
    mixer: Literal["mlp", "attention"] = "mlp"
    """How cells see each other."""
    num_cycles: int = 1
    """T."""
    num_latent_updates: int = 2
    """n."""
    num_supervision_steps: int = 6
    """N_sup."""
    feedback: bool = False
    """Feed the previous prediction back."""

    def run(self) -> None:
        """Train, then print where the reasoner is."""
        import torch

        from latent_rl.reasoners.trm import TRM, TRMConfig
        from latent_rl.tasks.registry import make_task
        from latent_rl.trainer import train

        if self.threads is not None:
            if self.threads < 1:
                raise InvalidValueError(f"--threads must be at least 1; got {self.threads}.")
            torch.set_num_threads(self.threads)
        task = make_task(self.train.task)
        shape = ("width", "num_layers", "mixer", "num_cycles", "num_latent_updates", "num_supervision_steps", "feedback")
        config = TRMConfig(
            vocab_size=task.vocab_size, seq_len=task.seq_len, **{name: getattr(self, name) for name in shape}
        )
        torch.manual_seed(self.train.seed)
        reasoner = TRM(config)
        if self.compile:
            reasoner.compile(dynamic=False)
        out = self.out or Path("runs") / task.name
        train(self.train, reasoner, out, resume=self.resume)
        print(f"reasoner saved in {out}")


Command = Train


def run(arguments: list[str] | None = None) -> int:
    """Run one command; 0 if it went well, 2 after a user's mistake."""
    command = tyro.cli(Command, prog="latent-rl", description="Latent recursion as a decision process.", args=arguments)
    try:
        command.run()
    except LatentRLError as error:
        print(f"latent-rl: {error}", file=sys.stderr)
        return 2
    return 0
