"""Ctrl-C, forks, and programs that end without closing anything."""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import sys
import textwrap

import pytest

from warmshell import blocking

from .interrupts import Started, interrupting, is_running


class Alarm(Exception):
    """Raised by a handler of this test."""


@pytest.fixture
def alarm():
    def ring(*_: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGUSR1, ring)
    yield signal.SIGUSR1
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def here():
    with blocking.connect("local:") as location:
        yield location


def test_ctrl_c_ends_the_command_and_goes_on(here, tmp_path):
    started = Started(tmp_path)
    with interrupting(started), pytest.raises(KeyboardInterrupt):
        here.run(started.script + "; sleep 1000; echo never")
    assert started.pid
    assert here.run(f"pgrep -P {started.pid} sleep; echo next").text == "next\n"


def test_what_it_ran_is_gone_when_ctrl_c_goes_on(here, tmp_path):
    started = Started(tmp_path)
    with interrupting(started), pytest.raises(KeyboardInterrupt):
        here.run(["sh", "-c", started.script + "; exec sleep 1000"])
    assert not is_running(started.pid)
    assert here.run(["echo", "next"]).text == "next\n"


def test_a_command_that_ignores_term(here, tmp_path):
    started = Started(tmp_path)
    with interrupting(started), pytest.raises(KeyboardInterrupt):
        here.run(["sh", "-c", f"trap '' TERM INT; {started.script}; while :; do sleep 1; done"])
    assert not is_running(started.pid)


def test_any_exception_of_a_handler(here, tmp_path, alarm):
    started = Started(tmp_path)
    with interrupting(started, alarm), pytest.raises(Alarm):
        here.run(["sh", "-c", started.script + "; exec sleep 1000"])
    assert not is_running(started.pid)


def test_ctrl_c_while_a_shell_runs(here, tmp_path):
    started = Started(tmp_path)
    with here.shell() as shell:
        with interrupting(started), pytest.raises(KeyboardInterrupt):
            shell.run(shlex.join(["sh", "-c", started.script + "; exec sleep 1000"]))
        assert not is_running(started.pid)
        assert not shell.alive


def test_ctrl_c_while_a_process_is_read_or_waited_for(here, tmp_path):
    for number, wait in enumerate(("receive", "wait")):
        started = Started(tmp_path, f"started{number}")
        command = ["sh", "-c", started.script + "; exec sleep 1000"]
        with pytest.raises(KeyboardInterrupt), interrupting(started), here.open(command) as process:
            process.stdout.receive() if wait == "receive" else process.wait()
        assert not is_running(started.pid)


def test_ctrl_c_in_a_pool(here, tmp_path):
    for number, wait in enumerate(("run", "map")):
        started = Started(tmp_path, f"started{number}")
        command = ["sh", "-c", started.script + "; exec sleep 1000"]
        with blocking.Pool(here, size=2) as pool:
            with interrupting(started), pytest.raises(KeyboardInterrupt):
                pool.run(command) if wait == "run" else list(pool.map([command, ["true"]]))
            pool.drain()
            assert not is_running(started.pid)
            assert pool.run(["echo", "next"]).text == "next\n"


def test_an_input_that_is_waited_for_does_not_hold_up_ctrl_c(here, tmp_path):
    started = Started(tmp_path)
    reader, writer = os.pipe()
    with open(reader, "rb") as source, open(writer, "wb"):
        with interrupting(started), pytest.raises(KeyboardInterrupt):
            here.run(["sh", "-c", started.script + "; exec cat"], stdin=source)
        assert not is_running(started.pid)


# -- programs of their own --


def program(text: str, *words: str, **options) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text), *words],
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        **options,
    )


def output(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    out, err = process.communicate(timeout=60)
    assert err == b"", err.decode()
    return process.returncode, out.decode()


def test_a_program_that_is_interrupted(tmp_path):
    started = Started(tmp_path)
    process = program(
        """
        import sys, warmshell.blocking
        try:
            with warmshell.blocking.connect("local:") as here:
                here.run(["sh", "-c", sys.argv[1] + "; exec sleep 1000"])
        except KeyboardInterrupt:
            import threading
            print("interrupted", threading.active_count())
        """,
        started.script,
        start_new_session=True,
    )
    started.wait()
    os.killpg(process.pid, signal.SIGINT)
    assert output(process) == (0, "interrupted 1\n")
    assert not is_running(started.pid)


def test_a_program_that_closes_nothing_ends(tmp_path):
    started = Started(tmp_path)
    process = program(
        """
        import sys, threading, warmshell.blocking
        here = warmshell.blocking.connect("local:").__enter__()
        process = here.open(["sh", "-c", sys.argv[1] + "; exec sleep 1000"]).__enter__()
        print(here.run(["echo", "done"]).text, end="")
        """,
        started.script,
    )
    started.wait()
    assert output(process) == (0, "done\n")
    try:
        fd = os.pidfd_open(started.pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], 20)[0], "the guardian has left it behind"
    finally:
        os.close(fd)


def test_forks():
    process = program(
        """
        import os, sys, warmshell.blocking
        from warmshell.errors import ClosedError
        with warmshell.blocking.connect("local:") as here:
            shell = here.shell().__enter__()
            here.run(["true"])
            pid = os.fork()
            if not pid:
                uses = (lambda: here.run(["true"]), here.statistics, lambda: shell.run("true"), here.shell().__enter__)
                for use in uses:
                    try:
                        use()
                    except ClosedError as error:
                        print("fork" in str(error), flush=True)
                with warmshell.blocking.connect("local:") as own:
                    print(own.run(["echo", "child"]).text, end="", flush=True)
                shell.close()
            else:
                assert os.waitpid(pid, 0)[1] == 0
                print(here.run(["echo", "parent"]).text, shell.run("echo shell").text, sep="", end="", flush=True)
                shell.close()
        if not pid:
            os._exit(0)
        """,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert output(process) == (0, "True\n" * 4 + "child\nparent\nshell\n")


def test_no_descriptors_for_a_loop():
    process = program(
        """
        import os, resource, threading, warmshell.blocking
        import warmshell.connector.local, asyncio, socket, selectors
        location = warmshell.blocking.connect("local:")
        resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))
        held = []
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        try:
            location.__enter__()
        except OSError as error:
            print(error.errno, threading.active_count())
        """,
    )
    assert process.communicate(timeout=60)[0] == b"24 1\n"  # asyncio itself complains of its half-made loop
