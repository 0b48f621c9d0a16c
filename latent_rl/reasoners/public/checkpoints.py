"""Run folders of the public TRM, HRM and DIS code: weights such as `step_N` with `all_config.yaml` beside them."""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from latent_rl.config import SIZE
from latent_rl.errors import CheckpointError, InvalidValueError, LatentRLError, MissingExtraError, one_line
from latent_rl.notes import note
from latent_rl.reasoners.checkpoint import make_reasoner
from latent_rl.reasoners.hrm import HRM, HRMConfig
from latent_rl.reasoners.public.arch import DTYPES, FACTS, PublicArch, arch_of, config_of
from latent_rl.reasoners.public.weights import find_weights, from_public, public_name, read_weights, to_public
from latent_rl.reasoners.trm import TRM, TRMConfig
from latent_rl.storage.atomic import read_file, read_json, write_atomically, write_json
from latent_rl.storage.identifiers import IDENTIFIERS, read_identifiers

CONFIG, DATASET = "all_config.yaml", "dataset.json"
CONFIGS = (CONFIG, "config.yaml", "config.yml", "config.json", ".hydra/config.yaml")
"""Where a run folder may describe its network, the first that is there."""
MAX_CONFIG = 2**20
"""Bytes of such a file that are read at the most."""


@dataclass(frozen=True)
class PublicRun:
    """What a run folder holds.

    Attributes:
        reasoner: a TRM (for DIS one that reads its own predictions) or an HRM, ready for inference: float32 if the run
            was, in the machine's best dtype otherwise.
        arch: the section that describes it.
        weights: the file of its weights.
        identifiers: what its puzzle ids mean; None if no `identifiers.json` tells.
    """

    reasoner: TRM | HRM
    arch: PublicArch
    weights: Path
    identifiers: list[str] | None


def load_public_checkpoint(
    folder: str | Path,
    vocab_size: int | None = None,
    seq_len: int | None = None,
    dataset: str | Path | None = None,
    weights: str | Path | None = None,
) -> TRM | HRM:
    """The reasoner of a run folder; see `load_public_run`."""
    return load_public_run(folder, vocab_size, seq_len, dataset, weights).reasoner


def load_public_run(
    folder: str | Path,
    vocab_size: int | None = None,
    seq_len: int | None = None,
    dataset: str | Path | None = None,
    weights: str | Path | None = None,
) -> PublicRun:
    """Load the newest weights of a run folder.

    V follows from the weights; so does L with a mixer or learned positions. Otherwise L must be said: by `seq_len`, by
    `dataset`, or by a `dataset.json` in the run folder. What is said twice must agree.

    Args:
        folder: the run folder, or the weights file in it or in a folder of it.
        vocab_size: V.
        seq_len: L.
        dataset: the folder of the dataset that the run was trained on, or the `dataset.json` in it.
        weights: the weights file, by its name in the run folder or by its path, if not the newest.

    Raises:
        CheckpointError: the folder is incomplete or damaged, or its parts don't fit each other.
        InvalidValueError: V or L is unknown, or sources contradict each other.
        MissingExtraError: PyYAML, from the `public` extra, is not installed.
    """
    folder = Path(folder)
    if folder.is_file():
        weights = weights or folder.absolute()
        above = folder.absolute().parents[:2]
        folder = next((each for each in above if any((each / name).is_file() for name in CONFIGS)), folder.parent)
    if not folder.is_dir():
        raise CheckpointError(f"{folder} must be a run folder of the public code, or the weights in it; it is none.")
    config_path, section = _section(folder)
    if weights is None:
        path = find_weights(folder)
    else:
        path = folder / weights if (folder / weights).is_file() else Path(weights)
        if not path.is_file():
            raise CheckpointError(f"the weights must be a file, in {folder} or by its path; {weights} is none.")
    try:
        arch, left_out = PublicArch.read(section)
    except LatentRLError as error:
        raise CheckpointError(f"{config_path} must describe a public TRM, HRM or DIS: {error}") from error
    tensors, facts = read_weights(path), _dataset_facts(folder, dataset)
    told = {
        "vocab_size": (_num_rows(tensors, "embed_tokens"), vocab_size),
        "seq_len": (_seq_len(arch, tensors), seq_len),
    }
    sizes = {}
    for name, (weighed, given) in told.items():
        files = {path.name: weighed, config_path.name: section.get(name), DATASET: facts.get(name)}
        sizes[name] = _agreed(name, files | {"the argument": given})
    num_puzzle_ids = _num_puzzle_ids(arch, tensors, path, {config_path.name: section, DATASET: facts})
    try:
        config = config_of(arch, **sizes, num_puzzle_ids=num_puzzle_ids)
        state = from_public(tensors, _shape_only(config))
    except LatentRLError as error:
        raise CheckpointError(
            f"{folder} must hold a {config_path.name} and a {path.name} of one run: {error}"
        ) from error
    identifiers = _identifiers(folder, dataset, num_puzzle_ids) if num_puzzle_ids > 1 else None
    if left_out:
        note(f"{config_path}: {', '.join(left_out)} left out; they matter only in training or are switched off.")
    # None is the machine's best: bfloat16 where it is native.
    reasoner = make_reasoner(config, torch.float32 if DTYPES[arch.forward_dtype] == torch.float32 else None)
    reasoner.load_state_dict(state)
    return PublicRun(reasoner.requires_grad_(False).eval(), arch, path, identifiers)


