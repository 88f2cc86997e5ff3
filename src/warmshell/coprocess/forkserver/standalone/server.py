"""The server of one tool: one process, one loop; a fork for each call, in the order in which they came."""

from __future__ import annotations

import _socket
import collections
import gc
import os
import select
import struct
import time

from . import wire
from .address import Address
from .calls import Limits, Running, Worker, is_ours, nothing, refuse, resident, say, signal_group, signals
from .child import GUARD_FD, Begin, be
from .incoming import Incoming
from .memory import holes_filled
from .quick import INCOMING, RUNNING, TOLD, Quick, descriptors
from .reuse import hand_over, work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .key import Shape
    from .learn import Learning
    from .tool import Tool

_CREDENTIALS = struct.Struct("3i")
_HELD = 400  # connections accepted and waiting; more wait in the kernel
_CLD_STOPPED = 5  # which os names since Python 3.9
_GRACE = 2.0
_TICK = 15.0
_TOUCH_SECONDS = 1.0


class Server:
    """Serves one tool under one key."""

    def __init__(
        self, tool: Tool, key: str, directory: int, shape: Shape, cwd: bytes, limits: Limits,
        learning: Learning | None, *, reuse: bool,
    ) -> None:  # fmt: skip
        self._tool = tool
        self._key = key.encode()
        self._address = Address(directory, key + ".sock")
        self._listener = self._address.listener
        self._shape = shape
        self._cwd = cwd
        self._user = os.geteuid()
        self._pid = os.getpid()
        self._limits = limits
        self._learning = learning
        self._reuse = reuse
        self._poll = select.poll()
        self._waiting: collections.deque[_socket.socket] = collections.deque()
        self._incoming: dict[int, Incoming] = {}
        self._running: dict[int, Running] = {}
        self._links: dict[int, Running] = {}
        self._controls: dict[int, Running] = {}
        self._idle_workers: list[Worker] = []
        self._quick: Quick | None = None
        self._filling: list[list[bytes]] = []
        self._retiring = False
        self._used = time.monotonic()
        self._served = 0
        self._started = time.time()
        self._guard = os.pipe2(os.O_CLOEXEC)
        self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._handlers: dict[int, Any] = {}
        self._take_signals()
        self._own = [self._listener.fileno(), directory, *self._guard, *self._wake]
        tool.own(self._own)

    def _take_signals(self) -> None:
        for number, handler in ((signals.SIGCHLD, nothing), (signals.SIGTERM, self._told_to_end)):
            self._handlers[number] = signals.signal(number, handler)
        signals.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)

    def _told_to_end(self, *_: object) -> None:
        if os.getpid() != self._pid:
            os._exit(143)  # a child that has not become a call yet: its client has gone
        self._address.remove()
        self._tool.remove_temporary()
        os._exit(143)  # the kernel kills the groups of all calls, as the guard closes

    # --- the loop

    def run(self, native: Any = None) -> None:
        """Serve until there is nothing to do any more, calls that go well by ``native``, if there is such a module."""
        self._tool.prepare()
        if native is not None and not self._reuse:
            entries, own = b"\0".join(self._tool.entries), descriptors(self._own)
            facts = (
                self._key, self._cwd, entries, os.fsencode(self._address.name), own, int(self._shape.cwd),
                self._listener.fileno(), *self._wake, self._address.directory, self._guard[0], GUARD_FD,
            )  # fmt: skip
            self._quick = Quick(native, self._tool, facts, self._handlers)
        self._settle()
        self._poll.register(self._listener, select.POLLIN)
        self._poll.register(self._wake[0], select.POLLIN)
        while not self._is_over():
            patience = self._patience()
            if self._quick is not None and self._is_calm():
                patience = self._serve_quickly(self._quick, patience)
            for fd, events in self._poll.poll(patience):
                self._happened(fd, events)
            self._advance()
        self._retire(b"ended")

    def _is_calm(self) -> bool:
        if self._running or self._incoming or self._waiting:
            return False
        return self._learning is None or not self._learning.listens()

    def _serve_quickly(self, quick: Quick, patience: float) -> float:
        """Have the module serve; how long to wait for what it has not seen to."""
        (served, _), left = quick.state(), quick.serve(patience)
        now_served, used = quick.state()
        self._served += now_served - served
        self._used = max(self._used, used)
        if left[0] == INCOMING:
            _, fd, data, fds, cut = left
            incoming = Incoming(_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd))
            incoming.resume(data, fds, cut=bool(cut))
            self._expect(incoming)
            self._read(incoming)
        elif left[0] == RUNNING:
            _, fd, pid = left
            self._follow(Running(pid, _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd), -1))
            self._reap()
        elif left[0] == TOLD:
            self._told_to_end()
        return 0.0

    def _settle(self) -> None:
        """Bring together what each call touches, and leave the rest alone."""
        gc.collect()
        self._tool.recorder.compact()
        self._filling += holes_filled()
        gc.freeze()

    def _happened(self, fd: int, events: int) -> None:
        if fd == self._listener.fileno():
            self._accept()
        elif fd == self._wake[0]:
            if b"T" in os.read(fd, 4096) and self._quick is not None:
                self._told_to_end()
            self._reap()
        elif fd in self._incoming:
            self._read(self._incoming[fd])
        elif fd in self._controls:
            self._worker_told(self._controls[fd])
        elif fd in self._links:
            self._client_gone(self._links[fd])
        elif events:
            self._forget_waiting(fd)

    def _is_over(self) -> bool:
        if self._running or self._incoming or self._waiting:
            return False
        idle = time.monotonic() - self._used
        return self._retiring or idle >= self._limits.idle or not self._address.is_ours()

    def _patience(self) -> float:
        """Milliseconds until something has to be looked at."""
        now, until = time.monotonic(), min(_TICK, self._limits.idle)
        for call in self._running.values():
            if call.ending is not None:
                until = min(until, call.ending - now)
        for each in self._incoming.values():
            until = min(until, each.deadline - now)
        return max(0.0, until) * 1000 + 1

    def _advance(self) -> None:
        """What is due: clients that say nothing, calls that do not end, and those that wait for their turn."""
        now = time.monotonic()
        for each in list(self._incoming.values()):
            if each.deadline <= now:
                self._drop(each, b"no request came in time")
        for call in self._running.values():
            if call.ending is not None and call.ending <= now:
                signal_group(call.pid, signals.SIGKILL)
                call.ending = now + _GRACE
        while self._waiting and self._has_room():
            link = self._waiting.popleft()
            self._poll.unregister(link)
            self._begin_reading(link)
        if not (self._running or self._incoming or self._waiting) and self._learning and self._learning.due():
            gc.unfreeze()
            self._learning.learn(self._tool)
            self._settle()
            if resident() > self._limits.memory:
                self._learning.forget()
                self._retire(b"what it learned needs too much memory")

    # --- clients

    def _has_room(self) -> bool:
        return len(self._running) + len(self._incoming) < self._limits.processes

    def _accept(self) -> bool:
        """Let one client in; whether there was one."""
        if len(self._waiting) >= _HELD:
            return False
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return False
        link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
        pid, user, _ = _CREDENTIALS.unpack(link.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))
        if user not in (self._user, 0):
            link.close()
        elif (self._has_room() and not self._waiting) or is_ours(pid):
            self._begin_reading(link)
        else:
            say(link, wire.QUEUED + b" %d\n" % len(self._waiting))
            self._waiting.append(link)
            self._poll.register(link, select.POLLRDHUP)
        return True

    def _forget_waiting(self, fd: int) -> None:
        for link in [link for link in self._waiting if link.fileno() == fd]:
            self._waiting.remove(link)
            self._poll.unregister(link)
            link.close()

    def _begin_reading(self, link: _socket.socket) -> None:
        self._expect(Incoming(link))
        say(link, wire.READY + b"\n")

    def _expect(self, incoming: Incoming) -> None:
        self._incoming[incoming.link.fileno()] = incoming
        self._poll.register(incoming.link, select.POLLIN)

    def _read(self, incoming: Incoming) -> None:
        try:
            kind = incoming.read()
        except (OSError, wire.BadRequest) as error:
            self._drop(incoming, str(error).encode("utf-8", "replace"))
            return
        if kind is None:
            return
        del self._incoming[incoming.link.fileno()]
        self._poll.unregister(incoming.link)
        if kind == wire.CALL:
            self._call(incoming)
        else:
            self._control(kind, incoming.link)

    def _drop(self, incoming: Incoming, why: bytes) -> None:
        self._incoming.pop(incoming.link.fileno(), None)
        self._poll.unregister(incoming.link)
        incoming.close_fds()
        refuse(incoming.link, wire.BAD, why)

    def _control(self, kind: bytes, link: _socket.socket) -> None:
        if kind == wire.STOP:
            self._retire(b"told to stop")
        facts = {
            "pid": os.getpid(), "tool": self._tool.path, "calls": self._served, "running": len(self._running),
            "waiting": len(self._waiting), "watched": self._tool.recorder.count(), "started": int(self._started),
            "idle": int(time.monotonic() - self._used), "modules": len(self._tool.modules),
        }  # fmt: skip
        say(link, "".join(f"{name} {value}\n" for name, value in facts.items()).encode("utf-8", "surrogateescape"))
        link.close()

    # --- calls

    def _call(self, incoming: Incoming) -> None:
        reason = self._why_not(incoming)
        if reason:
            incoming.close_fds()
            refuse(incoming.link, wire.STALE, reason)
            return
        if time.monotonic() - self._used > _TOUCH_SECONDS:
            self._address.touch()
        self._used = time.monotonic()
        if self._reuse:
            self._give_to_worker(incoming)
            return
        listens = self._learning is not None and self._learning.listens()
        report = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) if listens else (-1, -1)
        try:
            pid = os.fork()
        except OSError as error:
            incoming.close_fds()
            refuse(incoming.link, wire.COLD, str(error).encode())
            return
        if pid == 0:
            self._be(incoming, report)
        if report[1] >= 0:
            os.close(report[1])
        incoming.close_fds()
        self._served += 1
        self._follow(Running(pid, incoming.link, report[0]))

    def _follow(self, call: Running) -> None:
        self._running[call.pid] = self._links[call.link.fileno()] = call
        self._poll.register(call.link, select.POLLRDHUP)

    def _be(self, incoming: Incoming, report: tuple[int, int]) -> None:
        others = [link.fileno() for link in self._waiting] + list(self._incoming) + list(self._links)
        others += [call.report for call in self._running.values() if call.report >= 0]
        learning, tool, leave = self._learning, self._tool, os._exit

        def ended() -> None:
            os._exit = leave  # it is told once
            if learning is not None:
                learning.tell(report[1], tool)

        def telling(status: int) -> None:
            ended()
            leave(status)

        guard = self._guard[0]
        if report[0] >= 0:
            others.append(report[0])
        if learning is not None:  # a tool that ends by os._exit is to tell what it imported, too
            os._exit = telling  # type: ignore[assignment,unused-ignore]
        request = incoming.request
        assert request is not None  # noqa: S101 - it is whole
        be(
            Begin(request, incoming.fds, incoming.link, guard, self._own + others, self._handlers, ended),
            tool,
        )

    def _why_not(self, incoming: Incoming) -> bytes:
        """Why this server may not serve the call; it retires if no call can ever be served any more."""
        if self._retiring:
            return b"retired"
        if incoming.request is None or incoming.request.key != self._key:
            return b"another key"
        if self._shape.cwd and os.readlink(b"/proc/self/fd/%d" % incoming.fds[0]) != self._cwd:
            return b"another directory"
        changed = self._tool.recorder.changed()
        if changed is not None:
            text = (f"{changed} has changed").encode("utf-8", "surrogateescape")
            self._retire(text)
            return text
        return b""

    def _reap(self) -> None:
        for call in list(self._running.values()):
            found = os.waitid(os.P_PID, call.pid, os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                continue
            if found.si_code == _CLD_STOPPED:
                os.waitid(os.P_PID, call.pid, os.WSTOPPED | os.WNOHANG)
                say(call.link, b"%s %d\n" % (wire.STOPPED, found.si_status))
            else:
                self._ended(call, found.si_status, by_signal=found.si_code != os.CLD_EXITED)
        if self._reuse:
            self._reap_workers()

    def _ended(self, call: Running, status: int, *, by_signal: bool) -> None:
        if call.ending is not None:
            signal_group(call.pid, signals.SIGKILL)  # while its number still is its own
        os.waitpid(call.pid, 0)
        say(call.link, b"%s %d\n" % (wire.KILLED if by_signal else wire.STATUS, status))
        self._forget(call)
        call.link.close()
        if call.worker is not None:
            call.worker.control.close()
        if call.report >= 0 and self._learning is not None:
            self._learning.hear(call.report)

    def _client_gone(self, call: Running) -> None:
        self._poll.unregister(call.link)
        if call.ending is None:
            call.ending = time.monotonic() + _GRACE
            signal_group(call.pid, signals.SIGTERM)
            signal_group(call.pid, signals.SIGCONT)

    # --- workers

    def _give_to_worker(self, incoming: Incoming) -> None:
        worker = self._idle_workers.pop() if self._idle_workers else self._new_worker(incoming)
        if worker is None:
            return
        worker.calls += 1
        try:
            hand_over(worker.control, incoming.body(), [*incoming.fds, incoming.link.fileno()])
        except OSError as error:  # it was killed while it was idle: the client may try again
            incoming.close_fds()
            refuse(incoming.link, wire.STALE, str(error).encode())
            worker.control.close()
            return
        incoming.close_fds()
        self._served += 1
        call = self._controls[worker.control.fileno()] = Running(worker.pid, incoming.link, -1, worker)
        self._follow(call)
        self._poll.register(worker.control, select.POLLIN)

    def _new_worker(self, incoming: Incoming) -> Worker | None:
        ours, theirs = _socket.socketpair()
        try:
            pid = os.fork()
        except OSError as error:
            incoming.close_fds()
            refuse(incoming.link, wire.COLD, str(error).encode())
            return None
        if pid:
            theirs.close()
            return Worker(pid, ours)
        others = [link.fileno() for link in self._waiting] + list(self._incoming) + list(self._links)
        others += [*self._controls, *(worker.control.fileno() for worker in self._idle_workers)]
        others += [ours.fileno(), incoming.link.fileno(), *incoming.fds]
        close = self._own + others
        return work(theirs, self._tool, self._guard[0], close, self._handlers, self._limits.memory)

    def _worker_told(self, call: Running) -> None:
        worker = call.worker
        assert worker is not None  # noqa: S101 - it has a control
        text = worker.control.recv(64)
        if not text:  # it ends: so will the call, by the status of the process
            self._poll.unregister(worker.control)
            return
        self._forget(call)
        say(call.link, b"%s %d\n" % (wire.STATUS, int(text)))
        call.link.close()
        if worker.calls < self._limits.calls and not self._retiring and call.ending is None:
            self._idle_workers.append(worker)
        else:
            worker.control.close()

    def _forget(self, call: Running) -> None:
        if call.ending is None:
            self._poll.unregister(call.link)
        del self._running[call.pid], self._links[call.link.fileno()]
        if call.worker is not None and self._controls.pop(call.worker.control.fileno(), None) is not None:
            try:
                self._poll.unregister(call.worker.control)
            except KeyError:
                pass  # as it told its end
        self._used = time.monotonic()

    def _reap_workers(self) -> None:
        """Workers that were idle, or had told the status of their last call."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or found.si_pid in self._running:
                return
            os.waitpid(found.si_pid, 0)
            for worker in [worker for worker in self._idle_workers if worker.pid == found.si_pid]:
                self._idle_workers.remove(worker)
                worker.control.close()

    # --- the end

    def _retire(self, why: bytes) -> None:
        """Take no calls any more; those that run may end."""
        if self._retiring:
            return
        self._retiring = True
        self._address.remove()
        self._poll.unregister(self._listener)
        while self._accept():
            pass  # those that connected to us and nobody else
        for each in list(self._incoming.values()):
            self._incoming.pop(each.link.fileno())
            self._poll.unregister(each.link)
            each.close_fds()
            refuse(each.link, wire.STALE, why)
        while self._waiting:
            link = self._waiting.popleft()
            self._poll.unregister(link)
            refuse(link, wire.STALE, why)
        self._listener.close()

        while self._idle_workers:
            self._idle_workers.pop().control.close()
