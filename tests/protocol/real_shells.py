"""The real shells of this machine, and words that are hard on them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from warmshell.protocol.dialect import Dialect, dialect

NAMES = ("dash", "bash", "busybox", "zsh", "mksh", "ksh", "sh")
ENV = {b"PATH": os.environb[b"PATH"], b"LC_ALL": b"C.UTF-8"}


def _distinct() -> list[str]:
    """The shells without those that are another one under a second name here, such as ``sh``."""
    programs = {os.path.realpath(shutil.which(name) or name): name for name in reversed(NAMES)}
    return [name for name in NAMES if name in programs.values()]


every_shell = pytest.mark.parametrize("shell", _distinct(), indirect=True)
every_dialect = pytest.mark.parametrize("shell", [name for name in NAMES if name != "ksh"], indirect=True)

# Starting real shells is slow on a busy machine, and says nothing about the code.
slowly = settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

very_slowly = settings(slowly, max_examples=8)

# Bytes that some shell keeps for itself inside its words (dash 0x81-0x88, bash 0x01 and 0x7f, zsh 0x83 and after),
# what has a meaning somewhere in the grammar, broken UTF-8, and every other byte.
_HARD = list(
    b"'\"\\$`!#&*?[]{}()<>|;~=^%-+,:@/ \t\n\r\x01\x7f\x80\x81\x82\x83\x84\x85\x87\x88\x9b\xa0\xa2\xc3\xff019abnExNW_"
)
hard_bytes = st.one_of(
    st.lists(st.sampled_from(_HARD), max_size=24).map(bytes),
    st.lists(st.integers(1, 255), max_size=12).map(bytes),
    st.sampled_from([b"", b"-", b"--", b"-n", b"$'\\n'", b"'\\''", b"''", b"\n\n", b"a\n", b"\\", b"$(echo x)"]),
    st.sampled_from([b"`", b"\xc3\xa9", b"~", b"{a,b}", b"a=b", b"!!", b"=ls", b"%1"]),
)
hard_words = st.lists(hard_bytes, min_size=1, max_size=6)
names = st.from_regex(rb"[A-Z][A-Z0-9]{2,8}Q_\Z", fullmatch=True)  # no name that anything reads


def dialect_of(name: str) -> Dialect:
    """The dialect of an installed shell."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return dialect(name)


def evaluate(
    shell: Dialect,
    script: bytes,
    *,
    stdin: bytes | None = None,
    cwd: Path | None = None,
    env: dict[bytes, bytes] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """What a shell does with a script: from standard input, as warm shells get it, or, if that is used, as words."""
    words = list(shell.argv) if stdin is None else [*shell.argv, b"-c", script]
    return subprocess.run(
        words,
        input=script if stdin is None else stdin,
        capture_output=True,
        cwd=cwd,
        env=env or ENV,
        check=False,
        timeout=60,
    )


def printed_words(done: subprocess.CompletedProcess[bytes]) -> list[bytes]:
    """The words that ``printf '%s\\0'`` printed."""
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout.split(b"\0")[:-1]
