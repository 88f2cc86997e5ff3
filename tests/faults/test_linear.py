"""Work grows with the output, not with its square: the bytes that are searched or copied are counted, not the time."""

from __future__ import annotations

import os

import warmshell
from warmshell.protocol import markers
from warmshell.shell import capture

MEBIBYTE = 1024 * 1024


class CountingCutter(markers.StreamCutter):
    """Counts the bytes of every buffer that it looks through."""

    searched = 0

    def _next(self, buffer: bytes):
        CountingCutter.searched += len(buffer)
        return super()._next(buffer)


def searched(size: int, piece: int) -> int:
    CountingCutter.searched = 0
    cutter = CountingCutter()
    cutter.expect(b"0123456789abcdef" * 2)
    cutter.feed(b"0123456789abcdef" * 2 + b" 1 s\n")
    data = b"0123456789abcde" * (piece // 15)
    sent = received = 0
    while sent < size:
        received += sum(map(len, cutter.feed(data)))
        sent += len(data)
    received += sum(map(len, cutter.feed(b"0123456789abcdef" * 2 + b" 1 0\n")))
    assert received == sent
    return CountingCutter.searched


def test_the_search_for_markers_is_linear():
    """Known defect of others: the whole output is searched again with every chunk."""
    for piece in (1000, 65536):
        small, large = searched(8 * MEBIBYTE, piece), searched(64 * MEBIBYTE, piece)
        assert small < 1.2 * 8 * MEBIBYTE
        assert large < 8.2 * small


async def test_a_whole_command_looks_at_each_byte_about_once(monkeypatch):
    monkeypatch.setattr("warmshell.shell.marker_lane.StreamCutter", CountingCutter)
    for size in (8 * MEBIBYTE, 64 * MEBIBYTE):
        async with warmshell.connect("local:", framing="markers") as node:
            CountingCutter.searched = 0
            result = await node.run(["head", "-c", str(size), "/dev/zero"], output_limit=1)
            assert len(result.output()) == size
            assert size <= CountingCutter.searched < 1.1 * size


async def test_own_pipes_hand_on_each_byte_once(monkeypatch):
    fed = []
    original = capture.Capture.feed

    def feed(self, data):
        fed.append(len(data))
        original(self, data)

    monkeypatch.setattr(capture.Capture, "feed", feed)
    async with warmshell.connect("local:", framing="pipes") as node:
        for size in (8 * MEBIBYTE, 64 * MEBIBYTE):
            fed.clear()
            result = await node.run(["head", "-c", str(size), "/dev/zero"], output_limit=1)
            assert len(result.output()) == size
            assert sum(fed) == size


async def test_a_result_that_is_not_spilled_is_one_piece_of_memory():
    async with warmshell.connect("local:") as node:
        result = await node.run(["head", "-c", "1000000", "/dev/zero"])
    assert result.stdout is result.stdout
    assert len(os.fsencode(result.text)) == 1_000_000
