"""What every connector has from its base, shown with this machine, and with deployments made up of it."""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import DEVNULL, STDOUT
from collections.abc import Sequence
from pathlib import Path

import pytest

import warmshell
from warmshell.connector.base import Connector, Member
from warmshell.connector.local import LocalPlace
from warmshell.connector.local_connector import LocalConnector
from warmshell.errors import (
    ClosedError,
    CommandError,
    CommandTimeout,
    ConnectError,
    InputError,
    LocationError,
    OutputError,
    ProgramNotFound,
    WorkdirError,
)


class Named:
    """What a caller has for a location: any object with its name."""

    def __init__(self, name: str, service: str | None = None) -> None:
        self.name = name
        self.service = service


class Unreachable(LocalPlace):
    async def connect(self) -> None:
        raise ConnectError("nobody is there", location=self.name)


class Slow(LocalPlace):
    """One that connects when it is told to."""

    gate: asyncio.Event

    async def connect(self) -> None:
        await self.gate.wait()
        await super().connect()


class Deployment(Connector):
    """Some locations on this machine, and a life cycle that can be looked at."""

    def __init__(self, members: Sequence[Member]) -> None:
        super().__init__("test")
        self.members = list(members)
        self.calls: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.problem: Exception | None = None

    async def places(self, service: str | None = None) -> Sequence[Member]:
        return [m for m in self.members if service in (None, m.service)]

    async def bring_up(self, external: bool) -> None:
        self.calls.append(f"up {external}")
        await self.gate.wait()
        if self.problem is not None:
            raise self.problem

    async def take_down(self, external: bool) -> None:
        self.calls.append(f"down {external}")


def member(name, place=LocalPlace, **options):
    return Member(name, lambda: place(name=name), **options)


@pytest.fixture
async def local():
    async with LocalConnector() as connector:
        yield connector


# -- running -----------------------------------------------------------------------------------------------------------


async def test_words_and_scripts(local):
    result = await local.run("local", ["printf", "%s|", "a b", "*"], capture_output=True)
    assert (result.stdout, result.returncode, result.location) == (b"a b|*|", 0, "local")
    result = await local.run(Named("local"), "echo out; echo err >&2; exit 3", capture_output=True)
    assert (result.stdout, result.stderr, result.returncode) == (b"out\n", b"err\n", 3)


async def test_output_that_nobody_wants_is_thrown_away_there(local):
    result = await local.run("local", "echo out; echo err >&2; exit 4")
    assert (result.stdout, result.stderr, result.returncode) == (b"", b"", 4)


async def test_environment_directory_and_time(local, tmp_path):
    result = await local.run("local", "echo $V; pwd", {"V": "x y"}, str(tmp_path), capture_output=True)
    assert result.text == f"x y\n{tmp_path}\n"
    with pytest.raises(WorkdirError):
        await local.run("local", ["true"], workdir=str(tmp_path / "missing"))
    with pytest.raises(CommandTimeout):
        await local.run("local", ["sleep", "1000"], timeout=0.2)


@pytest.mark.parametrize("command", [["cat"], "cat"], ids=["words", "script"])
async def test_files_of_the_location_for_the_streams(local, tmp_path, command):
    (tmp_path / "a 'b").write_bytes(b"in\0put")
    result = await local.run("local", command, workdir=str(tmp_path), stdin="a 'b", stdout="o$ut", capture_output=True)
    assert (result.returncode, result.stdout) == (0, b"")
    assert (tmp_path / "o$ut").read_bytes() == b"in\0put"
    with pytest.raises(InputError):
        await local.run("local", ["touch", "ran"], workdir=str(tmp_path), stdin="-missing")
    with pytest.raises(OutputError):
        await local.run("local", ["touch", "ran"], workdir=str(tmp_path), stdout="no/such/directory")
    assert not (tmp_path / "ran").exists()


async def test_a_status_of_125_is_the_commands_own(local, tmp_path):
    (tmp_path / "in").touch()
    result = await local.run("local", "exit 125", stdin=str(tmp_path / "in"), capture_output=True)
    assert result.returncode == 125


async def test_messages_go_where_the_output_goes(local, tmp_path):
    script = "echo one; echo two >&2; echo three"
    result = await local.run("local", script, stderr=STDOUT, capture_output=True)
    assert (result.stdout, result.stderr) == (b"one\ntwo\nthree\n", b"")
    await local.run("local", script, workdir=str(tmp_path), stdout="both", stderr=STDOUT)
    assert (tmp_path / "both").read_bytes() == b"one\ntwo\nthree\n"
    result = await local.run("local", ["sh", "-c", script], stdout=DEVNULL, stdin=DEVNULL, capture_output=True)
    assert (result.stdout, result.stderr) == (b"", b"two\n")


