"""Comparisons: what they leave, paired and resumable; episodes as people see them."""

import csv
import json
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attacks import attacks, damaged, poison, resealed, results, stopped, stopped_when
from helpers import TASK, random_core, random_reasoner
from PIL import Image
from rich.console import Console
from stable_baselines3 import PPO
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from latent_rl import __main__ as cli
from latent_rl.agents.baselines import baseline_names
from latent_rl.agents.commands import compare as report
from latent_rl.agents.commands import runs as module
from latent_rl.agents.commands.compare import Comparison, compare
from latent_rl.agents.commands.runs import Run, RunSetting, load_outcome, save_outcome
from latent_rl.agents.commands.setting import Process, Setting
from latent_rl.agents.evaluate import Outcome, evaluate_policy
from latent_rl.agents.report.replay import frames, show_episode, telling_puzzle
from latent_rl.agents.report.rows import averaged, report_row
from latent_rl.agents.rules import two_threshold_rule
from latent_rl.agents.saved import AGENT
from latent_rl.agents.sb3.agents import AGENTS, AgentSpec, EpisodeStatistics
from latent_rl.agents.sb3.vec_env import LatentVecEnv
from latent_rl.errors import CheckpointError, FileError, InvalidValueError, LatentRLError, UnknownNameError
from latent_rl.reasoners.checkpoint import save_reasoner
from latent_rl.storage.claims import claimed
from latent_rl.storage.stops import Terminated

BASE = TASK.puzzles("test")[:20]


def small(out: Path, **changes: object) -> Comparison:
    """A comparison of little work; changes may be of any field of it, its setting, or its process."""
    values: dict[str, Any] = {
        "task": "sudoku4x4", "agents": ("random", "fixed", "rule", "dqn"), "seeds": 2, "total_timesteps": 256,
        "num_validation": 40, "num_test": 30, "progress": False, "out": out, **changes,
    }  # fmt: skip
    of = {cls: {f.name for f in fields(cls)} & values.keys() for cls in (Process, Setting, Comparison)}
    process = Process(**{name: values[name] for name in of[Process]})
    setting = Setting(process=process, **{name: values[name] for name in of[Setting]})
    return Comparison(setting=setting, **{name: values[name] for name in of[Comparison]})


