"""The `arch` section of the public TRM, HRM and DIS code's configuration, in our words and back."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any

import torch

from latent_rl.config import SIZE, Range, check_fields, from_dict
from latent_rl.errors import InvalidValueError, UnknownNameError, one_line
from latent_rl.reasoners.hrm import HRM, HRMConfig
from latent_rl.reasoners.trm import TRM, TRMConfig

TRM_CLASS = "TinyRecursiveReasoningModel_ACTV1"
DIS_CLASS = "TinyRecursiveReasoningModel_ACTV5"
HRM_CLASS = "HierarchicalReasoningModel_ACTV1"
MODULES = {TRM_CLASS: "recursive_reasoning.trm", DIS_CLASS: "recursive_reasoning.trm", HRM_CLASS: "hrm.hrm_act_v1"}
"""Where the public code keeps each class that can be read here."""
_FILES = {TRM_CLASS: ("trm",), DIS_CLASS: ("trm",), HRM_CLASS: ("hrm_act_v1", "hrm")}
"""The modules of those networks: others, such as trm_singlez, have classes of the same name."""
POSITIONS = {"rope": "rotary", "learned": "learned", "none": "none"}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FACTS = ("vocab_size", "seq_len", "num_puzzle_identifiers")
"""Keys of the section in files that describe a built network: the data's shape."""
_USUAL = {
    "loss", "halt_exploration_prob", "no_ACT_continue", "cf_uncond_prob", "cfg_guidance_w", "batch_size", *FACTS
}  # fmt: skip
"""Keys that the public code has itself, and that change nothing once the reasoner is trained."""
_TRAINING_ONLY = re.compile(
    r"loss|dropout|explor|^ema|(^|_)lr(_|$)|learning_rate|weight_decay|warmup|checkpointing|seed"
)
"""What the names of other keys that matter only in training have in common."""
_DEPTH = Range(1, 1024)


@dataclass(frozen=True, kw_only=True)
class PublicArch:
    """The section, under its own names."""

    name: str
    """Module and class, "module@Class"."""
    H_cycles: Annotated[int, _DEPTH]
    """T."""
    L_cycles: Annotated[int, _DEPTH]
    """n."""
    L_layers: Annotated[int, _DEPTH]
    """Blocks in the network; with HRM in the latent's."""
    H_layers: Annotated[int, Range(0, 1024)] = 0
    """Blocks in the answer's network, with HRM."""
    hidden_size: Annotated[int, SIZE]
    """D."""
    num_heads: Annotated[int, SIZE]
    """Heads, with attention."""
    expansion: Annotated[float, Range(0, 256, open_low=True)]
    """SwiGLU inner width is about 2/3 of expansion * width."""
    pos_encodings: str
    """"rope", "learned" or "none"."""
    mlp_t: bool = False
    """A mixer instead of attention."""
    puzzle_emb_ndim: Annotated[int, Range(0, 2**20)] = 0
    """Width of a puzzle's embedding; 0 for none."""
    puzzle_emb_len: Annotated[int, Range(0, 2**16)] = 16
    """P; 0, and with HRM always: as many positions as the embedding fills."""
    halt_max_steps: Annotated[int, _DEPTH]
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
        """Check types, ranges, names and what is fixed."""
        check_fields(self)
        _check_name(self.name)
        for name, value, known_values in (
            ("arch.pos_encodings", self.pos_encodings, POSITIONS),
            ("arch.forward_dtype", self.forward_dtype, DTYPES),
        ):
            if value not in known_values:
                raise UnknownNameError(name, value, known_values)
        fixed = {"rms_norm_eps": 1e-5, "rope_theta": 10_000.0}
        if self.class_name == HRM_CLASS:
            fixed["mlp_t"] = False
        for name, only in fixed.items():
            if getattr(self, name) != only:
                raise InvalidValueError(
                    f"arch.{name} must be {only}; got {getattr(self, name)}. No other value is supported here."
                )

    @classmethod
    def read(cls, section: Mapping[str, Any]) -> "tuple[PublicArch, list[str]]":
        """Read the section as the file has it.

        Keys that matter only in training are left out, and so are unknown ones that are false or null: what they would
        add is switched off.

        Returns:
            The section, and the keys that were left out, but for those of the public code itself.

        Raises:
            InvalidValueError: a value is missing, of the wrong type, or not supported; an unknown key may change the
                network.
        """
        section = {str(key): _resolved(value, section) for key, value in section.items() if key not in _USUAL}
        if "name" not in section and "_target_" in section:
            section["name"] = section["_target_"]
        _check_name(section.get("name"))
        known = {each.name for each in fields(cls)}
        left_out = []
        for key in sorted(section.keys() - known):
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.85)
            is_off = (section[key] is False or section[key] is None) and not near
            if not is_off and not _TRAINING_ONLY.search(key):
                hint = f"Did you mean {near[0]}?" if near else "A network with it is another one than those known here."
                shown = section[key] if isinstance(section[key], str | int | float) else type(section[key]).__name__
                raise InvalidValueError(
                    f"arch.{one_line(key, 60)} must be absent, as it may change the network; got"
                    f" {one_line(str(shown), 60)}. {hint}"
                )
            left_out.append(key)
        return from_dict(cls, {key: value for key, value in section.items() if key in known}), left_out

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


