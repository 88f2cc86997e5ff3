"""Frames on their way out: in order, and what nobody waits for travels with what somebody does."""

import asyncio
import os
from types import SimpleNamespace

import pytest

from warmshell.fdstream import FdSendStream
from warmshell.shell.session import Outbox


@pytest.fixture
async def out():
    """An outbox over a real pipe, and the other end of it."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    broken = []
    stream = FdSendStream(writer)
    outbox = Outbox(SimpleNamespace(stdin=stream), broken.append)
    yield SimpleNamespace(outbox=outbox, reader=reader, broken=broken)
    await outbox.aclose()
    stream.close()
    os.close(reader)


def there(out):
    try:
        return os.read(out.reader, 1 << 20)
    except BlockingIOError:
        return b""


async def arrives(out):
    async with asyncio.timeout(10):
        while not (data := there(out)):
            await asyncio.sleep(0.005)
    return data


async def test_what_can_wait_goes_out_with_the_next(out):
    out.outbox.put_later(b"a")
    out.outbox.put_later(b"b")
    assert there(out) == b""
    out.outbox.put(b"c")
    assert there(out) == b"abc"


async def test_what_can_wait_goes_out_by_itself_where_nothing_follows(out):
    out.outbox.put_later(b"a")
    assert await arrives(out) == b"a"
    out.outbox.put_later(b"b")
    assert await arrives(out) == b"b"


async def test_flushed_includes_what_can_wait(out):
    out.outbox.put_later(b"a")
    await out.outbox.flushed()
    assert there(out) == b"a"


async def test_order_is_kept_while_the_stream_takes_no_more(out):
    large = b"x" * 1_000_000
    out.outbox.put(large)
    out.outbox.put_later(b"1")
    out.outbox.put(b"2")
    out.outbox.put_later(b"3")
    seen = b""
    while len(seen) < len(large) + 3:
        seen += await arrives(out)
    assert seen == large + b"123"


async def test_nothing_is_sent_after_the_end(out):
    out.outbox.put_later(b"a")
    await out.outbox.aclose()
    await asyncio.sleep(0.1)  # twice as long as it would have waited
    assert there(out) == b""
    assert out.broken == []
