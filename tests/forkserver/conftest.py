"""Tools written for a test, real fork servers for them, and nothing left of either afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from warmshell.coprocess.forkserver import launcher, servers
from warmshell.testing import eventually_sync as eventually

FALLBACK = "\t".join((sys.executable, str(launcher.STANDALONE / "client.py")))  # of the C client
CLIENT = [sys.executable, "-I", "-S", str(launcher.STANDALONE / "client.py")]


class Site:
    """A directory for servers and tools, and the two ways to call a tool."""

    def __init__(self, where: Path, home: Path) -> None:
        self.where = where
        self.home = home
        own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self.env = {**own, "WARMSHELL_COPROCESS_DIR": str(home), "HOME": str(where), "WARMSHELL_CLIENT": FALLBACK}
        self.client = ""

    def with_native(self, module: str) -> None:
        """Have servers with the module in C, where they look for it: in the caches of this user."""
        cache = self.where / ".cache" / "warmshell"
        cache.mkdir(parents=True)
        shutil.copy(module, cache)

    def tool(self, text: str, name: str = "tool", interpreter: str = sys.executable) -> Path:
        path = self.where / name
        path.write_text(f"#!{interpreter}\n" + textwrap.dedent(text))
        path.chmod(0o755)
        return path

    def words(self, tool: Path | str, *args: str | bytes, options: str = "level=fork") -> list[str | bytes]:
        if self.client:
            return [self.client, ":", str(tool), options, "", *args]
        return [*CLIENT, ":", str(tool), options, "", *args]

    def start(self, tool: Path | str, *args: str | bytes, options: str = "level=fork", **more) -> subprocess.Popen:
        more = {
            "cwd": self.where, "env": self.env, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE, **more,
        }  # fmt: skip
        return subprocess.Popen(self.words(tool, *args, options=options), **more)

    def call(
        self, tool: Path | str, *args: str | bytes, options: str = "level=fork", stdin: bytes | None = None, **more
    ) -> tuple[int, bytes, bytes]:
        if stdin is not None:
            more["stdin"] = subprocess.PIPE
        return _end(self.start(tool, *args, options=options, **more), stdin)

    def cold(
        self, tool: Path | str, *args: str | bytes, stdin: bytes | None = None, **more
    ) -> tuple[int, bytes, bytes]:
        more = {"cwd": self.where, "env": self.env, **more}
        source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        pipe = subprocess.PIPE
        return _end(subprocess.Popen([str(tool), *args], stdin=source, stdout=pipe, stderr=pipe, **more), stdin)

    def servers(self) -> list[servers.ServerInfo]:
        previous = os.environ.get("WARMSHELL_COPROCESS_DIR")
        os.environ["WARMSHELL_COPROCESS_DIR"] = str(self.home)
        try:
            return servers.servers()
        finally:
            os.environ.pop("WARMSHELL_COPROCESS_DIR")
            if previous is not None:
                os.environ["WARMSHELL_COPROCESS_DIR"] = previous

    def only(self) -> servers.ServerInfo:
        (info,) = self.servers()
        return info

    def all_pids(self) -> list[int]:
        """The processes of servers and calls: they carry the directory in their environment."""
        mark, found = f"WARMSHELL_COPROCESS_DIR={self.home}".encode(), []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def close(self) -> None:
        for pid in self.all_pids():
            try:
                os.kill(pid, signal.SIGTERM)
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue
        eventually(lambda: not self.all_pids())


def _end(process: subprocess.Popen, stdin: bytes | None) -> tuple[int, bytes, bytes]:
    try:
        out, err = process.communicate(stdin, timeout=60)
    finally:
        process.kill()
        process.wait()
    return process.returncode, out, err


def compiled(make: Callable[[], Path | None], cache: Path) -> str:
    """A part in C, compiled for this run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        found = make()
    if found is None:
        pytest.skip("no C compiler: install gcc or clang")
    return str(found)


@pytest.fixture(scope="session")
def c_client(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The client in C."""
    return compiled(launcher.c_client, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def c_server(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The module in C for servers."""
    return compiled(launcher.c_server, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    home = tmp_path / "servers"
    home.mkdir(mode=0o700)
    place = tmp_path / "place"
    place.mkdir()
    made = Site(place, home)
    yield made
    made.close()


@pytest.fixture(params=["python", "c"])
def both_clients(request: pytest.FixtureRequest, site: Site) -> Site:
    """A site, once with client and servers in Python, once with what there is in C."""
    if request.param == "c":
        site.client = request.getfixturevalue("c_client")
        site.with_native(request.getfixturevalue("c_server"))
    return site
