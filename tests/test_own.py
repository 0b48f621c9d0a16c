"""A user's own task and network: what the bases owe them."""

import pickle
import re
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import pytest
import torch
from pages import ROOT, blocks
from torch import Tensor, nn

from latent_rl.envs import Core, register
from latent_rl.errors import CheckpointError, PuzzleError, UnknownNameError
from latent_rl.evaluation.fixed_steps import evaluate_fixed
from latent_rl.reasoners.base import Reasoner, ReasonerModule
from latent_rl.reasoners.checkpoint import ARCHITECTURES, load_reasoner, save_reasoner, shared_reasoner
from latent_rl.tasks.base import Task, first, sample
from latent_rl.tasks.registry import TASKS, make_task
from latent_rl.training.optim import muon
from latent_rl.training.trainer import TrainConfig, train
from latent_rl.types import Carry, Puzzles, PuzzleSource, ReasonerOutput


class Mirror(Task):
    """The answer is the input read backwards; the first cell's answer is given away as token 3."""

    name, seq_len, symbols = "mirror", 4, "_ab*"

    def puzzles(self, split: str) -> Puzzles:
        tokens = torch.cartesian_prod(*[torch.tensor([1, 2])] * 4)
        return Puzzles(tokens, tokens.flip(1))

    def is_given(self, inputs: Tensor) -> Tensor:
        return inputs == 3

    def verify(self, inputs: Tensor, answers: Tensor) -> Tensor:
        return (answers == inputs.flip(1)).all(1)


@dataclass(frozen=True, kw_only=True)
class LinearConfig:
    vocab_size: int
    seq_len: int
    width: int = 8
    num_latent_updates: int = 2
    num_supervision_steps: int = 2


class Linear(ReasonerModule):
    """No blocks, no dtype: the least that a network must have."""

    def __init__(self, config: LinearConfig) -> None:
        super().__init__(config)
        self.tokens = nn.Embedding(config.vocab_size, config.width)
        self.mix = nn.Linear(config.seq_len, config.seq_len)
        self.readout = nn.Linear(config.width, config.vocab_size)

    def initial_carry(self, batch_size: int, keys: Tensor | None = None) -> Carry:
        states = torch.zeros(batch_size, self.seq_len, self.config.width)
        return Carry(states, states, torch.zeros(batch_size, self.seq_len, dtype=torch.int64))

    def step(self, inputs, carry, step_index, *, puzzle_ids=None, num_latent_updates=None):  # type: ignore[no-untyped-def]
        updates = num_latent_updates or self.num_latent_updates
        answer = self.mix(self.tokens(inputs).transpose(1, 2)).transpose(1, 2) + 0.1 * carry.answer
        before, after = self.readout(carry.answer), self.readout(answer)
        output = ReasonerOutput(before, after, after.mean((1, 2)), updates + 1)
        return Carry(answer, carry.latent, after.argmax(-1)), output


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "mirror", Mirror())
    monkeypatch.setitem(ARCHITECTURES, "linear", (Linear, LinearConfig))


def test_three_methods_make_a_task() -> None:
    task = Mirror()
    assert isinstance(task, Task)
    base = task.puzzles("test")
    assert task.vocab_size == 4
    answers = task.constrain(base.inputs, torch.randn(16, 4, 4)).argmax(-1)
    assert (answers > 0).all()
    assert task.satisfied_share(base.inputs, base.labels).tolist() == [1.0] * 16
    assert torch.equal(task.symmetry(torch.rand(16, 0, dtype=torch.float64)).apply(base.inputs), base.inputs)
    order = task.edit_order(base.inputs, base.labels, torch.rand(16, 4, dtype=torch.float64))
    assert torch.equal(order.sort(1).values, torch.arange(4).expand(16, -1))
    assert not task.is_ambiguous(base.inputs).any()


class Numbers(PuzzleSource):
    """The mirror's puzzles, made when they are asked for: row r is r in binary."""

    def __len__(self) -> int:
        return 16

    def select(self, rows: Tensor) -> Puzzles:
        tokens = (rows[:, None] >> torch.arange(3, -1, -1) & 1) + 1
        return Puzzles(tokens, tokens.flip(1))


def test_puzzles_may_be_made_when_they_are_asked_for() -> None:
    class Endless(Mirror):
        def puzzles(self, split: str) -> PuzzleSource:
            return Numbers()

    task, table = Endless(), Mirror().puzzles("test")
    assert isinstance(table, PuzzleSource)
    assert task.num_puzzles("train") == 16
    assert torch.equal(first(task, "test", 5).inputs, table.inputs[:5])
    assert torch.equal(task.puzzles("test")[4::3].inputs, table.inputs[4::3])
    made, stored = (sample(Mirror(), base, 9, torch.Generator().manual_seed(0)) for base in (Numbers(), table))
    assert torch.equal(made.labels, stored.labels)
    reasoner = Linear(LinearConfig(vocab_size=4, seq_len=4))
    one, other = (evaluate_fixed(reasoner, task, puzzles, 2, batch_size=7) for puzzles in (Numbers(), table))
    assert torch.equal(one.token_accuracy, other.token_accuracy)
    keys = torch.arange(30)
    one, other = (Core(each, reasoner).start(keys) for each in (task, Mirror()))
    assert torch.equal(one.inputs, other.inputs)


