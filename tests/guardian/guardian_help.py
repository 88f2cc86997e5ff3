"""What the tests of the guardian share."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path

from warmshell.guardian import tree

SOURCE = str(Path(tree.__file__).parents[2])

# The programs that tests start begin with this: they report pids by `say` and then wait by `rest`. They have a
# safety net of their own: an alarm, whose signal ends them even if everything that is tested here fails.
PRELUDE = """\
import json, os, select, signal, sys, time
signal.alarm(60)

def say(**facts):
    os.write(1, (json.dumps(facts) + "\\n").encode())

def rest():
    while True:
        signal.pause()

def child(action):
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        try:
            action()
        finally:
            os._exit(0)
    return pid

def daemon(action):
    '''An orphan: its parent ends at once. Returns its pid.'''
    source, sink = os.pipe()
    def between():
        os.write(sink, str(child(action)).encode())
    middle = child(between)
    os.waitpid(middle, 0)
    return int(os.read(source, 20))
"""


def eventually(predicate, seconds=20.0):
    """Wait until the predicate holds; fails if it never does."""
    deadline = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


def target(pid):
    """The name of a living process: its pid and start time."""
    started = tree.start_time(pid)
    assert started is not None
    return pid, started


class Family:
    """A program that a test started, and the processes that it reported."""

    def __init__(self, process):
        self.process = process
        self.pid = process.pid
        self.target = target(process.pid)
        self.known = [self.target]
        self.facts = {}

    def hear(self):
        """The next report of the program; pids in it are remembered."""
        line = self.process.stdout.readline()
        assert line, "the program ended without a report"
        facts = json.loads(line)
        for value in facts.values():
            started = tree.start_time(value) if isinstance(value, int) and value > 1 else None
            if started is not None:
                self.known.append((value, started))
        self.facts.update(facts)
        return facts

    def alive(self, pid):
        return any(tree.is_alive(*known) for known in self.known if known[0] == pid)

    def survivors(self):
        return [known for known in self.known if tree.is_alive(*known)]

    def end(self):
        for known in self.known:
            with contextlib.suppress(PermissionError):
                tree.send(*known, signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def descriptors():
    return set(os.listdir("/proc/self/fd"))


def children():
    """The children of this process, zombies included."""
    return {p.pid for p in tree.snapshot().values() if p.ppid == os.getpid()}
