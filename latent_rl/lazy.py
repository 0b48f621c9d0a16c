"""Public names of a package that load on first use: what they stand for may take seconds to import."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

Lazy = tuple[Callable[[str], Any], Callable[[], list[str]]]
"""A module's `__getattr__` and its `__dir__`."""


def lazy_names(package: str, names: Mapping[str, str], namespace: Mapping[str, Any]) -> Lazy:
    """The package's `__getattr__` and `__dir__`.

    Args:
        package: its name, for errors.
        names: the public ones, each with the module that has it.
        namespace: the package's own names, its `globals()`.
    """

    def load(name: str) -> Any:
        if name in names:
            return getattr(importlib.import_module(names[name]), name)
        raise AttributeError(f"module '{package}' has no attribute '{name}'; it has {', '.join(names)}")

    def listed() -> list[str]:
        return sorted({*namespace, *names})

    return load, listed
