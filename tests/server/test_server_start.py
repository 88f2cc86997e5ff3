"""How the session server gets to the far end."""

from __future__ import annotations

import ast
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from warmshell.server import pack

from .far import Far, memory

ALL = {
    int(match[1]): str(Path(path).parent)
    for path in [
        *glob.glob(os.path.expanduser("~/.pyenv/versions/3.*/bin/python3")),
        *glob.glob("/opt/*/bin/python3"),
        *glob.glob("/usr/local/bin/python3.*[0-9]"),
    ]
    if (match := re.search(r"3\.(\d+)", os.path.realpath(path)))
}
PYTHONS = {minor: path for minor, path in ALL.items() if minor >= 8}
TOO_OLD = {minor: path for minor, path in ALL.items() if minor < 8}
LOGIN_SHELLS = [
    shell for shell in ("sh", "dash", "bash", "zsh", "mksh", "ksh", "fish", "csh", "tcsh") if shutil.which(shell)
]


def test_a_hello_and_a_command(far):
    assert far.python[0] == b"python"
    assert tuple(map(int, far.python[1].split(b"."))) >= (3, 8)
    assert far.facts["python"].encode() == far.python[1]
    assert far.run(far.subshell(), ["echo", "hi"]).stdout == b"hi\n"


@pytest.mark.parametrize("minor", sorted(PYTHONS))
def test_every_python(minor):
    with Far(python=PYTHONS[minor]) as far:
        assert far.facts["python"].startswith(f"3.{minor}.")
        assert far.facts["subreaper"] is True
        lane = far.subshell()
        assert far.run(lane, ["cat"], stdin="bytes", data=b"x" * 100_000).stdout == b"x" * 100_000
        far.run(lane, "X=1", keeps_state=True)
        copy = far.subshell(copy_of=lane)
        seq = far.begin(copy, "echo $X; sleep 60", keeps_state=True)
        far.until(copy, seq, lambda outcome: outcome.stdout == b"1\n")
        far.ask("delete_subshell", subshell=copy)
        assert far.ask("list", path="/")["entries"]
        assert far.ask("stat")["processes"] >= 1


def test_noise_before_the_hello():
    noisy = b"echo Welcome; printf 'no newline'; "
    token_words = pack.start_words("placeholder")

    class Noisy(Far):
        def __init__(self):
            super().__init__(words=[b"sh", b"-c", noisy + token_words[2]])

        hello_token = property(lambda _: "placeholder", lambda *_: None)

    with Noisy() as far:
        assert far.noise == b"Welcome\nno newline"
        assert far.run(far.subshell(), ["echo", "hi"]).stdout == b"hi\n"


@pytest.mark.parametrize("login", LOGIN_SHELLS)
def test_one_line_for_any_login_shell(login):
    class Line(Far):
        def __init__(self):
            super().__init__(words=[login, "-c", pack.start_line("placeholder")])

        hello_token = property(lambda _: "placeholder", lambda *_: None)

    with Line() as far:
        assert far.run(far.subshell(), ["echo", "hi"]).stdout == b"hi\n"


def test_the_line_is_plain():
    line = pack.start_line("token")
    inner = line.removeprefix(b"exec sh -c '").removesuffix(b"'")
    assert len(inner) == len(line) - len("exec sh -c ''")
    assert not set(inner) & set(b"'!\n\\")
    with pytest.raises(ValueError):
        pack.start_line("a b")


def path_with(tmp_path, **programs):
    """A PATH of sh and these scripts."""
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "sh").symlink_to(shutil.which("sh"))
    for name, text in programs.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)
    return {**os.environ, "PATH": str(directory)}


@pytest.mark.parametrize(
    "programs",
    [
        {},
        {"python3": "#!/bin/sh\necho 'python3: not found by this shim' >&2; exit 127\n"},
        {"python3": "#!/bin/sh\necho /no/such/python\n", "python": "#!/bin/sh\nexit 2\n"},
    ],
    ids=["none", "shim", "liars"],
)
def test_without_python_it_is_a_shell(tmp_path, programs):
    far = Far(env=path_with(tmp_path, **programs), start=False)
    try:
        assert far.python == [b"sh"]
        far.write(b"echo a shell; exit 3\n")
        assert far._read() == b"a shell\n"
    finally:
        assert far.close() == 3


@pytest.mark.parametrize("minor", sorted(TOO_OLD))
def test_a_python_that_is_too_old_is_none(tmp_path, minor):
    env = path_with(tmp_path, python3=f'#!/bin/sh\nexec {TOO_OLD[minor]}/python3 "$@"\n')
    far = Far(env=env, start=False)
    far.write(b"exit 3\n")
    assert far.close() == 3
    assert far.python == [b"sh"]


