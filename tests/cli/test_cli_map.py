"""warm map: jobs, output, order, logs, halting and stopping."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def test_output_of_a_job_is_never_mixed(warm) -> None:
    script = "for n in 1 2 3 4 5 6 7 8; do printf '%s-%s.' {} $n; sleep 0.0{}; done; printf '\\n'"
    lines = warm.output("map", "-j6", script, ":::", *"123456").splitlines()
    wanted = {"".join(f"{job}-{n}." for n in range(1, 9)) for job in range(1, 7)}
    assert set(map(bytes.decode, lines)) == wanted


def test_order_is_kept_when_asked(warm) -> None:
    assert warm.output("map", "-k", "-j4", "sleep 0.{}; echo {}", ":::", "3", "0", "2", "1") == b"3\n0\n2\n1\n"


def test_without_order_what_is_ready_is_shown(warm) -> None:
    process = warm.start("map", "-j2", "test {} = 1 && sleep 600; echo {}", ":::", "1", "2")
    assert process.stdout.readline() == b"2\n"
    process.terminate()
    assert process.wait(20) == 143
    process.stdout.close()
    process.stderr.close()


def test_bytes_are_exact_on_both_streams(warm) -> None:
    done = warm("map", "-k", r"printf '\000{}\377'; printf 'e{}\n\n' >&2", ":::", "1", "2")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\x001\xff\x002\xff", b"e1\n\ne2\n\n")


def test_values_from_standard_input_as_they_come(warm) -> None:
    process = warm.start("map", "-j2", "echo got", stdin=subprocess.PIPE)
    for value in (b"a b", b"$(x)"):
        process.stdin.write(value + b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"got " + value + b"\n"
    process.stdin.close()
    assert process.stdout.read() == b""
    assert process.wait(20) == 0
    process.stdout.close()
    process.stderr.close()


def test_values_from_files_and_nul(warm) -> None:
    (warm.where / "in").write_bytes(b"a\nb\0\xff'\0")
    assert warm.output("map", "-k", "-0", "-a", "in", "printf '<%s>'") == b"<a\nb><\xff'>"
    (warm.where / "lines").write_bytes(b"1\n\n2")
    assert warm.output("map", "-k", "echo x{}x", "::::", "lines") == b"x1x\nxx\nx2x\n"
    assert warm.output("map", "-k", "echo", ":::", "a", "b", "::::", "-", stdin=b"1\n2\n") == b"a 1\na 2\nb 1\nb 2\n"
    assert warm.output("map", "echo", stdin=b"") == b""


def test_input_without_a_command_is_the_command(warm) -> None:
    assert warm.output("map", "-k", stdin=b"echo $((1+1))\necho 'a  b' | tr a c\n") == b"2\nc  b\n"


def test_a_job_reads_nothing_of_our_input(warm) -> None:
    assert warm.output("map", "-k", "-j1", "cat; echo {}", stdin=b"1\n2\n3\n") == b"1\n2\n3\n"


def test_every_job_starts_afresh(warm) -> None:
    script = "echo $x$PWD; x=1; cd /; umask 077; set -e; exec 3>&1; exit 0; {}"
    assert len(set(warm.output("map", "-j1", script, ":::", *"12345").splitlines())) == 1


def test_environment_directory_and_shell(warm) -> None:
    warm.env["PASSED"] = "p q"
    got = warm.output(
        "map", "--cwd", "/usr", "--env", "PASSED", "--env", "X=1", 'echo "$PASSED $X $PWD"; true', ":::", "1"
    )
    assert got == b"p q 1 /usr\n"
    assert warm.output("map", "--shell", "bash", 'x=({}); echo "${#x[@]}"', ":::", "a") == b"1\n"


@pytest.mark.parametrize(("failing", "status"), [(0, 0), (3, 3), (100, 100), (101, 101), (140, 101)])
def test_the_status_is_the_number_of_failed_jobs(warm, failing: int, status: int) -> None:
    values = "".join(f"{int(n < failing)}\n" for n in range(150)).encode()
    assert warm("map", "-j8", "exit", stdin=values).returncode == status


def test_time_limit_retries_and_complaints(warm) -> None:
    done = warm("map", "-k", "-j2", "--timeout", "0.3", "echo {}; test {} = 1 && sleep 600", ":::", "1", "2")
    assert (done.returncode, done.stdout) == (2, b"1\n2\n")  # job 2 fails by itself
    said = done.stderr.splitlines()
    assert said[-1].startswith(b"warm: job 1 was ended after")
    assert said[:-1] in ([], [b"Terminated"]), "the shell of the job may say what became of its program"


def test_failing_jobs_are_run_again_only_when_asked(warm) -> None:
    script = "echo x >> count; test $(wc -l < count) -ge 3"
    assert warm("map", script + " # {}", ":::", "1").returncode == 1
    (warm.where / "count").unlink()
    got = json.loads(warm.output("map", "--json", "--retries", "5", script + " # {}", ":::", "1"))
    assert (got["attempts"], got["returncode"]) == (3, 0)
    (warm.where / "count").unlink()
    assert warm("map", "--retries", "2", script + " # {}", ":::", "1").returncode == 1
    assert (warm.where / "count").read_text() == "x\n" * 2


def test_json(warm) -> None:
    out = warm.output("map", "-k", "--json", r"printf '%s\n' {}; printf 'e\n' >&2", ":::", 'é"', b"\xff")
    first, second = map(json.loads, out.splitlines())
    assert first["stdout"] == 'é"\n'
    assert first["stderr"] == "e\n"
    assert (first["seq"], first["args"], first["returncode"], first["signal"], first["attempts"]) == (
        1,
        ['é"'],
        0,
        None,
        1,
    )
    assert first["location"] == "local"
    assert first["started"] > 1e9
    assert 0 <= first["duration"] < 60
    assert second["stdout"] is None
    assert base64.b64decode(second["stdout_base64"]) == b"\xff\n"
    assert second["args"] == ["\udcff"]
    killed = json.loads(warm("map", "--json", "sh -c 'kill -9 $$' # {}", ":::", "1").stdout)
    assert (killed["returncode"], killed["signal"]) == (137, 9)


def test_tags_dry_runs_and_slots(warm) -> None:
    assert warm.output("map", "-k", "--tag", "printf 'x\ny'", ":::", "a b", "c") == b"a b\tx\na b\tyc\tx\nc\ty"
    assert warm.output("map", "--dry-run", "echo {.} {}", ":::", "a b.c") == b"echo 'a b' 'a b.c'\n"
    slots = warm.output("map", "-j3", "echo {%}", stdin=b"\n" * 60).split()
    assert set(slots) <= {b"1", b"2", b"3"}


def test_a_dry_run_does_not_read_ahead_or_run(warm) -> None:
    assert warm.output("map", "--dry-run", "nosuchprogram", stdin=b"1\n") == b"nosuchprogram 1\n"


def test_a_value_that_cannot_be_placed_fails_its_job_only(warm) -> None:
    done = warm("map", "-k", "echo $(({} + 1))", ":::", "1", "a[$(touch pwned)]", "3")
    assert (done.returncode, done.stdout) == (1, b"2\n4\n")
    assert b"job 2 failed" in done.stderr
    assert os.listdir(warm.where) == []


def test_output_that_cannot_be_written_is_one_sentence(warm) -> None:
    for words in (["map", "echo", ":::", "1"], ["run", "echo", "1"], ["doctor"], ["--help"]):
        with open("/dev/full", "wb") as full:
            process = warm.start(*words, stdout=full)
            err = process.communicate(timeout=30)[1]
        assert process.returncode == 2
        assert err == b"warm: cannot write to standard output: No space left on device\n"


def test_closed_descriptors_are_not_mixed_up_with_ours(warm) -> None:
    for words in ("run cat", "map echo", "run true", "map echo ::: 1 > /dev/null"):
        done = subprocess.run(
            ["sh", "-c", f'exec "$0" -m warmshell {words} <&- 2>&-', sys.executable],
            env=warm.env,
            timeout=30,
            stdout=-1,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, b""), words
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -m warmshell run echo hello >&-', sys.executable],
        env=warm.env,
        timeout=30,
        stderr=-1,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, b"warm: cannot write to standard output: Bad file descriptor\n")


# -- halting -----------------------------------------------------------------------------------------------------


def test_halt_now_ends_what_runs(warm) -> None:
    done = warm("map", "-j3", "--halt", "now,fail=1", "test {} = 2 && exit 7; sleep 600", ":::", "1", "2", "3", "4")
    assert (done.returncode, done.stdout) == (7, b"")
    assert b"stopping after job 2 failed with status 7" in done.stderr


def test_halt_soon_lets_what_runs_finish_and_starts_nothing_more(warm) -> None:
    script = "echo {}; test {} = 1 && exit 1; while ! test -e go; do sleep 0.01; done; touch finished-{}"
    process = warm.start("map", "-j2", "--halt", "soon,fail=1", script, ":::", *"12345")
    assert process.stdout.readline() == b"1\n"
    (warm.where / "go").touch()
    process.communicate(timeout=20)
    assert process.returncode == 1
    assert [path.name for path in warm.where.glob("finished-*")] == ["finished-2"]


def test_halt_on_success_while_input_is_still_open(warm) -> None:
    process = warm.start("map", "--halt", "now,success=1", "exit", stdin=subprocess.PIPE)
    process.stdin.write(b"1\n0\n")
    process.stdin.flush()
    assert process.wait(20) == 0
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()


def test_halt_by_share_of_a_stream(warm) -> None:
    assert warm("map", "-j1", "--halt", "soon,fail=50%", "exit", stdin=b"0\n1\n1\n0\n").returncode == 50


# -- logs ----------------------------------------------------------------------------------------------------------


def test_resume_runs_what_is_owed_and_nothing_twice(warm) -> None:
    options = ("map", "-j1", "--joblog", "log", "echo {} >> ran; test {} != 2 || test -e ok", ":::")
    assert warm(*options, "1", "2").returncode == 1
    assert warm(*options[:4], "--resume", *options[4:], "1", "2", "3").returncode == 0
    assert (warm.where / "ran").read_text() == "1\n2\n3\n"
    (warm.where / "ok").touch()
    assert warm(*options[:4], "--resume-failed", *options[4:], "1", "2", "3", "4").returncode == 0
    assert (warm.where / "ran").read_text() == "1\n2\n3\n2\n4\n"
    assert warm(*options[:4], "--resume-failed", *options[4:], "1", "2", "3", "4").returncode == 0
    assert (warm.where / "ran").read_text() == "1\n2\n3\n2\n4\n"


def test_an_interrupted_run_can_be_resumed(warm, until) -> None:
    words = (
        "map",
        "-j1",
        "--joblog",
        "log",
        "echo {} >> ran; test {} != 3 || test -e go || sleep 600",
        ":::",
        *"12345",
    )
    process = warm.start(*words)
    until(lambda: (warm.where / "ran").exists() and (warm.where / "ran").read_text() == "1\n2\n3\n")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    (warm.where / "go").touch()
    assert warm("map", "--resume", *words[1:]).returncode == 0
    assert (warm.where / "ran").read_text() == "1\n2\n3\n3\n4\n5\n"


def test_the_log_of_another_run_is_refused(warm) -> None:
    assert warm("map", "--joblog", "log", "echo", ":::", "1", "2").returncode == 0
    before = (warm.where / "log").read_bytes()
    assert "another run" in warm.refused("map", "--joblog", "log", "--resume", "touch", ":::", "1", "2")
    assert "another run" in warm.refused("map", "--joblog", "log", "--resume", "echo", ":::", "1")
    assert "another run" in warm.refused("map", "--joblog", "log", "--resume", "echo", ":::", "1", "3", "4")
    assert (warm.where / "log").read_bytes() == before
    assert os.listdir(warm.where) == ["log"]


def test_a_log_with_slots_can_be_resumed(warm) -> None:
    words = ("--joblog", "log", "-j3", "echo {} in {%}", ":::", *"12345")
    assert warm("map", *words).returncode == 0
    assert warm.output("map", "--resume", *words, "6") == b"6 in 1\n"


# -- stopping ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_stop_everything(warm, until, number: signal.Signals) -> None:
    script = "trap '' INT TERM HUP; (setsid sleep 62{} &) ; sleep 63{}"
    process = warm.start("map", "-j3", script, ":::", *"123456")
    until(lambda: sum(line.startswith("sleep 6") for line in warm.left()) == 6)
    process.send_signal(number)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (128 + number, b"", b"")
    assert warm.left() == []


def test_a_killed_client_leaves_nothing(warm, until) -> None:
    process = warm.start("map", "-j3", "sleep 64{}", ":::", *"123456")
    until(lambda: sum(line.startswith("sleep 64") for line in warm.left()) == 3)
    process.kill()
    process.communicate(timeout=20)
    until(lambda: not warm.left())


def test_a_reader_that_leaves_ends_the_run_quietly(warm) -> None:
    read, write = os.pipe()
    feeder = subprocess.Popen(["yes"], stdout=write)
    os.close(write)
    process = warm.start("map", "echo", stdin=read)
    os.close(read)
    assert process.stdout.readline() == b"y\n"
    process.stdout.close()
    assert process.wait(20) == 141
    assert process.stderr.read() == b""
    process.stderr.close()
    feeder.wait(20)


def test_endless_input_is_not_read_ahead(warm, until) -> None:
    read, write = os.pipe()
    process = warm.start("map", "-j2", "sleep 600; : {}", stdin=read)
    os.close(read)
    os.set_blocking(write, False)
    sent = 0

    def busy_and_not_reading() -> bool:
        nonlocal sent
        running = sum(line.startswith("sleep 600") for line in warm.left()) == 2
        try:
            sent += os.write(write, b"x\n" * 32768)
        except BlockingIOError:
            return running
        assert sent <= 1 << 20
        return False

    until(busy_and_not_reading)
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 143
    os.close(write)


def test_large_output_takes_little_memory(warm) -> None:
    words = ["map", "-k", "-j2", "head -c 150000000 /dev/zero; echo {}", ":::", "1", "2"]
    assert warm.peak(warm.where / "out", *words) < 160
    assert (warm.where / "out").stat().st_size == 2 * 150_000_002


def test_a_reader_that_sleeps_does_not_delay_ctrl_c(warm, until) -> None:
    process = warm.start("map", "-j2", "--progress", "yes {}; sleep 600", ":::", "1", "2", "3")
    big = warm.start("map", "-j2", "--progress", "head -c 1000000 /dev/zero; echo {} >> ended", ":::", "1", "2", "3")
    until((warm.where / "ended").exists)  # the output of one job now fills the pipe, which nobody reads
    for one in (process, big):
        one.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert big.wait(20) == 130
    for one in (process, big):
        one.stdout.close()
        one.stderr.close()


# -- a terminal ----------------------------------------------------------------------------------------------------


def test_progress_on_a_terminal(warm) -> None:
    ours, theirs = os.openpty()
    process = warm.start("map", "-j1", "sleep 0.3; echo {}", ":::", *"123", stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:
            break
        if not data:
            break
        seen += data
    os.close(ours)
    assert process.stdout.read() == b"1\n2\n3\n"
    assert process.wait(20) == 0
    process.stdout.close()
    assert b"\x1b[2K" in seen
    assert re.search(rb"[12]/3 done", seen)  # drawn ten times a second at most
    assert seen.rstrip().split(b"\x1b[2K")[-1].startswith(b"3/3 done")


def test_output_and_progress_share_a_terminal(warm) -> None:
    ours, theirs = os.openpty()
    process = warm.start("map", "-j1", "-k", "sleep 0.15; echo line-{}", ":::", *"12345", stdout=theirs, stderr=theirs)
    os.close(theirs)
    screen = Screen()
    screen.read(ours)
    assert process.wait(20) == 0
    assert screen.lines[:5] == [f"line-{n}" for n in range(1, 6)]
    assert screen.lines[5].startswith("5/5 done")
    assert re.search(rb"[1-4]/5 done", screen.raw)


class Screen:
    """What a terminal shows, as far as carriage return, newline and erasing a line go."""

    def __init__(self) -> None:
        self.raw = b""
        self.lines: list[str] = []

    def read(self, fd: int) -> None:
        try:
            while data := os.read(fd, 65536):
                self.raw += data
        except OSError:
            pass
        os.close(fd)
        for line in self.raw.decode().split("\r\n"):
            kept = line.split("\x1b[2K")[-1].rpartition("\r")[2]
            self.lines.append(re.sub(r"\x1b\[[0-9;]*m", "", kept))


def test_progress_in_lines_when_asked(warm) -> None:
    done = warm("map", "--progress", "true", ":::", "1", "2")
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1].startswith(b"warm: 2/2 done")
    assert warm("map", "true", ":::", "1").stderr == b""


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nosuchprogram", ":::", "1"], "nosuchprogram"),
        (["-j", "0", "touch", ":::", "ran"], "-j"),
        (["-j", "-1", "touch", ":::", "ran"], "-j"),
        (["-j", "many", "touch", ":::", "ran"], "many"),
        (["--on", "nowhere:", "touch", ":::", "ran"], "nowhere"),
        (["--on", "local:", "--on", "local:", "touch", ":::", "ran"], "twice"),
        (["--env", "=1", "touch", ":::", "ran"], "--env"),
        (["--env", "", "touch", ":::", "ran"], "--env"),
        (["--env", "NOT_SET_HERE", "touch", ":::", "ran"], "NOT_SET_HERE"),
        (["--cwd", "/etc/passwd", "touch", ":::", "ran"], "/etc/passwd"),
        (["-a", "nosuch", "touch"], "nosuch"),
        (["-a", ".", "touch"], "irectory"),
        (["touch", "::::", "nosuch"], "nosuch"),
        (["--joblog", "nosuch/log", "touch", ":::", "ran"], "nosuch/log"),
        (["--results", "/dev/null/x", "touch", ":::", "ran"], "/dev/null/x"),
        (["--resume", "touch", ":::", "ran"], "--joblog"),
        (["--halt", "wat", "touch", ":::", "ran"], "wat"),
        (["--timeout", "-1", "touch", ":::", "ran"], "time limit"),
        (["--retries", "-1", "touch", ":::", "ran"], "--retries"),
        (["-N", "x", "touch", ":::", "ran"], "-N"),
        (["-N", "-1", "touch", ":::", "ran"], "-N"),
        (["touch '{}", ":::", "ran"], "quote"),
        (["--wat"], "--wat"),
        (["--shell", "nosuchsh", "touch", ":::", "ran"], "nosuchsh"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_runs(warm, words: list[str], text: str) -> None:
    assert text in warm.refused("map", *words)
    assert os.listdir(warm.where) == []


def test_nul_without_dash_0(warm) -> None:
    assert "-0" in warm.refused("map", "touch", stdin=b"ran\0ran2\0")
    assert os.listdir(warm.where) == []


def test_another_file_as_joblog(warm) -> None:
    (warm.where / "log").write_text("precious\n")
    assert "not a joblog" in warm.refused("map", "--joblog", "log", "--resume", "touch", ":::", "ran")
    assert (warm.where / "log").read_text() == "precious\n"


def test_a_command_too_long_for_the_kernel_is_that_jobs_failure(warm) -> None:
    (warm.where / "in").write_text("x" * 200_000 + "\nok\n")
    done = warm("map", "-k", "-a", "in", "/bin/echo")
    assert (done.returncode, done.stdout) == (1, b"ok\n")
    assert done.stderr


# -- against the original ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["-k", "echo {} {.} {/} {//} {/.} {#}", ":::", "a/b.c", "x y", "*", "'"],
        ["-k", "echo {1} {2} {-1} {1/}", ":::", "a/b", "c", ":::", "1", "2"],
        ["-k", "echo", ":::", "a", "b", ":::+", "1", "2", ":::", "x", "y"],
        ["-k", "-N2", "echo", ":::", *"abcde"],
        ["-k", "-N2", "echo x{}y {1} {2}", ":::", *"abcde"],
        ["-k", "-N0", "echo hi", ":::", *"abc"],
        ["-k", "-j1", "-X", "echo pre-{}.post", ":::", *"abc"],
        ["-k", "-j3", "-X", "echo", ":::", *"abcdefgh"],
        ["-k", "--tag", "printf 'x\ny'; echo {}", ":::", "a", "b c"],
        ["-k", "echo {}; exit {}", ":::", "0", "1", "2", "0"],
        ["-k", "-j1", "--halt", "now,fail=1", "echo {}; exit {}", ":::", "0", "3", "1"],
        ["-k", "-j1", "--halt", "soon,success=2", "echo {}; exit {}", ":::", *"10010"],
        ["-k", "-j1", "--halt", "soon,fail=30%", "echo {}; exit {}", ":::", *"110010"],
        ["-k", "--retries", "2", "echo {}; echo x >> ran; exit {}", ":::", "1"],
        ["-k", "echo {1} {2}", ":::", "a", "::::", "in"],
        ["-k", "-a", "in", "echo"],
        ["--dry-run", "-k", "gzip -k", ":::", "a", "b c", "it's", "é", "'", "''x'", "a=b"],
    ],
)
def test_as_gnu_parallel(warm, parallel, words: list[str]) -> None:
    (warm.where / "in").write_text("1\n2\n")
    done, original = warm("map", *words), parallel(*words)
    assert (done.stdout, done.returncode) == (original.stdout, original.returncode)


PIECES = [
    "{}",
    "{.}",
    "{/}",
    "{//}",
    "{/.}",
    "{#}",
    "{1}",
    "{-1}",
    "{1.}",
    "{2/}",
    "{1//}",
    "x",
    "a{}b",
    "{}{}",
    "{1}-{2}",
]
VALUES = [
    "a",
    "b.c",
    "d/e.f",
    "x y",
    "'",
    "$",
    "*",
    "2",
    "é",
    "",
    "~",
    "a=b",
    "-n",
    "\\",
    '"',
    "/",
    "..",
    "#",
    "{}",
    "!",
    "if",
]


@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_templates_and_sources_as_gnu_parallel(warm, parallel, data: st.DataObject) -> None:
    words = ["-k", "-j2", *data.draw(st.sampled_from([[], [], ["--tag"], ["-N1"], ["-N2"], ["-N3"], ["-X", "-j1"]]))]
    pieces = data.draw(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4))
    words.append("printf '<%s>' " + " ".join(pieces))
    for number in range(data.draw(st.integers(1, 3))):
        words.append(data.draw(st.sampled_from([":::", ":::+"])) if number else ":::")
        words += data.draw(st.lists(st.sampled_from(VALUES), min_size=1, max_size=3))
    done, original = warm("map", *words), parallel(*words)
    assert (done.stdout, done.returncode) == (original.stdout, original.returncode)


def test_results_as_gnu_parallel(warm, parallel) -> None:
    values = ["a", "b c", "x/y", "a%b", "t\tx", "a\\b", "é", "l" * 200]

    def tree(name: str) -> dict[str, bytes]:
        root = warm.where / name
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    script = "printf '%s' {1} {2}; echo err >&2"
    done = warm("map", "-k", "--results", "ours", script, ":::", *values, ":::", "1", "2")
    original = parallel("-k", "--results", "theirs", script, ":::", *values, ":::", "1", "2")
    assert (done.returncode, done.stdout, done.stderr) == (0, original.stdout, original.stderr)
    assert len(tree("ours")) == 3 * 2 * len(values)
    assert tree("ours") == tree("theirs")


def test_joblog_as_gnu_parallel(warm, parallel) -> None:
    words = ["-j1", "echo {}; echo e >&2; sh -c {}", ":::", "true", "exit 3", "kill -9 $$", "kill $$", "echo 'a\tb'"]
    warm("map", "--joblog", "ours", *words)
    parallel("--joblog", "theirs", *words)

    def columns(name: str) -> list[list[bytes]]:
        lines = (warm.where / name).read_bytes().splitlines()
        rows = [line.split(b"\t") for line in lines]
        for row in rows[1:]:
            assert float(row[2]) > 1e9
            assert len(row[3]) == 10
            row[2:4] = []
        return rows

    assert columns("ours") == columns("theirs")


def test_a_joblog_of_gnu_parallel_is_resumed(warm, parallel) -> None:
    words = ["--joblog", "log", "echo {} >> ran; exit {}", ":::", "0", "1"]
    assert parallel("-j1", *words).returncode == 1
    assert warm("map", "-j1", "--resume-failed", *words, "0").returncode == 1
    assert (warm.where / "ran").read_text() == "0\n1\n1\n0\n"


def test_many_quick_jobs(warm) -> None:
    numbers = "".join(f"{n}\n" for n in range(3000)).encode()
    assert warm.output("map", "-k", "echo", stdin=numbers) == numbers


def test_a_directory_of_real_files(warm) -> None:
    files = sorted(path for path in Path(os.__file__).parent.glob("*.py"))[:200]
    got = warm.output("map", "-k", "sha256sum", ":::", *map(str, files))
    assert got == subprocess.run(["sha256sum", *files], capture_output=True, check=True).stdout
