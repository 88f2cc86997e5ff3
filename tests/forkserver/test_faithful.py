"""A forked call is what a cold run would be: whatever a process inherits, and however it ends."""

from __future__ import annotations

import os
import pty
import resource
import signal
import subprocess
import sys

import pytest

from warmshell.testing import eventually_sync as eventually

TELLS = """
    import json, os, resource, signal, sys, time, locale
    if __name__ == "__main__":
        limit = os.sysconf("SC_OPEN_MAX")
        print(json.dumps({
            "argv": sys.argv, "cwd": os.getcwd(), "umask": os.umask(0o22), "nice": os.nice(0),
            "limit": resource.getrlimit(resource.RLIMIT_NOFILE), "env": list(os.environ.items()),
            "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "zone": time.tzname,
            "ignored": [n for n in range(1, 32) if signal.getsignal(n) == signal.SIG_IGN],
            "handlers": [str(signal.getsignal(n)) for n in (2, 15, 17)],
            "encoding": [sys.stdin.encoding, sys.stdout.encoding, sys.stdout.errors, sys.stderr.errors],
            "lines": [s.line_buffering for s in (sys.stdin, sys.stdout, sys.stderr)],
            "names": [(s.name, s.mode, s.buffer.name, s.buffer.raw.name) for s in (sys.stdin, sys.stdout, sys.stderr)],
            "seekable": [s.seekable() for s in (sys.stdin, sys.stdout, sys.stderr)],
            "path": sys.path, "executable": sys.executable, "flags": str(sys.flags), "main": sorted(globals()),
            "file": __file__, "orig": getattr(sys, "orig_argv", None), "prefix": sys.prefix,
            "fds": sorted(f for f in map(int, os.listdir("/proc/self/fd")) if f < min(800, limit - 8)),
            "locale": locale.getlocale(),
        }, indent=1))
"""


@pytest.fixture
def site(both_clients):
    return both_clients


def both(site, tool, *args, **more):
    """Cold, then warm twice: the first starts the server."""
    cold = site.cold(tool, *args, **more)
    assert site.call(tool, *args, **more) == cold
    assert site.call(tool, *args, **more) == cold
    return cold


def test_what_a_process_inherits(site):
    tool = site.tool(TELLS)
    status, out, err = both(site, tool, "a b", b"\xff", "", "--x=y\n")
    assert (status, err) == (0, b"")
    assert out.count(b"argv") == 1
    assert site.only().calls == 2


def test_it_is_taken_over_from_each_caller(site):
    tool = site.tool(TELLS)
    other = site.where / "other"
    other.mkdir()
    both(site, tool)

    def change() -> None:
        os.umask(0o077)
        os.nice(5)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    both(site, tool, cwd=other, preexec_fn=change)
    assert site.only().calls == 4


