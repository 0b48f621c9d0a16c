"""Attack the product and count what happens: kills, damaged files, bad arguments.

    python benchmarks/campaign.py --json runs/campaign.json

Whatever a user's machine, files and fingers do, the right outcome is a result or one clear line. Counted as failures
are tracebacks, hangs, results that are wrong without a word, and work that is lost or done twice. A process that was
killed is started again until it has ended; its files must then equal those of a process that was left alone.

Attacks run in forked children of a process that has loaded everything, so that one costs milliseconds, and a crash or
a hang of the attacked is seen from outside.
"""

import contextlib
import csv
import io
import json
import os
import random
import resource
import select
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from attacks import odd_json, spoiled

from latent_rl.__main__ import COMMANDS, command, run
from latent_rl.errors import LatentRLError
from latent_rl.storage.atomic import write_json

OUTCOMES = ("fine", "refused", "traceback", "hang", "silent", "lost")
"""What an attack can end in: as if nothing had happened; one clear line; and the four failures."""
FAILURES = OUTCOMES[2:]
PATIENCE = 60
"""Seconds after which an attacked process hangs."""
MEMORY = 12 * 2**30
"""Bytes of address space that an attacked process may take; a crash for want of it is a traceback."""


BLOCK = 50
"""Damages that a child reads."""
PAGE = 2000
"""Characters of a failure that are kept: less than a pipe takes at once."""


@dataclass(kw_only=True)
class Args:
    """How hard to attack."""

    kills: int = 40
    """Kills of each command."""
    damages: int = 1000
    """Damaged files of each kind."""
    arguments: int = 500
    """Bad arguments."""
    only: tuple[str, ...] = ()
    """Attacks by name; default: all."""
    seed: int = 0
    """Of all random choices."""
    json: Path | None = None
    """File for the counts, with an example of every failure."""


# --- processes ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit status (None if it hung; negative for a signal), and what it said."""

    status: int | None
    said: str


@contextlib.contextmanager
def child(arguments: list[str], log: Path, folder: Path) -> Iterator[int]:
    """Run one command line in a forked child whose working directory is `folder`; gives its process id."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:  # the child
        status = 70
        try:
            sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(sink, 1)
            os.dup2(sink, 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            os.chdir(folder)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            sys.argv = ["latent-rl", *arguments]
            status = run(arguments)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def wait(pid: int, seconds: float) -> int | None:
    """The exit status, a negative signal, or None if it still runs after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(0.005)


def call(arguments: list[str], folder: Path, patience: float = PATIENCE) -> Ended:
    """One command line, to its end."""
    log = folder / "said.txt"
    with child(arguments, log, folder) as pid:
        status = wait(pid, patience)
    return Ended(status, log.read_text(errors="replace"))


def judged(ended: Ended) -> str:
    """What a call's end counts as."""
    if ended.status is None:
        return "hang"
    if "Traceback (most recent call last)" in ended.said or ended.status not in (0, 1, 2):
        return "traceback"
    return "refused" if ended.status == 2 else "fine"


# --- kills ----------------------------------------------------------------------------------------------------------

TRAIN = shlex.split(
    "train --task sudoku4x4 --num-batches 24 --batch-size 8 --width 16 --save-every 3"
    " --validate-every 6 --num-validation 16 --validation-steps 3 --threads 1 --out out"
)
SOLVE = shlex.split("solve --task sudoku4x4 --file puzzles.txt --out out.csv --batch-size 16 --policy rule")
COMPARE = shlex.split(
    "compare --task sudoku4x4 --agents fixed rule ppo dqn operator --seeds 1 --total-timesteps 4096 --recorded 64"
    " --num-validation 32 --num-test 64 --no-progress --out out"
)


def same_files(folder: Path, other: Path, names: list[str]) -> bool:
    """Whether the files of these names are equal, byte by byte."""
    return all((folder / name).read_bytes() == (other / name).read_bytes() for name in names)


