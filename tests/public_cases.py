"""What the tests of architectures and of public folders share: shapes, random reasoners, a plain restatement."""

import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from latent_rl.reasoners.checkpoint import make_reasoner
from latent_rl.reasoners.hrm import HRM, HRMConfig
from latent_rl.reasoners.trm import TRM, TRMConfig
from latent_rl.types import ReasonerOutput

GOLDEN = Path(__file__).parent / "golden"
FOLDERS = ("trm_att", "trm_mlp", "hrm", "dis")
BASE: dict[str, Any] = {
    "vocab_size": 6,
    "seq_len": 16,
    "width": 16,
    "num_heads": 2,
    "continue_head": True,
    "injection_first": True,
}
TRM_BASE = BASE | {"step_embedding": False}
PUZZLES: dict[str, Any] = {"num_puzzle_ids": 3, "puzzle_width": 24, "num_puzzle_positions": 2}
SHAPES: dict[str, TRMConfig | HRMConfig] = {
    "attention": TRMConfig(**TRM_BASE, **PUZZLES, mixer="attention", num_layers=2, num_cycles=2),
    "mixer": TRMConfig(**TRM_BASE, **PUZZLES, mixer="mlp_cell_norm"),
    "learned": TRMConfig(**TRM_BASE, mixer="attention", positions="learned"),
    "none": TRMConfig(**{**TRM_BASE, **PUZZLES, "num_puzzle_positions": 5}, mixer="attention", positions="none"),
    "dis": TRMConfig(
        **{**TRM_BASE, **PUZZLES, "step_embedding": True},
        mixer="mlp_cell_norm",
        positions="learned",
        input_feedback=True,
    ),
    "hrm": HRMConfig(**BASE, **PUZZLES, num_layers=2, num_answer_layers=1),
}
"""Networks that the public code has, between them with every option."""


def random_network(config: TRMConfig | HRMConfig, dtype: torch.dtype = torch.float64) -> TRM | HRM:
    """A reasoner without a zero among its weights; float64, since random recursion can amplify rounding a lot."""
    torch.manual_seed(0)
    reasoner = make_reasoner(config, dtype).requires_grad_(False).eval()
    for tensor in reasoner.state_dict().values():
        tensor.normal_(std=tensor.shape[-1] ** -0.5)
    return reasoner


def some_inputs(count: int = 5) -> tuple[Tensor, Tensor]:
    """Inputs int64 [B, 16] and puzzle ids int64 [B]."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(6, (count, 16), generator=generator), torch.randint(3, (count,), generator=generator)


def run(reasoner: TRM | HRM, inputs: Tensor, puzzle_ids: Tensor, num_steps: int) -> list[ReasonerOutput]:
    carry, outputs = reasoner.initial_carry(len(inputs)), []
    for index in range(num_steps):
        carry, output = reasoner.step(inputs, carry, index, puzzle_ids=puzzle_ids)
        outputs.append(output)
    return outputs


def expected(name: str) -> dict[str, Tensor]:
    """What the public code computed in the golden folder: inputs, ids, logits and halting logits of six steps."""
    tensors = load_file(GOLDEN / name / "expected.safetensors")
    return {key: value if value.is_floating_point() else value.long() for key, value in tensors.items()}


def restated(
    weights: dict[str, Tensor], cycles: tuple[int, int], num_positions: int, inputs: Tensor, ids: Tensor, steps: int
) -> list[tuple[Tensor, Tensor]]:
    """Logits and halting logits of the public mixer, step by step, restated plainly from its description.

    Args:
        weights: the file's tensors under bare names, in the dtype to compute in.
        cycles: T and n.
        num_positions: P.
        inputs: int64 [B, L].
        ids: int64 [B].
        steps: how many supervision steps.
    """
    width = weights["H_init"].shape[0]
    num_layers = sum(name.endswith("mlp_t.down_proj.weight") for name in weights)

    def norm(x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)

    def swiglu(x: Tensor, name: str) -> Tensor:
        gate, up = F.linear(x, weights[f"{name}.gate_up_proj.weight"]).chunk(2, -1)
        return F.linear(F.silu(gate) * up, weights[f"{name}.down_proj.weight"])

    def network(states: Tensor, injection: Tensor) -> Tensor:
        x = states + injection
        for layer in range(num_layers):
            x = x.transpose(1, 2)
            x = norm(x + swiglu(x, f"L_level.layers.{layer}.mlp_t")).transpose(1, 2)
            x = norm(x + swiglu(x, f"L_level.layers.{layer}.mlp"))
        return x

    def embed(tokens: Tensor, step: int) -> Tensor:
        puzzle = weights["puzzle_emb.weights"][ids]
        puzzle = F.pad(puzzle, (0, num_positions * width - puzzle.shape[1])).view(-1, num_positions, width)
        x = torch.cat([puzzle, weights["embed_tokens.embedding_weight"][tokens]], 1)
        if "timestep_embed.embedding_weight" in weights:
            x = x + weights["timestep_embed.embedding_weight"][step + 1]
        if "embed_pos.embedding_weight" in weights:
            x = 0.5**0.5 * (x + weights["embed_pos.embedding_weight"])
        return math.sqrt(width) * x

    shape = (len(inputs), num_positions + inputs.shape[1], width)
    answer, latent, tokens, outputs = weights["H_init"].expand(shape), weights["L_init"].expand(shape), inputs, []
    for step in range(steps):
        x = embed(tokens, step)
        for _ in range(cycles[0]):
            for _ in range(cycles[1]):
                latent = network(latent, answer + x)
            answer = network(answer, latent)
        logits = F.linear(answer, weights["lm_head.weight"])[:, num_positions:]
        outputs.append((logits, F.linear(answer[:, 0], weights["q_head.weight"], weights["q_head.bias"])))
        if "timestep_embed.embedding_weight" in weights:
            tokens = logits.argmax(-1)
    return outputs
