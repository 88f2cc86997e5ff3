"""The deployment file: a ``warmshell.yaml``, or any StreamFlow file, of which the ``deployments`` are read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from warmshell.connector.batch import REMEDY, refusal
from warmshell.deployment import types
from warmshell.deployment.typed import Definitions, Problem, check, check_object, object_schema, schema, unknown_key
from warmshell.errors import LocationError
from warmshell.marked_yaml import Marked, Path, read

DEFAULT_NAME = "warmshell.yaml"
VARIABLE = "WARMSHELL_FILE"
_SECTIONS = ("deployments", "models")  # the second is what old StreamFlow files call them


@dataclass(frozen=True, slots=True)
class Wraps:
    """The deployment that another one is reached through.

    Attributes:
        deployment: its name
        service: the service of it whose locations are used
    """

    deployment: str
    service: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A deployment, as it stands in the file.

    Attributes:
        type: the kind of connector
        config: the options of its kind
        external: whether it is there already, and only to be reached
        lazy: whether it is deployed on first use
        wraps: the deployment that it is reached through: its name, or an object with deployment and service
        workdir: the directory in which commands run by default, where they do not say otherwise; it has to be there
        policy: of StreamFlow; it has no meaning here
        scheduling_policy: of StreamFlow; it has no meaning here
    """

    type: str
    config: dict[str, Any] = field(default_factory=dict)
    external: bool = False
    lazy: bool = True
    wraps: str | Wraps | None = None
    workdir: str | None = None
    policy: Any = None
    scheduling_policy: Any = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment.

    Attributes:
        name: its name.
        type: the kind of its connector.
        config: the options of its kind.
        external: whether it is there already, and only to be reached.
        lazy: whether it is deployed on first use.
        wraps: the deployment that it is reached through.
        workdir: the directory in which its commands run by default.
    """

    name: str
    type: str
    config: Mapping[str, Any] = field(default_factory=dict)
    external: bool = False
    lazy: bool = True
    wraps: Wraps | None = None
    workdir: str | None = None


class DeploymentFileError(LocationError):
    """A deployment file that does not say what it should.

    Attributes:
        problems: each with its file, line and column.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        more = len(self.problems) - 1
        super().__init__(self.problems[0] + (f" (and {more} more: see 'warm validate')" if more else ""))


class DeploymentFile:
    """What a file says of deployments.

    Reading it finds no fault with single deployments: a file may hold some that only StreamFlow knows.

    Args:
        path: its name.
        text: what it holds; read from ``path`` by default.

    Attributes:
        path: its name.
        directory: where names of files in it begin.

    Raises:
        LocationError: it cannot be read, is not YAML, or holds no deployments.
    """

    def __init__(self, path: str, text: str | None = None) -> None:
        self.path = path
        self.directory = os.path.dirname(os.path.abspath(path))
        self._marked = read(_text(path) if text is None else text, path)
        whole = self._marked.value
        if not isinstance(whole, dict):
            raise LocationError(f"{path}:1:1: there is no 'deployments' in it")
        sections = [name for name in _SECTIONS if name in whole]
        if not sections:
            near = [self._words(unknown_key((), key, ["deployments"])) for key in whole if _is_like(key)]
            raise DeploymentFileError(near or [f"{path}:1:1: there is no 'deployments' in it"])
        self._section = sections[0]
        entries = whole[self._section]
        if not isinstance(entries, dict | None):
            raise DeploymentFileError([self._words(Problem((self._section,), "has to be names with deployments"))])
        self._entries: dict[str, Any] = entries or {}

    @property
    def names(self) -> list[str]:
        """The names of the deployments, as they stand there."""
        return [str(name) for name in self._entries]

    def deployment(self, name: str) -> Deployment:
        """A deployment.

        Raises:
            DeploymentFileError: there is none of this name, or something is wrong with it.
        """
        if name not in self._entries:
            problem = unknown_key((self._section,), name, self.names)
            raise DeploymentFileError([f"{self.path}: there is no deployment {name!r}; {problem.hint}"])
        self._raise(self._problems_of(name))
        entry = {key: value for key, value in self._entries[name].items() if value is not None}
        wraps = entry.get("wraps")
        named = wraps if isinstance(wraps, dict) else {"deployment": wraps}
        return Deployment(
            name, entry["type"], entry.get("config", {}), entry.get("external", False), entry.get("lazy", True),
            None if wraps is None else Wraps(**named), entry.get("workdir"),
        )  # fmt: skip

    def check(self) -> list[str]:
        """What is wrong with any of it: sentences with file, line and column."""
        problems = [problem for name in self._entries for problem in self._problems_of(name)]
        return [self._words(problem) for problem in problems]

    def _raise(self, problems: list[Problem]) -> None:
        if problems:
            raise DeploymentFileError([self._words(problem) for problem in problems])

    def _problems_of(self, name: Any) -> list[Problem]:
        path: Path = (self._section, name)
        if not isinstance(name, str) or not name:
            return [Problem(path, f"the name of a deployment is a text, not {name!r}", at_key=True)]
        if "/" in name or ":" in name or name.startswith("-"):
            return [Problem(path, f"the name {name!r} has '/' or ':' in it, or begins with '-'", at_key=True)]
        entry = self._entries[name]
        problems = check_object(entry, Entry, path)
        if not isinstance(entry, dict):
            return problems
        if isinstance(entry.get("type"), str):
            problems += _problems_of_type(entry, path)
        return problems or self._problems_of_wraps(name, path)

    def _problems_of_wraps(self, name: str, path: Path) -> list[Problem]:
        """What it wraps has to be there, and not to wrap it in turn."""
        path = (*path, "wraps")
        passed = [name]
        while (inner := self._wrapped(passed[-1])) is not None:
            if inner not in self._entries:
                if len(passed) > 1:  # that is told where it stands
                    return []
                return [Problem(path, f"there is no deployment {inner!r}", unknown_key((), inner, self.names).hint)]
            if inner in passed:
                return [Problem(path, "it wraps itself: " + " in ".join([*passed, inner]))]
            passed.append(inner)
        return self._problems_of_queue(name, path)

    def _problems_of_queue(self, name: str, path: Path) -> list[Problem]:
        """What keeps sessions open is not inside of what executes through a queue."""
        inner = self._wrapped(name)
        around = None if inner is None else self._entries[inner]
        kind = around.get("type") if isinstance(around, dict) else None
        with contextlib.suppress(LocationError):  # that is told where it stands
            if isinstance(kind, str) and types.excluded(self._entries[name]["type"], kind):
                return [Problem(path, refusal(name, str(inner)), REMEDY)]
        return []

    def _wrapped(self, name: str) -> str | None:
        entry = self._entries[name]
        wraps = entry.get("wraps") if isinstance(entry, dict) else None
        wraps = wraps.get("deployment") if isinstance(wraps, dict) else wraps
        return wraps if isinstance(wraps, str) else None

    def _words(self, problem: Problem) -> str:
        position = self._marked.where(problem.path, at_key=problem.at_key)
        path = problem.path[:-1] if problem.at_key else problem.path
        where = ".".join(str(step) for step in path)
        hint = f"; {problem.hint}" if problem.hint else ""
        return f"{self.path}:{position.line}:{position.column}: {where + ': ' if where else ''}{problem.message}{hint}"

    @property
    def marked(self) -> Marked:
        """The whole document."""
        return self._marked


