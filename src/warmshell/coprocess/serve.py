"""The tool's side of FCLI: ``serve(main)`` makes a coprocess of a Python tool that stays an ordinary command.

Standard library and the sans-IO protocol only, so that a tool starts as quickly as before.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

from warmshell.protocol import fcli
from warmshell.protocol.fcli import LineDecoder, Request, Response

_CHUNK = 65536
_OPEN = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_APPEND, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_STREAMS = ("stdin", "stdout", "stderr")


def serve(main: Callable[..., Any], *, fork: bool = False) -> int:
    """Run ``main`` once, as an ordinary command; or, started by an FCLI client, for every request that it sends.

    ::

        sys.exit(serve(main))

    Args:
        main: takes the words behind the tool's name, or nothing and looks at ``sys.argv``. What it returns, or raises
            as ``SystemExit``, is the status, as in ``sys.exit(main(...))``.
        fork: run each request in a fork of this process, so that nothing that it changes reaches the next one.

    Returns:
        The status for ``sys.exit``.
    """
    fifos = _fifos()
    if fifos is None:
        return _status(main)
    return _Server(main, fork).run(*fifos)


def _fifos() -> tuple[str, str, bool] | None:
    """Both FIFOs and whether the client names streams, if this process is meant; the variables go either way."""
    found = {name: os.environ.pop(name, "") for name in fcli.VARIABLES if name != fcli.LOG_VARIABLE}
    client = found[fcli.CLIENT_VARIABLE]
    if found[fcli.VERSION_VARIABLE] != str(fcli.VERSION) or (client and client != str(os.getppid())):
        os.environ.pop(fcli.LOG_VARIABLE, None)
        return None
    request, response = found[fcli.REQUEST_VARIABLE], found[fcli.RESPONSE_VARIABLE]
    return (request, response, bool(found[fcli.STREAMS_VARIABLE])) if request and response else None


def _status(main: Callable[..., Any]) -> int:
    """Call it and give the status that Python would exit with, its messages printed."""
    try:
        result = main(sys.argv[1:]) if _takes_words(main) else main()
    except SystemExit as leave:
        result = leave.code
    except KeyboardInterrupt:
        result = 128 + signal.SIGINT
    except BaseException:  # noqa: BLE001 - as the interpreter does
        sys.excepthook(*sys.exc_info())
        result = 1
    if result is None:
        return 0
    if isinstance(result, int):
        return result & 0xFF
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{result}\n")
    return 1


def _takes_words(main: Callable[..., Any]) -> bool:
    import inspect

    try:
        parameters = inspect.signature(main).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD, one.VAR_POSITIONAL) for one in parameters)


class _Server:
    """Answers requests one after the other, in this process."""

    def __init__(self, main: Callable[..., Any], fork: bool) -> None:
        self._main = main
        self._fork = fork
        self._log = os.environ.pop(fcli.LOG_VARIABLE, os.devnull)
        self._held = False  # whether the streams that it was started with are to be let go
        self._announced = False
        self._response = -1

    def run(self, requests: str, responses: str, streams: bool) -> int:
        """Serve until the client closes its end."""
        self._held = streams
        source = _high(os.open(requests, os.O_RDONLY))  # in this order: a client that opens as it should never waits
        self._response = _high(os.open(responses, os.O_WRONLY))
        decoder = LineDecoder()
        while data := os.read(source, _CHUNK):
            for line in decoder.feed(data):
                self._answer(self._respond(line))
        return 0

    def _answer(self, response: Response) -> None:
        if not self._announced:
            self._announced = True
            response.version, response.features = fcli.VERSION, frozenset(fcli.FEATURES)
        data = memoryview(fcli.encode_response(response))
        with contextlib.suppress(BrokenPipeError):  # the client is gone: the end of its requests comes next
            while data:
                data = data[os.write(self._response, data) :]

    def _respond(self, line: bytes) -> Response:
        try:
            request = fcli.decode_request(line)
            if request.kind == "argv":
                return Response(self._invoke(request))
            return self._simple(request)
        except fcli.FcliError as error:
            return Response(fcli.STATUS_UNKNOWN, error=str(error).encode("utf-8", "replace"))
        except OSError as error:
            return Response(1, error=str(error).encode("utf-8", "surrogateescape"))

    def _simple(self, request: Request) -> Response:
        if request.kind == "cd":
            os.chdir(request.text)
        elif request.kind == "env":
            _set_env(request.env)
        elif request.kind == "echo":
            return Response(0, echo=request.text)
        elif request.kind == "version":
            self._announced = False
        else:
            _flush()
        return Response(0)

    def _invoke(self, request: Request) -> int:
        with _Surroundings(request):
            status = self._forked() if self._fork else _status(self._main)
            status = _flushed(status)
        if self._held:
            self._let_go()
        return status

    def _forked(self) -> int:
        _flush()
        pid = os.fork()
        if pid == 0:
            os._exit(_flushed(_status(self._main)))
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def _let_go(self) -> None:
        """Close what it was started with: readers of those streams wait for their end."""
        self._held = False
        for fd, path in enumerate((os.devnull, os.devnull, self._log)):
            _redirect(fd, path.encode(), or_else=os.devnull.encode())


class _Surroundings:
    """What a request asks for around the call, put back afterwards."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> None:
        places = self._request.places
        with contextlib.ExitStack() as undo:
            undo.enter_context(_words(self._request))
            for fd, name in enumerate(_STREAMS):
                if name in places:
                    undo.enter_context(_stream(fd, places[name]))
            undo.enter_context(_environment(self._request.env))
            undo.enter_context(_directory(places.get("cwd")))
            before = os.umask(0o077)
            undo.callback(os.umask, before)
            os.umask(_mask(places["umask"]) if "umask" in places else before)
            _fresh_streams()
            self._undo = undo.pop_all()

    def __exit__(self, *_: object) -> None:
        self._undo.close()


