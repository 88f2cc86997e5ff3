"""Getting in: every way, and every reason why not, named as soon as it is known."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import warmshell
from ssh.lab import Lab
from warmshell.connector.openssh import GCM
from warmshell.errors import AuthenticationError, ConnectError, HostKeyError
from warmshell.testing import eventually


async def host(node: warmshell.Location) -> str:
    return (await node.run("echo $SSHLAB_HOST")).check().text.strip()


async def refusal(lab: Lab, kind: type[ConnectError], where: str = "hostA", **options: Any) -> ConnectError:
    with pytest.raises(kind) as caught:
        async with lab.connect(where, **options):
            pass
    assert type(caught.value) is kind
    assert caught.value.location
    assert caught.value.hint
    return caught.value


def written(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def port_of(lab: Lab, name: str) -> int:
    return int((lab.home / "hosts.d" / name).read_text().rsplit("Port ", 1)[1].split()[0])


@pytest.fixture
def config(lab: Lab, tmp_path: Path) -> str:
    """A configuration that names no key."""
    text = Path(lab.config).read_text()
    kept = [line for line in text.splitlines() if "IdentityFile" not in line]
    return written(tmp_path / "config", "\n".join(kept) + f"\n  IdentityFile {tmp_path}/none\n")


# -- every way in ------------------------------------------------------------------------------------------------------


async def test_two_hosts_and_one_through_the_other(lab, server):
    async with lab.connect("hostA", server=server) as a, lab.connect("hostB-via-A", server=server) as b:
        assert (await host(a), await host(b)) == ("hostA", "hostB")
        assert a.place.framing == ("server" if server else "markers")


async def test_a_tunnel_given_as_an_option(lab):
    before = lab.log("hostA").count("Accepted")
    async with lab.connect("hostB", tunnel="hostA") as node:
        assert await host(node) == "hostB"
    assert lab.log("hostA").count("Accepted") == before + 1


async def test_user_port_and_key_of_their_own(lab, config):
    where = f"warm-dash@{lab.address}:{port_of(lab, 'hostB')}"
    async with lab.connect(where, config=config, sshKey=str(lab.home / "key")) as node:
        assert (await node.run(["id", "-un"])).text == "warm-dash\n"
        assert await host(node) == "hostB"
    async with lab.connect("hostA", username="warm-dash") as node:
        assert (await node.run(["id", "-un"])).text == "warm-dash\n"


async def test_a_password(lab):
    options = {"passwordFile": str(lab.home / "password"), "username": "warm-password"}
    async with lab.connect("hostA", **options) as node:
        assert (await node.run(["id", "-un"])).text == "warm-password\n"
        secret = (lab.home / "password").read_text()
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                assert secret.encode() not in environ.read_bytes()
                assert secret.encode() not in environ.with_name("cmdline").read_bytes()


async def test_a_key_with_a_passphrase(lab, config, tmp_path):
    phrase = written(tmp_path / "phrase", "a passphrase\n")
    key = str(lab.home / "locked-key")
    async with lab.connect("hostA", config=config, sshKey=key, sshKeyPassphraseFile=phrase) as node:
        assert await host(node) == "hostA"


async def test_unknown_hosts_only_where_that_was_said(lab, tmp_path):
    text = Path(lab.config).read_text().replace(f"{lab.home}/known_hosts", f"{tmp_path}/known")
    config = written(tmp_path / "config", text)
    async with lab.connect("hostA", config=config, checkHostKey=False) as node:
        assert await host(node) == "hostA"
    assert not (tmp_path / "known").exists()


# -- the cipher --------------------------------------------------------------------------------------------------------


async def cipher(node: warmshell.Location) -> str:
    """What the clients of this process ask for."""
    found = []
    for child in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        found += [word.partition("=")[2] for word in words if word.startswith("Ciphers=")]
    return ",".join(found)


async def test_the_cheapest_cipher_unless_the_configuration_chooses(lab, tmp_path):
    async with lab.connect() as node:
        assert (await cipher(node)).split(",")[0] == GCM
    chosen = written(tmp_path / "config", Path(lab.config).read_text() + "  Ciphers aes256-ctr\n")
    async with lab.connect(config=chosen) as node:
        assert await cipher(node) == ""
        assert await host(node) == "hostA"


# -- every reason why not ----------------------------------------------------------------------------------------------


async def test_a_key_that_the_host_does_not_take(lab, config):
    began = time.monotonic()
    error = await refusal(lab, AuthenticationError, config=config, sshKey=str(lab.home / "strange-key"))
    assert "accepts none" in str(error)
    assert time.monotonic() - began < 5  # long before any timeout
    assert isinstance(error, PermissionError)


async def test_a_key_on_the_way_that_is_not_taken(lab):
    error = await refusal(lab, AuthenticationError, "hostB", tunnel="nobody-here@hostA")
    assert "nobody-here@" in str(error)


async def test_a_key_that_is_none(lab, config, tmp_path):
    error = await refusal(lab, AuthenticationError, config=config, sshKey=written(tmp_path / "key", "nonsense\n"))
    assert "holds no key" in str(error)
    with pytest.raises(AuthenticationError, match="no private key"):
        async with lab.connect(config=config, sshKey=str(tmp_path / "missing")):
            pass


async def test_a_key_that_others_can_read(lab, config, tmp_path):
    shutil.copy(lab.home / "key", tmp_path / "key")
    (tmp_path / "key").chmod(0o644)
    error = await refusal(lab, AuthenticationError, config=config, sshKey=str(tmp_path / "key"))
    assert "may be read by others" in str(error)


async def test_a_wrong_passphrase_and_a_wrong_password(lab, config, tmp_path):
    wrong = written(tmp_path / "wrong", "wrong\n")
    key = str(lab.home / "locked-key")
    await refusal(lab, AuthenticationError, config=config, sshKey=key, sshKeyPassphraseFile=wrong)
    await refusal(lab, AuthenticationError, "warm-password@hostA", passwordFile=wrong)


async def test_no_host_gets_the_password_of_another(lab, tmp_path):
    """The host on the way asks for a password too; that of the target is not for it."""
    password = str(lab.home / "password")
    before = lab.log("hostA").count("Accepted password")
    await refusal(lab, AuthenticationError, "hostB", tunnel="warm-password@hostA", passwordFile=password)
    assert lab.log("hostA").count("Accepted password") == before


async def test_an_unknown_host(lab, tmp_path):
    text = Path(lab.config).read_text().replace(f"{lab.home}/known_hosts", "/dev/null")
    config = written(tmp_path / "config", text)
    assert "is not known" in str(await refusal(lab, HostKeyError, config=config))
    asks = written(tmp_path / "asks", text.replace("StrictHostKeyChecking yes", "StrictHostKeyChecking ask"))
    password = written(tmp_path / "password", "yes\n")
    for options in ({}, {"passwordFile": password, "sshKeyPassphraseFile": password}):
        assert "is not known" in str(await refusal(lab, HostKeyError, config=asks, **options))


async def test_a_host_with_another_key(lab, tmp_path):
    strange = (lab.home / "strange-key.pub").read_text().split()[1]
    known = (lab.home / "known_hosts").read_text().splitlines()
    forged = "".join(f"{line.split()[0]} ssh-ed25519 {strange}\n" for line in known)
    text = Path(lab.config).read_text()
    text = text.replace(f"{lab.home}/known_hosts", written(tmp_path / "known", forged))
    error = await refusal(lab, HostKeyError, config=written(tmp_path / "config", text))
    assert "not the one that is known" in str(error)


async def test_nobody_listens(lab):
    assert "was refused" in str(await refusal(lab, ConnectError, f"{lab.address}:1"))


async def test_no_such_name(lab):
    assert "no host has this name" in str(await refusal(lab, ConnectError, "no-such-host.invalid"))


async def test_a_host_that_says_nothing(lab):
    with socket.create_server((lab.address, 0)) as deaf:
        began = time.monotonic()
        error = await refusal(lab, ConnectError, f"{lab.address}:{deaf.getsockname()[1]}", connectTimeout=1)
        assert "in time" in str(error)
        assert time.monotonic() - began < 8


async def test_a_host_that_hangs_up(lab):
    """Asked again, as it may only have too many at once; given up when that has been done often enough."""
    count = 0

    def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        writer.close()

    deaf = await asyncio.start_server(hang_up, lab.address, 0)
    where = f"{lab.address}:{deaf.sockets[0].getsockname()[1]}"
    error = await refusal(lab, ConnectError, where, retries=2, retryDelay=0.01)
    assert "closed the connection" in str(error)
    assert count == 3
    deaf.close()
    await deaf.wait_closed()


async def test_a_configuration_that_cannot_be_read(lab, tmp_path):
    bad = written(tmp_path / "config", "Nonsense yes\n")
    assert "configuration cannot be read" in str(await refusal(lab, ConnectError, config=bad))


async def test_one_host_does_not_delay_another(lab):
    with socket.create_server((lab.address, 0)) as deaf:
        slow = lab.connect(f"{lab.address}:{deaf.getsockname()[1]}", connectTimeout=20)
        task = asyncio.create_task(slow.__aenter__())
        async with lab.connect("hostA") as node:
            assert await host(node) == "hostA"
            assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_cancelled_while_it_connects(lab):
    for delay in (0.0, 0.02, 0.1, 0.2, 0.3):
        task = asyncio.create_task(lab.connect("hostA").__aenter__())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(task), delay)
        task.cancel()
        done = await asyncio.gather(task, return_exceptions=True)
        if isinstance(done[0], warmshell.Location):
            await done[0].aclose()


# -- the user's own connection -----------------------------------------------------------------------------------------


@pytest.fixture
async def shared(lab: Lab, tmp_path: Path) -> AsyncIterator[str]:
    """A configuration with a connection that the user has made; it could not be made again."""
    path = f"/tmp/warm-test-{os.getpid()}"
    config = written(tmp_path / "config", Path(lab.config).read_text() + f"  ControlPath {path}\n")
    key = tmp_path / "config-without-key"
    written(key, Path(config).read_text().replace(f"{lab.home}/key", "/nowhere"))
    user = subprocess.Popen(["ssh", "-F", config, "-M", "-N", "-T", "hostA"], stdin=subprocess.DEVNULL)
    await eventually(lambda: os.path.exists(path), 20)
    yield str(key)
    user.terminate()
    user.wait()
    Path(path).unlink(missing_ok=True)


async def test_the_users_own_connection_is_used_and_left_alone(lab, shared, server):
    before = lab.log("hostA").count("Accepted")
    async with lab.connect("hostA", config=shared, server=server, shells=4) as node:
        assert [(await node.run("echo $SSHLAB_HOST")).text for _ in range(3)] == ["hostA\n"] * 3
        async with node.open(["cat"]) as process:
            await process.stdin.aclose()
            assert await process.wait() == 0
    async with lab.connect("hostA", config=shared, server=server) as node:
        assert await host(node) == "hostA"
    assert lab.log("hostA").count("Accepted") == before


async def test_a_connection_of_the_users_that_is_gone_is_not_used(lab, tmp_path):
    path = f"/tmp/warm-test-{os.getpid()}-gone"
    config = written(tmp_path / "config", Path(lab.config).read_text() + f"  ControlPath {path}\n")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    try:
        async with lab.connect("hostA", config=config) as node:
            assert await host(node) == "hostA"
    finally:
        os.unlink(path)
