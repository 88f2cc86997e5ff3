"""One session, several clients: what each of them gets, and what the others are told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from warmshell.attached import Ended
from warmshell.command import Command
from warmshell.errors import ConnectError, LocationError, ShellLost
from warmshell.location import Location
from warmshell.protocol import frames
from warmshell.server import pack
from warmshell.server.rendezvous import sweep
from warmshell.shell.detachable import Detach, DetachableSession, SessionLeft
from warmshell.shell.session import Gone, new_token
from warmshell.testing.waiting import eventually

from .place import FarPlace


async def left(place, what, **options):
    """A session with one command, left to itself."""
    async with Location(FarPlace(place, lease=None, **options)) as node:
        return await node.detach(what)


async def outputs(client):
    """Both streams of all commands, and how each ended."""
    streams, ends = [bytearray(), bytearray(), bytearray()], []
    async for event in client.pieces():
        if isinstance(event, Ended):
            ends.append(event)
        else:
            streams[event.stream] += event.data
    return bytes(streams[1]), bytes(streams[2]), ends


async def running(place, **expected):
    """Return when the one session says this of itself."""
    while True:
        (info,) = await place.sessions()
        if all(getattr(info, name) == value for name, value in expected.items()):
            return info


async def test_what_was_left_is_fetched_once_and_then_nothing_is_there(place):
    session = await left(place, "echo out; echo err >&2; exit 3")
    info = await running(place, finished=1, running=0)
    assert (info.id, info.attached, info.lease, info.left) == (session, False, None, None)
    async with place.attach(session) as client:
        (command,) = client.commands
        assert (command.missed, command.running) == ((0, 0), False)
        out, err, (end,) = await outputs(client)
    assert (out, err, end.result.returncode, end.again) == (b"out\n", b"err\n", 3, False)
    assert await place.sessions() == []
    with pytest.raises(Gone):
        async with place.attach(session):
            pass


async def test_output_comes_as_it_is_written(place, tmp_path):
    os.mkfifo(tmp_path / "go")
    session = await left(place, f"echo a; read x <{tmp_path}/go; echo $x")
    async with place.attach(session) as client:
        events = client.pieces()
        assert (await anext(events)).data == b"a\n"
        await asyncio.to_thread((tmp_path / "go").write_text, "b\n")
        assert (await anext(events)).data == b"b\n"
        assert (await anext(events)).result.returncode == 0
        await events.aclose()
        client.taken()
    assert place.directories == []


async def test_a_client_that_leaves_hands_over_what_it_has_not_used(place, tmp_path):
    os.mkfifo(tmp_path / "go")
    os.mkfifo(tmp_path / "on")
    session = await left(place, f"echo a; read x <{tmp_path}/go; echo $x; read x <{tmp_path}/on; echo $x; exit 4")
    async with place.attach(session) as client:
        events = client.pieces()
        assert (await anext(events)).data == b"a\n"
        await asyncio.to_thread((tmp_path / "go").write_text, "b\n")
        assert (await anext(events)).data == b"b\n"  # which means that it is done with the first
        await events.aclose()
    async with place.attach(session) as client:
        assert client.commands[0].missed == (2, 0)
        await asyncio.to_thread((tmp_path / "on").write_text, "c\n")
        out, _, (end,) = await outputs(client)
    assert (out, end.result.returncode, end.again) == (b"b\nc\n", 4, False)


CLIENT = """
import asyncio, sys
from warmshell.attached import Attached
from detach.place import FarPlace, Place
async def main():
    async with Attached(FarPlace(Place(sys.argv[1])), sys.argv[2]) as client:
        async for end in client.results():
            print(end.command.text, end.again, flush=True)
            if sys.argv[3] == end.command.text:
                await asyncio.sleep(1000)
