"""A timeout is total, kills the whole tree, and leaves nothing stale."""

from __future__ import annotations

import asyncio

import pytest

from warmshell.errors import CommandError, CommandTimeout
from warmshell.location import Location
from warmshell.testing.suite import Suite, gone, hidings, is_there, lines, sleeper


async def time_out(node: Location, script: str, path: str) -> CommandTimeout:
    """Let a script run into a timeout which is long enough for it to have written a line into the file."""
    for seconds in (0.4, 2.0, 10.0, 30.0):
        with pytest.raises(CommandTimeout) as caught:
            await node.run(script, timeout=seconds)
        if await lines(node, path):
            return caught.value
    raise AssertionError("the script never started")


class Timeouts(Suite):
    """Guarantee 4, by the clock."""

    async def test_it_is_the_standard_error_and_says_what_and_where(self, node: Location) -> None:
        with pytest.raises(TimeoutError) as caught:
            await node.run(["sleep", "1000"], timeout=0.2)
        assert isinstance(caught.value, CommandTimeout)
        assert "sleep 1000" in str(caught.value)
        assert node.name in str(caught.value)

    async def test_it_counts_from_the_start_and_not_from_the_last_output(self, node: Location) -> None:
        """Known defect of others: a timeout for each chunk, which a command that goes on printing never meets."""
        with pytest.raises(CommandTimeout) as caught:
            await node.run("while :; do echo x; sleep 0.02; done", timeout=0.7)
        assert set(caught.value.result.stdout) <= set(b"x\n")

    async def test_what_was_written_until_then_is_in_the_error(self, node: Location, where: str) -> None:
        script = f"echo out; echo err >&2; {sleeper(where + '/pid')}"
        error = await time_out(node, script, f"{where}/pid")
        assert error.result.stdout == b"out\n"
        assert error.result.stderr.startswith(b"err\n")  # bash adds what ended its child

    async def test_nothing_stale_reaches_the_next_command(self) -> None:
        """Known defect of others: the next command gets 'late' and the mark of the one before."""
        async with self.connect(shells=1) as one:
            for _ in range(2):
                with pytest.raises(CommandTimeout):
                    await one.run("echo early; (trap '' TERM; sleep 0.5; echo late) ; echo later", timeout=0.2)
                result = await one.run("echo fresh")
                assert (result.returncode, result.stdout, result.stderr) == (0, b"fresh\n", b"")

    async def test_after_a_timeout_the_command_is_not_run_again(self, node: Location, where: str) -> None:
        """Known defect of others: after a timeout the command is run a second time."""
        await time_out(node, f"echo ran >>{where}/count; {sleeper(where + '/pid')}", f"{where}/pid")
        assert len(await lines(node, f"{where}/count")) == len(await lines(node, f"{where}/pid"))

    @pytest.mark.parametrize("hiding", list(hidings("")))
    async def test_a_timeout_ends_all_descendants_wherever_they_hid(
        self, node: Location, observer: Location, where: str, hiding: str
    ) -> None:
        if "session" in hiding and not self.has_setsid:
            pytest.skip("there is no setsid")
        await time_out(node, hidings(f"{where}/pid")[hiding], f"{where}/pid")
        await gone(observer, await lines(observer, f"{where}/pid"), within=0.2)
        assert (await node.run(["echo", "fresh"])).stdout == b"fresh\n"

    async def test_other_commands_are_not_touched(self, node: Location, where: str) -> None:
        await node.run(["mkfifo", f"{where}/gate"])
        other = asyncio.ensure_future(node.run(f"read x <{where}/gate; echo whole"))
        with pytest.raises(CommandTimeout):
            await node.run("sleep 1000", timeout=0.3)
        await node.run(f"echo >{where}/gate")
        assert (await other).stdout == b"whole\n"

    async def test_waiting_for_a_shell_counts_and_then_nothing_is_run(self, observer: Location, where: str) -> None:
        await observer.run(["mkfifo", f"{where}/gate"])
        async with self.connect(shells=1) as one:
            first = asyncio.ensure_future(one.run(f"read x <{where}/gate; echo whole"))
            await asyncio.sleep(0)  # it comes first
            with pytest.raises(CommandTimeout):
                await one.run(["touch", f"{where}/ran"], timeout=0.3)
            await observer.run(f"echo >{where}/gate")
            assert (await first).stdout == b"whole\n"
            assert (await one.run("echo fresh")).stdout == b"fresh\n"
        assert not await is_there(observer, f"{where}/ran")

    async def test_a_command_in_time_is_not_disturbed(self, node: Location) -> None:
        for _ in range(20):
            assert (await node.run(["echo", "hi"], timeout=60)).stdout == b"hi\n"

    async def test_the_callers_own_timeout_is_the_callers(self, node: Location) -> None:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.2):
                await node.run("sleep 1000", timeout=100)
        assert not isinstance(caught.value, CommandTimeout)
        assert (await node.run("echo fresh")).stdout == b"fresh\n"

    async def test_a_command_that_floods(self, node: Location) -> None:
        with pytest.raises(CommandTimeout):
            await node.run("while :; do echo flood; echo flood >&2; done", timeout=0.3, output_limit=1000)
        assert (await node.run("echo fresh")).stdout == b"fresh\n"

    @pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
    async def test_what_is_no_time_is_refused(self, node: Location, where: str, timeout: float) -> None:
        with pytest.raises(CommandError):
            await node.run(["touch", f"{where}/ran"], timeout=timeout)
        assert not await is_there(node, f"{where}/ran")
