"""Checkpoints as people have them: their names, wrappers, prefixes and formats; and folders that mean harm."""

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from public_cases import GOLDEN, some_inputs
from safetensors.torch import save_file
from torch import Tensor

from latent_rl import __main__ as cli
from latent_rl.errors import CheckpointError, InvalidValueError
from latent_rl.reasoners import checkpoint
from latent_rl.reasoners.checkpoint import load_reasoner
from latent_rl.reasoners.public.checkpoints import CONFIG, DATASET, load_public_checkpoint
from latent_rl.reasoners.public.weights import find_weights, read_weights
from latent_rl.storage.claims import claimed

RAW: dict[str, Tensor] = torch.load(GOLDEN / "trm_mlp" / "step_100", weights_only=True)
BARE = read_weights(GOLDEN / "trm_mlp" / "step_100")
ARCH: dict[str, Any] = yaml.safe_load((GOLDEN / "trm_mlp" / CONFIG).read_text())["arch"]


def run_folder(folder: Path, content: object = None, name: str = "step_1", **save: Any) -> Path:
    """A run folder with `trm_mlp`'s config and these weights, by default its own."""
    folder.mkdir(exist_ok=True)
    shutil.copy(GOLDEN / "trm_mlp" / CONFIG, folder)
    torch.save(RAW if content is None else content, folder / name, **save)
    return folder


def rearched(folder: Path, **changes: Any) -> Path:
    (folder / CONFIG).write_text(yaml.safe_dump({"arch": {**ARCH, **changes}}))
    return folder


def same_as_golden(folder: Path, **arguments: Any) -> bool:
    state = load_public_checkpoint(folder, **arguments).state_dict()
    golden = load_public_checkpoint(GOLDEN / "trm_mlp").state_dict()
    return state.keys() == golden.keys() and all(torch.equal(state[name], golden[name]) for name in golden)


@pytest.mark.parametrize(
    "name",
    [
        "checkpoint", "maze_hard_step_32550", "step_16275_sudoku_epoch50k", "step_100.pt", "step_100.pth", "ckpt.pt",
        "pytorch_model.bin", "last.ckpt", "epoch=3-step=1200.ckpt", "my-trm.pt",
    ],
)  # fmt: skip
def test_weights_by_any_name(name: str, tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", name=name)
    (folder / "trm.py").write_text("")
    (folder / "step_9_all_preds.0").write_bytes(b"no weights")
    (folder / "optimizer.pt").write_bytes(b"no weights")
    assert same_as_golden(folder)
    assert same_as_golden(folder / name)
    assert same_as_golden(folder, weights=name)


def test_safetensors_are_read(tmp_path: Path) -> None:
    folder = rearched(tmp_path)
    save_file({f"model.{name}": tensor for name, tensor in BARE.items()}, folder / "model.safetensors")
    assert same_as_golden(folder)
    (folder / "model.safetensors").rename(folder / "checkpoint")
    assert same_as_golden(folder)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("step_9", "step_10.pth", "step_2"), "step_10.pth"),
        (("checkpoint_500.pt", "checkpoint_1000.pt"), "checkpoint_1000.pt"),
        (("epoch=3-step=120.ckpt", "epoch=1-step=1200.ckpt", "last.ckpt"), "epoch=1-step=1200.ckpt"),
        (("checkpoint", "expected.safetensors", "losses.py", "all_config.yaml"), "checkpoint"),
        (("model.safetensors", "optimizer.pt", "scheduler.pt", "training_args.bin"), "model.safetensors"),
        (("step_5", "best.pt"), "step_5"),
        (("step_100", "step_100.pt"), None),
        (("model.safetensors", "pytorch_model.bin"), None),
        (("step_100", "maze_step_50"), None),
        (("a.pt", "b.pt"), None),
    ],
)
def test_which_weights_of_several(names: tuple[str, ...], chosen: str | None, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).touch()
    if chosen is not None:
        assert find_weights(tmp_path).name == chosen
    else:
        with pytest.raises(CheckpointError, match=re.escape(f"{', '.join(sorted(names))}. Choose one: --weights")):
            find_weights(tmp_path)


