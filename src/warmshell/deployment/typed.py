"""Typed classes of options: values are checked against them, and JSON Schema is made of them."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Union

from warmshell.connector.options import Above, AtLeast
from warmshell.marked_yaml import Path


class Problem(NamedTuple):
    """What is wrong with a value.

    Attributes:
        path: where it is: keys, and positions in lists.
        message: what is wrong.
        hint: what to write instead.
        at_key: whether it is the key that is wrong, not its value.
    """

    path: Path
    message: str
    hint: str | None = None
    at_key: bool = False


@functools.cache
def fields_of(kind: type) -> dict[str, tuple[Any, dataclasses.Field[Any]]]:
    """The fields of a class of options by name, each with its type."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: (hints[field.name], field) for field in dataclasses.fields(kind)}


def is_required(field: dataclasses.Field[Any]) -> bool:
    """Whether it has to be given."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def descriptions(kind: type) -> dict[str, str]:
    """What the docstrings say of the fields, by name."""
    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        _, _, attributes = (inspect.cleandoc(owner.__doc__ or "")).partition("\nAttributes:\n")
        for name, text in re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", attributes, re.MULTILINE):
            found[name] = re.sub(r"\s+", " ", text).replace("``", "").rstrip(".")
    return found


# -- checking ----------------------------------------------------------------------------------------------------------


def check(value: object, kind: Any, path: Path = ()) -> list[Problem]:
    """What is wrong with a value that is to be of a type; nothing if it is."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return check(value, arguments[0], path) or _check_limit(value, arguments[1], path)
    if origin in (Union, types.UnionType):
        return _check_union(value, arguments, path)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return check_object(value, kind, path)
    if origin in _CHECKS:
        return _CHECKS[origin](value, arguments, path)
    return [] if _is(value, kind) else [Problem(path, f"has to be {name_of(kind)}, not {_shown(value)}")]


def _is(value: object, kind: Any) -> bool:
    if kind is Any or kind is object:
        return True
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is None:
        return value is None
    return isinstance(value, kind)


def _check_limit(value: object, limit: object, path: Path) -> list[Problem]:
    if not isinstance(value, int | float):  # None, of a union
        return []
    if isinstance(limit, Above) and not (value > limit.least and value < float("inf")):
        return [Problem(path, f"has to be greater than {limit.least:g}, not {value!r}")]
    if isinstance(limit, AtLeast) and value < limit.least:
        return [Problem(path, f"has to be at least {limit.least}, not {value!r}")]
    return []


def _check_union(value: object, kinds: Sequence[Any], path: Path) -> list[Problem]:
    """Nothing if one fits; else what is wrong with the one that the value is nearest to."""
    tried = [check(value, kind, path) for kind in kinds]
    if not all(tried):
        return []
    deeper = [problems for problems in tried if any(problem.path != path or problem.at_key for problem in problems)]
    if deeper:
        return min(deeper, key=len)
    limits = [p for p in tried if "has to be greater" in p[0].message or "has to be at least" in p[0].message]
    if limits:
        return limits[0]
    names = " or ".join(dict.fromkeys(name_of(kind) for kind in kinds if kind is not types.NoneType))
    return [Problem(path, f"has to be {names}, not {_shown(value)}")]


def _check_list(value: object, arguments: Sequence[Any], path: Path) -> list[Problem]:
    if not isinstance(value, list):
        return [Problem(path, f"has to be a list, not {_shown(value)}")]
    return [problem for at, item in enumerate(value) for problem in check(item, arguments[0], (*path, at))]


def _check_mapping(value: object, arguments: Sequence[Any], path: Path) -> list[Problem]:
    if not isinstance(value, dict):
        return [Problem(path, f"has to be keys with values, not {_shown(value)}")]
    problems = [Problem((*path, key), f"a key is a text, not {key!r}", at_key=True)
                for key in value if not isinstance(key, str)]  # fmt: skip
    return problems + [problem for key, item in value.items() for problem in check(item, arguments[1], (*path, key))]