def prepare_solve(folder: Path) -> None:
    """Puzzles to solve."""
    from latent_rl.tasks.base import sample
    from latent_rl.tasks.registry import make_task

    task = make_task("sudoku4x4")
    puzzles = sample(task, task.puzzles("test"), 4000, torch.Generator().manual_seed(0)).inputs
    (folder / "puzzles.txt").write_text("".join(f"{task.format(row)}\n" for row in puzzles))


def learned_files(folder: Path) -> list[str]:
    """The agents' weights and the reports, which must not depend on kills."""
    weights = [str(path.relative_to(folder)) for path in sorted((folder / "out").rglob("*.safetensors"))]
    return ["out/report.json", "out/table.csv", *weights]


KILLED: dict[str, tuple[list[str], list[str], Callable[[Path], None], Callable[[Path], list[str]]]] = {
    "kill train": (TRAIN, ["--resume"], lambda folder: None, lambda folder: ["out/reasoner.safetensors"]),
    "kill solve": (SOLVE, [], prepare_solve, lambda folder: ["out.csv"]),
    "kill compare": (COMPARE, [], lambda folder: None, learned_files),
}
"""For each command: its arguments, those that go on, what it needs, and the files that must come out the same."""


def attack_by_kills(name: str, count: int, rng: random.Random, scratch: Path) -> Iterator[tuple[str, str]]:
    """Kill a command at random moments, a third each by SIGKILL, SIGTERM and Ctrl-C, go on, and compare the ends."""
    arguments, more, prepare, results = KILLED[name]
    alone = scratch / "alone"
    alone.mkdir()
    prepare(alone)
    started = time.monotonic()
    ended = call(arguments, alone, 20 * PATIENCE)
    seconds = time.monotonic() - started
    if judged(ended) != "fine":
        raise RuntimeError(f"{name}: the command itself must succeed; it said {ended.said[-500:]}")
    kills = 0
    while kills < count:
        folder = scratch / f"run{kills}"
        folder.mkdir()
        prepare(folder)
        fatal = ""
        while not fatal:
            wanted = kills < count and rng.random() < 0.9
            with child([*arguments, *more], folder / "said.txt", folder) as pid:
                status = wait(pid, rng.uniform(0, 0.8 * seconds) if wanted else PATIENCE + 3 * seconds)
                if status is None and wanted:
                    kills += 1
                    number = rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
                    os.kill(pid, number)
                    status = wait(pid, PATIENCE)
                    said = (folder / "said.txt").read_text(errors="replace")
                    if status is None:
                        yield "hang", f"after {number.name}"
                    elif "Traceback (most recent" in said:
                        yield "traceback", said[-2000:]
                    else:
                        yield "refused" if number != signal.SIGKILL else "fine", ""
                    continue
            said = (folder / "said.txt").read_text(errors="replace")
            fatal = judged(Ended(status, said))
        if fatal != "fine":
            yield ("lost" if fatal == "refused" else fatal), f"going on: {said[-2000:]}"
        elif sorted(results(folder)) != sorted(results(alone)) or not same_files(folder, alone, results(alone)):
            yield "lost", f"{name}: {results(alone)} differ from those of a run that was left alone"
        shutil.rmtree(folder)


