"""A small synchronous client of the session server, over real pipes to a real process."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import select
import subprocess
import time
from pathlib import Path

from warmshell.protocol import frames
from warmshell.protocol.remote import RemoteCommand
from warmshell.server import pack

SECONDS = 30.0


class Refused(Exception):
    """What the server answered instead of a result."""

    def __init__(self, error):
        super().__init__(error["message"])
        self.kind = error["kind"]
        self.errno = error.get("errno")


class Outcome:
    """What came of one command."""

    def __init__(self):
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.result = None
        self.started = False
        self.granted = 0

    @property
    def status(self):
        return self.result["status"]


class Far:
    """A session server and the streams to it."""

    def __init__(self, *, words=None, env=None, python=None, start=True, **options):
        self.token = secrets.token_hex(16)
        self.hello_token = secrets.token_hex(8)
        words = pack.start_words(self.hello_token) if words is None else words
        environment = dict(os.environ if env is None else env)
        if python is not None:
            environment["PATH"] = f"{python}:{environment['PATH']}"
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, bufsize=0
        )
        self._decoder = frames.FrameDecoder()
        self._frames = []
        self._answers = {}
        self._ids = itertools.count(1)
        self._numbers = {}
        self.outcomes = {}
        self.noise = b""
        self.credits = True
        self.python = self._hello()
        if start:
            self.deliver()
            self.facts = self.ask("start", token=self.token, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self, within=20.0):
        """End the session; the exit status."""
        self.process.stdin.close()
        try:
            return self.wait(within)
        finally:
            self.process.stdout.close()
            self.process.stderr.close()

    def wait(self, within=20.0):
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    # -- delivery ---------------------------------------------------------------------------------------------------

    def _hello(self):
        mark = f"\nwarmshell-hello {self.hello_token} ".encode()
        seen = b""
        while mark not in seen or b"\n" not in seen.split(mark, 1)[1]:
            piece = self._read(1)  # byte by byte: what follows is another's
            assert piece, f"no hello: {seen!r} {self.process.stderr.read()!r}"
            seen += piece
        self.noise, _, rest = seen.partition(mark)
        return rest.split(b"\n")[0].split()

    def deliver(self):
        data = pack.archive()
        self.write(len(data).to_bytes(4, "big") + data)

    # -- streams ----------------------------------------------------------------------------------------------------

    def write(self, data):
        self.process.stdin.write(data)

    def _read(self, size=65536, seconds=SECONDS):
        fd = self.process.stdout.fileno()
        ready, _, _ = select.select([fd], [], [], seconds)
        assert ready, "the server is silent"
        return os.read(fd, size)

    def send(self, kind, subshell, payload):
        self.write(frames.pack(kind, subshell, payload))

    def frame(self, seconds=SECONDS):
        """The next frame; None at the end of the stream."""
        while not self._frames:
            data = self._read(seconds=seconds)
            if not data:
                return None
            self._frames += self._decoder.feed(data)
        return self._frames.pop(0)

    def step(self, seconds=SECONDS):
        """Take in one frame; whether there was one."""
        frame = self.frame(seconds)
        if frame is None:
            return False
        kind, subshell, payload = frame
        if kind == frames.CONTROL:
            message = json.loads(payload)
            self._answers[message["id"]] = message
        elif kind == frames.ATTACHED:
            text, data = frames.split_attached(payload)
            message = json.loads(text)
            message["ok"]["data"] = data
            self._answers[message["id"]] = message
        else:
            self._about_command(kind, subshell, payload)
        return True

    def _about_command(self, kind, subshell, payload):
        seq = int.from_bytes(payload[:4], "big")
        outcome, data = self.outcomes.setdefault((subshell, seq), Outcome()), payload[4:]
        if kind == frames.STARTED:
            outcome.started = True
        elif kind == frames.RESULT:
            assert outcome.result is None, "a second result"
            outcome.result = json.loads(data)
        elif kind == frames.ENDED:
            self._about_command(frames.STDOUT, subshell, payload[:4] + payload[5:])
            assert outcome.result is None, "a second result"
            outcome.result = {"status": payload[4]}
        elif kind == frames.CREDIT:
            outcome.granted += int.from_bytes(data, "big")
        else:
            assert kind in (frames.STDOUT, frames.STDERR)
            assert outcome.result is None, "output after the result"
            if kind == frames.STDOUT:
                outcome.stdout += data
            else:
                outcome.stderr += data
            if self.credits:
                self.send(frames.CREDIT, subshell, frames.GRANT.pack(seq, len(data)))

    def quiet(self, seconds):
        """Take in frames until there was none for so long."""
        while self._frames or select.select([self.process.stdout.fileno()], [], [], seconds)[0]:
            if not self.step():
                return

    # -- requests ---------------------------------------------------------------------------------------------------

    def request(self, op, **arguments):
        number = next(self._ids)
        data = arguments.pop("data", None)
        message = json.dumps({"id": number, "op": op, **arguments}).encode()
        self.write(frames.pack(frames.CONTROL, 0, message) if data is None else frames.pack_attached(message, data))
        return number

    def answer(self, number):
        while number not in self._answers:
            assert self.step(), "the session has ended"
        message = self._answers.pop(number)
        if "error" in message:
            raise Refused(message["error"])
        return message["ok"]

    def ask(self, op, **arguments):
        return self.answer(self.request(op, **arguments))

    def subshell(self, shell="sh", **options):
        return self.ask("create_subshell", shell=shell, **options)["subshell"]

    # -- commands ---------------------------------------------------------------------------------------------------

    def begin(self, subshell, what, *, seq=None, **options):
        """Hand over a command; its number."""
        if seq is None:
            seq = self._numbers[subshell] = self._numbers.get(subshell, 0) + 1
        if isinstance(what, str):
            command = RemoteCommand(seq, script=what.encode(), **options)
        else:
            words = [os.fsencode(word) for word in what]
            if not options:
                self.write(frames.pack_words(subshell, seq, words))
                return seq
            command = RemoteCommand(seq, words, **options)
        self.send(frames.RUN, subshell, command.encode())
        return seq

    def outcome(self, subshell, seq):
        return self.outcomes.setdefault((subshell, seq), Outcome())

    def end(self, subshell, seq):
        """Wait until the command has its result."""
        outcome = self.outcome(subshell, seq)
        while outcome.result is None:
            assert self.step(), "the session has ended"
        return outcome

    def run(self, subshell, what, **options):
        return self.end(subshell, self.begin(subshell, what, **options))

    def until(self, subshell, seq, predicate):
        """Take in frames until something is so of a command."""
        outcome = self.outcome(subshell, seq)
        while not predicate(outcome):
            assert outcome.result is None, f"it has ended: {outcome.result} {outcome.stderr!r}"
            assert self.step(), "the session has ended"
        return outcome

    def numbered(self, kind, subshell, seq, data=b""):
        self.write(frames.pack_numbered(kind, subshell, seq, data))


def alive(pid):
    """Whether there is such a process and it runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def eventually(predicate, seconds=20.0):
    """Wait until the predicate holds; fails if it never does."""
    deadline = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


def memory(pid, key="VmRSS"):
    """Bytes of a process that are resident (or were at most, ``VmHWM``)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(key)
