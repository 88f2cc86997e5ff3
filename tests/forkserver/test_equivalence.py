"""Eleven tools that nobody has changed, cold and warm: the same bytes, status and files.

Always: one round over a third of the command lines of each tool and level. With ``WARMSHELL_WHOLE=1``: everything, in
two rounds and interleaved.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from forkserver.tools import ALL, FILES, Tool

WHOLE = bool(os.environ.get("WARMSHELL_WHOLE"))

pytestmark = pytest.mark.timeout(600)


class Runs:
    """Runs command lines of one tool in one directory, which is as it was before each."""

    def __init__(self, site, tool: Tool) -> None:
        self.site = site
        self.tool = tool
        for name, text in FILES.items():
            path = site.where / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        site.env.update({"AWS_EC2_METADATA_DISABLED": "true", "PIP_NO_INDEX": "1", "COLUMNS": "100"})

    def __call__(self, line: str, options: str | None) -> tuple[int, bytes, bytes, dict[str, bytes]]:
        words, _, source = line.partition("<")
        stdin = (self.site.where / source).read_bytes() if source else None
        before = self.files()
        how = self.site.cold if options is None else self.site.call
        more = {} if options is None else {"options": options}
        status, out, err = how(self.tool.path, *words.split(), stdin=stdin, **more)
        written = {name: data for name, data in self.files().items() if before.get(name) != data}
        for name in written:
            (self.site.where / name).unlink()
            if name in FILES:
                (self.site.where / name).write_text(FILES[name])
        for name in self.tool.made:
            shutil.rmtree(self.site.where / name, ignore_errors=True)
        return status, self.tool.masked(out), self.tool.masked(err), self.comparable(written)

    def files(self) -> dict[str, bytes]:
        hidden = (".cache", ".ansible", ".aws", ".mypy_cache", ".doctrees", "__pycache__")
        return {
            str(path.relative_to(self.site.where)): path.read_bytes()
            for path in self.site.where.rglob("*")
            if path.is_file() and not set(path.relative_to(self.site.where).parts) & set(hidden)
        }

    @staticmethod
    def comparable(written: dict[str, bytes]) -> dict[str, bytes]:
        return {name: b"" if name.endswith((".pickle", ".doctree")) else data for name, data in written.items()}


def options_of(tool: Tool, level: str) -> str:
    return f"level={level}" + (f" prime={tool.prime}" if level in ("primed", "reuse") else "")


@pytest.mark.parametrize("tool", ALL, ids=lambda tool: tool.name)
def test_the_same_as_a_cold_run(site, tool, c_server):
    if tool.missing:
        pytest.skip(f"{tool.name} is not installed: make tools")
    site.with_native(c_server)
    runs = Runs(site, tool)
    levels = ["fork", "preload", "primed"]
    lines = list(tool.lines)
    cold = {line: runs(line, None) for line in lines}
    chosen = [
        (line, level) for at, line in enumerate(lines) for n, level in enumerate(levels) if WHOLE or (at + n) % 3 == 0
    ]
    rounds = [chosen, chosen[::-1]] if WHOLE else [chosen]
    for round_ in rounds:
        for line, level in round_:
            again = runs(line, options_of(tool, level))
            assert again == cold[line], (tool.name, line, level)
    assert sum(info.calls for info in site.servers()) == sum(map(len, rounds)), "some ran cold"
    assert Path(tool.path).exists()