def test_a_comparison_leaves_what_it_promises_and_goes_on_where_it_was(tmp_path: Path, monkeypatch) -> None:
    trained = []
    original = module.train_agent

    def counting(name: str, *args: object, **kwargs: object) -> object:
        trained.append((name, kwargs["seed"]))
        if len(trained) == 2:
            raise KeyboardInterrupt
        return original(name, *args, **kwargs)

    monkeypatch.setattr(module, "train_agent", counting)
    with pytest.raises(KeyboardInterrupt):
        compare(small(tmp_path))
    rows = compare(small(tmp_path))
    assert trained == [("dqn", 0), ("dqn", 1), ("dqn", 1)]
    assert [(row.agent.split("-")[0], row.seed) for row in rows] == [
        (name, seed) for seed in range(2) for name in ("random", "fixed", "rule", "dqn")
    ]
    assert json.loads((tmp_path / "report.json").read_text()) == [asdict(row) for row in rows]
    with (tmp_path / "table.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(row["gain"]) for row in table if row["agent"] == "rule"] == [0.0]
    assert (tmp_path / "table.md").read_text().count("\n") == 6
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")
    with Image.open(tmp_path / "episode.gif") as gif:
        assert gif.n_frames >= 2
    runs = {path.parent.relative_to(tmp_path / "tensorboard") for path in tmp_path.rglob("events.out.tfevents.*")}
    assert {Path("overview"), Path("dqn/seed0"), Path("dqn/seed1"), Path("rule/seed1")} <= runs
    # Nothing is computed again, and the same comes out.
    assert compare(small(tmp_path)) == rows
    assert len(trained) == 3
    with pytest.raises(InvalidValueError, match="cost_per_pass differ"):
        compare(small(tmp_path, cost_per_pass=0.5))


def test_agents_that_turn_out_the_same_are_one_row(tmp_path: Path) -> None:
    """And the seeds begin where they are asked to."""
    rows = compare(small(tmp_path, agents=("fixed", "fixed-1", "fixed-2", "fixed-3", "random"), seed=7))
    names = [row.agent for row in rows]
    assert len(names) == len(set(names)) * 2 == 8
    assert {row.seed for row in rows} == {7, 8}


@pytest.fixture
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures would take most of the time of a small comparison."""
    original = report.frames
    monkeypatch.setattr(report, "frames", lambda *args: islice(original(*args), 1))
    monkeypatch.setattr(report, "png", lambda *args, **kwargs: b"")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a comparison that nobody has touched."""
    folder = tmp_path_factory.mktemp("compare") / "whole"
    compare(tiny(folder))
    return folder


def tiny(out: Path, **changes: object) -> Comparison:
    """A comparison in which one agent learns on what another one has recorded."""
    agents = ("random", "rule", "dqn", "verifier-rule", "tiny")
    return small(out, **{"agents": agents, "seeds": 1, "num_validation": 10, "recorded": 20, **changes})


@pytest.fixture(autouse=True, scope="module")
def tiny_agent() -> Iterator[None]:
    """Another agent, of 16 environments."""
    arguments = {"n_steps": 8, "batch_size": 32, "policy_kwargs": {"net_arch": [8]}}
    spec = AgentSpec(PPO, 16, 256, lambda model, refine: None, arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(AGENTS, "tiny", spec)
        yield


MOMENTS = [
    ("train_agent", 1), ("step", 3), ("save_agent", 1), ("evaluate_policy", 3), ("log_evaluation", 3),
    ("save_outcome", 3), ("train_agent", 2), ("step", 12), ("save_outcome", 5), ("log_overview", 1),
]  # fmt: skip


@pytest.mark.usefixtures("few_figures")
@pytest.mark.parametrize(("name", "call"), MOMENTS)
def test_a_comparison_that_was_stopped_ends_as_one_that_was_not(
    name: str, call: int, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Report, outcomes and weights byte for byte, wherever it was stopped; TensorBoard's curves go forwards only."""
    owner, attribute = (EpisodeStatistics, "_on_step") if name == "step" else (module, name)
    owner = report if name == "log_overview" else owner
    original, calls = getattr(owner, attribute), []

    def stopping(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, attribute, stopping)
    with pytest.raises(KeyboardInterrupt):
        compare(tiny(tmp_path))
    assert not (tmp_path / "report.json").exists() or name == "log_overview"
    compare(tiny(tmp_path))
    assert results(tmp_path) == results(finished)
    for agent in ("dqn", "tiny"):
        run, whole = (folder / "tensorboard" / agent / "seed0" for folder in (tmp_path, finished))
        assert len(list(run.iterdir())) == len(list(whole.iterdir())) == 2
        logs = [EventAccumulator(str(each)) for each in (run, whole)]
        for log in logs:
            log.Reload()
        for tag in ("eval/solved_rate", "rollout/solved_rate"):
            one, other = ([(e.step, e.value) for e in log.Scalars(tag)] for log in logs)
            assert one == other
    assert len(list((tmp_path / "tensorboard/overview").glob("events*"))) == 1


@pytest.mark.slow
def test_a_comparison_that_was_killed_ends_as_one_that_was_not(tmp_path: Path) -> None:
    arguments = [
        "compare", "--task", "sudoku4x4", "--agents", "rule", "dqn", "ppo", "--seeds", "1", "--total-timesteps", "4096",
        "--num-validation", "20", "--num-test", "50", "--no-progress", "--out",
    ]  # fmt: skip
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert stopped([*arguments, str(whole)], 600).returncode == 0
    for there in ("config.json", "agents/rule-0", "tensorboard/dqn/seed0", f"agents/dqn-0/{AGENT}", "tensorboard/ppo"):
        assert stopped_when([*arguments, str(cut)], (cut / there).exists).returncode == -signal.SIGKILL
    shutil.rmtree(cut / "tensorboard/ppo")
    ended = stopped_when([*arguments, str(cut)], (cut / "tensorboard/ppo").exists, signal.SIGTERM)
    assert ended.returncode == 143
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("latent-rl: ")]
    assert f"Go on with: latent-rl {' '.join(arguments)} {cut}" in line
    assert stopped([*arguments, str(cut)], 600).returncode == 0
    assert results(cut) == results(whole)


@pytest.mark.slow
@pytest.mark.parametrize(("kilobytes", "told"), [(1, "outcome.safetensors"), (16, "events.out.tfevents")])
def test_a_full_disk_is_one_line(kilobytes: int, told: str, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024,) * 2)

    arguments = ["--agents", "fixed-2", "dqn", "--seeds", "1", "--total-timesteps", "4096", "--num-test", "50"]
    command = [sys.executable, "-m", "latent_rl", "compare", "--task", "sudoku4x4", *arguments, "--no-progress"]
    out = ["--out", str(tmp_path / "out")]
    run = subprocess.run([*command, *out], capture_output=True, text=True, check=False, preexec_fn=limit)
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("latent-rl: ")]
    assert told in line
    assert "File too large" in line
    assert subprocess.run([*command, *out], capture_output=True, check=False).returncode == 0


