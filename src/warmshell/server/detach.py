"""How a session leaves the process that began it: a relay stays behind, a link and the server go on by themselves."""

from __future__ import annotations

import json
import os
import signal
import sys

from warmshell.protocol import frames
from warmshell.server.finding import JOIN
from warmshell.server.rendezvous import Rendezvous

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_MOST_SECONDS = 10 * 365 * 86400.0
_LEAST_SPOOL = 64 * 1024
_SPOOL = 256 * 1024 * 1024


class Options:
    """The options of a detachable session.

    Args:
        given: what the client sent: ``session``, ``lease`` (``null``: as long as it takes), ``spool``.

    Attributes:
        session: its id.
        lease: seconds without a client after which it is ended; ``None``: never.
        spool: bytes of output that are kept for a client.

    Raises:
        ValueError: they make no sense.
    """

    __slots__ = ("lease", "session", "spool")

    def __init__(self, given: dict[str, Any]) -> None:
        self.session = str(given["session"])
        self.lease = lease_of(given.get("lease"))
        self.spool = max(_LEAST_SPOOL, int(given.get("spool", _SPOOL)))
        if not self.session.isalnum() or not self.session.isascii() or not 8 <= len(self.session) <= 64:
            raise ValueError("the id of a session is 8 to 64 letters and digits")


def lease_of(given: Any) -> float | None:
    """A lease as a client says it; ``None``: until somebody ends the session.

    Raises:
        ValueError: it is none.
    """
    if given is None:
        return None
    lease = float(given)
    if not 0 < lease <= _MOST_SECONDS:
        raise ValueError("a lease is a positive number of seconds")
    return lease


def detach(given: dict[str, Any]) -> None:
    """Return in the process that is to be the server, whose descriptors 0 and 1 lead to the link; the others stay here.

    Args:
        given: the options.
    """
    options, place = _prepare(given)
    told, tell = os.pipe2(os.O_CLOEXEC)
    if os.fork() != 0:
        os.close(tell)
        _stay(place, told)
    os.setsid()
    _introduce(place, options, tell)
    _forget_streams()
    down, to_server = os.pipe2(os.O_CLOEXEC)
    from_server, up = os.pipe2(os.O_CLOEXEC)
    server = os.fork()
    if server == 0:
        place.listener.close()
        os.dup2(down, 0)
        os.dup2(up, 1)
        for fd in (down, up, to_server, from_server):
            os.close(fd)
        return
    os.close(down)
    os.close(up)
    from warmshell.server.link import serve

    code = 1
    try:
        serve(place, options, server, to_server, from_server)
        code = 0
    finally:
        if code:
            sys.excepthook(*sys.exc_info())
        os._exit(code)


def _prepare(given: dict[str, Any]) -> tuple[Options, Rendezvous]:
    try:
        options = Options(given)
        return options, Rendezvous(options.session)
    except (OSError, ValueError, KeyError, TypeError) as error:
        _refuse(str(error))


def _refuse(why: str) -> NoReturn:
    message = json.dumps({"error": f"the session cannot be made detachable: {why}"}).encode()
    os.write(1, frames.pack(frames.ATTACH, 0, message))
    os._exit(1)


def _stay(place: Rendezvous, told: int) -> NoReturn:
    """Be the relay, once the link can be found."""
    place.listener.close()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    why = os.read(told, 4096)
    os.close(told)
    if why:
        _refuse(why.decode("utf-8", "replace"))
    try:
        exec(JOIN, {"directory": place.directory})  # noqa: S102 - the same text as that of programs that come later
    finally:
        os._exit(1)


def _introduce(place: Rendezvous, options: Options, tell: int) -> None:
    """Write down who the link is, without which nobody would sweep what it leaves: not so on a full disk."""
    try:
        place.note(session=options.session)
    except OSError as error:
        place.remove()
        os.write(tell, str(error).encode())
        os._exit(1)
    os.close(tell)


def _forget_streams() -> None:
    """Hold nothing that the client waits to be closed."""
    nothing = os.open(os.devnull, os.O_RDWR)
    log = os.environ.get("WARMSHELL_SERVER_LOG")
    messages = nothing if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, fd in enumerate((nothing, nothing, messages)):
        os.dup2(fd, target)
    for fd in {nothing, messages}:
        os.close(fd)
