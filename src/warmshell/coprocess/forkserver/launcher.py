"""Tools and their launchers: where a tool is, and the small files that call it warm."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from warmshell.coprocess.forkserver.standalone.place import NATIVE, compiled_path
from warmshell.coprocess.forkserver.standalone.shebang import NotPython, interpreter_of
from warmshell.errors import CommandError, ProgramNotFound, WarmshellError

STANDALONE = Path(__file__).parent / "standalone"
MARK = b"# warmshell launcher 1\n"
_DAY = 86400.0
_LONGEST_SHEBANG = 120  # of all kernels


@dataclass(frozen=True)
class Options:
    """How a tool is to be served.

    Attributes:
        level: ``fork``, ``preload``, ``primed`` or ``reuse``.
        prime: the words that a primed or reused tool is tried with.
        narrow: only variables that the tool was seen to read are part of the key, where that is proved.
        processes: the most calls at a time; 0 for twice the number of CPUs.
        idle: seconds without a call after which a server ends.
        memory: the most megabytes that a server may hold.
    """

    level: str = "fork"
    prime: tuple[str, ...] = ("--version",)
    narrow: bool = False
    processes: int = 0
    idle: float = 900.0
    memory: int = 1024

    def encode(self) -> bytes:
        """The words that servers read."""
        words = [f"level={self.level}"]
        if self.level in ("primed", "reuse"):
            words.append("prime=" + "\x1f".join(self.prime))
        if self.narrow:
            words.append("narrow=1")
        if self.processes:
            words.append(f"processes={self.processes}")
        words += [f"idle={self.idle:g}", f"memory={self.memory}"]
        if any(" " in word or "\n" in word for word in words):
            raise CommandError("words for --prime can hold neither blanks nor newlines")
        return os.fsencode(" ".join(words))


@dataclass(frozen=True)
class Target:
    """A tool that was found.

    Attributes:
        script: its file.
        interpreter: words that run it, if not by its ``#!`` line.
    """

    script: bytes
    interpreter: tuple[bytes, ...] = ()


def find(words: list[str]) -> tuple[Target, list[str]]:
    """The tool that a command line names, and the words for it.

    ``python SCRIPT`` is a tool as well. A launcher of ours stands for the tool that it calls.

    Raises:
        ProgramNotFound: there is no such program.
    """
    name, *rest = words
    path = _on_path(name)
    if os.path.basename(path).startswith(b"python") and rest and not rest[0].startswith("-"):
        script = os.path.abspath(os.fsencode(rest[0]))
        if os.path.isfile(script):
            return Target(script, (path,)), rest[1:]
    return Target(path), rest


def _on_path(name: str) -> bytes:
    raw = os.fsencode(name)
    folders = [b""] if b"/" in raw else os.environb.get(b"PATH", os.fsencode(os.defpath)).split(b":")
    for folder in folders:
        path = os.path.abspath(os.path.join(folder or b".", raw))
        if os.path.isfile(path) and os.access(path, os.X_OK):
            behind = behind_launcher(path)
            return behind or path
    raise ProgramNotFound(f"there is no program {name!r}", command=name, hint="give its path, or extend PATH")


def behind_launcher(path: bytes) -> bytes | None:
    """The tool that a launcher of ours calls; ``None`` for any other file."""
    with open(path, "rb") as file:
        head = file.read(4096)
    if MARK not in head:
        return None
    lines = dict(line[1:].partition(b" ")[::2] for line in head.split(b"\n") if line.startswith(b"#"))
    return lines.get(b"tool")


def is_servable(target: Target) -> bool:
    """Whether it is a Python script at all."""
    try:
        return bool(target.interpreter or interpreter_of(target.script))
    except (NotPython, OSError):
        return False


def write(folder: Path, name: str, target: Target, options: Options, *, native: bool = True) -> Path:
    """Write a launcher, and say where it is.

    Args:
        folder: where to; made if need be.
        name: its name.
        target: the tool.
        options: how it is to be served.
        native: use the small C client where there is a compiler; otherwise the one in Python.

    Raises:
        WarmshellError: the file is there already and no launcher, or cannot be written.
    """
    path = folder / name
    client = c_client() if native else None
    if native:
        c_server()
    text = _text(target, options, client)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and behind_launcher(os.fsencode(path)) is None:
            raise WarmshellError(f"{path} is there already, and no launcher of ours", hint="choose another directory")
        fd, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
        with open(fd, "wb") as file:
            file.write(text)
        os.chmod(temporary, 0o755)  # noqa: S103 - a program
        os.replace(temporary, path)
    except OSError as error:
        raise WarmshellError(f"cannot write {path}: {error.strerror}") from None
    return path


def _text(target: Target, options: Options, client: Path | None) -> bytes:
    if b"\n" in target.script:
        raise CommandError("a tool with a newline in its name cannot have a launcher")
    python = os.fsencode(sys.executable)
    lines = [MARK, b"#tool " + target.script + b"\n", b"#options " + options.encode() + b"\n"]
    if target.interpreter:
        lines.append(b"#interpreter " + b"\t".join(target.interpreter) + b"\n")
    program = os.fsencode(STANDALONE / "client.py")
    lines.append(b"#client " + python + b"\t" + program + b"\n")
    if client is not None and len(os.fsencode(client)) < _LONGEST_SHEBANG:
        return b"#!" + os.fsencode(client) + b"\n" + b"".join(lines)
    start = b"#!" + python + b" -IS\n"
    if len(start) > _LONGEST_SHEBANG or b" " in python:
        raise WarmshellError(f"{sys.executable} cannot stand in a #! line: it is too long, or has a blank in it")
    body = _BODY.format(folder=str(STANDALONE), tool=os.fsdecode(target.script))
    return start + b"".join(lines) + os.fsencode(body)


_BODY = """import sys
sys.path.insert(0, {folder!r})
sys.argv.insert(0, "")
try:
    import client
