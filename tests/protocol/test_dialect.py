"""Which words a shell may run itself: only where it does what the program of that name does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warmshell.protocol.dialect import Dialect, builtin_equals_program, dialect, is_shadowed
from warmshell.protocol.quoting import is_name, quote, quote_all
from warmshell.protocol.request import script_body, words_body

from .real_shells import ENV, NAMES, dialect_of, evaluate, every_dialect, every_shell, hard_bytes, slowly

FILES = (
    b"file",
    b"dir",
    b"link",
    b"dangling",
    b"empty",
    b"script",
    b"secret",
    b"fifo",
    b"no such",
    b"-e",
    b"=",
    b"\xff",
    b"a\nb",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with files of every kind that ``test`` tells apart."""
    where = tmp_path_factory.mktemp("place")
    for name in (b"file", b"-e", b"=", b"\xff", b"a\nb", b"script", b"secret"):
        (where / os.fsdecode(name)).write_bytes(b"x")
    (where / "empty").touch()
    (where / "dir").mkdir()
    (where / "link").symlink_to("file")
    (where / "dangling").symlink_to("nowhere")
    (where / "script").chmod(0o755)
    (where / "secret").chmod(0)
    os.mkfifo(where / "fifo")
    return where


_operators = st.sampled_from(
    [b"-e", b"-f", b"-d", b"-r", b"-w", b"-x", b"-s", b"-L", b"-h", b"-n", b"-z", b"-v", b"-t", b"-a", b"-o",
     b"-p", b"=", b"!=", b"==", b"<", b">", b"=~", b"-eq", b"-lt", b"-nt", b"-ef", b"!", b"(", b")", b"-",
     b"--", b"--help", b"--version", b"]", b"-N", b"-O"]
)  # fmt: skip
_operands = st.sampled_from(FILES) | hard_bytes | _operators
_commands = st.one_of(
    st.tuples(st.sampled_from([b"true", b"false", b"echo", b"pwd"])),
    st.lists(_operands, max_size=4).map(lambda words: [b"echo", *words]),
    st.lists(_operands, max_size=4).map(lambda words: [b"true", *words]),
    st.lists(_operands, max_size=4).map(lambda words: [b"test", *words]),
    st.lists(_operands, max_size=4).map(lambda words: [b"[", *words, b"]"]),
    st.tuples(_operators, _operands).map(lambda words: [b"test", *words]),
    st.tuples(_operands, st.sampled_from([b"=", b"!="]), _operands).map(lambda words: [b"[", *words, b"]"]),
)  # fmt: skip