def _problems_of_type(entry: Mapping[str, Any], path: Path) -> list[Problem]:
    try:
        options = types.options_class(entry["type"])
        wrapper = types.can_wrap(entry["type"])
    except LocationError as error:
        return [Problem((*path, "type"), error.message, error.hint)]
    if entry.get("wraps") is not None and not wrapper:
        return [Problem((*path, "wraps"), f"a deployment of type {entry['type']!r} wraps no other", at_key=True)]
    if options is None:
        return []
    config = {} if entry.get("config") is None else entry["config"]
    return check(config, options, (*path, "config")) if isinstance(config, dict) else []


def _is_like(key: object) -> bool:
    problem = unknown_key((), key, ["deployments"])
    return problem.hint is not None and problem.hint.startswith("is it")


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise LocationError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LocationError(f"{path}: it is not UTF-8: {error.reason} at byte {error.start}") from None


def find(given: str | None = None) -> str | None:
    """The file to use: the one that is given, or that ``$WARMSHELL_FILE`` names, or ``warmshell.yaml`` if it is here.

    Args:
        given: its name.
    """
    if given is not None:
        return os.fspath(given)
    named = os.environ.get(VARIABLE)
    if named:
        return named
    return DEFAULT_NAME if os.path.exists(DEFAULT_NAME) else None


def file_schema() -> dict[str, Any]:
    """The JSON Schema of deployment files, for editors: with the options of every type known here."""
    definitions: Definitions = {}
    entry = object_schema(Entry, definitions)
    names = types.known()
    entry["properties"]["type"] = {**entry["properties"]["type"], "enum": names}
    entry["allOf"] = [_of_type(name, definitions) for name in names]
    deployments = {"type": "object", "additionalProperties": entry}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Deployments of Warmshell",
        "type": "object", "properties": {"deployments": deployments}, "required": ["deployments"],
        "$defs": definitions,
    }  # fmt: skip


def _of_type(name: str, definitions: Definitions) -> dict[str, Any]:
    options = types.options_class(name)
    then: dict[str, Any] = {}
    if options is not None:
        then["properties"] = {"config": schema(options, definitions)}
        if "required" in definitions[options.__name__]:
            then["required"] = ["config"]
    return {"if": {"properties": {"type": {"const": name}}, "required": ["type"]}, "then": then}
