"""Attacks on files and on running commands: for the tests, and for `benchmarks/campaign.py`."""

import json
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


def with_flipped_bit(content: bytes, place: int) -> bytes:
    """The same bytes but for one bit, counted from the first; the last one is followed by the first."""
    data = bytearray(content)
    place %= 8 * len(data)
    data[place // 8] ^= 1 << place % 8
    return bytes(data)


def _bit(content: bytes, place: int, chance: random.Random) -> bytes:
    # Half of them in the head, where formats keep their structure.
    place = chance.randrange(min(len(content), 2000)) if chance.random() < 0.5 else place
    return with_flipped_bit(content, 8 * place + chance.randrange(8))


def _gap(content: bytes, place: int, chance: random.Random) -> bytes:
    return content[:place] + content[place + chance.randrange(1, 64) :]


def _zeros(content: bytes, place: int, chance: random.Random) -> bytes:
    size = chance.randrange(1, 64)
    return content[:place] + bytes(size) + content[place + size :]


def _noise(content: bytes, place: int, chance: random.Random) -> bytes:
    size = chance.randrange(1, 64)
    return content[:place] + chance.randbytes(size) + content[place + size :]


DAMAGES: dict[str, Callable[[bytes, int, random.Random], bytes]] = {
    "bit": _bit,
    "cut": lambda content, place, chance: content[:place],
    "gap": _gap,
    "zeros": _zeros,
    "noise": _noise,
    "more": lambda content, place, chance: content + chance.randbytes(chance.randrange(1, 64)),
    "empty": lambda content, place, chance: b"",
    "all zeros": lambda content, place, chance: bytes(len(content)),
    "all noise": lambda content, place, chance: chance.randbytes(len(content)),
    "text": lambda content, place, chance: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
}
"""What can happen to a file: its new content, if it happens at that byte."""
USUAL = ("bit", "bit", "bit", "bit", "cut", "gap", "zeros", "more", "noise", "empty")
"""Of `DAMAGES`, as often as disks and cables do them."""


def spoiled(content: bytes, chance: random.Random, damage: str | None = None) -> bytes:
    """The same file with one thing wrong: one of `USUAL`, or the damage of that name."""
    damage = damage or chance.choice(USUAL)
    return DAMAGES[damage](content, chance.randrange(len(content)), chance)


def odd_json(content: bytes, chance: random.Random) -> bytes:
    """The same JSON with one value replaced by an odd one, or left out."""
    data = json.loads(content)
    spots: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in list(entries)[:50]:
            spots.append((node, key))
            collect(value)

    collect(data)
    node, key = chance.choice(spots)
    odd = [None, True, -1, 0, 1.5, 10**9, 10**30, float("nan"), "", "x", [], {}, [1], {"a": 1}, "../" * 20]
    if chance.random() < 0.1:
        del node[key]
    else:
        node[key] = chance.choice(odd)
    return json.dumps(data).encode()


@contextmanager
def damaged(file: Path, damage: str, chance: random.Random) -> Iterator[bool]:
    """The file is damaged within this block, and whole again after it; yields whether the damage changed anything."""
    whole = file.read_bytes()
    try:
        file.write_bytes(spoiled(whole, chance, damage))
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
