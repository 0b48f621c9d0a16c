"""Spaces of Gymnasium as plain JSON values, and back from the values of anybody."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from latent_rl.errors import InvalidValueError, one_line

_LARGEST_SPACE = 2**20


def space_facts(space: spaces.Space[Any]) -> dict[str, Any]:
    """A space of Gymnasium as plain JSON values.

    Raises:
        InvalidValueError: it is of another kind than those of `made_space`.
    """
    if isinstance(space, spaces.Box):
        bounds = {"low": _bounds(space.low), "high": _bounds(space.high)}
        return {"kind": "Box", "shape": list(space.shape), "dtype": str(space.dtype), **bounds}
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"kind": "MultiDiscrete", "nvec": space.nvec.tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {"kind": "MultiBinary", "shape": list(space.shape)}
    if isinstance(space, spaces.Dict):
        return {"kind": "Dict", "spaces": {name: space_facts(part) for name, part in space.spaces.items()}}
    raise InvalidValueError(
        f"an agent's spaces must be Box, Discrete, MultiDiscrete, MultiBinary or Dict; got {space}."
    )


def made_space(facts: dict[str, Any]) -> spaces.Space[Any]:
    """The inverse of `space_facts`, for facts of anybody.

    Raises:
        ValueError: they describe no space, or an enormous one.
    """
    makers: dict[str, Callable[[], spaces.Space[Any]]] = {
        "Box": lambda: spaces.Box(
            _array(facts["low"], facts, -np.inf),
            _array(facts["high"], facts, np.inf),
            dtype=np.dtype(facts["dtype"]).type,
        ),
        "Discrete": lambda: spaces.Discrete(_size(facts["n"]), start=int(facts["start"])),
        "MultiDiscrete": lambda: spaces.MultiDiscrete([_size(n) for n in facts["nvec"]]),
        "MultiBinary": lambda: spaces.MultiBinary([_size(n) for n in _shape(facts)]),
        "Dict": lambda: spaces.Dict({name: made_space(part) for name, part in facts["spaces"].items()}),
    }
    _size(_elements(facts))
    return makers[facts["kind"]]()


def _elements(facts: dict[str, Any]) -> int:
    """Of a sample of the space; at least one for each part."""
    if facts["kind"] == "Dict":
        return sum(map(_elements, facts["spaces"].values()))
    return math.prod(_shape(facts)) if "shape" in facts else 1


def _bounds(values: np.ndarray) -> Any:
    """One bound for all, or one for each; infinity is null, which JSON has."""
    flat = [None if math.isinf(value) else value for value in values.reshape(-1).tolist()]
    return flat[0] if flat and all(value == flat[0] for value in flat) else flat


def _array(bounds: Any, facts: dict[str, Any], infinity: float) -> np.ndarray:
    shape, dtype = _shape(facts), np.dtype(facts["dtype"])
    if dtype.kind not in "fiu":
        raise ValueError(f"a box of {dtype}")
    each = bounds if isinstance(bounds, list) else [bounds] * math.prod(shape)
    return np.array([infinity if bound is None else bound for bound in each], dtype).reshape(shape)


def _shape(facts: dict[str, Any]) -> tuple[int, ...]:
    shape = tuple(_size(n) for n in facts["shape"])
    _size(math.prod(shape))
    return shape


def _size(number: Any) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number <= _LARGEST_SPACE:
        raise ValueError(f"a size must be in [1, {_LARGEST_SPACE}]; got {one_line(repr(number), 40)}")
    return number
