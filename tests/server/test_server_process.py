"""Processes of their own in a session: streams apart from each other, an end that is told, nothing that stays."""

from __future__ import annotations

import contextlib
import itertools
import json
import os

import pytest

from warmshell.protocol import frames
from warmshell.protocol.remote import RemoteCommand

from .far import Far, alive, eventually

OUT, ERR = frames.STDOUT, frames.STDERR


class Opened:
    """One process, as its client sees it."""

    def __init__(self, far, number):
        self.far, self.number = far, number
        self.data = {OUT: bytearray(), ERR: bytearray()}
        self.ended = set()
        self.started = self.refused = False
        self.result = None
        self.granted = frames.INITIAL_CREDIT
        self.sent = 0

    def frame(self, kind, payload):
        seq, data = int.from_bytes(payload[:4], "big"), payload[4:]
        assert seq == 0
        if kind in self.data:
            assert kind not in self.ended, "bytes behind the end"
            self.data[kind] += data
            self.ended |= set() if data else {kind}
        elif kind == frames.RESULT:
            assert self.result is None, "a second result"
            self.result = json.loads(data)
        elif kind == frames.STARTED:
            self.started = True
        elif kind == frames.CREDIT:
            self.granted += int.from_bytes(data, "big")
        else:
            assert kind == frames.END_OF_INPUT
            self.refused = True

    def until(self, predicate):
        while not predicate(self):
            assert self.far.step(), "the session has ended"
        return self

    def say(self, kind, data=b""):
        self.far.numbered(kind, self.number, 0, data)

    def type(self, data):
        """Send all of it, as it is allowed."""
        view = memoryview(data)
        while view and not self.refused:
            self.until(lambda p: p.granted > p.sent or p.refused)
            piece = view[: self.granted - self.sent]
            self.say(frames.INPUT, bytes(piece))
            self.sent += len(piece)
            view = view[len(piece) :]

    def allow(self, index, size):
        self.far.numbered(frames.CREDIT, self.number, index, frames.NUMBER.pack(size))

    def kill(self, grace=0.5):
        return self.far.ask("end_process", process=self.number, grace=grace)


class Site(Far):
    """A session with processes of their own."""

    def __init__(self, **options):
        self.processes = {}
        self._next = itertools.count(frames.FIRST_PROCESS)
        super().__init__(**options)

    def _about_command(self, kind, subshell, payload):
        if subshell in self.processes:
            self.processes[subshell].frame(kind, payload)
        else:
            super()._about_command(kind, subshell, payload)

    def open(self, what, options=None, **more):
        number = next(self._next)
        words = {"script": what.encode()} if isinstance(what, str) else {"argv": [os.fsencode(w) for w in what]}
        command = RemoteCommand(0, **words, stdin="stream", **more).encode()
        process = self.processes[number] = Opened(self, number)
        self.write(frames.pack_open(number, json.dumps(options or {}).encode(), command))
        return process


@pytest.fixture
def site():
    with Site() as site:
        yield site


def whole(process):
    return process.until(lambda p: p.result is not None and p.ended == {OUT, ERR})


def test_streams_and_status(site):
    process = site.open("cat; echo err >&2; exit 3")
    process.type(b"some\0bytes")
    process.say(frames.END_OF_INPUT)
    whole(process)
    assert (bytes(process.data[OUT]), bytes(process.data[ERR])) == (b"some\0bytes", b"err\n")
    assert (process.started, process.result) == (True, {"status": 3, "written": [10, 4]})


def test_a_stream_that_nobody_reads_holds_up_only_itself(site):
    process = site.open("cat /dev/zero >&2 & echo on; cat; kill $!")
    process.until(lambda p: p.data[OUT] == b"on\n" and len(p.data[ERR]) == frames.INITIAL_CREDIT)
    process.type(b"x" * 300_000)
    process.allow(0, 1_000_000)
    process.say(frames.END_OF_INPUT)
    process.until(lambda p: p.result is not None and len(p.data[OUT]) == p.result["written"][0])
    assert len(process.data[OUT]) == 300_003
    assert len(process.data[ERR]) == frames.INITIAL_CREDIT
    process.allow(1, 10_000_000)
    whole(process)


