"""A real sshd whose connections are killed."""

from __future__ import annotations

import asyncio
import os
import signal

from ssh.conftest import lab, ssh_lab  # noqa: F401 - fixtures
from warmshell.testing.waiting import eventually


async def test_the_connection_is_killed_while_a_command_runs(lab, tmp_path):  # noqa: F811
    os.mkfifo(tmp_path / "go")
    async with lab.connect(detach=30) as node:
        script = f"echo a; : >{tmp_path}/up; read x <{tmp_path}/go; echo $x; exit 5"
        running = asyncio.ensure_future(node.run(script))
        await eventually((tmp_path / "up").exists)
        for pid in lab.connections("hostA"):
            os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread((tmp_path / "go").write_text, "b\n")
        result = await running
        assert (result.stdout, result.returncode) == (b"a\nb\n", 5)
        assert (await node.run("echo on")).stdout == b"on\n"
