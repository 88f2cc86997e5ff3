"""A shell script and a Makefile that call Python tools, before and after: nothing but a path is different."""

# ruff: noqa: ASYNC221 - a script is waited for: nothing else runs meanwhile

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.coprocess_tools import THEME, missing, path_of, place, serving
from bench.cpu import ROOTS
from bench.model import Block, Contender, Target, case

BEFORE, AFTER = "before", "after"
SCRIPT = """for file in *.yaml; do
    yamllint "$file" || exit
done
for file in *.py; do
    black -q --check "$file" || exit
done
"""
MAKEFILE = """all: $(addsuffix .ok,$(wildcard *.yaml *.py))

%.yaml.ok: %.yaml
\t@$(TOOLS)yamllint $< && touch $@

%.py.ok: %.py
\t@$(TOOLS)black -q --check $< && touch $@
"""
_SERVED = ("yamllint", "black")
_SCRIPT_TEXT = f"""Before and after, the script is this one. After, `warm alias --dir ~/warm yamllint black` was called
once, and the script begins with one line more, `PATH=$HOME/warm:$PATH`:

```sh
{SCRIPT}```
"""
_MAKE_TEXT = f"""Before, `TOOLS` is empty; after, one line more says `TOOLS = $(HOME)/warm/`:

```make
{MAKEFILE}```
"""


def _fill(folder: Path, count: int) -> None:
    """Files for so many calls, at least one of each kind, and nothing of earlier ones."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for number in range(max(2, count)):
        name, text = (f"{number}.py", f"x = {number}\n") if number % 2 else (f"{number}.yaml", f"---\na: {number}\n")
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "check.sh").write_text(SCRIPT, encoding="utf-8")
    (folder / "Makefile").write_text(MAKEFILE, encoding="utf-8")


def _launchers(folder: Path) -> None:
    from warmshell.coprocess.forkserver import launcher

    for tool in _SERVED:
        launcher.write(folder, tool, launcher.Target(os.fsencode(path_of(tool))), launcher.Options())


def _contender(name: str, words: list[str]) -> Contender:
    reason = next(filter(None, map(missing, _SERVED)), None) or (None if shutil.which(words[0]) else "not installed")

    @asynccontextmanager
    async def opened() -> AsyncIterator[Block]:
        with place() as folder:
            tools = path_of("black").parent
            if name == AFTER:
                tools = folder / "warm"
                _launchers(tools)
            env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "TOOLS": f"{tools}/"}
            env = {variable: value for variable, value in env.items() if not variable.startswith("MAKE")}

            async def block(count: int) -> None:
                _fill(folder / "work", count)
                subprocess.run(words, check=True, capture_output=True, cwd=folder / "work", env=env)

            await block(4)
            pids = serving()
            ROOTS.update(pids)
            try:
                yield block
            finally:
                ROOTS.difference_update(pids)

    return Contender(name, "warm" if name == AFTER else "peer", opened, reason)


@case(
    "call-script", theme=THEME, title="A shell script that checks files, for each file", text=_SCRIPT_TEXT, count=20,
    quick=6, rounds=3, ours=AFTER, targets=[Target("the script takes a fifth of the time", BEFORE, AFTER, ">=", 5)],
)  # fmt: skip
def script() -> list[Contender]:
    return [_contender(name, ["sh", "check.sh"]) for name in (BEFORE, AFTER)]


@case(
    "call-make", theme=THEME, title="A Makefile that checks files, for each file", text=_MAKE_TEXT, count=20, quick=6,
    rounds=3, ours=AFTER, targets=[Target("make takes a fifth of the time", BEFORE, AFTER, ">=", 5)],
)  # fmt: skip
def make() -> list[Contender]:
    return [_contender(name, ["make", "-s"]) for name in (BEFORE, AFTER)]