def test_no_more_input_is_taken_than_fits(site):
    process = site.open("read x; cat | wc -c")
    process.until(lambda p: p.started)
    process.say(frames.INPUT, b"-" * process.granted)
    site.quiet(0.3)
    assert process.granted < 2_000_000
    process.sent = frames.INITIAL_CREDIT
    process.type(b"\n" + b"y" * 3_000_000)
    process.say(frames.END_OF_INPUT)
    assert whole(process).data[OUT].strip() == b"3000000"


def test_what_it_leaves_behind_writes_on_after_its_end(site):
    # By way of 3, as dash takes /dev/null for 0 of what is in the background, also in "<&0".
    process = site.open("exec 3<&0; { read x; echo late $x; } <&3 & echo on; exit 4")
    process.until(lambda p: p.result is not None)
    assert (process.result["status"], process.ended & {OUT}) == (4, set())
    process.type(b"now\n")
    assert bytes(whole(process).data[OUT]) == b"on\nlate now\n"


@pytest.mark.parametrize("what", ["exec 0<&-; echo closed; sleep 1000", "exec sleep 0"])
def test_input_that_nobody_reads_any_more_is_told(site, what):
    process = site.open(what)
    process.until(lambda p: p.data[OUT] == b"closed\n" or p.result)
    process.type(b"x" * 10_000_000)
    assert process.refused


@pytest.mark.parametrize(
    ("what", "more", "outcome"),
    [
        (["no-such-program"], {}, {"no_program": 2}),
        (["/no/such"], {}, {"no_program": 2}),
        (["ls"], {"env": {b"PATH": b"/nowhere"}}, {"no_program": 2}),
        (["/etc/passwd"], {}, {"not_started": 13}),
        (["/tmp"], {}, {"not_started": 13}),
        (["true"], {"cwd": b"/no/such"}, {"no_directory": 2}),
        (["true"], {"cwd": b"/etc/passwd"}, {"no_directory": 20}),
        (["true", "x" * 200_000], {}, {"not_started": 7}),
    ],
    ids=range(8),
)
def test_what_cannot_be_started_says_why(site, what, more, outcome):
    process = site.open(what, **more)
    process.until(lambda p: p.result is not None)
    assert (process.started, process.result) == (False, outcome)


def test_a_script_without_an_interpreter_is_one_for_sh(site, tmp_path):
    path = tmp_path / "tool"
    path.write_text('echo "$0" "$1"\n')
    path.chmod(0o700)
    process = whole(site.open(["tool", "a b"], env={b"PATH": b":/bin:/usr/bin"}, cwd=os.fsencode(tmp_path)))
    assert bytes(process.data[OUT]).endswith(b"/tool a b\n")


def test_only_its_own_environment(site):
    process = whole(site.open(["/usr/bin/env"], {"only": True}, env={b"A": b"b"}))
    names = {line.split(b"=")[0] for line in bytes(process.data[OUT]).splitlines()}
    assert names == {b"A", b"WARMSHELL_SESSION", b"WARMSHELL_COMMAND"}


def test_a_terminal(site):
    process = site.open("stty size; test -t 0 && test -t 1 && test -t 2; echo $? >/dev/tty", {"pty": [33, 44]})
    assert bytes(whole(process).data[OUT]) == b"33 44\r\n0\r\n"


def test_what_a_terminal_holds_when_its_program_has_ended(site, tmp_path):
    """It is more than the kernel tells of at once, and nobody was allowed to read it before."""
    credit, more, gate = frames.INITIAL_CREDIT, 6_000, tmp_path / "gate"
    fill = "head -c {} /dev/zero | tr '\\0' a".format
    process = site.open(f"{fill(credit)}; until test -e {gate}; do :; done; {fill(more)}", {"pty": [24, 80]})
    process.until(lambda p: len(p.data[OUT]) == credit)
    gate.touch()
    process.until(lambda p: p.result is not None)
    assert process.result == {"status": 0, "written": [credit + more, 0]}
    assert bytes(process.data[OUT]) == b"a" * (credit + more)


@pytest.mark.parametrize("typed", [b"", b"line\n", b"no newline"])
def test_the_end_of_input_at_a_terminal(site, typed):
    process = site.open("stty -echo; echo ready; cat; exit 5", {"pty": [1, 1]})
    process.until(lambda p: p.data[OUT] == b"ready\r\n")
    process.type(typed)
    process.say(frames.END_OF_INPUT)
    assert whole(process).result["status"] == 5
    assert bytes(process.data[OUT]) == b"ready\r\n" + typed.replace(b"\n", b"\r\n")


