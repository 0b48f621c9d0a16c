"""Attacks on the files of agents and comparisons, and on running commands: for tests and campaigns."""

import random
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latent_rl.agents.saved import AGENT
from latent_rl.storage.sealed import read_sealed, write_sealed


def flipped(content: bytes, chance: random.Random) -> bytes:
    """The content with one bit changed."""
    bit = chance.randrange(8 * len(content))
    place = bit // 8
    return content[:place] + bytes([content[place] ^ 1 << bit % 8]) + content[place + 1 :]


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bit": flipped,
    "byte": lambda content, chance: bytes(b if i != 7 else chance.randrange(256) for i, b in enumerate(content)),
    "cut": lambda content, chance: content[: chance.randrange(len(content))],
    "empty": lambda content, chance: b"",
    "zeros": lambda content, chance: bytes(len(content)),
    "noise": lambda content, chance: chance.randbytes(len(content)),
    "longer": lambda content, chance: content + chance.randbytes(16),
    "text": lambda content, chance: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
}
"""What can happen to a file: its new content."""


@contextmanager
def damaged(file: Path, damage: str, chance: random.Random) -> Iterator[bool]:
    """The file is damaged within this block, and whole again after it; yields whether the damage changed anything."""
    whole = file.read_bytes()
    try:
        file.write_bytes(DAMAGES[damage](whole, chance))
        yield file.read_bytes() != whole
    finally:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(whole)


def attacks(folder: Path, pattern: str, count: int, seed: int = 0) -> Iterator[tuple[Path, str, random.Random]]:
    """`count` arguments of `damaged`, over all files of a folder that fit the pattern."""
    files = sorted(path for path in folder.rglob(pattern) if path.is_file() and path.stat().st_size)
    for i in range(count):
        chance = random.Random(f"{seed} {i}")
        yield chance.choice(files), "bit" if i % 2 else chance.choice(list(DAMAGES)), chance


def resealed(file: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Change an agent as an attacker would, who can make the checksum fit; `change` gets its tensors and its facts."""
    tensors, facts = read_sealed(file, "an agent")
    change(tensors, facts)
    write_sealed(file, tensors, facts)


class Payload:
    """An object that makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def poison(file: Path, mark: Path) -> None:
    """Put code into a zip of stable-baselines3: whoever loads it makes the file `mark`."""
    import base64
    import json

    import cloudpickle

    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    data = json.loads(members["data"])
    code = base64.b64encode(cloudpickle.dumps(Payload(mark))).decode()
    members["data"] = json.dumps({"a": {":type:": "x", ":serialized:": code}, **data}).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def stopped(arguments: list[str], seconds: float, number: int = signal.SIGKILL) -> subprocess.CompletedProcess[str]:
    """Run `latent-rl` with these arguments, and send it a signal after so many seconds, if it still runs."""
    command = [sys.executable, "-m", "latent_rl", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, out, err)


def stopped_when(
    arguments: list[str], there: Callable[[], bool], number: int = signal.SIGKILL
) -> subprocess.CompletedProcess[str]:
    """The same, as soon as something is there."""
    command = [sys.executable, "-m", "latent_rl", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not there():
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, out, err)


def results(folder: Path) -> dict[str, bytes]:
    """What two equal comparisons must have in common, byte for byte."""
    names = ("report.json", "table.csv", "table.md", f"agents/*/{AGENT}", "agents/*/outcome.safetensors")
    return {str(p.relative_to(folder)): p.read_bytes() for name in names for p in sorted(folder.glob(name))}
