"""The known defects of persistent shells and of timeouts elsewhere, one after another, as tests of the opposite.

Most have more tests in the part of the suite that the theme belongs to; here each has one, so that a reader finds it.
"""

from __future__ import annotations

import asyncio

import pytest

from warmshell.command import Command
from warmshell.errors import CommandTimeout, OutputError, ShellLost, WorkdirError
from warmshell.location import Location
from warmshell.testing.suite import Suite, gone, is_there, lines, sleeper, written


class Pitfalls(Suite):
    """What other tools get wrong."""

    async def test_pitfall_run_twice_after_exit(self, node: Location, where: str) -> None:
        for status in (0, 1, 7, 126, 127, 255):
            await node.run(f"echo {status} >>{where}/count; exit {status}")
            await node.run(["sh", "-c", f"echo {status} >>{where}/count; exit {status}"])
        assert len(await lines(node, f"{where}/count")) == 12

    async def test_pitfall_run_twice_after_a_timeout(self, observer: Location, where: str) -> None:
        async with self.connect(shells=1) as one:
            await one.run(["true"])
            with pytest.raises(CommandTimeout):
                await one.run(f"echo ran >>{where}/count; {sleeper(where + '/pid')}", timeout=1)
        assert await lines(observer, f"{where}/count") == ["ran"]

    async def test_pitfall_run_twice_after_cancelling(self, observer: Location, where: str) -> None:
        async with self.connect(shells=1) as one:
            task = asyncio.create_task(one.run(f"echo ran >>{where}/count; {sleeper(where + '/pid')}"))
            await written(observer, f"{where}/pid")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert await lines(observer, f"{where}/count") == ["ran"]

    async def test_pitfall_run_twice_after_its_shell_was_killed(self, observer: Location, where: str) -> None:
        """Only a command that certainly did not start is run again; one that started is not."""
        async with self.connect(shells=1) as one:
            pid = (await one.run("echo $$")).text.strip()
            task = asyncio.create_task(one.run(f"echo ran >>{where}/count; {sleeper(where + '/pid')}"))
            await written(observer, f"{where}/pid")
            await observer.run(["kill", "-9", pid])
            with pytest.raises(ShellLost) as caught:
                await task
            assert caught.value.started in ("yes", "unknown")
        assert await lines(observer, f"{where}/count") == ["ran"]
        await gone(observer, await lines(observer, f"{where}/pid"))

    async def test_pitfall_run_twice_with_a_stream_half_read(self, observer: Location, where: str) -> None:
        async with self.connect(shells=1) as one:
            command = Command(f"cat >>{where}/count; kill -9 $$; sleep 1000", stdin=b"ran\n")
            with pytest.raises(ShellLost):
                await one.run(command)
        assert await lines(observer, f"{where}/count") == ["ran"]

    async def test_pitfall_a_timeout_that_starts_again_with_every_chunk(self, node: Location) -> None:
        with pytest.raises(TimeoutError):
            await node.run("i=0; while [ $i -lt 2000 ]; do echo $i; sleep 0.05; i=$((i+1)); done", timeout=1)

    async def test_pitfall_stale_output_after_a_timeout(self) -> None:
        async with self.connect(shells=1) as one:
            with pytest.raises(CommandTimeout):
                await one.run("sleep 0.4; echo late", timeout=0.2)
            assert (await one.run("sleep 0.5; echo fresh")).stdout == b"fresh\n"

    async def test_pitfall_stale_output_after_cancelling(self, observer: Location, where: str) -> None:
        async with self.connect(shells=1) as one:
            task = asyncio.create_task(one.run(f"echo $$ >>{where}/on; sleep 0.3; echo late"))
            await written(observer, f"{where}/on")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert (await one.run("sleep 0.4; echo fresh")).stdout == b"fresh\n"

    async def test_pitfall_standard_input_is_the_shells_own(self) -> None:
        async with self.connect(shells=1) as one:
            for script in ("cat", "head -c 5", "read x; read y", "cat & wait"):
                await one.run(script, timeout=60)
                assert (await one.run(["echo", "the next command"])).stdout == b"the next command\n"

    async def test_pitfall_an_unbalanced_quote_swallows_what_follows(self) -> None:
        async with self.connect(shells=1) as one:
            for script in ("echo 'a", 'echo "a', "echo `a", "cat <<E", "echo $(", "(", "{"):
                await one.run(script, timeout=60)
                assert (await one.run("echo fresh", timeout=60)).stdout == b"fresh\n"

    async def test_pitfall_state_leaks(self, where: str) -> None:
        async with self.connect(shells=1) as one:
            probe = "pwd; umask; echo ${V-none}"
            before = (await one.run(probe)).stdout
            await one.run(f"cd {where}; export V=1; umask 077")
            assert (await one.run(probe)).stdout == before

    async def test_pitfall_a_missing_directory_and_it_runs_all_the_same(self, node: Location, where: str) -> None:
        with pytest.raises(WorkdirError):
            await node.run(f"touch {where}/ran", cwd=f"{where}/missing")
        assert not await is_there(node, f"{where}/ran")

    async def test_pitfall_targets_ignored(self, node: Location, where: str) -> None:
        await node.run("echo out; echo err >&2", stdout=f"{where}/out", stderr=f"{where}/err")
        assert (await lines(node, f"{where}/out"), await lines(node, f"{where}/err")) == (["out"], ["err"])
        with pytest.raises(OutputError):
            await node.run(["true"], stdout=f"{where}/missing/out")

    async def test_pitfall_merged_stripped_and_decoded(self, node: Location) -> None:
        result = await node.run("printf ' \\n\\377\\000 out \\n\\n'; printf '\\n err ' >&2")
        assert (result.stdout, result.stderr) == (b" \n\xff\0 out \n\n", b"\n err ")

    async def test_pitfall_a_short_command_waits_behind_a_long_one(self, node: Location, where: str) -> None:
        task = asyncio.create_task(node.run(sleeper(f"{where}/pid")))
        await written(node, f"{where}/pid")
        assert (await node.run(["true"], timeout=60)).ok
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def test_pitfall_one_shell_only_and_everything_hangs(self) -> None:
        """With one shell in use by a stateful session, commands and processes still run."""
        async with self.connect(shells=1) as one, self.stateful(one) as sh:
            await sh.run("true")
            assert (await one.run(["echo", "x"], timeout=60)).stdout == b"x\n"
            async with one.open(["cat"]) as process:
                assert (await one.run(["echo", "x"], timeout=60)).stdout == b"x\n"
                await process.stdin.aclose()

    async def test_pitfall_a_failing_reader_of_input_is_not_noticed(self, node: Location, where: str) -> None:
        """``tee`` into a path that cannot be written says so in its status."""
        result = await node.run(["tee", f"{where}/missing/file"], stdin=b"x")
        assert result.returncode != 0
        assert result.stderr

    async def test_pitfall_only_the_shell_is_killed_and_its_child_survives(
        self, observer: Location, where: str
    ) -> None:
        async with self.connect() as node:
            task = asyncio.create_task(node.run(f"sh -c 'echo $$ >>{where}/pid; sleep 1000; echo x'; echo x"))
            pids = await written(observer, f"{where}/pid")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await gone(observer, pids, within=0.2)

    async def test_pitfall_the_call_hangs_until_an_orphan_lets_go_of_the_pipe(
        self, observer: Location, where: str
    ) -> None:
        async with self.connect() as node:
            script = f"{sleeper(where + '/pid')} & exit 3"
            assert (await node.run(script, timeout=60)).returncode == 3
            with pytest.raises(CommandTimeout):
                await node.run(f"setsid {sleeper(where + '/pid')} & wait", timeout=1)
            pids = await lines(observer, f"{where}/pid")
        await gone(observer, pids)
