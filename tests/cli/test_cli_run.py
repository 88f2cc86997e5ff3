"""warm run: status and streams are the command's own."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -9 $$"], 137),
        (["sh", "-c", "kill -TERM $$"], 143),
        (["sh", "-c", "exit 255"], 255),
    ],
)
def test_the_status_is_the_commands(warm, words: list[str], status: int) -> None:
    assert warm("run", "--", *words).returncode == status


def test_streams_are_exact_and_separate(warm) -> None:
    done = warm("run", "--", "sh", "-c", r"printf 'a\000\377\n\nb'; printf 'e\001' >&2")
    assert (done.stdout, done.stderr) == (b"a\0\xff\n\nb", b"e\1")


def test_words_arrive_as_given(warm) -> None:
    words = [b"a b", b"", b"'", b"$(x)", b"*", b"\xff\xfe", "é".encode(), b"-n", b"--", b"new\nline"]
    assert warm.output("run", "--", "printf", r"%s\0", *words) == b"".join(word + b"\0" for word in words)


def test_without_dashes_options_of_the_command_are_its_own(warm) -> None:
    assert warm.output("run", "printf", "%s.", "--cwd", "--", "-c") == b"--cwd.--.-c."


def test_a_script_with_words(warm) -> None:
    assert warm.output("run", "-c", 'printf "<%s>" "$0" "$@"', "a b", "c") == b"<sh><a b><c>"
    assert warm.output("run", "--shell", "bash", "-c", "x=(1 2); echo ${#x[@]}") == b"2\n"


def test_environment_and_directory(warm) -> None:
    got = warm.output(
        "run", "--cwd", "/usr", "--env", "A=1=2", "--env", "B= x", "-c", 'echo "$A|$B|$PWD|$WARM_TEST_MARK"'
    )
    assert got == f"1=2| x|/usr|{warm.mark.partition('=')[2]}\n".encode()


def test_input_is_passed_whole(warm) -> None:
    data = os.urandom(3_000_000)
    assert warm.output("run", "cat", stdin=data) == data


def test_input_that_nobody_reads_is_no_error(warm) -> None:
    assert warm.output("run", "echo", "done", stdin=b"x" * 1_000_000) == b"done\n"


def test_input_and_output_flow_while_the_command_runs(warm) -> None:
    process = warm.start("run", "cat", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    for line in (b"one\n", b"two\n"):
        process.stdin.write(line)
        process.stdin.flush()
        assert process.stdout.readline() == line
    process.stdin.close()
    assert process.stdout.read() == b""
    assert process.wait(20) == 0
    process.stdout.close()
    process.stderr.close()


def test_input_is_not_read_ahead_without_bound(warm, until) -> None:
    read, write = os.pipe()
    process = warm.start("run", "sleep", "600", stdin=read)
    os.close(read)
    os.set_blocking(write, False)
    sent = 0

    def stuck() -> bool:
        nonlocal sent
        try:
            sent += os.write(write, bytes(65536))
        except BlockingIOError:
            return any(line.startswith("sleep 600") for line in warm.left())
        return False

    until(stuck)
    for _ in range(20):  # it may take some more once its own pipe is made; never all that comes
        stuck()
    assert sent < 4 << 20
    process.terminate()
    assert process.wait(20) == 143
    os.close(write)
    process.stdout.close()
    process.stderr.close()


def test_a_reader_that_leaves_ends_it_quietly(warm) -> None:
    process = warm.start("run", "yes")
    assert process.stdout.readline() == b"y\n"
    process.stdout.close()
    assert process.wait(20) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_the_time_limit(warm) -> None:
    done = warm("run", "--timeout", "0.2", "-c", "sleep 600 & echo started; sleep 600")
    assert (done.returncode, done.stdout) == (124, b"started\n")
    assert done.stderr.startswith(b"warm: the command did not end within 0.2 s")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_and_all_below_it(warm, until, number: signal.Signals) -> None:
    process = warm.start("run", "-c", "trap '' INT TERM; sleep 611 & setsid sleep 612 & sleep 613")
    until(lambda: sum("sleep 61" in line and "trap" not in line for line in warm.left()) == 3)
    process.send_signal(number)
    process.send_signal(number)
    assert process.wait(20) == 128 + number
    assert not [line for line in warm.left() if line.startswith("sleep")]
    assert process.stderr.read() == b""
    process.stdout.close()
    process.stderr.close()


def test_a_terminal_of_its_own(warm) -> None:
    done = warm("run", "--pty", "-c", "test -t 0 && test -t 1 && test -t 2 && echo yes")
    assert (done.returncode, done.stdout) == (0, b"yes\r\n")


@pytest.mark.parametrize(("keys", "status"), [(b"\x04", 0), (b"\x03", 130)])
def test_keys_go_to_the_terminal_of_the_command(warm, keys: bytes, status: int) -> None:
    import termios

    ours, theirs = os.openpty()
    before = termios.tcgetattr(theirs)
    process = warm.start("run", "--pty", "-c", "echo ready; cat; exit $?", stdin=theirs, stdout=theirs, stderr=theirs)
    seen = b""
    while b"ready" not in seen:
        seen += os.read(ours, 1024)
    os.write(ours, b"hello\r")
    while seen.count(b"hello") < 2:  # typed, and shown by cat
        seen += os.read(ours, 1024)
    os.write(ours, keys)
    assert process.wait(20) == status
    assert termios.tcgetattr(theirs) == before
    os.close(theirs)
    os.close(ours)


def test_a_gigabyte_flows_in_little_memory(warm) -> None:
    assert warm.peak(os.devnull, "run", "head", "-c", "300000000", "/dev/zero") < 100


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--", "nosuchprogram"], "nosuchprogram"),
        (["--on", "nowhere:", "true"], "unknown location"),
        (["--on", "local:?wat=1", "true"], "wat"),
        (["--cwd", "/etc/passwd", "true"], "/etc/passwd"),
        (["--cwd", "/nosuch", "true"], "/nosuch"),
        (["--env", "=x", "true"], "--env"),
        (["--env", "NAME", "true"], "NAME"),
        (["--timeout", "0", "true"], "time limit"),
        (["--timeout", "soon", "true"], "soon"),
        (["--wat", "true"], "--wat"),
        ([], "nothing to run"),
        ([""], "word"),
    ],
)
def test_bad_input_is_one_sentence(warm, words: list[str], text: str) -> None:
    assert text in warm.refused("run", *words)
