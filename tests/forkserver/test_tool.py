"""The asyncio client."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from warmshell.coprocess.forkserver.tool import PythonTool
from warmshell.errors import NotSupported, ProgramNotFound, ShellLost
from warmshell.testing import eventually

TOOL = """
    import os, sys, time
    if __name__ == "__main__":
        print(sys.argv[1:], os.getcwd(), os.environ.get("ONE"), sys.stdin.read())
        sys.stderr.write("e" * 100000)
        sys.stdout.flush()
        if "wait" in sys.argv: open("begun", "w").close(); time.sleep(1000)
        if "kill" in sys.argv: os.kill(os.getpid(), 9)
        sys.exit(len(sys.argv))
"""


@pytest.fixture
def here(site, monkeypatch):
    monkeypatch.setenv("WARMSHELL_COPROCESS_DIR", str(site.home))
    return site


async def test_a_call(here):
    tool = PythonTool(str(here.tool(TOOL)))
    for _ in range(2):
        result = await tool.run(["a", b"\xff"], stdin=b"in" * 100000, env={**here.env, "ONE": "1"}, cwd=str(here.where))
        assert (result.returncode, result.stderr, result.warm) == (3, b"e" * 100000, True)
        assert result.stdout == f"['a', '\\udcff'] {here.where} 1 ".encode() + b"in" * 100000 + b"\n"
    assert (await tool.run(["kill"], env=here.env)).returncode == -9  # other variables: another server
    assert sorted(info.calls for info in here.servers()) == [1, 2]


async def test_many_at_once_and_cancelled(here):
    tool = PythonTool(str(here.tool(TOOL)))
    results = await asyncio.gather(*(tool.run([str(n)], env=here.env) for n in range(200)))
    assert [result.stdout.split()[0] for result in results] == [f"['{n}']".encode() for n in range(200)]
    assert here.only().calls == 200
    task = asyncio.ensure_future(tool.run(["wait"], env=here.env, cwd=str(here.where)))
    await eventually(lambda: here.only().running == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: here.only().running == 0, within=15)


async def test_a_lost_server(here):
    tool = PythonTool(str(here.tool(TOOL)))
    await tool.run(env=here.env)
    task = asyncio.ensure_future(tool.run(["wait"], env=here.env, cwd=str(here.where)))
    await eventually((here.where / "begun").exists)  # until then, another server may run it
    os.kill(here.only().pid, signal.SIGKILL)
    with pytest.raises(ShellLost) as caught:
        await task
    assert caught.value.started == "yes"
    assert (await tool.run(env=here.env)).returncode == 1


async def test_cold_where_it_cannot_be_served(here):
    tool = PythonTool(str(here.tool("print('first')\nimport json\nprint(json.dumps(1))\n")))
    assert (await tool.run(env=here.env)).stdout == b"first\n1\n"
    (here.where / "loud.py").write_text("print('loud', flush=True)\n")
    tool = PythonTool(str(here.tool("import loud\n", "other")))
    result = await tool.run(env=here.env)
    assert (result.stdout, result.warm) == (b"loud\n", False)


def test_what_is_no_tool():
    with pytest.raises(NotSupported):
        PythonTool("sh")
    with pytest.raises(ProgramNotFound):
        PythonTool("no-such-tool")