@pytest.mark.usefixtures("few_figures")
def test_any_damage_in_a_comparison_is_noticed(finished: Path) -> None:
    """One clear error, or what is damaged does not matter: the report is the same."""
    rows = json.loads((finished / "report.json").read_text())
    texts = []
    for pattern, count in (("agents/*/*", 12), ("config.json", 4)):
        for file, damage, chance in attacks(finished, pattern, count):
            with damaged(file, damage, chance) as changed:
                if not changed:
                    continue
                try:
                    assert [asdict(row) for row in compare(tiny(finished))] == rows
                except LatentRLError as error:
                    texts.append(f"{file.name}: {error}")
    assert len(texts) >= 14
    for text in texts:
        name, _, reason = text.partition(": ")
        assert name in reason or "in the same setting" in reason
        assert "\n" not in text


@pytest.mark.usefixtures("few_figures")
def test_files_of_another_run_are_refused(finished: Path, tmp_path: Path) -> None:
    """Whole as they are: another seed's, another agent's, another setting's."""
    other = tmp_path / "other"
    compare(tiny(other, agents=("dqn",), cost_per_pass=0.5))
    for source, target in (
        (other / "agents/dqn-0" / AGENT, "dqn-0"),
        (other / "agents/dqn-0/outcome.safetensors", "dqn-0"),
        (finished / "agents/tiny-0" / AGENT, "dqn-0"),
        (finished / "agents/rule-0/outcome.safetensors", "random-0"),
        (finished / "agents/dqn-0" / AGENT, "dqn-1"),
    ):
        target_file = finished / "agents" / target / source.name
        before = target_file.read_bytes() if target_file.exists() else None
        target_file.parent.mkdir(exist_ok=True)
        shutil.copy(source, target_file)
        with pytest.raises(CheckpointError, match="it is of another"):
            compare(tiny(finished, seeds=2 if target == "dqn-1" else 1))
        if before is None:
            shutil.rmtree(target_file.parent)
        else:
            target_file.write_bytes(before)
    shutil.rmtree(finished / "agents/random-1", ignore_errors=True)
    resealed(other / "agents/dqn-0/outcome.safetensors", lambda tensors, facts: tensors.pop("steps"))
    with pytest.raises(CheckpointError, match="one for each puzzle"):
        compare(tiny(other, agents=("dqn",), cost_per_pass=0.5))


@pytest.mark.usefixtures("few_figures")
def test_a_reasoner_that_was_trained_anew_is_another_setting(tmp_path: Path) -> None:
    save_reasoner(random_reasoner(), tmp_path / "reasoner")
    changes = {"agents": ("fixed-2",), "reasoner": str(tmp_path / "reasoner"), "horizon": 4}
    compare(tiny(tmp_path / "out", **changes))
    torch.manual_seed(1)
    changed = random_reasoner()
    torch.nn.init.normal_(next(iter(changed.parameters())))
    save_reasoner(changed, tmp_path / "reasoner")
    with pytest.raises(InvalidValueError, match="reasoner_and_puzzles differ"):
        compare(tiny(tmp_path / "out", **changes))


@pytest.mark.usefixtures("few_figures")
def test_a_zip_in_a_comparison_is_never_read(finished: Path, tmp_path: Path) -> None:
    for name in ("agent.zip", "best_model.zip"):
        PPO("MlpPolicy", LatentVecEnv(random_core(), 2), device="cpu", n_steps=8, batch_size=16).save(tmp_path / name)
        poison(tmp_path / name, tmp_path / "mark")
        for agent in ("dqn-0", "tiny-0", "rule-0"):
            shutil.copy(tmp_path / name, finished / "agents" / agent / name)
    shutil.copytree(finished, tmp_path / "cut")
    for agent in ("dqn-0", "tiny-0"):
        (tmp_path / "cut/agents" / agent / AGENT).unlink()
    for folder in (finished, tmp_path / "cut"):
        compare(tiny(folder))
    assert results(tmp_path / "cut") == results(finished)
    assert not (tmp_path / "mark").exists()


