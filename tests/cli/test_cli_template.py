"""Replacement strings: what a template becomes, and that no value is ever seen by a shell as syntax."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from warmshell import CommandError
from warmshell.cli.template import Job, Template, basename, dirname, quote, without_extension

SHELLS = ["dash", "bash", "busybox sh", "ksh", "zsh --emulate sh"]

NASTY = [
    "", "a b", "it's", "'", "''", '"', "$(echo pwned)", "`echo pwned`", "$HOME", "\\", "\\'", "*", "~", "-n", "if", "2",
    "a=b", "#x", "!", "{}", "é", "a\nb", "a\n\n", ";", "&", "$((1))", "\udcff\udc80", "'; echo pwned; '", "\t", "x'\"y",
]  # fmt: skip

values = st.binary(max_size=20).map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape"))


def expand(template: str, *args: str, seq: int = 1, slot: int = 1, repeating: bool = False) -> str:
    parsed = Template.parse([template])
    job = Job(args, seq, slot)
    return parsed.expand_repeating(job) if repeating else parsed.expand(job)


def run(script: str, shell: list[str]) -> bytes:
    raw = script.encode("utf-8", "surrogateescape")
    done = subprocess.run([*shell, "-c", raw], capture_output=True, stdin=subprocess.DEVNULL, check=False, timeout=20)
    assert done.returncode == 0, done
    assert done.stderr == b""
    return done.stdout


PLACES = [
    "printf %s {}",
    'printf %s "{}"',
    "printf %s '{}'",
    'x={}; printf %s "$x"',
    'x="{}"; printf %s "$x"',
    "x='{}'; printf %s \"$x\"",
    'for x in {}; do printf %s "$x"; done',
    "case {} in {}) printf %s {};; esac",
    'x=$(printf %s {}; printf x); printf %s "${x%x}"',
    'x="$(printf %s "{}"; printf x)"; printf %s "${x%x}"',
    "( printf %s {} )",
    "{ printf %s {}; }",
    "if true; then printf %s {}; fi # {}",
    "# {}\nprintf %s {}",
    "true \\\n# {}\nprintf %s {}",
    "printf %s \\{}",
    'f() { printf %s "$1"; }; f {}',
    'f() { printf %s "$1"; }; f {}>&1',
    'printf %s {}&& : "{}"; : `: x`$((1 + {#})){}',
]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("place", PLACES)
def test_a_value_is_never_syntax(place: str, shell: str) -> None:
    if shutil.which(shell.split(maxsplit=1)[0]) is None:
        pytest.skip(f"{shell.split(maxsplit=1)[0]} is not installed")
    for value in NASTY:
        assert run(expand(place, value), shell.split()) == value.encode("utf-8", "surrogateescape"), value


@given(value=values)
@example(value="a\\")
@example(value="\n")
@settings(max_examples=150)
def test_any_bytes_come_back_from_a_real_sh(value: str) -> None:
    template = "printf '%s\\0' {} \"{}\" '{}' pre{}.post \"a {} b\" 'a {} b' \"$(printf '%s' {}; printf x)\""
    raw = value.encode("utf-8", "surrogateescape")
    wanted = [
        raw,
        raw,
        raw,
        b"pre" + raw + b".post",
        b"a " + raw + b" b",
        b"a " + raw + b" b",
        raw + b"x",
        b"",
    ]
    assert run(expand(template, value), ["sh"]).split(b"\0") == wanted


@given(args=st.lists(values, min_size=1, max_size=4))
@settings(max_examples=60)
def test_positions_and_repetition_in_a_real_sh(args: list[str]) -> None:
    raws = [arg.encode("utf-8", "surrogateescape") for arg in args]
    script = expand("printf '%s\\0' x{}y {1} {-1} \"q {} r\"", *args, repeating=True)
    quoted = b"q " + b" ".join(raws) + b" r"
    assert run(script, ["sh"]).split(b"\0") == [
        *[b"x" + raw + b"y" for raw in raws],
        raws[0],
        raws[-1],
        quoted,
        b"",
    ]


def test_a_backslash_before_a_value_in_double_quotes_stays_a_backslash() -> None:
    assert run(expand('printf %s "\\{}"', "a'$b"), ["sh"]) == b"\\a'$b"


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("echo", "echo a.b"),
        ("echo {}", "echo a.b"),
        ("echo pre-{}.post", "echo pre-a.b.post"),
        ("echo {.} {#} {%}", "echo a 7 3"),
        ("{} x", "'a.b' x"),
        ("echo {}>f", "echo 'a.b'>f"),
        ("echo ${x} {}", "echo ${x} a.b"),
        ("echo {x} {1..3}", "echo {x} {1..3} a.b"),
        ("awk '{print $1}' {}", "awk '{print $1}' a.b"),
        ("echo $((1 + {#}))", "echo $((1 + 7))"),
        ("echo {2} {-2} {1}{1.}", "echo   a.ba"),
        ("echo {#}", "echo 7"),
        ("true; {}", "true; 'a.b'"),
        ("echo `date` {}", "echo `date` a.b"),
        ("echo ${1} {1}", "echo ${1} a.b"),
    ],
)
def test_expansion(template: str, wanted: str) -> None:
    assert expand(template, "a.b", seq=7, slot=3) == wanted


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("echo {}", "echo a b"),
        ("echo x{}y z", "echo xay xby z"),
        ("echo x{}{1}y w", "echo xaay xbay w"),
        ("echo x{}y{#} w", "echo xay5 xby5 w"),
        ("gzip -k {};echo", "gzip -k a b;echo"),
        ('echo "q {} r"', 'echo "q a b r"'),
        ('echo "q{}"', 'echo "qa" "qb"'),
        ("sh -c 'ls {}'", "sh -c 'ls a b'"),
        ("echo {2} {1}", "echo b a"),
        ("echo $(ls {}|wc) {}", "echo $(ls a b|wc) a b"),
        ("echo {.} {}", "echo a b a b"),
    ],
)
def test_a_word_is_repeated_for_every_argument(template: str, wanted: str) -> None:
    assert expand(template, "a", "b", seq=5, repeating=True) == wanted


@pytest.mark.parametrize(
    "template",
    [
        "echo '{}", 'echo "{}', "echo `{}`", "echo ${x:-{}}", "cat <<E\n{}\nE", "(( {} ))", "echo $'{}'",
        "echo $(ls {}", "echo $(case x in {}) echo;; esac)", "\"${x:-'{}'}\"", "echo `{}", "$((ls) {})",
    ],
)  # fmt: skip
def test_a_place_that_cannot_be_quoted_is_refused(template: str) -> None:
    with pytest.raises(CommandError):
        Template.parse([template])


def test_arithmetic_takes_whole_numbers_only() -> None:
    assert expand("echo $(({} + 1))", "-41") == "echo $((-41 + 1))"
    with pytest.raises(CommandError, match="whole numbers"):
        expand("echo $(({} + 1))", "a[$(echo pwned)]")


def test_without_a_template_the_input_is_the_command() -> None:
    assert Template.parse([]).expand(Job(["echo $((1+1))"])) == "echo $((1+1))"


def test_words_are_joined_by_blanks() -> None:
    assert Template.parse(["gzip", "-k", "{}"]).expand(Job(["a b"])) == "gzip -k 'a b'"


@given(value=st.text(alphabet="/.ab", max_size=8))
def test_file_name_parts_add_up(value: str) -> None:
    if "/" in value:
        head = value[: value.rfind("/") + 1]
        assert head + basename(value) == value
    stem = without_extension(value)
    assert value == stem or value[len(stem)] == "."
    assert "/" not in value[len(stem) :]
    done = subprocess.run(["dirname", "--", value], capture_output=True, text=True, check=True) if value else None
    assert done is None or done.stdout == dirname(value) + "\n"


@given(value=values)
def test_quote_leaves_only_harmless_values_bare(value: str) -> None:
    import shlex

    assert shlex.split(quote(value)) == [value]


# -- against the original ------------------------------------------------------------------------------------------

PARALLEL = shutil.which("parallel")
ODD = [
    "a.b", "/x/y.z", "x/", "/", "//", "a/b/", ".", "..", ".hid", "a.b.c/d", "x.", "a b.c", "/.x", "../q.w", "a/.hid",
    "//x", "/a//b", "a.b/", ".a.b", "a/..", "it's", "*", "$(x)", "é", "%", "a=b",
]  # fmt: skip


@pytest.mark.skipif(PARALLEL is None, reason="GNU parallel is not installed")
@pytest.mark.parametrize(
    "template",
    [
        "p {}",
        "p {.}",
        "p {/}",
        "p {//}",
        "p {/.}",
        "p {#} x{}y",
        "p",
        "p {1} {1.} {1/} {1//} {1/.} {-1} {2}x",
        "p 'x' {}-{}",
    ],
)
def test_replacement_strings_as_gnu_parallel(template: str, tmp_path) -> None:
    # What the shell makes of the two texts must agree: how a value is quoted is free.
    prologue = "p() { printf '<%s>' \"$@\"; echo; }; "
    ours = [expand(prologue + template, value, seq=n) for n, value in enumerate(ODD, 1)]
    got = [run(script, ["bash"]) for script in ours]
    done = subprocess.run(
        [PARALLEL, "--will-cite", "-k", "-j4", prologue + template, ":::", *ODD],
        capture_output=True, check=True, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "SHELL": "/bin/bash"},
    )  # fmt: skip
    assert b"".join(got) == done.stdout
