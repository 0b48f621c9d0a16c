"""The pages name what is there: files, modules, links, the reference, the headlines of the results."""

import importlib
import re
from pathlib import Path

import pytest
from pages import PAGES, ROOT, blocks, links, prose, sections, table
from test_layout import LAYERS, modules

pytestmark = pytest.mark.skipif(not (ROOT / "README.md").is_file(), reason="needs the checkout, not the wheel alone")
FOLDERS = ("latent_rl", "envs", "agents", "benchmarks", "examples", "tests", "docs", r"\.ci")
PATH = re.compile(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)})/[\w./-]*")
SOURCES = [path for folder in ("latent_rl", "envs", "agents", "benchmarks", "examples")
           for path in sorted((ROOT / folder).rglob("*.py"))]  # fmt: skip
OF_RUNS = {"agents/", "tensorboard/"}
"""Folders that a run leaves, on the pages that tell what it leaves."""
HEADLINES = 10


def exists(path: str) -> bool:
    return path in OF_RUNS or (ROOT / path.rstrip(".")).exists()


def numbers(text: str) -> set[float]:
    """The numbers in a text, without their signs."""
    return {float(each.replace(",", "")) for each in re.findall(r"\d[\d,]*(?:\.\d+)?|\.\d+", text)}


def resolves(dotted: str) -> bool:
    """Whether a dotted name leads to a module, or to something in one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("page", [*PAGES, ROOT / ".ci" / "run"], ids=lambda page: page.name)
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    missing = [path for path in PATH.findall(page.read_text()) if not exists(path)]
    assert not missing, f"{page.name} names what is not there: {missing}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_modules_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(r"`(latent_rl(?:\.\w+)+)", prose(page.read_text()))
    missing = [name for name in named if not resolves(name)]
    assert not missing, f"{page.name} names what is not there: {missing}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for link in links(page.read_text()):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), f"{page.name} links to {file}"
        assert not anchor or anchor in sections(target.read_text()), f"{page.name} links to {link}"


def test_the_files_that_comments_name_exist() -> None:
    """A name with a folder is meant from the root; without one, some file must be called so."""
    names = {path.name for path in ROOT.rglob("*.py")}
    for path in SOURCES:
        for named in re.findall(r"(?<![\w/.{}-])[\w/]*\w\.py\b", path.read_text(encoding="utf-8")):
            assert exists(named) if "/" in named else named in names, f"{path.relative_to(ROOT)} names {named}"


def test_the_readme_shows_the_house() -> None:
    """Every room stands in the tree, and all that stands there exists."""
    (tree,) = [block.code for block in blocks((ROOT / "README.md").read_text()) if block.code.startswith("latent_rl/")]
    assert tree.count("\n") <= 40
    shown, path = set(), [""] * 3
    for line in tree.splitlines():
        names, depth = re.split(r" {2,}", line.strip())[0], (len(line) - len(line.lstrip())) // 4
        for name in names.split():
            path[depth:] = [name]
            shown.add("".join(path))
    assert not [each for each in shown if not (ROOT / each).exists()]
    rooms = [init.parent for folder in LAYERS.values() for init in folder.rglob("__init__.py")]
    rooms += [script.parent for script in SOURCES if script.parent not in rooms]
    missing = {f"{room.relative_to(ROOT)}/" for room in rooms} - shown
    assert not missing, f"README's tree lacks {sorted(missing)}"


def test_the_headlines_of_the_results_stand_in_their_sections() -> None:
    """Ten of them, each with a link to its section, and every number of it is found there."""
    results = (ROOT / "RESULTS.md").read_text()
    rows = table(results, "what")
    assert len(rows) == HEADLINES
    for what, measured, link in rows:
        (anchor,) = re.findall(r"\]\(#(.+)\)", link)
        measurements, found = numbers(measured), numbers(sections(results)[anchor])
        assert measurements, what
        assert measurements <= found, f"{what}: {measurements - found} are not in section {anchor}"


def test_the_reference_is_complete() -> None:
    """Every module is documented or named among the plumbing; nothing else is, and nothing twice."""
    page = (ROOT / "docs" / "api.md").read_text()
    documented = re.findall(r"^\.\. automodule:: (\S+)$", page, re.MULTILINE)
    plumbing = re.findall(r"^   (latent_rl\S+)$", sections(page)["plumbing"], re.MULTILINE)
    of_names = {"latent_rl", "latent_rl.agents"}  # packages that only export; see "Short names"
    empty = {name for name, each in modules().items() if each.path.name == "__init__.py" and len(each.tree.body) == 1}
    assert sorted([*documented, *plumbing]) == sorted(set(modules()) - empty - of_names)


@pytest.mark.parametrize("package", LAYERS)
def test_the_reference_has_the_short_names(package: str) -> None:
    """What a package exports, and where it comes from."""
    module = importlib.import_module(package)
    rows = table(sections((ROOT / "docs" / "api.md").read_text())["short-names"], "import")
    listed = {cells[0].strip("`"): cells[1].strip("`") for cells in rows if cells[0].startswith(f"`{package}.")}
    listed = {name: home for name, home in listed.items() if name.rpartition(".")[0] == package}
    assert sorted(listed) == sorted(f"{package}.{name}" for name in module.__all__ if not name.startswith("__"))
    for name, home in listed.items():
        assert getattr(importlib.import_module(home), name.rpartition(".")[2]) is getattr(
            module, name.rpartition(".")[2]
        )
