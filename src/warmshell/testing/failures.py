"""Errors: each of its kind, with what was run, where, and what to do; a failed command is a result."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from warmshell.command import Command
from warmshell.errors import (
    CommandError,
    CommandFailed,
    ProgramNotFound,
    WorkdirError,
    WorkdirNotADirectory,
    WorkdirNotFound,
)
from warmshell.location import Location
from warmshell.testing.suite import Suite, is_there

BAD: dict[str, tuple[Any, dict[str, Any]]] = {
    "no words": ([], {}),
    "an empty program": (["", "x"], {}),
    "a NUL byte in a word": (["echo", "a\0b"], {}),
    "a NUL byte in a script": ("echo a\0b", {}),
    "bytes": (b"echo", {}),
    "a number": (["echo", 5], {}),
    "nothing": (None, {}),
    "a NUL byte in the directory": (["true"], {"cwd": "a\0"}),
    "a NUL byte in a target": (["true"], {"stdout": "a\0"}),
    "an empty directory": (["true"], {"cwd": ""}),
    "an empty target": (["true"], {"stdout": ""}),
    "a user like an option": (["true"], {"user": "-u"}),
    "a terminal with a target": (["true"], {"pty": True, "stdout": "x"}),
}


class Failures(Suite):
    """The error family as it meets a caller."""

    async def test_a_missing_program(self, node: Location, where: str) -> None:
        cases: list[dict[str, Any]] = [{}, {"cwd": where}, {"env": {"A": "b"}}, {"env": {"a.b": "c"}}, {"env_only": {}}]
        for words in (["no-such-program-here", "x"], [f"{where}/missing"], ["./missing"]):
            for options in cases:
                with pytest.raises(ProgramNotFound) as caught:
                    await node.run(words, **options)
                error = caught.value
                assert isinstance(error, FileNotFoundError)
                assert error.errno == errno.ENOENT
                assert words[0] in str(error)
                assert error.location == node.name
                assert error.hint

    async def test_a_script_that_names_a_missing_program_has_the_status_127(self, node: Location) -> None:
        result = await node.run("no-such-program-here; echo after; no-such-program-here")
        assert (result.returncode, result.stdout) == (127, b"after\n")

    async def test_a_program_that_exits_with_127_is_there(self, node: Location) -> None:
        result = await node.run(["sh", "-c", "echo out; exit 127"])
        assert (result.returncode, result.stdout) == (127, b"out\n")

    async def test_a_file_that_is_no_program(self, node: Location, where: str) -> None:
        await node.run(f"echo 'echo ran' >{where}/file")
        for words in ([f"{where}/file"], [where]):
            assert (await node.run(words)).returncode == 126

    async def test_a_missing_directory(self, node: Location, where: str) -> None:
        """Known defect of others: the command runs all the same, elsewhere."""
        for what in (["touch", f"{where}/ran"], f"touch {where}/ran"):
            with pytest.raises(WorkdirNotFound) as caught:
                await node.run(what, cwd=f"{where}/missing")
            assert isinstance(caught.value, FileNotFoundError)
            assert caught.value.errno == errno.ENOENT
            assert f"{where}/missing" in str(caught.value)
            assert node.name in str(caught.value)
        assert not await is_there(node, f"{where}/ran")

    async def test_a_directory_that_is_none(self, node: Location, where: str) -> None:
        await node.run(["touch", f"{where}/file"])
        with pytest.raises(WorkdirNotADirectory) as caught:
            await node.run(["touch", f"{where}/ran"], cwd=f"{where}/file")
        assert isinstance(caught.value, NotADirectoryError)
        assert not await is_there(node, f"{where}/ran")

    async def test_a_directory_error_is_raised_for_a_process_too(self, node: Location, where: str) -> None:
        with pytest.raises(WorkdirError):
            async with node.open(["true"], cwd=f"{where}/missing"):
                pass
        with pytest.raises(ProgramNotFound):
            async with node.open(["no-such-program-here"]):
                pass

    async def test_what_cannot_be_expressed_is_refused(self, node: Location) -> None:
        for name, (what, options) in BAD.items():
            with pytest.raises(CommandError) as caught:
                pytest.fail(f"{name} was run: {await node.run(what, **options)}")
            assert isinstance(caught.value, ValueError)

    async def test_a_command_object_is_run_as_it_is(self, node: Location) -> None:
        command = Command("cat; exit 3", stdin=b"x", name="a name")
        for _ in range(2):
            result = await node.run(command)
            assert (result.returncode, result.stdout) == (3, b"x")
        with pytest.raises(TypeError):
            await node.run(command, cwd="/")
        with pytest.raises(TypeError):
            await node.run(["true"], nonsense=1)

    async def test_check_raises_for_a_failure_with_the_end_of_stderr(self, node: Location) -> None:
        result = await node.run("echo why >&2; exit 3")
        with pytest.raises(CommandFailed, match="why") as caught:
            result.check()
        assert caught.value.result is result
        assert "status 3" in str(caught.value)
        assert (await node.run(["true"])).check().ok

    async def test_a_result_says_when_where_and_what(self, node: Location) -> None:
        result = await node.run(["sh", "-c", "exit 0"])
        assert 0 < result.started <= result.ended
        assert result.location == node.name
        assert result.shell
        assert result.command == "sh -c 'exit 0'"