def test_weights_can_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_folder(tmp_path / "run", {**BARE, "H_init": torch.full((64,), 7.0)}, "mine")
    run_folder(folder, name="step_2")
    elsewhere = shutil.move(folder / "mine", tmp_path / "mine")
    assert same_as_golden(folder)
    out = str(tmp_path / "out")
    assert cli.run(["import", str(folder), "--weights", str(elsewhere), "--out", out]) == 0
    assert "mine: reasoner (V=6, L=16) saved" in capsys.readouterr().out
    assert load_reasoner(out).state_dict()["initial_answer"][0] == 7
    with pytest.raises(CheckpointError, match="the weights must be a file"):
        load_public_checkpoint(folder, weights="gone")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: {"model": w, "optimizers": [{"state": {0: {"exp_avg": torch.ones(2)}}}], "step": 100},
        lambda w: {"model_state_dict": w, "optimizer_state_dict": {}, "loss": torch.tensor(0.5)},
        lambda w: {"state_dict": w, "pytorch-lightning_version": "2.1", "hyper_parameters": {"lr": 1e-4}, "epoch": 3},
        lambda w: {"ema": w},
        lambda w: {"ema": {"shadow": w}},
        lambda w: {"module": {"model": w}, "dp_world_size": 1},
        lambda w: {**w, "step": 3},
        lambda w: {"train_state": {"mine": w, "optimizer": w, "grads": w}},
        OrderedDict,
    ],
)
def test_weights_within_a_file(wrap: Callable[[dict], dict], tmp_path: Path) -> None:
    assert same_as_golden(run_folder(tmp_path, wrap(RAW)))
    assert same_as_golden(run_folder(tmp_path, wrap(RAW), _use_new_zipfile_serialization=False))


def test_an_unknown_place_of_weights_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert same_as_golden(run_folder(tmp_path, {"train_state": {"mine": RAW}}))
    assert caplog.messages[0] == "note: step_1: read train_state.mine."
    with pytest.raises(CheckpointError, match="it holds first, second"):
        load_public_checkpoint(run_folder(tmp_path, {"first": RAW, "second": RAW}))


def test_a_dictionary_that_is_repeated_without_end_takes_no_time(tmp_path: Path) -> None:
    nested: dict = {}
    for _ in range(4):
        nested = {str(place): nested for place in range(300)}
    with pytest.raises(CheckpointError, match="must hold the state_dict"):
        load_public_checkpoint(run_folder(tmp_path, nested))


