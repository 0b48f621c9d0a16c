"""Comparisons: what they leave, paired and resumable; episodes as people see them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TASK, random_core
from PIL import Image
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from latent_rl.agents import compare as module
from latent_rl.agents.baselines import two_threshold_rule
from latent_rl.agents.compare import Comparison, compare, load_outcome, pooled_rows, save_outcome
from latent_rl.agents.evaluate import Outcome, evaluate_policy
from latent_rl.agents.replay import frames, show_episode, telling_puzzle
from latent_rl.errors import InvalidValueError, UnknownNameError

BASE = TASK.puzzles("test").map(lambda tensor: tensor[:20])


def small(out: Path, **changes: object) -> Comparison:
    fields = {
        "task": "sudoku4x4", "agents": ("random", "fixed", "rule", "dqn"), "seeds": 2, "total_timesteps": 256,
        "num_validation": 40, "num_test": 30, "progress": False, "out": out,
    }  # fmt: skip
    return Comparison(**{**fields, **changes})


def test_a_comparison_leaves_what_it_promises_and_goes_on_where_it_was(tmp_path: Path, monkeypatch) -> None:
    trained = []
    original = module.trained_policy

    def counting(name: str, *args: object, **kwargs: object) -> object:
        trained.append((name, (kwargs["folder"] / "agent.zip").exists()))
        if len(trained) == 2:
            raise KeyboardInterrupt
        return original(name, *args, **kwargs)

    monkeypatch.setattr(module, "trained_policy", counting)
    with pytest.raises(KeyboardInterrupt):
        compare(small(tmp_path))
    rows = compare(small(tmp_path))
    assert trained == [("dqn", False), ("dqn", False), ("dqn", True), ("dqn", False)]
    assert [(row["agent"].split("-")[0], row["seed"]) for row in rows] == [
        (name, seed) for seed in range(2) for name in ("random", "fixed", "rule", "dqn")
    ]
    assert json.loads((tmp_path / "report.json").read_text()) == rows
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
    with pytest.raises(InvalidValueError, match="cost_per_pass differ"):
        compare(small(tmp_path, cost_per_pass=0.5))


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
        compare(small(tmp_path, agents=("dqn", "verifer")))
    assert not list(tmp_path.rglob("agent.zip"))
    for change in ({"agents": ()}, {"agents": ("rule", "rule")}, {"seeds": 0}):
        with pytest.raises(InvalidValueError):
            small(tmp_path, **change)


def outcome(name: str, returns: list[float]) -> Outcome:
    count = len(returns)
    ones = np.ones(count, dtype=np.int64)
    return Outcome(name, np.array(returns) > 0, ones, ones, ones, np.array(returns))


def test_pooling_averages_seeds_and_pairs_puzzles() -> None:
    rows = pooled_rows(
        {
            "rule": [outcome("rule", [1.0, 2.0, 3.0]), outcome("rule", [1.0, 4.0, 3.0])],
            "ppo": [outcome("ppo", [1.5, 2.5, 3.5]), outcome("ppo", [1.5, 4.5, 3.5])],
        }
    )
    assert rows[0]["mean_return"] == pytest.approx(7 / 3)
    # Every puzzle gains exactly one half: the paired interval has no width, wide as the puzzles vary.
    assert (rows[1]["gain"], rows[1]["gain_low"], rows[1]["gain_high"]) == pytest.approx((0.5, 0.5, 0.5))
    assert rows[1]["return_high"] - rows[1]["return_low"] > 0.5


def test_outcomes_there_and_back(tmp_path: Path) -> None:
    core = random_core()
    before = evaluate_policy(core, two_threshold_rule(core, 0.9, 3), BASE)
    save_outcome(tmp_path / "o.npz", before)
    after = load_outcome(tmp_path / "o.npz", before.agent)
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

    episode = list(frames(core, Always(), BASE.map(lambda tensor: tensor[:1]), torch.tensor([3])))
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