def export_public_checkpoint(reasoner: TRM | HRM, folder: str | Path) -> None:
    """Write a run folder that the public code, and `load_public_checkpoint`, reads.

    The public code has a second halting logit and steps counted from 1; what the reasoner lacks of that is zero.

    Args:
        reasoner: with attention, or with the mixer "mlp_cell_norm".
        folder: made if need be; gets `step_0`, `all_config.yaml` and a `dataset.json` with V and L.

    Raises:
        InvalidValueError: the public code has no such network, or the folder holds a run already.
        MissingExtraError: PyYAML, from the `public` extra, is not installed.
    """
    folder, yaml = Path(folder), _yaml()
    arch, config = arch_of(reasoner), reasoner.config
    if any(folder.glob("step_*")):
        raise InvalidValueError(f"{folder} must not hold weights already; it does. Choose another folder.")
    weights = io.BytesIO()
    torch.save(to_public(reasoner), weights)
    facts = {
        "vocab_size": config.vocab_size,
        "seq_len": config.seq_len,
        "num_puzzle_identifiers": config.num_puzzle_ids,
    }
    write_json(folder / DATASET, facts)
    write_atomically(folder / CONFIG, yaml.safe_dump({"arch": asdict(arch)}).encode())
    write_atomically(folder / "step_0", weights.getvalue())


