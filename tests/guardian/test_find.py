"""Which processes a selection means."""

from __future__ import annotations

import ast
import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmshell.guardian import processes, tree

from .guardian_help import SOURCE, eventually, target


def session_tag(token):
    return b"WARMSHELL_SESSION=" + token.encode()


def environment(process):
    return Path(f"/proc/{process[0]}/environ").read_bytes()


def test_descendants_without_the_root_unless_asked_for(start):
    family = start("""
def parent():
    say(grandchild=child(rest)); rest()
say(child=child(parent)); rest()
""")
    family.hear(), family.hear()
    both = {target(family.facts["child"]), target(family.facts["grandchild"])}
    assert tree.find([family.target]) == both
    assert tree.find([family.target], include_roots=True) == both | {family.target}


def test_a_root_with_another_start_time_is_another_process(start):
    family = start("say(child=child(rest)); rest()")
    family.hear()
    assert tree.find([(family.pid, family.target[1] + 1)], include_roots=True) == set()


def test_a_child_that_made_its_own_session_is_a_descendant(start):
    family = start("""
def leave():
    os.setsid(); say(left=os.getpid()); rest()
child(leave); rest()
""")
    family.hear()
    assert tree.find([family.target]) == {target(family.facts["left"])}


def test_a_daemon_is_found_by_its_tag_only(start, token):
    family = start("""
def leave():
    os.setsid(); rest()
say(daemon=daemon(leave)); rest()
""")
    family.hear()
    daemon = target(family.facts["daemon"])
    eventually(lambda: os.getsid(daemon[0]) == daemon[0])
    assert tree.find([family.target], sids=[family.pid]) == set()
    assert tree.find(tags=[session_tag(token)]) == {daemon, family.target}


def test_without_environment_under_the_tree_or_in_the_session(start):
    family = start("""
words = [sys.executable, "-I", "-S", "-c", "import signal; signal.alarm(60); signal.pause()"]
bare = lambda: os.execve(sys.executable, words, {})
say(child=child(bare), orphan=daemon(bare)); rest()
""")
    family.hear()
    child, orphan = target(family.facts["child"]), target(family.facts["orphan"])
    eventually(lambda: not environment(child))
    eventually(lambda: not environment(orphan))
    assert tree.find([family.target]) == {child}
    assert tree.find([family.target], sids=[family.pid]) == {child, orphan}


def test_descendants_of_what_is_tagged_or_in_a_session_are_meant(start, token):
    family = start("""
def leave():
    os.setsid(); rest()
say(child=child(leave)); rest()
""")
    family.hear()
    child = family.facts["child"]
    eventually(lambda: os.getsid(child) == child)
    assert tree.find(sids=[family.pid]) == {family.target, target(child)}


@pytest.mark.parametrize(
    ("value", "found"),
    [("{0}.1.2", True), ("{0}.1.20", False), ("{0}.1.2.3", True), ("{0}.1", False), ("x{0}.1.2", False)],
)
def test_a_tag_ends_where_a_part_ends(start, token, value, found):
    family = start("say(ready=1); rest()", env={"A": "1", "WARMSHELL_COMMAND": value.format(token), "Z": "1"})
    family.hear()
    tag = b"WARMSHELL_COMMAND=" + token.encode() + b".1.2"
    assert (family.target in tree.find(tags=[tag])) is found


def test_a_tag_after_a_value_that_looks_like_it(start, token):
    name = "WARMSHELL_COMMAND"
    tag = f"{name}={token}"
    family = start("say(ready=1); rest()", env={"A": tag, "B": "\n" + tag, "X" + name: token})
    family.hear()
    assert tree.find(tags=[tag.encode()]) == set()


def test_a_tag_in_an_environment_of_megabytes(start, token):
    padding = {f"PAD{i}": "x" * 100_000 for i in range(12)}
    family = start("say(ready=1); rest()", env={**padding, "WARMSHELL_SESSION": token})
    family.hear()
    assert tree.find(tags=[session_tag(token)]) == {family.target}


