"""Words arrive as given, and what the kernel would refuse is known before."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmshell.protocol.quoting import MAX_WORD, is_name, one_line, quote, quote_all, too_long

from .real_shells import evaluate, every_shell, hard_bytes, hard_words, printed_words, slowly

PRINT = b"env printf '%s\\0' "  # the program: shells differ in their builtins
READ_LINE = b"IFS= read -r L;_warm_nl='\n';eval \"$L\""


@every_shell
@slowly
@given(words=hard_words)
def test_words_come_out_of_every_shell_as_they_went_in(shell, words):
    assert printed_words(evaluate(shell, PRINT + quote_all(words) + b"\n")) == words


@every_shell
def test_every_byte_alone_and_between_others(shell):
    words = [bytes([byte]) for byte in range(1, 256)]
    words += [b"a" + word + b"b" for word in words] + [b"'" + word + b"'" for word in words]
    assert printed_words(evaluate(shell, PRINT + quote_all(words) + b"\n")) == words


@every_shell
def test_long_words_and_many_words(shell):
    words = [b"x'\n" * 34_000, *(b"%d '" % number for number in range(2000)), b"\xff" * 100_000]
    assert printed_words(evaluate(shell, PRINT + quote_all(words) + b"\n")) == words


@every_shell
@slowly
@given(words=hard_words)
def test_one_line_means_the_same_on_one_line(shell, words):
    text = one_line(PRINT + quote_all(words))
    assert b"\n" not in text
    assert printed_words(evaluate(shell, READ_LINE, stdin=text + b"\n")) == words


@given(words=st.lists(hard_bytes))
def test_quoted_words_are_as_long_as_they_must_be(words):
    assert len(quote_all(words)) == sum(len(word) + 2 + 3 * word.count(b"'") for word in words) + max(len(words) - 1, 0)


@given(name=st.binary(max_size=6) | st.from_regex(rb"[A-Za-z_0-9\n]{0,6}\Z", fullmatch=True))
def test_names_are_those_that_a_shell_assigns_to(name):
    expected = name.decode("latin-1").isidentifier() and name.isascii()
    assert is_name(name) == expected


@pytest.mark.parametrize("name", [b"a", b"_", b"A_1"])
def test_names_by_a_shell(name):
    assert is_name(name)
    assert subprocess.run([b"sh", b"-c", name + b"=x"], check=False).returncode == 0


@pytest.mark.parametrize("name", [b"", b"1a", b"a.b", b"a-b", b"a\n", b"\xc3\xa9", b"a b"])
def test_no_names_by_a_shell(name):
    assert not is_name(name)
    done = subprocess.run([b"sh", b"-c", name + b"=x"], check=False, stderr=subprocess.DEVNULL)
    assert done.returncode != 0


# -- what the kernel passes -------------------------------------------------------------------------------------------


def accepted(words: list[bytes], env: dict[bytes, bytes]) -> bool:
    try:
        subprocess.run([b"/bin/true", *words], env=env, check=True)
    except OSError as error:
        assert error.errno == 7  # noqa: PT017 - the kernel's own answer is what is looked for
        return False
    return True


def test_the_longest_word_and_variable_are_the_kernel_s():
    room = os.sysconf("SC_ARG_MAX")
    for size in (MAX_WORD - 1, MAX_WORD, MAX_WORD + 1):
        word, value = b"x" * size, b"x" * (size - 2)
        assert (too_long([word], {}, room) is None) == accepted([word], {}) == (size <= MAX_WORD)
        assert (too_long([], {b"V": value}, room) is None) == accepted([], {b"V": value}) == (size <= MAX_WORD)


@pytest.mark.parametrize("size", [0, 1, 7, 1000, 100_000])
def test_what_fits_by_the_count_fits_the_kernel(size):
    room = os.sysconf("SC_ARG_MAX") - 4096
    count = room // (size + 9) - 2
    words = [b"x" * size] * count
    assert too_long([b"/bin/true", *words], {}, room) is None
    assert accepted(words, {})
    assert too_long([b"/bin/true", *words, *words[:3]], {}, room) is not None
    # And the count is not far too careful: a few pages more, and the kernel refuses.
    assert not accepted([b"x" * size] * (count + 30_000 // (size + 9) + 3), {})


@given(
    words=st.lists(st.binary(max_size=40)),
    env=st.dictionaries(st.binary(min_size=1, max_size=5), st.binary(max_size=9)),
    room=st.integers(0, 400),
)
def test_the_limit_counts_words_and_environment_together(words, env, room):
    total = sum(len(word) + 9 for word in words) + sum(len(name) + len(value) + 10 for name, value in env.items())
    assert (too_long(words, env, room) is None) == (total <= room)
    if not env:
        assert too_long(words, None, room) == too_long(words, {}, room)


@settings(max_examples=50)
@given(word=hard_bytes)
def test_quoting_is_what_shlex_makes_of_it(word):
    import shlex

    assert shlex.split(quote(word).decode("latin-1")) == [word.decode("latin-1")]