def test_its_text_goes_there_and_back_and_mistakes_are_named() -> None:
    task = Mirror()
    for tokens in task.puzzles("test").inputs:
        assert torch.equal(task.parse(task.format(tokens)), tokens)
    assert task.render(torch.tensor([1, 2, 2, 3])) == "a b\nb *"
    with pytest.raises(PuzzleError, match="the symbols a b \\*; got '_' at position 2"):
        task.parse("a_ab")
    with pytest.raises(PuzzleError, match="no solver"):
        task.any_answer(torch.ones(4, dtype=torch.int64))


def test_an_abstract_task_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Task()  # type: ignore[abstract]


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_an_own_network_trains_resumes_saves_and_loads(optimizer: str, tmp_path: Path) -> None:
    """Through the repository's own trainer; the environment then runs the saved folder."""
    config = TrainConfig(
        task="mirror", num_batches=40, batch_size=32, optimizer=optimizer, lr=0.05, warmup_steps=5, ema=0.5,
        reveal_fraction=0, midway_fraction=0, extended_fraction=0, validation_steps=2, save_every=20,
    )  # fmt: skip
    torch.manual_seed(0)
    trained = train(config, Linear(LinearConfig(vocab_size=4, seq_len=4)), tmp_path / "run")
    assert isinstance(trained, Reasoner)
    loaded = load_reasoner(tmp_path / "run")
    assert type(loaded) is Linear
    inputs = Mirror().puzzles("test").inputs
    for one, other in zip(trained.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(one, other)
    core = Core("mirror", tmp_path / "run", horizon=4)
    state = core.begin(Mirror().puzzles("test"), torch.arange(16))
    state = core.step(state, core.mode.decode(torch.ones(16, dtype=torch.int64))).state
    assert core.task.verify(inputs, state.submission).float().mean() > 0.9


def test_a_network_without_blocks_gets_adamw_alone() -> None:
    optimizers = muon(Linear(LinearConfig(vocab_size=4, seq_len=4)), 1e-3, 1e-3, 0.1)
    assert [type(optimizer).__name__ for optimizer in optimizers] == ["AdamW"]


def test_a_shared_reasoner_is_one_and_is_sent_to_other_processes_by_name() -> None:
    """Ray pickles what makes an environment: a reasoner cached in a script could not be found there."""
    assert shared_reasoner("sudoku4x4") is shared_reasoner("sudoku4x4")
    assert pickle.loads(pickle.dumps(shared_reasoner)) is shared_reasoner


def test_a_folder_of_an_unregistered_network_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = Linear(LinearConfig(vocab_size=4, seq_len=4))
    with pytest.raises(UnknownNameError, match="unknown architecture 'Linear'"):
        save_reasoner(module, tmp_path)
    with monkeypatch.context() as patch:
        patch.setitem(ARCHITECTURES, "linear", (Linear, LinearConfig))
        save_reasoner(module, tmp_path)
    with pytest.raises(CheckpointError, match="unknown architecture 'linear'"):
        load_reasoner(tmp_path)


def test_a_task_can_be_named_by_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_mirror.py").write_text(
        "from test_own import Mirror\nfrom latent_rl.tasks.registry import TASKS\nTASKS['mirror'] = Mirror()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    try:
        assert make_task("my_mirror:mirror").name == "mirror"
    finally:
        TASKS.pop("mirror", None)
    with pytest.raises(UnknownNameError, match="unknown task 'mirrow'"):
        make_task("my_mirror:mirrow")
    with pytest.raises(UnknownNameError, match="No module named 'my_miror'"):
        make_task("my_miror:mirror")


@pytest.mark.usefixtures("registered")
def test_an_own_environment_is_registered_single_and_batched() -> None:
    register("Mirror-v0", task="mirror", reasoner=Linear(LinearConfig(vocab_size=4, seq_len=4)), horizon=3)
    try:
        assert gym.make("Mirror-v0").unwrapped.core.horizon == 3
        assert gym.make_vec("Mirror-v0", num_envs=5).reset(seed=0)[0].shape == (5, 19)
    finally:
        del gym.registry["Mirror-v0"]


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="needs the checkout, not the wheel alone")
def test_a_timetable_that_nobody_has_solved_is_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script of the page on training without labels, in a small school."""
    (script,) = [block.code for block in blocks((ROOT / "docs/without_labels.md").read_text()) if block.file]
    assert script.count("\n") < 50
    for large, small in [
        ("CLASSES, HOURS, TEACHERS, OUT = 6, 7, 7,", "CLASSES, HOURS, TEACHERS, OUT = 3, 3, 4,"),
        ("2000,", "300,"),
        ('"test": 200}, 100', '"test": 200}, 8'),
        ('"search_every": 25', '"search_every": 4'),
    ]:
        assert script.count(large) == 1
        script = script.replace(large, small)
    (tmp_path / "school.py").write_text(script)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(TASKS, "school", Mirror())  # so that the script's own is taken out again
    names = runpy.run_path("school.py", run_name="__main__")
    by_reward, plain, found = map(float, re.findall(r"\b[01]\.\d+", capsys.readouterr().out))
    assert max(by_reward, plain) <= 1
    assert found > 0.5
    assert not any(names["task"].puzzles(split).labels.any() for split in names["COUNTS"])