HIDING = "trap '' TERM HUP; ( ( setsid sleep 1000 & ) & ); setsid sleep 1000 & env -i sleep 1000 & wait"
# What ties it to its process no more, but for the session's server being the parent of what has lost its own.
DAEMON = "( ( env -i setsid sh -c 'echo $$; exec sleep 1000' & ) & ); sleep 1000"


def descendants(tag):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if tag in file.read():
                    found.append(int(pid))
        except OSError:
            continue
    return [pid for pid in found if alive(pid)]


def test_killing_ends_the_tree(site):
    process = site.open(HIDING)
    tag = f"{site.token}.p.{process.number}".encode()
    eventually(lambda: len(descendants(tag)) >= 3)
    process.kill()
    assert not descendants(tag)
    assert whole(process).result["status"] in (137, 143)
    assert process.kill() is None  # once more


def test_what_it_left_behind_outlives_shells_that_end(site):
    lane = site.subshell()
    process = whole(site.open("sleep 1000 >/dev/null 2>&1 <&1 & echo $!"))
    pid = int(process.data[OUT])
    process.say(frames.ACK)
    site.run(lane, "setsid sleep 1000 >/dev/null 2>&1 &")
    site.ask("delete_subshell", subshell=lane)
    assert alive(pid)
    site.close()
    assert not alive(pid)


def test_the_end_of_the_session_ends_all():
    site = Site()
    site.open(HIDING)
    daemon = site.open(DAEMON)
    tag = site.token.encode()
    eventually(lambda: len(descendants(tag + b".p")) >= 4)
    daemon.until(lambda p: p.data[OUT].endswith(b"\n"))
    site.close()
    assert not descendants(tag)
    assert not alive(int(daemon.data[OUT]))


def test_a_process_that_was_let_go_costs_nothing(site):
    def open_and_leave():
        process = site.open("echo x; exec sleep 0")
        process.until(lambda p: p.result is not None)
        process.say(frames.ACK)

    open_and_leave()
    before = site.ask("stat")["descriptors"]
    for _ in range(20):
        open_and_leave()
    assert site.ask("stat")["descriptors"] <= before + 1


def test_frames_for_one_that_never_was_are_for_nobody(site):
    for kind in (frames.INPUT, frames.END_OF_INPUT, frames.ACK):
        site.numbered(kind, frames.FIRST_PROCESS + 77, 0)
    site.numbered(frames.CREDIT, frames.FIRST_PROCESS + 77, 0, frames.NUMBER.pack(5))
    assert site.ask("end_process", process=frames.FIRST_PROCESS + 77, grace=0) is None
    assert site.ask("ping", echo=1) == 1


@pytest.mark.parametrize(
    "frame",
    [
        frames.pack(frames.OPEN, frames.FIRST_PROCESS, b""),
        frames.pack(frames.OPEN, frames.FIRST_PROCESS, b"\0\0\0\2{}"),
        frames.pack_open(frames.FIRST_PROCESS, b"[]", RemoteCommand(0, [b"true"]).encode()),
        frames.pack_open(frames.FIRST_PROCESS, b'{"pty": [1]}', RemoteCommand(0, [b"true"]).encode()),
        frames.pack_open(frames.FIRST_PROCESS, b'{"pty": [1, 99999]}', RemoteCommand(0, [b"true"]).encode()),
        frames.pack(frames.CREDIT, frames.FIRST_PROCESS, b"\0"),
        frames.pack(frames.RUN, frames.FIRST_PROCESS, b"\0\0\0\0"),
    ],
    ids=range(7),
)
def test_what_is_no_frame_ends_the_session(frame):
    site = Site()
    site.write(frame)
    assert site.wait() == 0
    site.close()


def test_more_input_than_was_granted_ends_the_session():
    site = Site()
    process = site.open(["sleep", "1000"])
    process.until(lambda p: p.started)
    with contextlib.suppress(BrokenPipeError):
        for _ in range(40):
            process.say(frames.INPUT, b"x" * frames.INITIAL_CREDIT)
    assert site.wait() == 0
    site.close()