def test_a_folder_has_one_comparison_at_a_time(tmp_path: Path) -> None:
    with claimed(tmp_path), pytest.raises(FileError, match="one writer"):
        compare(tiny(tmp_path))
    assert not (tmp_path / "config.json").exists()


@pytest.mark.usefixtures("few_figures")
def test_a_folder_that_goes_away_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, original = tmp_path / "out", module.evaluate_policy

    def removing(*args: object, **kwargs: object) -> object:
        shutil.rmtree(out, ignore_errors=True)
        return original(*args, **kwargs)

    monkeypatch.setattr(module, "evaluate_policy", removing)
    with pytest.raises(FileError, match="it was removed"):
        compare(tiny(out))
    assert not out.exists()


def test_a_stop_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def stop(*args: object, **kwargs: object) -> None:
        raise Terminated

    monkeypatch.setattr(module, "train_agent", stop)
    command = ["compare", "--task", "sudoku4x4", "--agents", "dqn", "--out", str(tmp_path), "--num-test", "5"]
    monkeypatch.setattr(sys, "argv", ["latent-rl", *command])
    assert cli.run(command) == 143
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"latent-rl: stopped; {tmp_path} keeps every agent that is finished")
    assert line.endswith(f"Go on with: latent-rl {' '.join(command)}")