@pytest.mark.parametrize("tag", [b"", b"WARMSHELL_SESSION", b"WARMSHELL_SESSION=", b"=x"])
def test_a_tag_that_would_mean_everybody_is_refused(tag):
    with pytest.raises(ValueError, match="NAME=value"):
        tree.Selection(tags=[tag])


def test_excluded_processes_are_not_meant_nor_descended_through(start, token):
    family = start("""
def parent():
    say(inner=child(rest)); rest()
say(spared=child(parent), other=child(rest)); rest()
""")
    family.hear(), family.hear()
    found = tree.find([family.target], exclude=[family.facts["spared"]])
    assert found == {target(family.facts["other"])}


def test_the_calling_process_never_means_itself(start, token):
    own = start(
        f"""
sys.path.insert(0, {SOURCE!r})
from warmshell.guardian import tree
me = os.getpid()
tags = [b"WARMSHELL_SESSION=" + os.environb[b"WARMSHELL_SESSION"]]
roots = [(os.getppid(), tree.start_time(os.getppid()))]
say(found=[me in dict(tree.find(**how)) for how in ({{"tags": tags}}, {{"sids": [me]}}, {{"roots": roots}})])
"""
    )
    assert own.hear() == {"found": [False, False, False]}


def test_the_sessions_of_init_and_of_other_namespaces_are_never_meant():
    assert tree.Selection(sids=[0, 1, 7]).sids == {7}
    assert 1 not in {pid for pid, _ in tree.find([(1, tree.start_time(1))], include_roots=True)}


def test_since_spares_what_is_older(start, token):
    family = start("say(ready=1); rest()")
    family.hear()
    later = family.target[1] + 1
    assert tree.find(tags=[session_tag(token)], sids=[family.pid], since=family.target[1]) == {family.target}
    assert tree.find(tags=[session_tag(token)], sids=[family.pid], since=later) == set()


def test_ticks_is_the_clock_of_start_times(start):
    before = tree.ticks()
    family = start("say(ready=1); rest()")
    assert before <= family.target[1] <= tree.ticks()
    assert tree.ticks(10.0) < before


def test_zombies_are_not_alive(start):
    family = start("say(zombie=child(lambda: None)); rest()")
    family.hear()
    zombie = family.facts["zombie"]
    eventually(lambda: tree.process(zombie).zombie)
    assert tree.find([family.target]) == set()
    assert not tree.is_alive(zombie, tree.start_time(zombie))


@pytest.mark.skipif(platform.machine() not in {"x86_64", "aarch64"}, reason="needs the number of a system call")
def test_a_process_whose_first_thread_ended_is_alive_and_tagged(start, token):
    number = 60 if platform.machine() == "x86_64" else 93
    family = start(f"""
import ctypes, threading
threading.Thread(target=time.sleep, args=(60,)).start()
say(ready=1)
ctypes.CDLL(None).syscall({number}, 0)
""")
    family.hear()
    eventually(lambda: tree.process(family.pid).state == "Z")
    assert tree.find(tags=[session_tag(token)]) == {family.target}
    assert tree.end(tree.Selection(tags=[session_tag(token)]), 0.2) == set()
    assert family.process.wait() < 0


@pytest.mark.parametrize("name", [b"a) R 1 2", b"x\n) Z 0", b"))))", b" ", b"(", b"\xff\xfe) S"])
def test_names_that_imitate_the_format(start, name):
    family = start(f"""
import ctypes
def odd():
    ctypes.CDLL(None).prctl(15, {name!r}, 0, 0, 0); say(odd=os.getpid()); rest()
child(odd); rest()
""")
    family.hear()
    odd = family.facts["odd"]
    seen = tree.process(odd)
    assert (seen.ppid, seen.sid, seen.zombie) == (family.pid, family.pid, False)
    assert tree.find([family.target]) == {target(odd)}


