"""What a host without Python cannot promise, as docs/guarantees.md has it."""

from __future__ import annotations

import os

import pytest

from warmshell.errors import NotSupported

QUIET = "warm-quiet@hostA"


async def test_no_session_outlives_its_connection(lab):
    with pytest.raises(NotSupported, match=r"Python 3\.8"):
        async with lab.connect(QUIET, detach=20):
            pass


async def test_late_output_can_be_in_a_later_result(lab, tmp_path):
    """A background child holds the shell's streams: what it writes during a command is among that command's output."""
    os.mkfifo(tmp_path / "go")
    async with lab.connect(server=False, shells=1) as node:
        await node.run(f"{{ read x <{tmp_path}/go; echo late; : >{tmp_path}/done; }} &")
        result = await node.run(f"echo >{tmp_path}/go; until test -e {tmp_path}/done; do sleep 0.01; done; echo on")
        assert result.stdout == b"late\non\n"
        # With the streams redirected, as what stays in the background should have them, nothing comes.
        await node.run(f"{{ read x <{tmp_path}/go; echo late; : >{tmp_path}/gone; }} >/dev/null 2>&1 &")
        result = await node.run(f"echo >{tmp_path}/go; until test -e {tmp_path}/gone; do sleep 0.01; done; echo on")
        assert result.stdout == b"on\n"


async def test_a_stream_is_no_input_of_a_shell_with_a_state(lab):
    async def source():
        yield b"x"

    async with lab.connect(QUIET) as node:
        assert (await node.run(["cat"], stdin=source())).stdout == b"x"  # in a process of its own
        async with node.shell() as shell:
            with pytest.raises(NotSupported, match="stream"):
                await shell.run("cat", stdin=source())