def test_limits_and_variables_choose_the_server(site):
    tool = site.tool(TELLS)
    both(site, tool)
    both(site, tool, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (512, 600)))
    both(site, tool, env={**site.env, "TZ": "Asia/Tokyo"})
    both(site, tool, env={**site.env, "LC_ALL": "C"})
    both(site, tool, env={**site.env, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": ""})
    assert len(site.servers()) == 5


def test_few_descriptors_are_enough(site):
    tool = site.tool("import os, resource\nprint(os.getppid(), resource.getrlimit(resource.RLIMIT_NOFILE))\n")
    for _ in range(2):
        _, out, _ = site.call(tool, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (32, 40)))
        assert out == b"%d (32, 40)\n" % site.only().pid


def test_bookkeeping_of_shells_chooses_none_and_still_arrives(site):
    tool = site.tool(TELLS)
    both(site, tool)
    both(site, tool, env={**site.env, "SHLVL": "7", "OLDPWD": "/x"})
    assert site.only().calls == 4


@pytest.mark.parametrize(
    "ending",
    [
        "pass", "sys.exit()", "sys.exit(3)", "sys.exit(-1)", "sys.exit(256)", "sys.exit('a word')", "sys.exit(True)",
        "raise ValueError('é')", "1/0", "raise KeyboardInterrupt", "os._exit(4)", "os.abort()", "raise SystemExit([1])",
        "os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 15)", "signal.raise_signal(2)", "sys.stdout.close()",
        "atexit.register(print, 'last'); 1/0", "sys.excepthook = lambda *a: print('hook', a[0].__name__); 1/0",
        "threading.Timer(0.05, lambda: print('late')).start()", "print('x', end=''); sys.stderr.write('y')",
        "open('left', 'w').write('unflushed')", "global kept; kept = open('kept', 'w'); kept.write('open')",
        "threading.Thread(target=lambda: 1/0, name='t').start()", "exec('def f(): f()\\nf()')",
        "ctypes.string_at(0)",
        "import tempfile; global t; t = tempfile.NamedTemporaryFile(dir='.', prefix='gone')",
        "import zipfile; global z; z = zipfile.ZipFile('z.zip', 'w'); z.writestr('a', 'b')",
    ],
)  # fmt: skip
def test_how_it_ends(site, ending):
    tool = site.tool(f"""
        import atexit, ctypes, os, signal, sys, threading
        def main():
            print("begins")
            {ending}
        if __name__ == "__main__":
            main()
    """)
    status, out, err = site.cold(tool)
    files = sorted((path.name, path.stat().st_size) for path in site.where.iterdir())
    for name in ("left", "kept", "z.zip"):
        (site.where / name).unlink(missing_ok=True)
    for _ in range(2):
        again = site.call(tool)
        assert sorted((path.name, path.stat().st_size) for path in site.where.iterdir()) == files
        assert again[:2] == (status, out)
        if "thread" not in ending.lower():
            assert again[2] == err
    assert site.only().calls == 2


def test_a_tool_of_import_statements_only_is_served_as_well(site):
    tool = site.tool("import json\nimport sys\nprint(sys.argv[1:], json.dumps([1]))\nsys.exit(5)\n")
    both(site, tool, "x")
    assert site.only().calls == 2


def test_standard_input_to_its_end(site):
    tool = site.tool("import sys\nfor line in sys.stdin: sys.stdout.write(line.upper())\n")
    for data in (b"", b"a\nb", b"x" * 3_000_000 + b"\n"):
        both(site, tool, stdin=data)


def test_output_that_nobody_reads(site):
    tool = site.tool("""
        import select
        print(0, flush=True)
        closed = select.poll()
        closed.register(1, 0)
        closed.poll()
        for n in range(100000): print(n)
    """)

    def run(words):
        process = subprocess.Popen(
            words,
            cwd=site.where,
            env=site.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        process.stderr.close()
        return process.wait(timeout=30), err

    cold = run([str(tool)])
    assert b"BrokenPipe" in cold[1]
    assert run(site.words(tool)) == cold
    assert run(site.words(tool)) == cold


def test_a_full_disk(site):
    tool = site.tool("print('x' * 10)\n")

    def run(words):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                words, stdout=full, stderr=subprocess.PIPE, cwd=site.where, env=site.env, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        return done.returncode, done.stderr

    cold = run([str(tool)])
    assert cold[0] == 120
    assert run(site.words(tool)) == cold
    assert run(site.words(tool)) == cold


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0)])
def test_files_of_every_kind_several_times_in_turn(site, order):
    """Streams are made beforehand for the kinds of file that the last calls had."""
    tool = site.tool("""
        import os, sys
        if __name__ == "__main__":
            facts = [(s.seekable(), s.seekable() and s.tell(), s.line_buffering) for s in (sys.stdin, sys.stdout)]
            text = sys.stdin.read()
            sys.stdout.write(text + str(facts) + os.linesep)
            sys.stdout.flush()
            sys.stderr.write(text.upper() + str(sys.stdout.seekable() and sys.stdout.tell()))
    """)
    source, sink = site.where / "source.txt", site.where / "sink.txt"
    source.write_text("line\nlast")

    def run(words, kind):
        sink.write_text("head\n" if kind == 3 else "")
        with open(source, "rb") as given, open(sink, "ab" if kind == 3 else "wb") as taken:
            if kind == 3:
                os.lseek(given.fileno(), 5, os.SEEK_SET)
            files = [
                {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL},
                {"input": b"from a pipe\n", "stdout": subprocess.PIPE},
                {"stdin": given, "stdout": taken},
                {"stdin": given, "stdout": taken},
            ][kind]
            done = subprocess.run(
                words, stderr=subprocess.PIPE, cwd=site.where, env=site.env, check=False, **files
            )  # fmt: skip
        return done.returncode, done.stdout, done.stderr, sink.read_bytes()

    for kind in order:
        cold = run([str(tool)], kind)
        assert [run(site.words(tool), kind) for _ in range(5)] == [cold] * 5
    assert site.only().calls == 20


