"""Damaged and foreign files of ours: one clear line each, before memory is taken, and never a wrong result."""

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attacks import with_flipped_bit
from helpers import example_source, random_reasoner
from safetensors.torch import load_file, save_file

from latent_rl.errors import CheckpointError, LatentRLError, PuzzleError
from latent_rl.reasoners import checkpoint
from latent_rl.reasoners.checkpoint import (
    CONFIG,
    WEIGHTS,
    chosen_steps,
    load_reasoner,
    reasoner_facts,
    save_reasoner,
    seal,
    shipped_reasoners,
)
from latent_rl.tasks import bank
from latent_rl.training.progress import Progress
from latent_rl.training.state import TrainingState, read_training_state, save_training_state
from latent_rl.training.trainer import TrainConfig, train
from latent_rl.training.updates import train_batch

DECODING = {"num_steps": 6, "solved_rate": 0.5, "num_puzzles": 200}
TINY = TrainConfig(task="sudoku4x4", num_batches=1, batch_size=4, num_validation=4, validation_steps=1, save_every=1)


def refused(read: Callable[[], Any], message: str = "") -> None:
    """One line, soon."""
    started = time.perf_counter()
    with pytest.raises(CheckpointError, match=message) as error:
        read()
    assert "\n" not in str(error.value)
    assert time.perf_counter() - started < 5


