"""A script is one thing: nothing in it can be mistaken for what stands around it."""

from __future__ import annotations

import pytest

from warmshell.location import Location
from warmshell.testing.suite import Suite, each, is_there

WHOLE: dict[str, tuple[str, int, bytes]] = {
    "nothing": ("", 0, b""),
    "white space": (" \n\t\n ", 0, b""),
    "only a comment": ("# nothing", 0, b""),
    "a comment at the end": ("echo hi # no newline", 0, b"hi\n"),
    "a comment with a quote": ("echo hi # it's", 0, b"hi\n"),
    "a newline at the end": ("echo hi\n", 0, b"hi\n"),
    "lines": ("echo a\necho b\nexit 4\necho c\n", 4, b"a\nb\n"),
    "a here-document": ("cat <<E\na $((1+1))\nE\n", 0, b"a 2\n"),
    "a quoted here-document": ("cat <<'E'\n$x 'y\nE\n", 0, b"$x 'y\n"),
    "two here-documents": ("cat <<A; cat <<B\na\nA\nb\nB\n", 0, b"a\nb\n"),
    "a function": ("f() { echo $1; return 5; }; f x", 5, b"x\n"),
    "exit": ("echo a; exit 7; echo b", 7, b"a\n"),
    "exec": ("exec echo a; echo b", 0, b"a\n"),
    "set -e": ("set -e; echo a; false; echo b", 1, b"a\n"),
    "an EXIT trap": ("trap 'echo bye' EXIT; echo hi", 0, b"hi\nbye\n"),
    "an EXIT trap that exits": ("trap 'exit 9' EXIT; echo hi", 9, b"hi\n"),
    "its arguments": ("echo $#", 0, b"0\n"),
    "the status before": ("echo $?", 0, b"0\n"),
    "a pipeline": ("printf 'b\\na\\n' | sort", 0, b"a\nb\n"),
    "a fork": ("(echo a; exit 3); echo $?", 0, b"a\n3\n"),
    "a case": ("case a in a) echo yes;; esac", 0, b"yes\n"),
    "command substitution": ("echo $(echo $(echo deep))", 0, b"deep\n"),
    "a background job that is waited for": ("echo a & wait; echo b", 0, b"a\nb\n"),
    "a line that goes on": ("echo a \\\nb", 0, b"a b\n"),
    "the status of the last command": ("true; false", 1, b""),
    "no program": ("no-such-program-here 2>/dev/null", 127, b""),
}

BROKEN = {
    "an open quote": "echo 'a",
    "an open double quote": 'echo "a',
    "an open backquote": "echo `echo a",
    "an open substitution": "echo $(echo a",
    "an open brace": "{ echo a",
    "an open parenthesis": "( echo a",
    "a closing parenthesis": "echo a; ) ; touch X; (",
    "a closing brace": "echo a; } ; touch X; {",
    "a stray fi": "echo a; fi; touch X; if :; then :",
    "a stray done": "done; touch X",
    "a stray ;;": ";; touch X",
    "an if without end": "if true; then touch X",
    "an open here-document": "cat >/dev/null <<E\na",
    "an operator at the end": "true &&",
    "a backslash at the end": "echo a \\",
    "a bad substitution": "echo ${a!b@}; touch X",
    "a quote that closes ours": "' ; touch X; '",
    "an open arithmetic": "echo $((1+",
    "a bad redirection": "echo a >; touch X",
}

