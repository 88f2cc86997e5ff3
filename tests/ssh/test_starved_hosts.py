"""Hosts that have hardly any space or descriptors left: what can be done is done, and nothing is lost in silence."""

from __future__ import annotations

import asyncio

import pytest

from warmshell.errors import ConnectError

MUCH = b"x" * 3_000_000


@pytest.fixture
def full(lab):
    """A host without space for temporary files."""
    return lab.host("full", FULL_TMP="1")


async def test_no_space_for_temporary_files(lab, full, server):
    async with lab.connect(full, server=server, shells=4) as node:
        assert (await node.run("echo x >/tmp/x")).returncode != 0
        assert (await node.run(["wc", "-c"], stdin=MUCH)).stdout == b"3000000\n"
        assert len((await node.run(["head", "-c", "3000000", "/dev/zero"])).stdout) == 3_000_000
        async with node.open(["cat"]) as process:
            await process.stdin.send(b"abc")
            await process.stdin.aclose()
            assert await process.stdout.read() == b"abc"
        async with node.shell() as shell:
            await shell.run("x=5")
            async with shell.subshell() as child:
                assert (await child.run("echo $x")).stdout == b"5\n"


async def test_no_space_where_input_takes_the_way_over_a_file(lab, full):
    """In a shell with a state, framed by markers: the command is not run with a part of its input, or none."""
    async with lab.connect(full, server=False) as node, node.shell() as shell:
        for size in (1, 100_000):
            result = await shell.run("echo ran; cat", stdin=b"x" * size)
            assert (result.ok, result.stdout, result.stderr != b"") == (False, b"", True)
        assert (await shell.run("echo on")).stdout == b"on\n"


async def test_no_space_and_a_session_that_outlives_its_connection(lab, full):
    async with lab.connect(full, detach=20) as node:
        assert (await node.run(["wc", "-c"], stdin=MUCH)).stdout == b"3000000\n"


async def test_few_descriptors(lab, server):
    """There are fewer shells than wanted, which serve all; the others' commands wait for them."""
    few = lab.host("few", FILES="64")
    async with lab.connect(few, server=server, shells=32 if server else 6) as node:
        assert (await node.run("ulimit -n")).stdout == b"64\n"
        async with node.open(["cat"]) as process:
            await process.stdin.aclose()
            assert await process.wait() == 0
        async with node.shell() as shell:
            assert (await shell.run("cat", stdin=b"in")).stdout == b"in"
        results = await asyncio.gather(*[node.run(f"sleep 0.05; echo {n}; exit {n}") for n in range(32)])
        assert [(r.returncode, r.text) for r in results] == [(n, f"{n}\n") for n in range(32)]
        if server:  # but none is taken from what the server itself needs
            shells = []
            with pytest.raises(ConnectError, match="open files"):
                while len(shells) < 32:
                    shells.append(await node.lane("sh"))
            assert (await node.run("echo on")).stdout == b"on\n"
            for shell in shells:
                await shell.aclose()
