"""What a shell prints of its state makes another one of its kind the same."""

from __future__ import annotations

import contextlib
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from warmshell.protocol.dialect import Dialect, dialect
from warmshell.protocol.quoting import quote
from warmshell.protocol.request import stateful_body
from warmshell.protocol.state import dump, restore

from .real_shells import ENV, dialect_of, evaluate, every_dialect, every_shell, hard_bytes, names, slowly, very_slowly

BORDER = b"--border-77aa--"


def in_both(shell: Dialect, setup: bytes, probe: bytes, where: Path, env: dict[bytes, bytes] | None = None):
    """What the probe prints in a shell after the set-up, and in another one that took its state over."""
    environment = {**ENV, **(env or {})}
    file = quote(bytes(where / "state"))
    # With its stderr elsewhere, as snapshots have it: "set -x" shows what prints the state.
    script = b"%s\nif :;then %sfi >|%s 2>/dev/null\n{ %s\n} 2>/dev/null\n" % (setup, dump(shell), file, probe)
    parent = evaluate(shell, script, cwd=where, env=environment)
    text = restore(shell, (where / "state").read_bytes())
    body = stateful_body(text, shell).text
    border = b"command printf '%%s' %s;command printf '%%s' %s >&2" % (BORDER, BORDER)
    script = b"%s\n%s\n{ %s\n} 2>/dev/null\n" % (body, border, probe)
    child = subprocess.run(
        shell.argv, input=script, cwd="/", env=environment, capture_output=True, check=False, timeout=60
    )
    said, border, got = child.stdout.partition(BORDER)
    errors = child.stderr.partition(BORDER)[0]
    assert (said, border) == (b"", BORDER), child
    assert b"eval" not in errors, errors  # traces apart, nothing to complain about
    return parent.stdout, got


def same(shell: Dialect, setup: bytes, probe: bytes, where: Path, **options) -> bytes:
    parent, child = in_both(shell, setup, probe, where, **options)
    assert child == parent
    return parent


def show(*names: bytes) -> bytes:
    """Shell text that prints variables exactly, and whether programs see them."""
    shown = b"".join(b";env printf '%%s=%%s|\\n' %s \"${%s-unset}\"" % (name, name) for name in names)
    return (
        b"set +x +u +e +f;IFS=' '"
        + shown
        + b";env|grep -c "
        + b" ".join(b"-e '^%s='" % name for name in names)
        + b"||:"
    )


@every_shell
@very_slowly
@given(
    values=st.lists(
        st.tuples(names, hard_bytes, st.sampled_from([b"", b"export", b"readonly"])),
        min_size=1,
        max_size=6,
        unique_by=lambda got: got[0],
    )
)
@example(
    values=[(b"AAAQ_", b"x\nBBBQ_=$(echo bad >&2)\n", b""), (b"CCCQ_", b"'\"$(echo bad >&2)`echo bad`\\", b"export")]
)
@example(
    values=[
        (b"AAAQ_", b"~", b""),
        (b"BBBQ_", b"\x01\x7f\x80'\n\t\x1b", b"readonly"),
        (b"CCCQ_", b"\x1c.\xa7\xdc'\x9c\xff\x7f\x00"[:-1], b""),
    ]
)
def test_variables_of_any_value(shell, tmp_path, values):
    if shell.name == "zsh":  # which prints 0xdc and "t" as it prints 0x89
        values = [(name, value.replace(b"\xdc", b""), how) for name, value, how in values]
    setup = b"".join(b"%s=%s\n" % (name, quote(value)) for name, value, _ in values)
    setup += b"".join(b"%s %s\n" % (how, name) for name, _, how in values if how)
    shown = same(shell, setup, show(*[name for name, _, _ in values]), tmp_path)
    assert shown.startswith(b"%s=%s|\n" % values[0][:2])
    parent, child = in_both(shell, setup, b"%s=new; env printf '%%s' \"$%s\"" % (values[0][0], values[0][0]), tmp_path)
    assert child == parent  # readonly stays readonly