async def test_a_missing_program_is_told_apart_also_behind_a_redirection(local):
    with pytest.raises(ProgramNotFound, match="no-such-program"):
        await local.run("local", ["no-such-program"], stderr=STDOUT)
    result = await local.run("local", ["sh", "-c", "exit 127"], stderr=STDOUT)
    assert result.returncode == 127


async def test_numbers_that_mean_nothing_are_refused(local):
    with pytest.raises(CommandError, match="stdin="):
        await local.run("local", ["true"], stdin=-1)


async def test_an_unknown_location_and_an_unknown_service(local):
    with pytest.raises(LocationError, match="nowhere"):
        await local.run("nowhere", ["true"])
    with pytest.raises(LocationError, match="no service 'big'"):
        await local.get_available_locations(service="big")


# -- shells and streams ------------------------------------------------------------------------------------------------


async def test_a_shell_is_the_same_for_all_who_ask(local):
    first, second = await asyncio.gather(local.get_shell(["sh"], "local"), local.get_shell(["sh"], Named("local")))
    assert first is second
    await first.run("x=1")
    assert (await second.run("echo $x")).text == "1\n"
    assert await local.get_shell(["bash"], "local") is not first


async def test_a_shell_that_has_ended_is_replaced_when_it_is_asked_for(local):
    shell = await local.get_shell(["sh"], "local")
    await shell.run("x=1; exit 3")
    fresh = await local.get_shell(["sh"], "local")
    assert fresh is not shell
    assert (await fresh.run("echo $x")).text == "\n"


async def test_streams(local, tmp_path):
    path = str(tmp_path / "it's")
    async with await local.get_stream_writer(["tee", path], "local") as writer:
        await writer.write(b"a\0b" * 100_000)
    async with await local.get_stream_reader(["cat", path], "local") as reader:
        assert await reader.read(5) == b"a\0ba\0"
        assert len(await reader.read()) == 300_000 - 5


# -- what is there -----------------------------------------------------------------------------------------------------


async def test_what_a_location_offers(local, tmp_path):
    wanted = str(tmp_path / "not" / "there" / "yet")
    (found,) = (await local.get_available_locations(None, wanted, "/dev/shm", str(tmp_path))).values()
    assert (found.name, found.deployment, found.local) == ("local", "local", True)
    assert found.hostname == os.uname().nodename
    assert 0 < found.cores <= os.cpu_count()
    assert found.slots == max(1, int(found.cores))
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < found.memory <= total
    disk = next(disk for disk in found.disks.values() if wanted in disk.paths)
    assert str(tmp_path) in disk.paths
    space = os.statvfs(tmp_path)
    assert disk.size == space.f_blocks * space.f_frsize
    assert found.disks["/dev/shm"].paths == ("/dev/shm",)


async def test_one_that_cannot_be_reached_is_left_out_and_delays_nobody():
    async with Deployment([member("good"), member("bad", Unreachable)]) as deployment:
        assert list(await deployment.get_available_locations()) == ["good"]
        assert "nobody is there" in str(deployment.away["bad"])
        with pytest.raises(ConnectError, match="nobody"):
            await deployment.run("bad", ["true"])
        assert (await deployment.run("good", ["echo", "x"], capture_output=True)).text == "x\n"


async def test_one_that_was_away_is_tried_again_without_waiting_for_it():
    Slow.gate = asyncio.Event()
    kind = Unreachable
    async with Deployment([member("good"), Member("late", lambda: kind(name="late"))]) as deployment:
        assert list(await deployment.get_available_locations()) == ["good"]
        kind = Slow
        assert list(await deployment.get_available_locations()) == ["good"]
        Slow.gate.set()
        assert (await deployment.run("late", ["echo", "back"], capture_output=True)).text == "back\n"
        assert list(await deployment.get_available_locations()) == ["good", "late"]


async def test_none_that_can_be_reached_is_an_error_with_all_reasons():
    async with Deployment([member("one", Unreachable), member("two", Unreachable)]) as deployment:
        for _ in range(2):
            with pytest.raises(ConnectError, match=r"one: nobody is there; two: nobody is there"):
                await deployment.get_available_locations()


async def test_locations_come_and_go():
    async with Deployment([member("one"), member("two")]) as deployment:
        two = await deployment.location("two")
        deployment.members = [member("one"), member("three")]
        assert list(await deployment.get_available_locations()) == ["one", "three"]
        with pytest.raises(ClosedError):
            await two.run(["true"])
        with pytest.raises(LocationError, match="no location 'two'"):
            await deployment.run("two", ["true"])
        assert (await deployment.run("three", ["true"])).ok


async def test_another_way_in_for_data():
    ways = []

    def way(name):
        ways.append(name)
        return LocalPlace(name=name)

    node = Member("node", lambda: way("node"), transfers=lambda: way("data"))
    async with Deployment([node]) as deployment:
        async with await deployment.get_stream_reader(["echo", "x"], "node") as reader:
            assert await reader.read() == b"x\n"
        assert ways == ["data"]
        assert (await deployment.run("node", ["true"])).location == "node"
        await (await deployment.get_shell(["sh"], "node")).run("true")
        assert ways == ["data", "node"]


