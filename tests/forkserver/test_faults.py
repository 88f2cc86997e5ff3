"""Kills at each step, many at once, hostile peers: the right status or one clear error, and never a second run."""

from __future__ import annotations

import array
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from warmshell.testing import eventually_sync as eventually

COUNTS = """
    import os, sys, time
    if __name__ == "__main__":
        with open("runs", "a") as file:
            file.write("x")
        print(os.getpid(), flush=True)
        if sys.argv[1:] == ["wait"]:
            time.sleep(1000)
        if sys.argv[1:] == ["child"]:
            os.spawnlp(os.P_WAIT, "sleep", "sleep", "1000")
"""
LOST = 125


@pytest.fixture
def tool(both_clients):
    return both_clients.tool(COUNTS)


@pytest.fixture
def site(both_clients):
    return both_clients


def runs(site) -> int:
    path = site.where / "runs"
    return path.stat().st_size if path.exists() else 0


def begun(site, tool, *words, **more):
    """A call that runs, and the number of its process."""
    process = site.start(tool, *words, **more)
    return process, int(process.stdout.readline())


def closed(process) -> bytes:
    with process.stdout, process.stderr:
        return process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_the_tool_is_killed(site, tool, number):
    for turn in (1, 2):
        process, pid = begun(site, tool, "wait")
        os.kill(pid, number)
        assert process.wait(timeout=20) == -number
        assert closed(process) == b""
        assert runs(site) == turn
    assert site.call(tool)[0] == 0


@pytest.mark.parametrize("words", ["wait", "child"])
def test_the_server_is_killed(site, tool, words):
    site.call(tool)
    process, _ = begun(site, tool, words)
    os.kill(site.only().pid, signal.SIGKILL)
    assert process.wait(timeout=20) == LOST
    assert closed(process).count(b"\n") == 1
    eventually(lambda: not site.all_pids())
    assert runs(site) == 2
    assert site.call(tool)[0] == 0


@pytest.mark.parametrize("words", ["wait", "child"])
@pytest.mark.parametrize("number", [signal.SIGKILL])
def test_the_client_is_killed(site, tool, number, words):
    site.call(tool)
    process, _ = begun(site, tool, words)
    process.send_signal(number)
    assert process.wait(timeout=20) == -number
    closed(process)
    server = site.only().pid
    eventually(lambda: site.all_pids() == [server], within=15)
    assert site.call(tool)[0] == 0
    assert site.only().pid == server


def test_the_client_is_killed_before_its_call_has_taken_over(site):
    """The fork has the handlers, the socket and the exit handlers of the server then, which is to go on."""
    hold, held = site.home.parent / "hold", site.home.parent / "held"
    (site.where / "slow.py").write_text(f"""if True:
        import os, time
        def hook():
            if os.path.exists({str(hold)!r}):
                os.setpgid(0, 0)
                os.mkdir({str(held)!r})
                time.sleep(1000)
        os.register_at_fork(after_in_child=hook)
    """)
    tool = site.tool("import slow\nprint(slow.__name__)\n")
    site.call(tool)
    server = site.only().pid
    hold.touch()
    process = site.start(tool)
    eventually(held.exists)
    process.kill()
    process.wait()
    assert closed(process) == b""  # once the fork has ended
    hold.unlink()
    assert site.call(tool)[:2] == (0, b"slow\n")
    assert site.only().pid == server


def test_client_and_server_are_killed_at_once(site, tool):
    site.call(tool)
    process, _ = begun(site, tool, "child")
    os.kill(site.only().pid, signal.SIGKILL)
    process.kill()
    process.wait()
    closed(process)
    eventually(lambda: not site.all_pids())


def test_the_client_is_killed_while_it_starts_at_any_moment(site, tool):
    for turn in range(12):
        process = site.start(tool, "wait")
        time.sleep(turn * 0.02)  # the moment of the kill, not a wait for something
        process.kill()
        process.wait()
        closed(process)
    eventually(lambda: len(site.all_pids()) <= len(site.servers()), within=30)
    before = runs(site)
    assert site.call(tool)[0] == 0
    assert runs(site) == before + 1


def test_a_stopped_server_is_not_waited_for(site, tool):
    site.call(tool)
    server = site.only().pid
    os.kill(server, signal.SIGSTOP)
    assert site.call(tool)[0] == 0
    os.kill(server, signal.SIGCONT)
    assert site.call(tool)[0] == 0
    assert runs(site) == 3


