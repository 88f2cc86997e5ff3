"""Words arrive as given, whatever bytes; the first one names a program, never anything that a shell has of its own."""

from __future__ import annotations

import subprocess
from shlex import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmshell.errors import CommandTooLong, ProgramNotFound
from warmshell.location import Location
from warmshell.testing.exact_bytes import RELAXED
from warmshell.testing.suite import Suite, is_there

EVERY_BYTE_BUT_NUL = bytes(range(1, 256))

WORDS: dict[str, list[bytes]] = {
    "every byte but NUL": [EVERY_BYTE_BUT_NUL],
    "every byte by itself": [bytes([byte]) for byte in range(1, 256)],
    "newlines": [b"\n", b"a\nb", b"\n\n", b"a\n"],
    "empty words": [b"", b"", b"a", b""],
    "globs": [b"*", b"?", b"[a-z]*", b"~", b"~root", b"{a,b}", b"/*"],
    "dashes": [b"-", b"--", b"-n", b"-e", b"--help", b"--version"],
    "expansions": [b"$HOME", b"${HOME}", b"$(echo x)", b"`echo x`", b"$((1+1))", b"$$", b"!!", b"$'\\x41'"],
    "quotes": [b"'", b'"', b"\\", b"'\"'", b"''", b"it's", b"\\'", b"a'b\"c\\d"],
    "operators": [b";", b"&", b"|", b"&&", b"||", b">", b"<", b">/dev/null", b"2>&1", b"(", b")", b"{", b"}", b"#"],
    "white space": [b" ", b"\t", b"  a  ", b"a b", b"\r"],
    "reserved words": [b"if", b"then", b"fi", b"do", b"done", b"case", b"esac", b"while", b"function", b"!"],
    "assignments": [b"A=b", b"PATH=/nowhere", b"=", b"IFS=x"],
    "not UTF-8": [b"\xff\xfe", b"\xc3", b"\x80abc"],
    "marks of framings": [b"0 0", b"1 s", b"SF_CMD_END:0", b"\\echo 1 0 >&9"],
    "100 KB": [b"x'y" * 33_000],
    "2,000 words": [b"word %d" % number for number in range(2000)],
}

# Whatever some shell has of its own under a name that is not a program's: reserved words, builtins, applets.
NAMES = [
    "cd", "export", "alias", "unalias", "eval", "exec", "exit", "set", "unset", "shift", "trap", "return",
    "break", "continue", "readonly", "local", "umask", "ulimit", "wait", "read", "getopts", "hash", "type",
    "times", "let", "declare", "typeset", "source", ":", "[[", "if", "then", "else", "fi", "do", "done", "case",
    "esac", "while", "for", "until", "{", "}", "!", "function", "coproc", "builtin", "command", "fg", "bg",
    "jobs", "history", "help", "shopt", "mapfile", "print", "whence", "autoload", "suspend", "disown", "enable",
    "pushd", "popd", "dirs", "logout", "bind", "complete", "caller", "chdir", "select", "repeat", "end",
]  # fmt: skip

_OPERATORS = [
    "", "a", "b", "-", "--", "!", "(", ")", "=", "==", "!=", "<", ">", "-a", "-o", "-n", "-z", "-e", "-f", "-d",
    "-eq", "-lt", "-nt", "-ef", "-v", "-t", "0", "1", "01", "/", "/dev/null", "/nowhere", "]", "--help", "-x",
]  # fmt: skip
_OPERANDS = st.one_of(
    st.sampled_from(_OPERATORS),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4),
)
_ECHOES = st.one_of(
    st.sampled_from(["-n", "-e", "-E", "-ne", "a\\n", "\\c", "\\0101", "\\x41", "--help", "--version", "-", "--", ""]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6),
)
BUILTINS = st.one_of(
    st.lists(_ECHOES, max_size=4).map(lambda words: ["echo", *words]),
    st.lists(_OPERANDS, max_size=4).map(lambda words: ["test", *words]),
    st.lists(_OPERANDS, max_size=4).map(lambda words: ["[", *words, "]"]),
    st.lists(_OPERANDS, max_size=2).map(lambda words: ["[", *words]),
    st.lists(_ECHOES, max_size=2).map(lambda words: ["true", *words]),
    st.lists(_ECHOES, max_size=2).map(lambda words: ["false", *words]),
    st.lists(st.sampled_from(["-L", "-P", "--", "x", "--version"]), max_size=2).map(lambda words: ["pwd", *words]),
)


