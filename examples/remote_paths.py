"""Files at a location, as pathlib would have them: here on this machine, the same on any host."""

import asyncio

import warmshell


async def main() -> None:
    async with warmshell.connect("local:") as node:
        data = node.path("data")
        await (data / "raw").mkdir(parents=True, exist_ok=True)
        await asyncio.gather(*[(data / "raw" / f"{n}.csv").write_text(f"sample,{n}\n") for n in range(3)])

        for path in await data.glob("**/*.csv"):
            print(path, await path.size(), (await path.checksum("md5"))[:8])

        async with (data / "raw" / "2.csv").open() as file:
            await file.seek(-2, 2)
            print(await file.read())

        await data.rmtree()
        print(await data.exists())


asyncio.run(main())
# prints:
# data/raw/0.csv 9 106bf252
# data/raw/1.csv 9 2594ba00
# data/raw/2.csv 9 fbecf887
# b'2\n'
# False
