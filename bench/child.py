"""What must be measured in a process of its own, so that its peak memory is not that of the harness.

Called as ``python -m bench.child NAME ARGUMENT``; prints one JSON object.
"""

# ruff: noqa: ASYNC220, ASYNC221 - the blocking ways hold the event loop: nothing else runs meanwhile

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from warmshell.cli.usage import CpuMeter, descendants

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_CHUNK = 65536  # what a pipe of Linux holds: larger reads only cost memory


class Clock:
    """Seconds and CPU seconds; begun again by what has something to open before."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Measure from now on."""
        self._meter, self._start = CpuMeter(), time.perf_counter()
        self.seconds = self.cpu = 0.0

    def end(self) -> None:
        """Measure until now, if nothing has ended it before."""
        if not self.seconds:
            self.seconds, self.cpu = time.perf_counter() - self._start, self._meter.read()


CLOCK = Clock()


def peak() -> int:
    """The most memory this process ever held, in bytes."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    # Not ru_maxrss: it begins with what the parent of a vfork held.
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def pss(pid: int) -> int:
    """The memory of a process in bytes, each shared page divided by the number of processes that share it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


async def raw(path: str) -> int:
    """A blocking loop over the pipe."""
    total = 0
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        while chunk := os.read(process.stdout.fileno(), _CHUNK):
            total += len(chunk)
    return total


async def reader(path: str) -> int:
    """A reader callback on the pipe, which reads what is there each time."""
    loop, total = asyncio.get_running_loop(), 0
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        ended, descriptor = loop.create_future(), process.stdout.fileno()

        def readable() -> None:
            nonlocal total
            chunk = os.read(descriptor, _CHUNK)
            total += len(chunk)
            if not chunk:
                loop.remove_reader(descriptor)
                ended.set_result(None)

        loop.add_reader(descriptor, readable)
        await ended
    return total


async def streams(path: str) -> int:
    """asyncio's own subprocess streams."""
    process = await asyncio.create_subprocess_exec("cat", path, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    total = 0
    while chunk := await process.stdout.read(_CHUNK):
        total += len(chunk)
    await process.wait()
    return total


async def capture_output(path: str) -> int:
    """``subprocess.run``, which keeps all of it in memory."""
    return len(subprocess.run(["cat", path], capture_output=True, check=True).stdout)


async def warm(path: str) -> int:
    """``node.open``, chunk by chunk."""
    from warmshell import connect

    total = 0
    async with connect("local:") as node:
        CLOCK.begin()
        async with node.open(["cat", path]) as process:
            async for chunk in process.stdout:
                total += len(chunk)
            await process.wait()
        CLOCK.end()
    return total


async def warm_captured(path: str) -> int:
    """``node.run``: beyond the limit the output goes to an unnamed file."""
    from warmshell import connect

    async with connect("local:") as node:
        CLOCK.begin()
        result = await node.run(["cat", path])
        CLOCK.end()
        return len(result.output())


async def warm_shells(number: str) -> int:
    """The memory of everything below this process with that many warm shells."""
    from warmshell import connect

    async with connect("local:", shells=int(number)) as node:
        # All shells are busy at the same moment, so that there must be as many as asked for.
        await asyncio.gather(*(node.run(["sleep", "0.5"]) for _ in range(int(number))))
        return sum(pss(pid) for pid in descendants())


async def bare_shells(number: str, *, shell: str) -> int:
    """The memory of that many idle shells without anything else."""
    pipe = subprocess.PIPE
    shells = [subprocess.Popen([shell], stdin=pipe, stdout=pipe) for _ in range(int(number))]
    for each in shells:
        assert each.stdin is not None
        assert each.stdout is not None
        each.stdin.write(b"echo\n")
        each.stdin.flush()
        each.stdout.read(1)
    total = sum(pss(each.pid) for each in shells)
    for each in shells:
        each.communicate()
    return total


async def bare_dash(number: str) -> int:
    """As :func:`bare_shells`, for dash."""
    return await bare_shells(number, shell="dash")


async def bare_bash(number: str) -> int:
    """As :func:`bare_shells`, for bash."""
    return await bare_shells(number, shell="bash")


WAYS: dict[str, Callable[[str], Awaitable[int]]] = {
    "raw": raw,
    "reader": reader,
    "streams": streams,
    "capture-output": capture_output,
    "warm": warm,
    "warm-captured": warm_captured,
    "warm-shells": warm_shells,
    "bare-dash": bare_dash,
    "bare-bash": bare_bash,
}


async def _measured(name: str, argument: str) -> dict[str, float]:
    CLOCK.begin()
    result = await WAYS[name](argument)
    CLOCK.end()
    return {"result": result, "seconds": CLOCK.seconds, "cpu": CLOCK.cpu, "memory": peak()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_measured(*sys.argv[1:3]))))