except ImportError:
    import os
    os.execv({tool!r}, [{tool!r}, *sys.argv[2:]])
"""


def c_client() -> Path | None:
    """The small C client, compiled for this user when it is first asked for; ``None`` without a compiler."""
    return _made(str(Path(__file__).parent / "warmcall.c"), "", [["-static"], []])


def c_server() -> Path | None:
    """The module in C for servers, compiled likewise; servers that start from now on find it.

    It is asked for often: where it cannot be compiled, that is tried once a day.
    """
    failed = Path(os.fsdecode(_path(NATIVE, ".failed")))
    with contextlib.suppress(OSError):
        if time.time() - failed.stat().st_mtime < _DAY:
            return None
    made = _made(NATIVE, ".so", [["-shared", "-fPIC", "-fvisibility=hidden"]])
    if made is None and _compiler() is not None:
        with contextlib.suppress(OSError):
            failed.touch()
    return made


def _compiler() -> str | None:
    return os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def _path(source: str, ending: str) -> bytes:
    env = {b"HOME": os.fsencode(Path.home()), **os.environb}
    return compiled_path(source, env, os.fsencode(ending))


def _made(source: str, ending: str, kinds: list[list[str]]) -> Path | None:
    compiler = _compiler()
    if compiler is None or not os.path.exists(source):
        return None
    program = Path(os.fsdecode(_path(source, ending)))
    if _is_ours(program):
        return program
    try:
        program.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = program.with_name(f"{program.name}.{os.getpid()}")
        if not any(_compiled([compiler, "-O2", "-Wall", *kind], Path(source), temporary) for kind in kinds):
            temporary.unlink(missing_ok=True)
            return None
        temporary.replace(program)
    except OSError:
        return None
    return program


def _compiled(words: list[str], source: Path, program: Path) -> bool:
    """Whether the compiler makes a program: a static one, where libc allows that, starts in two thirds of the time."""
    done = subprocess.run(
        [*words, "-o", str(program), str(source)], capture_output=True, check=False, stdin=subprocess.DEVNULL
    )
    return done.returncode == 0


def _is_ours(program: Path) -> bool:
    try:
        found = program.stat()
    except OSError:
        return False
    return found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o022
