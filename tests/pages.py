"""Reading the pages of the repository: blocks of code, headings and their anchors, tables."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*(ROOT / f"{name}.md" for name in ("README", "RESULTS", "CHANGELOG", "CONTRIBUTING")), *DOCS]
_BLOCK = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code; `file` is the name under which the page asks to save it."""

    language: str
    code: str
    file: str | None


def blocks(text: str) -> Iterator[Block]:
    for match in _BLOCK.finditer(text):
        name = re.search(r"`(\w+\.py)`[^`]*:\s*$", text[: match.start()])
        yield Block(match[1], match[2], name[1] if name else None)


def prose(text: str) -> str:
    """The text without its blocks of code."""
    return _BLOCK.sub("", text)


def sections(text: str) -> dict[str, str]:
    """The text under each heading, up to the next heading of its rank, by the anchor that GitHub gives it."""
    plain = _BLOCK.sub(lambda block: re.sub("^#", " ", block[0], flags=re.MULTILINE), text)
    headings = list(re.finditer(r"^(#+) (.+)$", plain, re.MULTILINE))
    seen: Counter[str] = Counter()
    found = {}
    for index, heading in enumerate(headings):
        ends = (other.start() for other in headings[index + 1 :] if len(other[1]) <= len(heading[1]))
        slug = re.sub(r"[^\w\- ]", "", heading[2].lower()).replace(" ", "-")
        found[f"{slug}-{seen[slug]}" if seen[slug] else slug] = text[heading.start() : next(ends, len(text))]
        seen[slug] += 1
    return found


def links(text: str) -> Iterator[str]:
    """The targets of the links and pictures outside of code that lie in the repository."""
    for target in re.findall(r"\]\(([^()\s]+)\)", prose(text)):
        if not target.startswith(("http:", "https:")):
            yield target


def table(text: str, first: str) -> list[list[str]]:
    """The cells of the rows of the table whose first column has that heading."""
    rows = text[text.index(f"\n| {first} |") + 1 :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]
