"""Run folders of the public code: the golden ones, there and back, and every way in which a folder can be wrong."""

import dataclasses
import json
import pickle
import re
import shutil
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from public_cases import (
    BASE,
    FOLDERS,
    GOLDEN,
    PUZZLES,
    SHAPES,
    TRM_BASE,
    expected,
    random_network,
    restated,
    run,
    some_inputs,
)

from latent_rl import __main__ as cli
from latent_rl.errors import CheckpointError, InvalidValueError, MissingExtraError
from latent_rl.reasoners.checkpoint import load_reasoner, make_reasoner, reasoner_facts
from latent_rl.reasoners.feedforward import FeedForwardConfig
from latent_rl.reasoners.hrm import HRM, HRMConfig
from latent_rl.reasoners.public.checkpoints import CONFIG, DATASET, export_public_checkpoint, load_public_checkpoint
from latent_rl.reasoners.public.weights import find_weights, read_weights
from latent_rl.reasoners.trm import TRMConfig

CLOSE = {"atol": 1e-3, "rtol": 0}


def arch(name: str) -> dict:
    return yaml.safe_load((GOLDEN / name / CONFIG).read_text())["arch"]


def copied(name: str, folder: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / name, folder / name))


def saved(folder: Path, weights: object, name: str = "step_1", **changes: object) -> Path:
    """A run folder with these weights and the config of `trm_mlp`, some of its keys changed."""
    folder.mkdir(exist_ok=True)
    torch.save(weights, folder / name)
    (folder / CONFIG).write_text(yaml.safe_dump({"arch": {**arch("trm_mlp"), **changes}}))
    return folder


def golden_weights(name: str = "trm_mlp") -> dict[str, torch.Tensor]:
    return read_weights(find_weights(GOLDEN / name))


@pytest.mark.parametrize("name", FOLDERS)
def test_golden_folders_match(name: str) -> None:
    """All logits of six steps.

    The random mixer of `trm_mlp` amplifies rounding twenty-fold per step: after four steps even exact arithmetic is
    far from the file. There the plain restatement on the same machine is the measure for all six steps, and the file
    for the first two, or for all six where rounding is as on the machine that wrote it.
    """
    wanted = expected(name)
    reasoner = load_public_checkpoint(GOLDEN / name, seq_len=16)
    outputs = run(reasoner, wanted["inputs"], wanted["puzzle_identifiers"], 6)
    logits = torch.stack([output.conditional_logits for output in outputs])
    halting = torch.stack([torch.stack([output.halt_logit, output.continue_logit], -1) for output in outputs])
    steps = 6
    if name == "trm_mlp":
        restatement = restated(golden_weights(), (3, 4), 16, wanted["inputs"], wanted["puzzle_identifiers"], 6)
        plain_logits, plain_halting = map(torch.stack, zip(*restatement, strict=True))
        torch.testing.assert_close(logits, plain_logits, **CLOSE)
        torch.testing.assert_close(halting, plain_halting, **CLOSE)
        steps = 6 if torch.allclose(plain_logits, wanted["logits"], **CLOSE) else 2
    torch.testing.assert_close(logits[:steps], wanted["logits"][:steps], **CLOSE)
    torch.testing.assert_close(halting[:steps], wanted["halt_logits"][:steps], **CLOSE)


@pytest.mark.parametrize("name", ["mixer", "dis"])
def test_networks_equal_their_plain_restatement(name: str, tmp_path) -> None:
    """Options that no golden folder has: an embedding over one and a half positions; learned positions with steps."""
    config, (inputs, ids) = SHAPES[name], some_inputs()
    reasoner = random_network(config)
    export_public_checkpoint(reasoner, tmp_path)
    weights = {key: tensor.double() for key, tensor in read_weights(tmp_path / "step_0").items()}
    cycles = (config.num_cycles, config.num_latent_updates)
    plain = restated(weights, cycles, config.num_puzzle_positions, inputs, ids, 6)
    for output, (logits, halting) in zip(run(reasoner, inputs, ids, 6), plain, strict=True):
        torch.testing.assert_close(output.conditional_logits, logits.float(), **CLOSE)
        torch.testing.assert_close(output.halt_logit, halting[:, 0].float(), **CLOSE)
        torch.testing.assert_close(output.continue_logit, halting[:, 1].float(), **CLOSE)