HOSTILE = {
    "writes to every descriptor": "for i in 3 4 5 6 7 8 9; do eval \"echo '1 0' >&$i\"; done 2>/dev/null",
    "closes every descriptor": 'for i in 0 1 2 3 4 5 6 7 8 9; do eval "exec $i<&-"; done',
    "reads from every descriptor": "for i in 0 3 4 5 6 7 8 9; do eval 'cat <&'$i; done 2>/dev/null",
    "set -v": "set -v; echo a",
    "set -n": "set -n; echo a",
    "set -u": "set -u; echo $undefined",
    "an assignment to a readonly variable": "readonly a; a=1",
    "an unknown option": "set -o nonsense",
    "a special builtin that fails": ". /no/such/file",
    "exec of nothing": "exec /no/such/program",
    "break out of nothing": "break 5; continue 3; return 3",
    "shift too far": "shift 99",
    "functions over everything": "echo() { :; }; printf() { :; }; test() { :; }; unset() { :; }; cd() { :; }",
    "aliases over everything": "alias echo=: if=: then=: fi=: eval=: unset=: hash=: cd=:",
    "kill of its own fork": "kill -9 $(sh -c 'echo $PPID')",
    "kill of its process group's children": "sleep 1000 & kill -9 $!; wait",
    "a trap for every signal": "trap '' HUP INT QUIT TERM USR1 PIPE ALRM",
    "a limit on files": "ulimit -n 5",
    "a limit on file size": "ulimit -f 0",
    "a changed IFS": "IFS=0123456789",
    "no PATH": "unset PATH; PATH=",
    "all variables unset": "for v in $(set | sed -n 's/^\\([A-Za-z_]*\\)=.*/\\1/p'); do unset $v; done 2>/dev/null",
    "positional parameters": "set -- 1 2 3; exec 1>&2",
    "xtrace": "set -x; : some trace",
    "a trap on DEBUG and ERR": "trap 'echo trapped' DEBUG ERR 2>/dev/null; true; false",
}


class Scripts(Suite):
    """Scripts: whole, broken, hostile."""

    async def test_a_script_does_what_sh_does(self, node: Location) -> None:
        for name, (script, status, output) in WHOLE.items():
            result = await node.run(script, timeout=60)
            assert (name, result.returncode, result.stdout, result.stderr) == (name, status, output, b"")

    @each(BROKEN)
    async def test_a_broken_script_harms_nothing(self, node: Location, where: str, case: str) -> None:
        async with self.connect(shells=1) as one:
            result = await one.run(case.replace("X", f"{where}/x"), timeout=60)
            assert not result.ok or not result.stderr or case.startswith(("cat", "echo a \\"))
            await self.is_right(one)
        assert not await is_there(node, f"{where}/x")

    @each(HOSTILE)
    async def test_a_hostile_script_harms_nothing(self, case: str) -> None:
        async with self.connect(shells=1) as one:
            await one.run(case, timeout=60)
            await self.is_right(one)

    async def is_right(self, node: Location) -> None:
        """The next commands give exactly what they should."""
        for what in (["echo", "fresh"], "echo fresh"):
            result = await node.run(what, timeout=60)
            assert (result.returncode, result.stdout, result.stderr) == (0, b"fresh\n", b"")
        result = await node.run("echo fresh >&2; cat; false", stdin=b"given", timeout=60)
        assert (result.returncode, result.stdout, result.stderr) == (1, b"given", b"fresh\n")

    async def test_a_script_larger_than_any_command_line(self, node: Location) -> None:
        script = "".join(f"a{n % 10}={n}\n" for n in range(200_000)) + "echo $a7 # end"
        assert len(script) > 1_000_000
        assert (await node.run(script, timeout=60)).stdout == b"199997\n"

    async def test_a_script_of_bytes_that_are_not_text(self, node: Location) -> None:
        letters = bytes(byte for byte in range(1, 256) if byte != ord("'"))
        script = b"printf %s '" + letters + b"'"
        assert (await node.run(script.decode("utf-8", "surrogateescape"))).stdout == letters

    async def test_a_script_reads_its_own_standard_input_only(self, node: Location) -> None:
        script = "read a; read b; echo $b $a; cat"
        result = await node.run(script, stdin=b"1\n2\nrest 'of it\n")
        assert result.stdout == b"2 1\nrest 'of it\n"

    @pytest.mark.parametrize("script", ["set -x; true", "set -v\ntrue\n"])
    async def test_a_trace_shows_the_script_and_nothing_of_ours(self, node: Location, script: str) -> None:
        result = await node.run(script)
        assert result.stdout == b""
        assert b"WARMSHELL" not in result.stderr
        assert b"/proc/" not in result.stderr
        assert (await node.run("echo fresh")).stderr == b""