# Set-ups, and probes that must print the same, and something, in both shells.
STATES = {
    "directory": (b"cd /usr/bin/..", b"pwd; pwd -P"),
    "directory before": (b"cd /usr; cd /bin", b"cd - >/dev/null; pwd"),
    "directory through a link": (b"ln -sf /usr link; cd link", b"pwd; pwd -P"),
    "odd directory": (b"mkdir -p \"a'b\n c\"; cd \"a'b\n c\"", b"pwd; pwd -P"),
    "umask": (b"umask 027", b"umask -S"),
    "exported": (b"export A=1 B='x y'", show(b"A", b"B")),
    "exported without value": (b"export NOVALUE", b"NOVALUE=7; env | grep NOVALUE"),
    "unset, though in the environment": (b"unset GIVEN", show(b"GIVEN", b"OTHER")),
    "no longer exported": (b"unset GIVEN; GIVEN=mine", show(b"GIVEN", b"OTHER")),
    "changed": (b"GIVEN=changed; PATH=$PATH:/x", show(b"GIVEN", b"PATH")),
    "IFS": (b"IFS=:x", b"a=1:2x3; printf '%s.' $a"),
    "empty IFS": (b"IFS=", b"a='1 2'; printf '%s.' $a"),
    "IFS of digits": (b"IFS=0123456789; X=5", show(b"X")),
    "IFS unset": (b"unset IFS; X='a b'", b"printf '%s.' $X"),
    "nounset": (b"set -u", b"case $- in *u*) echo on;; esac"),
    "noglob": (b"set -f", b"echo *"),
    "trace": (b"set -x; X=1", b"case $- in *x*) echo on;; esac"),
    "noclobber": (b"set -C", b"case $- in *C*) echo on;; esac"),
    "errexit": (b"set -e", b"case $- in *e*) echo on;; esac"),
    "all": (b"set -efux -C; X=1", b"echo $- | tr -d cBhms; echo $X"),
    "allexport": (b"set -a; X=1", b"Y=2; env | grep -e ^X -e ^Y | sort"),
    "alias": (b"alias ll='echo it'\"'\"'s \"mine\"' e=", b"alias ll; alias e"),
    "alias for what restores": (b"alias trap='echo bad' set='echo bad' cd='echo bad'\n\\trap 'echo hi' USR1",
                                b"\\trap"),
    "trap": (b"trap 'echo it'\"'\"'s \"here\"\necho two' USR1; trap '' USR2", b"trap"),
    "arguments": (b"set -- 'a  b' '' \"it's\" '*' '-x' '\n'", b"printf '%s|' \"$#\" \"$@\""),
    "no arguments": (b"set -- a; shift", b"echo $#"),
    "looks like another part": (b"X='\nexport Y=bad\nalias q=bad\ntrap -- bad INT\n'", show(b"X", b"Y")),
    "much": (b"i=0; while [ $i -lt 500 ]; do eval \"V$i='a  $i'\"; i=$((i+1)); done", b'echo "$V0 $V499"'),
}  # fmt: skip


@every_dialect
@pytest.mark.parametrize("what", STATES)
def test_states(shell, tmp_path, what):
    setup, probe = STATES[what]
    if shell.name == "zsh" and what == "directory before":
        pytest.skip("zsh keeps for itself where 'cd -' goes")
    printed = same(shell, setup, probe, tmp_path, env={b"GIVEN": b"given", b"OTHER": b"x\nGIVEN=fake\nPATH=fake"})
    assert printed.strip()