@given(st.binary(max_size=64), st.integers(0, 2**63))
def test_parse_stat_for_any_name(name, started):
    rest = b"S 10 20 30 0 -1 4194304 " + b"7 " * 8 + b"20 0 3 0 %d 0 0 0" % started
    parsed = processes.parse_stat(5, b"5 (" + name + b") " + rest)
    assert (parsed.pid, parsed.ppid, parsed.pgid, parsed.sid) == (5, 10, 20, 30)
    assert (parsed.state, parsed.started, parsed.zombie, parsed.kernel) == ("S", started, False, False)


def test_a_process_that_is_gone():
    child = subprocess.Popen(["true"])
    child.wait()
    assert tree.process(child.pid) is None
    assert tree.start_time(child.pid) is None
    assert not tree.is_alive(child.pid, 1)
    assert not tree.send(child.pid, 1, signal.SIGTERM)


@pytest.fixture
def without_proc(monkeypatch):
    """A context in which only ``ps`` tells of processes, as on macOS."""
    if shutil.which("ps") is None:
        pytest.skip("there is no ps here")

    @contextlib.contextmanager
    def context():
        with monkeypatch.context() as patch:
            patch.setattr(processes, "HAS_PROC", False)
            yield

    return context


def test_without_proc_ps_tells_descendants_and_sessions(start, without_proc):
    family = start("""
def leave():
    os.setsid(); say(left=os.getpid()); rest()
child(leave); say(orphan=daemon(rest)); rest()
""")
    family.hear(), family.hear()
    with without_proc():
        assert {pid for pid, _ in tree.find([target(family.pid)])} == {family.facts["left"]}
        assert {pid for pid, _ in tree.find(sids=[family.pid])} == set(family.facts.values()) | {family.pid}
        assert tree.ticks() == 0


def test_without_proc_everything_is_ended_too(start, without_proc):
    family = start("""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
say(orphan=daemon(rest), child=child(rest)); rest()
""")
    family.hear()
    with without_proc():
        assert tree.end(tree.Selection(sids=[family.pid]), 0.2) == set()
    assert family.process.wait() == -signal.SIGKILL
    assert family.survivors() == []


# Imports the guardian's modules as they are imported far away: without warmshell/__init__.
ALONE = f"""
import sys
sys.modules["warmshell"] = type(sys)("warmshell")
sys.modules["warmshell"].__path__ = [{SOURCE!r} + "/warmshell"]
from warmshell.guardian import tree
"""


@pytest.mark.parametrize("module", [processes, tree])
def test_it_is_valid_for_old_pythons(module):
    ast.parse(Path(module.__file__).read_text(), feature_version=(3, 8))


def test_it_imports_little():
    command = [sys.executable, "-I", "-S", "-c", ALONE + "print(*sys.modules)"]
    loaded = subprocess.run(command, capture_output=True, check=True).stdout.split()
    assert b"warmshell.guardian.tree" in loaded
    assert not {b"typing", b"asyncio", b"subprocess", b"re", b"dataclasses", b"threading"} & set(loaded)


@pytest.mark.parametrize("minor", [8, 9, 10])
def test_it_runs_on_old_pythons(start, minor):
    python = shutil.which(f"python3.{minor}")
    if python is None or subprocess.run([python, "-V"], capture_output=True, check=False).returncode:
        pytest.skip(f"there is no Python 3.{minor} here")
    family = start("signal.signal(signal.SIGTERM, signal.SIG_IGN); say(child=child(rest)); rest()")
    family.hear()
    program = f"""{ALONE}
print(tree.end(tree.Selection([({family.pid}, tree.start_time({family.pid}))], include_roots=True), 0.1))
"""
    done = subprocess.run([python, "-I", "-S", "-c", program], capture_output=True, check=True)
    assert done.stdout == b"set()\n", done.stderr
    assert family.process.wait() == -signal.SIGKILL
    assert family.survivors() == []
