"""The house: import direction, packaging."""

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = {"latent_rl": ROOT / "latent_rl", "envs": ROOT / "envs", "agents": ROOT / "agents"}
FORBIDDEN = {
    "latent_rl": ("gymnasium", "stable_baselines3", "latent_rl.envs", "latent_rl.agents"),
    "envs": ("stable_baselines3", "latent_rl.agents"),
    "agents": (),
}
pytestmark = pytest.mark.skipif(not LAYERS["envs"].is_dir(), reason="needs the checkout, not the wheel alone")


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; imports must be absolute"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_from_agents_to_envs_to_the_reasoning_core(layer: str) -> None:
    for path in LAYERS[layer].rglob("*.py"):
        if path.name == "__main__.py":
            continue
        for module in imported_modules(path):
            for prefix in FORBIDDEN[layer]:
                assert not f"{module}.".startswith(f"{prefix}."), f"{path} must not import {module}"


def test_every_package_is_declared() -> None:
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    for layer, folder in LAYERS.items():
        base = layer if layer == "latent_rl" else f"latent_rl.{layer}"
        for init in folder.rglob("__init__.py"):
            inner = init.parent.relative_to(folder).parts
            assert ".".join((base, *inner)) in declared


@pytest.mark.parametrize("name", ["envs", "agents"])
def test_packages_refuse_their_bare_name(name: str) -> None:
    """Otherwise every module could be loaded twice, under two names."""
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {name}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert f"latent_rl.{name}" in run.stderr


def test_importing_the_packages_loads_nothing_heavy() -> None:
    code = "import sys, latent_rl.agents; print([m for m in ('torch', 'gymnasium', 'numpy') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["latent_rl", "latent_rl.agents"])
def test_public_names_exist(name: str) -> None:
    package = importlib.import_module(name)
    for public in package.__all__:
        assert getattr(package, public) is not None
    with pytest.raises(AttributeError, match="it has"):
        _ = package.nothing


@pytest.mark.parametrize("name", ["latent_rl", "latent_rl.agents"])
def test_editors_see_every_public_name(name: str) -> None:
    """Names load on first use; what type checkers are told is the same table."""
    package = importlib.import_module(name)
    assert package.__file__ is not None
    seen = {
        alias.asname: node.module
        for node in ast.walk(ast.parse(Path(package.__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    assert seen == package._EXPORTS