@contextlib.contextmanager
def _words(request: Request) -> Iterator[None]:
    """``sys.argv``, the same list: some tools keep it from their import."""
    before = sys.argv[:]
    sys.argv[:] = [os.fsdecode(word) for word in request.argv]
    try:
        yield
    finally:
        sys.argv[:] = before


@contextlib.contextmanager
def _stream(fd: int, path: bytes) -> Iterator[None]:
    saved = _high(os.dup(fd))
    try:
        _redirect(fd, path)
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            (sys.stdin, sys.stdout, sys.stderr)[fd].flush()
        os.dup2(saved, fd)
        os.close(saved)


def _redirect(fd: int, path: bytes, or_else: bytes | None = None) -> None:
    try:
        opened = os.open(path, _OPEN[fd] | os.O_NOCTTY, 0o666)
    except OSError:
        if or_else is None:
            raise
        opened = os.open(or_else, os.O_RDWR)
    if opened != fd:
        os.dup2(opened, fd)
        os.close(opened)
    else:
        os.set_inheritable(fd, True)


@contextlib.contextmanager
def _environment(changes: dict[bytes, bytes | None]) -> Iterator[None]:
    before = dict(os.environb)
    _set_env(changes)
    try:
        yield
    finally:
        if dict(os.environb) != before:
            _set_env({name: before.get(name) for name in {*os.environb, *before}})


def _set_env(changes: dict[bytes, bytes | None]) -> None:
    zone = os.environb.get(b"TZ")
    for name, value in changes.items():
        if value is None:
            os.environb.pop(name, None)
        elif os.environb.get(name) != value:
            os.environb[name] = value
    if os.environb.get(b"TZ") != zone:
        import time

        time.tzset()


@contextlib.contextmanager
def _directory(path: bytes | None) -> Iterator[None]:
    here = _high(os.open(".", os.O_RDONLY | os.O_DIRECTORY))
    try:
        if path is not None:
            os.chdir(path)
        yield
    finally:
        with contextlib.suppress(OSError):  # it was removed, or may not be entered any more
            os.fchdir(here)
        os.close(here)


def _mask(text: bytes) -> int:
    try:
        return int(text, 8) & 0o777
    except ValueError:
        raise fcli.FcliError("umask is an octal number") from None


def _fresh_streams() -> None:
    """Buffers of the streams that are there now, in the same objects: tools and libraries keep those."""
    for fd, name in enumerate(_STREAMS):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper):
            continue
        terminal = os.isatty(fd)
        raw = io.FileIO(fd, "rb" if fd == 0 else "wb", closefd=False)
        unbuffered = stream.write_through and fd != 2  # PYTHONUNBUFFERED
        buffer: Any = io.BufferedReader(raw) if fd == 0 else raw if unbuffered else io.BufferedWriter(raw)
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
        stream.__init__(  # type: ignore[misc]
            buffer, stream.encoding, stream.errors, line_buffering=terminal or fd == 2,
            write_through=stream.write_through,
        )  # fmt: skip


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _flushed(status: int) -> int:
    """The status once everything is written; one of its own where that fails, as Python's exit has."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has gone: Python says so and exits with 120
        status = 120
    except (OSError, ValueError) as error:
        status = 120
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"Exception ignored in: <stdout>\n{type(error).__name__}: {error}\n")
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    _fresh_after_failure(status)
    return status


def _fresh_after_failure(status: int) -> None:
    """What could not be written is not to appear in the next request's output."""
    if status == 120:
        null = os.open(os.devnull, os.O_WRONLY)
        saved = _high(os.dup(1))
        os.dup2(null, 1)
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(null)
        os.close(saved)


def _high(fd: int) -> int:
    """The descriptor beyond the standard ones, not inherited by what the tool starts."""
    import fcntl

    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(fd)
    return moved