@pytest.mark.parametrize("name", SHAPES)
def test_exported_reasoners_come_back_exactly(name: str, tmp_path) -> None:
    reasoner = random_network(SHAPES[name], torch.float32)
    export_public_checkpoint(reasoner, tmp_path)
    back = load_public_checkpoint(tmp_path)
    assert type(back) is type(reasoner)
    assert back.config == reasoner.config
    assert back.compute_dtype == torch.float32
    for one, other in zip(run(reasoner, *some_inputs(), 3), run(back, *some_inputs(), 3), strict=True):
        assert torch.equal(one.conditional_logits, other.conditional_logits)
        assert torch.equal(one.halt_logit, other.halt_logit)
        assert torch.equal(one.continue_logit, other.continue_logit)


def test_one_halting_logit_is_exported_with_a_continue_logit_of_zero(tmp_path) -> None:
    config = dataclasses.replace(SHAPES["attention"], continue_head=False, injection_first=False)
    reasoner = random_network(config, torch.float32)
    export_public_checkpoint(reasoner, tmp_path)
    for one, other in zip(
        run(reasoner, *some_inputs(), 2), run(load_public_checkpoint(tmp_path), *some_inputs(), 2), strict=True
    ):
        assert one.continue_logit is None
        assert not other.continue_logit.any()
        torch.testing.assert_close(one.halt_logit, other.halt_logit, **CLOSE)
        torch.testing.assert_close(one.conditional_logits, other.conditional_logits, **CLOSE)


