"""PyPI's `tiny-recursive-model` and `nano-trm` at our width, depth, length, batch and number of passes.

They live in an environment of their own, made on demand beside this one, whose torch they share. As a command, in that
environment, this file trains them and prints puzzles per second of every run.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "runs/peers"
INSTALLS = (
    ["tiny-recursive-model", "scikit-learn", "lightning", "einops", "hydra-core", "hydra-colorlog"],
    # It asks for one patch release of Python and for much that its model does not import.
    ["--no-deps", "--ignore-requires-python", "nano-trm"],
)


def python() -> Path:
    """The interpreter of the environment, which is made if need be.

    Raises:
        OSError, subprocess.CalledProcessError: it can't be made.
    """
    found, finished = FOLDER / "bin/python", FOLDER / "finished"
    if not finished.exists():
        venv.create(FOLDER, with_pip=True, clear=True)
        site = Path(sysconfig.get_path("purelib", vars={"base": str(FOLDER), "platbase": str(FOLDER)}))
        (site / "parent.pth").write_text(sysconfig.get_path("purelib"))
        for packages in INSTALLS:
            subprocess.run([found, "-m", "pip", "install", "--quiet", *packages], check=True, env=environment())
        finished.touch()
    return found


def environment() -> dict[str, str]:
    """Ours without what would put our folders into theirs."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def measure(settings: Any, shape: Any, batch_size: int, num_batches: int) -> dict[str, list[float]]:
    """Puzzles per CPU second of every run, by package; nothing, and a line that says why, if they can't be had."""
    options = {
        "vocab_size": shape.vocab_size, "seq_len": shape.seq_len, "width": shape.width, "steps":
        shape.num_supervision_steps, "updates": shape.num_latent_updates, "batch_size": batch_size,
        "num_batches": num_batches, "rounds": settings.rounds, "threads": settings.threads,
    }  # fmt: skip
    try:
        run = subprocess.run(
            [python(), __file__, json.dumps(options)], check=True, stdout=subprocess.PIPE, text=True, env=environment()
        )
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"training: the PyPI packages are skipped, as they can't be installed or run here: {error}")
        return {}
    measured: dict[str, list[float]] = json.loads(run.stdout.splitlines()[-1])
    return measured


def tiny_recursive_model(o: dict[str, Any], token_factor: float, channel_factor: float) -> Callable[[int], None]:
    """Its own trainer, whose halting is kept from ending anything early."""
    import torch
    from tiny_recursive_model import MLPMixer1D, TinyRecursiveModel, Trainer

    network = MLPMixer1D(
        dim=o["width"], depth=1, seq_len=o["seq_len"], expansion_factor=token_factor,
        expansion_factor_token=channel_factor,
    )  # fmt: skip
    model = TinyRecursiveModel(
        dim=o["width"], num_tokens=o["vocab_size"], network=network, num_latent_refinements=o["updates"]
    )
    model.num_refinement_blocks = 1  # its constructor wants two, the first without gradient
    data = [(torch.randint(o["vocab_size"], (o["seq_len"],)),) * 2 for _ in range(o["batch_size"])]

    def run(num_batches: int) -> None:
        trainer = Trainer(
            model, data, batch_size=o["batch_size"], epochs=num_batches, max_recurrent_steps=o["steps"],
            halt_prob_thres=2.0, cpu=True,
        )  # fmt: skip
        trainer()

    return run


def nano_trm(o: dict[str, Any], dtype: str | None) -> Callable[[int], None]:
    """Its own training step, with torch's AdamW."""
    import torch
    from src.nn.models.trm import TRMModule

    module = TRMModule(
        hidden_size=o["width"], num_layers=1, num_heads=4, max_grid_size=9, H_cycles=1, L_cycles=o["updates"],
        N_supervision=o["steps"], ffn_expansion=4, puzzle_emb_dim=0, puzzle_emb_len=0, use_mlp_t=True,
        vocab_size=o["vocab_size"], seq_len=o["seq_len"], batch_size=o["batch_size"],
        forward_dtype=None if dtype is None else getattr(torch, dtype),
    )  # fmt: skip
    module._optimizers = [torch.optim.AdamW(module.parameters(), lr=1e-4)]
    module.total_steps = 10**6
    tokens = torch.randint(o["vocab_size"], (o["batch_size"], o["seq_len"]))
    batch = {"input": tokens, "output": tokens, "puzzle_identifiers": torch.zeros(o["batch_size"], dtype=torch.int64)}

    def run(num_batches: int) -> None:
        for _ in range(num_batches * o["steps"]):
            module.training_step(batch, 1)

    return run


def main() -> None:
    """Measure all of them; the last line printed is JSON."""
    import torch

    options = json.loads(sys.argv[1])
    torch.set_num_threads(options["threads"])
    clock = time.process_time if options["threads"] == 1 else time.perf_counter
    rates: dict[str, list[float]] = {}
    contestants = {
        # Hidden widths of 3 L-mixing and 6 channel-mixing widths make as many multiplications as our SwiGLU.
        "tiny-recursive-model, equal arithmetic": lambda: tiny_recursive_model(options, 3, 6),
        "tiny-recursive-model, its own hidden widths (half the arithmetic)": lambda: tiny_recursive_model(
            options, 4, 0.5
        ),
        "nano-trm": lambda: nano_trm(options, None),
        "nano-trm, told to use bf16": lambda: nano_trm(options, "bfloat16"),
    }
    for name, make in contestants.items():
        with contextlib.redirect_stdout(io.StringIO()):
            run = make()
            run(1)
            rates[name] = []
            for _ in range(options["rounds"]):
                start = clock()
                run(options["num_batches"])
                rates[name].append(options["num_batches"] * options["batch_size"] / (clock() - start))
    print(json.dumps(rates))


if __name__ == "__main__":
    main()
