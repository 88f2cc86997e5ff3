"""``LOCATION:PATH`` on the command line: which location, and which path there."""

from __future__ import annotations

import os
import re
from collections.abc import Container
from typing import NamedTuple

from warmshell.errors import LocationError

HELP = "PATH, LOCATION:PATH (ssh://user@host:22:/data, local:/data, NAME:/data) or, as for scp, HOST:PATH"

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SEPARATOR = re.compile(r":(?=$|[/.~])")
_SSH_PATH = re.compile(r"(ssh://(?:\[[^]]*\]|[^/?#])+)(/.*)", re.DOTALL)
_WORD = re.compile(r"(?P<head>(?:[^:/\[]*@)?\[[^]/]*\]|[^:/]+):(?P<path>.*)", re.DOTALL)
_HOST = re.compile(r"(?:[^@/:\s]+@)?(?:[A-Za-z0-9_][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.%a-z]+\])")


class Target(NamedTuple):
    """A path, and where it is.

    Attributes:
        location: the URL of a location, or its name in a deployment file; ``None``: a path of this machine without any
            location named.
        path: the bytes of the path; relative ones start in the location's directory.
    """

    location: str | None
    path: bytes


def target_of(text: str) -> Target:
    """What a word means here, where a deployment file may give locations their names.

    Raises:
        LocationError: as :func:`parse_target`, or the deployment file cannot be read.
    """
    return parse_target(text, _deployments() if ":" in text and not _URL.match(text) else ())


def _deployments() -> Container[str]:
    from warmshell.deployment.file import DeploymentFile, find

    path = find()
    return () if path is None else DeploymentFile(path).names


def parse_target(text: str, names: Container[str] = ()) -> Target:
    """What a word such as ``ssh://host:/data``, ``local:/data``, ``host:/data`` or ``./data`` means.

    A word is a path of this machine if a slash comes before its first colon, or if it has none; so ``./a:b`` always
    is one. Behind a URL, and behind ``NAME/LOCATION``, the path begins with ``/``, ``./``, ``../`` or ``~/``, or is
    empty (the location's directory).

    Args:
        text: the word.
        names: the deployments that there are: ``NAME:/data`` and ``NAME/LOCATION:/data`` are at theirs.

    Raises:
        LocationError: the word is empty, or looks like a location and is none.
    """
    if not text:
        raise LocationError("an empty path", hint=HELP)
    if _URL.match(text):
        return _url(text)
    name = re.split("[:/]", text, maxsplit=1)[0]
    if ":" in text and name != "local" and name in names:
        return _named(text, name)
    word = _WORD.fullmatch(text)
    if word is None:
        return Target(None, os.fsencode(text))
    head, path = word["head"], word["path"]
    if head == "local":
        return _local(text)
    if not _HOST.fullmatch(head):
        raise LocationError(f"no host in {text!r}", hint=f"for a path of this machine write ./{text}")
    return _target(f"ssh://{head}", path)


def _named(text: str, name: str) -> Target:
    if text[len(name)] == ":":
        return _target(name, text[len(name) + 1 :])
    separator = _SEPARATOR.search(text, len(name))
    if separator is None:
        raise LocationError(f"no path in {text!r}", hint=f"{text}:/some/path, or ./{text} for one of this machine")
    return _target(text[: separator.start()], text[separator.end() :])


def _local(text: str) -> Target:
    if not text.startswith("local:?"):
        return _target("local:", text.removeprefix("local:"))
    separator = _SEPARATOR.search(text, len("local:"))
    if separator is None:
        raise LocationError(f"no path in {text!r}", hint=HELP)
    return _target(text[: separator.start()], text[separator.end() :])


def _url(text: str) -> Target:
    separator = _SEPARATOR.search(text, text.index("://") + 3)
    with_path = _SSH_PATH.fullmatch(text)
    if with_path is not None and (separator is None or separator.start() > with_path.start(2)):
        return _target(with_path[1], with_path[2])  # ssh://host/data, as for scp
    if separator is None:
        raise LocationError(f"no path in {text!r}", hint=f"{text}:/some/path")
    return _target(text[: separator.start()], text[separator.end() :])


def _target(location: str, path: str) -> Target:
    if path == "~" or path.startswith("~/"):
        path = _from_home(location, path)
    return Target(location, os.fsencode(path) or b".")


def _from_home(location: str, path: str) -> str:
    """The path without ``~``: it is where the relative paths of an SSH location begin."""
    if location == "local:":
        return os.path.expanduser(path)
    if location.startswith("ssh://") and "?" not in location:
        return path[2:].lstrip("/")
    raise LocationError(f"'~' is not known at {location!r}", hint="give the whole path")
