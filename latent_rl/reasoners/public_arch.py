"""The `arch` section of the public TRM, HRM and DIS code's configuration, in our words and back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, get_type_hints

import torch

from latent_rl.config import from_dict
from latent_rl.errors import InvalidValueError, UnknownNameError
from latent_rl.reasoners.hrm import HRMConfig
from latent_rl.reasoners.trm import TRM, TRMConfig

TRM_CLASS = "TinyRecursiveReasoningModel_ACTV1"
DIS_CLASS = "TinyRecursiveReasoningModel_ACTV5"
HRM_CLASS = "HierarchicalReasoningModel_ACTV1"
MODULES = {TRM_CLASS: "recursive_reasoning.trm", DIS_CLASS: "recursive_reasoning.trm", HRM_CLASS: "hrm.hrm_act_v1"}
"""Where the public code keeps each class that can be read here."""
POSITIONS = {"rope": "rotary", "learned": "learned", "none": "none"}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TRAINING_ONLY = ("no_ACT_continue", "cf_uncond_prob", "cfg_guidance_w")
"""Keys that change nothing once the reasoner is trained."""


@dataclass(frozen=True, kw_only=True)
class PublicArch:
    """The section, under its own names."""

    name: str
    """Module and class, "module@Class"."""
    H_cycles: int
    """T."""
    L_cycles: int
    """n."""
    L_layers: int
    """Blocks in the network; with HRM in the latent's."""
    H_layers: int = 0
    """Blocks in the answer's network, with HRM."""
    hidden_size: int
    """D."""
    num_heads: int
    """Heads, with attention."""
    expansion: float
    """SwiGLU inner width is about 2/3 of expansion * width."""
    pos_encodings: str
    """"rope", "learned" or "none"."""
    mlp_t: bool = False
    """A mixer instead of attention."""
    puzzle_emb_ndim: int = 0
    """Width of a puzzle's embedding; 0 for none."""
    puzzle_emb_len: int = 16
    """P; 0, and with HRM always: as many positions as the embedding fills."""
    halt_max_steps: int
    """N_sup."""
    halt_exploration_prob: float = 0.1
    """Matters in training only, but the public code asks for it."""
    forward_dtype: str = "bfloat16"
    """Dtype of the states."""
    rms_norm_eps: float = 1e-5
    """Fixed here."""
    rope_theta: float = 10_000.0
    """Fixed here."""
    loss: dict = field(default_factory=lambda: {"name": "losses@ACTLossHead", "loss_type": "stablemax_cross_entropy"})
    """Matters in training only, but the public code asks for it."""

    def __post_init__(self) -> None:
        """Check types, names and what is fixed; ranges are for the reasoner's own config to check."""
        for name, kind in get_type_hints(type(self)).items():
            value = getattr(self, name)
            # 4 will do for 4.0, but true not for 1.
            if type(value) not in ((int, float) if kind is float else (kind,)):
                raise InvalidValueError(f"arch.{name} must be of type {kind.__name__}; got {value!r}.")
        for name, value, known in (
            ("arch.name", self.class_name, MODULES),
            ("arch.pos_encodings", self.pos_encodings, POSITIONS),
            ("arch.forward_dtype", self.forward_dtype, DTYPES),
        ):
            if value not in known:
                raise UnknownNameError(name, value, known)
        fixed = {"rms_norm_eps": 1e-5, "rope_theta": 10_000.0}
        if self.class_name == HRM_CLASS:
            fixed["mlp_t"] = False
        for name, only in fixed.items():
            if getattr(self, name) != only:
                raise InvalidValueError(
                    f"arch.{name} must be {only}; got {getattr(self, name)}. No other value is supported here."
                )
        if self.hidden_size < 1:
            raise InvalidValueError(f"arch.hidden_size must be at least 1; got {self.hidden_size}.")

    @classmethod
    def read(cls, section: Mapping[str, Any]) -> "PublicArch":
        """Read the section as the file has it.

        Raises:
            UnknownNameError: a key, or the class, is unknown.
            InvalidValueError: a value is missing, of the wrong type, or not supported.
        """
        return from_dict(cls, {key: value for key, value in section.items() if key not in TRAINING_ONLY})

    @property
    def class_name(self) -> str:
        """The class without its module."""
        return self.name.rpartition("@")[2]

    @property
    def num_puzzle_positions(self) -> int:
        """P."""
        filled = -(-self.puzzle_emb_ndim // self.hidden_size)
        asked = 0 if self.class_name == HRM_CLASS or not filled else self.puzzle_emb_len
        return asked or filled


def config_of(arch: PublicArch, *, vocab_size: int, seq_len: int, num_puzzle_ids: int) -> TRMConfig:
    """The config of the reasoner that the section describes; `HRMConfig` with HRM.

    Raises:
        InvalidValueError: a number is out of range.
    """
    is_dis = arch.class_name == DIS_CLASS
    shape: dict[str, Any] = {
        "vocab_size": vocab_size,
        "seq_len": seq_len,
        "width": arch.hidden_size,
        "num_layers": arch.L_layers,
        "mixer": "mlp_cell_norm" if arch.mlp_t else "attention",
        "num_heads": arch.num_heads,
        "expansion": arch.expansion,
        "num_cycles": arch.H_cycles,
        "num_latent_updates": arch.L_cycles,
        "num_supervision_steps": arch.halt_max_steps,
        "step_embedding": is_dis,
        "input_feedback": is_dis,
        "positions": POSITIONS[arch.pos_encodings],
        "num_puzzle_ids": num_puzzle_ids,
        "puzzle_width": arch.puzzle_emb_ndim,
        "num_puzzle_positions": arch.num_puzzle_positions,
        "continue_head": True,
        "injection_first": True,
    }
    if arch.class_name == HRM_CLASS:
        return HRMConfig(**shape, num_answer_layers=arch.H_layers)
    return TRMConfig(**shape)


def arch_of(reasoner: TRM) -> PublicArch:
    """The section that describes the reasoner: what `config_of` turns into its config again.

    Raises:
        InvalidValueError: the public code has no such network.
    """
    config = reasoner.config
    is_hrm = isinstance(config, HRMConfig)
    class_name = HRM_CLASS if is_hrm else DIS_CLASS if config.input_feedback else TRM_CLASS
    pos_encodings = {ours: public for public, ours in POSITIONS.items()}
    arch = PublicArch(
        name=f"{MODULES[class_name]}@{class_name}",
        H_cycles=config.num_cycles,
        L_cycles=config.num_latent_updates,
        L_layers=config.num_layers,
        H_layers=config.num_answer_layers if isinstance(config, HRMConfig) else 0,
        hidden_size=config.width,
        num_heads=config.num_heads,
        expansion=config.expansion,
        pos_encodings=pos_encodings[config.positions],
        mlp_t=config.mixer == "mlp_cell_norm" and not is_hrm,
        puzzle_emb_ndim=config.puzzle_width,
        puzzle_emb_len=config.num_puzzle_positions,
        halt_max_steps=config.num_supervision_steps,
        forward_dtype="bfloat16" if reasoner.compute_dtype == torch.bfloat16 else "float32",
    )
    expressed = config_of(
        arch, vocab_size=config.vocab_size, seq_len=config.seq_len, num_puzzle_ids=config.num_puzzle_ids
    )
    # A missing continue logit is added on export, and the order of a sum is not part of the network.
    wanted = replace(config, continue_head=True, injection_first=True)
    differing = asdict(wanted).items() - asdict(expressed).items()
    if differing:
        raise InvalidValueError(
            f"the reasoner must be a network that the public code has; its {class_name} has none with"
            f" {', '.join(f'{name}={value!r}' for name, value in sorted(differing))}."
        )
    return arch