def program(words: list[bytes], cwd: Path) -> tuple[int, bytes]:
    """What the program does."""
    path = os.fsencode(shutil.which(os.fsdecode(words[0])))
    done = subprocess.run(
        words, executable=path, cwd=cwd, env=ENV, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return done.returncode, done.stdout


@every_dialect
@settings(slowly, suppress_health_check=list(HealthCheck))
@given(commands=st.lists(_commands.filter(builtin_equals_program), min_size=1, max_size=15))
def test_builtins_do_what_the_programs_do(shell, place, commands):
    border = b"--border-5c1d--"
    texts = [
        words_body(shell, words).text + b";env printf '%%s%%d%%s' %s $? %s\n" % (border, border) for words in commands
    ]
    done = evaluate(shell, b"".join(texts), cwd=place)
    assert done.stderr == b""
    parts = done.stdout.split(border)
    got = [(int(status), output) for output, status in zip(parts[::2], parts[1::2], strict=False)]
    assert got == [program(words, place) for words in commands]


def test_what_the_allow_list_must_refuse():
    for words in (
        [b"test", b"-v", b"a[$(x)]"], [b"echo", b"-n"], [b"echo", b"a\\n"], [b"echo", b"--help"],
        [b"true", b"--version"],
        [b"test", b"a", b"-a", b"b"], [b"test", b"(", b"=", b")"], [b"[", b"-n", b"x"], [b"[", b"--help"],
        [b"printf", b"x"],
        [b"kill", b"-l"], [b"pwd", b"-P"], [b"test", b"!", b"x"], [b"test", b"a", b"<", b"b"], [b"test", b"-t", b"1"],
        [b"cd", b"/"],
        [b"./echo", b"a"], [b"/bin/true"],
    ):  # fmt: skip
        assert not builtin_equals_program(words), words


@settings(max_examples=200)
@given(words=st.lists(hard_bytes, min_size=1))
def test_the_allow_list_takes_any_words(words):
    if builtin_equals_program(words):
        assert words[0] in (b"true", b"false", b"echo", b"test", b"[", b"pwd")


# -- programs that are named like something of a shell's --


def own_names(shell: Dialect) -> set[bytes]:
    """Every builtin and keyword that the shell admits to have, and what any shell may have."""
    ask = {
        "bash": b"compgen -b; compgen -k",
        "zsh": b"print -rl -- ${(k)builtins} ${(k)reswords} ${(k)aliases} ${(k)functions}",
        "ash": b"help; busybox --list",
        "ksh": b"builtin; whence -v if; typeset +f; alias",
    }.get(shell.name, b":")
    said = subprocess.run([*shell.argv, b"-c", ask], env=ENV, capture_output=True, check=False).stdout
    words = {word.split(b"=")[0] for word in said.split()}
    common = (
        b"alias bg bind break builtin case cat command continue coproc date declare do done echo elif else esac"
        b" eval exec exit export"
        b"false fc fg fi for function getopts global hash help history if in integer jobs kill let local login"
        b" ls mapfile newgrp"
        b"nohup nice print printf pwd r read readarray readonly rename rm select set shift sleep source stat"
        b" stop suspend sync test"
        b"then time times trap true type typeset ulimit umask unalias unset until wait whence which while"
        b" autoload chdir hist sum"
    ).split()
    # A name with a slash is a path, and "env" is what such programs are run by.
    known = {name for name in {*words, *common} if re.fullmatch(rb"[a-z_0-9]+|[:!{}]|\[\[?|\]\]", name)}
    return known - {b"env"}


@every_dialect
def test_programs_named_like_builtins_keywords_and_applets_are_run(shell, tmp_path):
    names = sorted(own_names(shell))
    for name in names:
        path = tmp_path / os.fsdecode(name)
        path.write_bytes(b'#!/bin/sh\necho "program $0 $*"\n')
        path.chmod(0o755)
    env = {**ENV, b"PATH": bytes(tmp_path) + b":" + ENV[b"PATH"]}
    wrong = []
    for name in names:
        text = shell.program([name, b"a b"])
        done = evaluate(shell, text + b"\n", env=env, cwd=tmp_path)
        if done.stdout != b"program %s a b\n" % (bytes(tmp_path) + b"/" + name):
            wrong.append((name, done.stdout, done.stderr))
    assert not wrong


@every_shell
@pytest.mark.parametrize(
    "name", [b"a=b", b"-x", b"~", b"*", b"a b", b"{", b"a\nb", b"$x", b"!", b"#", b"\xff", b"0", b"{a,b}"]
)
def test_programs_with_odd_names_are_run(shell, tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), name)
    Path(os.fsdecode(path)).write_bytes(b'#!/bin/sh\nprintf "%s|" "$@" "$V"\nenv | grep -c "^o\\.d=" \n')
    os.chmod(path, 0o755)
    env = {**ENV, b"PATH": bytes(tmp_path) + b":" + ENV[b"PATH"]}
    for given_env in (None, {b"V": b"1"}, {b"o.d": b"x"}, {b"V": b"2", b"o.d": b"x"}):
        done = evaluate(shell, words_body(shell, [name, b"a"], given_env).text + b"\n", env=env)
        value = (given_env or {}).get(b"V", b"")
        # dash drops the odd name on its way through the script, as it drops all that it cannot hold: not counted there.
        assert done.stdout.startswith(b"a|%s|" % value), (given_env, done)


@every_dialect
def test_functions_from_the_environment_stand_in_for_nothing(shell):
    env = {
        **ENV,
        **{
            b"BASH_FUNC_%s%%%%" % name: b"() { builtin printf mine; }"
            for name in (b"ls", b"uname", b"echo", b"true", b"test")
        },
    }
    for words in ([b"uname"], [b"uname", b"-s"]):
        done = evaluate(shell, words_body(shell, words).text + b"\n", env=env)
        assert done.stdout == os.uname().sysname.encode() + b"\n"
    for words, output in (([b"echo", b"a"], b"a\n"), ([b"true"], b""), ([b"test", b"-n", b"x"], b"")):
        done = evaluate(shell, words_body(shell, words).text + b"\n", env=env)
        assert (done.returncode, done.stdout) == (0, output), words


def test_a_program_that_moved_is_found_again(tmp_path):
    for name in NAMES:
        if shutil.which(name) is None:
            continue
        shell = dialect(name)
        first, second = tmp_path / f"{name}-1", tmp_path / f"{name}-2"
        for where in (first, second):
            where.mkdir()
        (first / "prog").write_text("#!/bin/sh\necho first\n")
        (first / "prog").chmod(0o755)
        env = {**ENV, b"PATH": b"%s:%s:%s" % (bytes(first), bytes(second), ENV[b"PATH"])}
        body = words_body(shell, [b"prog"])
        run = body.prologue + body.text + b"\n"
        move = b"mv %s %s\n" % (quote(bytes(first / "prog")), quote(bytes(second / "prog")))
        assert evaluate(shell, run + move + run, env=env).stdout == b"first\nfirst\n", name


# -- names of variables --