def _check_name(name: Any) -> None:
    """Refuse what is no network that is known here."""
    module, _, class_name = str(name).rpartition("@")
    if class_name not in MODULES or (module and module.rpartition(".")[2] not in _FILES[class_name]):
        known = ", ".join(f"{module}@{name}" for name, module in MODULES.items())
        raise InvalidValueError(
            f"arch.name must be a network that is known here, {known}; got {one_line(str(name), 120)}, which is another"
            " one."
        )


def _resolved(value: Any, section: Mapping[str, Any]) -> Any:
    """What a reference to another key of the section stands for: hydra keeps `${.hidden_size}` in its own copy."""
    for _ in range(8):
        match = re.fullmatch(r"\$\{(?:\.|arch\.)(\w+)\}", value) if isinstance(value, str) else None
        if match is None or match[1] not in section:
            break
        value = section[match[1]]
    return value


def config_of(arch: PublicArch, *, vocab_size: int, seq_len: int, num_puzzle_ids: int) -> TRMConfig | HRMConfig:
    """The config of the reasoner that the section describes.

    Raises:
        InvalidValueError: a number is out of range.
    """
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
        "positions": POSITIONS[arch.pos_encodings],
        "num_puzzle_ids": num_puzzle_ids,
        "puzzle_width": arch.puzzle_emb_ndim,
        "num_puzzle_positions": arch.num_puzzle_positions,
        "continue_head": True,
        "injection_first": True,
    }
    if arch.class_name == HRM_CLASS:
        return HRMConfig(**shape, num_answer_layers=arch.H_layers)
    is_dis = arch.class_name == DIS_CLASS
    return TRMConfig(**shape, step_embedding=is_dis, input_feedback=is_dis)


def arch_of(reasoner: TRM | HRM) -> PublicArch:
    """The section that describes the reasoner: what `config_of` turns into its config again.

    Raises:
        InvalidValueError: the public code has no such network.
    """
    if not isinstance(reasoner, TRM | HRM):
        raise InvalidValueError(
            "the reasoner must be a network that the public code has, a TRM or an HRM; got a"
            f" {type(reasoner).__name__}."
        )
    config, class_name = reasoner.config, TRM_CLASS
    if isinstance(config, HRMConfig):
        class_name = HRM_CLASS
    elif config.input_feedback:
        class_name = DIS_CLASS
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
        mlp_t=config.mixer == "mlp_cell_norm" and class_name != HRM_CLASS,
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
