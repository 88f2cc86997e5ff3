"""Both clients ask the same server in the same way; launchers and ``warm`` call them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WARM = [sys.executable, "-m", "warmshell"]
TOOL = """
    import sys, os
    if __name__ == "__main__":
        print(sys.argv, os.getcwd())
        sys.exit(int(sys.argv[1]) if sys.argv[1:] else 0)
"""


def test_they_share_a_server(site, c_client):
    tool = site.tool("import os\nHERE = os.getcwd()\n" + "print(HERE)\n")
    for env in ({}, {"A": "1", "a.b": "", "Z": "x" * 100_000}):
        site.env.update(env)
        for client in ("", c_client, "", c_client):
            site.client = client
            assert site.call(tool) == (0, f"{site.where}\n".encode(), b"")
    assert sorted(info.calls for info in site.servers()) == [4, 4]


def test_servers_use_the_module_in_c_if_nobody_else_can_have_made_it(site, c_server):
    site.with_native(c_server)
    (module,) = (site.where / ".cache" / "warmshell").iterdir()
    for mode, used in ((0o755, True), (0o777, False)):
        module.chmod(mode)
        tool = site.tool("import sys\nprint(sys.argv[1:])\n", f"tool{mode}")
        for _ in range(2):
            assert site.call(tool, "a", "")[1] == b"['a', '']\n"
        info = next(info for info in site.servers() if info.tool == str(tool))
        assert info.calls == 2
        assert (b"warmfork" in Path(f"/proc/{info.pid}/maps").read_bytes()) == used


def test_an_environment_with_doubles_works_with_both(site, c_client):
    tool = site.tool("import os\nprint(os.environ['DOUBLE'])\n")
    for client in ("", c_client):
        site.client = client
        words = [word if isinstance(word, str) else os.fsdecode(word) for word in site.words(tool)]
        text = "import ctypes, sys; c = ctypes.CDLL(None); w = [a.encode() for a in sys.argv[1:]]; import os;"
        text += "e = [k + b'=' + v for k, v in os.environb.items()] + [b'DOUBLE=1', b'DOUBLE=2'];"
        text += "A = lambda l: (ctypes.c_char_p * (len(l) + 1))(*l); c.execve(w[0], A(w), A(e))"
        done = subprocess.run([sys.executable, "-c", text, *words], env=site.env, capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (0, b"1\n"), done.stderr


@pytest.fixture
def warm(site):
    def run(*words: str, **more) -> subprocess.CompletedProcess[str]:
        env = {**site.env, "XDG_CACHE_HOME": str(site.where / "cache"), **more}
        return subprocess.run(
            [*WARM, *words], cwd=site.where, env=env, capture_output=True, check=False, text=True,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return run


def test_warm_call(site, warm):
    tool = site.tool(TOOL, "mine")
    for _ in range(2):
        done = warm("call", "--level", "fork", str(tool), "3", "--help")
        assert (done.returncode, done.stdout) == (3, f"['{tool}', '3', '--help'] {site.where}\n"), done.stderr
    done = warm("call", "mine", "3", PATH=f"{site.where}:{os.environ['PATH']}")
    assert done.returncode == 3, done.stderr
    script = warm("call", sys.executable, str(tool), "4")
    assert (script.returncode, script.stdout) == (4, f"['{tool}', '4'] {site.where}\n"), script.stderr


def test_what_is_no_python_tool_runs_as_always(site, warm):
    assert warm("call", "sh", "-c", "echo $0 here; exit 7").returncode == 7
    assert warm("call", "no-such-tool").returncode == 2
    assert not site.servers()


def test_a_compiler_that_fails_is_asked_once(site, warm):
    compiler = site.where / "compiler"
    compiler.write_text(f"#!/bin/sh\necho x >>{site.where}/asked\nexit 1\n")
    compiler.chmod(0o755)
    tool = site.tool(TOOL)
    for _ in range(2):
        assert warm("call", str(tool), "3", CC=str(compiler)).returncode == 3
    assert (site.where / "asked").read_text() == "x\n"


@pytest.mark.parametrize("client", ["c", "python"])
def test_aliases(site, warm, client, c_client):
    tool = site.tool(TOOL, "mine")
    folder = site.where / "warm bin"
    done = warm("alias", "--dir", str(folder), "--client", client, str(tool))
    assert (done.returncode, done.stdout) == (0, f"{folder}/mine\n"), done.stderr
    path = {**site.env, "PATH": f"{folder}:{site.where}:{os.environ['PATH']}"}
    for _ in range(3):
        done = subprocess.run(["mine", "5"], env=path, cwd=site.where, capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (5, f"['{tool}', '5'] {site.where}\n".encode()), done.stderr
    assert site.only().calls == 3
    again = warm("alias", "--dir", str(folder), "mine", PATH=path["PATH"])
    assert again.returncode == 0, again.stderr
    assert f"#tool {tool}\n" in (folder / "mine").read_text()


def test_an_alias_replaces_no_other_file(site, warm):
    tool = site.tool(TOOL, "mine")
    done = warm("alias", "--dir", str(site.where), str(tool))
    assert done.returncode == 2
    assert "no launcher of ours" in done.stderr
    assert warm("alias", "--dir", str(site.where), "sh").returncode == 2


def test_ls_stats_and_stop(site, warm):
    tool, other = site.tool(TOOL, "mine"), site.tool(TOOL, "other")
    assert warm("coprocess", "ls").stdout == ""
    site.call(tool)
    site.call(other)
    assert [line.split()[-1] for line in warm("coprocess", "ls").stdout.splitlines()[1:]] == sorted(
        [str(tool), str(other)], key=lambda path: next(i.key for i in site.servers() if i.tool == path)
    )
    facts = [json.loads(line) for line in warm("coprocess", "stats").stdout.splitlines()]
    assert {Path(fact["tool"]).name: fact["calls"] for fact in facts} == {"mine": 1, "other": 1}
    assert warm("coprocess", "stop", "mine").stdout.split()[1:] == [str(tool)]
    assert [info.tool for info in site.servers()] == [str(other)]
    warm("coprocess", "stop")
    assert not site.servers()
    assert not [name for name in os.listdir(site.home) if not name.endswith(".shape")]