asyncio.run(main())
"""


def client_process(tmp_path, session, until):
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    words = [sys.executable, "-c", CLIENT, str(tmp_path), session, until]
    return subprocess.Popen(words, stdout=subprocess.PIPE, env=env)


async def test_a_client_that_is_killed_before_it_was_done_with_a_result(place, tmp_path):
    """It was given three results and is killed with the third in its hands: only that one comes again, and says so."""
    first = await place.session(lease=None)
    lanes = [await FarPlace.lane_of(first) for _ in range(4)]
    first.hold()
    used = first.count
    for number, lane in enumerate(lanes):
        command = Command(f"true {number}; while ! test -e {tmp_path}/{number}; do sleep 0.01; done")
        lane.begin(command, lane.body(command)).done.add_done_callback(lambda done: done.exception())
    await first.leave(used)
    session = first.detach_options.session
    texts = {}
    for number in range(3):
        (tmp_path / str(number)).touch()
        await running(place, finished=number + 1)
    process = client_process(tmp_path, session, f"true 2; while ! test -e {tmp_path}/2; do sleep 0.01; done")
    try:
        for _ in range(3):
            line = (await asyncio.to_thread(process.stdout.readline)).decode()
            texts[line[5]] = line.rstrip().endswith("True")
        assert texts == {"0": False, "1": False, "2": False}
        await running(place, finished=1)  # it asked for the third, and so has said that it was done with the others
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    (tmp_path / "3").touch()
    async with place.attach(session) as client:
        ends = {end.command.text[5]: end.again async for end in client.results()}
    assert ends == {"2": True, "3": False}


async def test_the_first_client_gets_each_result_once_however_often_it_is_cut(place, tmp_path):
    """…and who comes after kill -9 of it gets what it had not been given."""
    os.mkfifo(tmp_path / "go")
    node = Location(FarPlace(place, lease=None))
    await node.__aenter__()
    assert (await node.run("echo 1")).stdout == b"1\n"
    place.cut()
    assert (await node.run("echo 2")).stdout == b"2\n"
    waiting = asyncio.ensure_future(node.run(f"echo 3; : >{tmp_path}/up; read x <{tmp_path}/go; exit 7"))
    await eventually((tmp_path / "up").exists)
    session = node.place.session.detach_options.session
    await running(place, running=1)
    async with place.attach(session) as client:
        with pytest.raises(ShellLost, match="another client has taken the session over") as lost:
            await waiting
        assert lost.value.started == "yes"
        await asyncio.to_thread((tmp_path / "go").write_text, "\n")
        *earlier, command = client.commands
        _, _, (*before, end) = await outputs(client)
    assert (end.result.returncode, end.again) == (7, False)
    assert command.text.startswith("echo 3")
    # What the first client had been given comes again, and says so, if it was cut off before it could acknowledge it.
    assert all(each.again for each in before)
    assert [each.text for each in earlier] in ([], ["echo 2"])
    await node.aclose()


async def test_the_client_of_before_is_told_and_does_not_take_it_back(place):
    session = await left(place, "echo; sleep 1000")
    async with place.attach(session) as first:
        events = first.pieces()
        await anext(events)
        async with place.attach(session) as second:
            with pytest.raises(ConnectError, match="another client has taken the session over"):
                await anext(events)
            (info,) = await place.sessions()
            assert (info.attached, info.running) == (True, 1)
            await second.end()
    assert await place.sessions() == []


async def test_a_client_of_an_epoch_that_is_over_is_refused_when_it_comes_back(place):
    first = await place.session(lease=None)
    place.down = True
    place.cut()
    place.down = False
    session = first.detach_options.session
    second = await place.attached(session)
    await eventually(lambda: first.lost or second.lost)
    assert second.lost is None
    assert "another client" in first.lost
    await first.aclose()
    await second.aclose()


# -- strange visitors ---------------------------------------------------------------------------------------------


def knock(place, session, data):
    """Hand two pipes over as a relay does, and say this; what the link answers."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(place.home / ".cache/warmshell" / session / "s"))
    ours, theirs = socket.socketpair()
    socket.send_fds(connection, [b"a"], [theirs.fileno(), theirs.fileno()])
    theirs.close()
    ours.sendall(data)
    ours.shutdown(socket.SHUT_WR)
    said = b""
    while piece := ours.recv(65536):
        said += piece
    ours.close()
    connection.close()
    return said


