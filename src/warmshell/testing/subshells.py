"""Concurrent shells that begin as copies."""

from __future__ import annotations

import asyncio
from shlex import quote

import pytest

from warmshell.errors import ShellLost
from warmshell.location import Location
from warmshell.testing.suite import Suite, each

VALUES = {
    "spaces": "a  b ",
    "quotes": 'it\'s "quoted" \\ `x` $y',
    "lines": "a\nb='c'\n\nd\n",
    "export text": "x\nexport FORGED='1'\ndeclare -x FORGED=1\nFORGED=1",
    "controls": "\x01\x02\x1b[31m\t\r\x7f",
    "other bytes": b"\xff\xfe\x80".decode("utf-8", "surrogateescape"),
    "letters": "äöü ☃",
    "empty": "",
    "percent": "%s %q %%",
}

COPIED = {
    "variables": ("V=1; W='a b'", 'echo "$V,$W"', "1,a b\n"),
    "exported variables": ("export V=1 W; W=2", 'sh -c \'echo "$V"; echo "$W"\'', "1\n2\n"),
    "what is not exported": ("V=1", "sh -c 'echo \"${V-none}\"'", "none\n"),
    "umask": ("umask 027", "umask", "0027\n"),
    "options": ("set -f -u", "echo *; case $- in *f*u*|*u*f*) echo yes;; esac", "*\nyes\n"),
    "a trap": ("trap 'echo caught' USR1", "kill -USR1 $$; :", "caught\n"),
    "readonly": ("readonly R=1", "(R=2) 2>/dev/null || echo still; echo $R", "still\n1\n"),
    "an unset variable": ("unset HOME", 'echo "${HOME-none}"', "none\n"),
    "IFS": ("IFS=:", "x=a:b; set -- $x; echo $#", "2\n"),
}

COPIED_BY_BASH = {
    "functions": ('f() { echo "f $1"; }; g() { f "$@"; cat <<E\nhere $1\nE\n}', "g x", "f x\nhere x\n"),
    "arrays": ("a=(1 'b c' [5]=six)", 'echo "${#a[@]} ${a[1]} ${a[5]}"', "3 b c six\n"),
    "associative arrays": ("declare -A m=([k 1]='v 1' [x]=y)", 'echo "${m[k 1]} ${m[x]}"', "v 1 y\n"),
    "integers": ("declare -i n=5", "n=n+2; echo $n", "7\n"),
    "lower case": ("declare -l l=ABC", "l=DEF; echo $l", "def\n"),
    "aliases": ("shopt -s expand_aliases; alias hi='echo hello'", "hi", "hello\n"),
    "shopt": ("shopt -s nullglob extglob", "echo @(no|such)*; shopt -q extglob && echo on", "\non\n"),
    "positional": ("set -- a 'b c' $'d\\ne'", 'echo $#; printf "%s|" "$@"', "3\na|b c|d\ne|"),
    "pipefail": ("set -o pipefail", "false | true; echo $?", "1\n"),
    "an exported function": ("f() { echo f; }; export -f f", "bash -c f", "f\n"),
}


class Subshells(Suite):
    """``shell.subshell()``."""

    @each(COPIED)
    async def test_it_starts_from_a_copy(self, node: Location, case: tuple[str, str, str]) -> None:
        change, look, expected = case
        async with self.stateful(node) as sh:
            await sh.run(change)
            async with sh.subshell() as child:
                assert (await child.run(look)).text == expected
            assert (await sh.run("printf alive")).text == "alive"

    @each(COPIED_BY_BASH)
    async def test_it_starts_from_a_copy_of_all_state(self, node: Location, case: tuple[str, str, str]) -> None:
        if not self.copies_all:
            pytest.skip("this shell cannot print all of its state")
        await self.test_it_starts_from_a_copy(node, case)

    async def test_the_directory_is_copied(self, node: Location, where: str) -> None:
        async with self.stateful(node) as sh:
            await sh.run(["mkdir", f"{where}/a 'b\nc"])
            await sh.run(["cd", f"{where}/a 'b\nc"])
            async with sh.subshell() as child:
                assert (await child.run("pwd")).text == f"{where}/a 'b\nc\n"

    @each(VALUES)
    async def test_a_value_of_any_bytes_is_copied(self, node: Location, case: str) -> None:
        async with self.stateful(node) as sh:
            await sh.run(f'V={quote(case)}; export E="$V"')
            async with sh.subshell() as child:
                expected = case.encode("utf-8", "surrogateescape")
                assert (await child.run('printf %s "$V"')).stdout == expected
                assert (await child.run(["sh", "-c", 'printf %s "$E"'])).stdout == expected
                assert (await child.run('echo "${FORGED-none}"')).text == "none\n"

    async def test_each_goes_its_own_way_afterwards(self, node: Location, where: str) -> None:
        async with self.stateful(node) as sh:
            await sh.run("V=1")
            async with sh.subshell() as child, child.subshell() as grandchild:
                await sh.run("V=parent")
                await child.run(f"V=child; cd {where}")
                assert (await sh.run("echo $V")).text == "parent\n"
                assert (await child.run("echo $V")).text == "child\n"
                assert (await grandchild.run("echo $V")).text == "1\n"
                assert len({sh.id, child.id, grandchild.id}) == 3

    async def test_they_run_concurrently(self, node: Location, where: str) -> None:
        await node.run(["mkfifo", f"{where}/gate"])
        async with self.stateful(node) as sh, sh.subshell() as child:
            waiting = asyncio.create_task(sh.run(f"read x <{where}/gate; echo $x"))
            await child.run(f"echo word >{where}/gate", timeout=60)
            assert (await waiting).text == "word\n"

    async def test_of_a_busy_shell_it_has_the_state_after_the_last_finished_command(
        self, node: Location, where: str
    ) -> None:
        if not self.late_output_is_apart:
            pytest.skip("with markers a subshell waits until its parent is idle")
        await node.run(["mkfifo", f"{where}/gate", f"{where}/ready"])
        async with self.stateful(node) as sh:
            await sh.run("V=before")
            busy = asyncio.create_task(sh.run(f"V=during; echo >{where}/ready; read x <{where}/gate; V=after"))
            await node.run(f"read x <{where}/ready")
            async with sh.subshell() as child:
                assert (await child.run("echo $V", timeout=60)).text == "before\n"
            assert not busy.done()
            await node.run(f"echo >{where}/gate")
            await busy
            async with sh.subshell() as child:
                assert (await child.run("echo $V")).text == "after\n"

    async def test_of_a_shell_that_has_ended_there_is_none(self, node: Location) -> None:
        async with self.stateful(node) as sh:
            await sh.run("exit 3")
            with pytest.raises(ShellLost) as caught:
                async with sh.subshell():
                    pass
            assert caught.value.started == "no"

    async def test_a_child_that_ends_harms_its_parent_not(self, node: Location) -> None:
        async with self.stateful(node) as sh:
            async with sh.subshell() as child:
                assert (await child.run("exit 3")).returncode == 3
            async with sh.subshell() as child:
                with pytest.raises(ShellLost):
                    await child.run("kill -9 $$; sleep 1000")
            assert (await sh.run("echo fresh")).text == "fresh\n"