def _section(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    """Which file of the folder describes the network, and its `arch` section."""
    path = next((path for name in CONFIGS if (path := folder / name).is_file()), None)
    if path is None:
        raise CheckpointError(
            f"{folder} must say what network its weights are of, in {', '.join(CONFIGS)}; it does not. Put the run's"
            f" {CONFIG} there."
        )
    content = _read_config(path)
    if isinstance(content, dict) and {"architecture", "reasoner"} <= content.keys():
        raise CheckpointError(
            f"{folder} must be a run folder of the public code; it holds a reasoner of latent_rl. Use that."
        )
    section = content.get("arch") if isinstance(content, dict) else None
    if isinstance(section, dict) and set(section) <= {"desc", "value"}:  # as Weights & Biases keeps it
        section = section.get("value")
    if section is None and isinstance(content, dict):
        inner = content.get("model")
        if isinstance(inner, dict) and "_target_" in inner:  # as Lightning's templates keep it
            section = inner
        elif "hidden_size" in content and ("H_cycles" in content or "L_cycles" in content):
            section = {key: value for key, value in content.items() if key not in _HUB_KEYS}
            named = content.get("architectures")
            if isinstance(named, list) and len(named) == 1:
                section.setdefault("name", named[0])
    if not isinstance(section, dict):
        raise CheckpointError(f"{path} must have a section `arch`; it has none. Take the file that the run wrote.")
    return path, section


_HUB_KEYS = ("architectures", "model_type", "torch_dtype", "dtype", "transformers_version", "_name_or_path")


def _read_config(path: Path) -> Any:
    """A YAML or JSON file, of a size that can be read, without references that multiply."""
    yaml = _yaml()

    class Loader(yaml.SafeLoader):  # type: ignore[name-defined]
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                anchor = self.peek_event()
                if not isinstance(self.anchors.get(anchor.anchor), yaml.ScalarNode):
                    raise yaml.YAMLError(f"it must not repeat whole sections by reference, as *{anchor.anchor} does")
            return super().compose_node(parent, index)

    try:
        return yaml.load(read_file(path, MAX_CONFIG).decode(), Loader)  # JSON is YAML
    except Exception as error:  # PyYAML raises anything for values that contradict their tags.
        raise CheckpointError(f"{path} must be a readable YAML file: {one_line(error)}.") from error


def _yaml() -> ModuleType:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("public run folders need PyYAML: pip install 'latent_rl[public]'.") from error
    return yaml


def _dataset_facts(folder: Path, dataset: str | Path | None) -> dict[str, Any]:
    """What the `dataset.json` says; nothing if none was named and the run folder has none."""
    if dataset is None:
        return read_json(folder / DATASET) if (folder / DATASET).is_file() else {}
    named = Path(dataset)
    for path in (named, *(named / part / DATASET for part in (".", "train", "test", "val"))):
        if path.is_file():
            return read_json(path)
    raise CheckpointError(f"the dataset must be a {DATASET} or a folder with one, in it or in its train; got {named}.")


def _num_puzzle_ids(
    arch: PublicArch, tensors: dict[str, Tensor], path: Path, sources: dict[str, Mapping[str, Any]]
) -> int:
    """How many puzzles have an embedding; what the dataset says must agree."""
    if not arch.puzzle_emb_ndim:
        return 0
    count = _num_rows(tensors, "embed_puzzles") or 1
    for source, facts in sources.items():
        if facts.get(FACTS[2]) not in (None, count):
            raise InvalidValueError(
                f"{path.name} must have an embedding for each of the {facts[FACTS[2]]} puzzle ids that {source} tells;"
                f" it has {count}. Take the dataset that the run was trained on."
            )
    return count


def _identifiers(folder: Path, dataset: str | Path | None, count: int) -> list[str] | None:
    """What the puzzle ids mean, as the dataset or the run folder tells."""
    places = [folder]
    if dataset is not None:
        place = Path(dataset).parent if Path(dataset).is_file() else Path(dataset)
        places.insert(0, place.parent if place.name in ("train", "test", "val") else place)
    path = next((path for place in places if (path := place / IDENTIFIERS).is_file()), None)
    if path is None:
        note(
            f"what the {count:,} puzzle ids of {folder} mean is not known; evaluate and vote take them for those of"
            f" their task. Name the dataset, or put its {IDENTIFIERS} beside the weights."
        )
        return None
    identifiers = read_identifiers(path)
    if len(identifiers) != count:
        raise CheckpointError(
            f"{path} must tell what the {count:,} puzzle ids mean; it names {len(identifiers):,}. Take that of the"
            " dataset that the run was trained on."
        )
    return identifiers


def _agreed(name: str, sources: dict[str, Any]) -> int:
    """The number that every source gives which gives one."""
    given = {source: value for source, value in sources.items() if value is not None}
    said = ", ".join(f"{value!r} from {source}" for source, value in given.items())
    if not given:
        raise InvalidValueError(
            f"{name} must be known; the weights don't tell. Give {name} itself (--{name.replace('_', '-')}), or the"
            " dataset that the run was trained on (--dataset)."
        )
    if len(set(map(repr, given.values()))) > 1 or not all(type(n) is int and n in SIZE for n in given.values()):
        raise InvalidValueError(f"{name} must be one whole number {SIZE} from every source; got {one_line(said)}.")
    return next(iter(given.values()))


def _num_rows(tensors: dict[str, Tensor], name: str) -> int | None:
    """The first axis of one of our weights, if the file has it."""
    tensor = tensors.get(public_name(name))
    return None if tensor is None or tensor.ndim == 0 else tensor.shape[0]


def _seq_len(arch: PublicArch, tensors: dict[str, Tensor]) -> int | None:
    """L, where a weight spans the positions: the table of positions, or the mixer's `down`."""
    num_positions = _num_rows(tensors, "embed_positions") or _num_rows(tensors, "blocks.0.cells.down")
    return None if num_positions is None else num_positions - arch.num_puzzle_positions


def _shape_only(config: TRMConfig | HRMConfig) -> TRM | HRM:
    # On the meta device: a config that does not fit must not take the memory that it asks for.
    with torch.device("meta"):
        return make_reasoner(config)
