"""Writes a program that is a warm shell: for make's ``SHELL``, for scripts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from warmshell.coprocess.driver.client import pool_name
from warmshell.coprocess.driver.shells import shell_words
from warmshell.errors import ProgramNotFound

_SOURCE = Path(__file__).with_name("warmsh.c")
_PACKAGE = str(Path(__file__).parents[2])
_BOOTSTRAP = (
    "import sys;w=sys.modules['warmshell']=type(sys)('warmshell');w.__path__=[sys.argv[1]];"
    "from warmshell.coprocess.driver.client import shell_main;shell_main()"
)


def write(path: str, shell: str = "bash", *, compile_it: bool = True) -> str:
    """Write the launcher.

    Args:
        path: its name.
        shell: the shell that it stands for, with options for its start-up.
        compile_it: whether a C compiler may be used.

    Returns:
        ``C`` or ``Python``: what it is.

    Raises:
        ProgramNotFound: there is no such shell.
    """
    words = os.fsencode(shell).split()
    if not words or shutil.which(words[0]) is None:
        raise ProgramNotFound(f"there is no shell {shell!r} here", location="local:")
    python = [os.fsencode(word) for word in (sys.executable, "-I", "-S", "-c", _BOOTSTRAP, _PACKAGE)]
    client = [*python, b" ".join(words)]
    compiler = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    if compile_it and compiler is not None and _compiled(compiler, path, words, client):
        return "C"
    quoted = " ".join("'" + os.fsdecode(word).replace("'", "'\\''") + "'" for word in client)
    _replace(path, f'#!/bin/sh\nexec {quoted} "$@"\n'.encode())
    return "Python"


def _compiled(compiler: str, path: str, shell: list[bytes], client: list[bytes]) -> bool:
    names = {
        "SERVER": _literal(pool_name(shell_words(b" ".join(shell))).encode()),
        "SHELL": ", ".join(map(_literal, shell)),
        "CLIENT": ", ".join(map(_literal, client)),
    }
    with tempfile.TemporaryDirectory(prefix="warmshell-") as directory:
        header = Path(directory, "warmsh.h")
        header.write_text("".join(f"#define {name} {value}\n" for name, value in names.items()), encoding="ascii")
        program = os.path.join(directory, "warmsh")
        words = [compiler, "-O2", "-o", program, f'-DWARMSH_H="{header}"', str(_SOURCE)]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode == 0:
            _replace(path, Path(program).read_bytes())
        return done.returncode == 0


def _literal(word: bytes) -> str:
    return '"' + "".join(f"\\{byte:03o}" for byte in word) + '"'


def _replace(path: str, data: bytes) -> None:
    """A file that appears whole, and can be run."""
    temporary = f"{path}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