def shell_variables() -> list[bytes]:
    """Every variable that some shell here has of its own accord."""
    found = set()
    for name in NAMES:
        if shutil.which(name) is None:
            continue
        done = subprocess.run([*dialect(name).argv, b"-c", b"set"], env=ENV, capture_output=True, check=False)
        found |= {line.split(b"=")[0] for line in done.stdout.splitlines() if b"=" in line}
    documented = (
        b"BASH_XTRACEFD BASH_COMPAT BASH_ENV ENV FUNCNEST GLOBIGNORE HISTCONTROL HISTFILE HISTSIZE"
        b" HISTTIMEFORMAT IGNOREEOF INPUTRC LANG"
        b"LC_ALL LC_CTYPE LC_MESSAGES LC_NUMERIC LINES COLUMNS MAIL MAILCHECK MAILPATH OPTARG OPTERR"
        b" POSIXLY_CORRECT PROMPT_COMMAND PS0"
        b"PS1 PS2 PS3 PS4 TIMEFORMAT TMOUT TMPDIR auto_resume histchars CDPATH HOME HOSTNAME SHELL SHELLOPTS"
        b" BASHOPTS BASH_ARGV0"
        b"CHILD_MAX COMPREPLY COPROC EMACS EXECIGNORE FCEDIT FIGNORE READLINE_LINE REPLY EXINIT KSH_VERSION"
        b" VISUAL EDITOR argv status"
        b"path cdpath fpath prompt psvar signals pipestatus ARGC KEYTIMEOUT NULLCMD READNULLCMD SAVEHIST TTY"
        b" TTYIDLE WORDCHARS N W L x"
    ).split()
    return sorted(name for name in {*found, *documented} if is_name(name))


@every_shell
@pytest.mark.parametrize("value", [b"", b"x y"])
def test_every_variable_a_shell_knows_reaches_a_command_as_given(shell, value):
    # What loads the program, or ends the shell's own doings, is not what is tried here.
    names = [name for name in shell_variables() if name not in (b"PATH", b"LD_PRELOAD")]
    wrong = []
    for name in names:
        words = words_body(shell, [b"env", b"-0"], {name: value})
        script = script_body(shell, b"env -0", {name: value})
        border = b";env printf '\\0\\0';"
        before = b"exec 9>&2;unset LC_ALL;"
        done = evaluate(shell, before + words.text + border + script.text + border + b"echo next $?>&9\n")
        parts = [part.split(b"\0") for part in done.stdout.split(b"\0\0\0")]
        entry = name + b"=" + value
        # A script's shell may keep a variable from its programs, or give it another value: as it does when it is cold.
        right = entry in parts[0] and done.stderr.endswith(b"next 0\n")
        if done.stderr != b"next 0\n" or entry not in parts[1]:
            said, left = cold(shell, name, value)
            right = right and (done.stderr[:-7], entries(parts[1], name)) == (said, left)
        if not right:
            wrong.append((name, done.stderr, entries(parts[0], name), entries(parts[1], name)))
    assert not wrong


def cold(shell: Dialect, name: bytes, value: bytes) -> tuple[bytes, list[bytes]]:
    """What a new shell says of a variable in its environment, and what a program of its sees of it."""
    env = {b"PATH": ENV[b"PATH"], name: value}
    done = subprocess.run([*shell.argv, b"-c", b"env -0"], env=env, capture_output=True, check=False)
    return done.stderr, entries(done.stdout.split(b"\0"), name)


def entries(environment: list[bytes], name: bytes) -> list[bytes]:
    if name in (b"PPID", b"BASHPID", b"RANDOM", b"SRANDOM", b"SECONDS", b"EPOCHREALTIME", b"EPOCHSECONDS", b"_"):
        return []  # another one in every shell, if it keeps it at all
    return [entry for entry in environment if entry.startswith(name + b"=")]


# -- names of shells --


@pytest.mark.parametrize(
    ("name", "kind", "argv"),
    [
        ("dash", "dash", (b"dash",)),
        ("/usr/bin/dash", "dash", (b"/usr/bin/dash",)),
        ("bash", "bash", (b"bash", b"--noprofile", b"--norc")),
        ("busybox", "ash", (b"busybox", b"sh")),
        ("busybox sh", "ash", (b"busybox", b"sh")),
        ("/bin/busybox sh", "ash", (b"/bin/busybox", b"sh")),
        ("ash", "ash", (b"busybox", b"sh")),
        ("mksh", "ksh", (b"mksh",)),
        ("ksh93", "ksh", (b"ksh93",)),
        ("sh", "posix", (b"sh",)),
        ("/opt/yash", "posix", (b"/opt/yash",)),
    ],
)
def test_shells_by_name(name, kind, argv):
    found = dialect(name)
    assert (found.name, found.argv) == (kind, argv)
    assert found.copies == (kind == "bash")
    assert kind in repr(found)


def test_shadowed_names():
    assert is_shadowed(b"echo")
    assert not is_shadowed(b"ls")
    assert quote_all([]) == b""
    assert dialect_of("sh").program([b"ls"]) == b"command 'ls'"