# -- life cycle --------------------------------------------------------------------------------------------------------


async def test_deployed_once_whoever_asks(tmp_path):
    deployment = Deployment([member("one")])
    deployment.gate.clear()
    waiting = [asyncio.create_task(deployment.deploy(external=False)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    deployment.gate.set()
    await asyncio.gather(*waiting[1:])
    await deployment.deploy(external=False)
    await asyncio.gather(*[deployment.undeploy(external=False) for _ in range(3)])
    await deployment.undeploy(external=False)
    assert deployment.calls == ["up False", "down False"]


async def test_nothing_is_taken_down_that_was_never_up():
    deployment = Deployment([])
    await deployment.undeploy(external=False)
    assert deployment.calls == []
    with pytest.raises(ConnectError, match="not deployed"):
        await deployment.run("one", ["true"])


async def test_a_failure_reaches_everybody_who_waits_and_a_later_attempt_may_succeed():
    deployment = Deployment([member("one")])
    deployment.problem = ConnectError("the image is missing")
    outcomes = await asyncio.gather(*[deployment.deploy(external=False) for _ in range(3)], return_exceptions=True)
    assert {str(outcome) for outcome in outcomes} == {"the image is missing"}
    deployment.problem = None
    async with deployment:
        assert (await deployment.run("one", ["true"])).ok
    assert deployment.calls == ["up False", "up False", "down False"]


async def test_what_failed_half_way_is_taken_down():
    deployment = Deployment([])
    deployment.problem = ConnectError("half-way")
    with pytest.raises(ConnectError):
        async with deployment:
            pass
    assert deployment.calls == ["up False", "down False"]


async def test_undeployed_while_it_is_deployed():
    deployment = Deployment([])
    deployment.gate.clear()
    task = asyncio.create_task(deployment.deploy(external=True))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await deployment.undeploy(external=True)
    with pytest.raises(ClosedError):
        await task
    assert deployment.calls == ["up True", "down True"]


async def test_deployed_again_while_it_is_undeployed():
    deployment = Deployment([member("one")])
    await deployment.deploy(external=False)
    await deployment.run("one", ["true"])
    await asyncio.gather(deployment.undeploy(external=False), deployment.deploy(external=False))
    assert (await deployment.run("one", ["true"])).ok
    await deployment.undeploy(external=False)


async def test_undeploying_ends_what_runs_though_it_is_cancelled(tmp_path):
    deployment = Deployment([member("one")])
    await deployment.deploy(external=False)
    shell = await deployment.get_shell(["sh"], "one")
    running = asyncio.create_task(deployment.run("one", f"echo $$ >{tmp_path}/pid; sleep 1000"))
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        await asyncio.sleep(0.01)
    ending = asyncio.create_task(deployment.undeploy(external=False))
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert deployment.calls == ["up False", "down False"]
    assert isinstance((await asyncio.gather(running, return_exceptions=True))[0], Exception)
    assert not shell.alive
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


async def test_a_location_that_connects_for_ever_does_not_hold_up_undeploying():
    Slow.gate = asyncio.Event()
    deployment = Deployment([member("slow", Slow)])
    await deployment.deploy(external=False)
    waiting = asyncio.create_task(deployment.run("slow", ["true"]))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        await deployment.undeploy(external=False)
    with pytest.raises(ClosedError):
        await waiting


async def test_a_caller_that_is_cancelled_takes_the_location_from_no_other():
    Slow.gate = asyncio.Event()
    async with Deployment([member("slow", Slow)]) as deployment:
        first = asyncio.create_task(deployment.run("slow", ["true"]))
        second = asyncio.create_task(deployment.run("slow", ["true"]))
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.sleep(0)
        Slow.gate.set()
        assert (await second).ok


# -- names -------------------------------------------------------------------------------------------------------------


async def test_two_locations_of_one_machine_in_one_pool(tmp_path):
    with pytest.raises(LocationError, match="name="):
        warmshell.Pool([warmshell.connect("local:"), warmshell.connect("local:")])
    here, there = warmshell.connect("local:"), warmshell.connect("local:?name=there", cwd=str(tmp_path))
    async with here, there, warmshell.Pool([here, there]) as pool:
        result = await pool.run(["pwd"], on="there")
        assert (result.location, result.text) == ("there", f"{tmp_path}\n")
        assert (await pool.run(["true"], on="local")).location == "local"


@pytest.mark.parametrize("name", ["", 3])
def test_a_name_is_a_text(name):
    with pytest.raises(LocationError, match="name="):
        warmshell.connect("local:", name=name)
