"""Messages of Bazel's persistent workers, in both forms, in pieces of any size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmshell.protocol import bazel

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
REQUESTS = st.builds(
    lambda arguments, number, cancel, inputs, verbosity, where: bazel.WorkRequest(
        arguments, number, cancel=cancel, inputs=inputs, verbosity=verbosity, sandbox_dir=where
    ),
    st.lists(TEXT, max_size=4), st.integers(-(2**31), 2**31 - 1), st.booleans(),
    st.lists(st.tuples(TEXT, st.binary(max_size=20)), max_size=3), st.integers(0, 10), TEXT,
)  # fmt: skip
RESPONSES = st.builds(
    lambda code, output, number, cancelled: bazel.WorkResponse(code, output, number, was_cancelled=cancelled),
    st.integers(-(2**31), 2**31 - 1), TEXT, st.integers(0, 2**31 - 1), st.booleans(),
)  # fmt: skip
FORMS = st.sampled_from(["proto", "json"])


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    out = []
    for size in [*sizes, len(data)]:
        out.append(data[:size])
        data = data[size:]
    return out


@given(FORMS, st.lists(REQUESTS, max_size=4), st.lists(st.integers(1, 20)))
def test_requests(form: str, requests: list[bazel.WorkRequest], sizes: list[int]) -> None:
    codec, got = bazel.Codec(form), []
    for piece in pieces(b"".join(map(codec.request, requests)), sizes):
        got += codec.requests(piece)
    assert [one.fields() for one in got] == [one.fields() for one in requests]


@given(FORMS, st.lists(RESPONSES, max_size=4), st.lists(st.integers(1, 20)))
def test_responses(form: str, responses: list[bazel.WorkResponse], sizes: list[int]) -> None:
    codec, got = bazel.Codec(form), []
    for piece in pieces(b"".join(map(codec.response, responses)), sizes):
        got += codec.responses(piece)
    assert [one.fields() for one in got] == [one.fields() for one in responses]


@given(st.integers(0, 2**64 - 1), st.binary(max_size=5))
def test_numbers(number: int, more: bytes) -> None:
    data = bazel.varint(number)
    assert bazel.read_varint(data + more, 0) == (number, len(data))
    assert all(bazel.read_varint(data[:end], 0) is None for end in range(len(data)))


@given(FORMS, st.binary(max_size=300))
def test_bytes_that_are_no_message_are_one_error(form: str, data: bytes) -> None:
    for decode in (bazel.Codec(form).requests, bazel.Codec(form).responses):
        try:
            decode(data)
        except ValueError:
            continue


def test_bytes_as_the_protobuf_library_writes_them() -> None:
    # WorkRequest{arguments: "a", arguments: "", inputs{path: "p" digest: "\x01"}, request_id: 300, cancel: true}
    data = bytes.fromhex("0a01610a0012060a017012010118ac022001")
    request = bazel.request_from_proto(data)
    assert request.fields() == (("a", ""), True, (("p", b"\1"),), 300, "", 0)
    assert bazel.request_to_proto(request) == data
    # WorkResponse{exit_code: -1, output: "é", request_id: 1, was_cancelled: true}
    data = bytes.fromhex("08ffffffffffffffffff011202c3a918012001")
    assert bazel.response_to_proto(bazel.response_from_proto(data)) == data


def test_fields_of_a_later_version_mean_nothing() -> None:
    later = bytes.fromhex("7a016179" + "00" * 8 + "7d" + "00" * 4 + "0801")
    assert bazel.response_from_proto(later).exit_code == 1


@pytest.mark.parametrize("data", ["ff" * 11, "ffffffff7f", "0208ff", "020a05", "010f"])
def test_hostile_messages(data: str) -> None:
    with pytest.raises(bazel.BazelError):
        bazel.Codec("proto").responses(bytes.fromhex(data))
