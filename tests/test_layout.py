"""The house: what each room may import, no circles, no other's private names, packaging.

Imports are read from the source, wherever they stand: at the top, inside a function, or for type checkers alone. A
reader who follows a name meets the circle or the climb whenever Python would load it. What a string names
(`__main__.COMMANDS`, Gymnasium's entry points) is loaded by whoever asks for it, and is no import here; nor is the
package that an import passes through on its way to a module.
"""

import ast
import importlib
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = {"latent_rl": ROOT / "latent_rl", "latent_rl.envs": ROOT / "envs", "latent_rl.agents": ROOT / "agents"}
FLOORS = (
    ("types", "errors", "notes", "figures", "lazy"),
    ("config", "storage", "improvement", "randomness"),
    ("tasks", "reasoners", "program"),
    ("fit", "guess"),
    ("evaluation", "envs"),
    ("training",),
    ("commands", "agents"),
)
"""The rooms, from the ground up. A room imports those below it: none above, and none beside it."""
FACADES = ("latent_rl", "latent_rl.__main__")
"""Above all floors: they name everything, and load it only when it is asked for."""
FOREIGN = {
    "latent_rl": ("gymnasium", "stable_baselines3", "sb3_contrib"),
    "latent_rl.envs": ("stable_baselines3", "sb3_contrib"),
    "latent_rl.agents": (),
}
"""Libraries that a layer does without."""
pytestmark = pytest.mark.skipif(not (ROOT / "envs").is_dir(), reason="needs the checkout, not the wheel alone")


@dataclass(frozen=True)
class Module:
    """A module of the product, as its source tells.

    Attributes:
        name: as it is imported.
        layer: a key of `LAYERS`.
        path: of its source.
        tree: the source, parsed.
    """

    name: str
    layer: str
    path: Path
    tree: ast.Module


@cache
def modules() -> dict[str, Module]:
    """Every module of the product, by name."""
    found = {}
    for layer, folder in LAYERS.items():
        for path in sorted(folder.rglob("*.py")):
            inner = path.relative_to(folder).with_suffix("").parts
            name = ".".join((layer, *(part for part in inner if part != "__init__")))
            found[name] = Module(name, layer, path, ast.parse(path.read_text(encoding="utf-8")))
    return found


def imports(module: Module) -> Iterator[tuple[str, str | None, str]]:
    """What a module imports: (module, name taken from it or None, what it is called here)."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None, alias.asname or alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.path} imports relatively; imports must be absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = inner in modules()
                yield (
                    (inner if is_module else str(node.module)),
                    None if is_module else alias.name,
                    (alias.asname or alias.name),
                )


@cache
def graph() -> dict[str, frozenset[str]]:
    """The product's modules that each module imports."""
    known = modules()
    return {
        name: frozenset(target for target, _, _ in imports(module) if target in known and target not in FACADES)
        for name, module in known.items()
    }


def room(module: str) -> str:
    """The room of a module of the product: the first part of its name after `latent_rl`."""
    return module.split(".")[1]


def floor(room: str) -> int:
    """How high a room lies."""
    (level,) = [level for level, rooms in enumerate(FLOORS) if room in rooms]
    return level


