"""A worker that speaks FCLI, and how a tool that does not is recognised: see docs/fcli.md."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import os
import termios
from typing import Any, cast

from warmshell.child import Child, shell_status
from warmshell.coprocess.streams import Inlet, Log, Outlet, Streams
from warmshell.coprocess.worker import Invocation, NotStartedError, Tool, Worker, proc_path
from warmshell.errors import ShellLost
from warmshell.host import LocalHost
from warmshell.protocol import fcli
from warmshell.protocol.fcli import FcliError, LineDecoder, Request, Response
from warmshell.shield import shielded

_CHUNK = 65536
_LEAVE_SECONDS = 1.0  # that a coprocess has to end by itself after the end of its requests
_FLUSH_SECONDS = 5.0  # after which a tool that does not answer "flush" is taken not to know it
_UMASK = b'umask "$0" && exec "$@"'
_Pipe = tuple[int, int]


class FcliWorker(Worker):
    """One process of a tool with a pair of FIFOs.

    Args:
        host: what starts it.
        tool: what is started.
        path: where its FIFOs are made.
        log: what gets its words between requests.
    """

    def __init__(self, host: LocalHost, tool: Tool, path: str, log: Log) -> None:
        super().__init__()
        self._host = host
        self._tool = tool
        self._log = log
        self._paths = (path + ".request", path + ".response")
        self._token = host.new_token()
        self._features: frozenset[str] = frozenset()
        self._answered = False  # it is a coprocess
        self._spoiled = False
        self._requests = self._responses = self._log_end = -1
        self._outlets: list[Outlet] = []  # of the streams that it was started with
        self._log_outlet: Outlet | None = None
        self._own: tuple[dict[bytes, bytes], bytes, int | None] = ({}, b"", None)
        self._gone: asyncio.Future[int] | None = None
        self._answer: asyncio.Future[Response] | None = None
        self._decoder = LineDecoder()
        self._sent = 0  # bytes of the request under way

    @property
    def usable(self) -> bool:
        broken = any(outlet.error for outlet in self._outlets) and "streams" not in self._features
        return self._answered and not (self._spoiled or broken or self._gone is None or self._gone.done())

    def fits(self, invocation: Invocation) -> bool:
        env, cwd, umask = self._own
        has = self._features
        return (
            ("env" in has or dict(invocation.env) == env)
            and ("cwd" in has or invocation.cwd == cwd)
            and ("umask" in has or invocation.umask == umask)
            and ("streams" in has or (invocation.streams.source is None and not invocation.streams.merged))
        )

    async def invoke(self, invocation: Invocation) -> int:
        try:
            if self.child is None:
                return await self._first(invocation)
            if "streams" in self._features:
                return await self._with_streams(invocation)
            return await self._with_own(invocation)
        except BaseException:
            self._spoiled = True
            await shielded(self.aclose())
            raise

    # The first one: the tool is started with its words and streams, and may turn out to be an ordinary command.

    async def _first(self, invocation: Invocation) -> int:
        stdin, stdout = _pipe(), _pipe()
        stderr = None if invocation.streams.merged else _pipe()
        try:
            self._open()
            self.child = self._start(invocation, stdin[0], stdout[1], (stderr or stdout)[1])
        except BaseException:
            for fd in (*stdin, *stdout, *(stderr or ())):
                os.close(fd)
            raise
        for end in (stdout[1], *([stderr[1]] if stderr else [])):
            os.close(end)
        self._gone = asyncio.ensure_future(self.child.wait())
        self._outlets = [Outlet(stdout[0], 1, invocation.streams)]
        if stderr:
            self._outlets.append(Outlet(stderr[0], 2, invocation.streams))
        inlet = Inlet(stdin[1], stdin[0], invocation.streams)
        return await self._served(self._words(invocation), inlet)

    async def _served(self, request: Request, inlet: Inlet | None) -> int:
        """Exchange the first request, whose streams are the process's own."""
        try:
            response = await self._exchange_first(request)
            if self._answered and "streams" not in self._features:
                await self._settle()
                await self._flush()
            for outlet in self._outlets:
                await outlet.settle()
                outlet.streams = self._log
            if inlet is not None:
                await inlet.finish()
                inlet = None
        finally:
            if inlet is not None:
                inlet.abort()
        return response.status

    async def _exchange_first(self, request: Request) -> Response:
        if self._tool.ordinary:
            assert self._gone is not None  # noqa: S101 - for the type checker
            return Response(shell_status(await asyncio.shield(self._gone)))
        try:
            return await self._exchange(request)
        except NotStartedError:  # it never looked at the request: it has done what its words said
            assert self._gone is not None  # noqa: S101 - for the type checker
            self._tool.ordinary = not self._tool.proven
            return Response(shell_status(self._gone.result()))

    def _open(self) -> None:
        """Make the FIFOs, each opened for both ends: nobody ever waits in open(), and no write meets a closed pipe.

        That hides the tool's end, which its process tells instead.
        """
        if self._tool.ordinary:
            return
        for path in self._paths:
            os.mkfifo(path, 0o600)
        self._requests, self._responses = (
            os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC) for path in self._paths
        )
        asyncio.get_running_loop().add_reader(self._responses, self._read)

    def _start(self, invocation: Invocation, stdin: int, stdout: int, stderr: int) -> Child:
        self._own = (dict(invocation.env), invocation.cwd, invocation.umask)
        words = [*self._tool.argv, *invocation.argv]
        if invocation.umask is not None:
            words = [b"sh", b"-c", _UMASK, b"%04o" % invocation.umask, *words]
        env = dict(invocation.env)
        if not self._tool.ordinary:
            env |= self._variables()
        return self._host.spawn(
            words, self._token, stdin=stdin, stdout=stdout, stderr=stderr, env=env, blank=True, cwd=invocation.cwd
        )

    def _variables(self) -> dict[bytes, bytes]:
        reader, self._log_end = _pipe()
        self._log_outlet = Outlet(reader, 2, self._log)
        values = {
            fcli.VERSION_VARIABLE: b"%d" % fcli.VERSION,
            fcli.REQUEST_VARIABLE: os.fsencode(self._paths[0]),
            fcli.RESPONSE_VARIABLE: os.fsencode(self._paths[1]),
            fcli.CLIENT_VARIABLE: b"%d" % os.getpid(),
            fcli.STREAMS_VARIABLE: b"1",
            fcli.LOG_VARIABLE: proc_path(self._log_end),
        }
        return {name.encode(): value for name, value in values.items()}

    # All further ones.

    async def _with_own(self, invocation: Invocation) -> int:
        """With the streams that the process was started with: what is in its pipes by the response is its output."""
        for outlet in self._outlets:
            outlet.streams = invocation.streams
        response = await self._exchange(self._words(invocation))
        await self._settle()
        await self._flush()
        for outlet in self._outlets:
            await outlet.settle()
            outlet.streams = self._log
        return response.status

    async def _settle(self) -> None:
        for outlet in self._outlets:
            await outlet.settle()

    async def _with_streams(self, invocation: Invocation) -> int:
        """With streams of its own, which the coprocess opens by name."""
        request = self._words(invocation)
        ends: list[Outlet | Inlet] = []
        ours: list[int] = []
        try:
            self._name_streams(request, invocation, ends, ours)
            response = await self._exchange(request)
            while ours:
                os.close(ours.pop())
            while ends:
                await ends[0].finish()
                ends.pop(0)
        finally:
            for fd in ours:
                os.close(fd)
            for end in ends:
                end.abort()
        return response.status

    def _name_streams(
        self, request: Request, invocation: Invocation, ends: list[Outlet | Inlet], ours: list[int]
    ) -> None:
        streams = invocation.streams
        for fd, name in enumerate(("stdin", "stdout", "stderr")):
            direct = streams.direct(fd)
            if fd == 0 and streams.source is None:
                request.places[name] = os.devnull.encode()
            elif fd == 2 and streams.merged:
                request.places[name] = request.places["stdout"]
            elif direct is not None:
                request.places[name] = proc_path(direct)
            elif fd == 0:
                reader, writer = _pipe()
                request.places[name] = proc_path(reader)
                ends.append(Inlet(writer, reader, streams))
            else:
                reader, writer = _pipe()
                request.places[name] = proc_path(writer)
                ours.append(writer)
                ends.append(Outlet(reader, fd, streams))

    def _words(self, invocation: Invocation) -> Request:
        """The request, with what differs from the process's own."""
        env, cwd, umask = self._own
        changes: dict[bytes, bytes | None] = {n: v for n, v in invocation.env.items() if env.get(n) != v}
        changes.update((name, None) for name in env if name not in invocation.env)
        places = {}
        if invocation.cwd != cwd:
            places["cwd"] = invocation.cwd
        if invocation.umask is not None and invocation.umask != umask:
            places["umask"] = b"%04o" % invocation.umask
        return Request("argv", [self._tool.name, *invocation.argv], changes, places=places)

    async def _flush(self) -> None:
        """Have everything written before the output is taken, if the tool knows how; see the specification."""
        knows = "flush" in self._features if self._features else self._tool.flushes
        if knows is False or self._gone is None or self._gone.done():
            return
        if knows:
            await self._exchange(Request("flush"))
            return
        held = self._hold_errors()
        try:
            async with asyncio.timeout(_FLUSH_SECONDS):
                response = await self._exchange(Request("flush"))
            self._tool.flushes = response.status == 0 and not self._gone.done()
        except (TimeoutError, NotStartedError):
            self._tool.flushes = False
        await self._release_errors(held)

    def _hold_errors(self) -> tuple[Outlet, Streams] | None:
        """What a tool says of a request that it does not know is no message of the command before."""
        if len(self._outlets) < 2:
            return None
        outlet = self._outlets[1]
        streams, outlet.streams = outlet.streams, Log()
        return outlet, streams

    async def _release_errors(self, held: tuple[Outlet, Streams] | None) -> None:
        if held is None:
            return
        outlet, streams = held
        await outlet.settle()
        said = bytes(cast("Log", outlet.streams))
        outlet.streams = streams if self._tool.flushes else self._log
        await outlet.streams.write(2, said)

    # One request and its response.

    @property
    def features(self) -> frozenset[str]:
        """What it has announced."""
        return self._features

    async def ask(self, request: Request, *, piece: int = _CHUNK) -> Response:
        """One request that names no streams, for those who test coprocesses; the first must have been served.

        Args:
            request: what is asked.
            piece: how many bytes are written at once.
        """
        return await self.ask_raw(fcli.encode_request(request), piece=piece)

    async def ask_raw(self, line: bytes, *, piece: int = _CHUNK) -> Response:
        """Send a line as it is; see :meth:`ask`."""
        return await self._exchange_line(line, piece)

    async def let_go(self, seconds: float) -> bool:
        """Whether it has closed the streams that it was started with, within some seconds."""
        return all([await outlet.ends(seconds) for outlet in self._outlets])

    async def leaves(self, seconds: float) -> bool:
        """Whether it ends once its requests have ended, within some seconds."""
        assert self._gone is not None  # noqa: S101 - for the type checker
        self._close_fifos()
        await asyncio.wait({self._gone}, timeout=seconds)
        return self._gone.done()

    async def _exchange(self, request: Request) -> Response:
        return await self._exchange_line(fcli.encode_request(request))

    async def _exchange_line(self, line: bytes, piece: int = _CHUNK) -> Response:
        assert self._gone is not None  # noqa: S101 - for the type checker
        self._answer = asyncio.get_running_loop().create_future()
        self._sent = 0
        writing = asyncio.ensure_future(self._send(line, piece))
        ends: set[asyncio.Future[Any]] = {self._answer, self._gone}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not self._answer.done():
                self._read()  # what it said before it ended
            if self._answer.done():
                return self._answer.result()
        finally:
            writing.cancel()
            self._answer = None
        if self._sent == _waiting(self._requests):
            raise NotStartedError
        return Response(shell_status(self._gone.result()))

    async def _send(self, line: bytes, piece: int) -> None:
        loop = asyncio.get_running_loop()
        room = asyncio.Event()
        while self._sent < len(line):
            try:
                self._sent += os.write(self._requests, line[self._sent : self._sent + piece])
            except BlockingIOError:
                room.clear()
                loop.add_writer(self._requests, room.set)
                try:
                    await room.wait()
                finally:
                    if self._requests >= 0:
                        loop.remove_writer(self._requests)

    def _read(self) -> None:
        try:
            lines = self._decoder.feed(os.read(self._responses, _CHUNK))
            responses = [fcli.decode_response(line) for line in lines]
        except BlockingIOError:
            return
        except FcliError as error:
            self._fail(f"the coprocess broke the protocol: {error}")
            return
        for response in responses:
            if self._answer is None or self._answer.done():
                self._fail("the coprocess answered what nobody asked")
                return
            self._answered = self._tool.proven = True
            if response.features is not None:
                self._features = response.features
            self._answer.set_result(response)

    def _fail(self, message: str) -> None:
        """It cannot be trusted any more: nobody knows what its next response would be about."""
        self._spoiled = True
        asyncio.get_running_loop().remove_reader(self._responses)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ShellLost(message, started="yes", command=str(self._tool), location="local"))

    async def aclose(self) -> None:
        self._close_fifos()
        if self.child is not None and self._gone is not None:
            if self._answered and not self._spoiled:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LEAVE_SECONDS):
                        await asyncio.shield(self._gone)
            if not self._gone.done():
                await self._host.end([self.child], [self._token], sids=[self.child.pid], grace=0.5)
            await self._gone
            self._host.forget(self.child)
        for outlet in (*self._outlets, *([self._log_outlet] if self._log_outlet else [])):
            with contextlib.suppress(OSError):  # told already
                await outlet.finish()
        self._outlets.clear()

    def _close_fifos(self) -> None:
        if self._responses >= 0:
            asyncio.get_running_loop().remove_reader(self._responses)
        fds, self._requests, self._responses = (self._requests, self._responses), -1, -1
        for fd in (*fds, self._log_end):
            if fd >= 0:
                os.close(fd)
        self._log_end = -1
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _pipe() -> _Pipe:
    return os.pipe2(os.O_CLOEXEC)


def _waiting(fd: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]