def test_the_socket_is_replaced_or_removed(site, tool):
    site.call(tool)
    (name,) = [name for name in os.listdir(site.home) if name.endswith(".sock")]
    path = site.home / name
    path.unlink()
    assert site.call(tool)[0] == 0
    first = site.only().pid
    path.unlink()
    path.write_text("no socket")
    assert site.call(tool)[0] == 0
    path.unlink(missing_ok=True)
    assert site.call(tool)[0] == 0
    assert runs(site) == 4
    assert site.only().pid != first


def test_the_directory_goes(site, tool):
    site.call(tool)
    shutil.rmtree(site.home)
    assert site.call(tool)[0] == 0
    assert runs(site) == 2


def test_a_directory_that_others_can_write_to_is_not_used(site, tool):
    site.home.chmod(0o777)
    assert site.call(tool)[0] == 0
    site.home.chmod(0o700)
    assert not site.servers()


def test_two_start_at_once(site, tool):
    both = [site.start(tool) for _ in range(6)]
    for process in both:
        assert process.communicate(timeout=60)[1] == b""
        assert process.returncode == 0
    assert runs(site) == 6
    assert site.only().calls == 6


def test_many_at_once_with_few_processes(site, tool):
    slow = site.tool("""
        import os, sys, time
        if __name__ == "__main__":
            here = len(os.listdir("alive"))
            open(f"alive/{os.getpid()}", "w").close()
            time.sleep(0.02)
            os.remove(f"alive/{os.getpid()}")
            print(here)
    """)
    (site.where / "alive").mkdir()
    site.call(slow, options="level=fork processes=5")
    batches = 3 if site.client else 1  # no more than a hundred processes at a time
    for _ in range(batches):
        batch = [site.start(slow, options="level=fork processes=5") for _ in range(50)]
        results = [process.communicate(timeout=100) for process in batch]
        assert [process.returncode for process in batch] == [0] * 50, results
        assert max(int(out) for out, _ in results) < 5
    assert site.only().calls == 1 + 50 * batches


def test_a_call_within_a_call_does_not_wait_for_itself(site):
    inner = site.where / "inner.sh"
    nested = site.tool("""
        import os, subprocess, sys
        if __name__ == "__main__":
            if len(sys.argv) > 1 and int(sys.argv[1]):
                subprocess.run(["./inner.sh", str(int(sys.argv[1]) - 1)], check=True)
            print(sys.argv[1:])
    """)
    words = " ".join(f"'{word}'" for word in site.words(nested, options="level=fork processes=1"))
    inner.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    inner.chmod(0o755)
    out = site.call(nested, "4", options="level=fork processes=1")
    assert out == (0, b"['0']\n['1']\n['2']\n['3']\n['4']\n", b"")
    assert site.only().calls == 5


def connect(site):
    (name,) = [name for name in os.listdir(site.home) if name.endswith(".sock")]
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(30)
    folder = os.open(site.home, os.O_PATH)
    try:
        link.connect(f"/proc/self/fd/{folder}/{name}")
    finally:
        os.close(folder)
    return link


def body(key: bytes, fields: bytes = b"22 0 0 0 0") -> bytes:
    return b"\0".join([key, b"tool", fields, b"A=b"])


def frame(data: bytes, kind: bytes = b"WSF1") -> bytes:
    return struct.pack("<4sI", kind, len(data)) + data


