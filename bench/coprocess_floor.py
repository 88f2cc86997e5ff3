"""What a fork of an imported tool costs by itself: no client, no streams, nothing looked at, nothing reported."""

# ruff: noqa: ASYNC220 - it is waited for: nothing else runs meanwhile

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.coprocess_tools import LINES, missing, path_of
from bench.model import Block, Contender

FLOOR = "floor: a bare fork of the imported tool"
_LOOP = """
import gc, os, sys
script, *words = sys.argv[1:]
with open(script) as file:
    source = file.read()
for line in source.splitlines():
    if line.startswith(("import ", "from ")):
        exec(line, {})
code = compile(source, script, "exec")
gc.collect()
gc.freeze()
null = os.open(os.devnull, os.O_RDWR)
sys.argv[:] = [script, *words]
for count in sys.stdin:
    for _ in range(int(count)):
        pid = os.fork()
        if not pid:
            for fd in range(3):
                os.dup2(null, fd)
            try:
                exec(code, {"__name__": "__main__", "__file__": script})
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
    print(flush=True)
"""


def floor(tool: str) -> Contender:
    """The contender."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        program = path_of(tool)
        words = [str(program.with_name("python")), "-c", _LOOP, str(program), *LINES[tool][1]]
        pipe = subprocess.PIPE
        with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
            source, sink = process.stdin, process.stdout
            if source is None or sink is None:
                raise RuntimeError("no pipes")

            async def block(count: int) -> None:
                source.write(f"{count}\n")
                source.flush()
                if not sink.readline():
                    raise RuntimeError(f"{tool} cannot be forked")

            await block(1)
            yield block

    return Contender(FLOOR, "floor", opened, missing(tool))