def test_an_old_python_is_passed_over(tmp_path):
    real = os.path.realpath(sys.executable)
    env = path_with(
        tmp_path, python3="#!/bin/sh\necho 'SyntaxError' >&2; exit 1\n", python=f'#!/bin/sh\nexec {real} "$@"\n'
    )
    with Far(env=env) as far:
        assert far.python[0] == b"python"
        assert far.run(far.subshell("/bin/sh"), ["/bin/echo", "hi"]).stdout == b"hi\n"


def test_a_hello_and_then_nothing():
    far = Far(start=False)
    assert far.close() == 1


def test_what_is_no_archive():
    far = Far(start=False)
    far.write(b"\0\0\0\x05hello")
    assert far.wait() != 0
    far.close()


def test_what_is_sent_is_small_and_free_of_the_client():
    sources = json.loads(zlib.decompress(pack.archive()))
    assert len(pack.archive()) < 56 * 1024
    assert "warmshell.server.main" in sources
    assert sources["warmshell"] == [0, ""]
    for name, (_, source) in sources.items():
        assert name.split(".")[:2] in (
            ["warmshell"],
            ["warmshell", "protocol"],
            ["warmshell", "server"],
            ["warmshell", "guardian"],
        )
        ast.parse(source, feature_version=(3, 8))
        for module in imported(ast.parse(source)):
            assert module.split(".")[0] != "warmshell" or module in sources, f"{name} needs {module}"
            assert module not in ("asyncio", "subprocess", "typing", "dataclasses"), f"{name} imports {module}"


def imported(tree):
    """The modules that a source imports at run time."""
    guarded = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and isinstance(test.test, ast.Name) and test.test.id == "TYPE_CHECKING"
        for node in ast.walk(test)
    }
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


def test_modules_that_are_loaded(far):
    """Nothing that takes long to import."""
    program = "import sys; sys.path.insert(0, sys.argv[1]); from warmshell.server import main;print(*sys.modules)"
    home = str(Path(pack.__file__).parents[2])
    code = (
        f"import sys; m = sys.modules['warmshell'] = type(sys)('warmshell'); m.__path__ = [{home + '/warmshell'!r}]; "
    )
    out = subprocess.run([sys.executable, "-I", "-S", "-c", code + program, home], stdout=subprocess.PIPE, check=True)
    loaded = out.stdout.decode().split()
    assert not {"asyncio", "subprocess", "typing", "dataclasses", "ctypes", "threading", "hashlib"} & set(loaded)


def test_the_servers_own_output_is_not_the_streams(far):
    lane = far.subshell()
    targets = [os.readlink(f"/proc/{far.facts['pid']}/fd/{fd}") for fd in (0, 1, 2)]
    assert targets == ["/dev/null"] * 3
    shell = far.ask("list_subshells")[0]["pid"]
    held = {os.readlink(f"/proc/{shell}/fd/{fd}") for fd in os.listdir(f"/proc/{shell}/fd")}
    streams = {os.readlink(f"/proc/self/fd/{stream.fileno()}") for stream in (far.process.stdin, far.process.stdout)}
    assert not held & streams  # or the client would never see the end
    assert lane == 1


def test_options_of_the_session(tmp_path):
    with Far(cwd=os.fsencode(tmp_path).decode("latin-1"), env_extra=None) as far:
        assert far.run(far.subshell(), ["pwd"]).stdout == bytes(tmp_path) + b"\n"
    far = Far(start=False)
    far.deliver()
    far.ask("start", token=far.token, env={"A": "\xff x"})
    assert far.run(far.subshell(), 'printf %s "$A"').stdout == b"\xff x"
    far.close()


def test_idle_it_takes_little_and_sleeps(far):
    """The figures are the benchmarks' matter; these bounds only tell a defect."""
    pids = [far.ask("create_subshell", shell="sh")["pid"] for _ in range(20)]
    server = far.facts["pid"]
    assert memory(server) < 40 * 1024 * 1024
    proportional = [line for pid in pids for line in _lines(pid, "smaps_rollup") if line.startswith("Pss:")]
    assert sum(int(line.split()[1]) for line in proportional) < 20 * 1024
    before = _switches(server)
    time.sleep(0.5)  # not to wait for anything: nothing is to happen
    assert _switches(server) - before <= 2


def _switches(pid):
    """How often the process went to sleep, which it can only after it woke up."""
    return next(int(line.split()[1]) for line in _lines(pid, "status") if line.startswith("voluntary_ctxt"))


def _lines(pid, name):
    return Path(f"/proc/{pid}/{name}").read_text().splitlines()
