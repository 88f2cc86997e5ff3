"""Output: bounded in memory, whole, wherever it is sent."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from warmshell.errors import OutputError
from warmshell.location import Location
from warmshell.testing.stdin import stream
from warmshell.testing.suite import Suite, gone, is_there, read, written

MEGABYTE = 1_000_000


class Outputs(Suite):
    """Guarantees 5 and 6, and ``stdout=`` and ``stderr=``."""

    async def test_what_exceeds_the_limit_spills_and_is_whole(self, node: Location) -> None:
        for size in (0, 1, 999, 1000, 1001, 70_000, 300_000):
            script = f"head -c {size} /dev/zero | tr '\\0' a; head -c {size} /dev/zero | tr '\\0' b >&2"
            result = await node.run(script, output_limit=1000)
            assert (result.stdout, result.stderr) == (b"a" * size, b"b" * size)
            assert result.output().spilled == (size > 1000)
            assert b"".join(result.output("stderr").chunks(333)) == b"b" * size

    async def test_100_megabytes_without_a_newline_take_little_memory(self, node: Location) -> None:
        await node.run(["true"])
        tracemalloc.start()
        try:
            result = await node.run(
                ["head", "-c", str(100 * MEGABYTE), "/dev/zero"], output_limit=MEGABYTE, timeout=100
            )
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert len(result.output()) == 100 * MEGABYTE
        assert peak < 16 * MEGABYTE
        assert all(not any(chunk) for chunk in result.output().chunks())

    async def test_one_with_much_output_does_not_starve_the_others(self, node: Location, where: str) -> None:
        flood = asyncio.create_task(
            node.run(f"echo $$ >>{where}/on; exec cat /dev/zero", output_limit=1000, timeout=60)
        )
        try:
            await written(node, f"{where}/on")
            for number in range(10):
                assert (await node.run(["echo", str(number)], timeout=60)).text == f"{number}\n"
        finally:
            flood.cancel()
            await asyncio.gather(flood, return_exceptions=True)

    async def test_a_process_whose_output_nobody_reads_waits(self, node: Location) -> None:
        tracemalloc.start()
        try:
            async with node.open(["cat", "/dev/zero"]) as process:
                for _ in range(20):
                    assert len(await process.stdout.receive(1000)) <= 1000
                    assert (await node.run(["echo", "x"])).stdout == b"x\n"
                peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 8 * MEGABYTE

    async def test_stderr_is_drained_although_only_stdout_is_wanted(self, node: Location, where: str) -> None:
        result = await node.run("head -c 1000000 /dev/zero >&2; echo end", stdout=f"{where}/out", timeout=60)
        assert (result.stdout, len(result.stderr)) == (b"", 1_000_000)
        assert await read(node, f"{where}/out") == b"end\n"

    async def test_output_goes_into_a_file_relative_to_the_directory(self, node: Location, where: str) -> None:
        for name in ("out", "a b", "it's", "$HOME", "-n", "*", "&1", "new\nline", "é", ">x", "~"):
            await self.check_targets(node, where, name)

    async def check_targets(self, node: Location, where: str, name: str) -> None:
        """Both streams in files of such a name."""
        for what in (["sh", "-c", "echo out; echo err >&2; exit 3"], "echo out; echo err >&2; exit 3"):
            result = await node.run(what, cwd=where, stdout=name, stderr=f"{name}.err")
            assert (result.returncode, result.stdout, result.stderr) == (3, b"", b"")
            assert await read(node, f"{where}/{name}") == b"out\n"
            assert await read(node, f"{where}/{name}.err") == b"err\n"
        result = await node.run(["echo", "more"], stdout=f"{where}/{name}")
        assert (result.stdout, result.stderr) == (b"", b"")
        assert await read(node, f"{where}/{name}") == b"more\n"

    async def test_an_earlier_longer_file_is_replaced(self, node: Location, where: str) -> None:
        for text in ("a long text", "short"):
            await node.run(["printf", "%s", text], stdout=f"{where}/out")
        assert await read(node, f"{where}/out") == b"short"

    @pytest.mark.parametrize("option", ["stdout", "stderr"])
    async def test_a_file_that_cannot_be_written_is_an_error_and_nothing_is_run(
        self, node: Location, where: str, option: str
    ) -> None:
        for target in (f"{where}/missing/out", where):
            for what in (["touch", f"{where}/ran"], f"touch {where}/ran"):
                with pytest.raises(OutputError) as caught:
                    await node.run(what, **{option: target})
                assert isinstance(caught.value, OSError)
                assert "touch" in str(caught.value)
                result = await node.run("echo fresh; echo err >&2")
                assert (result.stdout, result.stderr) == (b"fresh\n", b"err\n")
        assert not await is_there(node, f"{where}/ran")

    async def test_targets_with_a_stream_of_input(self, node: Location, where: str) -> None:
        for what in (["sh", "-c", "cat; echo err >&2; exit 3"], "cat; echo err >&2; exit 3"):
            for number, options in enumerate(
                ({"stdout": "out", "stderr": "err"}, {"stdout": "out"}, {"stderr": "err"})
            ):
                result = await node.run(what, cwd=where, stdin=stream(b"a", b"b%d" % number), **options)
                assert (result.returncode, result.stdout) == (3, b"" if "stdout" in options else b"ab%d" % number)
                assert result.stderr == (b"" if "stderr" in options else b"err\n")
                if "stdout" in options:
                    assert await read(node, f"{where}/out") == b"ab%d" % number
            for option in ("stdout", "stderr"):
                with pytest.raises(OutputError):
                    await node.run(f"touch {where}/ran", stdin=stream(b"a"), **{option: where})
        assert await read(node, f"{where}/err") == b"err\n"
        assert not await is_there(node, f"{where}/ran")

    async def test_a_full_device_is_the_commands_failure(self, node: Location) -> None:
        if not await is_there(node, "/dev/full"):
            pytest.skip("there is no /dev/full")
        if (await node.run("env printf x >/dev/full")).ok:
            pytest.skip("its printf does not notice that it cannot write (busybox)")
        result = await node.run(["env", "printf", "x"], stdout="/dev/full")
        assert result.returncode != 0
        assert (await node.run("echo fresh")).stdout == b"fresh\n"

    async def test_a_target_with_a_process_left_behind(self, node: Location, observer: Location, where: str) -> None:
        async with self.connect(shells=1) as one:
            script = f"sh -c 'echo $$ >>{where}/pid; exec sleep 1000' & echo done"
            await one.run(script, stdout=f"{where}/out", timeout=60)
            assert await read(node, f"{where}/out") == b"done\n"
            pids = await written(observer, f"{where}/pid")
        await gone(observer, pids)
