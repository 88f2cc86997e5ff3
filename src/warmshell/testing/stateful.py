"""A shell with a state: what one command changes the next one finds; what ended is never replaced silently."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from warmshell.errors import ClosedError, CommandTimeout, NotSupported, OutputError, ShellLost, WorkdirError
from warmshell.location import Location
from warmshell.testing.suite import Suite, each, gone, hidings, lines, read, sleeper, written

ENDINGS: dict[str, tuple[str, int, bytes]] = {
    "exit": ("echo a; exit 5", 5, b"a\n"),
    "exit 0": ("exit", 0, b""),
    "exec": ("exec sh -c 'echo b; exit 6'", 6, b"b\n"),
    "set -e": ("set -e; echo c; false; echo d", 1, b"c\n"),
}

SURVIVED = {
    "an open quote": "echo 'a",
    "a closing parenthesis": "echo a )",
    "a stray fi": "fi; fi",
    "an open here-document": "cat >/dev/null <<E\na",
    "a comment": "# it's only a comment",
    "reading": "cat; head -c 5; read x",
    "a failing program": "false",
    "no program": "no-such-program-here",
    "tracing": "set -x -v; true",
    "a function over echo": "echo() { command echo mine; }",
    "a function over everything": "unset() { :; }; hash() { :; }; test() { :; }; printf() { :; }; cat() { :; }",
    "aliases": "alias echo='echo mine' if=: printf=: then=:",
    "a changed IFS": "IFS=0123456789",
    "no PATH": "PATH=/nowhere",
    "closed descriptors": "exec <&-; exec 3>&-; exec 9>/dev/null; exec 7>/dev/null 8>/dev/null",
    "positional parameters": "set -- a b",
    "no overwriting": "set -C",
    "no globbing": "set -f",
    "a variable s": "s=1; status=2; _warm_s=3; readonly s",
    "a background child": "sleep 1000 &",
    "a directory that is gone": "d=$(mktemp -d); cd $d; rmdir $d",
    "a limit": "ulimit -c 0",
    "an unset variable": "(set -u; echo $undefined) 2>/dev/null",
}


class Stateful(Suite):
    """``node.shell()``."""

    async def test_state_persists(self, node: Location, where: str) -> None:
        async with self.stateful(node) as sh:
            await sh.run(f"cd {where}; V='a  b'; export E=x; umask 027; f() {{ echo f $1; }}; set -f; alias g=f")
            await sh.run("set -- p q; trap 'echo usr' USR1; readonly R=r")
            result = await sh.run('pwd; echo "$V" "$2" "$R" *; umask; f 1; sh -c "echo \\$E"; kill -USR1 $$; alias g')
            first = f"{where}\na  b q r *\n0027\nf 1\nx\nusr\n"
            assert result.text.startswith(first)
            assert "f" in result.text[len(first) :]

    async def test_words_run_in_the_shell_too(self, node: Location, where: str) -> None:
        async with self.stateful(node) as sh:
            await sh.run(["mkdir", f"{where}/a 'b"])
            assert (await sh.run(["cd", f"{where}/a 'b"])).ok
            assert (await sh.run(["pwd"])).text == f"{where}/a 'b\n"
            await sh.run(["export", "A=$HOME b"])
            assert (await sh.run(["sh", "-c", 'echo "$A"'])).text == "$HOME b\n"

    async def test_two_shells_and_isolated_commands_know_nothing_of_each_other(self, node: Location) -> None:
        async with self.stateful(node) as one, self.stateful(node) as two:
            await one.run("cd /; export V=1; umask 077")
            assert (await two.run('echo "${V-none}"')).text == "none\n"
            assert (await node.run('echo "${V-none}"')).text == "none\n"
            assert one.id != two.id

    async def test_bytes_are_exact_here_too(self, node: Location) -> None:
        data = bytes(range(256)) * 500
        async with self.stateful(node) as sh:
            result = await sh.run("cat; echo err >&2; (exit 9)", stdin=data)
            assert (result.returncode, result.stdout, result.stderr) == (9, data, b"err\n")
            assert (await sh.run("printf '  x '")).stdout == b"  x "

    async def test_commands_run_in_the_order_of_their_calls(self, node: Location) -> None:
        async with self.stateful(node) as sh:
            await sh.run("n=0")
            results = await asyncio.gather(*[sh.run("n=$((n+1)); echo $n") for _ in range(30)])
        assert [int(result.text) for result in results] == list(range(1, 31))

    @each(ENDINGS)
    async def test_a_command_that_ends_the_shell_gives_its_status_and_later_ones_are_not_run(
        self, node: Location, where: str, case: tuple[str, int, bytes]
    ) -> None:
        script, status, output = case
        async with self.stateful(node) as sh:
            result = await sh.run(script, timeout=60)
            assert result.stdout == output
            assert result.returncode == status
            for _ in range(2):
                with pytest.raises(ShellLost) as caught:
                    await sh.run(f"echo ran >>{where}/count")
                assert caught.value.started == "no"
            assert not sh.alive
        assert await lines(node, f"{where}/count") == []
        assert (await node.run("echo fresh")).stdout == b"fresh\n"

    @each(SURVIVED)
    async def test_what_does_not_end_the_shell(self, node: Location, case: str) -> None:
        async with self.stateful(node) as sh:
            await sh.run(case, timeout=20)
            result = await sh.run("command printf 'fre%s' sh", timeout=20)
            assert (result.returncode, result.stdout) == (0, b"fresh")
            assert b"WARMSHELL" not in result.stderr
            assert b"/proc/" not in result.stderr
            result = await sh.run("{ PATH=/usr/bin:/bin; env cat; (exit 3); } 2>/dev/null", stdin=b"x", timeout=20)
            assert (result.returncode, result.stdout) == (3, b"x")

    async def test_a_fork_that_fails_does_not_become_a_second_shell(self, node: Location, where: str) -> None:
        """It would run what comes next as well: that is, twice."""
        async with self.stateful(node) as sh:
            for script in ("(set -u; echo $undefined)", "(. /no/such/file)", "(readonly r=1; r=2)", "(echo ${x?no})"):
                result = await sh.run(f"{script} 2>/dev/null; echo after", timeout=20)
                assert (script, result.stdout) == (script, b"after\n")
                for _ in range(3):
                    await sh.run(f"echo ran >>{where}/count", timeout=20)
        assert await lines(node, f"{where}/count") == ["ran"] * 12

    async def test_a_shell_that_is_killed_is_lost(self, node: Location, where: str) -> None:
        async with self.stateful(node) as sh:
            with pytest.raises(ShellLost) as caught:
                await sh.run(f"echo ran >>{where}/count; kill -9 $$; sleep 1000")
            assert caught.value.started == "yes"
            with pytest.raises(ShellLost) as caught:
                await sh.run(f"echo ran >>{where}/count")
            assert caught.value.started == "no"
        assert await lines(node, f"{where}/count") == ["ran"]

    @pytest.mark.parametrize("hiding", ["child", "background", "deaf", "daemon", "stopped", "nohup"])
    async def test_a_timeout_ends_the_command_and_the_shell(
        self, node: Location, observer: Location, where: str, hiding: str
    ) -> None:
        for seconds in (0.4, 2, 10):  # long enough for it to begin
            async with self.stateful(node) as sh:
                with pytest.raises(CommandTimeout):
                    await sh.run(hidings(f"{where}/pid")[hiding], timeout=seconds)
                with pytest.raises(ShellLost) as caught:
                    await sh.run("echo fresh")
                assert caught.value.started == "no"
                if pids := await lines(observer, f"{where}/pid"):
                    break
        await gone(observer, pids, within=0.5)

    async def test_cancelling_ends_the_command_and_the_shell(
        self, node: Location, observer: Location, where: str
    ) -> None:
        async with self.stateful(node) as sh:
            task = asyncio.create_task(sh.run(sleeper(f"{where}/pid")))
            pids = await written(observer, f"{where}/pid")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await gone(observer, pids, within=0.5)
            assert not sh.alive

    async def test_cancelling_one_that_waits_for_its_turn_harms_nothing(self, node: Location, where: str) -> None:
        await node.run(["mkfifo", f"{where}/gate"])
        async with self.stateful(node) as sh:
            first = asyncio.create_task(sh.run(f"read x <{where}/gate; V=1"))
            await asyncio.sleep(0)
            second = asyncio.create_task(sh.run("V=2"))
            await asyncio.sleep(0)
            second.cancel()
            await asyncio.gather(second, return_exceptions=True)
            await node.run(f"echo >{where}/gate")
            await first
            assert (await sh.run("echo $V")).text == "1\n"

    async def test_a_directory_and_variables_for_one_command_only(self, node: Location, where: str) -> None:
        async with self.stateful(node) as sh:
            before = (await sh.run("pwd; echo ${A-none}")).text
            result = await sh.run("pwd; echo $A; B=1", cwd=where, env={"A": "x y", "a.b": "z"})
            assert result.text == f"{where}\nx y\n"
            assert (await sh.run(["sh", "-c", 'echo "$A"'], env={"A": "b"})).text == "b\n"
            assert (await sh.run("pwd; echo ${A-none}")).text == before
            with pytest.raises(WorkdirError):
                await sh.run("echo ran", cwd=f"{where}/missing")
            assert (await sh.run("pwd; echo ${A-none}")).text == before

    async def test_targets_and_input(self, node: Location, where: str, tmp_path: Path) -> None:
        (tmp_path / "in").write_bytes(b"from a file")
        async with self.stateful(node) as sh:
            await sh.run(f"cd {where}")
            await sh.run("cat; echo err >&2", stdin=tmp_path / "in", stdout="out", stderr="err")
            with pytest.raises(OutputError):
                await sh.run("V=ran", stdout="missing/out")
            assert (await sh.run("echo ${V-none}")).text == "none\n"
        assert await read(node, f"{where}/out") == b"from a file"
        assert await read(node, f"{where}/err") == b"err\n"

    async def test_a_command_with_input_changes_the_state_too(self, node: Location, tmp_path: Path) -> None:
        (tmp_path / "in").write_bytes(b"one\ntwo\n")
        async with self.stateful(node) as sh:
            for source in (tmp_path / "in", b"one\ntwo\n"):
                assert (await sh.run("read a; read b; read c", stdin=source)).returncode == 1
                assert (await sh.run('echo "$b $a"; unset a b')).text == "two one\n"
            assert (await sh.run("set -x; cat >/dev/null", stdin=b"it's\0traced")).stderr.count(b"rm") == 0
            assert (await sh.run("set +x; exit 3", stdin=b"x")).returncode == 3

    async def test_what_a_shell_with_a_state_cannot_do_is_said(self, node: Location) -> None:
        async with self.stateful(node) as sh:
            for option in ({"user": "nobody"}, {"pty": True}, {"env_only": {"A": "b"}}):
                with pytest.raises(NotSupported):
                    await sh.run("true", **option)
            assert (await sh.run("echo fresh")).stdout == b"fresh\n"

    async def test_a_background_child_lives_as_long_as_the_shell(
        self, node: Location, observer: Location, where: str
    ) -> None:
        async with self.stateful(node) as sh:
            assert (await sh.run(f"{sleeper(where + '/pid')} & echo started", timeout=60)).text == "started\n"
            pids = await written(observer, f"{where}/pid")
            assert (await sh.run("kill -0 $! && echo alive", timeout=60)).text == "alive\n"
        await gone(observer, pids)

    async def test_a_shell_after_closing(self, node: Location, observer: Location, where: str) -> None:
        async with self.stateful(node) as sh:
            running = asyncio.create_task(sh.run(sleeper(f"{where}/pid")))
            pids = await written(observer, f"{where}/pid")
        with pytest.raises((ShellLost, ClosedError)):
            await running
        await gone(observer, pids)
        with pytest.raises(ClosedError):
            await sh.run("true")

    async def test_a_trace_that_persists_shows_the_scripts_and_nothing_of_ours(self, node: Location) -> None:
        async with self.stateful(node) as sh:
            await sh.run("set -x")
            result = await sh.run("echo traced")
            assert result.stdout == b"traced\n"
            assert b"echo traced" in result.stderr
            assert b"WARMSHELL" not in result.stderr
            assert b"/proc/" not in result.stderr
            await sh.run("set +x")
            assert (await sh.run("echo fresh")).stderr == b""
