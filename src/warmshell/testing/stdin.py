"""What a command reads: nothing, bytes, a file of this machine, a stream; never what was meant for a shell."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from warmshell.errors import CommandError, CommandTimeout, InputError
from warmshell.location import Location
from warmshell.testing.suite import Suite, each, gone, is_there, lines, written

CONTENTS = {
    "nothing": b"",
    "text": b"a line\nand 'another",
    "shell text": b"echo pwned\nexit 3\n'\"`$(\n",
    "every byte": bytes(range(256)) * 3,
    "newlines": b"\n" * 5000,
    "percent and backslash": b"%s%n\\n\\0\\c%%",
    "100 KB": random.Random(3).randbytes(100_000),
}
BIG = 10_000_000


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    """These chunks, one at a time."""
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk


class Stdin(Suite):
    """Standard input."""

    @each(CONTENTS)
    async def test_the_same_bytes_from_everywhere(self, node: Location, tmp_path: Path, case: bytes) -> None:
        (tmp_path / "a 'file").write_bytes(case)
        for what in (["cat"], "cat; exit 0"):
            for source in (case, tmp_path / "a 'file", stream(case[:7], case[7:1000], b"", case[1000:])):
                result = await node.run(what, stdin=source)
                assert (result.returncode, result.stdout, result.stderr) == (0, case, b"")

    async def test_with_a_directory_variables_and_targets(self, node: Location, where: str) -> None:
        options = {"cwd": where, "env": {"A": "b", "a.b": "c"}, "stdout": "out"}
        await node.run(["cat"], stdin=b"some\0bytes", **options)
        assert (await node.run(["cat", f"{where}/out"])).stdout == b"some\0bytes"

    async def test_large_input(self, node: Location, tmp_path: Path) -> None:
        data = random.Random(4).randbytes(BIG)
        (tmp_path / "big").write_bytes(data)
        pieces = [data[at : at + 100_000] for at in range(0, BIG, 100_000)]
        for source in (data, tmp_path / "big", stream(*pieces)):
            result = await node.run(["cat"], stdin=source, output_limit=BIG + 1)
            assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(data).digest()

    async def test_a_command_that_reads_less_than_it_is_given(self, node: Location, tmp_path: Path) -> None:
        data = b"12345" + bytes(3_000_000)
        (tmp_path / "file").write_bytes(data)
        for source in (lambda: data, lambda: tmp_path / "file", lambda: stream(data)):
            assert (await node.run(["head", "-c", "5"], stdin=source(), timeout=60)).stdout == b"12345"
            assert (await node.run(["true"], stdin=source(), timeout=60)).ok
            assert (await node.run("exec <&-; exit 3", stdin=source(), timeout=60)).returncode == 3
            assert (await node.run(["echo", "fresh"])).stdout == b"fresh\n"

    async def test_what_is_not_read_does_not_reach_the_next_command(self) -> None:
        async with self.connect(shells=1) as one:
            await one.run(["true"], stdin=b"echo pwned\n" * 1000)
            await one.run("read x", stdin=b"a\necho pwned\n")
            assert (await one.run(["cat"])).stdout == b""
            assert (await one.run(["cat"], stdin=b"own")).stdout == b"own"

    async def test_a_stream_flows_while_the_command_runs(self, node: Location, where: str) -> None:
        answers: list[bytes] = []

        async def questions() -> AsyncIterator[bytes]:
            for number in range(3):
                yield b"%d\n" % number
                answers.append("".join(await written(node, f"{where}/answers", number + 1)).encode())

        script = f"while read x; do echo $x >>{where}/answers; done; echo end"
        result = await node.run(script, stdin=questions(), timeout=60)
        assert result.stdout == b"end\n"
        assert answers == [b"0", b"01", b"012"]

    async def test_a_source_that_raises_ends_the_command(self, node: Location, where: str) -> None:
        async def source() -> AsyncIterator[bytes]:
            yield b"first\n"
            await written(node, f"{where}/pid")
            raise ZeroDivisionError

        script = f"sh -c 'read x; echo $$ >>{where}/pid; read y; echo got >>{where}/got; sleep 1000'"
        with pytest.raises(ZeroDivisionError):
            await node.run(script, stdin=source(), timeout=60)
        await gone(node, await lines(node, f"{where}/pid"))
        assert await lines(node, f"{where}/got") == []
        assert (await node.run(["echo", "fresh"])).stdout == b"fresh\n"

    async def test_a_source_that_never_ends_does_not_outlive_the_command(self, node: Location) -> None:
        closed = asyncio.Event()

        async def source() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 10_000
            finally:
                closed.set()

        assert (await node.run(["head", "-c", "3"], stdin=source(), timeout=60)).stdout == b"xxx"
        await asyncio.wait_for(closed.wait(), 10)

    async def test_a_source_that_says_nothing_does_not_keep_the_command(self, node: Location) -> None:
        async def source() -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

        assert (await node.run("echo done; exit 4", stdin=source(), timeout=60)).returncode == 4
        with pytest.raises(CommandTimeout):
            await node.run(["cat"], stdin=source(), timeout=0.3)
        assert (await node.run(["echo", "fresh"])).stdout == b"fresh\n"

    async def test_a_file_that_cannot_be_read_is_an_error_and_nothing_is_run(
        self, node: Location, where: str, tmp_path: Path
    ) -> None:
        with pytest.raises(InputError) as caught:
            await node.run(["touch", f"{where}/ran"], stdin=tmp_path / "missing")
        assert caught.value.errno == 2
        assert not await is_there(node, f"{where}/ran")

    async def test_a_str_is_refused_since_it_could_mean_two_things(self, node: Location) -> None:
        with pytest.raises(CommandError, match="str"):
            await node.run(["cat"], stdin="text")
