"""Warm shells behind a server of their user: the same as a new shell, for make too; and what goes wrong."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from warmshell.coprocess.driver.launcher import write
from warmshell.coprocess.forkserver.standalone import wire
from warmshell.testing import eventually_sync

CLIENTS = [
    pytest.param(True, id="C", marks=pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")),
    pytest.param(False, id="Python"),
]


def connected(directory: Path) -> list[socket.socket]:
    links = []
    place = os.open(directory, os.O_RDONLY)
    for path in directory.glob("*.sock"):
        link = socket.socket(socket.AF_UNIX)
        try:
            link.connect(f"/proc/self/fd/{place}/{path.name}")  # names of sockets must be short
        except OSError:
            link.close()
        else:
            links.append(link)
    os.close(place)
    return links


def server_pids(directory: Path) -> list[int]:
    pids = []
    for link in connected(directory):
        pids.append(struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
        link.close()
    return pids


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    directory = tmp_path / "servers"
    directory.mkdir(0o700)
    monkeypatch.setenv("WARMSHELL_COPROCESS_DIR", str(directory))
    yield directory
    for pid in server_pids(directory):
        os.kill(pid, signal.SIGTERM)
    eventually_sync(lambda: not list(directory.iterdir()), 20, lambda: f"left: {list(directory.iterdir())}")


@pytest.fixture
def warm(place: Path, tmp_path: Path) -> str:
    path = str(tmp_path / "warm-bash")
    write(path, "bash", compile_it=shutil.which("cc") is not None)
    return path


def run(shell: str, script: str, *more: str, **options) -> tuple[int, bytes, bytes]:
    options = {"stdin": subprocess.DEVNULL, **options}
    done = subprocess.run([shell, "-c", script, *more], capture_output=True, check=False, timeout=60, **options)
    return done.returncode, done.stdout, done.stderr


SCRIPTS = [
    "echo out; echo err >&2; exit 7",
    "cd /; pwd; umask; ulimit -n",
    "x=1; export x; sh -c 'echo $x'; exit $x",
    "set -e; false; echo not",
    "exec sh -c 'echo exec; exit 3'",
    "trap 'echo bye' EXIT; exit 4",
    "echo 'it'\\''s' \"quoted\" \\\\ '\n'; printf '\\t%s\\n' \"$'x'\"",
    "cat <<E\nhere $((1+1))\nE",
    "a=(1 2 3); echo ${#a[@]} ${BASH_VERSION%%.*}",
    "sleep 0 & wait; echo $?",
    "kill -9 $BASHPID",
    "f() { return 5; }; f",
    'echo "$1" $#',
    "echo $0; echo $$ | tr -d 0-9",
    "exit 256; echo not",
    "readonly IFS; exit 2",
    "(exit 9)",
    "no-such-program-at-all; echo $?",
]


@pytest.mark.parametrize("compiled", CLIENTS)
def test_the_same_as_a_new_shell(place: Path, tmp_path: Path, compiled: bool) -> None:
    path = str(tmp_path / "shell")
    write(path, "bash", compile_it=compiled)
    for _ in range(2):
        for script in SCRIPTS:
            new, warmed = run("bash", script), run(path, script)
            status = new[0] if new[0] >= 0 else 128 - new[0]  # a death is told as a status
            assert warmed[:2] == (status, new[1]), script
            assert warmed[2].replace(path.encode(), b"bash").count(b"\n") == new[2].count(b"\n"), script
        assert run(path, 'echo "$0" "$@"', "a", "b c") == run("bash", 'echo "$0" "$@"', "a", "b c")
    assert len(server_pids(place)) == 1


def test_streams_directory_variables_and_umask(warm: str, tmp_path: Path) -> None:
    for _ in range(2):
        assert run(warm, "cat", stdin=None, input=b"x" * 500_000)[1] == b"x" * 500_000
        file = tmp_path / "file"
        file.write_bytes(b"one\ntwo\n")
        with file.open("rb") as stdin:
            assert run(warm, "read x; echo $x", stdin=stdin)[1] == b"one\n"
            assert run(warm, "cat", stdin=stdin)[1] == b"two\n"  # what one does not read, the next does
        out = tmp_path / "out"
        subprocess.run(["sh", "-c", f"{{ echo a; {warm} -c 'echo b; echo c >&2'; echo d; }} >{out} 2>&1"], check=True)
        assert out.read_bytes() == b"a\nb\nc\nd\n"
        environment = {**os.environ, "COLOUR": "r e\nd", "FUNNY.NAME": "x"}
        got = run(warm, 'echo "$COLOUR"; pwd; umask', cwd=tmp_path, env=environment, umask=0o027)[1]
        assert got == f"r e\nd\n{tmp_path}\n0027\n".encode()
        assert run(warm, "echo ${COLOUR-none}")[1] == b"none\n"
        assert run(warm, "yes | head -1; exit ${PIPESTATUS[0]}")[:2] == (141, b"y\n")


def test_start_up_files_are_read_again_when_they_change(warm: str, tmp_path: Path, monkeypatch) -> None:
    start = tmp_path / "start"
    monkeypatch.setenv("BASH_ENV", str(start))
    for number in range(3):
        start.write_text(f"value={number}; PATH=/start:$PATH\n" + "#" * number)
        for path in ("/usr/bin:/bin", "/bin:/usr/bin"):
            assert (
                run(warm, "echo $value $PATH", env={**os.environ, "PATH": path})[1]
                == f"{number} /start:{path}\n".encode()
            )


MAKEFILE = """
OBJECTS := $(foreach n,$(shell seq 500),out/$(n))
all: $(OBJECTS)
\t@cat $(OBJECTS) | cksum
out/%: | out
\t@echo "making $*" >$@; test $$(( $* % 7 )) -ne 0 || echo "seven's \\"multiple\\"" >>$@
out:
\tmkdir out
"""


def outside() -> dict[str, str]:
    """The environment without what a make that runs these tests tells those below it."""
    return {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_builds_the_same_with_it(warm: str, tmp_path: Path) -> None:
    said = []
    for shell in ("/bin/bash", warm):
        where = tmp_path / os.path.basename(shell).replace("warm-", "w")
        where.mkdir()
        (where / "Makefile").write_text(MAKEFILE)
        done = subprocess.run(
            ["make", "-j2", f"SHELL={shell}"], cwd=where, env=outside(), capture_output=True, check=False, timeout=100
        )
        files = {path.name: path.read_bytes() for path in (where / "out").iterdir()}
        said.append((done.returncode, done.stdout, done.stderr, files))
    assert said[0] == said[1]
    assert len(said[0][3]) == 500


def test_make_sees_a_recipe_fail(warm: str, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all:\n\t@echo before; exit 3\n\t@echo not\n")
    words = ["make", f"SHELL={warm}"]
    done = subprocess.run(words, cwd=tmp_path, env=outside(), capture_output=True, check=False, text=True)
    assert (done.returncode, done.stdout) == (2, "before\n")
    assert "Error 3" in done.stderr


def test_many_at_once_and_the_first_ones_start_one_server(warm: str, place: Path) -> None:
    started = [subprocess.Popen([warm, "-c", f"echo {n}; exit {n}"], stdout=subprocess.PIPE) for n in range(60)]
    for number, process in enumerate(started):
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, out) == (number, f"{number}\n".encode())
    assert len(server_pids(place)) == 1


def test_what_a_killed_client_wanted_ends(warm: str, tmp_path: Path) -> None:
    run(warm, "true")
    on = tmp_path / "on"
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        script = f"trap '' TERM INT; (echo $BASHPID; setsid sh -c 'echo $$; exec sleep 1000') >{on}; sleep 1000"
        process = subprocess.Popen([warm, "-c", script.replace("$$", "$(echo $PPID)")], stdin=subprocess.DEVNULL)
        eventually_sync(lambda: on.exists() and on.read_text().count("\n") >= 1, 20, lambda: "it to run")
        pid = int(on.read_text().split()[0])
        process.send_signal(number)
        assert process.wait(20) == -number
        eventually_sync(lambda pid=pid: not Path(f"/proc/{pid}").exists(), 20, lambda: "it to end")
        on.unlink()
        assert run(warm, "echo next")[1] == b"next\n"


def test_a_killed_server_is_one_clear_error(warm: str, place: Path, tmp_path: Path) -> None:
    run(warm, "true")
    (pid,) = server_pids(place)
    on = tmp_path / "on"
    process = subprocess.Popen(
        [warm, "-c", f"echo x >>{on}; exec sleep 1000"],  # exec: a shell may tell of the end of its child
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    eventually_sync(on.exists, 20, lambda: "it to run")
    os.kill(pid, signal.SIGKILL)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 125
    assert err.count(b"\n") == 1
    assert b"status: unknown" in err
    assert run(warm, "echo next")[1] == b"next\n"  # a socket that nobody listens at is replaced
    assert on.read_text() == "x\n"


def test_hostile_peers(warm: str, place: Path) -> None:
    run(warm, "true")
    header = wire.HEADER
    words = [
        b"", b"\0", b"GET / HTTP/1.0\r\n\r\n", header.pack(wire.CALL, 2**32 - 1), header.pack(wire.STOP, 0),
        header.pack(wire.CALL, 10) + b"short", header.pack(wire.CALL, 3) + b"\0\0\0",
        header.pack(wire.CALL, 20) + b"k\0a\0" + b"0 0 0 0 99\0" + b"xxxxx",
    ]  # fmt: skip
    request = wire.Request(b"k", b"-", 0o22, 0, 0, 0, [b"-c", b"echo hostile >&2"], [b"A=b"]).encode()
    for said, fds in [*((word, []) for word in words), (request, []), (request, [0] * 3), (request, [0] * 40)]:
        (link,) = connected(place)
        socket.send_fds(link, [said], fds) if said else None
        link.shutdown(socket.SHUT_WR)
        link.settimeout(30)
        assert link.recv(100) == b""
        link.close()
    assert run(warm, "echo still there")[1] == b"still there\n"
    assert len(server_pids(place)) == 1


def test_a_directory_that_others_may_write_to_is_not_trusted(warm: str, place: Path) -> None:
    run(warm, "true")
    place.chmod(0o770)
    assert run(warm, "echo right; exit 3")[:2] == (3, b"right\n")  # by a new shell
    place.chmod(0o700)


def test_a_server_that_nobody_calls_ends(place: Path) -> None:
    code = (
        "from warmshell.coprocess.driver.client import call_fcli\n"
        "from warmshell.coprocess.driver.shells import shell_words\n"
        "call_fcli(shell_words(b'bash'), [b'-c', b'echo once'], idle=0.2)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"once\n"
    eventually_sync(lambda: not list(place.iterdir()), 20, lambda: "the server to end")


def test_the_command_line(place: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "warmshell", "sh"]
    for _ in range(2):
        done = subprocess.run([*words, "-c", "echo $BASH_VERSION | cut -c1; exit 6"], capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (6, b"")
    assert subprocess.run([*words, "-c", "echo $0 $1", "a", "b"], capture_output=True, check=True).stdout == b"a b\n"
    launcher = tmp_path / "warm-dash"
    done = subprocess.run([*words, "--launcher", launcher, "--shell", "dash"], capture_output=True, check=True)
    assert run(str(launcher), "echo ${BASH_VERSION-none}")[1] == b"none\n"