def test_the_same_file_for_both_outputs(site):
    tool = site.tool("import sys\nprint('one', flush=True); print('two', file=sys.stderr); print('three')\n")

    def run(words):
        return subprocess.run(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=site.where, env=site.env, check=False,
            stdin=subprocess.DEVNULL,
        ).stdout  # fmt: skip

    assert run(site.words(tool)) == run(site.words(tool)) == run([str(tool)]) == b"one\ntwo\nthree\n"


def on_terminal(site, words):
    """Run on a terminal; what appears there."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(site.where)
        os.execve(words[0], [os.fsdecode(word) for word in words], site.env)
    out = b""
    while True:
        try:
            chunk = os.read(master, 4096)
        except OSError:
            break
        if not chunk:
            break
        out += chunk
    os.close(master)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), out


def test_on_a_terminal(site):
    tool = site.tool("""
        import sys, os
        AT_IMPORT = sys.stdout.isatty()
        print([s.isatty() for s in (sys.stdin, sys.stdout, sys.stderr)], sys.stdout.line_buffering, AT_IMPORT)
        print(os.ttyname(0) == os.ttyname(2), os.get_terminal_size(), os.readlink("/proc/self/fd/1") == os.ttyname(1))
    """)
    cold = on_terminal(site, [str(tool)])
    assert on_terminal(site, site.words(tool)) == cold
    assert on_terminal(site, site.words(tool)) == cold
    assert b"[True, True, True] True True" in cold[1]
    site.call(tool)
    assert len(site.servers()) == 2


def test_what_needs_its_controlling_terminal_is_recognised(site):
    tool = site.tool("""
        import os
        if __name__ == "__main__":
            try:
                print(os.isatty(os.open("/dev/tty", os.O_RDWR)))
            except OSError as error:
                print(error.strerror)
    """)
    assert on_terminal(site, site.words(tool))[1] == b"No such device or address\r\n"
    assert on_terminal(site, site.words(tool)) == on_terminal(site, [str(tool)]) == (0, b"True\r\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_handed_on_and_deaths_are_shared(site, number):
    tool = site.tool("import sys, time\nprint('ready', flush=True)\ntime.sleep(1000)\n")

    def run(words):
        process = subprocess.Popen(
            words,
            cwd=site.where,
            env=site.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err.splitlines()[-1:]  # it may be at either of its two lines

    cold = run([str(tool)])
    assert run(site.words(tool)) == cold
    assert run(site.words(tool)) == cold
    assert cold[0] == -number


def test_stop_and_continue(site):
    tool = site.tool("import sys\nprint('ready', flush=True)\nfor line in sys.stdin: print(line, end='', flush=True)\n")
    site.call(tool)
    process = site.start(tool, stdin=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTSTP)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGCONT)
    process.stdin.write(b"again\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"again\n"
    process.stdin.close()
    process.stdout.close()
    process.stderr.close()
    assert process.wait(timeout=30) == 0


def test_a_script_with_its_interpreter(site):
    script = site.where / "plain.py"
    script.write_text("import sys\nprint(sys.argv, __file__, sys.path[0])\n")
    cold = subprocess.run([sys.executable, str(script), "x"], capture_output=True, check=True, env=site.env)
    words = [*site.words(script, "x")]
    words[words.index("")] = sys.executable
    for _ in range(2):
        warm = subprocess.run(words, capture_output=True, check=True, env=site.env)
        assert (warm.stdout, warm.stderr) == (cold.stdout, cold.stderr)
    assert site.only().calls == 2


def test_children_of_the_tool_outlive_it_as_they_would(site):
    tool = site.tool("""
        import subprocess, sys
        nowhere = {name: subprocess.DEVNULL for name in ("stdin", "stdout", "stderr")}
        child = subprocess.Popen(["sleep", "1000"], **nowhere)
        print(child.pid)
    """)
    for _ in range(2):
        _, out, _ = site.call(tool)
        os.kill(int(out), signal.SIGKILL)
    eventually(lambda: not any(p == int(out) for p in site.all_pids()))
