"""What looks after the far end is lost while the connection lives, or takes its time with its end."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from ssh.storm import Victims
from warmshell.errors import ShellLost
from warmshell.testing import eventually


def client_of_control(node) -> int:
    """The ssh client that carries the session, or the keeper."""
    control = node.place._session or node.place._keeper
    return control._process._channel.process.pid


SCRIPTS = pytest.mark.parametrize("script", ["sleep 1000; exit 3", "trap 'exit 4' TERM; sleep 1000 & wait; exit 3"])


@SCRIPTS
async def test_what_is_ended_for_its_sake_has_no_result(lab, server, tmp_path, script):
    """An end that was brought about is not given out as one that came by itself, also on channels that live on."""
    async with lab.connect(server=server) as node:
        for number in range(3):
            task = asyncio.create_task(node.run(f": >{tmp_path}/{number}; {script}"))
            await eventually((tmp_path / f"{number}").exists, 20)
            os.kill(client_of_control(node), signal.SIGKILL)
            with pytest.raises(ShellLost):
                await task
            assert (await node.run("echo on")).stdout == b"on\n"


@SCRIPTS
async def test_nor_has_a_process_of_its_own(lab, server, tmp_path, script):
    async with lab.connect(server=server) as node, node.open(f": >{tmp_path}/on; {script}") as process:
        await eventually((tmp_path / "on").exists, 20)
        os.kill(client_of_control(node), signal.SIGKILL)
        with pytest.raises(ShellLost):
            await process.wait()


async def test_the_death_of_the_keeper_ends_what_it_looked_after(lab, tmp_path):
    """What looks after it in its turn notices that within seconds."""
    async with lab.connect(server=False) as node:
        task = asyncio.create_task(node.run(f": >{tmp_path}/on; setsid sleep 1001 & sleep 1000"))
        await eventually((tmp_path / "on").exists, 20)
        os.kill(Victims(lab, "hostA", node).keeper()[0], signal.SIGKILL)
        with pytest.raises(ShellLost):
            await asyncio.wait_for(task, 40)
        assert (await node.run("echo on")).stdout == b"on\n"


async def test_its_last_deeds_do_not_reach_what_comes_after_it(lab, server, tmp_path):
    """A lost session ends what carries its token, within seconds; meanwhile commands run in the next one."""
    os.mkfifo(tmp_path / "go")
    os.mkfifo(tmp_path / "gate")
    async with lab.connect(server=server) as node:
        victims = Victims(lab, "hostA", node)
        deaf = f"trap '' TERM; echo $$ >{tmp_path}/deaf; while :; do sleep 1000; done"
        task = asyncio.create_task(node.run(deaf))
        await eventually(lambda: (tmp_path / "deaf").exists() and (tmp_path / "deaf").read_text(), 20)
        old = {*victims.server(), *victims.guard(), *victims.keeper(), int((tmp_path / "deaf").read_text())}
        os.kill(victims.master()[0], signal.SIGKILL)
        with pytest.raises(ShellLost):
            await task
        running = asyncio.create_task(node.run(f"echo on; read x <{tmp_path}/go; echo $x; exit 3"))
        async with node.open(f"read x <{tmp_path}/gate; exit 4") as process:
            await eventually(lambda: not [pid for pid in old if Path(f"/proc/{pid}").exists()], 20)
            for name in ("go", "gate"):
                await asyncio.to_thread((tmp_path / name).write_text, "b\n")
            assert await process.wait() == 4
        result = await running
        assert (result.stdout, result.returncode) == (b"on\nb\n", 3)


async def test_lost_in_the_moment_in_which_a_shell_has_come(lab):
    async with lab.connect(shells=2) as node:
        await node.run("true")
        session = node.place._session
        ask = session.ask

        async def ask_and_lose(op, **arguments):
            answer = await ask(op, **arguments)
            session._on_end()
            return answer

        session.ask = ask_and_lose
        lane = await node.lane("sh")
        assert not lane.alive
        assert (await asyncio.wait_for(node.run("echo on"), 20)).stdout == b"on\n"
        await lane.aclose()


async def test_lost_again_and_again_nothing_is_kept_of_it(lab, server):
    async with lab.connect(server=server) as node:
        await node.run("true")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            os.kill(client_of_control(node), signal.SIGKILL)
            await eventually(lambda: _runs(node), 20)
        await eventually(lambda: len(os.listdir("/proc/self/fd")) <= before + 2, 10)


async def _runs(node) -> bool:
    try:
        return (await node.run(["echo", "x"])).text == "x\n"
    except ShellLost:
        return False
