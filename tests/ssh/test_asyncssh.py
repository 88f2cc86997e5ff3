"""SSH by asyncssh: the same host, the same suite, without the ssh client."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import warmshell
from ssh.lab import Lab
from ssh.test_conformance import OnChannels, Ssh, SshPart
from warmshell.connector.openssh import GCM
from warmshell.errors import AuthenticationError, ConnectError, HostKeyError, LocationError, ShellLost
from warmshell.testing import eventually
from warmshell.testing.accounts import Terminals
from warmshell.testing.exact_bytes import ExactBytes
from warmshell.testing.processes import Processes
from warmshell.testing.stdin import Stdin
from warmshell.testing.timeouts import Timeouts

asyncssh = pytest.importorskip("asyncssh")


class Asyncssh(SshPart):
    def connect(self, **options: Any) -> warmshell.Location:
        return super().connect(transport="asyncssh", **options)


class Part(Asyncssh, ExactBytes, Stdin, Processes, Timeouts):
    pass


class Whole(Asyncssh, Ssh):
    pass


# What lies above the streams is the same as over OpenSSH, whose tests need not all be done twice each time.
class TestAsyncsshServer(Whole if os.environ.get("WARMSHELL_WHOLE") else Part):
    pass


class TestAsyncsshMarkers(OnChannels, Asyncssh, ExactBytes, Stdin, Processes, Terminals):
    server = False
    late_output_is_apart = False


def over(lab: Lab, where: str = "hostA", **options: Any) -> warmshell.Location:
    return lab.connect(where, **{"transport": "asyncssh", **options})


async def host(node: warmshell.Location) -> str:
    return (await node.run("echo $SSHLAB_HOST")).check().text.strip()


async def refusal(lab: Lab, kind: type[ConnectError], where: str = "hostA", **options: Any) -> ConnectError:
    with pytest.raises(kind) as caught:
        async with over(lab, where, **options) as node:
            await host(node)
    assert caught.value.__cause__ is not None
    return caught.value


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def port_of(lab: Lab, name: str) -> int:
    return int((lab.home / "hosts.d" / name).read_text().rsplit("Port ", 1)[1].split()[0])


# -- which transport --------------------------------------------------------------------------------------------------


async def test_it_is_used_where_there_is_no_client(lab, tmp_path, monkeypatch):
    for name in ("sh", "env"):
        (tmp_path / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("ssh") is None
    async with lab.connect() as node:
        assert await host(node) == "hostA"
    with pytest.raises(ConnectError, match="no ssh client"):
        async with lab.connect(transport="openssh"):
            pass
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()


async def test_the_client_stays_the_usual_one(lab):
    script = (
        "import asyncio, sys, warmshell\n"
        "async def main():\n"
        "    async with warmshell.connect('ssh://hostA', config=sys.argv[1]) as node: await node.run('true')\n"
        "    assert 'asyncssh' not in sys.modules\n"
        "    sys.modules['asyncssh'] = None\n"  # what an import of something that is not installed meets
        "    async with warmshell.connect('ssh://hostA', config=sys.argv[1], transport='asyncssh'): pass\n"
        "asyncio.run(main())\n"
    )
    python = await asyncio.create_subprocess_exec(sys.executable, "-c", script, lab.config, stderr=subprocess.PIPE)
    _, said = await python.communicate()
    assert b"ConnectError: asyncssh is not" in said
    assert b"warmshell[asyncssh]" in said


def test_an_unknown_transport_is_refused():
    with pytest.raises(LocationError, match="transport= is"):
        warmshell.connect("ssh://hostA?transport=telnet")


# -- getting in -------------------------------------------------------------------------------------------------------


async def test_an_account_that_has_only_a_password(lab):
    async with over(lab, username="warm-password", passwordFile=str(lab.home / "password")) as node:
        assert (await node.run(["id", "-un"])).text == "warm-password\n"


async def test_a_wrong_password_and_none(lab, tmp_path):
    wrong = written(tmp_path / "wrong", "not it\n")
    error = await refusal(lab, AuthenticationError, username="warm-password", passwordFile=wrong)
    assert "not it" not in str(error)
    await refusal(lab, AuthenticationError, username="warm-password")
    (tmp_path / "wrong").unlink()


async def test_a_key_with_a_passphrase(lab, tmp_path):
    key = str(lab.home / "locked-key")
    right, wrong = written(tmp_path / "right", "a passphrase\n"), written(tmp_path / "wrong", "another\n")
    async with over(lab, sshKey=key, sshKeyPassphraseFile=right) as node:
        assert await host(node) == "hostA"
    error = await refusal(lab, AuthenticationError, sshKey=key, sshKeyPassphraseFile=wrong)
    assert "passphrase of the private key is wrong" in str(error)
    await refusal(lab, AuthenticationError, sshKey=key)
    for path in (right, wrong):
        os.unlink(path)


async def test_a_key_that_the_host_does_not_know(lab):
    error = await refusal(lab, AuthenticationError, sshKey=str(lab.home / "strange-key"))
    assert "accepts none of the keys" in str(error)
    with pytest.raises(AuthenticationError, match="no private key"):
        async with over(lab, sshKey="/nowhere/key"):
            pass


@pytest.mark.parametrize("files", ["none", "/nowhere/known_hosts"])
async def test_an_unknown_host_is_refused_unless_told_otherwise(lab, tmp_path, files):
    text = Path(lab.config).read_text()
    known = f"UserKnownHostsFile {lab.home}/known_hosts"
    assert known in text
    config = written(tmp_path / "config", text.replace(known, f"UserKnownHostsFile {files}"))
    error = await refusal(lab, HostKeyError, config=config)
    assert "is not known" in str(error)
    await refusal(lab, HostKeyError, "hostB-via-A", config=config)
    async with over(lab, config=config, checkHostKey=False) as node:
        assert await host(node) == "hostA"
    (tmp_path / "config").unlink()


async def test_a_key_that_changed_is_refused(lab, tmp_path):
    known = (lab.home / "known_hosts").read_text().splitlines()
    first, second = (line.split(" ", 1) for line in known[:2])
    swapped = written(tmp_path / "known", f"{first[0]} {second[1]}\n")
    text = Path(lab.config).read_text().replace(f"{lab.home}/known_hosts", swapped)
    config = written(tmp_path / "config", text)
    error = await refusal(lab, HostKeyError, config=config)
    assert "not the one that is known" in str(error)
    for path in (swapped, config):
        os.unlink(path)


async def test_why_there_is_no_connection(lab):
    with socket.create_server((lab.address, 0)) as silent:
        where = f"{lab.address}:{silent.getsockname()[1]}"
        error = await refusal(lab, ConnectError, where, connectTimeout=0.3, retries=0)
        assert "does not answer in time" in str(error)
    error = await refusal(lab, ConnectError, where)
    assert "refused" in str(error)
    error = await refusal(lab, ConnectError, "no-such-host.invalid")
    assert "no host has this name" in str(error)
    error = await refusal(lab, ConnectError, config="/nowhere/config")
    assert "configuration cannot be read" in str(error)


async def test_through_another_host(lab):
    async with over(lab, "hostB-via-A") as node:
        assert await host(node) == "hostB"
    before = len(lab.connections("hostA"))
    async with over(lab, "hostB", tunnel="root@hostA") as node:
        assert await host(node) == "hostB"
        assert len(lab.connections("hostA")) == before + 1
    error = await refusal(lab, AuthenticationError, "hostB", tunnel="warm-password@hostA")
    assert "hostA: " in str(error)
    async with over(lab, "hostB", tunnel=f"{lab.address}:{port_of(lab, 'hostA')},hostB") as node:
        assert await host(node) == "hostB"


async def test_the_cheapest_cipher_unless_the_configuration_chooses(lab, tmp_path):
    async def cipher(**options: Any) -> str:
        async with over(lab, **options) as node:
            await node.run(["true"])
            [connection] = node._place._link._connections
            return connection.ssh.get_extra_info("send_cipher")

    assert await cipher() == GCM
    config = written(tmp_path / "config", f"Ciphers aes256-ctr\n{Path(lab.config).read_text()}")
    assert await cipher(config=config) == "aes256-ctr"
    os.unlink(config)


# -- sessions ---------------------------------------------------------------------------------------------------------


async def channel(node: warmshell.Location, line: bytes) -> Any:
    """A process of the transport itself, whose reader has been given a line."""
    opened = await node._place._link.channel()
    await opened.process.stdin.send(line + b"\n")
    return opened


async def test_bytes_are_exact_and_standard_input_ends_by_itself(lab):
    data = bytes(range(256)) * 8192
    async with over(lab) as node:
        opened = await channel(node, b"exec cat")

        async def send() -> None:
            await opened.process.stdin.send(data)
            await opened.process.stdin.aclose()

        read, _ = await asyncio.gather(opened.process.stdout.read(), send())
        assert read == data
        assert await opened.process.wait() == 0
        with pytest.raises(warmshell.ClosedError):
            await opened.process.stdin.send(b"more")
        await opened.aclose()


@pytest.mark.parametrize(("line", "status"), [(b"exit 7", 7), (b"kill -KILL $$", 137), (b"kill -TERM $$", 143)])
async def test_how_a_session_ended(lab, line, status):
    async with over(lab) as node:
        opened = await channel(node, line)
        assert await opened.process.wait() == status
        with pytest.raises(BrokenPipeError):
            await opened.process.stdin.send(b"more")
        await opened.aclose()


async def test_the_far_end_waits_for_a_slow_reader(lab, tmp_path):
    count = tmp_path / "count"
    async with over(lab) as node:
        opened = await channel(node, b"head -c 20000000 /dev/zero | tee %s | cat; exit 3" % os.fsencode(count))
        await opened.process.stdout.receive(1)
        size = -1
        while size != (size := count.stat().st_size):  # what is on its way comes to rest
            await node.run(["sleep", "0.3"])
        assert size < 10_000_000
        assert opened.process.stdout.size < 1_000_000
        sizes = [0]
        left = 20_000_000 - 1
        while data := await opened.process.stdout.receive(16384):  # the quicker end must not get ahead
            left -= len(data)
            held = sum(len(data) for data, _ in opened.process.stdin._session.channel._recv_buf)
            sizes.append(held + opened.process.stdout.size)
            await asyncio.sleep(0)
        assert left == 0
        assert max(sizes) < 6_000_000
        assert await opened.process.wait() == 3
        await opened.aclose()
    count.unlink()


async def test_the_near_end_waits_for_a_slow_program(lab):
    async with over(lab) as node:
        opened = await channel(node, b"read -r go; exec wc -c")
        task = asyncio.ensure_future(opened.process.stdin.send(b"\n" + b"x" * 20_000_000))
        await task
        await opened.process.stdin.aclose()
        assert int((await opened.process.stdout.read()).split()[-1]) == 20_000_000
        await opened.aclose()


async def test_much_is_not_taken_for_a_program_that_does_not_read(lab):
    async with over(lab) as node:
        opened = await channel(node, b"exec sleep 60")
        sending = asyncio.ensure_future(opened.process.stdin.send(b"x" * 20_000_000))
        done, _ = await asyncio.wait([sending], timeout=1.0)
        assert not done
        await opened.process.kill()
        with pytest.raises(BrokenPipeError):
            await sending
        assert await opened.process.wait() == 137
        await opened.aclose()
        os.kill(opened.pid, signal.SIGKILL)


async def test_more_at_once_than_a_connection_takes(lab, server):
    name = lab.host("hostOne", "MaxSessions 1")
    async with over(lab, name, server=server, shells=4) as node:
        opened = [node.open(["echo", str(n)]) for n in range(5)]

        async def read(process: Any) -> bytes:
            async with process as running:
                return await running.stdout.read()

        assert await asyncio.gather(*map(read, opened)) == [b"%d\n" % n for n in range(5)]


async def test_a_host_that_turns_connections_away_is_asked_again(lab):
    name = lab.host("hostBusy", "MaxSessions 1", "MaxStartups 1")
    async with over(lab, name, server=False, shells=6, retries=20) as node:
        results = await asyncio.gather(*[node.run(["echo", str(n)]) for n in range(6)])
    assert [r.text for r in results] == [f"{n}\n" for n in range(6)]


async def test_a_cancelled_opening_leaves_no_session(lab):
    name = lab.host("hostTwo", "MaxSessions 2")
    async with over(lab, name) as node:
        link = node._place._link
        for turns in range(12):
            opening = asyncio.ensure_future(link.channel())
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            await asyncio.wait([opening])
            if not opening.cancelled():
                await opening.result().aclose()
        assert sum(c.used for c in link._connections) == 1
        async with node.open(["echo", "room"]) as process:
            assert await process.stdout.read() == b"room\n"


async def test_a_connection_that_is_lost(lab, server):
    name = lab.host("hostLost")
    async with over(lab, name, server=server) as node:
        await node.run(["true"])
        running = asyncio.ensure_future(node.run("echo begun; exec sleep 60"))
        await eventually(lambda: any("sleep 60" in words for words in lab.sessions().values()))
        for pid in lab.connections(name):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(ShellLost) as caught:
            await running
        assert caught.value.started != "no"
        assert await host(node) == name


# -- what it does otherwise --------------------------------------------------------------------------------------------


async def test_a_comment_behind_a_value_makes_the_configuration_unreadable(lab, tmp_path):
    text = Path(lab.config).read_text()
    config = written(tmp_path / "config", text.replace("IdentitiesOnly yes", "IdentitiesOnly yes # a comment"))
    async with lab.connect(config=config, transport="openssh") as node:
        assert await host(node) == "hostA"
    error = await refusal(lab, ConnectError, config=config)
    assert "cannot be read" in str(error)
    os.unlink(config)


async def test_host_keys_are_checked_whatever_the_configuration_says(lab, tmp_path):
    text = Path(lab.config).read_text().replace("StrictHostKeyChecking yes", "StrictHostKeyChecking no")
    known = f"UserKnownHostsFile {lab.home}/known_hosts"
    config = written(tmp_path / "config", text.replace(known, "UserKnownHostsFile /dev/null"))
    async with lab.connect(config=config, transport="openssh") as node:
        assert await host(node) == "hostA"
    await refusal(lab, HostKeyError, config=config)
    os.unlink(config)
