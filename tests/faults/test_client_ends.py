"""A client that is interrupted, terminated or killed, at whatever moment, leaves no process behind."""

from __future__ import annotations

import gc
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

from warmshell.command import SpillFile
from warmshell.testing import eventually_sync

sys.path.insert(0, str(Path(__file__).parent))

from client import Client

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="looks for processes through /proc")

# Every kind of use at once; each says when it is under way.
USES = {
    "warm": 'await node.run("echo $$ >>{where}/on; sleep 1000")',
    "words": 'await node.run(["sh", "-c", "echo $$ >>{where}/on; exec sleep 1000"])',
    "deaf": 'await node.run("trap \\"\\" TERM HUP INT; echo 1 >>{where}/on; while :; do sleep 1000; done")',
    "session": "await node.run(\"setsid sh -c 'echo $$ >>{where}/on; exec sleep 1000' & wait\")",
    "daemon": "await node.run(\"((setsid sh -c 'echo $$ >>{where}/on; exec sleep 1000' &) &); sleep 1000\")",
    "stopped": "await node.run(\"sh -c 'echo $$ >>{where}/on; kill -STOP $$; sleep 1000'\")",
    "left behind": "await node.run(\"sh -c 'echo $$ >>{where}/on; exec sleep 1000' &\"); await asyncio.sleep(1000)",
    "stateful": 'sh = await node.shell().__aenter__(); await sh.run("echo 1 >>{where}/on; sleep 1000")',
    "process": 'async with node.open("echo 1 >>{where}/on; sleep 1000") as p: await p.wait()',
    "terminal": 'await node.run("echo 1 >>{where}/on; sleep 1000", pty=True)',
    "stream": 'await node.run("echo 1 >>{where}/on; cat; sleep 1000", stdin=open_end())',
    "flood": 'await node.run("echo 1 >>{where}/on; while :; do echo x; done", output_limit=1000)',
}

BODY = """
async def open_end():
    yield b"x"
    await asyncio.sleep(1000)

async def use():
    async with warmshell.connect("local:?framing=FRAMING") as node:
        USE

async def main():
    if sys.argv[1:] == ["handle"]:
        task = asyncio.current_task()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await use()

asyncio.run(main())
"""


def start(use: str, framing: str, where: Path, *words: str) -> Client:
    body = BODY.replace("FRAMING", framing).replace("USE", use.format(where=where))
    return Client(body, *words)


@pytest.mark.parametrize("framing", ["pipes", "markers"])
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_client_that_is_killed_leaves_nothing(tmp_path: Path, use: str, framing: str) -> None:
    client = start(use, framing, tmp_path)
    eventually_sync((tmp_path / "on").exists, 20, "it did not begin")
    client.send(signal.SIGKILL)
    client.end()
    client.nothing_left()


@pytest.mark.parametrize("how", ["interrupted", "terminated", "terminated-and-handled"])
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_client_that_is_asked_to_end_leaves_nothing(tmp_path: Path, use: str, how: str) -> None:
    client = start(use, "pipes", tmp_path, *(["handle"] if how == "terminated-and-handled" else []))
    eventually_sync((tmp_path / "on").exists, 20, "it did not begin")
    client.send(signal.SIGINT if how == "interrupted" else signal.SIGTERM)
    client.end(within=10)
    client.nothing_left()


def test_a_client_that_is_killed_at_any_moment_leaves_nothing(tmp_path: Path) -> None:
    """At random moments of a life full of starts, commands and ends."""
    body = """
    async def one(node, number):
        await node.run(f"sleep 1000 & (setsid sleep 1000 &); echo {number}")
        await node.run(["sh", "-c", "sleep 0.01"])

    async def main():
        say("on")
        while True:
            async with warmshell.connect("local:", shells=3) as node:
                await asyncio.gather(*[one(node, number) for number in range(3)])

    asyncio.run(main())
    """
    chance = random.Random(7)
    for _ in range(8):
        client = Client(body)
        assert client.hear() == "on"
        time.sleep(chance.random() * 0.3)  # not to wait for anything: to come at a moment that nobody chose
        client.send(signal.SIGKILL)
        client.end()
        client.nothing_left()