class Words(Suite):
    """Guarantee 2 for what goes in."""

    async def test_words_arrive_as_given(self, node: Location) -> None:
        for words in WORDS.values():
            result = await node.run(["printf", "%s\\0", *words])
            assert (result.returncode, result.stderr) == (0, b"")
            assert result.stdout.split(b"\0")[:-1] == words

    @RELAXED
    @given(st.lists(st.binary(max_size=50).map(lambda word: word.replace(b"\0", b"")), min_size=1, max_size=8))
    async def test_any_words_arrive_as_given(self, node: Location, words: list[bytes]) -> None:
        assert (await node.run(["printf", "%s\\0", *words])).stdout.split(b"\0")[:-1] == words

    async def test_words_are_not_split_globbed_or_expanded(self, node: Location, where: str) -> None:
        await node.run(["touch", f"{where}/a", f"{where}/b"])
        assert (await node.run(["echo", "*", "$HOME", "a  b"], cwd=where)).stdout == b"* $HOME a  b\n"

    async def test_words_run_nothing(self, node: Location, where: str) -> None:
        for word in (f"$(touch {where}/x)", f"`touch {where}/x`", f"'; touch {where}/x; '", f"\n touch {where}/x\n"):
            await node.run(["echo", word])
            await node.run(["test", "-v", f"a[{word}]"])
            await node.run(["test", word, "-eq", "1"])
            await node.run(["[", "-v", f"a[{word}]", "]"])
            await node.run(["printf", "%d", f"a[{word}]"])
            await node.run(["printf", "-v", f"a[{word}]", "x"])
        assert not await is_there(node, f"{where}/x")

    async def test_the_first_word_names_a_program_and_nothing_else(self, node: Location) -> None:
        for name in NAMES:
            look = f'IFS=:; for d in $PATH; do test -f "$d"/{quote(name)} && exit; done; exit 1'
            if not (await node.run(look)).ok:
                for options in ({}, {"env": {"A": "b"}}):
                    with pytest.raises(ProgramNotFound):
                        pytest.fail(f"{name} was run: {await node.run([name], **options)}")

    async def test_a_program_with_an_odd_name_is_found(self, node: Location, where: str) -> None:
        script = "#!/bin/sh\nprintf 'the program:%s' \"$*\"\n"
        path = f"{where}:{(await node.run('echo $PATH')).text.strip()}"
        for name in ("if", "cd", "{", "!", "A=b", "-x", "a b", "a'b", "echo", "~", "*", "é", "exec"):
            await node.run(["sh", "-c", 'cat >"$1"; chmod +x "$1"', "-", f"{where}/{name}"], stdin=script.encode())
            for env in ({"PATH": path}, {"PATH": path, "a.b": "c"}):
                result = await node.run([name, "x", "y"], env=env)
                assert (name, result.stdout) == (name, b"the program:x y")
            assert (await node.run([f"{where}/{name}", "x"])).stdout == b"the program:x"
            assert (await node.run([f"./{name}", "x"], cwd=where)).stdout == b"the program:x"

    async def test_a_program_that_appears_later_or_moves_is_found(self, node: Location, where: str) -> None:
        path = f"{where}/a:{where}/b:{(await node.run('echo $PATH')).text.strip()}"
        await node.run(["mkdir", f"{where}/a", f"{where}/b"])
        async with self.connect(shells=1) as one:
            for place in ("b", "a", "b"):
                make = f"rm -f {where}/?/tool; printf '#!/bin/sh\\necho {place}\\n' >{where}/{place}/tool"
                await one.run(f"{make}; chmod +x {where}/{place}/tool")
                assert (await one.run(["tool"], env={"PATH": path})).text == f"{place}\n"
                assert (await one.run(f"PATH={path}; tool")).text == f"{place}\n"

    async def test_what_echo_test_and_true_do_is_what_the_programs_do(self, node: Location) -> None:
        cases = (["echo", "a\\n"], ["echo", "-n"], ["echo", "-n", "a"], ["echo", "-e", "a\\tb"], ["true", "--help"])
        more = (["printf", "\\x41%q", "a b"], ["kill", "-l"], ["test", "a", "-a", "b"], ["[", "--help"], ["pwd", "-P"])
        last = (["echo"], ["echo", "", "a"], ["test"], ["false"], ["true", "--version"], ["sleep", "--version"])
        for words in (*cases, *more, *last):
            program = await node.run(["env", *words])
            result = await node.run(words)
            expected = program.returncode, program.stdout, program.stderr
            assert (result.returncode, result.stdout, result.stderr) == expected, words

    @RELAXED
    @given(BUILTINS)
    async def test_builtins_do_what_subprocess_gives_for_the_same_words(self, node: Location, words: list[str]) -> None:
        if not self.local:
            pytest.skip("the programs of this machine may be others than those of the location")
        expected = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        result = await node.run(words)
        said = result.stderr.replace(f"/usr/bin/{words[0]}:".encode(), f"{words[0]}:".encode())
        assert (result.returncode, result.stdout, said) == (expected.returncode, expected.stdout, expected.stderr)

    async def test_the_longest_word_arrives(self, node: Location) -> None:
        word = b"x" * (128 * 1024 - 1)
        assert len((await node.run(["printf", "%s", word])).stdout) == len(word)

    async def test_too_long_a_word_is_one_clear_error_and_nothing_is_run(self, node: Location, where: str) -> None:
        for options in ({"env": {"A": "x" * 128 * 1024}}, {}):
            words = ["sh", "-c", f"touch {where}/ran", "x" * (1 if options else 128 * 1024)]
            with pytest.raises(CommandTooLong, match="kernel"):
                await node.run(words, **options)
        assert not await is_there(node, f"{where}/ran")

    async def test_too_many_words_are_one_clear_error_and_nothing_is_run(self, node: Location, where: str) -> None:
        with pytest.raises(CommandTooLong, match="too long"):
            await node.run(["sh", "-c", f"touch {where}/ran", *["x" * 100_000] * 200])
        assert not await is_there(node, f"{where}/ran")
        assert (await node.run(["echo", "fresh"])).stdout == b"fresh\n"
