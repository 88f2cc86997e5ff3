"""Bytes are exact: nothing is stripped, merged, decoded, or from anywhere else."""

from __future__ import annotations

import asyncio
import hashlib
import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warmshell.location import Location
from warmshell.testing.suite import Suite

EVERY_BYTE = bytes(range(256))

# For tests that are run again and again with one location, by every class that inherits them.
RELAXED = settings(
    deadline=None,
    max_examples=40,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors, HealthCheck.too_slow],
)

LOOKALIKES = {
    "a report": b"1 0\n2 0\n3 0\n",
    "a start": b"1 s\n2 s\n",
    "the mark of others": b"SF_CMD_END_0123456789abcdef:0\n",
    "hexadecimal": b"0123456789abcdef" * 4 + b" 1 0\n",
    "white space": b" \t\r\n\v\f \n\n",
    "newlines": b"\n\n\n",
    "one newline": b"\n",
    "no newline": b"no newline",
    "carriage returns": b"a\r\nb\r",
    "not UTF-8": b"\xff\xfe\x80\xc3(",
    "half a letter": "é".encode()[:1],
    "NUL bytes": b"\0\0a\0",
    "terminal controls": b"\x1b[31m\x1b]0;title\x07\x04\x03\x1a",
    "every byte": EVERY_BYTE,
}


class ExactBytes(Suite):
    """Guarantee 2."""

    async def test_output_is_exact(self, node: Location) -> None:
        for data in LOOKALIKES.values():
            result = await node.run(["cat"], stdin=data)
            assert (result.returncode, result.stdout, result.stderr) == (0, data, b"")
            result = await node.run("cat >&2; exit 3", stdin=data)
            assert (result.returncode, result.stdout, result.stderr) == (3, b"", data)

    async def test_a_builtin_that_writes_more_than_a_pipe_holds(self, node: Location) -> None:
        """Where a shell stands in for a program, nobody else is there who could hold what it writes."""
        word = "x" * 100_000
        for count in (3, 0, 1):
            result = await node.run(["echo", "a", *[word] * count], timeout=60)
            assert (result.returncode, result.text) == (0, " ".join(["a", *[word] * count]) + "\n")
            assert result.stderr == b""

    async def test_no_output_at_all(self, node: Location) -> None:
        result = await node.run(["true"])
        assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")

    async def test_stderr_is_apart_from_stdout(self, node: Location) -> None:
        result = await node.run("echo out; echo err >&2; echo out2; echo err2 >&2")
        assert (result.stdout, result.stderr) == (b"out\nout2\n", b"err\nerr2\n")

    async def test_sizes_around_those_of_pipes_and_buffers(self, node: Location) -> None:
        source = random.Random(1).randbytes(262145)
        for size in (1, 4095, 4096, 4097, 65535, 65536, 65537, 131072, 262145):
            result = await node.run(["cat"], stdin=source[:size])
            assert result.stdout == source[:size], size

    async def test_much_on_both_streams_at_once(self, node: Location) -> None:
        script = (
            "i=0; while [ $i -lt 3000 ]; do echo $i-ooooooooooooooooooooo; echo $i-eeeeeeeeeeee >&2; i=$((i+1)); done"
        )
        result = await node.run(script, timeout=60)
        assert result.stdout == b"".join(b"%d-ooooooooooooooooooooo\n" % i for i in range(3000))
        assert result.stderr == b"".join(b"%d-eeeeeeeeeeee\n" % i for i in range(3000))

    async def test_megabytes_of_random_bytes(self, node: Location) -> None:
        data = random.Random(2).randbytes(3_000_000)
        result = await node.run(["cat"], stdin=data)
        assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(data).digest()

    async def test_output_that_pauses_between_its_bytes(self, node: Location, where: str) -> None:
        await node.run(["mkfifo", f"{where}/1", f"{where}/2"])
        script = f"printf 'a'; read x <{where}/1; printf 'b\\n'; read x <{where}/2; printf 'c'"
        running = asyncio.ensure_future(node.run(script))
        for gate in (1, 2):
            await node.run(f"echo >{where}/{gate}")
        assert (await running).stdout == b"ab\nc"

    async def test_many_commands_one_after_another_are_not_mixed_up(self, node: Location) -> None:
        for number in range(60):
            result = await node.run(f"echo out {number}; echo err {number} >&2; exit {number}")
            expected = number, b"out %d\n" % number, b"err %d\n" % number
            assert (result.returncode, result.stdout, result.stderr) == expected

    async def test_many_commands_at_once_are_not_mixed_up(self, node: Location) -> None:
        runs = [node.run(f"echo {n}; cat; exit {n}", stdin=b"%d" % n * n) for n in range(60)]
        for number, result in enumerate(await asyncio.gather(*runs)):
            expected = number, b"%d\n" % number + b"%d" % number * number
            assert (result.returncode, result.stdout) == expected

    async def test_a_command_with_its_streams_closed(self, node: Location) -> None:
        for script in ("exec >&-; echo lost", "exec 2>&-; echo kept", "exec <&- >&- 2>&-; true"):
            await node.run(script)
            result = await node.run("echo fresh")
            assert (result.stdout, result.stderr) == (b"fresh\n", b""), script

    async def test_every_exit_status(self, node: Location) -> None:
        for status in (0, 1, 2, 42, 125, 126, 127, 128, 129, 137, 200, 255):
            assert (await node.run(f"exit {status}")).returncode == status
            assert (await node.run(["sh", "-c", f"exit {status}"])).returncode == status

    async def test_a_death_by_signal_is_128_and_its_number(self, node: Location) -> None:
        for name, number in (("TERM", 15), ("KILL", 9), ("INT", 2), ("HUP", 1)):
            result = await node.run(["sh", "-c", f"kill -{name} $$; sleep 1000"])
            assert (result.returncode, result.stdout) == (128 + number, b""), name
            assert result.signal == number

    async def test_what_the_shell_says_of_a_killed_program_does_not_reach_the_next_result(self, node: Location) -> None:
        await node.run(["sh", "-c", "kill -SEGV $$"])
        result = await node.run("echo fresh")
        assert (result.stdout, result.stderr) == (b"fresh\n", b"")

    @RELAXED
    @given(st.binary(max_size=3000), st.binary(max_size=3000))
    async def test_any_bytes_on_both_streams(self, node: Location, out: bytes, err: bytes) -> None:
        # Not head: it may read beyond what it prints.
        script = f"dd bs=1 count={len(out)} 2>/dev/null; cat >&2"
        result = await node.run(script, stdin=out + err)
        assert (result.returncode, result.stdout, result.stderr) == (0, out, err)
