"""The warmer levels: learned imports, a first run, and workers that are used again."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from forkserver.test_equivalence import WHOLE, Runs, options_of
from forkserver.tools import ALL
from warmshell.testing import eventually_sync as eventually

LAZY = """
    import sys
    if __name__ == "__main__":
        before = set(sys.modules)
        import lazy, noisy
        print("lazy" in before, "noisy" in before, lazy.VALUE, sys.argv[1:])
"""
REUSE = "level=reuse prime=x"
COUNTS = """
    import sys, os
    import state
    if __name__ == "__main__":
        state.COUNT += 1
        print(state.COUNT, os.getcwd(), sys.argv[1:], os.environ.get("ONE"), sys.stdin.read())
        sys.exit(len(sys.argv))
"""


def test_imports_are_learned_but_not_those_that_do_more(site):
    (site.where / "lazy.py").write_text("VALUE = 1\n")
    (site.where / "noisy.py").write_text("print('noise')\n")
    tool = site.tool(LAZY)
    options = "level=preload"
    assert site.call(tool, "a", options=options)[1] == b"noise\nFalse False 1 ['a']\n"
    assert site.call(tool, "b", options=options)[1] == b"noise\nTrue False 1 ['b']\n"
    os.kill(site.only().pid, signal.SIGKILL)
    eventually(lambda: not site.all_pids())
    assert site.call(tool, "c", options=options)[1] == b"noise\nTrue False 1 ['c']\n"
    (site.where / "lazy.py").write_text("VALUE = 22\n")
    assert b" 22 ['d']" in site.call(tool, "d", options=options)[1]  # changed just now: it may run cold this once
    assert site.call(tool, "e", options=options)[1] == b"noise\nTrue False 22 ['e']\n"


def test_a_first_run(site):
    (site.where / "state.py").write_text("COUNT = 0\n")
    tool = site.tool("""
        import sys, os, signal
        import state
        if __name__ == "__main__":
            state.COUNT += 1
            if sys.argv[1:] != ["x"]:
                print(state.COUNT, os.getcwd(), sys.argv[1:], os.environ.get("SET"), signal.getsignal(signal.SIGUSR1))
            os.environ["SET"] = "x"
            os.chdir("/")
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    """)
    for _ in range(2):
        out = site.call(tool, "a", options="level=primed prime=x")
        assert out == (0, f"2 {site.where} ['a'] None 0\n".encode(), b"")


@pytest.mark.parametrize(
    "does", ["sys.exit(1)", "os._exit(0)", "threading.Thread(target=event.wait, daemon=True).start()"]
)
def test_a_first_run_that_cannot_be_kept_is_not(site, does):
    (site.where / "state.py").write_text("COUNT = 0\n")
    tool = site.tool(f"""
        import os, sys, threading
        import state
        event = None
        if __name__ == "__main__":
            state.COUNT += 1
            event = threading.Event()
            print(state.COUNT, flush=True)
            if sys.argv[1:] == ["x"]:
                {does}
    """)
    assert site.call(tool, options="level=primed prime=x") == (0, b"1\n", b"")
    assert site.only().calls == 1


def test_a_worker_is_used_again_with_what_each_caller_has(site):
    tool = site.tool("""
        import sys, os
        if __name__ == "__main__":
            print(os.getpid() if sys.argv[1:] != ["x"] else 0, sys.argv[1:], os.getcwd(), end=" ")
            print(os.environ.get("OLDPWD"), end=" ")
            print(sys.stdin.read())
            sys.exit(len(sys.argv))
    """)
    first = site.call(tool, "a", options=REUSE, stdin=b"one")
    again = site.call(tool, "b", "c", options=REUSE, stdin=b"two", cwd="/", env={**site.env, "OLDPWD": "here"})
    assert first[0] == 1 + 1
    assert again[0] == 1 + 2
    assert first[1].split()[0] == again[1].split()[0], (first, again)
    assert again[1].split(b" ", 1)[1] == b"['b', 'c'] / here two\n"


def test_a_tool_that_does_not_come_to_the_same_twice_is_not_reused(site):
    (site.where / "state.py").write_text("COUNT = 0\n")
    tool = site.tool(COUNTS)
    for _ in range(3):
        assert site.call(tool, "x", options=REUSE)[1].startswith(b"1 ")
    assert site.only().calls == 3


def test_workers_end_and_are_replaced(site):
    tool = site.tool("""
        import os, sys, time
        if __name__ == "__main__":
            print(os.getpid(), flush=True)
            if sys.argv[1:] == ["exit"]: os._exit(3)
            if sys.argv[1:] == ["fail"]: raise ValueError
            if sys.argv[1:] == ["kill"]: os.kill(os.getpid(), 9)
            if sys.argv[1:] == ["wait"]: time.sleep(1000)
            if sys.argv[1:] == ["print"]: print("x")
    """)
    options = "level=reuse prime=none"
    plain = site.tool(tool.read_text().split("\n", 1)[1].replace("print(os.getpid(), flush=True)", "pass"), "plain")
    for words, status in ((["exit"], 3), (["fail"], 1), (["kill"], -9), ([], 0), (["exit"], 3), ([], 0)):
        assert site.call(plain, *words, options=options)[0] == status
    assert site.call(plain, "fail", options=options) == site.cold(plain, "fail")
    process = site.start(plain, "wait", options=options)
    eventually(lambda: site.only().running == 1)
    process.terminate()
    assert process.communicate()[0] == b""
    assert process.returncode == -signal.SIGTERM
    process = site.start(plain, "wait", options=options)
    eventually(lambda: site.only().running == 1)
    process.kill()
    process.communicate()
    eventually(lambda: site.only().running == 0, within=15)
    assert site.call(plain, "print", options=options) == (0, b"x\n", b"")
    os.kill(site.only().pid, signal.SIGKILL)
    eventually(lambda: not site.all_pids())


def test_a_worker_that_holds_too_much_memory_is_replaced(site):
    tool = site.tool("""
        import os, sys
        import kept
        if __name__ == "__main__":
            if sys.argv[1:] == ["much"]: kept.DATA.append(bytearray(100 << 20))
            if sys.argv[1:] != ["none"]: print(os.getpid(), len(kept.DATA))
    """)
    (site.where / "kept.py").write_text("DATA = []\n")
    options = "level=reuse prime=none memory=100"
    words = ["a", "a", "much", "a"]
    said = [site.call(tool, word, options=options) for word in words]
    assert [status for status, _, _ in said] == [0] * 4
    pids, held = zip(*(out.split() for _, out, _ in said), strict=True)
    assert held == (b"0", b"0", b"1", b"0")
    assert pids[0] == pids[1] == pids[2] != pids[3]


def test_what_is_learned_and_needs_too_much_memory_is_forgotten(site):
    tool = site.tool("import sys\nif __name__ == '__main__':\n    import large\n    print(len(large.DATA))\n")
    (site.where / "large.py").write_text("DATA = b'x' * (100 << 20)\n")
    options = "level=preload memory=80"
    for _ in range(4):  # it is learned after the first, and the server ends
        assert site.call(tool, options=options) == (0, b"104857600\n", b"")
        eventually(lambda: not [name for name in os.listdir(site.home) if name.endswith(".modules")])
        assert all(info.memory < 80 << 20 for info in site.servers())


def test_output_of_a_worker_ends_with_the_call(site):
    tool = site.tool("print('x')\n")
    for _ in range(3):
        words = site.words(tool, options="level=reuse")
        done = subprocess.run(
            ["sh", "-c", '"$@" | cat', "sh", *words], env=site.env, cwd=site.where, capture_output=True, check=True,
            timeout=30,
        )  # fmt: skip
        assert (done.stdout, done.stderr) == (b"x\n", b"")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("tool", ALL, ids=lambda tool: tool.name)
def test_reuse_of_real_tools_is_right_or_refused(site, tool):
    if tool.missing:
        pytest.skip(f"{tool.name} is not installed: make tools")
    if not WHOLE and tool.name not in ("black", "mypy", "yamllint"):
        pytest.skip("long: WARMSHELL_WHOLE=1 runs it")
    runs = Runs(site, tool)
    cold = {line: runs(line, None) for line in tool.lines}
    for line in [*tool.lines, *(tool.lines if WHOLE else ())]:
        assert runs(line, options_of(tool, "reuse")) == cold[line], line