HOSTILE = {
    "nothing": (b"", 0),
    "noise": (b"GET / HTTP/1.1\r\n\r\n", 0),
    "a header only": (b"WSF1\x05\0\0\0", 0),
    "too long": (struct.pack("<4sI", b"WSF1", 2**31), 4),
    "too short": (frame(body(b"k"))[:-3], 4),
    "more than one": (frame(body(b"k")) * 2, 4),
    "no descriptors": (frame(body(b"k")), 0),
    "few descriptors": (frame(body(b"k")), 3),
    "many descriptors": (frame(body(b"k")), 60),
    "no directory": (frame(body(b"k")), -4),
    "no numbers": (frame(body(b"k", b"x y z")), 4),
    "more words than sent": (frame(body(b"k", b"22 0 0 0 99999999")), 4),
    "negative": (frame(body(b"k", b"-1 0 0 0 -1")), 4),
    "huge numbers": (frame(body(b"k", b"22 99999999999999999999999 0 0 0")), 4),
    "another key": (frame(body(b"k")), 4),
    "descriptors for statistics": (frame(b"", b"WSS1"), 4),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_peers(site, tool, what):
    site.call(tool)
    server, (data, count) = site.only().pid, HOSTILE[what]
    before = len(os.listdir(f"/proc/{server}/fd"))
    folder, null = os.open(".", os.O_RDONLY), os.open("/dev/null", os.O_RDWR)
    fds = array.array("i", [folder, *[null] * (count - 1)] if count > 0 else [null] * -count)
    with connect(site) as link:
        link.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)] if fds else [])
        link.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := link.recv(4096):
            answer += chunk
    os.close(folder)
    os.close(null)
    assert answer == b"R\n" or answer.startswith(b"R\nE ")
    assert answer.count(b"\n") <= 2
    eventually(lambda: len(os.listdir(f"/proc/{server}/fd")) == before)
    assert site.call(tool)[0] == 0
    assert site.only().pid == server
    assert runs(site) == 2


STEPS = ("connected", "half a request", "a whole request", "told the pid", "said go")


@pytest.mark.parametrize("both_clients", ["python"], indirect=True)
@pytest.mark.parametrize("step", STEPS)
def test_a_client_that_goes_at_each_step(site, tool, step):
    site.call(tool)
    (name,) = [name for name in os.listdir(site.home) if name.endswith(".sock")]
    env = [f"{key}={value}".encode() for key, value in site.env.items()]
    fields = [name[: -len(".sock")].encode(), os.fsencode(tool), b"22 0 0 0 1", b"wait", *env]
    data, reached = frame(b"\0".join(fields)), STEPS.index(step)
    server = site.only().pid
    fds = [os.open(site.where, os.O_RDONLY), *[os.open(os.devnull, os.O_RDWR)] * 3]
    with connect(site) as link:
        assert link.recv(2) == b"R\n"
        if reached >= 1:
            socket.send_fds(link, [data if reached >= 2 else data[: len(data) // 2]], fds)
        if reached >= 3:
            pid = int(link.recv(100).removeprefix(b"P "))
        if reached >= 4:
            link.send(b"G")
            eventually(lambda: runs(site) == 2)
        elif reached == 3:  # also where nobody ends it, it does not begin
            os.kill(server, signal.SIGSTOP)
            link.close()
            eventually(lambda: Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z")
            os.kill(server, signal.SIGCONT)
    os.close(fds[0])
    os.close(fds[1])
    eventually(lambda: site.only().running == 0 and site.all_pids() == [server], within=15)
    assert runs(site) == (2 if step == "said go" else 1)
    assert site.call(tool)[0] == 0
    assert site.only().pid == server


def test_a_peer_that_says_nothing_holds_up_nobody(site, tool):
    site.call(tool)
    with connect(site), connect(site):
        assert site.call(tool)[0] == 0


def test_another_user(site, tool):
    if os.geteuid():
        pytest.skip("needs root, to become somebody else")
    site.call(tool)
    site.home.chmod(0o755)
    (name,) = [name for name in os.listdir(site.home) if name.endswith(".sock")]
    (site.home / name).chmod(0o777)
    folder = os.open(site.home, os.O_PATH)
    child = os.fork()
    if not child:
        os.setresuid(65534, 65534, 65534)
        other = socket.socket(socket.AF_UNIX)
        try:
            other.connect(f"/proc/self/fd/{folder}/{name}")
            other.settimeout(20)
            other.sendall(frame(b"", b"WSS1"))
            os._exit(len(other.recv(100)))
        except OSError:
            os._exit(0)
    os.close(folder)
    assert os.waitpid(child, 0)[1] == 0
    site.home.chmod(0o700)
    with connect(site) as link:
        link.sendall(frame(b"", b"WSS1"))
        assert b"calls 1" in b"".join(iter(lambda: link.recv(100), b""))


def test_a_full_disk_where_the_servers_are(site, tool):
    words = ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=2", "x", site.home]
    if os.geteuid() or subprocess.run(words, check=False).returncode:
        pytest.skip("needs root and the right to mount")
    try:
        site.home.chmod(0o700)
        (site.home / "full").write_bytes(b"x" * 4096)
        assert site.call(tool)[0] == 0
        assert site.call(tool)[0] == 0
        assert runs(site) == 2
    finally:
        site.close()
        subprocess.run(["umount", site.home], check=True)
