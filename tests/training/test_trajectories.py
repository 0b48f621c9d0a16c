"""Recorded paths: reading, resampling, projection, errors that name file, line and reason, and training on them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from latent_rl.errors import InvalidValueError, PuzzleError
from latent_rl.reasoners.trm import TRM, TRMConfig
from latent_rl.tasks.base import draw_symmetry, sample
from latent_rl.tasks.registry import make_task
from latent_rl.training.targets import linear_rates, monotonicity, recorded_targets
from latent_rl.training.trainer import TrainConfig, train
from latent_rl.training.trajectories import RecordedPuzzles, read_trajectories

TASK = make_task("sudoku4x4")
INPUT = "123434122143...."
ANSWER = "1234341221434321"
# Two cells right, then a step back, then the answer; the second step also overwrites a given, the first cell.
STEPS = ["12343412214343..", "2234341221434...", ANSWER]
PROJECTED = "1234341221434..."


def write(path: Path, *records: object) -> Path:
    path.write_text("\n".join(json.dumps(record) for record in records) + "\n")
    return path


def record(**changes: object) -> dict[str, object]:
    return {"input": INPUT, "steps": STEPS, **changes}


def test_a_path_is_read_in_the_tasks_own_text(tmp_path: Path) -> None:
    recorded = read_trajectories(write(tmp_path / "paths.jsonl", record()), TASK, 3)
    assert torch.equal(recorded.inputs, TASK.parse(INPUT)[None])
    assert torch.equal(recorded.labels, TASK.parse(ANSWER)[None])
    assert [TASK.format(board) for board in recorded.path[0]] == [STEPS[0], PROJECTED, ANSWER]


def test_line_breaks_in_a_board_and_empty_lines_do_not_matter(tmp_path: Path) -> None:
    broken = "\n".join(" ".join(ANSWER[start : start + 4]) for start in range(0, 16, 4))
    file = write(tmp_path / "paths.jsonl", record(steps=[broken]))
    file.write_text("\n" + file.read_text() + "\n\n")
    assert torch.equal(read_trajectories(file, TASK, 1).labels, TASK.parse(ANSWER)[None])


@pytest.mark.parametrize(
    ("num_steps", "expected"), [(1, [2]), (2, [1, 2]), (3, [0, 1, 2]), (4, [0, 1, 2, 2]), (6, [0, 0, 1, 1, 2, 2])]
)
def test_paths_are_resampled_to_the_number_of_steps(num_steps: int, expected: list[int], tmp_path: Path) -> None:
    """Step s shows the recorded step ceil(s R / S), so that the last one is the answer and order is kept."""
    recorded = read_trajectories(write(tmp_path / "paths.jsonl", record()), TASK, num_steps)
    assert [[STEPS[0], PROJECTED, ANSWER].index(TASK.format(board)) for board in recorded.path[0]] == expected


def test_steps_are_projected_to_the_givens_but_steps_back_stay(tmp_path: Path) -> None:
    recorded = read_trajectories(write(tmp_path / "paths.jsonl", record()), TASK, 3)
    targets = recorded_targets(TASK, recorded, linear_rates(3), torch.Generator())
    measured = monotonicity(targets, recorded.labels)
    assert measured.distance.flatten().tolist() == [2, 3, 0]
    assert measured.backward.tolist() == [1]


def test_cells_revealed_in_training_are_right_from_the_first_step_on(tmp_path: Path) -> None:
    recorded = read_trajectories(write(tmp_path / "paths.jsonl", record()), TASK, 3)
    shown = replace(recorded, inputs=torch.where(torch.arange(16) == 15, recorded.labels, recorded.inputs))
    targets = recorded_targets(TASK, shown, linear_rates(3), torch.Generator())
    assert monotonicity(targets, recorded.labels).distance.flatten().tolist() == [1, 2, 0]


def test_a_view_shows_puzzle_and_path_alike(tmp_path: Path) -> None:
    """Every step of the path, seen in a random symmetric view, is as far from the answer as in the original."""
    recorded = read_trajectories(write(tmp_path / "paths.jsonl", record()), TASK, 3)
    view = draw_symmetry(TASK, 5, torch.Generator().manual_seed(0))
    steps = recorded.path.expand(5, -1, -1)
    assert torch.equal(view.apply(steps), torch.stack([view.apply(steps[:, s]) for s in range(3)], dim=1))
    assert torch.equal(view.invert(view.apply(steps)[:, 0]), steps[:, 0])
    seen = sample(TASK, recorded, 16, torch.Generator().manual_seed(0))
    assert isinstance(seen, RecordedPuzzles)
    assert TASK.verify(seen.inputs, seen.labels).all()
    assert len(seen.inputs.unique(dim=0)) > 8
    distance = monotonicity(seen.path.transpose(0, 1), seen.labels).distance
    assert torch.equal(distance, torch.tensor([2, 3, 0])[:, None].expand(3, 16))


def test_puzzles_without_a_fitting_path_are_refused(tmp_path: Path) -> None:
    recorded = read_trajectories(write(tmp_path / "paths.jsonl", record()), TASK, 3)
    for puzzles, num_steps in ((recorded, 4), (TASK.puzzles("test"), 3)):
        with pytest.raises(InvalidValueError, match=f"recorded path of {num_steps} steps"):
            recorded_targets(TASK, puzzles, linear_rates(num_steps), torch.Generator())


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("not json", "must be a JSON object: Expecting value"),
        ("[1, 2]", "keys input and steps; got list"),
        ("{}", "keys input and steps; got no key"),
        (json.dumps({"input": INPUT, "step": STEPS}), "got input, step"),
        (json.dumps(record(input=5)), "input must be a string, one symbol for each cell; got int"),
        (json.dumps(record(input="11" + INPUT[2:])), "1 stands more than once"),
        (json.dumps(record(steps=[])), "steps must be a list of at least one board"),
        (json.dumps(record(steps=ANSWER)), "steps must be a list"),
        (json.dumps(record(steps=[None, ANSWER])), "step 1: a step must be a string"),
        (json.dumps(record(steps=[ANSWER, ANSWER[:-1]])), "step 2: .* must have 16 symbols; got 15"),
        (json.dumps(record(steps=["5" + ANSWER[1:]])), "step 1: .* got '5' at position 1"),
        (json.dumps(record(steps=STEPS[:2])), "the last step must solve the puzzle; step 2 does not"),
    ],
)
def test_errors_name_file_line_and_reason(bad: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "paths.jsonl"
    file.write_text(json.dumps(record()) + "\n" + bad + "\n")
    with pytest.raises(PuzzleError, match=rf"paths\.jsonl, line 2: .*{reason}"):
        read_trajectories(file, TASK, 3)


def test_files_without_paths_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "paths.jsonl"
    empty.write_text("\n")
    with pytest.raises(PuzzleError, match="at least one path; it has 1 lines and none"):
        read_trajectories(empty, TASK, 3)
    with pytest.raises(PuzzleError, match="readable text file"):
        read_trajectories(tmp_path / "missing.jsonl", TASK, 3)


def test_training_on_recorded_paths_reports_how_monotone_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "paths.jsonl", record(), record(steps=[INPUT, ANSWER]))
    config = TrainConfig(
        task=TASK.name, targets="trajectories", trajectories=str(file), num_batches=1, batch_size=4, num_validation=4
    )
    torch.manual_seed(0)
    shape = TRMConfig(vocab_size=TASK.vocab_size, seq_len=TASK.seq_len, width=16, num_supervision_steps=3)
    train(config, TRM(shape, torch.float32), tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "config.json").read_text())
    assert facts["paths"] == {"num_paths": 2, "monotone_share": 0.5, "mean_backward": 0.5}
    assert "2 recorded paths, 50.0% of them monotone" in capsys.readouterr().out
