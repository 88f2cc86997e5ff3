"""Connections that are lost: an operation says so, the next one has a new connection."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

import warmshell


@pytest.fixture(params=["ssh", "ssh-scripts"])
def kind(request):
    return request.param


async def test_a_lost_connection_is_told_and_the_next_operation_has_another(lab, kind, tmp_path):
    (tmp_path / "x").write_bytes(bytes(50_000_000))
    path = os.fsencode(tmp_path / "x")
    async with lab.connect(server=kind == "ssh") as node:
        reading = node.files.stream(path)
        assert await anext(reading)
        for pid in lab.connections("hostA"):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises((ConnectionError, warmshell.FileError)):
            async for _ in reading:
                pass
        assert await node.files.exists(path)
        assert await node.path(path).size() == 50_000_000


async def test_a_session_that_outlives_its_connection_loses_nothing(lab, tmp_path):
    async with lab.connect(detach=60) as node:
        names = [node.path(os.fsencode(tmp_path / str(number))) for number in range(50)]
        writing = [asyncio.ensure_future(name.write_bytes(b"data")) for name in names]
        await asyncio.sleep(0)
        for pid in lab.connections("hostA"):
            os.kill(pid, signal.SIGKILL)
        await asyncio.gather(*writing)
        assert [await name.read_bytes() for name in names] == [b"data"] * 50
    assert len(os.listdir(tmp_path)) == 50
