"""A connection whose request is on its way: bytes and descriptors of somebody who may be anybody."""

from __future__ import annotations

import _socket
import os
import stat
import time

from . import wire

_SECONDS = 10.0
_CHUNK = 65536
_SPACE = _socket.CMSG_SPACE(4 * wire.DESCRIPTORS)
_FLAGS = _socket.MSG_DONTWAIT | getattr(_socket, "MSG_CMSG_CLOEXEC", 0x40000000)


class Incoming:
    """One request, as it arrives.

    Attributes:
        link: the connection.
        deadline: until when it must be whole.
        fds: the descriptors that came with it.
        request: the call that is asked for, once it is whole.
    """

    def __init__(self, link: _socket.socket) -> None:
        self.link = link
        self.deadline = time.monotonic() + _SECONDS
        self.fds: list[int] = []
        self.request: wire.Request | None = None
        self._data = b""
        self._begun = self._cut = False

    def resume(self, data: bytes, fds: bytes, *, cut: bool) -> None:
        """Go on with what somebody else has received; ``cut``: there were more descriptors."""
        self._data = data
        self.fds = memoryview(fds).cast("i").tolist()
        self._begun = bool(data)
        self._cut = cut

    def read(self) -> bytes | None:
        """Take what has come; what is asked for, once that is known to the end.

        Raises:
            BadRequest: it is no request, or not with these descriptors.
            OSError: the connection broke.
        """
        kind = self._whole()
        while kind is None:
            try:
                chunk = self._receive()
            except BlockingIOError:
                return None
            if not chunk:
                raise wire.BadRequest("the request ends too early")
            self._data += chunk
            kind = self._whole()
        return kind

    def _receive(self) -> bytes:
        if self._begun:
            return self.link.recv(_CHUNK, _socket.MSG_DONTWAIT)
        data, extra, flags, _ = self.link.recvmsg(_CHUNK, _SPACE, _FLAGS)
        self._begun = True
        for level, kind, payload in extra:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                whole = len(payload) - len(payload) % 4
                self.fds += memoryview(payload)[:whole].cast("i").tolist()
        if flags & _socket.MSG_CTRUNC:
            self._cut = True
        return data

    def _whole(self) -> bytes | None:
        if self._cut:
            raise wire.BadRequest("too many descriptors")
        if len(self._data) < wire.HEADER.size:
            return None
        kind, size = wire.length(self._data[: wire.HEADER.size])
        missing = wire.HEADER.size + size - len(self._data)
        if missing < 0:
            raise wire.BadRequest("more than one request")
        if missing:
            return None
        if kind == wire.CALL:
            self.request = wire.decoded(self._data[wire.HEADER.size :])
            self._check_descriptors()
        elif self.fds:
            raise wire.BadRequest("descriptors for nothing")
        return kind

    def _check_descriptors(self) -> None:
        if len(self.fds) != wire.DESCRIPTORS:
            raise wire.BadRequest(f"not {wire.DESCRIPTORS} descriptors")
        if not stat.S_ISDIR(os.fstat(self.fds[0]).st_mode):
            raise wire.BadRequest("the first descriptor is no directory")

    def body(self) -> bytes:
        """The fields of the request, as they came."""
        return self._data[wire.HEADER.size :]

    def close_fds(self) -> None:
        """Forget the descriptors."""
        while self.fds:
            os.close(self.fds.pop())
