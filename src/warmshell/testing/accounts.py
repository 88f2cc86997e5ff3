"""Another account, and a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from warmshell.errors import CommandTimeout, OutputError, ProgramNotFound, WorkdirError
from warmshell.location import Location
from warmshell.testing.suite import Suite, gone, lines, written

SECRET = "a-secret-that-nobody-else-may-read"


class Accounts(Suite):
    """``user=``."""

    @pytest.fixture
    def user(self) -> str:
        """The account to run as."""
        if self.account is None:
            pytest.skip("no other account can be used without a password")
        return self.account

    @pytest_asyncio.fixture
    async def shared(self, observer: Location) -> AsyncIterator[str]:
        """A directory that the other account can write to; that of the tests may be in one that is private."""
        path = (await observer.run("d=$(TMPDIR=/tmp mktemp -d) && chmod 777 $d && echo $d")).check().text.strip()
        yield path
        (await observer.run(["rm", "-rf", "--", path])).check()

    async def test_account_it_runs_as_the_other(self, node: Location, user: str) -> None:
        assert (await node.run(["id", "-un"], user=user)).text == f"{user}\n"
        assert (await node.run("id -un; exit 3", user=user)).returncode == 3
        assert (await node.run(["id", "-un"])).text != f"{user}\n"

    async def test_account_words_streams_and_variables_are_exact(self, node: Location, user: str) -> None:
        data = bytes(range(256)) * 1000
        result = await node.run("cat; echo err >&2", user=user, stdin=data)
        assert (result.stdout, result.stderr) == (data, b"err\n")
        words = [b"a b", b"it's", b"$HOME", b"", b"new\nline", b"-n", bytes(range(1, 256))]
        result = await node.run(["printf", "%s\\0", *words], user=user)
        assert result.stdout.split(b"\0")[:-1] == words
        result = await node.run(["printenv", "V", "a.b"], user=user, env={"V": "x y\nz", "a.b": "c'"})
        assert result.text == "x y\nz\nc'\n"
        assert (await node.run(["cat"], user=user)).stdout == b""

    async def test_account_its_directory(self, node: Location, user: str, shared: str) -> None:
        assert (await node.run(["env", "pwd"], user=user, cwd=shared)).text == f"{shared}\n"
        with pytest.raises(WorkdirError):
            await node.run(["touch", f"{shared}/ran"], user=user, cwd=f"{shared}/missing")

    async def test_account_targets(self, node: Location, user: str, shared: str) -> None:
        """They are opened under the other account."""
        await node.run(["id", "-un"], user=user, cwd=shared, stdout="a 'b")
        assert (await node.run(["cat", f"{shared}/a 'b"])).text == f"{user}\n"
        await node.run(["mkdir", "-m", "700", f"{shared}/private"])
        with pytest.raises(OutputError):
            await node.run(["touch", f"{shared}/ran"], user=user, stderr=f"{shared}/private/out")
        assert not (await node.run(["test", "-e", f"{shared}/ran"])).ok

    async def test_account_a_missing_program(self, node: Location, user: str) -> None:
        with pytest.raises(ProgramNotFound):
            await node.run(["no-such-program-here"], user=user)

    async def test_account_a_timeout_and_cancelling_end_the_tree(
        self, node: Location, observer: Location, user: str, shared: str
    ) -> None:
        script = f"sh -c 'echo $$ >>{shared}/pid; exec sleep 1000' & sh -c 'echo $$ >>{shared}/pid; exec sleep 1000'; :"
        with pytest.raises(CommandTimeout):
            await node.run(script, user=user, timeout=2)
        await gone(observer, await lines(observer, f"{shared}/pid"))
        task = asyncio.create_task(node.run(script, user=user))
        pids = await written(observer, f"{shared}/pid", 4)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await gone(observer, pids)

    async def test_no_variable_stands_on_a_command_line(
        self, node: Location, observer: Location, user: str, shared: str
    ) -> None:
        """Guarantee 9: whoever may list processes sees nothing of what a command was given."""
        script = f"echo $$ >>{shared}/pid; read x"
        for account in (user, None):
            async with node.open(script, user=account, env={"SECRET": SECRET}) as process:
                pids = await written(observer, f"{shared}/pid")
                listed = await observer.run(["ps", "-A", "-ww", "-o", "args="])
                await process.stdin.aclose()
            assert pids
            assert SECRET not in listed.text

    async def test_no_variable_of_a_warm_command_stands_on_a_command_line(
        self, node: Location, observer: Location, shared: str
    ) -> None:
        await node.run(["mkfifo", f"{shared}/gate"])
        task = asyncio.create_task(node.run(f"echo on >>{shared}/on; read x <{shared}/gate", env={"SECRET": SECRET}))
        await written(observer, f"{shared}/on")
        listed = await observer.run(["ps", "-A", "-ww", "-o", "args="])
        await observer.run(f"echo >{shared}/gate")
        await task
        assert SECRET not in listed.text


class Terminals(Suite):
    """``pty=True``."""

    @pytest.fixture
    def terminal(self) -> None:
        """Skips where there are none."""
        if not self.has_terminal:
            pytest.skip("no terminals here")

    @pytest.mark.usefixtures("terminal")
    async def test_terminal_all_three_streams(self, node: Location) -> None:
        result = await node.run("test -t 0 && test -t 1 && test -t 2 && echo yes; tty", pty=True)
        assert result.text.startswith("yes\r\n/dev/")
        assert not (await node.run("test -t 0 || test -t 1 || test -t 2")).ok

    @pytest.mark.usefixtures("terminal")
    async def test_terminal_is_the_controlling_one(self, node: Location) -> None:
        assert (await node.run("echo to-the-terminal >/dev/tty", pty=True)).text == "to-the-terminal\r\n"

    @pytest.mark.usefixtures("terminal")
    async def test_terminal_status_and_both_streams(self, node: Location) -> None:
        result = await node.run(["sh", "-c", "echo out; echo err >&2; exit 7"], pty=True)
        assert (result.returncode, result.stdout, result.stderr) == (7, b"out\r\nerr\r\n", b"")
        assert (await node.run(["sh", "-c", "kill -TERM $$"], pty=True)).returncode == 143

    @pytest.mark.usefixtures("terminal")
    async def test_terminal_has_a_size(self, node: Location) -> None:
        rows, columns = (await node.run(["stty", "size"], pty=True)).text.split()
        assert int(rows) > 0
        assert int(columns) > 0

    @pytest.mark.usefixtures("terminal")
    async def test_terminal_the_end_of_input_is_said(self, node: Location) -> None:
        for stdin in (None, b"a line\n"):
            result = await node.run("stty -echo; cat", pty=True, stdin=stdin, timeout=20)
            assert result.returncode == 0
            assert result.stdout.endswith((stdin or b"").replace(b"\n", b"\r\n"))

    @pytest.mark.usefixtures("terminal")
    async def test_terminal_much_output(self, node: Location) -> None:
        result = await node.run("head -c 200000 /dev/zero | tr '\\0' a; echo; echo end", pty=True, timeout=60)
        assert result.stdout == b"a" * 200_000 + b"\r\nend\r\n"

    @pytest.mark.usefixtures("terminal")
    async def test_terminal_a_timeout_ends_the_tree(self, node: Location, observer: Location, where: str) -> None:
        script = f"sh -c 'echo $$ >>{where}/pid; trap \"\" HUP TERM; while :; do sleep 1000; done' & sleep 1000"
        with pytest.raises(CommandTimeout):
            await node.run(script, pty=True, timeout=1)
        await gone(observer, await lines(observer, f"{where}/pid"), within=0.5)

    @pytest.mark.usefixtures("terminal")
    async def test_terminal_in_the_callers_hands(self, node: Location) -> None:
        async with node.open("stty -echo; echo ready; read x; echo got $x; exit 4", pty=True) as process:
            assert await process.stdout.receive() == b"ready\r\n"
            await process.stdin.send(b"typed\n")
            assert await process.stdout.read() == b"got typed\r\n"
            assert await process.wait() == 4
