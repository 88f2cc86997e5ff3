"""What is said on a channel's streams, with a real shell and bytes in arbitrary pieces."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmshell.command import Command
from warmshell.connector.far.framing import ChannelCutter, hello_line, hello_of, process_lines, shell_line

MARKER = b"0123456789abcdef0123456789abcdef "
HELLO = hello_of("feed")
LOGIN_SHELLS = ["sh", "dash", "bash", "busybox sh", "zsh", "ksh", "tcsh"]


def talk(lines: bytes, stdin: bytes = b"", login: str = "sh", noise: str = "") -> tuple[bytes, bytes, list[bytes]]:
    """The program's output and errors, and the reports, as the far end says them."""
    line = (noise + ";" if noise else "") + hello_line("feed")
    try:
        done = subprocess.run(
            [*login.split(), "-c", line],
            input=lines + stdin,
            capture_output=True,
            timeout=30,
            check=False,
            start_new_session=True,
        )
    except FileNotFoundError:
        pytest.skip(f"{login} is not installed")
    out, err = ChannelCutter(HELLO, MARKER), ChannelCutter(HELLO, MARKER)
    streams = b"".join(out.feed(done.stdout)), b"".join(err.feed(done.stderr))
    assert out.reports == err.reports
    return *streams, out.reports


@pytest.mark.parametrize("login", LOGIN_SHELLS)
def test_any_login_shell_reads_the_line(login):
    words = ["printf", "%s|", "a b", "it's", "$HOME", "!x", "new\nline", bytes(range(1, 256))]
    out, err, reports = talk(process_lines(Command(words), "t.p1", MARKER), login=login)
    assert (
        out
        == b"".join(word if isinstance(word, bytes) else word.encode() for word in words[2:-1] for word in (word, "|"))
        + bytes(range(1, 256))
        + b"|"
    )
    assert (err, reports) == (b"", [b"s", b"0"])


def test_noise_before_the_hello_is_discarded():
    noise = "echo banner; echo complaint >&2; printf 'no newline'"
    out, err, reports = talk(process_lines(Command("echo out; echo err >&2; exit 7"), "t.p1", MARKER), noise=noise)
    assert (out, err, reports) == (b"out\n", b"err\n", [b"s", b"7"])


@pytest.mark.parametrize(("script", "status"), [
    ("exit 255", b"255"), ("kill -KILL $$", b"137"), ("kill -TERM 0", b"143"), ("kill -INT $$", b"130"),
    ("exec >&- 2>&-; exit 3", b"3"), ("trap", b"0"),
])  # fmt: skip
def test_the_status_is_the_commands_own(script, status):
    out, _, reports = talk(process_lines(Command(script), "t.p1", MARKER))
    assert reports == [b"s", status]
    assert out == b""


def test_standard_input_is_the_commands():
    out, _, _ = talk(process_lines(Command(["cat"]), "t.p1", MARKER), stdin=b"a\0b\nlast")
    assert out == b"a\0b\nlast"


def test_variables_of_any_name_and_an_environment_of_its_own():
    env = {"A": "x y\nz", "a.b": "it's", "IFS": "q"}
    out, _, _ = talk(process_lines(Command(["env", "-0"], env=env), "t.p1", MARKER))
    found = out.split(b"\0")
    assert {b"A=x y\nz", b"a.b=it's", b"IFS=q", b"WARMSHELL_COMMAND=t.p1.0"} <= set(found)
    out, _, _ = talk(process_lines(Command("cat", env_only={"A": "b"}), "t.p1", MARKER), stdin=b"in")
    assert out == b"in"
    out, _, _ = talk(process_lines(Command(["env", "-0"], env_only={"A": "b", "a.b": "c"}), "t.p1", MARKER))
    names = {entry.partition(b"=")[0] for entry in out.split(b"\0") if entry}
    assert {b"A", b"a.b", b"WARMSHELL_COMMAND"} <= names <= {b"A", b"a.b", b"WARMSHELL_COMMAND", b"PWD", b"SHLVL", b"_"}


def test_what_cannot_be_run_is_told(tmp_path):
    (tmp_path / "file").touch()
    cases = [
        (Command(["no-such-program-here"]), [b"n"]),
        (Command([f"{tmp_path}/missing"]), [b"n"]),
        (Command(["cat"], env={"PATH": "/nowhere"}), [b"n"]),
        (Command(["true"], cwd=f"{tmp_path}/missing"), [b"c 2"]),
        (Command(["true"], cwd=f"{tmp_path}/file"), [b"c 20"]),
    ]
    for command, expected in cases:
        out, err, reports = talk(process_lines(command, "t.p1", MARKER))
        assert (out, err, reports) == (b"", b"", expected), command
    out, _, _ = talk(process_lines(Command(["env", "pwd"], cwd="-"), "t.p1", MARKER, bytes(tmp_path)))
    assert out == b""
    (tmp_path / "-").mkdir()
    out, _, _ = talk(process_lines(Command(["env", "pwd"], cwd="-"), "t.p1", MARKER, bytes(tmp_path)))
    assert out.decode() == f"{tmp_path}/-\n"


def test_a_shell_of_ones_own():
    out, err, reports = talk(shell_line((b"sh",), "t.m1", MARKER, blank=True), stdin=b"env\nexit 4\n")
    assert b"WARMSHELL_COMMAND=t.m1.0" in out.split(b"\n")
    assert not [line for line in out.split(b"\n") if line.startswith(b"HOME=")]
    assert (err, reports) == (b"", [b"s", b"4"])


def test_nothing_of_a_command_stands_on_a_command_line():
    line = hello_line("feed")
    assert "\n" not in line
    assert "!" not in line
    assert line.count("'") == 2
    out, _, _ = talk(process_lines(Command("ps -ww -o args= -p $PPID", env={"SECRET": "xyzzy"}), "t.p1", MARKER))
    assert b"warmshell-channel" in out
    assert b"xyzzy" not in out
    assert MARKER.strip() not in out


@given(st.binary(max_size=200), st.binary(max_size=200), st.lists(st.integers(1, 40)), st.booleans())
def test_bytes_cut_anywhere(noise, output, cuts, partial):
    """Even output that holds the beginning of a marker, up to its last byte but one."""
    output += MARKER[:-1] if partial else b""
    data = noise + b"\n" + HELLO + b"12\n" + MARKER + b"s\n" + output + MARKER + b"5\nlate" + MARKER + b"7\n"
    cutter = ChannelCutter(HELLO, MARKER)
    pieces = []
    at = 0
    for cut in [*cuts, len(data)]:
        pieces += cutter.feed(data[at : at + cut])
        at += cut
    assert cutter.reports == [b"s", b"5"]
    assert b"".join(pieces) == output + b"late" + MARKER + b"7\n"
    assert cutter.rest() == b""


def test_output_without_an_end_is_kept():
    cutter = ChannelCutter(b"", MARKER)
    assert cutter.feed(MARKER + b"s\nabc" + MARKER[:5]) == [b"abc"]
    assert cutter.rest() == MARKER[:5]
    with pytest.raises(ValueError, match="marker"):
        cutter.feed(MARKER + b"x" * 1000)
