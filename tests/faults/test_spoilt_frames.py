"""A far end whose frames are spoilt on their way: every command says that it was lost, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from warmshell import ShellLost
from warmshell.connector.command import CommandConnector
from warmshell.protocol import frames

# Leads into nothing but itself, and puts something else in the place of the first end of a command.
SPOILER = """
import os, subprocess, sys
mark, bad = map(bytes.fromhex, sys.argv[1:3])
inner = subprocess.Popen(sys.argv[3:], stdout=subprocess.PIPE)
while data := os.read(inner.stdout.fileno(), 65536):
    at = data.find(mark)
    os.write(1, data if at < 4 else data[: at - 4] + bad)
sys.exit(inner.wait())
"""
ENDED = bytes([frames.ENDED, 0, 0, 0, 1])  # the type and the subshell of a header


@pytest.mark.parametrize(
    "bad",
    [
        frames.pack(frames.ENDED, 1, b"\0\0"),
        frames.pack(frames.ENDED, 1, b"\0\0\0\1"),
        frames.pack(frames.RESULT, 1, b"\0\0\0\1{"),
        frames.pack(frames.RESULT, 1, b"\0\0\0\1[]"),
        frames.pack(frames.RESULT, 1, b"\0\0\0\1{}"),
        frames.pack(frames.CONTROL, 0, b"[1]"),
        frames.pack(frames.CONTROL, 0, b"\xff"),
        frames.pack(frames.ATTACHED, 0, b"\0\0\0\1"),
        b"\xff" * 9,
    ],
)
async def test_what_is_no_frame_loses_the_session(tmp_path: Path, bad: bytes) -> None:
    (tmp_path / "spoiler.py").write_text(SPOILER)
    words = (sys.executable, str(tmp_path / "spoiler.py"), ENDED.hex(), bad.hex())
    async with asyncio.timeout(30), CommandConnector("spoilt", exec=words) as connector:
        node = await connector.location("spoilt")
        with pytest.raises(ShellLost, match="sent what is no frame") as caught:
            await node.run(["sh", "-c", f"echo ran >>{tmp_path}/ran"])
        assert caught.value.started != "no"
        assert (tmp_path / "ran").read_text() == "ran\n"