def edit(folder: Path, *keys: str, value: Any) -> None:
    """Change `config.json` by hand, and say so."""
    facts = json.loads((folder / CONFIG).read_text())
    place = facts
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (folder / CONFIG).write_text(json.dumps(facts))
    seal(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_reasoner(random_reasoner(), tmp_path / "reasoner", {"decoding": DECODING})
    return tmp_path / "reasoner"


class TestReasoner:
    """A folder with a reasoner."""

    @pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
    def test_a_flipped_bit_is_never_silent(self, name: str, folder: Path) -> None:
        """It is refused, or stands where nothing is read: between the words of a JSON file."""
        path, facts = folder / name, reasoner_facts(folder)
        whole, draws = path.read_bytes(), random.Random(0)
        errors: list[str] = []
        for _ in range(200):
            path.write_bytes(with_flipped_bit(whole, draws.getrandbits(40)))
            try:
                load_reasoner(folder)
                chosen_steps(folder)
            except CheckpointError as error:
                errors.append(str(error))
            else:
                assert (name, reasoner_facts(folder)) == (CONFIG, facts)
        assert len(errors) > 150
        assert "\n" not in "".join(errors)

    @pytest.mark.parametrize("left", [0, 7, 8, 100, -10])
    def test_a_cut_file(self, left: int, folder: Path) -> None:
        for name in (WEIGHTS, CONFIG):
            whole = (folder / name).read_bytes()
            (folder / name).write_bytes(whole[:left])
            refused(lambda: load_reasoner(folder), name)
            (folder / name).write_bytes(whole)

    @pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
    def test_a_missing_file(self, name: str, folder: Path) -> None:
        (folder / name).unlink()
        refused(lambda: load_reasoner(folder), name)

    @pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
    def test_what_is_no_file(self, name: str, folder: Path) -> None:
        """A device never ends."""
        (folder / name).unlink()
        (folder / name).symlink_to("/dev/zero")
        refused(lambda: load_reasoner(folder), "it is no file")

    def test_weights_of_another_run(self, folder: Path) -> None:
        """Of the same shape: nothing but the checksum tells."""
        other = random_reasoner()
        other.head.data += 1
        save_reasoner(other, folder / "other")
        (folder / "other" / WEIGHTS).replace(folder / WEIGHTS)
        refused(lambda: load_reasoner(folder), "of another run")

    def test_a_folder_without_checksums(self, folder: Path) -> None:
        facts = reasoner_facts(folder)
        del facts["checksums"]
        (folder / CONFIG).write_text(json.dumps(facts))
        refused(lambda: load_reasoner(folder), "call latent_rl.reasoners.checkpoint.seal")
        seal(folder)
        assert load_reasoner(folder).config == random_reasoner().config

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda w: w | {"head": w["head"] * torch.nan}, "head must be finite"),
            (lambda w: w | {"head": w["head"] / 0}, "head must be finite"),
            (lambda w: w | {"head": w["head"].to(torch.int8)}, r"head must be torch.float32 \[6, 16\]; got torch.int8"),
            (lambda w: w | {"head": w["head"].double()}, "got torch.float64"),
            (lambda w: w | {"head": w["head"].bfloat16()}, "got torch.bfloat16"),
            (lambda w: w | {"head": w["head"].to(torch.complex64)}, "got torch.complex64"),
            (lambda w: w | {"head": w["head"].to(torch.float8_e4m3fn)}, "got torch.float8"),
            (lambda w: w | {"head": w["head"].T.contiguous()}, r"got torch.float32 \[16, 6\]"),
            (lambda w: {name: tensor for name, tensor in w.items() if name != "head"}, "head is missing"),
            (lambda w: w | {"tail": w["head"]}, "tail is none of them"),
            (lambda w: {}, "blocks.0.cells.down is missing"),
            (lambda w: w | {"tail": torch.zeros(2**20)}, "bytes; got 4,"),
        ],
    )
    def test_weights_that_the_config_does_not_describe(
        self, change: Callable[[dict], dict], message: str, folder: Path
    ) -> None:
        weights = change(load_file(folder / WEIGHTS))
        save_file({name: tensor.clone() for name, tensor in weights.items()}, folder / WEIGHTS)
        seal(folder)
        refused(lambda: load_reasoner(folder), message)

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("num_layers", 10**9, "num_layers must be a whole number in"),
            ("num_layers", 1000, "bytes|is missing"),
            ("num_layers", 1.0, "num_layers must be a whole number"),
            ("num_layers", True, "num_layers must be a whole number"),
            ("num_layers", "1", "num_layers must be a whole number"),
            ("num_layers", None, "num_layers must be a whole number"),
            ("num_cycles", 10**9, "num_cycles must be a whole number in"),
            ("num_cycles", 9999, "forward passes"),
            ("num_supervision_steps", 10**9, "num_supervision_steps must be"),
            ("num_supervision_steps", 7, r"embed_step must be torch.float32 \[7, 16\]; got torch.float32 \[6, 16\]"),
            ("seq_len", 10_000, r"blocks.0.cells.down must be torch.float32 \[10000, 26"),
            ("seq_len", -1, "seq_len must be"),
            ("vocab_size", 10**30, "vocab_size must be"),
            ("width", 65536, "must hold the weights"),
            ("expansion", float("nan"), "expansion must be a finite number"),
            ("expansion", 0, "expansion must be a number in"),
            ("mixer", "atention", "did you mean 'attention'"),
            ("mixer", ["mlp"], "mixer must be text"),
            ("feedback", 0, "feedback must be true or false"),
            ("num_puzzle_ids", 10**9, "num_puzzle_ids must be"),
            ("widht", 3, "did you mean 'width'"),
            ("x" * 10**6, 3, "unknown TRMConfig field 'xxx"),
        ],
    )
    def test_a_shape_that_makes_no_sense(self, field: str, value: Any, message: str, folder: Path) -> None:
        edit(folder, "reasoner", field, value=value)
        refused(lambda: load_reasoner(folder), message)

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("architecture", "hmr", "did you mean 'hrm'"),
            ("architecture", None, "unknown architecture 'None'"),
            ("architecture", ["trm"], "unknown architecture"),
            ("architecture", "x" * 10**6, "unknown architecture 'xxx"),
            ("reasoner", 3, "TRMConfig must be given by the names of its fields; got 3"),
            ("reasoner", [["a"]], "must be given by the names"),
            ("reasoner", {}, "TRMConfig needs seq_len, vocab_size"),
        ],
    )
    def test_a_config_that_describes_nothing(self, key: str, value: Any, message: str, folder: Path) -> None:
        edit(folder, key, value=value)
        refused(lambda: load_reasoner(folder), message)

    @pytest.mark.parametrize(
        "value",
        [None, 3, "x", [6], {}, {"num_steps": None}, {"num_steps": True}, {"num_steps": 6.0}, {"num_steps": 0},
         {"num_steps": 10**9}, {"num_steps": 6, "solved_rate": 2}, {"num_steps": 6, "extra": 1}],
    )  # fmt: skip
    def test_a_decoding_that_makes_no_sense(self, value: Any, folder: Path) -> None:
        edit(folder, "decoding", value=value)
        refused(lambda: chosen_steps(folder), "must say how to decode: ")

    def test_numbers_that_json_has_and_we_do_not(self, folder: Path) -> None:
        for text in ("{" * 100_000, '{"a": ' + "9" * 5000 + "}", "[]", "\xff", '{"reasoner": ' * 100_000):
            (folder / CONFIG).write_bytes(text.encode("latin1"))
            refused(lambda: load_reasoner(folder), "must be a readable JSON file|must hold a JSON object")

    def test_a_save_that_was_cut_is_mended_by_going_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Weights first, `config.json` last: between the two the pair is refused, and a training writes it again."""
        whole = train(TINY, random_reasoner().requires_grad_(True), tmp_path)
        state, other = whole.state_dict(), random_reasoner()
        other.head.data += 1

        class Killed(Exception):
            pass

        def killed(*arguments: Any) -> None:
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "write_json", killed)
            with pytest.raises(Killed):
                save_reasoner(other, tmp_path)
        refused(lambda: load_reasoner(tmp_path), "a save was cut")
        train(TINY, random_reasoner().requires_grad_(True), tmp_path, resume=True)
        mended = load_reasoner(tmp_path, torch.float32).state_dict()
        assert all(torch.equal(mended[name], value) for name, value in state.items())


def test_an_absurd_shape_takes_no_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is made for real only if its weights are there."""
    real = checkpoint.make_reasoner
    devices: list[str] = []

    def watched(config: Any, dtype: Any = None) -> Any:
        reasoner = real(config, dtype)
        devices.append(reasoner.head.device.type)
        return reasoner

    monkeypatch.setattr(checkpoint, "make_reasoner", watched)
    load_reasoner(folder)
    assert devices == ["meta", "cpu"]
    edit(folder, "reasoner", "width", value=65536)
    refused(lambda: load_reasoner(folder), "must hold the weights")
    assert devices == ["meta", "cpu", "meta"]


