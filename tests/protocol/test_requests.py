"""Requests given to real shells in both framings: what a command does stays its own, and the next one is right."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmshell.protocol.dialect import dialect
from warmshell.protocol.quoting import quote
from warmshell.protocol.request import Body, script_body, stateful_body, words_body

from .drivers import Driver, MarkerDriver, NoAnswer, PipeDriver, to
from .real_shells import ENV, every_dialect, hard_words, names, slowly

framings = pytest.mark.parametrize("framing", [MarkerDriver, PipeDriver])


def script(driver: Driver, text: str | bytes, **options):
    data = text.encode() if isinstance(text, str) else text
    return driver.run(script_body(driver.dialect, data), **options)


def is_right(driver: Driver, base: Path) -> None:
    """Whether the next commands get what a new shell would give them."""
    got = script(driver, 'pwd -P; umask; echo "$#$X"')
    assert (got.status, got.stderr) == (0, b"")
    where, mask, rest = got.stdout.splitlines()
    assert (where, int(mask, 8), rest) == (bytes(base), umask(), b"0")
    assert tuple(driver.run(words_body(driver.dialect, [b"echo", b"a  b"]))) == (0, b"a  b\n", b"")
    assert tuple(driver.run(words_body(driver.dialect, [b"sh", b"-c", b"echo out; echo err >&2; exit 3"]))) == (
        3, b"out\n", b"err\n",
    )  # fmt: skip


def umask() -> int:
    mask = os.umask(0o22)
    os.umask(mask)
    return mask


# Each ends, loops not, and leaves its shell alive; the status is what POSIX says, or None where shells differ.
HOSTILE: dict[str, int | None] = {
    "exit 7": 7,
    "exit 7 &": 0,
    "exec sh -c 'exit 9'": 9,
    "exec 1>&-; echo lost": None,
    "exec 9>&- 8>&- 7>&-; echo kept": 0,
    "exec >/dev/null 2>&1 </dev/null 9>/dev/null 8>&1 7>&1": 0,
    "cd /; umask 077; X=1; export X; set -- a b": 0,
    "set -e; false; echo never": 1,
    "set -euxf; : $X": None,
    "set -n; echo never": None,
    "set -x -v; echo shown": 0,
    "cat": 0,
    'read x; echo "read $? $x"': 0,
    "cat <<E\nunended": None,
    "cat <<'E'\n$x `y`\nE": 0,
    "echo 'unbalanced": None,
    'echo "unbalanced': None,
    "echo `unbalanced": None,
    "echo $(unbalanced": None,
    "echo ${unbalanced": None,
    "if true; then": None,
    "fi": None,
    "done; )": None,
    "}": None,
    "{ echo a": None,
    "(echo a": None,
    "case x in": None,
    ";;": None,
    "# only a comment": 0,
    "echo a # and a comment": 0,
    "echo a \\": 0,
    "": 0,
    "\n\n": 0,
    "f() { echo f; }; f": 0,
    "echo() { :; }; printf() { :; }; cd() { :; }; eval() { :; }; test() { :; }; unset() { :; }": None,
    "alias echo=false if=false eval=exit; echo x": None,
    "trap 'echo trapped' EXIT; exit 4": 4,
    "trap '' TERM INT; X=2": 0,
    "sleep 1000 >/dev/null 2>&1 & echo started; kill $!": 0,
    "kill -9 $$ 2>/dev/null &": None,
    "ulimit -n 20; echo low": 0,
    "IFS=0123456789; echo a": 0,
    "PATH=/nowhere; no-such-program-here": 127,
    "readonly X=1; X=2": None,
    "return 5": None,
    "break; continue; echo on": None,
    "eval 'eval \"exit 6\"'": 6,
    ". /dev/null; echo sourced": 0,
    ". /no/such/file; echo on": None,
    "printf 'no newline'": 0,
    "printf '\\000\\377'": 0,
    "echo 1 0 >&9": None,
    "kill -TERM $(sh -c 'echo $PPID')": None,
    "unset PATH IFS HOME; echo x": 0,
    "set -o noglob; set -o posix 2>/dev/null; set -o pipefail 2>/dev/null; false | true": None,
    "_warm_s=77; true": 0,
    "command exec; command :": 0,
    "LC_ALL=xx; LANG=yy; echo x": None,
    "while :; do exit 11; done": 11,
    "a=$(exit 12)": 12,
    "! true": 1,
}  # fmt: skip
del HOSTILE["kill -9 $$ 2>/dev/null &"]  # it kills the warm shell: a matter for the lane, which says so


@framings
@every_dialect
def test_hostile_scripts_and_the_command_after_each(shell, framing, tmp_path):
    with framing(shell, tmp_path) as driver:
        is_right(driver, tmp_path)
        for text, status in HOSTILE.items():
            answer = script(driver, text)
            assert answer.event == "ended", text
            assert status is None or answer.status == status, (text, answer)
            assert tuple(driver.run(words_body(shell, [b"echo", b"next"]))) == (0, b"next\n", b""), text
        is_right(driver, tmp_path)


# Pieces of scripts that neither loop nor wait nor start many processes, whatever their order.
_pieces = st.sampled_from(
    [b"'", b'"', b"`", b"$(", b")", b"(", b"{ ", b" }", b"${", b"$((", b"\\", b"\n", b";", b";;", b"#", b"&&", b"||",
     b" ", b"<<E\n", b"<<-'E'\n", b"\nE\n", b"if ", b" then ", b" else ", b" fi ", b"case x in ", b" x) ",
     b" esac ", b"for x in 1 2; do ", b" done ", b"! ", b"echo a ", b"echo 'b'", b"true ", b"false ", b"exit 3",
     b"exit", b"set -e;", b"set -u;", b"set -f;", b"set -x;", b"cd /;", b"exec ", b"exec >&-;", b"exec 9>&-;",
     b"read x;", b"cat;", b"X=1 ", b"$X", b"$@", b"*", b"?", b"[", b"]", b"[[ ", b" ]]", b"f() ", b"eval ",
     b"trap 'echo t' EXIT;", b"unset X;", b"readonly X;", b"shift 9;", b"return 2;", b"break;", b"command ",
     b"~", b"\t", b"\x81", b"\xff", b"</dev/null ", b">/dev/null ", b"umask 0;", b"alias a=b;", b"local x;",
     b"IFS=0123;", b"wait;"]
)  # fmt: skip


@framings
@every_dialect
@slowly
@given(texts=st.lists(st.lists(_pieces, max_size=10).map(b"".join), min_size=1, max_size=6))
def test_scripts_of_any_pieces(shell, framing, tmp_path, texts):
    with framing(shell, tmp_path) as driver:
        for text in texts:
            answer = script(driver, text)
            assert answer.event == "ended"
            expected = subprocess.run(
                [*shell.argv, b"-c", b'(eval "$0")', text], env=ENV, cwd=tmp_path,
                stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60,
            )  # fmt: skip
            assert (answer.status, answer.stdout) == (expected.returncode, expected.stdout), text
        assert tuple(driver.run(words_body(shell, [b"echo", b"next"]))) == (0, b"next\n", b"")
        assert script(driver, "pwd; echo ${X-none} $-").stdout.startswith(bytes(tmp_path) + b"\nnone ")


@framings
@every_dialect
@slowly
@given(
    words=hard_words,
    env=st.none() | st.dictionaries(names | st.sampled_from([b"a.b", b"1", b"a-b"]), hard_words.map(b" ".join)),
)
def test_words_and_variables_arrive_as_given(shell, framing, tmp_path, words, env):
    with framing(shell, tmp_path) as driver:
        got = driver.run(words_body(shell, [b"printf", b"%s\\0", *words], env))
        assert tuple(got) == (0, b"\0".join([*words, b""]), b"")
        got = driver.run(words_body(shell, [b"env", b"-0"], env))
        seen = dict(entry.split(b"=", 1) for entry in got.stdout.split(b"\0")[:-1])
        assert {name: seen.get(name) for name in env or {}} == (env or {})
        assert seen[b"WARMSHELL_COMMAND"] == b"t.2"
        left = dict(
            entry.split(b"=", 1) for entry in driver.run(words_body(shell, [b"env", b"-0"])).stdout.split(b"\0")[:-1]
        )
        assert not set(env or {}) & set(left)


@framings
@every_dialect
def test_output_in_large_amounts_and_every_byte(shell, framing, tmp_path):
    data = bytes(range(256)) * 4000
    (tmp_path / "data").write_bytes(data)
    with framing(shell, tmp_path) as driver:
        for text in ("cat data; cat data >&2", "cat data >&2 & cat data; wait"):
            assert tuple(script(driver, text)) == (0, data, data)
        assert tuple(driver.run(words_body(shell, [b"cat"]), stdin=to(tmp_path / "data"))) == (0, data, b"")
        assert tuple(script(driver, "head -c 3 >/dev/null; cat", stdin=to(tmp_path / "data"))) == (0, data[3:], b"")


@framings
@every_dialect
def test_the_directory_is_entered_and_left(shell, framing, tmp_path):
    odd = [b"a b", b"-", b"-P", b"~", b"$HOME", b"new\nline", b"'quote\"", b"\xff\x81", b"*", b"..x", b"CDPATH"]
    with framing(shell, tmp_path, env={b"CDPATH": b"/usr:/", b"HOME": b"/"}) as driver:
        for name in odd:
            os.mkdir(os.path.join(os.fsencode(tmp_path), name))
            got = driver.run(words_body(shell, [b"pwd"]), cwd=name)
            assert tuple(got) == (0, os.path.join(os.fsencode(tmp_path), name) + b"\n", b"")
        assert script(driver, "cd /; exit 3", cwd=b"/usr").status == 3
        assert script(driver, "pwd; env | grep -c '^OLDPWD='", cwd=b"/usr/bin/..").stdout in (
            b"/usr\n0\n",
            b"/usr\n1\n",
        )
        gone = driver.run(words_body(shell, [b"touch", b"ran"]), cwd=b"no/such/directory")
        assert gone.event == "no-directory"
        assert driver.run(words_body(shell, [b"touch", b"ran"]), cwd=b"").event in ("ended", "no-directory")
        is_right(driver, tmp_path)
    assert not (tmp_path / "no").exists()


@framings
@every_dialect
def test_a_base_that_is_gone_retires_the_shell(shell, framing, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    with framing(shell, base) as driver:
        base.rmdir()
        answer = driver.run(words_body(shell, [b"sh", b"-c", b"exit 5"]), cwd=b"/")
        assert (answer.event, answer.status, answer.reports[-1].retire) == ("ended", 5, True)


@framings
@every_dialect
def test_the_start_is_acknowledged_before_the_command_runs(shell, framing, tmp_path):
    with framing(shell, tmp_path) as driver:
        answer = driver.run(Body(b"false"), acknowledge=True)
        assert [report.event for report in answer.reports] == ["started", "ended"]
        missing = driver.run(Body(b"touch ran"), acknowledge=True, stdin=b"</no/such/file")
        assert [report.event for report in missing.reports] == ["ended"]
        assert missing.status != 0
        is_right(driver, tmp_path)
    assert not (tmp_path / "ran").exists()


# -- stateful shells --

# What a person may do in a shell of theirs without ending it, and what the next command must then print.
STATES = {
    "X=1; cd /usr": ("echo $X; pwd", b"1\n/usr\n"),
    'f() { echo "f $1"; }': ("f a", b"f a\n"),
    "set -u -f": ("echo *", b"*\n"),
    "set -x": ("echo a", b"a\n"),
    "set -v": ("echo a", b"a\n"),
    "set -C": ("echo a", b"a\n"),
    "IFS=0123456789": ("x=a5b; printf '%s.' $x", b"a.b."),
    "IFS=": ("x='a b'; printf '%s.' $x", b"a b."),
    "IFS=s": ("x=asb; printf '%s.' $x", b"a.b."),
    'echo() { command echo "mine: $*"; }': ("echo a", b"mine: a\n"),
    "alias echo='echo mine:'": ("printf a", b"a"),
    "printf() { command printf 'mine %s' \"$@\"; }": ("printf a", b"mine a"),
    "pwd() { command echo mine; }": ("pwd", b"mine\n"),
    'cd() { command cd "$@" && command echo entered; }': ("cd /", b"entered\n"),
    "unset() { :; }; export() { :; }": ("command echo a", b"a\n"),
    "set -- a 'b c'": ("printf '%s.' \"$@\"", b"a.b c."),
    "trap 'echo trapped' USR1": ("kill -USR1 $$; echo on", b"trapped\non\n"),
    "'unbalanced": ("echo a", b"a\n"),
    "if true; then": ("echo a", b"a\n"),
    "}": ("echo a", b"a\n"),
    "exec 9>/dev/null 8>/dev/null 7>/dev/null": ("echo a", b"a\n"),
    "set -e": ("echo a", b"a\n"),
    "unset PATH": ("echo a", b"a\n"),
    "set -o pipefail 2>/dev/null || :": ("echo a", b"a\n"),
    "umask 027": ("umask -S", b"u=rwx,g=rx,o=\n"),
    "false": ("echo a", b"a\n"),
    "OPTIND=9; LINENO=7; _warm_s=5": ("echo a", b"a\n"),
    "set -f -u; unset X Y Z": ("echo a", b"a\n"),
}  # fmt: skip


# What ends mksh: a syntax error in an eval; and, as it keeps what stderr was at "set -x" for its trace, a closed pipe.
MKSH_ENDS = {"'unbalanced", "if true; then", "}"}
MKSH_ENDS_WITH_PIPES = MKSH_ENDS | {"set -x"}


def follows(driver: Driver, first: str, second: str) -> bytes:
    """What the second command prints after the first, in the shell itself."""
    driver.run(stateful_body(first.encode(), driver.dialect), acknowledge=True)
    answer = driver.run(stateful_body(second.encode(), driver.dialect), acknowledge=True)
    assert (answer.event, answer.status) == ("ended", 0), (first, answer)
    return answer.stdout


@framings
@every_dialect
@pytest.mark.parametrize("first", STATES)
def test_state_persists_and_disturbs_no_report(shell, framing, tmp_path, first):
    second, expected = STATES[first]
    with framing(shell, tmp_path) as driver:
        if shell.name == "ksh" and first in (MKSH_ENDS_WITH_PIPES if framing is PipeDriver else MKSH_ENDS):
            with pytest.raises(NoAnswer, match="the shell ended"):
                follows(driver, first, second)
            return
        assert follows(driver, first, second) == expected
        inside = driver.run(stateful_body(b"command :", shell), acknowledge=True, cwd=None)
        assert inside.status == 0


# -- texts that are built, not run --


@given(value=st.binary(max_size=9).filter(lambda value: b"\0" not in value))
def test_a_request_is_one_complete_line(value):
    from warmshell.protocol.pipes import pipe_frame
    from warmshell.protocol.request import compose

    sh = dialect("dash")
    frame = pipe_frame(b"</dev/null", b">" + quote(value), b"2>" + quote(value))
    for body in (words_body(sh, [b"x", value]), script_body(sh, value), stateful_body(value, sh)):
        for cwd in (None, value):
            text = compose(body, frame, 1, b"t.1", cwd=cwd)
            assert text.endswith(b"\n")
            bare = text[:-1].replace(b"'\\''", b"")
            assert b"\n" not in b"".join(bare.split(b"'")[::2])  # outside quotes
