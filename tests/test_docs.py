"""Every block of code in the README and the docs runs as it is written."""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pages import DOCS, ROOT, Block, blocks

from latent_rl.reasoners.public.checkpoints import export_public_checkpoint
from latent_rl.reasoners.trm import TRM, TRMConfig
from latent_rl.tasks.registry import make_task

PAGES = [ROOT / "README.md", *DOCS]
MEASURED = ("performance.md", "reproduction.md")
"""Pages of measurements, whose commands take hours; `test_benchmarks.py` and others run these on small budgets."""
pytestmark = pytest.mark.skipif(not (ROOT / "README.md").is_file(), reason="needs the checkout, not the wheel alone")

OTHER_LANGUAGES = ("", "text", "{toctree}", "{contents}", "{include}", "{eval-rst}")
ELSEWHERE = ("pip ", "python3 -m venv", "source ", "tensorboard ", "pytest ", "ruff ", ".ci/run", "torchrun ")
"""Commands that CI itself runs, or that never end."""
EXAMPLES = {
    "examples/train_ppo_sudoku.py": "--total-timesteps 4096 --num-test 20 --num-validation 20 --recorded 20",
    "examples/train_dqn_sudoku.py": "--total-timesteps 4096 --num-test 20 --num-validation 20 --recorded 20",
    "examples/cleanrl_ppo.py": "--total-timesteps 2048",
    "rl_zoo3.train": "--n-timesteps 2048 --eval-freq -1",
}
SMALL = {
    "train": "--num-batches 2 --batch-size 4 --num-validation 8 --validation-steps 2 --no-compile",
    "evaluate": "--num-puzzles 20 --steps 2",
    "vote": "--views 2 --steps 1",
    "diagnose": "--num-puzzles 20 --steps 3",
    "make-bank": "--num-train 40 --num-validation 8 --num-test 16 --out bank.npz",
    "compare": "--seeds 1 --total-timesteps 256 --num-test 20 --num-validation 20 --recorded 20",
}
"""What is added to a command so that it ends soon; of an option that is given twice, the last one counts."""
FEW_SEARCHES = "--search-puzzles 8 --search-steps 2 --label-fraction 0.1"
"""As well, where answers are searched for: a reasoner of two batches finds none."""


def commands(block: Block) -> Iterator[list[str]]:
    """The command lines of a block, each with a small budget."""
    for line in block.code.replace("\\\n", " ").splitlines():
        for part in line.split(" && "):
            words = shlex.split(part, comments=True)
            if not words or part.strip().startswith(ELSEWHERE):
                continue
            if "rl_zoo3" in part and importlib.util.find_spec("rl_zoo3") is None:
                continue  # large, and so an extra of its own
            if words[0] == "latent-rl":
                words = ["python", "-m", "latent_rl", *words[1:]]
            assert words[0] == "python", f"'{part}' must be a command that can be tested"
            if words[1:3] == ["-m", "latent_rl"]:
                more = "" if "--puzzles" in words else SMALL.get(words[3], "")
                more += f" {FEW_SEARCHES}" * ("verified" in words)
            else:
                more = EXAMPLES.get(words[2] if words[1] == "-m" else words[1], "")
            yield [sys.executable, *words[1:], *more.split()]


def run(words: list[str], folder: Path) -> None:
    environment = {**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(words)}\n{result.stdout[-1000:]}\n{result.stderr[-3000:]}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader of the pages stands: the examples, a file of puzzles, a run folder of the public code."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    task = make_task("sudoku9x9-hard")
    easy = make_task("sudoku9x9").puzzles("test").inputs[:3]
    (tmp_path / "puzzles.txt").write_text("".join(f"{task.format(puzzle)}\n" for puzzle in easy))
    shape = TRMConfig(vocab_size=11, seq_len=81, width=32, mixer="mlp_cell_norm", positions="none", num_puzzle_ids=1,
                      puzzle_width=32, num_puzzle_positions=1, continue_head=True, injection_first=True,
                      step_embedding=False)  # fmt: skip
    export_public_checkpoint(TRM(shape, torch.float32), tmp_path / "RUN_FOLDER")
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_of_a_kind_that_is_tested(page: Path) -> None:
    for block in blocks(page.read_text()):
        assert block.language in ("python", "bash", *OTHER_LANGUAGES)
        if block.language == "bash":
            list(commands(block))
        elif block.language == "python":
            compile(block.code, page.name, "exec")


@pytest.mark.parametrize("name", ["own_task", "own_reasoner"])
def test_a_task_or_a_network_of_your_own_fits_in_60_lines(name: str) -> None:
    (block,) = [block for block in blocks((ROOT / "docs" / f"{name}.md").read_text()) if block.language == "python"]
    assert block.file is not None
    assert block.code.count("\n") < 60


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in MEASURED], ids=lambda page: page.name)
def test_the_code_runs(page: Path, folder: Path) -> None:
    """In the page's order: files are saved, commands run, and other Python blocks share one session."""
    if page.stem == "ecosystem":
        for module in ("sb3_contrib", "torchrl", "moviepy"):
            if importlib.util.find_spec(module) is None:
                pytest.skip(f"needs {module}: pip install latent_rl[ecosystem]")
    session: list[str] = []
    for block in blocks(page.read_text()):
        if block.language == "python" and block.file:
            (folder / block.file).write_text(block.code)
        elif block.language == "python":
            session.append(block.code)
        elif block.language == "bash":
            for words in commands(block):
                run(words, folder)
    if session:
        (folder / "session.py").write_text("\n".join(session))
        run([sys.executable, "session.py"], folder)
