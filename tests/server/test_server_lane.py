"""The client's end of one subshell, given frames in orders that a link with a long round trip makes."""

import asyncio
from types import SimpleNamespace

import pytest

from warmshell import Command, CommandTooLong, ShellLost
from warmshell.protocol import frames
from warmshell.protocol.dialect import dialect
from warmshell.protocol.request import stateful_body
from warmshell.shell.server_lane import ServerLane
from warmshell.shell.server_process import open_process

NUMBER, FIRST = 1, b"\0\0\0\1"


class Session(SimpleNamespace):
    """As much of a session as a lane needs; the answer to the request for its end is the test's to give."""

    def __init__(self):
        self.ended = asyncio.get_running_loop().create_future()
        super().__init__(
            commands=0, round_trip=1.0, lost=None, connected=True, send=lambda frame: None, mark=lambda: 0,
            attach=lambda number, lane: None, detach=lambda number: None,
        )  # fmt: skip

    async def ask(self, op, **_):
        return {"subshell": NUMBER} if op == "create_subshell" else await self.ended


@pytest.mark.parametrize("before", [b"", b"first "])
@pytest.mark.parametrize("limit", [0, 100])
async def test_what_comes_with_the_end_of_a_command_that_is_being_ended_is_not_lost(before, limit):
    """Its time is over here, and it has ended by itself there, before the word of that arrives."""
    session = Session()
    lane = ServerLane("sh-1", dialect("sh"), "far", session, "sh")
    await lane.start()
    command = Command(["x"], output_limit=limit)
    execution = lane.begin(command, lane.body(command))
    if before:
        lane.on_frame(frames.STDOUT, FIRST + before)
    ending = asyncio.ensure_future(lane.end())
    await asyncio.sleep(0)
    lane.on_frame(frames.ENDED, FIRST + b"\0last")
    session.ended.set_result({})
    result = await ending
    assert result is not None
    assert result.stdout == before + b"last"
    assert not lane.alive
    assert isinstance(execution.done.exception(), ShellLost)


@pytest.mark.parametrize("keeps_state", [False, True])
@pytest.mark.parametrize("what", [["x", *["y" * 100_000] * 50], ":" + " " * 5_000_000])
async def test_what_no_frame_can_hold_is_too_long_and_leaves_the_shell_for_the_next(what, keeps_state):
    lane = ServerLane("sh-1", dialect("sh"), "far", Session(), "sh")
    await lane.start()
    command = Command(what)
    body = stateful_body(command.script or b" ".join(command.argv), lane.dialect)
    with pytest.raises(CommandTooLong, match="too long for one frame"):
        lane.begin(command, body, keeps_state=keeps_state)
    following = Command(["true"])
    execution = lane.begin(following, lane.body(following))
    lane.on_frame(frames.ENDED, execution.seq.to_bytes(4, "big") + b"\0")
    assert (await execution.done).ok


async def test_a_process_of_its_own_that_no_frame_can_hold_is_too_long_at_once():
    session = Session()
    session.next_process = lambda: frames.FIRST_PROCESS
    async with asyncio.timeout(5):  # nothing was started that had to be ended
        with pytest.raises(CommandTooLong, match="too long for one frame"):
            await open_process(session, "far", Command(":" + " " * 5_000_000), "token", None)
