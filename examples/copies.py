"""A tree to two places with one reading, and back; each appears only when it is whole."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import warmshell


def make(top: Path) -> Path:
    (top / "results" / "plots").mkdir(parents=True)
    (top / "results" / "table.csv").write_text("sample,value\na,1\n")
    (top / "results" / "latest").symlink_to("table.csv")
    return top / "results"


async def main(top: Path) -> None:
    source = make(top)
    async with warmshell.connect("local:") as one, warmshell.connect("local:", framing="markers") as other:
        copied = await warmshell.copy(source, [one.path(str(top / "one")), other.path(str(top / "other"))])
        print(len(copied.targets), "destinations")
        print(sorted(path.name for path in (top / "one").iterdir()))

        await one.get(top / "one" / "table.csv", top / "table.csv")
        print((top / "table.csv").read_text().splitlines()[1])

        try:
            await one.put(source, top / "table.csv")
        except warmshell.CopyError as error:
            print(error.errno, len(error.failures))


with tempfile.TemporaryDirectory() as scratch:
    asyncio.run(main(Path(scratch)))

# prints:
# 2 destinations
# ['latest', 'plots', 'table.csv']
# a,1
# 20 1