def circles(edges: dict[str, frozenset[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module, or of one that imports itself (Tarjan 1972)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_path: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        open_path.append(module)
        for target in sorted(edges[module]):
            if target not in order:
                visit(target)
                lowest[module] = min(lowest[module], lowest[target])
            elif target in open_path:
                lowest[module] = min(lowest[module], order[target])
        if lowest[module] == order[module]:
            start = open_path.index(module)
            component, open_path[start:] = open_path[start:], []
            if len(component) > 1 or module in edges[module]:
                found.append(sorted(component))

    for module in edges:
        if module not in order:
            visit(module)
    return found


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def private_names(tree: ast.AST) -> set[str]:
    """The private names that a piece of source makes: of functions, classes, variables, fields, attributes."""
    made = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            made.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            made.add(node.attr)
    return {name for name in made if is_private(name)}


def private_uses(tree: ast.AST) -> Iterator[ast.Attribute]:
    """Where an attribute with a private name is read or set."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_private(node.attr))


def is_self(node: ast.expr) -> bool:
    return ast.unparse(node) in ("self", "cls", "super()")


def classes(module: Module) -> Iterator[ast.ClassDef]:
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef))


def bound(definition: ast.ClassDef) -> set[str]:
    """The names of a class's methods and fields."""
    return {
        *(node.name for node in definition.body if isinstance(node, ast.FunctionDef)),
        *(
            target.id
            for node in definition.body
            for target in ([node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", []))
            if isinstance(target, ast.Name)
        ),
    }


def bases(module: Module, definition: ast.ClassDef) -> Iterator[tuple[Module, ast.ClassDef]]:
    """The classes of the product that a class derives from, however far up."""
    taken = {local: (target, name) for target, name, local in imports(module) if target in modules() and name}
    here = {each.name: each for each in classes(module)}
    for base in definition.bases:
        name = ast.unparse(base).split("[")[0]
        if name in here and here[name] is not definition:
            origin, found = module, here[name]
        elif name in taken:
            origin = modules()[taken[name][0]]
            at_origin = [each for each in classes(origin) if each.name == taken[name][1]]
            if not at_origin:
                continue  # a type alias
            (found,) = at_origin
        else:
            continue  # of another library
        yield origin, found
        yield from bases(origin, found)


def test_every_module_has_a_room() -> None:
    placed = [name for rooms in FLOORS for name in rooms]
    rooms = {room(name) for name in modules() if name not in FACADES}
    assert sorted(placed) == sorted(rooms), "say once in FLOORS where each room stands"


def test_imports_go_down() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, targets in graph().items()
        if name not in FACADES
        for target in targets
        if room(name) != room(target) and floor(room(target)) >= floor(room(name))
    ]
    assert not wrong, "imports must point to a lower floor:\n" + "\n".join(wrong)


def test_nobody_below_takes_names_from_the_facade() -> None:
    """`import latent_rl` is for the version; what it exports lies in rooms, and is imported from there."""
    wrong = [
        f"{name} imports {taken} from {target}"
        for name, module in modules().items()
        for target, taken, _ in imports(module)
        if name not in FACADES and target in FACADES and taken not in (None, "__version__")
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_does_without_the_libraries_of_those_above(layer: str) -> None:
    for name, module in modules().items():
        if module.layer == layer and name not in FACADES:
            used = {target.split(".")[0] for target, _, _ in imports(module)} & set(FOREIGN[layer])
            assert not used, f"{name} must not import {', '.join(used)}"


def test_no_circles() -> None:
    found = circles(graph())
    assert not found, "these modules import one another:\n" + "\n".join(", ".join(circle) for circle in found)


def test_circles_are_found() -> None:
    def edges(**targets: str) -> dict[str, frozenset[str]]:
        return {name: frozenset(each) for name, each in targets.items()}

    assert circles(edges(a="bc", b="c", c="")) == []
    assert circles(edges(a="b", b="c", c="bd", d="")) == [["b", "c"]]
    assert circles(edges(a="bd", b="a", c="c", d="ea", e="d")) == [["a", "b", "d", "e"], ["c"]]


def test_no_module_imports_a_private_name_of_another() -> None:
    wrong = []
    for name, module in modules().items():
        called = set()
        for target, taken, local in imports(module):
            if target in modules() and taken is not None and is_private(taken):
                wrong.append(f"{name} imports {taken} from {target}")
            if target in modules() and taken is None:
                called.add(local)
        wrong += [
            f"{name}:{node.lineno} uses {ast.unparse(node)}"
            for node in private_uses(module.tree)
            if ast.unparse(node.value) in called
        ]
    assert not wrong, "\n".join(wrong)


def test_no_module_uses_a_private_attribute_that_another_makes() -> None:
    """Of objects whose class is not known here: the name is private to the modules that make it."""
    makers = defaultdict(set)
    for name, module in modules().items():
        for private in private_names(module.tree):
            makers[private].add(name)
    wrong = [
        f"{name}:{node.lineno} uses {ast.unparse(node)}, which is made in {', '.join(sorted(makers[node.attr]))}"
        for name, module in modules().items()
        for node in private_uses(module.tree)
        if not is_self(node.value) and makers[node.attr] and name not in makers[node.attr]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_class_uses_a_private_attribute_of_a_base_elsewhere() -> None:
    wrong = [
        f"{name}:{node.lineno} uses {ast.unparse(node)} of {origin.name}.{base.name}"
        for name, module in modules().items()
        for definition in classes(module)
        for origin, base in bases(module, definition)
        if origin is not module
        for node in private_uses(definition)
        if is_self(node.value) and node.attr in private_names(base) - private_names(definition)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_class_overrides_a_private_hook_of_another_module() -> None:
    """A part that varies is a parameter or an abstract public method. Hooks that other libraries ask for are theirs."""
    wrong = [
        f"{name}.{definition.name} overrides {origin.name}.{base.name}.{hook}"
        for name, module in modules().items()
        for definition in classes(module)
        for origin, base in bases(module, definition)
        if origin is not module
        for hook in sorted(bound(definition) & bound(base))
        if is_private(hook)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_two_public_classes_have_one_name() -> None:
    places = defaultdict(list)
    for name, module in modules().items():
        for definition in module.tree.body:
            if isinstance(definition, ast.ClassDef) and not is_private(definition.name):
                places[definition.name].append(name)
    doubled = {name: where for name, where in places.items() if len(where) > 1}
    assert not doubled, f"a class's name must be its own: {doubled}"


def test_tests_lie_in_rooms_of_the_same_names() -> None:
    rooms = {name for rooms in FLOORS for name in rooms} | {"benchmarks", "examples"}
    found = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert found <= rooms, f"tests/{found - rooms} is named after no room"


def test_every_package_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(declared) == sorted(name for name, module in modules().items() if module.path.name == "__init__.py")


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
