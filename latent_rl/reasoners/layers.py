"""The layers of a recursive reasoner. Weights stay float32; they compute in the dtype of their input."""

import math
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latent_rl.errors import InvalidValueError

RMS_EPSILON = 1e-5


def truncated_normal(*shape: int, std: float) -> Tensor:
    """Normal noise cut at two standard deviations, float32."""
    return nn.init.trunc_normal_(torch.empty(shape), std=std, a=-2 * std, b=2 * std)


def rms_norm(x: Tensor) -> Tensor:
    """Divide by the root mean square over the last axis, without a weight; statistics in float32."""
    mean_square = x.float().square().mean(-1, keepdim=True)
    return x * torch.rsqrt(mean_square + RMS_EPSILON).to(x.dtype)


def swiglu_width(width: int, expansion: float) -> int:
    """Inner width of a SwiGLU: two thirds of expansion * width, rounded up to a multiple of 256."""
    return -(-round(expansion * width * 2 / 3) // 256) * 256


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up. Without gradient it overwrites `gate`: on a CPU, fresh memory costs more than the arithmetic.
    Compiled code allocates nothing here, and would have to copy.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return F.silu(gate) * up
    return F.silu(gate, inplace=True).mul_(up)


class SwiGLU(nn.Module):
    """y = W_down (silu(W_gate x) * W_up x), without biases, gate and up in one matrix."""

    def __init__(self, width: int, expansion: float) -> None:
        super().__init__()
        inner = swiglu_width(width, expansion)
        self.gate_up = nn.Parameter(truncated_normal(2 * inner, width, std=width**-0.5))
        self.down = nn.Parameter(truncated_normal(width, inner, std=inner**-0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., width] to [..., width]."""
        gate, up = F.linear(x, self.gate_up.to(x.dtype)).chunk(2, dim=-1)
        return F.linear(gated(gate, up), self.down.to(x.dtype))

    def mix_leading(self, x: Tensor) -> Tensor:
        """Act on the first axis instead: [width, B, D] to [width, B, D], one matrix product per matrix."""
        columns = x.flatten(1)
        gate, up = (self.gate_up.to(x.dtype) @ columns).chunk(2, dim=0)
        return (self.down.to(x.dtype) @ gated(gate, up)).view_as(x)


def gated_product(x: Tensor, gate_up: Tensor) -> Tensor:
    """silu(x G^T) * (x U^T), [N, width], for G over U, [2 width, d]. Without gradient in two products: over rows of few
    numbers that do not lie side by side, as the halves of one do, silu takes six times as long on a CPU.
    """
    gate_up = gate_up.to(x.dtype)
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        gate, up = F.linear(x, gate_up).chunk(2, dim=-1)
    else:
        gate, up = (F.linear(x, half) for half in gate_up.chunk(2))
    return gated(gate, up)


class Gated(nn.Module):
    """y = W_down (silu(W_gate x) * W_up x), without biases, of any inner width."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_up = nn.Parameter(truncated_normal(2 * inner, width, std=width**-0.5))
        self.down = nn.Parameter(truncated_normal(width, inner, std=inner**-0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., width] to [..., width]."""
        return F.linear(gated_product(x, self.gate_up), self.down.to(x.dtype))


class PooledHalt(nn.Linear):
    """The halt logit, float32 [B], from the mean and the maximum of states [B, P, d]; at first it never halts."""

    def __init__(self, width: int) -> None:
        super().__init__(2 * width, 1)
        nn.init.zeros_(self.weight)
        nn.init.constant_(self.bias, -5.0)

    def forward(self, states: Tensor) -> Tensor:
        """A linear readout of what all states have in common."""
        return super().forward(torch.cat([states.mean(1), states.amax(1)], dim=-1)).squeeze(-1)


class Attention(nn.Module):
    """Non-causal self-attention, with or without rotary positions, [B, L, D] to [B, L, D]."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, width: int, num_heads: int, num_positions: int, rotary: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.rotary = rotary
        self.qkv = nn.Parameter(truncated_normal(3 * width, width, std=width**-0.5))
        self.out = nn.Parameter(truncated_normal(width, width, std=width**-0.5))
        half = width // num_heads // 2
        angles = torch.arange(num_positions)[:, None] * 10_000 ** (-torch.arange(half) / half)
        angles = torch.cat([angles, angles], dim=-1)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Attend from every cell to every cell."""
        batch, length, width = x.shape
        qkv = F.linear(x, self.qkv.to(x.dtype)).view(batch, length, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        if self.rotary:
            query, key = self._rotate(query), self._rotate(key)
        if x.device.type == "cpu":
            # The fused kernel's backward takes 2-3 times as long on a CPU.
            scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
            mixed = scores.softmax(-1) @ value
        else:
            mixed = F.scaled_dot_product_attention(query, key, value)
        return F.linear(mixed.transpose(1, 2).reshape(batch, length, width), self.out.to(x.dtype))

    def _rotate(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=-1)
        turned = torch.cat([-second, first], dim=-1)
        return x * self.cosine.to(x.dtype) + turned * self.sine.to(x.dtype)


class MixerBlock(nn.Module):
    """SwiGLU across cells, then across channels, each with a residual and a post-norm; on [L, B, D]."""

    cells_first = True

    def __init__(self, width: int, num_heads: int, num_positions: int, expansion: float, rotary: bool) -> None:
        super().__init__()
        self.cells = SwiGLU(num_positions, expansion)
        self.channels = SwiGLU(width, expansion)

    def forward(self, x: Tensor) -> Tensor:
        """Map [L, B, D] to [L, B, D]."""
        x = rms_norm(x + self.cells.mix_leading(x))
        return rms_norm(x + self.channels(x))


class CellNormMixerBlock(MixerBlock):
    """The public TRM's mixer, whose first norm, too, runs across cells; on [B, L, D].

    It keeps to the public code operation for operation: with random weights it amplifies a rounding error about
    twenty-fold per supervision step.
    """

    cells_first = False

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, D] to [B, L, D]."""
        x = x.transpose(1, 2)
        x = rms_norm(x + self.cells(x)).transpose(1, 2)
        return rms_norm(x + self.channels(x))


class AttentionBlock(nn.Module):
    """Self-attention, then SwiGLU across channels, each with a residual and a post-norm; on [B, L, D]."""

    cells_first = False

    def __init__(self, width: int, num_heads: int, num_positions: int, expansion: float, rotary: bool) -> None:
        super().__init__()
        self.cells = Attention(width, num_heads, num_positions, rotary)
        self.channels = SwiGLU(width, expansion)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, D] to [B, L, D]."""
        x = rms_norm(x + self.cells(x))
        return rms_norm(x + self.channels(x))


class ConvolutionBlock(nn.Module):
    """A 3x3 filter per channel over a square board, then SwiGLU across channels, each with a residual and a post-norm;
    on [L, B, D]. No weight depends on the board's size.
    """

    cells_first = True

    def __init__(self, width: int, num_heads: int, num_positions: int, expansion: float, rotary: bool) -> None:
        super().__init__()
        self.size = math.isqrt(num_positions)
        if self.size**2 != num_positions:
            raise InvalidValueError(f'mixer "convolution" needs a square board; got {num_positions} positions.')
        self.kernel = nn.Parameter(truncated_normal(3, 3, width, std=1 / 3))
        self.channels = SwiGLU(width, expansion)

    def forward(self, x: Tensor) -> Tensor:
        """Map [L, B, D] to [L, B, D]."""
        x = rms_norm(x + self._filtered(x))
        return rms_norm(x + self.channels(x))

    def _filtered(self, x: Tensor) -> Tensor:
        # Nine shifted products, which compile into one loop: the channels are last, where the library's own
        # convolution is slow.
        size, kernel = self.size, self.kernel.to(x.dtype)
        board = F.pad(x.unflatten(0, (size, size)), (0, 0, 0, 0, 1, 1, 1, 1))
        shifted = (board[r : r + size, c : c + size] * kernel[r, c] for r in range(3) for c in range(3))
        return reduce(torch.add, shifted).flatten(0, 1)


BLOCKS: dict[str, type[MixerBlock] | type[AttentionBlock] | type[ConvolutionBlock]] = {
    "mlp": MixerBlock,
    "mlp_cell_norm": CellNormMixerBlock,
    "attention": AttentionBlock,
    "convolution": ConvolutionBlock,
}
"""Kinds of block by the name of their mixer."""