def test_a_client_whose_guardian_was_killed_first_is_guarded_by_a_new_one(tmp_path: Path) -> None:
    if shutil.which("ps") is None:
        pytest.skip("ps is needed to find the guardian")
    body = f"""
    async def main():
        async with warmshell.connect("local:") as node:
            from warmshell.guardian import client
            os.kill(client._shared.pid, 9)
            await node.run("echo 1 >>{tmp_path}/first")
            node2 = await warmshell.connect("local:").__aenter__()
            await node2.run("echo 1 >>{tmp_path}/on; sleep 1000")

    asyncio.run(main())
    """
    client = Client(body)
    eventually_sync((tmp_path / "on").exists, 20, "it did not begin")
    client.send(signal.SIGKILL)
    client.end()
    client.nothing_left()


def test_a_client_that_exits_without_closing_leaves_nothing(tmp_path: Path) -> None:
    for ending in ("os._exit(3)", "sys.exit(3)", "raise SystemExit(3)"):
        body = f"""
        async def main():
            node = await warmshell.connect("local:").__aenter__()
            await node.run("sleep 1000 & (setsid sleep 1000 &)")
            task = asyncio.create_task(node.run("sleep 1000"))
            await node.run("true")
            {ending}

        asyncio.run(main())
        """
        client = Client(body)
        assert client.end()[0] == 3
        client.nothing_left()


def test_a_fork_of_the_client_does_not_end_what_the_client_runs(tmp_path: Path) -> None:
    body = f"""
    async def main():
        async with warmshell.connect("local:") as node:
            task = asyncio.create_task(node.run("echo 1 >>{tmp_path}/on; read x <{tmp_path}/gate; echo whole"))
            while not os.path.exists("{tmp_path}/on"):
                await asyncio.sleep(0.01)
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
            await node.run("echo >{tmp_path}/gate")
            say((await task).text.strip())

    asyncio.run(main())
    """
    os.mkfifo(tmp_path / "gate")
    client = Client(body)
    status, out, err = client.end()
    assert (status, out) == (0, "whole\n"), err
    client.nothing_left()


def test_what_spills_has_a_name_at_no_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else kill -9 at that moment leaves it behind; also the files by which Python's tempfile tries directories."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    try:
        os.close(os.open(tmp_path, os.O_TMPFILE | os.O_RDWR))
    except OSError as error:
        pytest.skip(f"this file system has no files without names: {error}")
    modified = tmp_path.stat().st_mtime_ns
    spilled = SpillFile()
    spilled.write(b"1234")
    assert spilled.read(1, 2) == b"23"
    spilled.close()
    assert tmp_path.stat().st_mtime_ns == modified  # no entry has come or gone


def test_what_spills_goes_elsewhere_where_the_directory_is_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", "/nowhere")
    spilled = SpillFile()
    spilled.write(b"1234")
    assert spilled.read(0, 9) == b"1234"
    spilled.close()


@pytest.mark.parametrize("name", ["TMPDIR", "TEMP", "TMP"])
def test_what_spills_goes_where_temporary_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    for each in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, str(tmp_path))
    spilled = SpillFile()
    assert os.path.dirname(os.readlink(f"/proc/self/fd/{spilled._fd}")) == str(tmp_path) == tempfile.gettempdir()
    spilled.close()


def test_what_cannot_spill_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No word of an attribute that is not there, from an object that was never made."""

    def none() -> int:
        raise OSError("no descriptors")

    monkeypatch.setattr("warmshell.command._unnamed_file", none)
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    with pytest.raises(OSError, match="no descriptors"):
        SpillFile()
    gc.collect()
    assert not unraisable