def test_a_network_that_looks_at_its_numbers_loads_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Curious(checkpoint.TRM):  # final, but for this test
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.scale = self.head.abs().max().item()

    monkeypatch.setitem(checkpoint.ARCHITECTURES, "trm", (Curious, checkpoint.TRMConfig))
    assert load_reasoner(folder).scale > 0


@pytest.mark.parametrize("name", shipped_reasoners())
def test_shipped_folders_are_sealed(name: str) -> None:
    assert set(reasoner_facts(name)["checksums"]) == {CONFIG, WEIGHTS}
    assert chosen_steps(name) >= 1


class TestTrainingState:
    """`training.safetensors`, of which every bit counts."""

    @pytest.fixture(scope="class")
    @staticmethod
    def state() -> TrainingState:
        torch.manual_seed(0)
        state = TrainingState.begin(example_source(TINY), random_reasoner().requires_grad_(True).train())
        train_batch(state, state.batching.steps(0))
        return state

    @pytest.fixture
    def file(self, state: TrainingState, tmp_path: Path) -> Path:
        save_training_state(tmp_path / "state", state, Progress(batch=1, curve=[{"batch": 1, "train/loss": 2.5}]))
        return tmp_path / "state"

    def test_a_flipped_bit_is_never_silent(self, state: TrainingState, file: Path) -> None:
        whole, draws = file.read_bytes(), random.Random(0)
        header = 8 * int.from_bytes(whole[:8], "little")
        for number in range(300):
            place = draws.randrange(header) if number % 2 else draws.getrandbits(40)
            file.write_bytes(with_flipped_bit(whole, place))
            refused(lambda: read_training_state(file, TINY, state.reasoner), "must be a whole training state")
        file.write_bytes(whole)
        progress, tensors = read_training_state(file, TINY, state.reasoner)
        assert progress.batch == 1
        for name, tensor in state.tensors().items():
            assert torch.equal(tensors[name], tensor)

    @pytest.mark.parametrize("left", [0, 5, 8, 1000, -20, -1])
    def test_a_cut_file(self, left: int, state: TrainingState, file: Path) -> None:
        file.write_bytes(file.read_bytes()[:left])
        refused(lambda: read_training_state(file, TINY, state.reasoner), "must be a whole training state")

    def test_other_files(self, state: TrainingState, file: Path) -> None:
        def refuses(message: str) -> None:
            refused(lambda: read_training_state(file, TINY, state.reasoner), message)

        for content in (b"\0" * 100, b"x" * 100, b'{"sha256":"' + b"0" * 64 + b'"}'):
            file.write_bytes(content)
            refuses("must be a whole training state")
        save_file({"a": torch.zeros(2)}, file)
        refuses("must be a whole training state: it has no '__metadata__'. Copy it again")
        file.unlink()
        file.mkdir()
        refuses("must be a whole training state: it is no file")

    @pytest.mark.parametrize(
        ("shape", "message"),
        [({"width": 32}, r"--width \(was 16, is 32\)"), ({"num_latent_updates": 3}, r"--num-latent-updates \(was 2")],
    )
    def test_a_state_of_another_network(self, shape: dict, message: str, file: Path) -> None:
        """Also of one whose weights would fit."""
        refused(lambda: read_training_state(file, TINY, random_reasoner(**shape)), message)

    def test_tensors_of_another_run(self, state: TrainingState) -> None:
        tensors = state.tensors()
        for other in ({"reasoner/head": tensors["reasoner/embed_tokens"][:, :3]}, {"optimizer0/0/x/y": torch.zeros(1)}):
            refused(lambda other=other: state.load(tensors | other), "must fit this reasoner and its optimizers")


