"""Flow control, memory, fairness and idleness of the session server."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import struct
import time
from pathlib import Path

from warmshell.protocol import frames
from warmshell.protocol.dialect import dialect
from warmshell.protocol.remote import RemoteCommand
from warmshell.server.engine import Engine
from warmshell.server.execution import Execution
from warmshell.server.lane import Lane
from warmshell.server.writer import LANE_HIGH

from .far import Far, Refused, alive, eventually, memory

MIB = 1024 * 1024


def test_credit_stops_output(far):
    far.credits = False
    lane = far.subshell()
    seq = far.begin(lane, "yes | head -c 50000000")
    outcome = far.outcome(lane, seq)
    far.until(lane, seq, lambda outcome: len(outcome.stdout) >= frames.INITIAL_CREDIT)
    far.quiet(0.2)
    assert len(outcome.stdout) == frames.INITIAL_CREDIT
    far.numbered(frames.CREDIT, lane, seq, struct.pack(">I", 1000))
    far.until(lane, seq, lambda outcome: len(outcome.stdout) >= frames.INITIAL_CREDIT + 1000)
    far.quiet(0.1)
    assert len(outcome.stdout) == frames.INITIAL_CREDIT + 1000
    far.credits = True
    far.numbered(frames.CREDIT, lane, seq, struct.pack(">I", MIB))
    assert len(far.end(lane, seq).stdout) == 50_000_000


def test_credit_counts_both_streams(far):
    far.credits = False
    lane = far.subshell()
    seq = far.begin(lane, "yes & yes >&2")
    outcome = far.until(lane, seq, lambda o: len(o.stdout) + len(o.stderr) >= frames.INITIAL_CREDIT)
    far.quiet(0.1)
    assert len(outcome.stdout) + len(outcome.stderr) == frames.INITIAL_CREDIT


def test_a_short_command_may_overdraw_by_a_pipe(far):
    far.credits = False
    lane = far.subshell()
    outcome = far.run(lane, f"head -c {frames.INITIAL_CREDIT + 60000} /dev/zero")
    assert len(outcome.stdout) == frames.INITIAL_CREDIT + 60000


def test_a_client_that_does_not_read_bounds_the_server(far):
    """All the credit of the world, a full pipe, and commands that wait: the server neither grows nor runs on."""
    lanes = [far.subshell() for _ in range(8)]
    for lane in lanes:
        seq = far.begin(lane, "yes")
        far.numbered(frames.CREDIT, lane, seq, struct.pack(">I", 2**31))
    eventually(lambda: _is_still(far.facts["pid"]))
    assert memory(far.facts["pid"], "VmHWM") < 32 * MIB
    for number in range(1000):  # answers to these wait too
        far.send(frames.CONTROL, 0, json.dumps({"id": 10_000 + number, "op": "list_subshells"}).encode())
    eventually(lambda: _is_still(far.facts["pid"]))
    assert memory(far.facts["pid"], "VmHWM") < 48 * MIB


def _is_still(pid):
    """Whether the process sleeps and has used no processor time for a moment."""
    before = _cpu(pid)
    time.sleep(0.1)
    return _cpu(pid) == before


def _cpu(pid):
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_client_that_sends_requests_and_reads_nothing_is_not_listened_to():
    """Its end is noticed all the same, and long before its lease ends."""
    with Far(lease=3600) as far:
        for _ in range(50):
            far.subshell()
        request = frames.pack(frames.CONTROL, 0, json.dumps({"id": 1, "op": "list_subshells"}).encode()) * 100
        os.set_blocking(far.process.stdin.fileno(), False)
        written, rest = 0, request
        while select.select([], [far.process.stdin.fileno()], [], 0.1)[1] or not _is_still(far.facts["pid"]):
            with contextlib.suppress(BlockingIOError):
                size = far.process.stdin.write(rest) or 0
                written += size
                rest = rest[size:] or request  # never half a frame before a whole one
            assert memory(far.facts["pid"], "VmHWM") < 40 * MIB
        assert written > 100_000
        assert far.process.poll() is None


def test_a_flood_does_not_hold_up_others(far):
    flood, small = far.subshell(), far.subshell()
    seq = far.begin(flood, "yes")
    far.numbered(frames.CREDIT, flood, seq, struct.pack(">I", 2**31))
    far.credits = False
    outcome = far.outcome(flood, seq)
    far.until(flood, seq, lambda outcome: len(outcome.stdout) > MIB)
    for _ in range(5):
        eventually(lambda: _is_still(far.facts["pid"]))  # all that may wait does
        before = len(outcome.stdout)
        asked = far.begin(small, ["echo", "x"])
        eventually(lambda: _is_still(far.facts["pid"]))
        assert far.end(small, asked).stdout == b"x\n"
        # What came first: what the pipe held, and what was given to it already; not all that waits.
        assert len(outcome.stdout) - before < LANE_HIGH
        far.until(flood, seq, lambda outcome, more=before + LANE_HIGH + 256 * 1024: len(outcome.stdout) > more)
        outcome.stdout.clear()


def test_control_is_answered_while_all_are_busy(far):
    lanes = [far.subshell() for _ in range(16)]
    for lane in lanes:
        far.begin(lane, "yes" if lane % 2 else "while :; do :; done")
    listed = far.ask("list_subshells")
    assert {entry["state"] for entry in listed} == {"busy"}
    new = far.subshell()
    assert far.run(new, ["echo", "x"]).stdout == b"x\n"
    facts = far.ask("stat")
    assert facts["processes"] >= 17
    assert facts["memory"] < 32 * MIB
    for lane in lanes:
        far.ask("delete_subshell", subshell=lane, grace=0)
    assert [entry["subshell"] for entry in far.ask("list_subshells")] == [new]


def test_kill_does_not_hold_up_others(far):
    """A subshell whose processes take their whole grace to end, and meanwhile others go on."""
    lane, other = far.subshell(), far.subshell()
    seq = far.begin(lane, "trap '' TERM; echo ready; while :; do sleep 1; done")
    far.until(lane, seq, lambda outcome: outcome.stdout)
    asked = far.request("delete_subshell", subshell=lane, grace=1.0)
    for _ in range(50):
        assert far.run(other, ["echo", "x"]).stdout == b"x\n"
    assert far.outcome(lane, seq).result is None
    far.answer(asked)


def test_idle_costs_no_time_and_little_memory(far):
    lanes = [far.subshell() for _ in range(8)]
    for lane in lanes:
        far.run(lane, "echo; sleep 0.01")
        far.run(lane, "X=1", keeps_state=True)
    pids = [far.facts["pid"], far.process.pid]
    far.quiet(0.1)
    before = [_switches(pid) for pid in pids]
    time.sleep(1.0)
    assert [_switches(pid) for pid in pids] == before  # it has not even been woken
    assert [memory(pid) < 20 * MIB for pid in pids] == [True, True]


def _switches(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return next(line for line in text.splitlines() if line.startswith("voluntary_ctxt_switches"))


def test_memory_after_much_work(far):
    lanes = [far.subshell() for _ in range(4)]
    for _ in range(5):
        seqs = [(lane, far.begin(lane, "head -c 5000000 /dev/zero; echo >&2")) for lane in lanes]
        for lane, seq in seqs:
            assert len(far.end(lane, seq).stdout) == 5_000_000
            del far.outcomes[lane, seq]
    for lane in lanes:
        far.ask("delete_subshell", subshell=lane)
    assert memory(far.facts["pid"]) < 20 * MIB
    descriptors = len(os.listdir(f"/proc/{far.facts['pid']}/fd"))
    for _ in range(20):
        lane = far.subshell()
        far.run(lane, "cat", stdin="bytes", data=b"x")
        far.run(lane, "X=1", keeps_state=True)
        far.run(lane, "sleep 60 & echo $!")
        far.ask("delete_subshell", subshell=lane)
    assert len(os.listdir(f"/proc/{far.facts['pid']}/fd")) == descriptors


def test_few_descriptors():
    """A limit of 64: as many subshells as fit, then a clear refusal, and those there are go on."""
    from warmshell.server import pack

    token = "few"
    words = [b"sh", b"-c", b"ulimit -n 64;" + pack.start_text(token).encode()]
    with FewDescriptors(words, token) as far:
        lanes, refused = [], None
        while refused is None:
            try:
                lanes.append(far.subshell())
            except Refused as error:
                refused = error
        assert refused.errno == 24
        assert len(lanes) >= 4
        for lane in lanes:
            assert far.run(lane, ["echo", "x"]).stdout == b"x\n"
        far.run(lanes[0], "ulimit -n")
        result = far.run(lanes[0], "cat", stdin="bytes", data=b"x").result
        assert result == {"status": 0} or result["started"] == "no"
        for _ in range(2):
            far.ask("delete_subshell", subshell=lanes.pop())
        assert far.run(far.subshell(), ["echo", "again"]).stdout == b"again\n"


class FewDescriptors(Far):
    def __init__(self, words, token):
        self.fixed = token
        super().__init__(words=words)

    @property
    def hello_token(self):
        return self.fixed

    @hello_token.setter
    def hello_token(self, _value):
        pass


def test_the_limit_of_descriptors_is_the_commands_own(far):
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert int(far.run(far.subshell(), "ulimit -n").stdout) == soft


def test_a_stopped_server_does_not_take_its_client_for_dead():
    """What arrived while it was stopped counts as heard in time."""
    with Far(lease=1.0) as far:
        far.quiet(0.2)  # it sleeps
        os.kill(far.facts["pid"], signal.SIGSTOP)
        time.sleep(1.0)  # time is up, as far as it can know
        far.write(frames.pack(frames.CONTROL, 0, b'{"id": 999, "op": "ping", "echo": "on"}'))
        os.kill(far.facts["pid"], signal.SIGCONT)
        assert far.answer(999) == "on"
        assert alive(far.facts["pid"])


def test_output_beyond_a_pipe_comes_though_no_descriptor_is_left(far):
    """It is watched as soon as there is one, and until then looked for now and then."""
    lane, pid = far.subshell(), far.facts["pid"]
    far.run(lane, ["true"])
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(set(range(1000)) - used), before[1]))
    outcome = far.run(lane, "head -c 100000 /dev/zero")
    assert (outcome.result, len(outcome.stdout)) == ({"status": 0}, 100_000)


class Room:
    """As much of a site and of an engine as the watch of a lane needs."""

    def __init__(self):
        self.loop = self
        self.token, self.base = b"token", b"/"
        self.free, self.pumped, self.waits = 0, 0, []

    def room(self, _number):
        return self.free

    def wait_for_room(self, waiter):
        self.waits.append(waiter)

    def watch(self):
        return True

    def pump(self):
        self.pumped += 1


def test_room_that_a_second_watch_finds_is_used():
    """Another is told to end, or becomes another program, between the writing of frames and the word of that."""
    site = Room()
    lane = Lane(site, 1, dialect("sh"))
    lane._engine = site.engine = Engine(site, lane)
    site.engine.watch, site.engine.pump = site.watch, site.pump
    lane.busy = Execution(site, RemoteCommand(1, [b"x"]), lambda kind, data: None)
    lane.watch()
    assert (site.engine.room, site.pumped, site.waits) == (0, 0, [lane])
    site.free = 1000
    lane.watch()
    assert site.engine.room == 1000
    lane.on_room()  # which finds nothing new
    assert site.pumped == 1