@pytest.mark.parametrize("name", FOLDERS)
def test_golden_folders_are_exported_as_they_were(name: str, tmp_path) -> None:
    """The same keys, shapes and values, but for the rows of steps that are never taken; and the same `arch`."""
    export_public_checkpoint(load_public_checkpoint(GOLDEN / name, seq_len=16), tmp_path)
    before, after = golden_weights(name), read_weights(tmp_path / "step_0")
    assert before.keys() == after.keys()
    for key, tensor in before.items():
        rows = slice(1, 7) if key.startswith("timestep") else slice(None)
        assert torch.equal(after[key][rows], tensor[rows]), key
        assert after[key].shape == tensor.shape
    written = yaml.safe_load((tmp_path / CONFIG).read_text())["arch"]
    assert {key: written[key] for key in arch(name)} == arch(name)
    raw = torch.load(tmp_path / "step_0", weights_only=True)
    assert all(key.startswith("_orig_mod.model.inner.") for key in raw)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TRMConfig(**TRM_BASE), "mixer='mlp'"),
        (TRMConfig(**TRM_BASE, mixer="attention", feedback=True), "feedback=True"),
        (TRMConfig(**{**TRM_BASE, "step_embedding": True}, mixer="attention"), "step_embedding=True"),
        (HRMConfig(**{**BASE, **PUZZLES, "num_puzzle_positions": 3}), "num_puzzle_positions=3"),
        (HRMConfig(**BASE, mixer="mlp_cell_norm"), "mixer='mlp_cell_norm'"),
    ],
)
def test_networks_that_the_public_code_lacks_are_not_exported(
    config: TRMConfig | HRMConfig, message: str, tmp_path
) -> None:
    with pytest.raises(InvalidValueError, match=message):
        export_public_checkpoint(random_network(config), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_network_without_recursion_is_not_exported(tmp_path: Path) -> None:
    reasoner = make_reasoner(FeedForwardConfig(vocab_size=6, seq_len=16, width=16))
    with pytest.raises(InvalidValueError, match="a TRM or an HRM; got a FeedForward"):
        export_public_checkpoint(reasoner, tmp_path / "run")  # type: ignore[arg-type]


def test_an_export_never_replaces_a_run(tmp_path) -> None:
    folder = copied("trm_att", tmp_path)
    with pytest.raises(InvalidValueError, match="must not hold weights already"):
        export_public_checkpoint(random_network(SHAPES["attention"]), folder)


@pytest.mark.parametrize(
    "prefix",
    ["", "model.inner.", "_orig_mod.model.inner.", "module._orig_mod.model.inner.", "_orig_mod.model.module.inner."],
)
def test_wrappers_in_front_of_the_keys_do_not_matter(prefix: str, tmp_path) -> None:
    wrapped = {prefix + key: tensor for key, tensor in golden_weights().items()}
    state = load_public_checkpoint(saved(tmp_path, wrapped)).state_dict()
    for key, tensor in load_public_checkpoint(GOLDEN / "trm_mlp").state_dict().items():
        assert torch.equal(state[key], tensor)


def test_the_newest_weights_are_read(tmp_path) -> None:
    for step, name in ((9, "step_9"), (10, "step_10.pth"), (2, "step_2")):
        saved(tmp_path, {**golden_weights(), "H_init": torch.full((64,), float(step))}, name)
    (tmp_path / "step_11_all_preds.0").write_bytes(b"not weights")
    (tmp_path / "step_12").mkdir()
    assert load_public_checkpoint(tmp_path).initial_answer[0] == 10


def test_weights_of_other_dtypes_become_float32(tmp_path) -> None:
    half = {key: tensor.bfloat16() for key, tensor in golden_weights().items()}
    reasoner = load_public_checkpoint(saved(tmp_path, half))
    for key, tensor in load_public_checkpoint(GOLDEN / "trm_mlp").state_dict().items():
        assert torch.equal(reasoner.state_dict()[key], tensor.bfloat16().float())


def test_steps_that_the_plain_trm_of_the_dis_code_ignores_are_dropped(tmp_path) -> None:
    extra = {**golden_weights(), "timestep_embed.embedding_weight": torch.ones(8, 64)}
    assert not load_public_checkpoint(saved(tmp_path, extra)).config.step_embedding


@pytest.mark.parametrize(("ndim", "length", "positions"), [(64, 16, 16), (64, 0, 1), (65, 0, 2), (0, 16, 0)])
def test_puzzle_positions_as_many_as_asked_or_needed(ndim: int, length: int, positions: int, tmp_path) -> None:
    weights = golden_weights("trm_att")
    weights["puzzle_emb.weights"] = torch.ones(4, ndim)
    if not ndim:
        del weights["puzzle_emb.weights"]
    folder = saved(tmp_path, weights, mlp_t=False, puzzle_emb_ndim=ndim, puzzle_emb_len=length)
    config = load_public_checkpoint(folder, seq_len=16).config
    assert (config.num_puzzle_positions, config.num_puzzle_ids) == (positions, 4 if ndim else 0)


def test_the_length_comes_from_wherever_it_is_known(tmp_path) -> None:
    for place in (Path(), Path("train"), Path("test")):
        dataset = tmp_path / "data" / place
        dataset.mkdir(parents=True, exist_ok=True)
        (dataset / DATASET).write_text(json.dumps({"seq_len": 16, "vocab_size": 6, "num_puzzle_identifiers": 4}))
        for named in (tmp_path / "data", dataset / DATASET):
            assert load_public_checkpoint(GOLDEN / "hrm", dataset=named).seq_len == 16
        (dataset / DATASET).unlink()
    assert load_public_checkpoint(GOLDEN / "trm_mlp").seq_len == 16
    for arguments, message in (
        ({}, "seq_len must be known"),
        ({"seq_len": 0}, "seq_len must be one whole number"),
        (
            {"seq_len": 16, "vocab_size": 7},
            "vocab_size must be one .* 6 from step_100, 7 from the argument",
        ),
    ):
        with pytest.raises(InvalidValueError, match=message):
            load_public_checkpoint(GOLDEN / "trm_att", **arguments)
    with pytest.raises(InvalidValueError, match="16 from step_100, 81 from the argument"):
        load_public_checkpoint(GOLDEN / "trm_mlp", seq_len=81)
    with pytest.raises(CheckpointError, match=re.escape("must be a dataset.json or a folder with one")):
        load_public_checkpoint(GOLDEN / "hrm", dataset=tmp_path)


class Harmful:
    """A pickle of it would run code."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (Fraction, ("1/2",))


def edited(old: str, new: str) -> Callable[[Path], None]:
    """Replace text in the folder's config."""

    def edit(folder: Path) -> None:
        text = (folder / CONFIG).read_text()
        assert old in text
        (folder / CONFIG).write_text(text.replace(old, new))

    return edit


def reweighted(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """Save what `change` makes of the folder's weights."""

    def save(folder: Path) -> None:
        torch.save(change(torch.load(folder / "step_100", weights_only=True)), folder / "step_100")

    return save


HEAD = "model.inner.lm_head.weight"
WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "must be a run folder"),
    "no weights": (
        lambda folder: [(folder / name).unlink() for name in ("step_100", "expected.safetensors")],
        "holds no weights",
    ),
    "no config": (lambda folder: (folder / CONFIG).unlink(), "must say what network its weights are of"),
    "broken YAML": (lambda folder: (folder / CONFIG).write_text("arch: {a: [\n"), "must be a readable YAML file"),
    "binary config": (lambda folder: (folder / CONFIG).write_bytes(b"\xff\xfe\x00"), "must be a readable YAML file"),
    "no arch": (lambda folder: (folder / CONFIG).write_text("lr: 1\n"), "must have a section `arch`"),
    "unknown key": (edited("mlp_t:", "mlp_tt:"), "Did you mean mlp_t"),
    "missing key": (edited("  hidden_size: 64\n", ""), "needs hidden_size"),
    "wrong type": (edited("hidden_size: 64", "hidden_size: ${.width}"), "hidden_size must be a whole number"),
    "bool for int": (edited("L_cycles: 4", "L_cycles: true"), "L_cycles must be a whole number"),
    "zero": (edited("hidden_size: 64", "hidden_size: 0"), "hidden_size must be a whole number in"),
    "no cycles": (edited("L_cycles: 4", "L_cycles: 0"), "L_cycles must be a whole number in"),
    "unknown class": (
        edited("Model_ACTV1", "Model_ACTV9"),
        "Model_ACTV9, which is another one",
    ),
    "unknown positions": (edited("pos_encodings: none", "pos_encodings: alibi"), "unknown arch.pos_encodings"),
    "other epsilon": (edited("  mlp_t", "  rms_norm_eps: 1.0e-6\n  mlp_t"), "rms_norm_eps must be 1e-05"),
    "other shape": (edited("hidden_size: 64", "hidden_size: 128"), "is \\[.*\\] instead of \\[.*\\]"),
    "absurd shape": (edited("hidden_size: 64", "hidden_size: 65536"), "is \\[.*\\] instead of \\[.*\\]"),
    "more layers": (edited("L_layers: 2", "L_layers: 3"), "L_level.layers.2.* is missing and 1 more"),
    "fewer layers": (edited("L_layers: 2", "L_layers: 1"), "L_level.layers.1.* is unknown"),
    "missing weight": (reweighted(lambda w: {k: v for k, v in w.items() if k != HEAD}), "lm_head.weight is missing"),
    "unknown weight": (reweighted(lambda w: {**w, "model.inner.extra": w[HEAD]}), "extra is unknown"),
    "scalar weight": (reweighted(lambda w: {**w, HEAD: torch.tensor(1.0)}), "lm_head.weight is \\[\\] instead of"),
    "no state_dict": (reweighted(lambda w: list(w.values())), "must hold the state_dict"),
    "harmful": (reweighted(lambda w: {**w, "x": Harmful()}), "tensors only.*fractions.Fraction"),
    "plain pickle": (
        lambda folder: (folder / "step_100").write_bytes(pickle.dumps({})),
        "must be a whole weights file",
    ),
    "empty file": (lambda folder: (folder / "step_100").write_bytes(b""), "must be a whole weights file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_folder_is_one_clear_error(case: str, tmp_path, capsys) -> None:
    spoil, message = WRONG[case]
    folder = copied("trm_mlp", tmp_path)
    spoil(folder)
    with pytest.raises(CheckpointError, match=message):
        load_public_checkpoint(folder, seq_len=16)
    assert cli.run(["import", str(folder), "--out", str(tmp_path / "out"), "--seq-len", "16"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.fullmatch(f"latent-rl: .*{message}.*\n", shown.err)
    assert not (tmp_path / "out").exists()


WEIGHTS = (GOLDEN / "dis" / "step_100.pth").read_bytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(0, len(WEIGHTS) - 1))
def test_truncated_weights_are_refused(size: int, tmp_path) -> None:
    (tmp_path / "step_1").write_bytes(WEIGHTS[:size])
    with pytest.raises(CheckpointError, match="must be"):
        read_weights(tmp_path / "step_1")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    # The first and the last bytes are the archive's own structure, which a flip hits seldom.
    offset=st.one_of(
        st.integers(0, len(WEIGHTS) - 1), st.integers(0, 2000), st.integers(len(WEIGHTS) - 3000, len(WEIGHTS) - 1)
    ),
    bit=st.integers(0, 7),
)
@example(offset=273_681, bit=4)  # marks a tensor as a folder, which torch then leaves uninitialized
def test_a_flipped_bit_is_refused_or_harmless(offset: int, bit: int, tmp_path) -> None:
    """Only padding and unused fields of the archive may change unnoticed: never a weight."""
    damaged = bytearray(WEIGHTS)
    damaged[offset] ^= 1 << bit
    (tmp_path / "step_1").write_bytes(damaged)
    try:
        tensors = read_weights(tmp_path / "step_1")
    except CheckpointError as error:
        assert "\n" not in str(error)  # noqa: PT017 (not to raise is as good)
        return
    whole = golden_weights("dis")
    assert tensors.keys() == whole.keys()
    assert all(torch.equal(tensors[key], tensor) for key, tensor in whole.items())


def test_the_extra_is_named_when_it_is_missing(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'latent_rl[public]'")):
        load_public_checkpoint(GOLDEN / "hrm", seq_len=16)
    with pytest.raises(MissingExtraError):
        export_public_checkpoint(random_network(SHAPES["hrm"]), tmp_path / "run")


@pytest.mark.parametrize("name", FOLDERS)
def test_the_import_command_converts(name: str, tmp_path, capsys) -> None:
    arguments = ["import", str(GOLDEN / name), "--out", str(tmp_path / "out"), "--seq-len", "16"]
    assert cli.run(arguments) == 0
    assert "V=6, L=16" in capsys.readouterr().out
    loaded, direct = load_reasoner(tmp_path / "out", torch.float32), load_public_checkpoint(GOLDEN / name, seq_len=16)
    assert isinstance(loaded, HRM) == (name == "hrm")
    assert loaded.config == direct.config
    for one, other in zip(run(loaded, *some_inputs(), 2), run(direct, *some_inputs(), 2), strict=True):
        assert torch.equal(one.conditional_logits, other.conditional_logits)
    facts = reasoner_facts(tmp_path / "out")["imported"]
    assert facts["weights"].startswith("step_100")
    assert facts["arch"]["hidden_size"] == 64
    assert cli.run(["evaluate", "--task", "sudoku4x4", "--reasoner", str(tmp_path / "out"), "--num-puzzles", "5"]) == 0
    assert cli.run(arguments) == 2
    assert "must not hold a reasoner already" in capsys.readouterr().err
