"""FCLI on the wire: whatever is said arrives exactly, in pieces of any size, and a shell can take it apart."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmshell.protocol import fcli

WORD = st.binary(max_size=40).filter(lambda data: b"\0" not in data)
NAME = WORD.filter(lambda name: name and b"=" not in name)
PLACES = st.dictionaries(st.sampled_from(["cwd", "umask", "stdin", "stdout", "stderr"]), WORD)
ENV = st.dictionaries(NAME, st.none() | WORD, max_size=4)
ARGV = st.builds(
    lambda argv, env, places: fcli.Request("argv", argv, env, places=places),
    st.lists(WORD, min_size=1, max_size=5), ENV, PLACES,
)  # fmt: skip
REQUESTS = st.one_of(
    ARGV,
    st.builds(lambda env: fcli.Request("env", env=env), ENV),
    st.builds(lambda kind, text: fcli.Request(kind, text=text), st.sampled_from(["echo", "cd"]), WORD),
    st.sampled_from([fcli.Request("flush"), fcli.Request("version")]),
)
RESPONSES = st.builds(
    fcli.Response, st.integers(0, 255), st.none() | st.lists(st.sampled_from(fcli.FEATURES)), st.none() | WORD,
    st.none() | WORD, st.none() | st.integers(0, 9),
)  # fmt: skip


@given(REQUESTS)
def test_requests_arrive_as_they_were(request: fcli.Request) -> None:
    line = fcli.encode_request(request)
    assert line.count(b"\n") == 1
    assert fcli.decode_request(line[:-1]) == request


@given(RESPONSES)
def test_responses_arrive_as_they_were(response: fcli.Response) -> None:
    line = fcli.encode_response(response)
    assert line.startswith(b'{"status":')
    assert fcli.decode_response(line[:-1]) == response


@given(st.lists(REQUESTS, max_size=5), st.lists(st.integers(1, 30)))
def test_pieces_of_any_size(requests: list[fcli.Request], sizes: list[int]) -> None:
    data = b"".join(map(fcli.encode_request, requests))
    decoder, lines = fcli.LineDecoder(), []
    for size in [*sizes, len(data)]:
        lines += decoder.feed(data[:size])
        data = data[size:]
    assert [fcli.decode_request(line) for line in lines] == requests
    assert decoder.pending == 0


@given(ARGV)
def test_a_quote_always_is_syntax(request: fcli.Request) -> None:
    line = fcli.encode_request(request).decode("utf-8")
    assert not re.search(r"\\(?!u00[0-7][0-9a-f]|udc[89a-f][0-9a-f])", line)
    assert line.split('"')[3:][: 2 * len(request.argv) : 2] == [
        fcli.plain(word).decode()[1:-1] for word in request.argv
    ]


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_are_one_error(data: bytes) -> None:
    for decode in (fcli.decode_request, fcli.decode_response):
        try:
            decode(data)
        except fcli.FcliError:
            continue


def test_the_proposals_own_example() -> None:
    text = b'{ "argv": ["cloudcopy", "bar.jpg", "//remote/myhome/mydir"], "env": {"PYTHONPATH": "."} }'
    request = fcli.decode_request(text)
    assert request.argv == (b"cloudcopy", b"bar.jpg", b"//remote/myhome/mydir")
    assert request.env == {b"PYTHONPATH": b"."}
    assert fcli.decode_response(b'{ "status": 0 }').status == 0


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{}", b"[]", b"3", b'{"argv":[]}', b'{"argv":"x"}', b'{"argv":[1]}', b'{"argv":["a\\u0000"]}',
        b'{"argv":["\\ud800"]}', b'{"argv":["a"],"env":[]}', b'{"argv":["a"],"env":{"":"x"}}', b'{"cd":3}', b"\xff",
        b'{"argv":["a"],"env":{"a=b":"x"}}', b'{"argv":["a"],"cwd":7}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_request(line: bytes) -> None:
    with pytest.raises(fcli.FcliError):
        fcli.decode_request(line)


@pytest.mark.parametrize(
    "line",
    [b"{}", b'{"status":256}', b'{"status":-1}', b'{"status":true}', b'{"status":"0"}', b'{"status":0,"features":{}}'],
)
def test_what_is_no_response(line: bytes) -> None:
    with pytest.raises(fcli.FcliError):
        fcli.decode_response(line)


def test_a_line_has_an_end() -> None:
    decoder = fcli.LineDecoder(100)
    assert decoder.feed(b"x" * 99) == []
    with pytest.raises(fcli.FcliError):
        decoder.feed(b"x")
    with pytest.raises(fcli.FcliError):
        fcli.encode_request(fcli.Request("argv", [b"x" * fcli.MAX_LINE]))


def test_plain_form_is_json() -> None:
    assert json.loads(fcli.plain(b'a"\\\n\xff\xc3\xa9')) == 'a"\\\n\udcff\xe9'