class TestBank:
    """Banks of puzzles are read by many processes that would make nothing of a wrong one."""

    def test_a_flipped_bit_is_never_silent(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = (bank.FOLDER / "sudoku4x4.npz").read_bytes()
        monkeypatch.setattr(bank, "FOLDER", tmp_path)
        file, draws = tmp_path / "sudoku4x4.npz", random.Random(0)
        file.write_bytes(whole)
        right = bank.load_bank.__wrapped__("sudoku4x4", "test")
        errors: list[str] = []
        for _ in range(200):
            file.write_bytes(with_flipped_bit(whole, draws.getrandbits(40)))
            try:
                found = bank.load_bank.__wrapped__("sudoku4x4", "test")
            except PuzzleError as error:
                errors.append(str(error))
            else:
                assert torch.equal(found.inputs, right.inputs)
                assert torch.equal(found.labels, right.labels)
        assert len(errors) > 50
        assert "\n" not in "".join(errors)

    @pytest.mark.parametrize("content", [b"", b"PK", b"x" * 1000])
    def test_what_is_no_bank(self, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bank, "FOLDER", tmp_path)
        (tmp_path / "sudoku4x4.npz").write_bytes(content)
        for read in (lambda: bank.load_bank.__wrapped__("sudoku4x4", "test"), lambda: bank.bank_facts("sudoku4x4")):
            with pytest.raises(LatentRLError, match=r"sudoku4x4\.npz must be a whole bank"):
                read()

    def test_the_bank_of_another_size(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "sudoku4x4.npz").write_bytes((bank.FOLDER / "sudoku6x6.npz").read_bytes())
        monkeypatch.setattr(bank, "FOLDER", tmp_path)
        with pytest.raises(PuzzleError, match="it is that of sudoku6x6"):
            bank.load_bank.__wrapped__("sudoku4x4", "test")
        np.savez(tmp_path / "sudoku4x4.npz", facts=np.array("{}"))
        with pytest.raises(PuzzleError, match="must be a whole bank"):
            bank.load_bank.__wrapped__("sudoku4x4", "test")