@pytest.mark.parametrize(
    "arguments",
    [
        "--total-timesteps=-1", "--total-timesteps 0", "--total-timesteps 99999999999999999999", "--seeds 0",
        "--seeds 99999999999", "--cost-per-pass nan", "--cost-per-pass inf", "--cost-per-pass=-1", "--num-test 0",
        "--num-test=-5", "--num-validation 0", "--recorded=-1", "--recorded 99999999999999", "--horizon 0",
        "--horizon 99999999999999", "--agents rule rule", "--agents nobody", "--agents fixed-0", "--agents fixed-K",
        "--agents fixed-99999999999999999999", "--observation nothing", "--submit nothing", "--reward nothing",
        "--actions halt", "--actions halt rewind", "--task nothing", "--reasoner nothing", "--agents commit-rule",
        "--actions halt deep --agents ppo", "--out /dev/null/x", "--out /dev/null",
    ],
)  # fmt: skip
def test_wrong_arguments_are_one_line(arguments: str, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is trained or written."""

    def untrained(*args: object, **kwargs: object) -> None:
        pytest.fail("it must not be trained")

    monkeypatch.setattr(module, "train_agent", untrained)
    start = ["compare", "--task", "sudoku4x4", "--out", str(tmp_path / "out"), "--no-progress", "--agents", "dqn"]
    assert cli.run([*start, *arguments.split()]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith("latent-rl: ")]) == 1
    assert "Traceback" not in "".join(lines)
    assert not list(tmp_path.rglob("agents/*/*"))


def test_unknown_agents_are_told_all_that_are_known() -> None:
    with pytest.raises(UnknownNameError) as error:
        small(Path("x"), agents=("rule", "pppo"))
    assert "did you mean 'ppo'" in str(error.value)
    for name in (*AGENTS, *baseline_names()):
        assert f"{name}," in f"{error.value},".replace(".,", ",")


def test_tensorboard_shows_the_comparison_at_once(tmp_path: Path) -> None:
    """Lines for what does not train beside the curves of what does; HParams with final metrics; a layout that fits."""
    compare(small(tmp_path, agents=("rule", "dqn"), seeds=1))
    runs = {}
    for name in ("rule/seed0", "dqn/seed0", "overview"):
        runs[name] = EventAccumulator(str(tmp_path / "tensorboard" / name))
        runs[name].Reload()
    row = json.loads((tmp_path / "report.json").read_text())[0]
    line = [(event.step, event.value) for event in runs["rule/seed0"].Scalars("eval/solved_rate")]
    assert line == [(0, pytest.approx(row["solved_rate"])), (256, pytest.approx(row["solved_rate"]))]
    assert [event.step for event in runs["dqn/seed0"].Scalars("eval/solved_rate")] == [256]
    for name in ("rule/seed0", "dqn/seed0"):
        content = runs[name].summary_metadata["_hparams_/session_start_info"].plugin_data.content
        columns = HParamsPluginData.FromString(content).session_start_info.hparams
        assert columns["agent"].string_value == name.split("/")[0]
        assert columns["training steps"].number_value == (256 if name == "dqn/seed0" else 0)
    content = runs["overview"].Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    charts = Layout.FromString(content).category[0].chart
    tags = {tag for chart in charts for tag in chart.multiline.tag}
    assert len(charts) == 3
    assert tags <= set(runs["dqn/seed0"].Tags()["scalars"])


def test_wrong_names_cost_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'verifier'"):
        small(tmp_path, agents=("dqn", "verifer"))
    assert not list(tmp_path.iterdir())
    for change in ({"agents": ()}, {"agents": ("rule", "rule")}, {"seeds": 0}):
        with pytest.raises(InvalidValueError):
            small(tmp_path, **change)


def outcome(name: str, returns: list[float]) -> Outcome:
    count = len(returns)
    ones = np.ones(count, dtype=np.int64)
    return Outcome(name, np.array(returns) > 0, ones, ones, ones, np.array(returns))


def test_pooling_averages_seeds_and_pairs_puzzles() -> None:
    rule = averaged([outcome("rule", [1.0, 2.0, 3.0]), outcome("rule", [1.0, 4.0, 3.0])])
    ppo = averaged([outcome("ppo", [1.5, 2.5, 3.5]), outcome("ppo", [1.5, 4.5, 3.5])])
    assert report_row(rule, seed=None, num_seeds=2).mean_return == pytest.approx(7 / 3)
    # Every puzzle gains exactly one half: the paired interval has no width, wide as the puzzles vary.
    row = report_row(ppo, reference=rule, seed=None, num_seeds=2)
    assert (row.gain, row.gain_low, row.gain_high) == pytest.approx((0.5, 0.5, 0.5))
    assert row.return_high - row.return_low > 0.5


def test_outcomes_there_and_back(tmp_path: Path) -> None:
    core = random_core()
    before = evaluate_policy(core, two_threshold_rule(core, 0.9, 3), BASE)
    run = Run("rule", 0, RunSetting.of(Setting(), core.reasoner, BASE))
    save_outcome(tmp_path / "o.safetensors", before, run)
    after = load_outcome(tmp_path / "o.safetensors", before.agent, run)
    for name, value in vars(before).items():
        np.testing.assert_array_equal(value, getattr(after, name))


def test_an_episode_replays_what_was_evaluated() -> None:
    """Same puzzle, same key: the frames end as the evaluation did."""
    core = random_core(horizon=6)
    rule = two_threshold_rule(core, 0.9, 3)
    result = evaluate_policy(core, rule, BASE, seed=5)
    puzzle, key = telling_puzzle(result, BASE, 5)
    row = int((BASE.inputs == puzzle.inputs).all(1).nonzero()[0])
    episode = list(frames(core, rule, puzzle, key))
    assert episode[0].action == "puzzle"
    assert int(episode[-1].state.passes[0]) == result.passes[row]
    assert sum(frame.reward for frame in episode) == pytest.approx(result.returns[row], abs=1e-5)
    assert [frame.action for frame in episode[1:]].count("restart_view") == result.restarts[row]


def test_marks_tell_givens_commits_right_and_wrong() -> None:
    core = random_core(actions=("halt", "refine", "commit_forced"), horizon=4)

    class Always:
        name, submit = "always", None

        def act(self, observation: np.ndarray, state: object) -> np.ndarray:
            return np.array([min(2, 1 + int(state.step[0]))])

    episode = list(frames(core, Always(), BASE[:1], torch.tensor([3])))
    given = TASK.is_given(BASE.inputs[:1])[0]
    for frame in episode:
        assert [kind == "given" for kind in frame.board.kinds] == given.tolist()
    assert {"given", "blank", "answer"} <= {kind for frame in episode for kind in frame.board.kinds}
    assert any(frame.board.wrong.any() for frame in episode)
    console = Console(record=True, width=120)
    show_episode(console, "always", episode)
    text = console.export_text()
    assert "step   1  refine" in text
    assert "commit_forced" in text
