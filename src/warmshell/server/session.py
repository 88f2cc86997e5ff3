"""The server's end of a session: frames in, frames out, and the requests of the control channel."""

from __future__ import annotations

import json
import os
from collections import deque

from warmshell.protocol import frames
from warmshell.protocol.dialect import dialect, led_to
from warmshell.protocol.remote import RemoteCommand
from warmshell.server.children import find_program
from warmshell.server.lane import Lane
from warmshell.server.life import GRACE
from warmshell.server.output_pipe import LITTLE
from warmshell.server.processes import Processes
from warmshell.server.site import Site
from warmshell.server.work import Workers, in_thread
from warmshell.server.writer import HARD_LIMIT, Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from warmshell.protocol.dialect import Dialect
    from warmshell.server.children import Children
    from warmshell.server.loop import Loop, Timer

_READ = 120 * 1024  # for more, the C library asks the kernel for memory, and gives it back, at every read
_LEASE = 30.0
_MOST_SECONDS = 10 * 365 * 86400.0
_MOST_NUMBER = 2**32 - 1
_OBJECT = 40  # bytes that a word takes in memory beside its own
_LAST_SECONDS = 1.0  # for a last word to a client that reads


class Refused(Exception):
    """A request that cannot be served; the session goes on.

    Args:
        kind: what is wrong, in a word.
        message: what is wrong, in a sentence.
        errno: the system's number for it.
    """

    def __init__(self, kind: str, message: str, errno: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.errno = errno


class Session:
    """One client's session.

    Args:
        loop: the event loop.
        children: the processes of this server.
        source: the descriptor that frames come from; it does not block.
        sink: the descriptor that frames go to; it does not block.
        tell_guard: tells the guard of the token.
    """

    def __init__(
        self, loop: Loop, children: Children, source: int, sink: int, tell_guard: Callable[[bytes], None]
    ) -> None:
        self._loop = loop
        self._source = source
        self._tell_guard = tell_guard
        self._decoder = frames.FrameDecoder()
        self._writer = Writer(loop, sink, self.end, self._on_room)
        self._site = Site(loop, children, self._writer)
        self._workers = Workers(loop)
        self._lanes: dict[int, Lane] = {}
        self._processes = Processes(self._site)
        self._numbers = 0
        self._lease = _LEASE
        self._heard = loop.time()
        self._timer: Timer | None = None
        self._most = LITTLE  # bytes of the next read
        self._inbox: deque[tuple[int, int, bytes]] = deque()
        self._listening = False
        self._started = self._ended = False
        self._operations: dict[str, Callable[[dict[str, Any], Callable[[object], None]], None]] = {
            "ping": self._ping,
            "start": self._start,
            "create_subshell": self._create,
            "delete_subshell": self._delete,
            "list_subshells": self._list,
            "signal": self._signal,
            "end_tagged": self._end_tagged,
            "end_process": self._processes.end,
            "stat": self._stat,
        }

    def open(self) -> None:
        """Listen to the client."""
        self._listening = True
        self._loop.add_reader(self._source, self._on_readable)
        self._on_lease()

    # -- the client -------------------------------------------------------------------------------------------------

    def _on_lease(self) -> None:
        """Whether the client was silent for too long; looked at when that might be so, not at every word of it."""
        left = self._heard + self._lease - self._loop.time()
        if left <= 0:
            self.end("the client was silent for too long")
        else:
            self._timer = self._loop.call_later(left, self._on_lease)

    def _on_readable(self) -> None:
        try:
            data = os.read(self._source, self._most)
        except BlockingIOError:
            return
        except OSError as error:
            self.end(str(error))
            return
        if not data:
            self.end("the client has closed the session")
            return
        self._most = _READ if len(data) == self._most else LITTLE
        self._heard = self._loop.time()
        try:
            self._inbox.extend(self._decoder.feed(data))
        except ValueError as error:
            self._fail(f"what came from the client is no frame: {error}")
        self._work_off()

    def _work_off(self) -> None:
        """Do what the client has asked for, as long as it takes the answers; else do not listen to it either."""
        try:
            while self._inbox and self._writer.pending <= HARD_LIMIT and not self._ended:
                self._on_frame(*self._inbox.popleft())
        except frames.MISUNDERSTOOD as error:
            self._fail(f"what came from the client cannot be understood: {error!r}")
        listens = not self._inbox and self._writer.pending <= HARD_LIMIT and not self._ended
        if listens != self._listening:
            self._listening = listens
            if listens:
                self._loop.remove_writer(self._source)
                self._loop.add_reader(self._source, self._on_readable)
            else:
                self._loop.remove_reader(self._source)
                self._loop.on_hang_up(self._source, self.end, "the client has closed the session")

    def _on_room(self) -> None:
        if not self._listening and not self._ended and self._writer.pending < HARD_LIMIT // 2:
            self._work_off()
        self._site.on_room()

    def _on_frame(self, kind: int, subshell: int, payload: bytes) -> None:
        if self._ended:
            return
        if kind == frames.CONTROL:
            self._on_control(json.loads(payload), len(payload))
            return
        if kind == frames.ATTACHED:
            message, data = frames.split_attached(payload)
            self._on_control({**json.loads(message), "data": data}, len(payload))
            return
        if not self._started:
            raise ValueError("a frame before the start")
        if subshell >= frames.FIRST_PROCESS:
            self._processes.on_frame(kind, subshell, payload)
            return
        lane = self._lanes.get(subshell)
        if kind == frames.WORDS:
            command = RemoteCommand.of_words(payload)
            self._run(lane, subshell, command, len(payload) + _OBJECT * len(command.argv))
        elif kind == frames.RUN:
            command = RemoteCommand.decode(payload)
            if command.timeout is not None and not 0 <= command.timeout <= _MOST_SECONDS:
                raise ValueError(f"a timeout of {command.timeout}")
            self._run(lane, subshell, command, len(payload))
        else:
            _check(kind, payload)
            if lane is not None:  # else it has been deleted meanwhile
                _about_command(lane, kind, payload)

    def _run(self, lane: Lane | None, subshell: int, command: RemoteCommand, size: int) -> None:
        if not 1 <= command.seq <= _MOST_NUMBER:
            raise ValueError(f"command number {command.seq}")
        if lane is not None:
            lane.submit(command, size)
            return
        lost = json.dumps({"lost": "does not exist", "started": "no"}).encode()
        self._writer.put(subshell, frames.pack_numbered(frames.RESULT, subshell, command.seq, lost))

    # -- control ----------------------------------------------------------------------------------------------------

    def _on_control(self, message: dict[str, Any], size: int) -> None:
        number, name = message["id"], message["op"]
        if not isinstance(number, int) or not isinstance(name, str):
            raise TypeError("a request without a number or a name")

        def answer(result: object) -> None:
            self._answer(number, result)

        try:
            self._operate(name, message, size, answer)
        except (Refused, OSError) as error:
            answer(error)
        except frames.MISUNDERSTOOD as error:
            answer(Refused("BadRequest", f"{name}: {error!r}"))

    def _operate(self, name: str, message: dict[str, Any], size: int, answer: Callable[[object], None]) -> None:
        if not self._started and name not in ("start", "ping"):
            raise Refused("NotStarted", "the session has not been started")
        operation = self._operations.get(name)
        if operation is not None:
            operation(message, answer)
        else:
            self._file_operation(name, message, size, answer)

    def _file_operation(self, name: str, message: dict[str, Any], size: int, answer: Callable[[object], None]) -> None:
        """Operations on files may take as long as the file system likes: they have threads."""
        from warmshell.server import files

        operation = files.OPERATIONS.get(name)
        if operation is None:
            raise Refused("Unknown", f"there is no operation {name!r}")
        if not self._workers.run(lambda: operation(message), answer, size):
            raise Refused("TooMany", "too many operations on files wait already")

    def _answer(self, number: int, result: object, subshell: int = 0) -> None:
        message: dict[str, object] = {"id": number}
        if isinstance(result, Exception):
            message["error"] = _describe(result)
        elif isinstance(result, dict) and isinstance(result.get("data"), bytes):
            contents = result.pop("data")
            message["ok"] = result
            self._writer.put(subshell, frames.pack_attached(json.dumps(message).encode(), contents))
            return
        else:
            message["ok"] = result
        data = json.dumps(message).encode()
        if len(data) > frames.MAX_PAYLOAD:
            data = json.dumps(
                {"id": number, "error": {"kind": "TooLong", "message": "the answer is too long"}}
            ).encode()
        self._writer.put(subshell, frames.pack(frames.CONTROL, 0, data))

    def _ping(self, message: dict[str, Any], answer: Callable[[object], None]) -> None:
        answer(message.get("echo"))

    def _start(self, message: dict[str, Any], answer: Callable[[object], None]) -> None:
        if self._started:
            raise Refused("Started", "the session was started already")
        token = str(message["token"]).encode()
        if not token.isalnum() or not 8 <= len(token) <= 64:
            raise ValueError("a token is 8 to 64 letters and digits")
        lease = float(message.get("lease", _LEASE))
        if not 0 < lease <= _MOST_SECONDS:
            raise ValueError("a lease is a positive number of seconds")
        base = os.getcwdb()
        if message.get("cwd") is not None:
            base = os.path.join(base, message["cwd"].encode("latin-1"))
            os.chdir(base)
        env = {k.encode("latin-1"): v.encode("latin-1") for k, v in (message.get("env") or {}).items()}
        self._site.configure(token, base, env)
        self._tell_guard(token)
        self._lease = lease
        if self._timer is not None:
            self._timer.cancel()
        self._on_lease()
        self._started = True
        from warmshell.server import facts

        answer(facts.of_start(base, self._site))

    def _lane(self, message: dict[str, Any], key: str = "subshell") -> Lane:
        lane = self._lanes.get(message[key])
        if lane is None:
            raise Refused("NoSubshell", f"there is no subshell {message[key]!r}")
        return lane

    def _create(self, message: dict[str, Any], answer: Callable[[object], None]) -> None:
        parent = None if message.get("copy_of") is None else self._lane(message, "copy_of")
        kind = _dialect(message.get("shell", "sh")) if parent is None else parent.dialect
        self._numbers += 1
        lane = Lane(self._site, self._numbers, kind, blank=bool(message.get("blank")))

        def started(error: OSError | None) -> None:
            if error is not None:
                del self._lanes[lane.number]
                answer(error)
            elif parent is None:
                ready()
            else:
                parent.state(copy)

        def copy(text: bytes | None) -> None:
            if text is None:
                lane.end(0.0)
                self._lanes.pop(lane.number, None)
                answer(Refused("NoState", "the state of the subshell cannot be had: it has ended"))
            else:
                lane.restore(text, ready)

        def ready() -> None:
            pid = lane.child.pid if lane.child else None
            answer({"subshell": lane.number, "pid": pid, "dialect": kind.name})

        lane.start(started)
        self._lanes[lane.number] = lane

    def _delete(self, message: dict[str, Any], _answer: Callable[[object], None]) -> None:
        lane = self._lane(message)
        grace = _seconds(message.get("grace", GRACE))

        def ended() -> None:
            self._lanes.pop(lane.number, None)
            # After the last of its output, not before.
            self._answer(message["id"], {"subshell": lane.number}, lane.number)

        lane.let_go(grace, ended)

    def _list(self, _message: dict[str, Any], answer: Callable[[object], None]) -> None:
        answer([lane.describe() for lane in self._lanes.values()])

    def _signal(self, message: dict[str, Any], answer: Callable[[object], None]) -> None:
        lane, number = self._lane(message), int(message["signal"])
        if not 0 <= number < 65:
            raise ValueError(f"there is no signal {number}")
        child, busy = lane.child, lane.busy
        if child is None or child.code is not None:
            raise Refused("NoProcess", "the subshell has ended")
        shell_too = bool(message.get("shell")) or (busy is not None and busy.keeps_state)
        in_thread(
            self._loop, lambda: self._site.killer.signal(child, number, shell=shell_too, idle=busy is None), answer
        )

    def _end_tagged(self, message: dict[str, Any], answer: Callable[[object], None]) -> None:
        tag = message["tag"].encode()
        if not tag.replace(b".", b"").isalnum():
            raise ValueError("a tag is letters, digits and dots")
        self._site.killer.end_tagged(tag, _seconds(message.get("grace", GRACE)), lambda: answer(None))

    def _stat(self, _message: dict[str, Any], answer: Callable[[object], None]) -> None:
        from warmshell.server import facts

        lanes = [lane.describe() for lane in self._lanes.values()]
        in_thread(self._loop, lambda: facts.of_now(lanes), answer)

    # -- ending -----------------------------------------------------------------------------------------------------

    def _fail(self, why: str) -> None:
        """The client speaks something else: say so and end."""
        self._answer(0, Refused("Protocol", why))
        self.end(why)

    def end(self, _why: str = "") -> None:
        """End every subshell and everything below it, then the loop."""
        if self._ended:
            return
        self._ended = True
        self._loop.remove_reader(self._source)
        self._loop.remove_writer(self._source)
        if self._timer is not None:
            self._timer.cancel()
        lanes = [lane for lane in (*self._lanes.values(), *self._processes) if not lane.is_gone]
        left = len(lanes)
        if left == 0:
            self._end_rest()

        def ended() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                self._end_rest()

        for lane in lanes:
            started = "unknown" if lane.busy is None else lane.busy.started()
            lane.let_go(GRACE, ended, {"lost": "was closed with its session", "started": started})

    def _end_rest(self) -> None:
        """What carries the token though no subshell of this session has started it, or has it no more."""
        if self._started:
            self._site.killer.end_session(self._site.token, GRACE, self._say_last)
        else:
            self._say_last()

    def _say_last(self) -> None:
        self._writer.flush()
        if self._writer.pending:
            self._loop.call_later(_LAST_SECONDS, self._loop.stop)
            self._site.on_room = self._stop_when_said  # type: ignore[method-assign]
        else:
            self._loop.stop()

    def _stop_when_said(self) -> None:
        if not self._writer.pending:
            self._loop.stop()


_LENGTHS = {
    frames.END_OF_INPUT: frames.NUMBER.size,
    frames.KILL: frames.GRANT.size,
    frames.CREDIT: frames.GRANT.size,
    frames.ACK: frames.NUMBER.size,
}


def _check(kind: int, payload: bytes) -> None:
    """Whether this is a frame about a command."""
    if kind == frames.INPUT:
        if len(payload) < frames.NUMBER.size:
            raise ValueError("input for no command")
    elif len(payload) != _LENGTHS.get(kind, -1):
        raise ValueError(f"type {kind} with {len(payload)} bytes")


def _about_command(lane: Lane, kind: int, payload: bytes) -> None:
    (seq,) = frames.NUMBER.unpack_from(payload)
    if kind == frames.INPUT:
        lane.on_input(seq, payload[frames.NUMBER.size :])
    elif kind == frames.END_OF_INPUT:
        lane.on_input(seq, None)
    elif kind == frames.ACK:
        lane.on_ack(seq)
    else:
        value = frames.GRANT.unpack(payload)[1]
        lane.on_credit(seq, value) if kind == frames.CREDIT else lane.on_kill(seq, value / 1000)


def _seconds(value: object) -> float:
    seconds = float(value)  # type: ignore[arg-type]
    if not 0 <= seconds <= 3600:
        raise ValueError(f"a grace of {seconds} seconds")
    return seconds


def _describe(error: Exception) -> dict[str, object]:
    if isinstance(error, Refused):
        return {"kind": error.kind, "message": str(error), "errno": error.errno}
    message = str(error)
    if isinstance(error, OSError) and error.strerror:
        name = error.filename
        shown = os.fsdecode(name) if isinstance(name, bytes) else name
        message = error.strerror if shown is None else f"{error.strerror}: {shown!r}"
    return {"kind": type(error).__name__, "message": message, "errno": getattr(error, "errno", None)}


def _dialect(shell: str) -> Dialect:
    """The dialect of a shell; of one that may be any by its name, that of the program."""
    kind = dialect(shell)
    try:
        program = find_program(kind.argv[0], os.environb.get(b"PATH", os.fsencode(os.defpath)))
    except OSError:
        return kind  # the start says why
    return led_to(shell, os.fsdecode(os.path.realpath(program)))