BASH_STATES = {
    "array": (rb"""a=(one 'two three' $'f\nour' "it's" '$(echo bad >&2)' '' '`bad`'); a[9]=x""", b"declare -p a"),
    "sparse and readonly array": (b"declare -ar a=([3]=x [70]='y z')", b"declare -p a"),
    "associative array": (rb"""declare -A m=([k]=v ['a b']='c d' [$'\n']="q\"'" ['$']='`y`' ["it's"]= [']']= ['=']=)""",
                          b"declare -p m"),
    "empty arrays": (b"declare -a a=(); declare -A m=(); declare -a b", b"declare -p a m b"),
    "attributes": (b"declare -i i=5; declare -l l=ABC; declare -u u=abc; declare -ix e=7",
                   b"i=2+3; l=XY; u=xy; declare -p i l u e"),
    "reference": (b"x=1; declare -n r=x", b"r=9; echo $x"),
    "declared without value": (b"declare -x FOO; declare -r BAR", b"declare -p FOO BAR"),
    "not exported any more": (b"export -n GIVEN", b"declare -p GIVEN"),
    "functions": (b"f() { cat <<E\n$1 'x' \"y\"\nE\n}; g() { echo \"it's $(f z)\"; }", b"f a; g"),
    "function with a quoted here-document": (b"f() { cat <<'E'\n$1 `x` \\\nE\n}", b"f a; declare -f f"),
    "exported function": (b"f() { echo f; }; export -f f", b"bash -c f"),
    "readonly function": (b"f() { echo f; }; readonly -f f", b"f; declare -F"),
    "functions that bear names of builtins": (
        (b"for f in trap set umask alias printf pwd; do eval \"$f() { echo bad; }\"; done; builtin trap 'echo hi' USR1"
        b'\ncd() { builtin cd "$@"; echo in; }'),
        b"cd /; builtin trap -p; declare -F"),
    "odd names of functions": (b"a-b() { echo 1; }; a.b() { echo 2; }; a:b() { echo 3; }", b"a-b; a.b; a:b"),
    "extended globs in a function": (b"shopt -s extglob\nf() { case $1 in +(a|b)) echo ab;; esac; }",
                                     b"f abab; shopt extglob"),
    "shopt": (b"shopt -s nullglob dotglob globstar expand_aliases; shopt -u sourcepath", b"shopt -p"),
    "set": (b"set -o pipefail -o noglob -o nounset -E -T", b"set +o"),
    "posix": (b"set -o posix", b"set -o | grep posix"),
    "aliases in use": (b"shopt -s expand_aliases\nalias hi='echo hello' set='echo bad' shopt='echo bad'", b"eval hi"),
    "inherited function removed": (b"unset -f inherited", b"type inherited || echo gone"),
    "traps": (b"trap 'n=1' DEBUG; trap 'e=1' ERR; trap 'echo \"$x\"' SIGUSR1", b"trap -p | sort"),
    "carriage": (b"X=$'a\\rb\\e[1m\\u00e9\\xff'", b'printf %s "$X"'),
    "locale": (b"LC_ALL=C", b"X=$'\\xc3\\xa9'; echo ${#X}"),
}  # fmt: skip


@pytest.mark.parametrize("what", BASH_STATES)
def test_states_of_bash(tmp_path, what):
    bash = dialect_of("bash")
    setup, probe = BASH_STATES[what]
    env = {b"GIVEN": b"given", b"BASH_FUNC_inherited%%": b"() { echo inherited; }"}
    assert same(bash, setup, probe, tmp_path, env=env).strip()


@slowly
@given(values=st.lists(hard_bytes, max_size=8), keys=st.lists(hard_bytes.filter(bool), max_size=5, unique=True))
def test_arrays_of_any_values(tmp_path_factory, values, keys):
    bash = dialect_of("bash")
    where = tmp_path_factory.mktemp("arrays")
    setup = b"a=(%s)\ndeclare -A m\n" % b" ".join(map(quote, values))
    for key in keys:
        setup += b"k=%s;m[$k]=$k\n" % quote(key)
    each = b'for k in "${!m[@]}"; do printf "%q=%q\\n" "$k" "${m[$k]}"; done | LC_ALL=C sort'
    same(bash, setup, b'set +u; printf \'%s|\' "${#a[@]}" "${a[@]}" "${#m[@]}"; ' + each, where)


@every_shell
@slowly
@given(words=st.lists(hard_bytes, max_size=6), action=hard_bytes, alias=hard_bytes)
def test_arguments_traps_and_aliases_of_any_text(shell, tmp_path, words, action, alias):
    if shell.name == "zsh":
        action, alias = action.replace(b"\xdc", b""), alias.replace(b"\xdc", b"")
    setup = b"alias qqq=%s\ntrap -- %s USR1\nset -- %s\n" % (quote(alias), quote(action), b" ".join(map(quote, words)))
    same(shell, setup, b'env printf \'%s|\' "$#" "$@"; alias qqq; trap', tmp_path)


