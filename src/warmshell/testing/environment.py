"""Variables: added, replaced, with any name and any bytes; and only for the command that they were given to."""

from __future__ import annotations

from typing import Any

import pytest

from warmshell.errors import CommandError
from warmshell.location import Location
from warmshell.testing.suite import Suite, is_there

EVERY_TEXT = bytes(range(1, 256)).decode("utf-8", "surrogateescape")
ODD_NAMES = ["a.b", "a-b", "1a", "a b", "BASH_FUNC_x%%", "ünï", "a'b", "a$b", "-n", "(", "a\nb", "*", "a[0]", "!"]
SPECIAL_NAMES = ["IFS", "UID", "EUID", "PPID", "LINENO", "RANDOM", "SECONDS", "OPTIND", "GROUPS", "PS4", "ENV", "HOME"]
MORE_NAMES = ["BASHOPTS", "SHELLOPTS", "BASH_VERSINFO", "FUNCNAME", "USERNAME", "TERM", "LANG", "CDPATH", "MAIL", "TZ"]
OUR_NAMES = ["s", "_warm_s", "N", "W", "status"]


async def environment(node: Location, **options: object) -> dict[bytes, bytes]:
    """The variables that a program gets, without those that carry the command's tag."""
    result = (await node.run(["env", "-0"], **options)).check()
    pairs = [entry.partition(b"=")[::2] for entry in result.stdout.split(b"\0")[:-1]]
    return {name: value for name, value in pairs if not name.startswith(b"WARMSHELL_")}


class Environment(Suite):
    """The variables of commands."""

    async def test_variables_are_added_for_one_command_only(self, node: Location) -> None:
        before = await environment(node)
        after = await environment(node, env={"ADDED": "x y", "HOME": "/elsewhere"})
        assert after[b"ADDED"] == b"x y"
        assert after[b"HOME"] == b"/elsewhere"
        assert {**before, b"ADDED": b"x y", b"HOME": b"/elsewhere", b"_": b""} == {**after, b"_": b""}
        assert await environment(node) == before

    async def test_a_value_of_every_byte(self, node: Location) -> None:
        expected = EVERY_TEXT.encode("utf-8", "surrogateescape")
        for name in ("V", "a.b"):
            assert (await environment(node, env={name: EVERY_TEXT}))[name.encode()] == expected
        script = await node.run('printf %s "$V"', env={"V": EVERY_TEXT})
        assert script.stdout == expected

    async def test_values_that_look_like_shell_text_run_nothing(self, node: Location, where: str) -> None:
        for value in (f"$(touch {where}/x)", f"'; touch {where}/x;'", f"() {{ :;}}; touch {where}/x", ""):
            for what in (["env"], "env"):
                result = await node.run(what, env={"V": value, "a.b": value})
                assert f"V={value}\n".encode() in result.stdout
        assert not await is_there(node, f"{where}/x")

    async def test_any_name_reaches_a_program(self, node: Location) -> None:
        for name in ODD_NAMES + SPECIAL_NAMES + MORE_NAMES + OUR_NAMES:
            found = await environment(node, env={name: "some value", "PLAIN": "1"})
            assert (name, found.get(name.encode())) == (name, b"some value")
            assert found[b"PLAIN"] == b"1"

    async def test_any_name_reaches_the_programs_of_a_script(self, node: Location) -> None:
        for name in ODD_NAMES + OUR_NAMES:
            entry = f"{name}=some value".encode()
            plain = await node.run(["env", "--", entry, "sh", "-c", "env -0"])
            result = await node.run("env -0; exit 3", env={name: "some value", "PLAIN": "1"})
            assert (name, result.returncode) == (name, 3)
            assert b"PLAIN=1" in result.stdout.split(b"\0")
            # Some shells hand on no variable that they cannot hold themselves.
            if entry in plain.stdout.split(b"\0"):
                assert entry in result.stdout.split(b"\0")

    async def test_path_decides_where_the_program_is_found(self, node: Location, where: str) -> None:
        make = f"printf '#!/bin/sh\\necho mine\\n' >{where}/sort; chmod +x {where}/sort"
        (await node.run(make)).check()
        path = f"{where}:{(await node.run('echo $PATH')).text.strip()}"
        assert (await node.run(["sort"], env={"PATH": path})).stdout == b"mine\n"
        assert (await node.run("sort", env={"PATH": path})).stdout == b"mine\n"
        assert (await node.run(["sort"])).stdout == b""

    async def test_env_only_is_all_there_is(self, node: Location) -> None:
        assert await environment(node, env_only={"A": "b", "PATH": "/usr/bin:/bin"}) == {
            b"A": b"b", b"PATH": b"/usr/bin:/bin",
        }  # fmt: skip
        assert await environment(node, env_only={}) == {}
        assert await environment(node, env_only={"HOME": "/x", "SHLVL": "7"}, env={"C": "d"}) == {
            b"HOME": b"/x", b"SHLVL": b"7", b"C": b"d",
        }  # fmt: skip
        assert b"HOME" in await environment(node)

    async def test_env_only_with_a_directory_and_odd_names(self, node: Location, where: str) -> None:
        found = await environment(node, env_only={"a.b": "c", "IFS": "x"}, cwd=where)
        assert found == {b"a.b": b"c", b"IFS": b"x"}

    async def test_env_only_for_a_script(self, node: Location) -> None:
        result = await node.run('echo "$A" "${HOME-none}" "${LEAK-none}"', env_only={"A": "b"})
        assert result.stdout == b"b none none\n"

    async def test_variables_of_a_process(self, node: Location) -> None:
        given: list[dict[str, Any]] = [{name: {"A": "b c", "a.b": "d"}} for name in ("env", "env_only")]
        for options in given:
            async with node.open(["env", "-0"], **options) as process:
                found = (await process.stdout.read()).split(b"\0")
            assert b"A=b c" in found
            assert b"a.b=d" in found
            assert any(entry.startswith(b"HOME=") for entry in found) == ("env" in options)

    async def test_names_that_no_environment_can_hold_are_refused(self, node: Location) -> None:
        for env in ({"": "x"}, {"A=B": "x"}, {"A\0": "x"}, {"A": "x\0"}):
            for option in ("env", "env_only"):
                with pytest.raises(CommandError):
                    await node.run(["true"], **{option: env})