def test_weights_in_a_folder_of_checkpoints(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    (folder / "checkpoints").mkdir()
    weights = shutil.move(folder / "step_1", folder / "checkpoints" / "step_1")
    assert same_as_golden(folder)
    assert same_as_golden(weights)


def test_averages_beside_the_weights_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zeros = {name: torch.zeros_like(tensor) for name, tensor in RAW.items()}
    assert same_as_golden(run_folder(tmp_path, {"model": RAW, "ema_helper": zeros}))
    assert caplog.messages[0] == "note: step_1: read model; not read: ema_helper."


@pytest.mark.parametrize(
    "prefix",
    [
        "model.", "module.", "_orig_mod.", "_fsdp_wrapped_module._orig_mod.", "inner.", "net.", "student.model.inner.",
        "_forward_module._orig_mod._fsdp_wrapped_module.model._fsdp_wrapped_module.inner.",
    ],
)  # fmt: skip
def test_prefixes_of_any_combination(prefix: str, tmp_path: Path) -> None:
    within = {
        prefix + name.replace("layers.0.", "layers.0._fsdp_wrapped_module._checkpoint_wrapped_module."): tensor
        for name, tensor in BARE.items()
    }
    assert same_as_golden(run_folder(tmp_path, within))


def test_two_networks_in_one_file_are_refused(tmp_path: Path) -> None:
    both = {f"{who}.{name}": tensor for who in ("teacher", "student") for name, tensor in BARE.items()}
    with pytest.raises(CheckpointError, match="comes under several prefixes, such as student"):
        load_public_checkpoint(run_folder(tmp_path, both))


def test_buffers_that_follow_from_others_are_not_asked_for(tmp_path: Path) -> None:
    derived = {
        "puzzle_emb.local_weights": torch.ones(8, 64),
        "puzzle_emb.local_ids": torch.ones(8, dtype=torch.int32),
        "rotary_emb.cos_cached": torch.ones(32, 16),
    }
    assert same_as_golden(run_folder(tmp_path, {**BARE, **derived}))


@pytest.mark.parametrize("place", ["all_config.yaml", "config.yaml", ".hydra/config.yaml", "config.json"])
def test_the_network_is_described_in_any_of_these_files(place: str, tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    (folder / CONFIG).unlink()
    (folder / place).parent.mkdir(exist_ok=True)
    arch = {**ARCH, "puzzle_emb_ndim": "${.hidden_size}"} if "hydra" in place else ARCH
    (folder / place).write_text(yaml.safe_dump({"arch": arch}))
    assert same_as_golden(folder)


def test_other_shapes_of_the_description(tmp_path: Path) -> None:
    """As Weights & Biases keeps it; and a flat config.json, which knows the data's shape, too."""
    folder = run_folder(tmp_path)
    (folder / CONFIG).write_text(yaml.safe_dump({"arch": {"desc": None, "value": ARCH}, "lr": {"value": 1}}))
    assert same_as_golden(folder)
    (folder / CONFIG).unlink()
    flat = {name: value for name, value in ARCH.items() if name != "name"}
    flat |= {"architectures": ["TinyRecursiveReasoningModel_ACTV1"], "model_type": "trm", "vocab_size": 6}
    (folder / "config.json").write_text(yaml.safe_dump(flat, default_flow_style=True))
    assert same_as_golden(folder)
    (folder / "config.json").write_text(yaml.safe_dump({**flat, "vocab_size": 7}, default_flow_style=True))
    with pytest.raises(InvalidValueError, match=r"6 from step_1, 7 from config\.json"):
        load_public_checkpoint(folder)


def test_keys_of_training_are_left_out_with_a_note(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    extra = {"puzzle_emb_dropout": 0.1, "grid_token_dropout": 0.0, "axial_t": False, "no_ACT_continue": True, "loss": 3}
    assert same_as_golden(rearched(run_folder(tmp_path), **extra, causal=False, halt_exploration_prob="x"))
    assert "axial_t, causal, grid_token_dropout, puzzle_emb_dropout left out" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "recursive_reasoning.trm_hier6@TinyRecursiveReasoningModel_ACTV1"}, "trm_hier6@.*another one"),
        ({"name": "recursive_reasoning.trm_singlez@TinyRecursiveReasoningModel_ACTV1"}, "trm_singlez@.*another one"),
        ({"name": "recursive_reasoning.transformers_baseline@Model_ACTV2"}, "Model_ACTV2, which is another one"),
        ({"name": "urm.urm@URM"}, "got urm.urm@URM, which is another one"),
        ({"name": None}, "got None, which is another one"),
        ({"axial_t": True}, "arch.axial_t must be absent, as it may change the network; got True"),
        ({"window": 5}, "arch.window must be absent"),
        ({"mlp_tt": False}, "arch.mlp_tt must be absent.*Did you mean mlp_t"),
        ({"L_layers": 10**9}, "L_layers must be a whole number in"),
        ({"H_cycles": 10**9}, "H_cycles must be a whole number in"),
        ({"L_cycles": 10**30}, "L_cycles must be a whole number in"),
        ({"halt_max_steps": 10**9}, "halt_max_steps must be"),
        ({"hidden_size": 10**12}, "hidden_size must be"),
        ({"puzzle_emb_len": 10**9}, "puzzle_emb_len must be"),
        ({"puzzle_emb_ndim": -1}, "puzzle_emb_ndim must be"),
        ({"expansion": float("nan")}, "expansion must be a finite number"),
        ({"expansion": 1e9}, "expansion must be"),
        ({"num_heads": 0}, "num_heads must be"),
        ({"mlp_t": "yes"}, "mlp_t must be true or false"),
        ({"hidden_size": [64] * 10_000}, "hidden_size must be a whole number"),
        ({"forward_dtype": "int8"}, "unknown arch.forward_dtype"),
        ({"hidden_size": "${.hidden_size}"}, "hidden_size must be a whole number"),
    ],
)
def test_what_is_another_network_is_named(changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load_public_checkpoint(rearched(run_folder(tmp_path), **changes))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_lightning_modules_are_named(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    model = {"_target_": "src.nn.models.trm_module.TRMModule", "_recursive_": False, "hidden_size": 512}
    (folder / CONFIG).write_text(yaml.safe_dump({"model": model}))
    with pytest.raises(CheckpointError, match="trm_module"):
        load_public_checkpoint(folder)


def test_a_reasoner_of_this_library_is_no_public_one(tmp_path: Path) -> None:
    assert cli.run(["import", str(GOLDEN / "trm_mlp"), "--out", str(tmp_path / "out")]) == 0
    with pytest.raises(CheckpointError, match="holds a reasoner of latent_rl"):
        load_public_checkpoint(tmp_path / "out")


def laughs(levels: int = 30) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join([*lines, f"arch: {{hidden_size: *a{levels - 1}}}"])


def merges(levels: int = 30) -> str:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, levels)]
    return "\n".join([*lines, f"arch: {{<<: *a{levels - 1}}}"])


