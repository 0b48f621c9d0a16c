"""`latent-rl import`: a run of the public code becomes a reasoner."""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from latent_rl.errors import InvalidValueError
from latent_rl.reasoners.checkpoint import (
    CONFIG,
    WEIGHTS,
    save_reasoner,
)
from latent_rl.reasoners.public.checkpoints import load_public_run
from latent_rl.storage.claims import claimed
from latent_rl.storage.identifiers import write_identifiers
from latent_rl.storage.stops import resumable


@dataclass(frozen=True, kw_only=True)
class Import:
    """Convert a run folder of the public TRM, HRM or DIS code (needs the extra "public")."""

    folder: tyro.conf.Positional[Path]
    """The run folder, with all_config.yaml and weights such as step_N; the newest weights are taken."""
    out: Path
    """The folder to write."""
    weights: Path | None = None
    """The weights file, if not the newest: its name in the run folder, or its path."""
    vocab_size: int | None = None
    """V; default: the weights tell."""
    seq_len: int | None = None
    """L, if neither the weights nor a dataset.json tell."""
    dataset: Path | None = None
    """The folder of the dataset that the run was trained on; it also tells what puzzle ids mean."""

    def run(self) -> None:
        """Convert, then say where the reasoner is."""
        with resumable(f"{self.out} holds no reasoner yet"):
            self._refuse_a_reasoner()
            run = load_public_run(self.folder, self.vocab_size, self.seq_len, self.dataset, self.weights)
            with run.weights.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            source = {"weights": run.weights.name, "sha256": digest, "arch": dataclasses.asdict(run.arch)}
            facts: dict[str, Any] = {"imported": source}
            with claimed(self.out, is_file=False):
                self._refuse_a_reasoner()
                if run.identifiers is not None:
                    facts |= write_identifiers(self.out, run.identifiers)
                save_reasoner(run.reasoner, self.out, facts)
        print(
            f"{run.weights.name}: reasoner (V={run.reasoner.vocab_size}, L={run.reasoner.seq_len}) saved in {self.out};"
            f" try: latent-rl evaluate --reasoner {self.out} --task ..."
        )

    def _refuse_a_reasoner(self) -> None:
        """One that is whole: what a stopped import has left is written anew."""
        if (self.out / CONFIG).exists() and (self.out / WEIGHTS).exists():
            raise InvalidValueError(f"--out must not hold a reasoner already; {self.out} does. Choose another folder.")
