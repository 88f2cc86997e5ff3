"""Messages of programs in containers, and input whose end stands in it."""

from __future__ import annotations

import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.real_shells import every_dialect
from warmshell.protocol.counted import END, counted, counted_text
from warmshell.protocol.dialect import Dialect
from warmshell.protocol.remotecommand import (
    CLOSE,
    OFFERED,
    RESIZE,
    STATUS,
    STDERR,
    STDIN,
    STDOUT,
    V5,
    Outcome,
    ProtocolError,
    Receiver,
    end_of,
    message,
    outcome,
    resize,
)

PROTOCOLS = st.sampled_from(OFFERED)
OUTPUT = st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=50)), max_size=20)
SUCCESS = {"metadata": {}, "status": "Success"}


def failure(code: object) -> dict[str, object]:
    causes = [{"reason": "Other", "message": "9"}, {"reason": "ExitCode", "message": str(code)}]
    return {"status": "Failure", "reason": "NonZeroExitCode", "message": "it ended", "details": {"causes": causes}}


@given(PROTOCOLS, OUTPUT, st.integers(0, 255), st.lists(st.integers(1, 30), max_size=20))
def test_streams_and_a_status_that_comes_in_pieces(
    protocol: str, output: list[tuple[int, bytes]], code: int, cuts: list[int]
) -> None:
    receiver = Receiver(protocol)
    got = {STDOUT: b"", STDERR: b""}
    for channel, data in output:
        where, piece = receiver.feed(message(channel, data))
        got[where] += piece
    assert receiver.outcome is None
    said, at = json.dumps(SUCCESS if code == 0 else failure(code)).encode(), 0
    for size in [*cuts, len(said)]:
        receiver.feed(message(STATUS, said[at : at + size]))
        at += size
        assert (receiver.outcome is not None) == (at >= len(said))
    assert receiver.end().status == code
    assert got == {name: b"".join(data for channel, data in output if channel == name) for name in got}


@given(PROTOCOLS, OUTPUT, st.binary(max_size=20))
def test_without_a_status_it_is_no_success(protocol: str, output: list[tuple[int, bytes]], cut: bytes) -> None:
    receiver = Receiver(protocol)
    for channel, data in output:
        receiver.feed(message(channel, data))
    receiver.feed(message(STATUS, b'{"status": "Succ' + cut.replace(b"}", b"")))
    assert receiver.end().status is None


@pytest.mark.parametrize(
    "said",
    [
        failure("x"), failure(256), failure(-1), failure("\u0661"), "text", None, [], {"status": "Failure"},
        {"status": "Failure", "reason": "InternalError", "message": "broken"},
        {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": None}},
        {"status": "Failure", "reason": "NonZeroExitCode", "details": "x"},
    ],
)  # fmt: skip
def test_what_tells_no_status(said: object) -> None:
    assert outcome(said).status is None
    assert outcome(said).message


def test_the_message_of_a_failure_is_kept() -> None:
    assert outcome({"status": "Failure", "reason": "InternalError", "message": "broken"}) == Outcome(None, "broken")


@given(st.binary(max_size=6))
def test_any_message_is_taken_or_refused(data: bytes) -> None:
    try:
        channel, _ = Receiver(V5).feed(data)
    except ProtocolError:
        assert not data or data[0] not in (STDOUT, STDERR, STATUS, CLOSE)
    else:
        assert channel == data[0]


def test_a_status_without_an_end_is_refused() -> None:
    receiver = Receiver(V5)
    with pytest.raises(ProtocolError, match="without an end"):
        for _ in range(100):
            receiver.feed(message(STATUS, b'"' + b"a" * 1000))


@pytest.mark.parametrize("protocol", [None, "", "v1.channel.k8s.io", "channel.k8s.io"])
def test_a_version_that_was_not_offered(protocol: str | None) -> None:
    with pytest.raises(ProtocolError, match="speaks none of"):
        Receiver(protocol)


def test_what_is_said() -> None:
    assert [Receiver(protocol).half_close for protocol in OFFERED] == [True, False]
    assert end_of(STDIN) == b"\xff\x00"
    assert message(STDIN, b"ab") == b"\x00ab"
    assert resize(24, 80)[:1] == bytes([RESIZE])
    assert json.loads(resize(24, 80)[1:]) == {"Width": 80, "Height": 24}


# -- counted input, by real shells ------------------------------------------------------------------------------------


def words(shell: Dialect) -> list[str]:
    """The shell's, for a text of its own."""
    return ["busybox", "sh"] if shell.argv[0].endswith(b"busybox") else [shell.argv[0].decode()]


@every_dialect
@pytest.mark.parametrize("size", [0, 1, 100_003])
def test_counted_input_arrives_and_ends(shell: Dialect, size: int) -> None:
    data = bytes(number * number % 251 for number in range(size)) + b"\n0\n"
    said = b"".join([*counted(data), END, b"what comes later"])
    done = subprocess.run(
        [*words(shell), "-c", counted_text("cat; echo end; exit 7")], input=said, capture_output=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == (data + b"end\n", b"", 7)


@every_dialect
def test_what_is_not_read_holds_up_nothing(shell: Dialect) -> None:
    """The program ends while its input goes on, and without an end of it."""
    with subprocess.Popen(
        [*words(shell), "-c", counted_text("head -c 3; echo; exit 3")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(counted(b"abcdef")[0])
        process.stdin.flush()
        assert process.wait(20) == 3
        assert process.stdout.read() == b"abc\n"
        assert process.stderr.read() == b""