@every_shell
def test_dumping_changes_nothing_and_needs_nothing(shell, tmp_path):
    setup = b"set -eu -C -f; IFS=0; umask 077; PATH=/nowhere; set -- 1 2; X=y\n"
    text = setup + b"if :;then %sfi >|%s 2>/dev/null\n" % (dump(shell), quote(bytes(tmp_path / "state")))
    if shell.name == "ksh":
        text = text.replace(b"PATH=/nowhere; ", b"")
    done = evaluate(shell, text + b'echo "$X $# $*"; case $- in *e*) echo on;; esac\n')
    assert (done.returncode, done.stdout, done.stderr) == (0, b"y 2 102\non\n", b"")
    assert len((tmp_path / "state").read_bytes().split(b"\0")) >= 12


# What differs from shell to shell, or from moment to moment.
_PASSING = re.compile(
    rb"\0?(?:(?:declare|readonly|export)(?: -\S+)* )?(?:'?[$]'?|_|_warm_s|RANDOM|SRANDOM|LINENO|BASH\w*|SECONDS"
    rb"|EPOCH\w+|PPID|SHLVL|TTYIDLE|PGRP|KSH_\w+|FUNCNAME|OLDPWD|PIPESTATUS)(?:=|\[|\Z)"
)


@every_dialect
def test_a_copy_s_state_is_the_same_to_the_last_line(shell, tmp_path):
    setup = b"X='a\nb'; export Y=1; alias q=w; trap 'echo' USR1; set -- a b"
    states = in_both(shell, setup, b"if :;then %sfi" % dump(shell), tmp_path)
    first, second = (
        {line for line in state.replace(b"\0", b"\n\0").split(b"\n") if not _PASSING.match(line)} for state in states
    )
    assert len(first) > 20
    assert first == second


# -- what no shell prints --


@given(state=st.binary(max_size=60))
def test_anything_but_a_state_is_a_value_error(state):
    for name in ("dash", "bash", "zsh", "mksh"):
        if state.count(b"\0") < 9:
            with pytest.raises(ValueError, match="not the state"):
                restore(dialect(name), state)
        else:
            restore(dialect(name), state)


_fragments = st.sampled_from(
    [b"A=", b"declare -- A=", b"export A=", b"alias q=", b"trap -- ", b"touch ran",
     b"$(touch ran)", b"`touch ran`", b";", b"\n", b"'",
     b'"', b"\\", b"$'", b"(", b")", b"[0]=", b" ", b"x", b"&", b"|", b"<(touch ran)", b"${x:=$(touch ran)}", b" INT\n",
     b"readonly A=", b"\t", b"-a "]
)  # fmt: skip


@very_slowly
@given(parts=st.lists(st.lists(_fragments, max_size=12).map(b"".join), min_size=9, max_size=9))
@example(
    parts=[
        b"/\n",
        b"/\n",
        *[b'declare -- A="$(touch ran)"\nA="`touch ran`"\nalias q=x;touch ran\n'] * 3,
        b"022\n",
        b"",
        b"",
        b"",
    ]
)
def test_a_value_never_becomes_a_command(tmp_path_factory, parts):
    """Whatever stands in the parts that name values; functions, options and umask are the shell's own texts."""
    where = tmp_path_factory.mktemp("evil")
    for name in ("dash", "bash", "zsh", "mksh"):
        with contextlib.suppress(pytest.skip.Exception):
            shell = dialect_of(name)
            state = list(parts)
            state[0] = state[1] = bytes(where) + b"\n"
            state[5], state[6] = b"022\n", b""
            if shell.copies:
                state[3] = state[4] = state[8] = b""
            text = restore(shell, b"\0".join([*state, b""]))
            evaluate(shell, text, cwd=where)
            assert not (where / "ran").exists(), (name, text)


def test_reading_is_linear_in_broken_states():
    # A pattern that could be read in two ways would take longer than the age of the universe.
    for value in (b"$'a'" * 5000 + b'"', b"'a'" * 5000 + b"$", b"\\'" * 5000 + b"'", b"(" * 5000, b"([0]=$'x' " * 5000):
        for head in (b"A=", b"declare -a A=", b"export A=", b"alias q=", b"trap -- "):
            state = b"\0".join([head + value + b"\n"] * 9) + b"\0"
            for name in ("dash", "bash"):
                assert restore(dialect(name), state)
