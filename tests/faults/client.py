"""Real clients: programs of their own that use the library, for tests that end or starve them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import uuid
from pathlib import Path

from warmshell.testing import eventually_sync

PRELUDE = """\
import asyncio, os, signal, sys
import warmshell

def say(text):
    os.write(1, text.encode() + b"\\n")

"""


class Client:
    """A Python program that uses warmshell, all of whose processes carry a mark."""

    def __init__(self, body: str, *words: str, **options: object) -> None:
        self.mark = f"WARM_TEST_{uuid.uuid4().hex}"
        source = PRELUDE + textwrap.dedent(body)
        self.process = subprocess.Popen(
            [sys.executable, "-c", source, *words],
            env={**os.environ, self.mark: "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def hear(self) -> str:
        """The next line that it says."""
        return self.process.stdout.readline().decode().rstrip("\n")

    def family(self) -> dict[int, str]:
        """What of it is alive: its own process, and every one that has the mark in its environment."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    if self.mark.encode() in (entry / "environ").read_bytes():
                        found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                except OSError:
                    continue
        return found

    def left(self) -> dict[int, str]:
        """What is alive of it beside its own process."""
        return {pid: words for pid, words in self.family().items() if pid != self.pid}

    def send(self, signal: int) -> None:
        self.process.send_signal(signal)

    def end(self, within: float = 20) -> tuple[int, str, str]:
        """Wait for its end: status, output, errors."""
        try:
            out, err = self.process.communicate(timeout=within)
        finally:
            self.process.kill()
            self.process.wait()
        return self.process.returncode, out.decode(), err.decode()

    def nothing_left(self, within: float = 5) -> None:
        eventually_sync(lambda: not self.left(), within, lambda: f"left behind: {self.left()}; to be gone")