# --- damaged files --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """One kind of file: how to make a folder with it, which files to damage, how to read it.

    Attributes:
        make: writes into an empty folder.
        files: to damage, one at a time; patterns.
        read: reads the folder; what it returns must be equal for equal content.
        is_checked: whether a change that is read without a word is a failure. A format of others, or a text, may hold
            another value as well as the right one.
    """

    make: Callable[[Path], None]
    files: tuple[str, ...]
    read: Callable[[Path], Any]
    is_checked: bool = True


def fingerprint(value: Any) -> Any:
    """Something that is equal for equal values."""
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, dict):
        return {name: fingerprint(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [fingerprint(each) for each in value]
    return value


Damage = tuple[Path, bytes, bytes]
"""A file, what it should hold, and what it holds instead."""


def attack_by_damage(kind: Kind, count: int, rng: random.Random, scratch: Path) -> Iterator[tuple[str, str]]:
    """Damage one file of a folder, read it, mend it, again and again."""
    source = scratch / "source"
    source.mkdir()
    kind.make(source)
    expected = fingerprint(kind.read(source))
    paths = sorted({path for pattern in kind.files for path in source.glob(pattern)})
    damages: list[Damage] = []
    for _ in range(count):
        path = rng.choice(paths)
        whole = path.read_bytes()
        spoil = odd_json if path.suffix == ".json" and rng.random() < 0.5 else spoiled
        damages.append((path, whole, spoil(whole, rng)))
    while damages:
        # A child reads one after the other, and another goes on behind what it hangs or dies of.
        ended = 0
        for outcome in read_in_child(kind, source, expected, damages[:BLOCK]):
            ended += 1
            yield outcome
        path, whole, _ = damages[ended - 1]
        path.write_bytes(whole)
        del damages[:ended]


def read_in_child(kind: Kind, folder: Path, expected: Any, damages: list[Damage]) -> Iterator[tuple[str, str]]:
    """Read a folder in a forked child, once for each damage; ends early after one that it hangs or dies of."""
    inward, outward = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(inward)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        for path, whole, content in damages:
            path.write_bytes(content)
            result = read_once(kind, folder, expected, content != whole)
            path.write_bytes(whole)
            os.write(outward, json.dumps(result).encode() + b"\n")
        os._exit(0)
    os.close(outward)
    with os.fdopen(inward, "rb", buffering=0) as pipe:  # `select` sees what is not read yet
        for _ in damages:
            if not select.select([pipe], [], [], PATIENCE)[0]:
                yield "hang", ""
                break
            line = pipe.readline()
            if not line:
                yield "traceback", "the process died"
                break
            outcome, note = json.loads(line)
            yield outcome, note
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def read_once(kind: Kind, folder: Path, expected: Any, is_damaged: bool) -> tuple[str, str]:
    """What reading the folder ends in."""
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            found = fingerprint(kind.read(folder))
    except LatentRLError as error:
        said = str(error)
        return "traceback" if "\n" in said.strip() else "refused", said[-PAGE:]
    except BaseException:
        return "traceback", traceback.format_exc()[-PAGE:]
    same = found == expected or not is_damaged
    return "fine" if same or not kind.is_checked else "silent", ""


def make_reasoner_folder(folder: Path) -> None:
    """A tiny reasoner of our own."""
    from latent_rl import TRM, TRMConfig, save_reasoner

    torch.manual_seed(0)
    save_reasoner(TRM(TRMConfig(vocab_size=6, seq_len=16, width=16)), folder, {"decoding": {"num_steps": 6}})


def read_reasoner(folder: Path) -> Any:
    """Its weights, and the steps that it decodes with."""
    from latent_rl import load_reasoner
    from latent_rl.reasoners.checkpoint import chosen_steps

    reasoner = load_reasoner(folder)
    return [vars(reasoner.config), chosen_steps(folder), reasoner.state_dict()]


def _tiny_training(folder: Path, resume: bool) -> Any:
    from latent_rl import TRM, TrainConfig, TRMConfig, train

    torch.manual_seed(0)
    config = TrainConfig(
        task="sudoku4x4", num_batches=2, batch_size=4, num_validation=4, validation_steps=1, save_every=1
    )
    return train(config, TRM(TRMConfig(vocab_size=6, seq_len=16, width=16)), folder, resume=resume)


def make_training(folder: Path) -> None:
    """A training that has ended."""
    _tiny_training(folder, resume=False)


def read_training(folder: Path) -> Any:
    """What a training that goes on from there ends with, and its curve."""
    reasoner = _tiny_training(folder, resume=True)
    curve = json.loads((folder / "config.json").read_text())["curve"]
    return [reasoner.state_dict(), [row["train/loss"] for row in curve]]


def make_public(folder: Path) -> None:
    """A run folder of the public TRM code."""
    from latent_rl import TRM, TRMConfig, export_public_checkpoint

    torch.manual_seed(0)
    shape = TRMConfig(vocab_size=6, seq_len=16, width=16, mixer="attention", num_heads=2, step_embedding=False)
    export_public_checkpoint(TRM(shape), folder)


def read_public(folder: Path) -> Any:
    """Its weights."""
    from latent_rl import load_public_checkpoint

    reasoner = load_public_checkpoint(folder)
    return [vars(reasoner.config), reasoner.state_dict()]


def make_dataset(folder: Path) -> None:
    """A folder as the public dataset scripts write it."""
    from latent_rl.tasks.registry import make_task

    task = make_task("sudoku4x4")
    for part in ("train", "test"):
        puzzles = task.puzzles(part)[:40]  # type: ignore[arg-type]
        place = folder / part
        place.mkdir()
        facts = {
            "pad_id": 0, "ignore_label_id": 0, "blank_identifier_id": 0, "vocab_size": 6, "seq_len": 16,
            "num_puzzle_identifiers": 1, "total_groups": 40, "mean_puzzle_examples": 1, "sets": ["all"],
        }  # fmt: skip
        (place / "dataset.json").write_text(json.dumps(facts))
        arrays = {
            "inputs": puzzles.inputs, "labels": puzzles.labels, "puzzle_identifiers": torch.zeros(40),
            "puzzle_indices": torch.arange(41), "group_indices": torch.arange(41),
        }  # fmt: skip
        for name, tensor in arrays.items():
            np.save(place / f"all__{name}.npy", tensor.numpy().astype(np.int32))


def read_dataset(folder: Path) -> Any:
    """Its puzzles."""
    from latent_rl.tasks.files.folder import folder_task

    task = folder_task.__wrapped__(folder)
    parts = [task.puzzles(part) for part in ("train", "validation", "test")]  # type: ignore[arg-type]
    return [[puzzles.inputs.long(), puzzles.labels.long()] for puzzles in parts]


def make_agent_folder(folder: Path) -> None:
    """A PPO agent, untrained."""
    from latent_rl.agents import save_agent
    from latent_rl.agents.sb3.agents import make_agent
    from latent_rl.envs.core import Core

    save_agent(make_agent("ppo", Core("sudoku4x4"), seed=0), folder)


def read_agent(folder: Path) -> Any:
    """Its weights."""
    from latent_rl.agents import load_agent
    from latent_rl.envs.core import Core

    return load_agent(folder, Core("sudoku4x4")).model.state_dict()


def make_comparison(folder: Path) -> None:
    """A comparison that has ended."""
    ended = call(_QUICK_COMPARE, folder, 20 * PATIENCE)
    if judged(ended) != "fine":
        raise RuntimeError(f"the comparison itself must succeed; it said {ended.said[-500:]}")


_QUICK_COMPARE = shlex.split(
    "compare --task sudoku4x4 --agents fixed ppo --seeds 1 --total-timesteps 4096 --recorded 16 --num-validation 16"
    " --num-test 16 --no-progress --out out"
)


def read_comparison(folder: Path) -> Any:
    """Its report, made again from what it left."""
    from latent_rl.agents.commands.compare import Comparison, compare
    from latent_rl.agents.commands.setting import Process, Setting

    process = Process(task="sudoku4x4")
    setting = Setting(process=process, total_timesteps=4096, recorded=16, num_validation=16, num_test=16)
    out = folder / "out"
    comparison = Comparison(setting=setting, agents=("fixed", "ppo"), seeds=1, progress=False, out=out)
    return json.dumps([asdict(row) for row in compare(comparison)])


def make_results(folder: Path) -> None:
    """The results of 30 puzzles."""
    prepare_solve(folder)
    lines = (folder / "puzzles.txt").read_text().splitlines()[:30]
    (folder / "puzzles.txt").write_text("\n".join(lines) + "\n")
    read_results(folder)


def read_results(folder: Path) -> Any:
    """The same results after the command has gone on."""
    ended = call(SOLVE, folder)
    if ended.status == 2 and "Traceback" not in ended.said:
        raise LatentRLError(ended.said.strip().splitlines()[-1])
    if judged(ended) != "fine":
        raise RuntimeError(ended.said)
    with (folder / "out.csv").open(newline="") as file:
        return [list(row) for row in csv.reader(file)]


def make_puzzles(folder: Path) -> None:
    """Puzzles of people."""
    prepare_solve(folder)
    lines = (folder / "puzzles.txt").read_text().splitlines()[:30]
    (folder / "puzzles.txt").write_text("\n".join(lines) + "\n")


def read_puzzle_file(folder: Path) -> Any:
    """The puzzles, with the reasons of the bad rows."""
    (folder / "out.csv").unlink(missing_ok=True)
    return read_results(folder)


def make_arc(folder: Path) -> None:
    """ARC challenges as the competition hands them out."""
    rng = np.random.default_rng(0)

    def pairs(count: int) -> list[dict[str, Any]]:
        return [{"input": rng.integers(0, 10, (3, 4)).tolist(), "output": rng.integers(0, 10, (2, 2)).tolist()}
                for _ in range(count)]  # fmt: skip

    tasks = {f"{n:08x}": {"train": pairs(2), "test": [{"input": pairs(1)[0]["input"]}]} for n in range(4)}
    (folder / "arc-agi_evaluation_challenges.json").write_text(json.dumps(tasks))


def read_arc(folder: Path) -> Any:
    """The test inputs."""
    from latent_rl.tasks.arc.files import load_arc
    from latent_rl.tasks.files.folder import folder_task

    for cached in (load_arc, folder_task):
        cached.cache_clear()  # a process reads a file once
    task: Any = folder_task(folder / "arc-agi_evaluation_challenges.json")
    return [[grid.tolist() for grid, _ in riddle.task.tests] for riddle in task.riddles]


KINDS: dict[str, Kind] = {
    "reasoner": Kind(make_reasoner_folder, ("*.json", "*.safetensors"), read_reasoner),
    "training state": Kind(make_training, ("training.safetensors",), read_training),
    "agent": Kind(make_agent_folder, ("**/*.json", "**/*.safetensors"), read_agent),
    "comparison": Kind(make_comparison, ("out/config.json", "out/agents/**/*.*"), read_comparison),
    "results of solve": Kind(make_results, ("out.csv*",), read_results),
    "puzzle file": Kind(make_puzzles, ("puzzles.txt",), read_puzzle_file, is_checked=False),
    "public checkpoint": Kind(make_public, ("step_*", "*.yaml", "*.json"), read_public, is_checked=False),
    "public dataset": Kind(make_dataset, ("*/*.npy", "*/*.json"), read_dataset, is_checked=False),
    "ARC JSON": Kind(make_arc, ("*.json",), read_arc, is_checked=False),
}

# --- bad arguments --------------------------------------------------------------------------------------------------

BAD = ("nan", "inf", "-1", "0", "0.5", "1e400", "100000000000000000000", "-100000000000000000000", "", " ", "x", "None",
       "true", "../..", "/dev/full", "/proc/self/mem", "/", "\u2603", "a" * 5000)  # fmt: skip
"""What is typed by mistake, or on purpose."""
CHEAP: dict[str, list[str]] = {
    "train": ["--task", "sudoku4x4", "--num-batches", "1", "--batch-size", "2", "--width", "8",
              "--num-validation", "2", "--validation-steps", "1", "--out", "out"],
    "evaluate": ["--task", "sudoku4x4", "--reasoner", "sudoku4x4", "--num-puzzles", "2", "--steps", "1"],
    "diagnose": ["--task", "sudoku4x4", "--reasoner", "sudoku4x4", "--num-puzzles", "4", "--steps", "2",
                 "--out", "out"],
    "solve": ["--task", "sudoku4x4", "--puzzle", "1...............", "--horizon", "4"],
    "compare": ["--task", "sudoku4x4", "--agents", "fixed", "ppo", "--seeds", "1", "--total-timesteps", "128",
                "--recorded", "4", "--num-validation", "4", "--num-test", "4", "--no-progress", "--out", "out"],
    "vote": ["--task", "sudoku4x4", "--reasoner", "sudoku4x4"],
    "import": ["nowhere", "--out", "out"],
    "make-bank": ["--out", "out.npz", "--num-puzzles", "4"],
    "tasks": [],
    "reasoners": [],
}  # fmt: skip
"""For each command, arguments with which it ends soon."""


def options(name: str, folder: Path) -> list[str]:
    """The options of a command, as its help lists them."""
    words = call([name, "--help"], folder).said.replace("|", " ").replace(",", " ").split()
    return sorted({word for word in words if word.startswith("--") and word.strip("-") and word != "--help"})


def attack_by_arguments(count: int, rng: random.Random, scratch: Path) -> Iterator[tuple[str, str]]:
    """Give one option of a command a bad value."""
    known = {name: options(name, scratch) for name in COMMANDS}
    names = [name for name in COMMANDS if known[name]]
    for number in range(count):
        name = rng.choice(names)
        option, value = rng.choice(known[name]), rng.choice(BAD)
        folder = scratch / str(number)
        folder.mkdir()
        typed = [f"{option}={value}"] if rng.random() < 0.5 else [option, value]
        arguments = [name, *CHEAP[name], *typed]
        ended = call(arguments, folder)
        yield judged(ended), f"{arguments}: {ended.said[-1500:]}"
        shutil.rmtree(folder)


# --- the table ------------------------------------------------------------------------------------------------------


def attacks(args: Args) -> dict[str, Callable[[random.Random, Path], Iterator[tuple[str, str]]]]:
    """Every attack by its name."""
    found: dict[str, Callable[[random.Random, Path], Iterator[tuple[str, str]]]] = {}
    for name in KILLED:
        found[name] = lambda rng, scratch, name=name: attack_by_kills(name, args.kills, rng, scratch)  # type: ignore[misc]
    for name, kind in KINDS.items():
        found[f"damaged {name}"] = lambda rng, scratch, kind=kind: (  # type: ignore[misc]
            attack_by_damage(kind, args.damages, rng, scratch)
        )
    found["bad arguments"] = lambda rng, scratch: attack_by_arguments(args.arguments, rng, scratch)
    return {name: attack for name, attack in found.items() if not args.only or name in args.only}


def campaign(args: Args) -> dict[str, dict[str, Any]]:
    """Run the attacks; for each the counts of `OUTCOMES`, and an example of every failure."""
    torch.set_num_threads(1)
    for name in COMMANDS:  # what is loaded here costs the children nothing
        command(name, [name])
    report: dict[str, dict[str, Any]] = {}
    for name, attack in attacks(args).items():
        counts: Counter[str] = Counter()
        examples: dict[str, list[str]] = {}
        with tempfile.TemporaryDirectory() as scratch:
            for outcome, note in attack(random.Random(f"{args.seed} {name}"), Path(scratch)):
                counts[outcome] += 1
                if outcome in FAILURES:
                    examples.setdefault(outcome, []).append(note)
        report[name] = {"counts": {outcome: counts[outcome] for outcome in OUTCOMES}, "examples": examples}
        print(f"{name}: {dict(counts)}", file=sys.stderr, flush=True)
    return report


def main(args: Args) -> int:
    """Attack, print the table; 1 if anything failed."""
    report = campaign(args)
    table = Table("attack", *OUTCOMES, title=f"seed {args.seed}", title_justify="left")
    for name, facts in report.items():
        table.add_row(name, *(str(facts["counts"][outcome]) for outcome in OUTCOMES))
    Console().print(table)
    if args.json is not None:
        write_json(args.json, report)
    return int(any(facts["counts"][outcome] for facts in report.values() for outcome in FAILURES))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Args, description=__doc__)))
