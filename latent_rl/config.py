"""Frozen configuration dataclasses from plain values: unknown keys, wrong types and values out of range are refused
before anything is made of them."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

from latent_rl.errors import InvalidValueError, UnknownNameError

Config = TypeVar("Config")


@dataclass(frozen=True)
class Range:
    """What values a field may have: `Annotated[int, Range(1, 1000)]`; `check_fields` holds an instance to it.

    Attributes:
        low: the least value.
        high: the greatest value.
        open_low: whether `low` itself is left out.
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False

    def __contains__(self, value: float) -> bool:
        return (self.low < value if self.open_low else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"above {self.low:g}" if self.open_low else f"of at least {self.low:g}"
        return f"in {'(' if self.open_low else '['}{self.low:g}, {self.high:g}]"


COUNT = Range(1, 10**9)
"""How often, how many: at least one."""
SIZE = Range(1, 2**16)
"""Of an axis of a network."""
DEPTH = Range(1, 10_000)
"""How often something is repeated: beyond it nothing would end."""
SHARE = Range(0, 1)
"""Of a whole."""
NOT_NEGATIVE = Range(0)
"""Weights, prices."""
SEED = Range(0, 2**31 - 1)
"""What every library takes for a seed."""
DERIVED = tyro.conf.Suppress
"""Marks a field, `Annotated[int, DERIVED]`, that follows from others or from the task: no command line asks for it."""


def one_of(names: Iterable[str]) -> Any:
    """Notes the names that a text may have, `Annotated[str, one_of(REGISTRY)]`, for the command line's help.

    It is no `Literal`: whoever adds to the registry later may use the new name, and the class that has the field
    refuses an unknown one in one line, with a suggestion.
    """
    return tyro.conf.arg(metavar="{" + ",".join(names) + "}")


def check_fields(instance: Any) -> None:
    """Hold a dataclass's values to the types and ranges of its fields; its `__post_init__` calls this first.

    Whole numbers are no floats and no bools, floats are finite, an `Annotated[..., Range(...)]` is kept, a `Literal` is
    one of its values. What is neither a plain value nor a union or tuple of them is left to the class itself.

    Raises:
        InvalidValueError: a value has another type, or lies outside its range.
        UnknownNameError: a value is none of the names it may be.
    """
    for name, hint in _hints(type(instance)).items():
        value = getattr(instance, name)
        if reason := _objection(hint, value):
            raise InvalidValueError(f"{type(instance).__name__}.{name} must be {reason}; got {_shown(value)}.")
        base = _without_none(_stripped(hint))
        if get_origin(base) is Literal and value is not None and value not in get_args(base):
            raise UnknownNameError(f"{type(instance).__name__}.{name}", value, map(str, get_args(base)))


def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _stripped(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _without_none(hint: Any) -> Any:
    """X for X | None."""
    if get_origin(hint) in (Union, UnionType):
        rest = [_stripped(part) for part in get_args(hint) if part is not NoneType]
        return rest[0] if len(rest) == 1 else hint
    return hint


def _objection(hint: Any, value: Any) -> str | None:
    """What the value should be, if it is not that."""
    if get_origin(hint) is Annotated:
        base, *notes = get_args(hint)
        if reason := _objection(base, value):
            return reason
        ranges = [note for note in notes if isinstance(note, Range)]
        if value is not None and any(value not in each for each in ranges):
            kind = "a whole number " if _without_none(base) is int else "a number "
            return kind + " and ".join(map(str, ranges))
        return None
    if get_origin(hint) in (Union, UnionType):
        reasons = [_objection(part, value) for part in get_args(hint)]
        wanted = dict.fromkeys(reason for reason in reasons if reason)
        return None if None in reasons else " or ".join(wanted)
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        if not isinstance(value, tuple | list):
            return "several values"
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) != len(value):
            return f"{len(kinds)} values"
        return next(
            (f"values each of which is {r}" for k, v in zip(kinds, value, strict=True) if (r := _objection(k, v))), None
        )
    plain: dict[Any, tuple[str, bool]] = {
        NoneType: ("nothing", value is None),
        bool: ("true or false", isinstance(value, bool)),
        int: ("a whole number", isinstance(value, int) and not isinstance(value, bool)),
        float: (
            "a finite number",
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value),
        ),
        str: ("text", isinstance(value, str)),
    }
    name, holds = plain.get(hint, ("", True))
    return None if holds else name


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def from_dict(cls: type[Config], data: Any) -> Config:
    """Build the dataclass `cls` from the mapping `data`.

    Raises:
        UnknownNameError: a key is not a field of `cls`.
        InvalidValueError: `data` is no mapping, or a field without a default is missing.
    """
    if not isinstance(data, Mapping):
        raise InvalidValueError(f"{cls.__name__} must be given by the names of its fields; got {_shown(data)}.")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise UnknownNameError(f"{cls.__name__} field", key, fields)
    required = {
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    if missing := sorted(required - set(data)):
        given = ", ".join(sorted(data)) or "nothing"
        raise InvalidValueError(f"{cls.__name__} needs {', '.join(missing)}; got {given}.")
    return cls(**data)