def _check_choice(value: object, arguments: Sequence[Any], path: Path) -> list[Problem]:
    if value in arguments and not isinstance(value, bool):
        return []
    return [Problem(path, f"{_shown(value)} is none of {_list(arguments)}", _nearest(value, arguments))]


_CHECKS: dict[Any, Callable[[object, Sequence[Any], Path], list[Problem]]] = {
    list: _check_list, dict: _check_mapping, Literal: _check_choice,
}  # fmt: skip


def check_object(value: object, kind: type, path: Path = ()) -> list[Problem]:
    """What is wrong with a mapping that is to hold the fields of a class. A key without a value counts as not given."""
    if not isinstance(value, dict):
        return [Problem(path, f"has to be keys with values, not {_shown(value)}")]
    known = fields_of(kind)
    problems: list[Problem] = []
    for key, item in value.items():
        if key not in known:
            problems.append(unknown_key(path, key, known))
        elif item is not None:
            problems += check(item, known[key][0], (*path, key))
    missing = [name for name, (_, field) in known.items() if is_required(field) and value.get(name) is None]
    return problems + [Problem(path, f"{name!r} is missing") for name in missing]


def unknown_key(path: Path, key: object, known: Mapping[str, object] | Sequence[str]) -> Problem:
    """A key that there is not, with the nearest one that there is."""
    return Problem((*path, typing.cast("str", key)), f"there is no {key!r}", _nearest(key, list(known)), at_key=True)


def _nearest(given: object, known: Sequence[Any]) -> str:
    names = [str(name) for name in known]
    lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(str(given).lower(), list(lower), 1)
    return f"is it {lower[near[0]]!r}?" if near else f"there are {_list(known)}" if known else "there is nothing"


def _list(names: Sequence[object]) -> str:
    return ", ".join(str(name) for name in names)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "keys with values"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else repr(value)


_NAMES = {str: "a text", bool: "true or false", int: "a whole number", float: "a number", types.NoneType: "nothing"}


def name_of(kind: Any) -> str:
    """A type in words."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return name_of(typing.get_args(kind)[0])
    if origin is list:
        return "a list"
    if origin is dict or dataclasses.is_dataclass(kind):
        return "keys with values"
    return _NAMES.get(kind, str(kind))


# -- schema ------------------------------------------------------------------------------------------------------------

_JSON: dict[Any, dict[str, Any]] = {
    str: {"type": "string"}, bool: {"type": "boolean"}, int: {"type": "integer"}, float: {"type": "number"},
    types.NoneType: {"type": "null"}, Any: {}, object: {},
}  # fmt: skip


Definitions = dict[str, dict[str, Any]]


def schema(kind: Any, definitions: Definitions) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a type.

    Args:
        kind: the type.
        definitions: gets the schemas of the classes that it refers to, which belong into ``$defs``.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return {**schema(arguments[0], definitions), **_limit(arguments[1])}
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema(argument, definitions) for argument in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (list, dict):
        items = schema(arguments[-1], definitions)
        return {"type": "array", "items": items} if origin is list else _object_of(items)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}  # known by now, as it may refer to itself
            definitions[kind.__name__] = object_schema(kind, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    return dict(_JSON[kind])


def _object_of(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": items}


def _limit(limit: object) -> dict[str, Any]:
    if isinstance(limit, Above):
        return {"exclusiveMinimum": limit.least}
    return {"minimum": limit.least} if isinstance(limit, AtLeast) else {}


def object_schema(kind: type, definitions: Definitions) -> dict[str, Any]:
    """The JSON Schema of a class of options."""
    texts = descriptions(kind)
    properties: dict[str, Any] = {}
    for name, (hint, field) in fields_of(kind).items():
        entry = schema(hint, definitions)
        if name in texts:
            entry["description"] = texts[name]
        if field.default is not dataclasses.MISSING and field.default is not None:
            entry["default"] = field.default
        properties[name] = entry
    required = [name for name, (_, field) in fields_of(kind).items() if is_required(field)]
    text = inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]
    return {
        "type": "object", **({"description": text} if text else {}), "properties": properties,
        **({"required": required} if required else {}), "additionalProperties": False,
    }  # fmt: skip