async def test_a_line_that_is_cut_or_says_nonsense_harms_nothing(place):
    session = await left(place, "echo kept; sleep 1000")
    await kept(place)
    good = frames.pack(frames.ATTACH, 0, json.dumps({"session": session, "received": None, "epoch": None}).encode())
    for size in range(0, len(good), 7):
        assert await asyncio.to_thread(knock, place, session, good[:size]) == b""
    strange = [
        b"{", b"[]", b"1", b'{"session": "other"}', b'{"leave": true, "used": 0}',
        json.dumps({"session": session, "received": 10**9, "epoch": 1}).encode(),
        json.dumps({"session": session, "received": None, "epoch": 99}).encode(),
    ]  # fmt: skip
    for text in strange:
        said = await asyncio.to_thread(knock, place, session, frames.pack(frames.ATTACH, 0, text))
        assert b'"error"' in said, text
    for data in (frames.pack(frames.RUN, 1, b"x"), b"\xff" * 40, frames.pack(frames.ACKNOWLEDGE, 0, b"1")):
        assert b'"error"' in await asyncio.to_thread(knock, place, session, data)
    async with place.attach(session) as client:
        assert (await anext(client.pieces())).data == b"kept\n"
        await client.end()


async def kept(place):
    """Return when something is kept there."""
    while not (await place.sessions())[0].spooled:
        pass


async def test_no_such_session(place):
    with pytest.raises(Gone, match="never was"):
        async with place.attach("abcdefabcdef"):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
async def test_another_user_is_refused(place, tmp_path):
    """By the directory, and where somebody opened that, by the link, which asks the kernel who it is."""
    session = await left(place, "sleep 1000")
    directory = tmp_path / ".cache/warmshell" / session
    program = (
        "import os, socket, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "try:\n s.connect(sys.argv[1]); s.sendall(b'?'); print(len(s.recv(100)))\n"
        "except OSError as e: print(type(e).__name__)"
    )

    def try_it():
        return subprocess.run(
            [sys.executable, "-c", program, str(directory / "s")], capture_output=True, text=True, check=True
        ).stdout.strip()  # fmt: skip

    for path in (*tmp_path.parents, tmp_path, tmp_path / ".cache"):
        if path.stat().st_uid == 0 and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    assert (directory.stat().st_mode & 0o777, directory.parent.stat().st_mode & 0o777) == (0o700, 0o700)
    assert await asyncio.to_thread(try_it) == "PermissionError"
    for path in (directory.parent, directory, directory / "s"):
        path.chmod(0o777)
    assert await asyncio.to_thread(try_it) in ("0", "BrokenPipeError", "ConnectionResetError")
    assert await place.sessions() == []  # nor does a client go where others may write
    for path in (directory.parent, directory):
        path.chmod(0o700)
    async with place.attach(session) as client:
        await client.end()


# -- the end ------------------------------------------------------------------------------------------------------


