"""A process with its three streams in your hands: give it bytes, close its input, read the rest."""

import asyncio
from collections.abc import AsyncIterator

import warmshell


async def main() -> None:
    async with warmshell.connect("local:") as here:
        async with here.open(["sort", "-n"]) as process:
            for number in (30, 4, 100):
                await process.stdin.send(f"{number}\n".encode())
            await process.stdin.aclose()  # the end for sort; its output goes on
            async for chunk in process.stdout:
                print(chunk.decode(), end="")
            print("status", await process.wait())

        # run() takes a stream too. It is read as the command reads: memory stays small.
        async def numbers() -> AsyncIterator[bytes]:
            for number in range(100_000):
                yield b"%d\n" % number

        print((await here.run(["wc", "-l"], stdin=numbers())).text.strip())


asyncio.run(main())

# prints:
# 4
# 30
# 100
# status 0
# 100000
