"""YAML with positions: plain values, and where in the text each key and each value stands."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from warmshell.errors import LocationError

if TYPE_CHECKING:
    import yaml

Path = tuple[str | int, ...]

_MOST_VALUES = 100_000  # an alias may stand for much, and so on: what a person writes has far fewer


class Position(NamedTuple):
    """A place in a text, counted from 1."""

    line: int
    column: int


class Marked(NamedTuple):
    """A document.

    Attributes:
        value: what it holds.
        keys: where the key of each value stands.
        values: where each value begins.
    """

    value: Any
    keys: dict[Path, Position]
    values: dict[Path, Position]

    def where(self, path: Path, *, at_key: bool = False) -> Position:
        """Where a path leads to, or as near to it as there is anything."""
        for end in range(len(path), -1, -1):
            marks = self.keys if at_key or end < len(path) else self.values
            if path[:end] in marks:
                return marks[path[:end]]
            if path[:end] in self.values:
                return self.values[path[:end]]
        return Position(1, 1)


def read(text: str, name: str) -> Marked:
    """The only document of a text.

    Args:
        text: YAML, or JSON, which is YAML too. As in YAML 1.2 only ``true`` and ``false`` are truth values.
        name: the name of the file, for errors.

    Raises:
        LocationError: it is not YAML, has a key twice, or refers to itself.
    """

    def only(yaml: Any) -> list[yaml.Node | None]:
        return [yaml.compose(text, Loader=_loader())]

    return _marked(_composed(only, name)[0], _Reader(name))


def documents(text: str, name: str) -> list[Marked]:
    """All documents of a text that holds manifests of Kubernetes.

    As there, a number that begins with a 0 is octal.

    Raises:
        LocationError: as with :func:`read`.
    """

    def each(yaml: Any) -> list[yaml.Node | None]:
        return list(yaml.compose_all(text, Loader=_loader()))

    return [_marked(node, _Reader(name, octal=True)) for node in _composed(each, name)]


def _composed(compose: Callable[[Any], list[yaml.Node | None]], name: str) -> list[yaml.Node | None]:
    try:
        import yaml
    except ImportError:
        raise LocationError("deployment files need PyYAML", hint="install warmshell[yaml]") from None
    try:
        return compose(yaml)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f":{mark.line + 1}:{mark.column + 1}"
        raise LocationError(f"{name}{where}: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise LocationError(f"{name}: it cannot be read: {' '.join(str(error).split())}") from None


def _marked(node: yaml.Node | None, reader: _Reader) -> Marked:
    value = None if node is None else reader.value(node, ())
    return Marked(value, reader.keys, reader.values)


class _Reader:
    def __init__(self, name: str, *, octal: bool = False) -> None:
        self._name = name
        self._octal = octal
        self._above: list[int] = []
        self.keys: dict[Path, Position] = {}
        self.values: dict[Path, Position] = {}

    def value(self, node: yaml.Node, path: Path) -> Any:
        import yaml

        position = _position(node)
        if id(node) in self._above:
            raise self._error(position, "an alias refers to what it stands in")
        self.values[path] = position
        if len(self.values) > _MOST_VALUES:
            raise self._error(position, "there is too much in it")
        self._above.append(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, (*path, at)) for at, item in enumerate(node.value)]
            return self._scalar(node)
        finally:
            self._above.pop()

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged += value_node.value if value_node.id == "sequence" else [value_node]
                continue
            key = self._key(key_node)
            if key in found:
                raise self._error(_position(key_node), f"{key!r} is there twice")
            self.keys[(*path, key)] = _position(key_node)
            found[key] = self.value(value_node, (*path, key))
        for other in merged:
            marks = self.keys, self.values
            self.keys, self.values = {}, {}
            more = self.value(other, path)
            (keys, values), (self.keys, self.values) = (self.keys, self.values), marks
            if not isinstance(more, dict):
                raise self._error(_position(other), "only keys with values can be merged")
            self.keys = {**keys, **self.keys}
            self.values = {**values, **self.values}
            found = {**more, **found}
        return found

    def _key(self, node: yaml.Node) -> Any:
        import yaml

        if not isinstance(node, yaml.ScalarNode):
            raise self._error(_position(node), "a key is a text")
        return self._scalar(node)

    def _scalar(self, node: yaml.Node) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        text: str = node.value
        try:
            if kind == "null":
                return None
            if kind == "bool":
                return text.lower() == "true"
            if kind == "int" and self._octal and re.fullmatch(r"[-+]?0[0-7]+", text):
                return int(text, 8)
            if kind == "int":
                return int(text, 0) if text.lower().startswith(("0x", "0o")) else int(text)
            if kind == "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            raise self._error(_position(node), f"not a number: {text!r}") from None
        if kind not in ("str", "timestamp", "binary"):
            raise self._error(_position(node), f"values of the kind {node.tag!r} have no meaning here")
        return text

    def _error(self, position: Position, message: str) -> LocationError:
        return LocationError(f"{self._name}:{position.line}:{position.column}: {message}")


def _position(node: yaml.Node) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)


# What YAML 1.2 takes for something else than text: "no" is a text there, and so is 12:30.
_KINDS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    "merge": (r"<<", ["<"]),
}


@functools.cache
def _loader() -> Any:
    """What takes plain text for what YAML 1.2 does."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.yaml_implicit_resolvers = {}
    for kind, (pattern, first) in _KINDS.items():
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"(?:{pattern})\\Z"), first)
    return Loader