@pytest.mark.parametrize(
    "text",
    [
        laughs(), merges(), "[" * 100_000, "arch: " + "{a: " * 5000, "arch: {hidden_size: " + "9" * 100_000 + "}",
        "arch: !!python/object/apply:os.system [ls]", "arch: {hidden_size: !!int ''}", "arch: !!timestamp x",
        "arch: {hidden_size: 2000-99-99}", "? [a, {b: c}]\n: d", "arch: [hidden_size, 64]", "arch", "",
        "x: " + "y" * 2**20,
        "arch: &a [*a]", "--- a\n--- b",
    ],
    ids=range(16),
)  # fmt: skip
def test_harmful_descriptions(text: str, tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    (folder / CONFIG).write_text(text)
    started = time.monotonic()
    with pytest.raises(CheckpointError) as caught:
        load_public_checkpoint(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700
    assert time.monotonic() - started < 5


def test_scalars_may_be_repeated_by_reference(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    text = yaml.safe_dump({"arch": ARCH}).replace("hidden_size: 64", "hidden_size: &d 64")
    (folder / CONFIG).write_text(text.replace("puzzle_emb_ndim: 64", "puzzle_emb_ndim: *d"))
    assert same_as_golden(folder)


HEAD = "_orig_mod.model.inner.lm_head.weight"
CODE = {"namespace": Namespace(a=1), "function": os.getcwd, "type": Path}


def head(tensor: Tensor) -> dict[str, Tensor]:
    return {**RAW, HEAD if HEAD in RAW else next(name for name in RAW if "lm_head" in name): tensor}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (head(torch.ones(1, dtype=torch.bfloat16).expand(10**6, 10**6)), "lm_head.weight is .*expanded from 2 bytes"),
        (head(torch.ones(100).as_strided((10**9, 10), (0, 1))), "expanded from"),
        (head(torch.full((6, 64), float("nan"))), "lm_head.weight has NaN or infinity"),
        (head(torch.full((6, 64), float("inf"))), "NaN or infinity"),
        (head(torch.ones(6, 64, dtype=torch.int8)), "lm_head.weight is int8"),
        (head(torch.ones(6, 64, dtype=torch.complex64)), "is complex64"),
        (head(torch.ones(6, 64, dtype=torch.bool)), "is bool"),
        (head(torch.ones(6, 64).to_sparse()), "plain arrays|damaged"),
        (head(torch.ones(6, 64, device="meta")), "plain arrays|damaged"),
        (head(torch.ones(64, 6)), r"lm_head.weight is \[64, 6\] instead of \[6, 64\]"),
        (head(torch.ones(())), r"lm_head.weight is \[\] instead of"),
        ({name: torch.zeros(1).expand(tensor.shape) for name, tensor in RAW.items()}, "expanded from 4 bytes"),
        (dict.fromkeys([*RAW, *map(str, range(2000))], torch.ones(6, 64)), "its weights share them"),
        ({}, "it holds nothing"),
        (torch.ones(3), "it holds a Tensor"),
        ([RAW], "it holds a list"),
        ({"model": {"model": {"model": {"model": {"model": RAW}}}}}, "it holds model"),
        ({"args": Namespace(a=1), "model": RAW}, "asks for argparse.Namespace"),
        ({"x": os.system, **RAW}, "asks for posix.system"),
    ],
    ids=range(19),
)  # fmt: skip
@pytest.mark.parametrize("new", [True, False])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_weights_that_are_none(content: object, message: str, new: bool, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load_public_checkpoint(run_folder(tmp_path, content, _use_new_zipfile_serialization=new))
    assert "\n" not in str(caught.value)


def repacked(folder: Path, **options: Any) -> None:
    """The weights' archive with every member packed anew."""
    with zipfile.ZipFile(folder / "step_1") as archive:
        members = {member.filename: archive.read(member) for member in archive.infolist()}
    with zipfile.ZipFile(folder / "step_1", "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_archives_that_torch_does_not_write(tmp_path: Path) -> None:
    bomb = {"model": RAW, "zeros": torch.zeros(2**24)}
    folder = run_folder(tmp_path, bomb)
    repacked(folder, compression=zipfile.ZIP_DEFLATED)
    assert (folder / "step_1").stat().st_size < 2**23
    with pytest.raises(CheckpointError, match="its members are packed"):
        load_public_checkpoint(folder)
    content = bytearray((run_folder(tmp_path) / "step_1").read_bytes())
    place = content.rindex(b"PK\x01\x02")  # the directory's last entry: another size
    content[place + 20 : place + 28] = (2**31).to_bytes(4, "little") * 2
    (folder / "step_1").write_bytes(content)
    with pytest.raises(CheckpointError, match="its members are larger than the file"):
        load_public_checkpoint(folder)
    (folder / "step_1").write_bytes(b"\0" * 257 + b"ustar" + b"\0" * 300)
    with pytest.raises(CheckpointError, match="tar archive"):
        load_public_checkpoint(folder)


SCRIPT = """
import pathlib, re, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
from latent_rl import __main__ as cli
import latent_rl.commands.import_public
folder, out, *names = sys.argv[1:]
print(*[cli.run(["import", folder, "--weights", name, "--out", out]) for name in names])
# Not ru_maxrss, which begins with the peak of the process that started this one.
print(int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) // 1024)
"""


def test_no_memory_is_taken_for_what_a_file_claims(tmp_path: Path) -> None:
    """A legacy file whose storage claims 400 GB, a header of safetensors that does, a sparse file of 100 GB."""
    folder = run_folder(tmp_path / "run", {"a" * 3: torch.zeros(3), **RAW}, _use_new_zipfile_serialization=False)
    content = (folder / "step_1").read_bytes()
    (folder / "step_1").write_bytes(content.replace(b"cpuq\x06K\x03", b"cpuq\x06J\xff\xff\xff\x7f", 1))
    with (folder / "step_2").open("wb") as file:
        file.truncate(100 * 2**30)
    header = b'{"lm_head.weight":{"dtype":"F32","shape":[100000000000],"data_offsets":[0,400000000000]}}'
    (folder / "step_3").write_bytes(len(header).to_bytes(8, "little") + header)
    arguments = [str(folder), str(tmp_path / "out"), "step_1", "step_2", "step_3"]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert re.fullmatch(r"(latent-rl: .* must be a whole weights file .*\n){3}", done.stderr), done.stderr
    codes, peak = done.stdout.splitlines()
    assert codes == "2 2 2"
    assert int(peak) < 1500


def fails_on_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "write_atomically", write)


def test_an_import_that_was_cut_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["import", str(GOLDEN / "trm_mlp"), "--out", str(tmp_path / "a" / "out")]
    with monkeypatch.context() as patch:
        fails_on_weights(patch)
        assert cli.run(command) == 2
    assert "No space left" in capsys.readouterr().err
    assert cli.run(command) == 0
    assert load_reasoner(tmp_path / "a" / "out").seq_len == 16
    assert cli.run(command) == 2
    assert "must not hold a reasoner already" in capsys.readouterr().err


def test_two_imports_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    held, done = threading.Event(), threading.Event()

    def other() -> None:
        with claimed(out):
            held.set()
            done.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    held.wait(30)
    assert cli.run(["import", str(GOLDEN / "trm_mlp"), "--out", str(out)]) == 2
    assert "must have one writer" in capsys.readouterr().err
    done.set()
    thread.join()
    assert cli.run(["import", str(GOLDEN / "trm_mlp"), "--out", str(out)]) == 0


def test_places_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "in", Path("/dev/null"), Path("/proc/no")):
        assert cli.run(["import", str(GOLDEN / "trm_mlp"), "--out", str(out)]) == 2
        assert re.fullmatch(r"latent-rl: .*\n", capsys.readouterr().err)


def test_a_stop_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("latent_rl.reasoners.public.checkpoints.read_weights", stop)
    assert cli.run(["import", str(GOLDEN / "trm_mlp"), "--out", str(tmp_path / "out")]) == 128 + signal.SIGINT
    assert re.fullmatch(r"latent-rl: stopped; .*out holds no reasoner yet\. Go on with: .*\n", capsys.readouterr().err)


def test_the_length_may_not_take_the_memory(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(GOLDEN / "trm_att", folder)
    with pytest.raises(InvalidValueError, match="seq_len must be one whole number"):
        load_public_checkpoint(folder, seq_len=10**9)
    (folder / DATASET).write_text('{"seq_len": 1000000000}')
    with pytest.raises(InvalidValueError, match="seq_len must be one whole number"):
        load_public_checkpoint(folder)


def test_an_odd_number_of_embeddings_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The dataset tells other puzzle ids than the weights have; or its identifiers do."""
    folder = run_folder(tmp_path)
    (folder / DATASET).write_text('{"seq_len": 16, "vocab_size": 6, "num_puzzle_identifiers": 5}')
    with pytest.raises(InvalidValueError, match=r"for each of the 5 puzzle ids that dataset\.json tells; it has 4"):
        load_public_checkpoint(folder)
    (folder / DATASET).unlink()
    with caplog.at_level(logging.WARNING):
        load_public_checkpoint(folder)
    assert "what the 4 puzzle ids" in caplog.text
    (folder / "identifiers.json").write_text('["<blank>", "a", "b"]')
    with pytest.raises(CheckpointError, match="4 puzzle ids mean; it names 3"):
        load_public_checkpoint(folder)
    assert run_folder(tmp_path)
    (folder / "identifiers.json").write_text('{"a": 1}')
    with pytest.raises(CheckpointError, match="must be a list of names"):
        load_public_checkpoint(folder)


def test_outputs_are_those_of_the_golden_run(tmp_path: Path) -> None:
    """Old format, half precision, wrapped: it computes what the run does, to the precision that the file has."""
    half = {f"module.{name}": tensor.half() for name, tensor in RAW.items()}
    folder = run_folder(tmp_path, {"state_dict": half}, "ckpt.pt", _use_new_zipfile_serialization=False)
    inputs, ids = some_inputs()
    outputs = []
    for place in (folder, GOLDEN / "trm_mlp"):
        reasoner = load_public_checkpoint(place)
        _, output = reasoner.step(inputs, reasoner.initial_carry(len(inputs)), 0, puzzle_ids=ids)
        outputs.append(output.conditional_logits)
    torch.testing.assert_close(outputs[0], outputs[1], atol=0.2, rtol=0)


def test_a_run_folder_in_place_of_a_reasoner_is_told_the_way(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"Convert it: latent-rl import .*run --out my-reasoner"):
        load_reasoner(folder)
