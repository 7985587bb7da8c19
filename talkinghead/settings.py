"""Settings as frozen dataclasses, built strictly from plain tables (JSON, YAML)."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def dataclass_from(cls: type[T], values: Mapping[str, Any]) -> T:
    """An instance of the dataclass `cls`; keys that it does not have and values of another type are refused.

    Nested dataclasses take tables, tuples take lists, floats take whole numbers.

    Raises ValueError naming the key; what `cls` itself raises for values out of range is passed on.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    converted = values_from({name: hints[name] for name in fields}, values)
    lacking = [
        name
        for name, field in fields.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if lacking:
        raise ValueError(f"lacks {', '.join(lacking)}")
    return cls(**converted)


def values_from(kinds: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` as the types `kinds`, by name; raises ValueError as `dataclass_from` does."""
    unknown = [str(key) for key in values if key not in kinds]
    if unknown:
        raise ValueError(f"unknown setting {', '.join(unknown[:5])}; known are {', '.join(kinds)}")
    return {name: _convert(name, kinds[name], value) for name, value in values.items()}


def _convert(name: str, wanted: Any, value: Any) -> Any:
    """`value` as the type `wanted`, or ValueError."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if dataclasses.is_dataclass(wanted) and isinstance(value, Mapping):
        return dataclass_from(typing.cast("type[Any]", wanted), value)
    if origin in (typing.Union, types.UnionType):
        return _convert_any(name, arguments, value)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise ValueError(f"{name} must be one of {', '.join(map(str, arguments))}, not {value!r:.60}")
    if origin is tuple and isinstance(value, list | tuple):
        sizes = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(sizes) == len(value):
            return tuple(_convert(name, kind, item) for kind, item in zip(sizes, value, strict=True))
    if wanted is float and type(value) is int:
        return float(value)
    if isinstance(wanted, type) and type(value) is wanted:
        return value
    raise ValueError(f"{name} must be {getattr(wanted, '__name__', wanted)}, not {value!r:.60}")


def _convert_any(name: str, choices: tuple[Any, ...], value: Any) -> Any:
    for choice in choices:
        try:
            return _convert(name, choice, value)
        except ValueError:
            continue
    raise ValueError(f"{name} must be one of {', '.join(str(choice) for choice in choices)}, not {value!r:.60}")
