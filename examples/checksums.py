"""Checksums of many files, a few at a time, in the order of the files."""

import asyncio
import tempfile
from pathlib import Path

import warmshell


async def main(files: list[str]) -> None:
    async with warmshell.connect("local:") as here, warmshell.Pool([here], size=4) as pool:
        commands = (["cksum", path] for path in files)  # read as it is needed; it could be endless
        sums = [result.check().stdout.split()[0] async for result in pool.map(commands)]
        shells = here.statistics().started

    print(len(sums), "sums, first", sums[0].decode(), "last", sums[-1].decode())
    print("no more than 4 shells:", shells <= 4)


with tempfile.TemporaryDirectory() as folder:
    for number in range(200):
        Path(folder, f"part {number:03}").write_text(f"{number}\n")
    asyncio.run(main(sorted(str(path) for path in Path(folder).iterdir())))

# prints:
# 200 sums, first 4200087900 last 503563664
# no more than 4 shells: True
