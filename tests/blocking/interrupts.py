"""Signals that arrive exactly when a command is known to run."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Started:
    """A FIFO by which a command says that it runs, with its process id.

    Attributes:
        script: shell text that says so.
        pid: the process id it said.
    """

    def __init__(self, where: Path, name: str = "started") -> None:
        self.path = where / name
        os.mkfifo(self.path)
        self.script = f"echo $$ > '{self.path}'"
        self.pid = 0

    def wait(self) -> int:
        """Return when the command has said so: opening waits for its writer."""
        self.pid = int(self.path.read_text())
        return self.pid


@contextmanager
def interrupting(started: Started, signum: int = signal.SIGINT) -> Iterator[None]:
    """Interrupt this thread, the main one, once the command has started."""
    main = threading.get_ident()
    before = signal.getsignal(signum)
    if signum == signal.SIGINT:  # whatever else ran in this process has made of it
        signal.signal(signum, signal.default_int_handler)

    def send() -> None:
        started.wait()
        signal.pthread_kill(main, signum)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        signal.signal(signum, before)


def is_running(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
