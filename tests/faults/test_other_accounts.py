"""What another account runs is ended through the program that started it there."""

import os

from warmshell.guardian import tree
from warmshell.host import LocalHost


async def test_what_may_not_be_signalled_directly_is_ended_through_another_program():
    host = LocalHost()
    ready, tell = os.pipe()
    try:
        deaf = host.spawn(
            [b"sh", b"-c", b"trap '' TERM; sleep 1000 & echo; wait; wait; sleep 1000"],
            host.new_token(),
            stdin=ready,
            stdout=tell,
            stderr=tell,
        )
        assert os.read(ready, 1) == b"\n"
        targets = tree.find([(deaf.pid, deaf.started)], include_roots=True)
        assert len(targets) == 2
        await host.end_as([b"env"], targets, 0.1)  # env stands for sudo -u USER: it only runs the words
        assert await deaf.wait() == -9
        assert not any(tree.is_alive(pid, started) for pid, started in targets)
    finally:
        os.close(ready)
        os.close(tell)
        await host.aclose()
