"""A command as the first line of standard input, read by ``sh -c READER``, for each shell that ``sh`` may be."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from warmshell.protocol.dialect import Dialect
from warmshell.protocol.line import READER, line, reader_words
from warmshell.protocol.quoting import quote

from .real_shells import ENV, every_shell, hard_bytes, hard_words, names, very_slowly

# Prints its words, its environment and its standard input, exactly.
SHOW = (
    sys.executable.encode(), b"-IS", b"-c",
    b"import os,sys\nprint((list(map(os.fsencode,sys.argv[1:])),dict(os.environb),sys.stdin.buffer.read()))", b"--",
)  # fmt: skip
# Which shells set. ksh93 hands on in A__z what kinds of values its variables hold.
OWN = {b"WARMSHELL_COMMAND", b"PWD", b"OLDPWD", b"SHLVL", b"_", b"LC_CTYPE", b"LOGNAME", b"A__z"}


def send(shell: Dialect, text: bytes, rest: bytes = b"", **env: bytes) -> subprocess.CompletedProcess[bytes]:
    environment = {**ENV, **{name.encode(): value for name, value in env.items()}}
    return subprocess.run(
        [*shell.argv, b"-c", READER], input=text + rest, env=environment, capture_output=True, check=False, timeout=60
    )


def seen(done: subprocess.CompletedProcess[bytes]) -> tuple[list[bytes], dict[bytes, bytes], bytes]:
    import ast

    assert (done.returncode, done.stderr) == (0, b""), done
    words, env, stdin = ast.literal_eval(done.stdout.decode())
    return words[1:], {name: value for name, value in env.items() if name not in OWN}, stdin


def test_the_reader_is_started_as_words():
    assert reader_words() == [b"sh", b"-c", READER]


@every_shell
@very_slowly
@given(
    words=hard_words,
    env=st.dictionaries(
        names | st.sampled_from([b"N", b"W", b"L", b"a.b", b"1", b"a-b", b"IFS", b"PPID"]), hard_bytes, max_size=3
    ),
    rest=hard_bytes,
)
@example(words=[b"a\nb"], env={b"N": b"x", b"W": b"y\nz"}, rest=b"\nrest\n")
def test_words_environment_and_input_arrive_as_given(shell, words, env, rest):  # fmt: skip
    text = line([*SHOW, *words], None, env, b"t.1")
    assert text.count(b"\n") == 1
    assert seen(send(shell, text, rest)) == (words, {**ENV, **env}, rest)


@every_shell
@very_slowly
@given(word=hard_bytes, env=st.dictionaries(names, hard_bytes, max_size=2), rest=hard_bytes)
def test_a_script_arrives_as_given(shell, word, env, rest):
    script = b"set -f\n" + b" ".join(map(quote, SHOW)) + b" " + quote(word) + b" # a comment"
    text = line([], script, env, b"t.1")
    assert text.count(b"\n") == 1
    assert seen(send(shell, text, rest)) == ([word], {**ENV, **env}, rest)


@every_shell
def test_the_tag_is_in_the_environment(shell):
    done = send(shell, line([b"env"], None, None, b"abc.7"))
    assert b"WARMSHELL_COMMAND=abc.7" in done.stdout.split(b"\n")


@every_shell
@pytest.mark.parametrize("variable", ["N", "W", "L"])
def test_what_the_environment_holds_already_is_left_alone(shell, variable):
    done = send(shell, line([*SHOW, b"a\nb"], None, None, b"t.1"), **{variable: b"mine"})
    assert seen(done)[1][variable.encode()] == b"mine"


@every_shell
def test_status_and_missing_program(shell):
    assert send(shell, line([b"sh", b"-c", b"exit 7"], None, None, b"t.1")).returncode == 7
    assert send(shell, line([], b"exit 8", {b"a.b": b"1"}, b"t.1")).returncode == 8
    missing = send(shell, line([b"no-such-program-here"], None, None, b"t.1"))
    assert missing.returncode == 127
    assert missing.stderr


@every_shell
def test_a_hundred_kilobytes_on_the_line(shell):
    words = [b"x'\n" * 15_000, b"y" * 60_000]
    assert seen(send(shell, line([*SHOW, *words], None, None, b"t.1"), b"rest"))[::2] == (words, b"rest")


@every_shell
def test_a_program_named_like_a_builtin(shell):
    assert send(shell, line([b"echo", b"a\\nb", b"-n"], None, None, b"t.1")).stdout == b"a\\nb -n\n"
