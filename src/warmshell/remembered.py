"""Which location a session that was left belongs to: a note for each, in a directory of this user's alone."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from warmshell.errors import LocationError

_FILES = ("config", "sshKey", "sshKeyPassphraseFile", "passwordFile")
_OWN = ("detach", "shells", "idle", "age")  # options of a client, not of the way there


def directory() -> Path:
    """Where the notes are."""
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return base / "warmshell" / "sessions"


def checked(session: str) -> str:
    """The id of a session.

    Raises:
        LocationError: it is none.
    """
    if not session.isalnum() or not session.isascii() or not 8 <= len(session) <= 64:
        raise LocationError(f"not the id of a session: {session[:80]!r}")
    return session


def remember(session: str, where: str) -> bool:
    """Write down where a session is; whether that was possible.

    Args:
        session: its id.
        where: the URL of its location.
    """
    note = {"location": where, "began": time.time()}
    try:
        path = _own(directory()) / session
        new = path.with_name(f"{session}.{os.getpid()}")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(note, file)
        new.replace(path)
    except (OSError, RuntimeError):  # no home, a full disk …
        return False
    return True


def _own(path: Path) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_uid != os.geteuid():
        raise PermissionError(f"{path} is another's")
    path.chmod(0o700)
    return path


def recall(session: str) -> str:
    """The URL of a session's location.

    Raises:
        LocationError: it is not known here.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RuntimeError):
        return str(json.loads((directory() / checked(session)).read_bytes())["location"])
    raise LocationError(
        f"it is not known here where the session {checked(session)} is", hint="name its location, as --on does"
    )


def forget(session: str) -> None:
    """The session is no more."""
    with contextlib.suppress(OSError, RuntimeError):
        (directory() / checked(session)).unlink()


def known() -> dict[str, str]:
    """The URLs of all sessions that are remembered, by their ids; the oldest first."""
    found: list[tuple[float, str, str]] = []
    with contextlib.suppress(OSError, RuntimeError):
        for path in directory().iterdir():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, LocationError):
                note = json.loads(path.read_bytes())
                found.append((float(note["began"]), checked(path.name), str(note["location"])))
    return {session: where for _, session, where in sorted(found)}


def url(where: str, options: Mapping[str, Any]) -> str:
    """One URL for a location that was given as a URL and options; it means the same in every directory.

    Args:
        where: the URL.
        options: its options; those that say nothing of the way there are left out.
    """
    from urllib.parse import parse_qsl, urlencode

    start, _, query = where.partition("?")
    merged = {**dict(parse_qsl(query, keep_blank_values=True)), **options}
    plain = {
        name: os.path.abspath(os.path.expanduser(str(value))) if name in _FILES else str(value)
        for name, value in merged.items()
        if name not in _OWN and isinstance(value, str | int | float)
    }
    return start + ("?" + urlencode(plain) if plain else "")