async def test_directories_of_dead_sessions_are_swept_and_no_others(tmp_path):
    def made(name, **note):
        (tmp_path / name).mkdir()
        if note:
            (tmp_path / name / "info.json").write_text(json.dumps({"host": os.uname().nodename, **note}))

    made("deadbeef", pid=os.getpid(), started=1)
    made("deadbee2", pid=2**22 + 5, started=1)
    made("foreign1", pid=1, started=1, host="elsewhere")
    made("beingmade")
    for name in ("forgotten", "of-others", "others00"):
        made(name)
    (tmp_path / "others00" / "theirs").touch()
    for name in ("forgotten", "of-others", "others00"):
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / "a-file").touch()
    (tmp_path / "nonsense").mkdir()
    (tmp_path / "nonsense" / "info.json").write_text("{")
    await asyncio.to_thread(sweep, str(tmp_path))
    left = ["a-file", "beingmade", "foreign1", "nonsense", "of-others", "others00"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left


async def test_a_link_that_was_killed_leaves_no_process_and_its_directory_goes_with_the_next_session(place, tmp_path):
    session = await left(place, f"echo $$ >{tmp_path}/pid; exec sleep 1000")
    info = await running(place, running=1)
    await eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    os.kill(info.pid, signal.SIGKILL)
    pid = int((tmp_path / "pid").read_text())
    await eventually(lambda: not Path(f"/proc/{pid}").exists())
    assert await place.sessions() == []
    with pytest.raises(Gone):
        async with place.attach(session):
            pass
    assert place.directories == [session]
    async with Location(FarPlace(place)):
        assert session not in place.directories


async def test_a_server_that_is_killed_while_nobody_is_there(place, tmp_path):
    """What it had given out is kept; what ran is lost, and that is told too."""
    session = await left(place, f"echo out; echo $PPID $$ >{tmp_path}/pids; sleep 1000")
    await kept(place)
    await eventually(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().strip())
    server = int((tmp_path / "pids").read_text().split()[0])
    os.kill(server, signal.SIGKILL)
    await running(place, finished=1)
    async with place.attach(session) as client:
        out, _, (end,) = await outputs(client)
    assert out == b"out\n"
    assert end.result is None
    assert isinstance(end.error, ShellLost)
    assert end.error.started == "yes"
    assert await place.sessions() == []


async def test_the_spool_is_full_the_producer_waits_and_goes_on_when_it_is_read(place, tmp_path):
    bound, total = 1_000_000, 40_000_000
    program = (
        "import os, sys\n"
        "done = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
        "for block in range(int(sys.argv[2])):\n"
        "    os.write(1, b'%07d\\n' % block * 1250)\n"
        "    os.pwrite(done, b'%07d' % block, 0)\n"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "done"), str(total // 10_000)]
    session = await left(place, words, spool=bound)

    def written():
        return (int((tmp_path / "done").read_text() or 0) + 1) * 10_000 if (tmp_path / "done").exists() else 0

    while (await place.sessions())[0].spooled < bound:
        pass
    await eventually(lambda: blocked_in_write(tmp_path / "done"), 20)
    assert bound - 200_000 < written() < bound + 4_000_000 < total
    assert (await place.sessions())[0].spooled < bound + 500_000
    async with place.attach(session) as client:
        out, _, (end,) = await outputs(client)
    assert end.result.returncode == 0
    assert out == b"".join(b"%07d\n" % block * 1250 for block in range(total // 10_000))
    assert place.directories == []


def blocked_in_write(path):
    """Whether the process that has this file open sleeps in writing to its standard output."""
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(entry) != str(path):
                continue
            call = entry.parents[1].joinpath("syscall").read_text().split()
        except OSError:
            continue
        return call[:2] == ["1", "0x1"]  # write, to descriptor 1
    return False


async def test_a_lease_without_end_and_one_that_runs_out(place, tmp_path):
    script = f"echo $$ >{tmp_path}/%s; setsid sleep 1000 & exec sleep 1000"
    forever = await left(place, script % "forever")
    async with Location(FarPlace(place, lease=0.5)) as node:
        short = await node.detach(script % "short")
    await eventually(lambda: place.directories == [forever], 20)
    assert short != forever
    (info,) = await place.sessions()
    assert (info.id, info.left, info.running) == (forever, None, 1)
    for name, alive in (("short", False), ("forever", True)):
        pid = int((tmp_path / name).read_text())
        assert Path(f"/proc/{pid}").exists() is alive
    async with place.attach(forever) as client:
        await client.end()


async def test_closing_while_it_cannot_be_reached_is_bounded_and_says_what_is_left(place, tmp_path, monkeypatch):
    monkeypatch.setattr("warmshell.shell.detachable._END_SECONDS", 1.0)
    node = Location(FarPlace(place, lease=None))
    await node.__aenter__()
    running_there = asyncio.ensure_future(node.run(f": >{tmp_path}/up; sleep 1000"))
    await eventually((tmp_path / "up").exists)
    place.down = True
    place.cut()
    with pytest.warns(SessionLeft, match="goes on until somebody ends it"):
        async with asyncio.timeout(20):
            await node.aclose()
    with pytest.raises(ShellLost):
        await running_there
    place.down = False
    (info,) = await place.sessions()
    async with place.attach(info.id) as client:
        await client.end()


async def test_what_was_never_sent_has_certainly_not_started(place, tmp_path):
    session = await place.session(lease=0.5)
    lanes = [await FarPlace.lane_of(session) for _ in range(2)]
    commands = [Command(f"echo >{tmp_path}/{number}; exec sleep 1000") for number in range(2)]
    there = lanes[0].begin(commands[0], lanes[0].body(commands[0]))
    await there.beginning()
    place.down = True
    place.cut()
    await eventually(lambda: not session.connected)
    never = lanes[1].begin(commands[1], lanes[1].body(commands[1]))
    with pytest.raises(ShellLost) as lost:
        await never.done
    assert lost.value.started == "no"
    with pytest.raises(ShellLost) as lost:
        await there.done
    assert lost.value.started == "yes"
    assert not (tmp_path / "1").exists()
    await session.aclose()


async def test_a_client_that_only_waits_fills_no_spool(place, tmp_path, monkeypatch):
    """Each sign of life has an answer, which is kept until it is acknowledged."""
    monkeypatch.setattr("warmshell.shell.detachable._BEAT", 0.001)
    os.mkfifo(tmp_path / "go")
    session = await left(place, f"echo a; read x <{tmp_path}/go; echo b", spool=65536)
    async with place.attach(session) as client:
        ends = asyncio.ensure_future(anext(client.results()))
        await eventually(lambda: client._session.count > 1500, 60)
        await asyncio.to_thread((tmp_path / "go").write_text, "\n")
        assert (await ends).result.stdout == b"a\nb\n"
        client.taken()
    assert place.directories == []


async def test_leaving_that_is_cancelled_leaves_nothing(place, tmp_path):
    async with Location(FarPlace(place, lease=None)) as node:
        there = asyncio.ensure_future(node.run(f"echo $$ >{tmp_path}/pid; exec sleep 1000"))
        await eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
        (info,) = await place.sessions()
        os.kill(info.pid, signal.SIGSTOP)
        leaving = asyncio.ensure_future(node.detach())
        await eventually(lambda: node.place.session._parting is not None)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        os.kill(info.pid, signal.SIGCONT)
    with pytest.raises(ShellLost):
        await there
    assert place.directories == []
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


async def test_a_session_does_not_take_the_place_of_another_with_its_id(place):
    session = await left(place, "echo kept; exec sleep 1000")
    await kept(place)
    token = new_token()
    line = await place.reopen(pack.start_line(token))
    other = DetachableSession(line, token, "place", reopen=place.reopen, detach=Detach(session=session))
    with pytest.raises(ConnectError, match="cannot be made detachable"):
        await other.start(pack.archive(), token="0" * 32)
    await other.abandon()
    async with place.attach(session) as client:
        assert (await anext(client.pieces())).data == b"kept\n"
        await client.end()


async def test_a_lease_that_begins_with_leaving(place, tmp_path):
    """Until it is left it has a short one, so that a client that is killed before leaves nothing."""
    node = Location(FarPlace(place, lease=1.0))
    async with node:
        session = await node.detach("exec sleep 1000", lease=float("inf"))
    (info,) = await place.sessions()
    assert (info.id, info.lease, info.left) == (session, None, None)
    async with place.attach(session) as client:
        await client.end()
    for wrong in (0, -1, 1e12, float("nan")):
        async with Location(FarPlace(place, lease=1.0)) as node:
            with pytest.raises((ConnectError, LocationError)):
                await node.detach(lease=wrong)
